"""treewalk.yaml as data. Read once, by content/workspace.py; every key is optional."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from treewalk.model.acting import Autonomy
from treewalk.model.message import Severity
from treewalk.model.policy import Scope, endpoint, folder
from treewalk.model.quantity import parse_duration, parse_threshold
from treewalk.model.tree import BaselineSpec, nearest
from treewalk.parameters import url_problem


def _size(value: Any) -> int:
    """Bytes in `64MB`, `1GiB` or a bare number. Raises ValueError."""
    how = "write a size like 64MB, 1GiB, or a number of bytes"
    if not isinstance(value, str | int | float) or not str(value).strip()[:1].isdigit():
        raise ValueError(how)
    try:
        found = parse_threshold(value)
    except ValueError:
        raise ValueError(how) from None
    plain = found.unit == "count" and not any(c.isalpha() for c in found.text)
    if not (plain or found.unit == "bytes") or not float(found.limit).is_integer():
        raise ValueError(how)
    return int(found.limit)


def _zone(value: str) -> str:
    """A time zone that this machine knows. Raises ValueError with the nearest names."""
    from zoneinfo import ZoneInfo, available_timezones

    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        lower = {name.lower(): name for name in available_timezones() if "/" in name}
        close = [lower[name] for name in nearest(value.lower(), lower, 1)]
        hint = f"did you mean {close[0]}?" if close else "write it like Europe/Berlin or UTC"
        raise ValueError(f"no such time zone; {hint}") from None
    return value


Duration = Annotated[float, BeforeValidator(parse_duration)]
Span = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]  # a duration that something can be done in
Size = Annotated[int, BeforeValidator(_size), WithJsonSchema({"type": ["integer", "string"], "minimum": 1024})]
TimeZone = Annotated[str, AfterValidator(_zone)]
SecretText = str  # may hold ${ENV} or be file:PATH; resolved by content/secrets.py when the client is built


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _http_url(value: str) -> str:
    """An address over HTTP, or a reference to one. Raises ValueError."""
    problem = url_problem(value, ("http", "https"))
    if problem:
        raise ValueError(problem)
    return value


SourceUrl = Annotated[SecretText, AfterValidator(_http_url)]


class HttpSource(_Strict):
    """What every source over HTTP has in common."""

    url: SourceUrl
    timeout: Span = 10.0
    retries: int = Field(default=2, ge=0, le=10)
    concurrency: int = Field(default=16, ge=1, le=1024)
    max_bytes: Size = Field(default=32_000_000, ge=1024)
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

    url: SourceUrl = "http://127.0.0.1:9090"
    scrape_interval: Duration | None = None  # how often it looks; lets proofs that come too soon be refused at load


class LokiSettings(HttpSource):
    """A Loki. `tenant` is sent as X-Scope-OrgID; `max_lines` is the server's own limit a query."""

    url: SourceUrl = "http://127.0.0.1:3100"
    tenant: str | None = None
    max_lines: int = Field(default=5000, ge=1)


class LogFile(_Strict):
    """Files that stand for one log stream: `path` may be a glob, relative to the workspace."""

    labels: dict[str, str]
    path: str
    timestamp: str | None = None  # a strptime format where the leading time is not found by itself
    timezone: TimeZone = "UTC"


class FilesSettings(_Strict):
    """Log files that answer LogQL like a Loki."""

    streams: list[LogFile] = Field(default_factory=list)
    max_bytes: Size = Field(default=64_000_000, ge=1024)


class Sources(_Strict):
    """The outside systems by name; the name `default` is the one that nodes use unless they say."""

    prometheus: dict[str, PrometheusSettings] = Field(default_factory=dict)
    loki: dict[str, LokiSettings] = Field(default_factory=dict)
    files: FilesSettings | None = None


