"""Calling an endpoint: a real server that counts what it gets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from treewalk.actions import action
from treewalk.actions.http import below
from treewalk.errors import ActionFailed, SourceError, SourceRejected, SourceTimeout, SourceUnreachable
from treewalk.model.acting import ChangeClass

from tests.support.actions import hands, preview, run
from tests.support.hostile import HOSTILE
from tests.support.redis import free_port

KIND = "http_call"


class _Handler(BaseHTTPRequestHandler):
    """/status/N answers N; /echo sends back the headers; /big a megabyte; /slow one byte at a time; /cut stops."""

    server: Target

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.calls.append((self.command, self.path, dict(self.headers), body))
        _, kind, *rest = self.path.split("?")[0].split("/")
        status = int(rest[0]) if kind == "status" else 200
        text = {"echo": str(self.headers).encode(), "big": b"x" * 1_000_000, "slow": b"x" * 100}.get(kind, b"done")
        if kind == "cut":
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        if 300 <= status < 400:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        if kind == "slow":
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.1)
            return
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def log_message(self, *args: Any) -> None:
        """Nothing."""


class Target(ThreadingHTTPServer):
    """`calls` is every request that came in."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls: list[tuple[str, str, dict[str, str], bytes]] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hangs up is no news."""


@pytest.fixture(scope="module")
def server() -> Iterator[Target]:
    with Target() as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


@pytest.fixture
def target(server: Target) -> Target:
    server.calls.clear()
    return server


def at(target: Target, path: str, **more: Any) -> dict[str, Any]:
    base = f"http://127.0.0.1:{target.server_port}"
    return {"url": base + path, "allow": [base], **more}


async def test_a_call_is_sent_once_with_the_key_of_the_run_and_a_preview_sends_none(target: Target) -> None:
    params = at(target, "/reload", json={"drain": True})
    assert await preview(KIND, **params) == f"would send POST http://127.0.0.1:{target.server_port}/reload"
    assert target.calls == []
    result = await run(KIND, hands("incident-7:step-1"), **params)
    assert result.data == {"status": 200, "answer": "done"}
    [(method, path, headers, body)] = target.calls
    assert (method, path, body) == ("POST", "/reload", b'{"drain":true}')
    assert headers["Idempotency-Key"] == "incident-7:step-1"


async def test_without_a_key_no_key_is_sent(target: Target) -> None:
    await run(KIND, hands(""), **at(target, "/reload", method="GET"))
    assert "Idempotency-Key" not in target.calls[0][2]


@pytest.mark.parametrize(
    ("status", "error"),
    [(301, ActionFailed), (302, ActionFailed), (307, ActionFailed), (400, ActionFailed), (409, ActionFailed),
     (429, ActionFailed), (401, SourceRejected), (403, SourceRejected), (404, SourceRejected),
     (405, SourceRejected), (500, SourceTimeout), (502, SourceTimeout), (503, SourceTimeout)],
)  # fmt: skip
async def test_an_answer_that_was_not_expected_says_whether_something_was_done(
    target: Target, status: int, error: type[Exception]
) -> None:
    params = at(target, f"/status/{status}")
    with pytest.raises(error, match=f"answered {status}") as caught:
        await run(KIND, **params)
    assert ("not known" in str(caught.value)) is (error is SourceTimeout)
    assert [path for _, path, _, _ in target.calls] == [f"/status/{status}"]  # no redirect followed, nothing repeated
    assert (await run(KIND, **{**params, "expect": [status]})).data["status"] == status


async def test_a_large_answer_is_cut_and_a_slow_one_given_up_on(target: Target) -> None:
    assert len((await run(KIND, **at(target, "/big"))).data["answer"]) == 2000
    with pytest.raises(ActionFailed) as caught:
        await run(KIND, **at(target, "/big", expect=[204]))
    assert len(str(caught.value)) < 400
    began = time.monotonic()
    for path in ("/slow", "/cut"):
        with pytest.raises(SourceTimeout, match="not known"):
            await run(KIND, hands(timeout=0.5), **at(target, path))
    assert time.monotonic() - began < 4


async def test_a_secret_in_a_header_is_sent_and_never_shown(target: Target) -> None:
    headers = {"Authorization": "Bearer ${OPS}", "X-Ops": "${OPS}"}
    params = at(target, "/echo", headers=headers)
    known = hands(**{"Bearer ${OPS}": "Bearer plainword", "${OPS}": "plainword"})
    said = await preview(KIND, known, **params)
    result = await run(KIND, known, **params)
    assert target.calls[0][2]["Authorization"] == "Bearer plainword"
    with pytest.raises(ActionFailed) as caught:
        await run(KIND, known, **{**params, "expect": [204]})
    facts = action(KIND).facts(action(KIND).parameters.model_validate(params))
    assert "plainword" not in f"{said} {result} {caught.value} {facts}"


