"""The log source over the network: recorded answers, paging and bounds, bad days, and a real Loki where one is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import time
import tracemalloc
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from treewalk.errors import (
    CircuitOpen,
    QueryUnsupported,
    SettingsError,
    SourceBadAnswer,
    SourceError,
    SourceRejected,
    SourceTimeout,
    SourceUnreachable,
)
from treewalk.integrations.clock import SystemClock
from treewalk.integrations.loki import Loki
from treewalk.settings import LokiSettings

from tests.support.answers import (
    Answering,
    answering,
    broken_off,
    dripping,
    dropped,
    endless,
    free_port,
    half_json,
    hanging,
    html,
    redirect,
    reply,
    status,
)
from tests.support.loki import HOUR, Entry, loki

CONTRACTS = Path(__file__).parent / "contracts" / "loki"
PATH = "/loki/api/v1/query_range"
NONE = {"status": "success", "data": {"resultType": "streams", "result": []}}
T0 = 1_795_216_000
REAL = os.environ.get("TREEWALK_TEST_LOKI_URL", "")


@contextlib.asynccontextmanager
async def source(url: str, root: Path | None = None, **given_settings: Any) -> AsyncIterator[Loki]:
    chosen = {"timeout": 5.0, "retries": 0, **given_settings}
    made = Loki("test", LokiSettings(url=url, **chosen), _resolve, SystemClock(), root)
    try:
        yield made
    finally:
        await made.aclose()


SECRETS = {"TOKEN": "s3cret-t0ken"}


def _resolve(text: str) -> str:
    for name, value in SECRETS.items():
        text = text.replace(f"${{{name}}}", value)
    return text


@pytest.fixture
def server() -> Iterator[Answering]:
    with answering() as made:
        yield made


def _streams(file: Path) -> list[tuple[int, str, dict[str, str]]]:
    found = []
    for stream in json.loads(file.read_text())["response"]["body"]["data"]["result"]:
        for value in stream["values"]:
            extra = value[2]["structuredMetadata"] if len(value) > 2 else {}
            found.append((int(value[0]), value[1], {**stream["stream"], **extra}))
    return sorted(found, key=lambda e: -e[0])


@pytest.mark.parametrize(
    "file",
    [f for f in sorted(CONTRACTS.glob("query_range_*.json")) if "matrix" not in f.stem],
    ids=lambda f: f.stem,
)
async def test_recorded_answers_are_read_newest_first(file: Path, server: Answering) -> None:
    request = server.replay(file)["params"]
    start, end = int(request["start"]), int(request["end"])
    wanted = _streams(file)
    limit = max(len(wanted), 1)
    async with source(server.url) as logs:
        batch = await logs.lines(request["query"], start / 1e9, end / 1e9, limit)
    assert [(line.text, dict(line.labels)) for line in batch.lines] == [(text, labels) for _, text, labels in wanted]
    assert [line.time for line in batch.lines] == pytest.approx([at / 1e9 for at, _, _ in wanted])
    asked = server.seen[0]
    assert (asked.method, asked.path) == ("GET", PATH)
    assert asked.params["query"] == request["query"]
    assert asked.params["direction"] == "backward"
    assert abs(int(asked.params["start"]) - start) < 1000  # nanoseconds, as far as a float goes
    assert abs(int(asked.params["end"]) - end) < 1000


@pytest.mark.parametrize(
    "name", ["error_bad_regex", "error_empty_matcher", "error_parse", "error_start_after_end", "error_not_found"]
)
async def test_recorded_errors_are_told_in_lokis_own_words(name: str, server: Answering) -> None:
    recorded = json.loads((CONTRACTS / f"{name}.json").read_text())["response"]
    server.on("*", reply(recorded["body"], recorded["status"], recorded["content_type"]))
    async with source(server.url) as logs:
        with pytest.raises(SourceRejected) as caught:
            await logs.lines('{a="b"}', 0, 60, 5)
    assert recorded["body"].strip()[:80] in str(caught.value)
    assert len(server.seen) == 1


@pytest.mark.parametrize("name", ["query_range_matrix", "query_instant_vector"])
async def test_a_query_that_counts_lines_is_refused_by_name(name: str, server: Answering) -> None:
    recorded = json.loads((CONTRACTS / f"{name}.json").read_text())["response"]
    server.on("*", reply(recorded["body"]))
    async with source(server.url) as logs:
        with pytest.raises(QueryUnsupported, match="select lines, not count them"):
            await logs.lines("count_over_time({a='b'}[1m])", 0, 60, 5)


async def test_the_limit_of_the_server_is_learned_from_its_refusal(server: Answering) -> None:
    recorded = json.loads((CONTRACTS / "error_limit.json").read_text())["response"]
    server.on(
        PATH, reply(recorded["body"], 400, recorded["content_type"]), when=lambda s: int(s.params["limit"]) > 5000
    )
    server.on(PATH, reply(NONE))
    async with source(server.url, max_lines=6000) as logs:
        assert (await logs.lines('{a="b"}', 0, 60, 5999)).lines == ()
        assert (await logs.lines('{a="b"}', 0, 60, 5999)).lines == ()
    assert [s.params["limit"] for s in server.seen] == ["6000", "5000", "5000"]


async def test_the_longest_range_of_the_server_is_learned_from_its_refusal(server: Answering) -> None:
    recorded = json.loads((CONTRACTS / "error_range_too_long.json").read_text())["response"]
    text = recorded["body"].replace("30d1h", "7d")
    week = 7 * 24 * HOUR
    server.on(PATH, status(400, text), when=lambda s: int(s.params["end"]) - int(s.params["start"]) > week)
    server.on(PATH, reply(NONE))
    async with source(server.url) as logs:
        assert (await logs.lines('{a="b"}', T0 - 20 * 86400, T0, 10)).lines == ()
    spans = [(int(s.params["start"]), int(s.params["end"])) for s in server.seen]
    assert [end - start for start, end in spans[1:]] == [week, week, 6 * 24 * HOUR]
    assert spans[1][0] == spans[2][1]


async def test_a_refusal_that_names_no_smaller_bound_is_not_asked_again(server: Answering) -> None:
    server.on("*", status(400, "max entries limit per query exceeded, limit > max_entries_limit_per_query (6 > 9000)"))
    async with source(server.url) as logs:
        with pytest.raises(SourceRejected):
            await logs.lines('{a="b"}', 0, 60, 5)
    assert len(server.seen) == 1


def _entries(count: int, step: int = 1_000_000_000, labels: dict[str, str] | None = None) -> list[Entry]:
    return [(T0 * 10**9 + i * step, f"line {i}", labels or {"a": "b"}) for i in range(count)]


@pytest.mark.parametrize(
    ("there", "limit", "truncated"), [(0, 10, False), (9, 10, False), (10, 10, False), (11, 10, True)]
)
async def test_more_lines_than_the_limit_are_said_to_be_cut(
    there: int, limit: int, truncated: bool, server: Answering
) -> None:
    server.on(PATH, loki(_entries(there)))
    async with source(server.url) as logs:
        batch = await logs.lines('{a="b"}', T0, T0 + 100, limit)
    assert [line.text for line in batch.lines] == [f"line {i}" for i in reversed(range(there))][:limit]
    assert batch.truncated is truncated


async def test_more_than_the_server_gives_at_once_is_asked_page_by_page(server: Answering) -> None:
    server.on(PATH, loki(_entries(1000, step=10_000_000), max_lines=100))
    async with source(server.url, max_lines=100) as logs:
        batch = await logs.lines('{a="b"}', T0, T0 + 100, 950)
    assert [line.text for line in batch.lines] == [f"line {i}" for i in reversed(range(1000))][:950]
    assert batch.truncated
    assert len(server.seen) < 12


async def test_one_instant_with_more_lines_than_a_page_is_said_to_be_cut(server: Answering) -> None:
    server.on(PATH, loki([*_entries(3), *_entries(50, step=0)], max_lines=10))
    async with source(server.url, max_lines=10) as logs:
        batch = await logs.lines('{a="b"}', T0, T0 + 100, 40)
    assert batch.truncated
    assert {"line 1", "line 2"} <= {line.text for line in batch.lines}


instants = st.integers(min_value=0, max_value=12)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.lists(instants, max_size=40),
    limit=st.integers(min_value=1, max_value=45),
    page=st.integers(min_value=41, max_value=60) | st.integers(min_value=6, max_value=12),
    start=instants,
    end=instants,
)
def test_paging_finds_the_newest_lines_each_once(
    at: list[int], limit: int, page: int, start: int, end: int, shared: Answering
) -> None:
    # Five lines an instant at the most: fewer than the smallest page, so that none can be lost.
    kept = [t for i, t in enumerate(at) if at[:i].count(t) < 5]
    entries: list[Entry] = [((T0 + t) * 10**9, f"line {i}", {"stream": str(i % 3)}) for i, t in enumerate(kept)]
    shared.rules.clear()
    shared.on(PATH, loki(entries, max_lines=page))

    async def ask() -> Any:
        async with source(shared.url, max_lines=page) as logs:
            return await logs.lines('{a="b"}', T0 + start, T0 + end, limit)

    batch = asyncio.run(ask())
    inside = sorted((T0 + t for t in kept if start <= t < end), reverse=True)
    assert [line.time for line in batch.lines] == inside[:limit]
    assert batch.truncated is (len(inside) > limit)
    assert len({line.text for line in batch.lines}) == len(batch.lines)


@pytest.fixture(scope="module")
def shared() -> Iterator[Answering]:
    with answering() as made:
        yield made


async def test_structured_metadata_is_read_in_both_shapes(server: Answering) -> None:
    merged, apart = (
        _streams(CONTRACTS / f"query_range_structured_metadata{name}.json") for name in ("", "_categorized")
    )
    assert merged == apart


async def test_inspection_against_recorded_answers(server: Answering) -> None:
    server.replay(CONTRACTS / "labels.json")
    server.replay(CONTRACTS / "ready.json")
    server.on("/loki/api/v1/status/buildinfo", reply({"version": "3.5.0", "revision": "x"}))
    async with source(server.url) as logs:
        detail = await logs.inspect()
    assert (detail["labels"], detail["ready"], detail["version"]) == ("3", "ready", "3.5.0")
    assert detail["queries"] == "allowed"


async def test_a_gateway_that_hides_readiness_can_be_inspected(server: Answering) -> None:
    server.replay(CONTRACTS / "labels.json")
    async with source(server.url) as logs:
        detail = await logs.inspect()
    assert (detail["ready"], detail["version"]) == ("not told", "not told")


def _odd(result: Any) -> Any:
    return reply({"data": {"resultType": "streams", "result": result}})


BAD_DAYS = {
    "html": (html(), SourceBadAnswer, "not JSON"),
    "half a json": (half_json(), SourceBadAnswer, "not JSON"),
    "empty body": (reply(b""), SourceBadAnswer, "not JSON"),
    "nested deeply": (reply("[" * 200_000), SourceBadAnswer, "not JSON"),
    "other json": (reply({"hello": "world"}), SourceBadAnswer, "another shape"),
    "a list": (reply([]), SourceBadAnswer, "another shape"),
    "streams are numbers": (_odd([1]), SourceBadAnswer, "another shape"),
    "values are words": (_odd([{"stream": {}, "values": ["a"]}]), SourceBadAnswer, "another shape"),
    "time is a word": (_odd([{"stream": {}, "values": [["x", "y"]]}]), SourceBadAnswer, "another shape"),
    "not gzip": (reply(b"plain", headers={"Content-Encoding": "gzip"}), SourceBadAnswer, "unpacked"),
    "500": (status(500, "oops"), SourceUnreachable, "500: oops"),
    "502 html": (html(502), SourceUnreachable, "502"),
    "429": (status(429, "too many outstanding requests"), SourceUnreachable, "too many outstanding"),
    "401": (status(401, "no org id"), SourceRejected, "tenant"),
    "redirect": (redirect("http://127.0.0.1:1/"), SourceRejected, "redirects"),
    "dropped": (dropped(), SourceUnreachable, "closed the connection|reset"),
    "broken off": (broken_off(), SourceUnreachable, "in the middle"),
}


@pytest.mark.parametrize("day", BAD_DAYS)
async def test_a_bad_day_has_its_own_error(day: str, server: Answering) -> None:
    say, error, words = BAD_DAYS[day]
    server.on("*", say)
    async with source(server.url) as logs:
        with pytest.raises(error, match=words) as caught:
            await logs.lines('{a="b"}', 0, 60, 5)
    assert type(caught.value) is error
    assert server.url in str(caught.value)


@pytest.mark.parametrize("say", [hanging(), dripping(), dripping(headers_too=True)], ids=["silent", "body", "headers"])
async def test_a_slow_answer_ends_with_the_time_out(say: Any, server: Answering) -> None:
    server.on("*", say)
    async with source(server.url, timeout=0.3) as logs:
        began = time.monotonic()
        with pytest.raises(SourceTimeout, match=r"within 300ms|in time"):
            await logs.lines('{a="b"}', 0, 60, 5)
        assert time.monotonic() - began < 3


async def test_nobody_there() -> None:
    async with source(f"http://127.0.0.1:{free_port()}") as logs:
        with pytest.raises(SourceUnreachable, match="connection refused"):
            await logs.lines('{a="b"}', 0, 60, 5)


async def test_a_host_that_does_not_exist() -> None:
    async with source("http://nowhere.invalid:3100", timeout=20) as logs:
        with pytest.raises(SourceError, match=r"unknown host|no answer"):
            await logs.lines('{a="b"}', 0, 60, 5)


async def test_a_url_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Written down it is refused when the settings are read; a secret is known only when it is used."""
    for url in ("localhost", "ftp://127.0.0.1/", "http://[::1"):
        with pytest.raises(ValidationError):
            LokiSettings(url=url)
        monkeypatch.setitem(SECRETS, "ADDRESS", url)
        async with source("${ADDRESS}") as logs:
            with pytest.raises(SourceRejected, match="check url and headers"):
                await logs.lines('{a="b"}', 0, 60, 5)