class BaselineSettings(_Strict):
    """How a series is judged against its own past where neither SLA nor node says."""

    window: Span = 900.0
    baseline: Span = 21600.0
    direction: Literal["up", "down", "both"] = "both"
    threshold: float = Field(default=5.0, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> BaselineSettings:
        both = {"window", "baseline"} <= self.model_fields_set  # a window that is not given is that of `walk.since`
        if both and self.window > self.baseline:
            raise ValueError("the window is longer than the baseline that it is compared with")
        return self

    def spec(self) -> BaselineSpec:
        """The same as the model has it."""
        return BaselineSpec(self.window, self.baseline, self.direction, self.threshold)


class WalkSettings(_Strict):
    """How a walk is done."""

    deadline: Span = 60.0
    check_timeout: Span = 10.0
    concurrency: int = Field(default=32, ge=1, le=4096)
    since: Span = 900.0
    max_log_lines: int = Field(default=1000, ge=1)
    baseline: BaselineSettings = Field(default_factory=BaselineSettings)


class StoreSettings(_Strict):
    """Where the memory lives: a file (`path`, relative to the workspace), or a PostgreSQL that several treewalks
    share (`url: postgresql://…`). `keep` is for how long documents, timelines, alerts and deliveries of closed
    incidents stay; null: for ever."""

    path: str = ".treewalk/memory.db"
    url: SecretText | None = None
    keep: Annotated[Duration, Field(gt=0)] | None = 400 * 86400.0


class ScopeSettings(_Strict):
    """What a rule of the policy is about; all that is given has to fit."""

    action: str | None = None
    node: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)

    def scope(self) -> Scope:
        """The same as the model has it."""
        return Scope(self.action, self.node, self.tags)


class TierSettings(ScopeSettings):
    """How far treewalk may go by itself within a scope."""

    tier: Autonomy
    after: Duration | None = None


class LimitSettings(_Strict):
    """How many actions may run within a period."""

    per_node: int = Field(default=3, ge=0)
    per_kind: int = Field(default=6, ge=0)
    total: int = Field(default=12, ge=0)
    period: Duration = 3600.0


class RepeatSettings(_Strict):
    """The same action at the same node again: waits that grow, then a human."""

    within: Duration = 3600.0
    most: int = Field(default=3, ge=0)
    first: Duration = 60.0
    factor: float = Field(default=2.0, ge=1)


class CostSettings(_Strict):
    """What may be spent, in the unit that playbooks count in."""

    per_action: float | None = Field(default=None, ge=0)
    per_incident: float | None = Field(default=None, ge=0)


class AllowSettings(_Strict):
    """What steps may reach that do not say it themselves, such as those of the playbooks that ship: URL prefixes that
    may be called (scheme, host and port the same, the path below), and folders below which files may be replaced."""

    endpoints: list[Annotated[str, AfterValidator(endpoint)]] = Field(default_factory=list, max_length=20)
    folders: list[Annotated[str, AfterValidator(folder)]] = Field(default_factory=list, max_length=20)


class BoundSettings(_Strict):
    """What a known error has to have shown before its fix runs alone."""

    success: float = Field(default=0.0, ge=0, le=1)
    fires: int = Field(default=0, ge=0)


class ReturnSettings(_Strict):
    """When a symptom that comes back means that the fix did not fix."""

    within: Duration = 3600.0
    tries: int = Field(default=3, ge=1)


class FreezeSettings(_Strict):
    """A change freeze: a named window, or from one moment to another (ISO 8601, UTC unless it says)."""

    window: str | None = None
    start: str | None = Field(default=None, alias="from")
    end: str | None = Field(default=None, alias="to")


class MaintenanceSettings(FreezeSettings):
    """Nodes that are somebody else's while a window is open."""

    nodes: list[str] = Field(default_factory=lambda: ["*"])


class ApprovalSettings(_Strict):
    """Who may approve (names as channels know them; not given: the users of `notify.telegram`, through it; empty:
    nobody from outside), and for how long it is asked."""

    expires: Duration = 1800.0
    approvers: list[str] = Field(default_factory=list)


class LearningSettings(_Strict):
    """After how many verified wins a learned pattern is trusted without a human; none: never."""

    trust_after: int | None = Field(default=None, ge=1)


class PolicySettings(_Strict):
    """What treewalk may do by itself; see docs/policy.md. The never tier is code and not in here."""

    tiers: list[TierSettings] = Field(default_factory=list)
    forbid: list[ScopeSettings] = Field(default_factory=list)
    ask: list[ScopeSettings] = Field(default_factory=list)
    freeze: list[FreezeSettings] = Field(default_factory=list)
    maintenance: list[MaintenanceSettings] = Field(default_factory=list)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    repeats: RepeatSettings = Field(default_factory=RepeatSettings)
    cost: CostSettings = Field(default_factory=CostSettings)
    allow: AllowSettings = Field(default_factory=AllowSettings)
    blast_radius: int | None = Field(default=None, ge=0)
    rehearse: bool = True
    known: BoundSettings = Field(default_factory=BoundSettings)
    returns: ReturnSettings = Field(default_factory=ReturnSettings)
    approval: ApprovalSettings = Field(default_factory=ApprovalSettings)
    learning: LearningSettings = Field(default_factory=LearningSettings)
    after: Duration = 300.0
    unmet: Duration = 14400.0  # how long an incident that a human has takes further alerts of its unmet SLAs; 0: never
    read_only: bool = False