async def test_a_header_without_a_value_is_left_out_and_one_that_cannot_be_sent_refused(target: Target) -> None:
    await run(KIND, **at(target, "/x", headers={"Authorization": None, "X-A": "", "X-B": "b"}))
    assert {"X-A", "Authorization"}.isdisjoint(target.calls[0][2])
    assert target.calls[0][2]["X-B"] == "b"
    for value in ("two\nlines", "é", "\ud800"):
        with pytest.raises(SourceRejected, match="was not called") as caught:
            await run(KIND, hands(**{"${W}": value}), **at(target, "/x", headers={"X-A": "${W}"}))
        assert value not in str(caught.value)
    assert len(target.calls) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"Host": "evil.example"}, {"content-length": "0"}, {"Transfer-Encoding": "chunked"}, {"Connection": "close"},
     {"Proxy-Authorization": "x"}, {"X A": "b"}, {"X:A": "b"}, {"": "b"}, {"X-A": "a\r\nX-B: c"}, {"X-A": "é"}],
)  # fmt: skip
def test_a_header_that_would_change_where_the_call_goes_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        params(headers=wrong)


def params(url: str = "http://allowed.example/api/x", allow: Any = ("http://allowed.example/api",), **more: Any) -> Any:
    return action(KIND).parameters.model_validate({"url": url, "allow": allow, **more})


@pytest.mark.parametrize(
    "url",
    [
        "http://allowed.example.evil.example/api/x", "http://allowed.example@evil.example/api/x",
        "http://allowed.example:80@evil.example/api", "http://evil.example/api/x", "https://allowed.example/api/x",
        "http://allowed.example:8080/api/x", "http://evil.example#http://allowed.example/api/x",
        "http://evil.example?http://allowed.example/api", "http://evil.example\\.allowed.example/api/x",
        "http://allowed.example\\@evil.example/api/x", "http://allowed.example/apix", "http://allowed.example/",
        "http://allowed.example/api/../admin", "http://allowed.example/api/%2e%2e/admin",
        "http://allowed.example/api/%2E%2e/admin", "http://allowed.example/api/.%2e/admin",
        "http://allowed.example/api/%252e%252e/admin", "http://allowed.example/api/..;/admin",
        "http://allowed.example/api\\..\\admin", "http://allowed.example/api/%5c..%5cadmin",
        "http://allowed.example/api/..%2fadmin", "http://allowed.example/api//admin", "http://allowed.example//api/x",
        "http://allowed.example/api/./x", "http://allowed.example/api/．．/admin", "http://allowed．example/api/x",
        "http://аllowed.example/api/x", "http://allowed.example/api/x y", "http://allowed.example/api/%00",
        "http://allowed.example./api/x", "http://u@allowed.example/api/x", "http://u:p@allowed.example/api/x",
        "//allowed.example/api/x", "/api/x", "allowed.example/api/x", "file:///etc/passwd", "ftp://allowed.example/api/x",
        "javascript:alert(1)", "http://", "http:///api/x", "http://allowed.example:99999/api", "http://[::1/api",
        "connection:main", "${URL}", "file:x", "\thttp://allowed.example/api/x", "http://allowed.example/api/x\n",
    ],
)  # fmt: skip
def test_a_place_that_is_not_below_what_is_allowed_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        params(url)


@pytest.mark.parametrize(
    "url",
    ["http://allowed.example/api", "http://allowed.example/api/", "http://allowed.example/api/v1/x?y=../z&u=http://w",
     "HTTP://Allowed.Example/api/x", "http://allowed.example/api/a%20b", "http://allowed.example/api/x#part"],
)  # fmt: skip
def test_a_place_below_what_is_allowed_is_taken(url: str) -> None:
    assert params(url).url == url


@given(st.text(alphabet="http:/@\\.#?%2eaEv;x", max_size=30), st.sampled_from(["", "/", "/api", ".", "@", ":80", "\\"]))
def test_whatever_is_allowed_is_what_the_client_would_call(tail: str, middle: str) -> None:
    import httpx

    url = f"http://allowed.example{middle}{tail}"
    if below(url, "http://allowed.example/api"):
        called = httpx.URL(url)
        assert (called.scheme, called.host, called.port) == ("http", "allowed.example", None)
        assert called.path == "/api" or called.path.startswith("/api/")
        assert ".." not in called.path


