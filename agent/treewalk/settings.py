"""treewalk.yaml as data. Read once, by content/workspace.py; every key is optional."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from treewalk.model.quantity import parse_duration
from treewalk.model.tree import BaselineSpec

Duration = Annotated[float, BeforeValidator(parse_duration)]
SecretText = str  # may hold ${ENV} or be file:PATH; resolved by content/secrets.py when the client is built


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HttpSource(_Strict):
    """What every source over HTTP has in common."""

    url: SecretText
    timeout: Duration = 10.0
    retries: int = Field(default=2, ge=0, le=10)
    concurrency: int = Field(default=16, ge=1, le=1024)
    max_bytes: int = Field(default=32_000_000, ge=1024)
    bearer_token: SecretText | None = None
    username: str | None = None
    password: SecretText | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify_tls: bool = True
    headers: dict[str, SecretText] = Field(default_factory=dict)


class PrometheusSettings(HttpSource):
    """A Prometheus, or what speaks its query API."""

    url: SecretText = "http://127.0.0.1:9090"


class LokiSettings(HttpSource):
    """A Loki. `tenant` is sent as X-Scope-OrgID; `max_lines` is the server's own limit a query."""

    url: SecretText = "http://127.0.0.1:3100"
    tenant: str | None = None
    max_lines: int = Field(default=5000, ge=1)


class LogFile(_Strict):
    """Files that stand for one log stream: `path` may be a glob, relative to the workspace."""

    labels: dict[str, str]
    path: str
    timestamp: str | None = None  # a strptime format where the leading time is not found by itself
    timezone: str = "UTC"


class FilesSettings(_Strict):
    """Log files that answer LogQL like a Loki."""

    streams: list[LogFile] = Field(default_factory=list)
    max_bytes: int = Field(default=64_000_000, ge=1024)


class Sources(_Strict):
    """The outside systems by name; the name `default` is the one that nodes use unless they say."""

    prometheus: dict[str, PrometheusSettings] = Field(default_factory=dict)
    loki: dict[str, LokiSettings] = Field(default_factory=dict)
    files: FilesSettings | None = None


class BaselineSettings(_Strict):
    """How a series is judged against its own past where neither SLA nor node says."""

    window: Duration = 900.0
    baseline: Duration = 21600.0
    direction: Literal["up", "down", "both"] = "both"
    threshold: float = Field(default=5.0, gt=0)

    def spec(self) -> BaselineSpec:
        return BaselineSpec(self.window, self.baseline, self.direction, self.threshold)


class WalkSettings(_Strict):
    """How a walk is done."""

    deadline: Duration = 60.0
    check_timeout: Duration = 10.0
    concurrency: int = Field(default=32, ge=1, le=4096)
    since: Duration = 900.0
    max_log_lines: int = Field(default=1000, ge=1)
    baseline: BaselineSettings = Field(default_factory=BaselineSettings)


class StoreSettings(_Strict):
    """Where the memory lives; `path` is relative to the workspace."""

    path: str = ".treewalk/memory.db"


class Settings(_Strict):
    """All of treewalk.yaml. `windows` are shared by every tree file; `policy`, `llm`, `notify` and `server`
    belong to the parts that act and serve, and are kept as written here."""

    sources: Sources = Field(default_factory=Sources)
    connections: dict[str, SecretText] = Field(default_factory=dict)
    windows: dict[str, Any] = Field(default_factory=dict)
    walk: WalkSettings = Field(default_factory=WalkSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    policy: dict[str, Any] = Field(default_factory=dict)
    llm: dict[str, Any] = Field(default_factory=dict)
    notify: dict[str, Any] = Field(default_factory=dict)
    server: dict[str, Any] = Field(default_factory=dict)
