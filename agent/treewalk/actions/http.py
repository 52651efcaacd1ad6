"""A call to an endpoint that a human has allowed."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from treewalk.actions.commands import classes_in
from treewalk.actions.parameters import Address, Name, shown
from treewalk.errors import ActionFailed, SourceRejected, SourceTimeout, SourceUnreachable
from treewalk.model.acting import ActionFacts, ActionResult, Autonomy, ChangeClass
from treewalk.model.redact import MARK, redact
from treewalk.ports import Hands

_MOST = 64 * 1024  # bytes of an answer that are read
_LARGEST = 1_000_000  # bytes of a body that is sent


_OWN = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"})


def _given(headers: Any) -> Any:
    """Headers that have a value: a playbook's parameter may be left empty."""
    return {k: v for k, v in headers.items() if v not in (None, "")} if isinstance(headers, dict) else headers


def _free(name: str) -> str:
    if name.lower() in _OWN or name.lower().startswith("proxy-"):
        raise ValueError(f"the header {name} cannot be set: it would say where or how the call is sent")
    return name


def _sendable(body: Any) -> Any:
    try:
        size = 0 if body is None else len(json.dumps(body, allow_nan=False, ensure_ascii=False).encode())
    except (TypeError, RecursionError):
        raise ValueError("it cannot be written as JSON") from None
    if size > _LARGEST:
        raise ValueError("it is larger than 1 MB")
    return body


def _ascii(text: str) -> str:
    if not text.isascii():
        raise ValueError("it may hold ASCII characters only")
    return text


HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,100}\z"), AfterValidator(_free)]
Header = Annotated[Name, AfterValidator(_ascii)]


class CallParameters(BaseModel):
    """`allow` are the URL prefixes that may be called, written where a human reviews them, never a template: scheme,
    host and port have to be the same, the path has to lie below. Left out, `policy.allow.endpoints` of the workspace
    counts. `headers` may hold ${NAME}; `json` is sent as the body."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    url: Address
    allow: tuple[Name, ...] = Field(min_length=1, max_length=20)
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    body: Annotated[Any, AfterValidator(_sendable)] = Field(default=None, alias="json")
    headers: Annotated[dict[HeaderName, Header], BeforeValidator(_given)] = Field(default_factory=dict)
    expect: tuple[Annotated[int, Field(ge=100, le=599)], ...] = (200, 201, 202, 204)
    repeatable: bool = False

    @model_validator(mode="after")
    def _allowed(self) -> CallParameters:
        if not any(below(self.url, prefix) for prefix in self.allow):
            raise ValueError(f"{shown(self.url)} is not below any of {', '.join(shown(one) for one in self.allow)}")
        return self


_URL = re.compile(r"[A-Za-z0-9:/?#\[\]@!$&'()*+,;=._~%-]+")  # what RFC 3986 knows, and nothing that is read in two ways
_DETOURS = ("..", "%2e", "%2f", "%5c", "%25", "%00", "//", ";")


def below(url: str, prefix: str) -> bool:
    """Whether a URL lies below a prefix, by its parsed parts; one with detours, or with a user in it, does not."""
    try:
        one, other = urlsplit(url), urlsplit(prefix)
        same = (one.scheme, one.hostname, one.port) == (other.scheme, other.hostname, other.port)
    except ValueError:
        return False
    plain = (
        one.scheme in ("http", "https") and "@" not in one.netloc and bool(one.hostname) and bool(_URL.fullmatch(url))
    )
    lowered = one.path.lower()
    detours = any(mark in lowered for mark in _DETOURS) or "." in lowered.split("/")
    folder = other.path.rstrip("/")
    return same and plain and not detours and (one.path == folder or one.path.startswith(folder + "/"))


class HttpCall:
    """Call an endpoint. Path, query and body are judged like the words of a command; redirects are not followed."""

    kind: ClassVar[str] = "http_call"
    tier: ClassVar[Autonomy] = Autonomy.ASK
    idempotent: ClassVar[bool] = False
    reversible: ClassVar[bool] = False
    parameters: ClassVar[type[BaseModel]] = CallParameters

    def facts(self, params: CallParameters) -> ActionFacts:
        """It touches one endpoint. DELETE counts as deleting data; the words of path, query and body count as those of
        a command do."""
        classes = _classes(params)
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
        secrets = _filled_in(params.headers, headers)
        headers |= {"Accept-Encoding": "identity"} | ({"Idempotency-Key": hands.key} if hands.key else {})
        try:
            async with (
                asyncio.timeout(hands.timeout),
                httpx.AsyncClient(timeout=hands.timeout, follow_redirects=False, trust_env=False) as client,
            ):
                request = client.build_request(params.method, params.url, headers=headers, **_body(params))
                answer = await client.send(request, stream=True)
                text = _hidden(await _text(answer), secrets)
        except (UnicodeError, httpx.LocalProtocolError):  # a secret of several lines, for one
            raise SourceRejected(f"{shown(params.url)} was not called: a header's value cannot be sent") from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise SourceUnreachable(f"{shown(params.url)} is not reachable ({type(error).__name__})") from None
        except (httpx.HTTPError, TimeoutError) as error:
            message = f"{shown(params.url)} broke off ({type(error).__name__}); whether it acted is not known"
            raise SourceTimeout(message) from None
        return _judged(params, answer.status_code, text)


def _classes(params: CallParameters) -> frozenset[ChangeClass]:
    where = urlsplit(params.url)
    methods = [params.method, *(value for name, value in params.headers.items() if "method" in name.lower())]
    deletes = {ChangeClass.DELETES_DATA} if any(one.strip().upper() == "DELETE" for one in methods) else set()
    return classes_in([where.path, where.query, where.fragment, params.body]) | deletes


def _judged(params: CallParameters, status: int, text: str) -> ActionResult:
    """What an answer means. Raises ActionFailed, SourceRejected, SourceTimeout for one that was not expected."""
    if status in params.expect:
        summary = f"sent {params.method} {_place(params)}: {status}"
        return ActionResult(summary, {"status": status, "answer": redact(text)[:2000]})
    said = f"{params.method} {_place(params)} answered {status}: {redact(text)[:200]}"
    if status >= 500:
        raise SourceTimeout(f"{said}; whether it acted is not known")
    raise (SourceRejected if status in (401, 403, 404, 405) else ActionFailed)(said)


def _filled_in(written: Mapping[str, str], resolved: Mapping[str, str]) -> list[str]:
    """The words of the headers that only came in when references were filled in, the longest first."""
    words = {word for name, value in resolved.items() for word in value.split() if word not in written[name].split()}
    return sorted((word for word in words if len(word) > 2), key=len, reverse=True)


def _hidden(text: str, secrets: Sequence[str]) -> str:
    """An answer without the secrets that were sent: some servers send back what they got."""
    for secret in secrets:
        text = text.replace(secret, MARK)
    return text


def _place(params: CallParameters) -> str:
    return f"{shown(params.url)}{urlsplit(params.url).path}"


def _body(params: CallParameters) -> dict[str, Any]:
    return {} if params.body is None else {"json": params.body}


async def _text(answer: Any) -> str:
    held = bytearray()
    async for part in answer.aiter_raw():
        held += part
        if len(held) > _MOST:
            break
    await answer.aclose()
    return held[:_MOST].decode("utf-8", "replace")