async def test_what_may_pass_is_asked_again_and_what_stays_broken_is_not(server: Answering) -> None:
    server.on("*", status(503), times=1).on("*", dropped(), times=1).on("*", reply(NONE), times=1)
    server.on("*", status(500))
    async with source(server.url, retries=2) as logs:
        assert (await logs.lines('{a="b"}', 0, 60, 5)).lines == ()
        for _ in range(5):
            with pytest.raises(SourceUnreachable):
                await logs.lines('{a="b"}', 0, 60, 5)
        with pytest.raises(CircuitOpen):
            await logs.lines('{a="b"}', 0, 60, 5)
    assert len(server.seen) == 3 + 15


async def test_a_hundred_megabytes_do_not_fill_the_memory(server: Answering) -> None:
    server.on("*", endless(100))
    async with source(server.url, max_bytes=4_000_000) as logs:
        tracemalloc.start()
        with pytest.raises(SourceBadAnswer, match=r"more than 4 MB.*max_bytes"):
            await logs.lines('{a="b"}', 0, 60, 5)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 30_000_000


async def test_tenant_token_and_headers_are_sent(server: Answering) -> None:
    server.on("*", reply(NONE))
    async with source(server.url, tenant="team-a", bearer_token="${TOKEN}", headers={"X-More": "${TOKEN}"}) as logs:
        await logs.lines('{a="b"}', 0, 60, 5)
    headers = server.seen[0].headers
    assert headers["x-scope-orgid"] == "team-a"
    assert headers["authorization"] == "Bearer s3cret-t0ken"
    assert headers["x-more"] == "s3cret-t0ken"