class WebhookSettings(_Strict):
    """How the sender of a webhook shows who it is; any one that is given will do. `secret` signs the body with
    HMAC-SHA256, in hexadecimal, in the header `signature_header`."""

    token: SecretText | None = None
    username: str | None = None
    password: SecretText | None = None
    secret: SecretText | None = None
    signature_header: str = Field(default="X-Treewalk-Signature", pattern=r"^[A-Za-z0-9-]{1,64}$")

    @model_validator(mode="after")
    def _whole(self) -> WebhookSettings:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together")
        return self


class WebhooksSettings(_Strict):
    """The senders of alerts."""

    alertmanager: WebhookSettings = Field(default_factory=WebhookSettings)
    gatus: WebhookSettings = Field(default_factory=WebhookSettings)
    grafana: WebhookSettings = Field(default_factory=WebhookSettings)
    generic: WebhookSettings = Field(default_factory=WebhookSettings)


def _network(value: str) -> str:
    """An address or a network. Raises ValueError."""
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError("write an address or a network, such as 10.0.0.7 or 10.0.0.0/24") from None
    return value


Network = Annotated[str, AfterValidator(_network)]
PERSON = r"^\w[\w .@+-]{0,63}$"  # a name as the audit keeps it


class RateSettings(_Strict):
    """How many messages one sender may send: so many a second, and so many at once after a silence."""

    per_second: float = Field(default=500.0, gt=0)
    burst: int = Field(default=20_000, ge=1)


class ServerSettings(_Strict):
    """`treewalk serve`. `token` opens everything, `metrics_token` /metrics alone; without any secret only this machine
    itself is listened to. `users` are people with a token each: where there are any, only theirs change something.
    `trusted_proxies` are those whose X-Forwarded-For counts."""

    host: str = "127.0.0.1"
    port: int = Field(default=9470, ge=0, le=65535)
    token: SecretText | None = None
    users: dict[Annotated[str, Field(pattern=PERSON)], SecretText] = Field(default_factory=dict)
    metrics_token: SecretText | None = None
    trusted_proxies: list[Network] = Field(default_factory=list)
    webhooks: WebhooksSettings = Field(default_factory=WebhooksSettings)
    max_body: Size = Field(default=4_000_000, ge=1024, le=4_000_000)
    rate: RateSettings = Field(default_factory=RateSettings)
    concurrency: int = Field(default=32, ge=1, le=10_000)  # incidents that are worked on at a time
    grace: Duration = 10.0  # how long requests, and then actions, that are under way may take when it is told to stop


def _lasting(value: Any) -> int | str:
    """A number of measurements, or a duration such as 2m. Raises ValueError."""
    if isinstance(value, str) and not value.strip().isdigit():
        parse_duration(value)
        return value
    if isinstance(value, bool) or not isinstance(value, int | str) or int(value) < 1:
        raise ValueError("write how many measurements running, such as 2, or for how long, such as 2m")
    return int(value)


Lasting = Annotated[int | str, BeforeValidator(_lasting)]


class WatchSettings(_Strict):
    """treewalk measures the SLAs itself, within their windows. `for` is how many measurements running (2) or for how
    long (2m) they have to say the same; `slas` are names and globs; after `silent` without a measurement it says so."""

    interval: Duration = Field(default=30.0, gt=0)
    lasting: Lasting = Field(default=2, alias="for")
    slas: list[str] = Field(default_factory=lambda: ["*"])
    silent: Duration = 600.0
    concurrency: int = Field(default=8, ge=1, le=1024)  # measurements at a time, of one source


# What Telegram puts in a sender's place: anonymous admins of a group, posts of a channel, its own service.
_NOBODYS = (1087968824, 136817688, 777000)


