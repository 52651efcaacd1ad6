"""A call to an endpoint that a human has allowed."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from treewalk.actions.parameters import Address, Name, shown
from treewalk.errors import ActionFailed, SourceRejected, SourceTimeout, SourceUnreachable
from treewalk.model.acting import ActionFacts, ActionResult, Autonomy, ChangeClass
from treewalk.model.redact import redact
from treewalk.ports import Hands

_MOST = 64 * 1024  # bytes of an answer that are read


class CallParameters(BaseModel):
    """`allow` are the URL prefixes that may be called, written where a human reviews them: scheme, host and port have
    to be the same, the path has to lie below. `headers` may hold ${NAME}; `json` is sent as the body."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    url: Address
    allow: tuple[Name, ...] = Field(min_length=1, max_length=20)
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    body: Any = Field(default=None, alias="json")
    headers: dict[Name, Name] = Field(default_factory=dict)
    expect: tuple[Annotated[int, Field(ge=100, le=599)], ...] = (200, 201, 202, 204)
    repeatable: bool = False

    @model_validator(mode="after")
    def _allowed(self) -> CallParameters:
        if not any(below(self.url, prefix) for prefix in self.allow):
            raise ValueError(f"{shown(self.url)} is not below any of {', '.join(shown(one) for one in self.allow)}")
        return self


def below(url: str, prefix: str) -> bool:
    """Whether a URL lies below a prefix, by its parsed parts; one with detours, or with a user in it, does not."""
    try:
        one, other = urlsplit(url), urlsplit(prefix)
        same = (one.scheme, one.hostname, one.port) == (other.scheme, other.hostname, other.port)
    except ValueError:
        return False
    plain = one.scheme in ("http", "https") and "@" not in one.netloc and bool(one.hostname)
    lowered = one.path.lower()
    detours = any(mark in lowered for mark in ("..", "\\", "%2e", "%2f", "%5c", "//"))
    folder = other.path.rstrip("/")
    return same and plain and not detours and (one.path == folder or one.path.startswith(folder + "/"))


class HttpCall:
    """Call an endpoint. Redirects are not followed: they could lead anywhere."""

    kind: ClassVar[str] = "http_call"
    tier: ClassVar[Autonomy] = Autonomy.ASK
    idempotent: ClassVar[bool] = False
    reversible: ClassVar[bool] = False
    parameters: ClassVar[type[BaseModel]] = CallParameters

    def facts(self, params: CallParameters) -> ActionFacts:
        """It touches one endpoint. DELETE counts as deleting data."""
        classes = frozenset({ChangeClass.DELETES_DATA} if params.method == "DELETE" else ())
        repeatable = params.repeatable or params.method == "GET"
        touches = (f"endpoint {shown(params.url)}{urlsplit(params.url).path}",)
        return ActionFacts(self.kind, self.tier, repeatable, self.reversible, touches=touches, classes=classes)

    async def preview(self, params: CallParameters, hands: Hands) -> str:
        """The call; nothing is sent."""
        return f"would send {params.method} {_place(params)}"

    async def run(self, params: CallParameters, hands: Hands) -> ActionResult:
        """Send it, with the run's key as Idempotency-Key. Raises ActionFailed for an answer that was not expected."""
        import httpx

        headers = {name: hands.resolve(value) for name, value in params.headers.items()}
        if hands.key:
            headers["Idempotency-Key"] = hands.key
        try:
            async with httpx.AsyncClient(timeout=hands.timeout, follow_redirects=False, trust_env=False) as client:
                request = client.build_request(params.method, params.url, headers=headers, **_body(params))
                answer = await client.send(request, stream=True)
                text = await _text(answer)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise SourceUnreachable(f"{shown(params.url)} is not reachable ({type(error).__name__})") from None
        except httpx.HTTPError as error:
            message = f"{shown(params.url)} broke off ({type(error).__name__}); whether it acted is not known"
            raise SourceTimeout(message) from None
        if answer.status_code not in params.expect:
            said = f"{params.method} {_place(params)} answered {answer.status_code}: {redact(text)[:200]}"
            if answer.status_code >= 500:
                raise SourceTimeout(f"{said}; whether it acted is not known")
            raise (SourceRejected if answer.status_code in (401, 403, 404, 405) else ActionFailed)(said)
        summary = f"sent {params.method} {_place(params)}: {answer.status_code}"
        return ActionResult(summary, {"status": answer.status_code, "answer": redact(text)[:2000]})


def _place(params: CallParameters) -> str:
    return f"{shown(params.url)}{urlsplit(params.url).path}"


def _body(params: CallParameters) -> dict[str, Any]:
    return {} if params.body is None else {"json": params.body}


async def _text(answer: Any) -> str:
    held = bytearray()
    async for part in answer.aiter_bytes():
        held += part
        if len(held) > _MOST:
            break
    await answer.aclose()
    return held[:_MOST].decode("utf-8", "replace")