@pytest.mark.parametrize("in_url", [False, True])
async def test_basic_auth_is_sent_and_never_shown(
    in_url: bool, server: Answering, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    server.on("*", status(401, "wrong s3cret"))
    url = server.url.replace("://", "://ops:${TOKEN}@") if in_url else server.url
    auth = {} if in_url else {"username": "ops", "password": "${TOKEN}"}
    async with source(url, **auth) as logs:
        with pytest.raises(SourceRejected) as caught:
            await logs.lines('{a="b"}', 0, 60, 5)
    assert server.seen[0].headers["authorization"] == "Basic b3BzOnMzY3JldC10MGtlbg=="
    assert "s3cret" not in str(caught.value) + caplog.text


async def test_no_redirect_carries_credentials_to_a_stranger(server: Answering) -> None:
    with answering() as stranger:
        server.on("*", redirect(f"{stranger.url}{PATH}"))
        async with source(server.url, bearer_token="${TOKEN}") as logs:
            with pytest.raises(SourceRejected):
                await logs.lines('{a="b"}', 0, 60, 5)
        assert stranger.seen == []


async def test_proxies_of_the_environment_are_not_used(server: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    server.on("*", reply(NONE))
    async with source(server.url) as logs:
        await logs.lines('{a="b"}', 0, 60, 5)


async def test_tls_with_a_ca_of_the_workspace_and_without(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    ca.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with answering(tls=context) as server:
        server.on("*", reply(NONE))
        for given_settings in ({"ca_file": "ca.pem"}, {"verify_tls": False}):
            async with source(server.url, root=tmp_path, cert_file="client.pem", **given_settings) as logs:
                assert (await logs.lines('{a="b"}', 0, 60, 5)).lines == ()
        async with source(server.url) as logs:
            with pytest.raises(SourceUnreachable, match="set ca_file"):
                await logs.lines('{a="b"}', 0, 60, 5)


async def test_certificate_files_that_are_missing_or_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("not a certificate")
    for name, words in (("gone.pem", r"gone\.pem does not exist"), ("none.pem", "cannot be used")):
        async with source("https://127.0.0.1:1", root=tmp_path, ca_file=name) as logs:
            with pytest.raises(SettingsError, match=words):
                await logs.lines('{a="b"}', 0, 60, 5)


@pytest.mark.needs("TREEWALK_TEST_LOKI_URL")
async def test_a_real_loki_pages_as_expected() -> None:
    now = time.time()
    stream = {"treewalk_test": f"run{int(now)}"}
    values = [[str(int((now - 50 + i / 10) * 1e9)), f"line {i}"] for i in range(300)]
    push = urllib.request.Request(
        f"{REAL}/loki/api/v1/push",
        json.dumps({"streams": [{"stream": stream, "values": values}]}).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(push, timeout=10).close()
    async with source(REAL, max_lines=70) as logs:
        query = f'{{treewalk_test="{stream["treewalk_test"]}"}}'
        batch = await logs.lines(query, now - 60, now, 250)
        assert [line.text for line in batch.lines] == [f"line {i}" for i in reversed(range(300))][:250]
        assert batch.truncated
        with pytest.raises(SourceRejected, match="parse error"):
            await logs.lines('{a="b" |= "c"', now - 60, now, 5)
        assert (await logs.inspect())["queries"] == "allowed"