class TelegramSettings(_Strict):
    """A bot. `users` are those who may approve and throw switches: a name for the audit, and their Telegram user id."""

    token: SecretText
    chat: int | str
    users: dict[str, int] = Field(default_factory=dict)
    api: str = "https://api.telegram.org"
    mode: Literal["polling", "webhook"] = "polling"
    webhook_url: str | None = None  # where Telegram reaches this server's /webhooks/telegram, for mode: webhook
    webhook_secret: SecretText | None = None

    @model_validator(mode="after")
    def _sound(self) -> TelegramSettings:
        if self.mode == "webhook" and not (self.webhook_url and self.webhook_secret):
            raise ValueError("mode: webhook needs webhook_url and webhook_secret")
        ids = list(self.users.values())
        if any(id <= 0 or id in _NOBODYS for id in ids):
            raise ValueError("users: ids of people are wanted; those of chats and of Telegram's own stand-ins are none")
        if len(set(ids)) < len(ids) or not all(name.strip() for name in self.users):
            raise ValueError("users: every user needs a name of their own and an id of their own")
        return self


class ChannelSettings(_Strict):
    """A channel by its address, as apprise writes it (slack://…, mailtos://…, json://…); it is a secret as a whole."""

    url: SecretText


class GithubSettings(_Strict):
    """Escalations as issues of a repository (`owner/name`), through the REST API."""

    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    token: SecretText
    url: str = "https://api.github.com"
    labels: list[str] = Field(default_factory=lambda: ["treewalk"])


class GitlabSettings(_Strict):
    """Escalations as issues of a project (its path or its number), through the REST API."""

    project: str
    token: SecretText
    url: str = "https://gitlab.com"
    labels: list[str] = Field(default_factory=lambda: ["treewalk"])


class RouteSettings(_Strict):
    """Messages of which all that is given fits go to these channels."""

    to: list[str] = Field(min_length=1)
    severity: list[Severity] = Field(default_factory=list)
    slas: list[str] = Field(default_factory=list)
    tags: dict[str, str] = Field(default_factory=dict)


class QuietSettings(_Strict):
    """While a named window is open, messages of these severities wait."""

    window: str
    severity: list[Severity] = Field(default=["P3", "P4"])


class RespondSettings(_Strict):
    """How long a human has to answer, by severity, before the next channel is told."""

    P1: Duration = 300.0
    P2: Duration = 900.0
    P3: Duration = 3600.0
    P4: Duration = 86400.0


class EscalationSettings(_Strict):
    """Who is told next when nobody answers. Nothing is ever approved by silence."""

    respond: RespondSettings = Field(default_factory=RespondSettings)
    chain: list[str] = Field(default_factory=list)


class NotifySettings(_Strict):
    """Whom treewalk tells what; see docs/notify.md."""

    telegram: TelegramSettings | None = None
    channels: dict[Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,40}$")], ChannelSettings] = Field(default_factory=dict)
    github: GithubSettings | None = None
    gitlab: GitlabSettings | None = None
    routes: list[RouteSettings] = Field(default_factory=list)
    quiet: list[QuietSettings] = Field(default_factory=list)
    escalation: EscalationSettings = Field(default_factory=EscalationSettings)
    daily: str | None = None
    weekly: str | None = None
    timezone: TimeZone = "UTC"
    timeout: Duration = Field(default=20.0, gt=0)  # for one delivery
    tries: int = Field(default=12, ge=1, le=100)  # of a message, at least, and
    keep_trying: Duration = 86400.0  # for so long, at least, before it is given up


class TriageRuleSettings(_Strict):
    """An incident of which `when` holds is so grave."""

    when: str
    severity: Severity


class TriageSettings(_Strict):
    """How grave incidents are: the first rule that holds, else the default."""

    rules: list[TriageRuleSettings] = Field(default_factory=list)
    default: Severity = "P3"


class RedactSettings(_Strict):
    """What is taken out of every text that is stored, shown or sent, besides secrets."""

    emails: bool = False


class Settings(_Strict):
    """All of treewalk.yaml. `windows` are shared by every tree file; `llm` belongs to a part that is still to come,
    and is kept as written here."""

    sources: Sources = Field(default_factory=Sources)
    connections: dict[str, SecretText] = Field(default_factory=dict)
    windows: dict[str, Any] = Field(default_factory=dict)
    walk: WalkSettings = Field(default_factory=WalkSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    redact: RedactSettings = Field(default_factory=RedactSettings)
    policy: PolicySettings = Field(default_factory=PolicySettings)
    llm: dict[str, Any] = Field(default_factory=dict)
    triage: TriageSettings = Field(default_factory=TriageSettings)
    notify: NotifySettings = Field(default_factory=NotifySettings)
    server: ServerSettings = Field(default_factory=ServerSettings)
    watch: WatchSettings | None = None