@pytest.mark.parametrize(
    "wrong",
    [{"allow": []}, {"allow": "http://allowed.example/api"}, {"method": "TRACE"}, {"method": "post"}, {"expect": [99]},
     {"json": float("nan")}, {"json": {"a": {1, 2}}}, {"json": "x" * 1_000_001}, {"json": "\ud800"}, {"timeout": 5}],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        params(**wrong)


def test_it_says_of_itself_whether_it_may_be_repeated_and_that_delete_deletes() -> None:
    one = action(KIND)
    assert one.facts(params()).idempotent is False
    assert one.facts(params(method="GET")).idempotent
    assert one.facts(params(repeatable=True)).idempotent
    assert one.facts(params(method="DELETE")).classes == {ChangeClass.DELETES_DATA}
    assert one.facts(params()).touches == ("endpoint http://allowed.example/api/x",)


DESTRUCTIVE: list[dict[str, Any]] = [
    {"url": "http://allowed.example/api/orders/_delete_by_query"},
    {"url": "http://allowed.example/api/v1/admin/tsdb/delete_series"},
    {"url": "http://allowed.example/api/v1/admin/tsdb/clean_tombstones"},
    {"url": "http://allowed.example/api/containers/x/exec"},
    {"url": "http://allowed.example/api/containers/prune"},
    {"url": "http://allowed.example/api/?query=DROP%20TABLE%20orders"},
    {"url": "http://allowed.example/api/?query=%44ROP+TABLE+orders", "method": "GET"},
    {"url": "http://allowed.example/api/?query=%2544ROP%2520TABLE"},
    {"url": "http://allowed.example/api/?_method=delete"},
    {"url": "http://allowed.example/api/purgeQueue"},
    {"url": "http://allowed.example/api/#drop"},
    {"json": {"query": "drop table orders"}},
    {"json": {"action": {"deleteTopics": ["a"]}}},
    {"json": ["\uff24\uff32\uff2f\uff30 TABLE orders"]},
    {"json": {"cmd": ["redis-cli", "EXPIRE", "orders", "0"]}},
    {"json": {"cmd": "redis-cli EXPIRE orders 0"}},
    {"json": {"cmd": ["cp", "/dev/null", "/data/a"]}},
    {"json": {"cmd": "cp /dev/null /data/a"}},
    {"json": {"Cmd": ["sh", "-c", "id"]}},
    {"headers": {"X-HTTP-Method-Override": "DELETE"}},
    {"headers": {"x-http-method": " delete "}},
]


@pytest.mark.parametrize("call", DESTRUCTIVE, ids=str)
def test_what_a_call_says_in_path_query_or_body_is_judged_like_a_command(call: dict[str, Any]) -> None:
    assert action(KIND).facts(params(**call)).classes


@pytest.mark.parametrize(
    "call",
    [
        {"url": "http://allowed.example/api/-/reload"},
        {"url": "http://allowed.example/api/v1/dags/orders/dagRuns", "json": {"conf": {"env": "production"}}},
        {"url": "http://allowed.example/api/cache/warm?view=all&sort=name"},
        {"url": "http://allowed.example/api/connections/reconnect", "json": {"reason": "patch of the link is there"}},
        {"json": {"node": "redis-1", "count": 3, "deep": [{"on": True}, None]}},
    ],
    ids=str,
)
def test_a_call_that_mends_is_of_no_class(call: dict[str, Any]) -> None:
    assert action(KIND).facts(params(**call)).classes == frozenset()


async def test_nobody_there_is_unreachable() -> None:
    base = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(SourceUnreachable, match="not reachable"):
        await run(KIND, url=f"{base}/x", allow=[base])


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:20]))
async def test_hostile_texts_stay_texts(target: Target, text: str) -> None:
    base = f"http://127.0.0.1:{target.server_port}"
    refused: list[dict[str, Any]] = [
        {"url": text}, {"url": f"{base}@{text}"}, {"allow": [text]}, {"method": text}, {"expect": [text]},
        {"headers": {text: "a"}},
    ]  # fmt: skip
    for wrong in refused:
        with pytest.raises(ValidationError):
            await run(KIND, **at(target, "/x", **wrong))
    for inert in ({"url": f"{base}/{text}"}, {"headers": {"X-A": text}}, {"json": text}, {"json": {text: [text]}}):
        try:
            await run(KIND, **at(target, "/x", **inert))
        except (ValidationError, ActionFailed, SourceError):
            continue
        assert target.calls[-1][0] == "POST"
        assert target.calls[-1][1].startswith("/")
        assert not {"pwned", "X-B"} & set(target.calls[-1][2])
