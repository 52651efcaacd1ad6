"""The metric source over the network: against a real Prometheus, recorded answers, and bad days."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
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
from treewalk.integrations.prometheus import MAX_POINTS, Prometheus, pieces
from treewalk.model.series import Answered
from treewalk.settings import PrometheusSettings

from tests.support.answers import (
    Answering,
    Seen,
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
from tests.support.prometheus import RunningPrometheus, running_prometheus

CONTRACTS = Path(__file__).parent / "contracts" / "prometheus"
EMPTY = {"status": "success", "data": {"resultType": "vector", "result": []}}


@contextlib.asynccontextmanager
async def source(url: str, root: Path | None = None, **settings: Any) -> AsyncIterator[Prometheus]:
    given = {"timeout": 5.0, "retries": 0, **settings}
    made = Prometheus("test", PrometheusSettings(url=url, **given), _resolve, SystemClock(), root)
    try:
        yield made
    finally:
        await made.aclose()


SECRETS = {"TOKEN": "s3cret-t0ken"}


def _resolve(text: str) -> str:
    for name, value in SECRETS.items():
        text = text.replace(f"${{{name}}}", value)
    return text


@pytest.fixture(scope="module")
def now() -> float:
    return float(int(time.time()))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, now: float) -> Iterator[RunningPrometheus]:
    day = now - 86_400
    history = {
        'clients{job="redis"}': [(day + i * 10, float(i % 300)) for i in range(8_640)],
        'lag{topic="a"}': [(now - 600 + i * 10, 5.0) for i in range(60)],
        'lag{topic="b"}': [(now - 600 + i * 10, math.nan if i > 50 else 7.0) for i in range(60)],
        "full": [(now - 30, math.inf)],
    }
    with running_prometheus(tmp_path_factory.mktemp("prometheus"), history=history) as server:
        yield server


@pytest.fixture
def server() -> Iterator[Answering]:
    with answering() as made:
        yield made


@pytest.mark.needs("prometheus", "promtool")
class TestRealServer:
    async def test_an_instant_query_gives_every_series(self, real: RunningPrometheus, now: float) -> None:
        async with source(real.url) as metrics:
            found = await metrics.instant("lag", now - 10)
        assert {s.name for s in found} == {'lag{topic="a"}', 'lag{topic="b"}'}
        values = {s.labels["topic"]: s.value for s in found}
        assert values["a"] == 5.0
        assert math.isnan(values["b"])
        assert not any(s.scalar for s in found)

    async def test_a_scalar_is_told_from_a_vector(self, real: RunningPrometheus, now: float) -> None:
        async with source(real.url) as metrics:
            (two,) = await metrics.instant("1+1", now)
            (vector,) = await metrics.instant("vector(2)", now)
        assert (two.value, two.scalar) == (2.0, True)
        assert (vector.value, vector.scalar) == (2.0, False)

    async def test_infinity_is_kept(self, real: RunningPrometheus, now: float) -> None:
        async with source(real.url) as metrics:
            (full,) = await metrics.instant("full", now)
        assert full.value == math.inf

    async def test_no_such_metric_is_empty_and_no_error(self, real: RunningPrometheus, now: float) -> None:
        async with source(real.url) as metrics:
            assert await metrics.instant("nothing_like_this", now) == []
            assert await metrics.range("nothing_like_this", now - 60, now, 10) == []

    async def test_a_range_has_both_its_ends(self, real: RunningPrometheus, now: float) -> None:
        async with source(real.url) as metrics:
            (series,) = await metrics.range('lag{topic="a"}', now - 500, now - 100, 10)
        assert list(series.times) == [now - 500 + i * 10 for i in range(41)]
        assert set(series.values) == {5.0}

    async def test_a_long_range_is_asked_in_pieces_and_joined(self, real: RunningPrometheus, now: float) -> None:
        start, step = now - 86_000, 5.0
        async with source(real.url) as metrics:
            (series,) = await metrics.range("clients", start, now - 100, step)
        assert len(series.times) == len(series.values) > MAX_POINTS
        assert all(
            b - a == pytest.approx(step, abs=0.002) for a, b in zip(series.times, series.times[1:], strict=False)
        )

    async def test_a_bad_query_is_refused_in_prometheus_own_words(self, real: RunningPrometheus, now: float) -> None:
        async with source(real.url) as metrics:
            with pytest.raises(SourceRejected, match=r"parse error: unexpected end of input"):
                await metrics.instant("clients >", now)
            with pytest.raises(SourceRejected, match=r"many-to-many"):
                await metrics.instant("lag * on() lag", now)

    async def test_a_range_vector_or_a_text_says_what_to_do(self, real: RunningPrometheus, now: float) -> None:
        async with source(real.url) as metrics:
            with pytest.raises(QueryUnsupported, match=r"rate\(\)"):
                await metrics.instant("lag[5m]", now)
            with pytest.raises(QueryUnsupported, match="a text"):
                await metrics.instant('"words"', now)

    async def test_many_questions_at_once(self, real: RunningPrometheus, now: float) -> None:
        async with source(real.url, concurrency=4) as metrics:
            found = await asyncio.gather(*(metrics.instant(f"vector({i})", now) for i in range(60)))
        assert [s[0].value for s in found] == list(range(60))

    async def test_inspection_tells_version_and_readiness(self, real: RunningPrometheus) -> None:
        async with source(real.url) as metrics:
            detail = await metrics.inspect()
        assert detail["version"].startswith("2.")
        assert "Ready" in detail["ready"]
        assert detail["queries"] == "allowed"

    async def test_a_url_with_a_path_and_a_slash_at_its_end(self, tmp_path: Path, now: float) -> None:
        with running_prometheus(tmp_path, flags=["--web.route-prefix=/"]) as server:
            async with source(server.url + "/") as metrics:
                assert [s.value for s in await metrics.instant("1", now)] == [1.0]

    async def test_stopped_in_the_middle_of_a_walk(self, tmp_path: Path, now: float) -> None:
        with running_prometheus(tmp_path) as server:
            async with source(server.url) as metrics:
                await metrics.instant("1", now)
                server.process.kill()
                server.process.wait()
                with pytest.raises(SourceUnreachable):
                    await metrics.instant("1", now)


@pytest.mark.parametrize("file", sorted(CONTRACTS.glob("query_*.json")), ids=lambda f: f.stem)
async def test_recorded_answers_are_read(file: Path, server: Answering) -> None:
    request = server.replay(file)
    recorded = json.loads(file.read_text())["response"]["body"]["data"]
    params = request["params"]
    async with source(server.url) as metrics:
        if request["path"].endswith("query_range"):
            step = float(params["step"])
            (series,) = await metrics.range(params["query"], params["start"], params["end"], step)
            assert dict(series.labels) == recorded["result"][0]["metric"]
            assert list(zip(series.times, series.values, strict=True)) == [
                (t, float(v)) for t, v in recorded["result"][0]["values"]
            ]
        else:
            found = await metrics.instant(params["query"], 1795216887.182)
            assert [s.scalar for s in found] == [recorded["resultType"] == "scalar"] * len(found)
            wanted = (
                [recorded["result"]] if recorded["resultType"] == "scalar" else [r["value"] for r in recorded["result"]]
            )
            assert [(s.time, str(s.value)) for s in found] == [(t, str(float(v))) for t, v in wanted]
    asked = server.seen[-1]
    assert asked.method == "GET"
    assert asked.params["query"] == params["query"]
    assert all(float(asked.params[key]) == float(params[key]) for key in ("start", "end", "step") if key in params)


@pytest.mark.parametrize("file", sorted(CONTRACTS.glob("error_*.json")), ids=lambda f: f.stem)
async def test_recorded_errors_are_told_in_their_own_words(file: Path, server: Answering) -> None:
    server.replay(file)
    request = json.loads(file.read_text())
    async with source(server.url) as metrics:
        ranged = request["request"]["path"].endswith("query_range")
        asked = metrics.range("up", 0, 60, 5) if ranged else metrics.instant("up", 0)
        with pytest.raises(SourceRejected) as caught:
            await asked
    assert request["response"]["body"]["error"][:60] in str(caught.value)
    assert str(request["response"]["status"]) in str(caught.value)
    assert len(server.seen) == 1  # a refused question is not asked again


async def test_inspection_against_recorded_answers(server: Answering) -> None:
    for name in ("query_scalar", "buildinfo", "ready"):
        server.replay(CONTRACTS / f"{name}.json")
    async with source(server.url) as metrics:
        detail = await metrics.inspect()
    assert (detail["version"], detail["ready"]) == ("2.42.0+ds", "Prometheus Server is Ready.")


async def test_what_only_speaks_the_query_api_can_be_inspected(server: Answering) -> None:
    server.replay(CONTRACTS / "query_scalar.json")
    async with source(server.url) as metrics:
        detail = await metrics.inspect()
    assert (detail["version"], detail["queries"]) == ("not told", "allowed")


BAD_DAYS = {
    "html": (html(), SourceBadAnswer, "not JSON"),
    "half a json": (half_json(), SourceBadAnswer, "not JSON"),
    "empty body": (reply(b"", kind="application/json"), SourceBadAnswer, "not JSON"),
    "other json": (reply({"hello": "world"}), SourceBadAnswer, "another shape"),
    "a list": (reply([]), SourceBadAnswer, "another shape"),
    "result of numbers": (reply({"data": {"result": [1, 2, 3]}}), SourceBadAnswer, "another shape"),
    "result is a number": (reply({"data": {"result": 5}}), SourceBadAnswer, "another shape"),
    "labels are a list": (reply({"data": {"result": [{"metric": [], "value": [1, "1"]}]}}), SourceBadAnswer, "shape"),
    "labels nested": (
        reply({"data": {"result": [{"metric": {"a": {}}, "value": [1, "1"]}]}}),
        SourceBadAnswer,
        "shape",
    ),
    "value is a word": (reply({"data": {"result": [{"metric": {}, "value": [1, "x"]}]}}), SourceBadAnswer, "shape"),
    "value missing": (reply({"data": {"result": [{"metric": {}}]}}), SourceBadAnswer, "shape"),
    "nested deeply": (reply("[" * 200_000, kind="application/json"), SourceBadAnswer, "shape"),
    "not gzip": (reply(b"plain", headers={"Content-Encoding": "gzip"}), SourceBadAnswer, "unpacked"),
    "histogram": (
        reply({"data": {"result": [{"metric": {}, "histogram": [1, {}]}]}}),
        QueryUnsupported,
        "histogram_quantile",
    ),
    "500": (status(500, "oops"), SourceUnreachable, "500: oops"),
    "502 html": (html(502), SourceUnreachable, "502"),
    "503": (status(503, "Service Unavailable"), SourceUnreachable, "503"),
    "429": (status(429, "slow down"), SourceUnreachable, "429"),
    "401": (status(401, "no"), SourceRejected, "check token"),
    "403": (status(403, "no"), SourceRejected, "check token"),
    "404": (status(404, "page not found"), SourceRejected, "check the url"),
    "redirect": (redirect("http://127.0.0.1:1/"), SourceRejected, "redirects"),
    "dropped": (dropped(), SourceUnreachable, "closed the connection|reset"),
    "broken off": (broken_off(), SourceUnreachable, "in the middle"),
}


@pytest.mark.parametrize("day", BAD_DAYS)
async def test_a_bad_day_has_its_own_error(day: str, server: Answering) -> None:
    say, error, words = BAD_DAYS[day]
    server.on("*", say)
    async with source(server.url) as metrics:
        with pytest.raises(error, match=words) as caught:
            await metrics.instant("up", 0)
        assert type(caught.value) is error
        assert server.url in str(caught.value)
        if day != "histogram" and "result" not in day and "label" not in day and "value" not in day:
            with pytest.raises(error, match=words):
                await metrics.range("up", 0, 60, 5)


@pytest.mark.parametrize("say", [hanging(), dripping(), dripping(headers_too=True)], ids=["silent", "body", "headers"])
async def test_a_slow_answer_ends_with_the_time_out_and_its_thread_with_it(say: Any, server: Answering) -> None:
    server.on("*", say)
    async with source(server.url, timeout=0.3) as metrics:
        began = time.monotonic()
        with pytest.raises(SourceTimeout, match=r"within 300ms|in time"):
            await metrics.instant("up", 0)
        assert time.monotonic() - began < 3
    await _no_threads()


async def test_a_caller_who_gives_up_leaves_no_thread_behind(server: Answering) -> None:
    server.on("*", dripping())
    async with source(server.url, timeout=60) as metrics:
        task = asyncio.create_task(metrics.instant("up", 0))
        while not server.seen:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await _no_threads()


async def _no_threads() -> None:
    async with asyncio.timeout(5):
        while any(t.name == "treewalk-source" for t in threading.enumerate()):
            await asyncio.sleep(0.01)


async def test_nobody_there() -> None:
    async with source(f"http://127.0.0.1:{free_port()}") as metrics:
        with pytest.raises(SourceUnreachable, match="connection refused"):
            await metrics.instant("up", 0)


async def test_a_host_that_does_not_exist() -> None:
    async with source("http://nowhere.invalid:9090", timeout=20) as metrics:
        with pytest.raises(SourceError, match=r"unknown host|no answer"):
            await metrics.instant("up", 0)


async def test_a_url_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Written down it is refused when the settings are read; a secret is known only when it is used."""
    for url in ("localhost", "http://", "ftp://127.0.0.1/", "http://[::1"):
        with pytest.raises(ValidationError):
            PrometheusSettings(url=url)
        monkeypatch.setitem(SECRETS, "ADDRESS", url)
        async with source("${ADDRESS}") as metrics:
            with pytest.raises(SourceRejected, match="check url and headers"):
                await metrics.instant("up", 0)


async def test_warnings_and_infos_beside_an_answer_are_kept(server: Answering) -> None:
    told = {"warnings": ["store 10.0.0.7 did not reply", "store 10.0.0.7 did not reply", 5], "infos": ["not a counter"]}
    vector = {"resultType": "vector", "result": [{"metric": {"warnings": "x"}, "value": [1, "2"]}]}
    matrix = {"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "2"]]}]}
    server.on("/api/v1/query", reply({"status": "success", "data": vector, **told}), times=1)
    server.on("/api/v1/query", reply({"status": "success", "data": vector, "warnings": None}), times=1)
    server.on("/api/v1/query", reply({"status": "success", "data": vector}))
    server.on("/api/v1/query_range", reply({"status": "success", "data": matrix, **told}), times=1)
    server.on("/api/v1/query_range", reply({"status": "success", "data": matrix}))
    async with source(server.url) as metrics:
        first = await metrics.instant("up", 0)
        assert isinstance(first, Answered)
        assert [s.value for s in first] == [2.0]
        assert set(first.warnings) == {"store 10.0.0.7 did not reply"}
        assert first.infos == ("not a counter",)
        for found in (await metrics.instant("up", 0), await metrics.instant("up", 0)):
            assert isinstance(found, Answered)
            assert (found.warnings, found.infos) == ((), ())
        long = await metrics.range("up", 0, MAX_POINTS * 2, 1)  # in pieces, of which one has a warning
        assert isinstance(long, Answered)
        assert (long.warnings, long.infos) == (("store 10.0.0.7 did not reply",), ("not a counter",))


async def test_what_may_pass_is_asked_again(server: Answering) -> None:
    server.on("*", status(503), times=1).on("*", dropped(), times=1).replay(CONTRACTS / "query_vector.json")
    async with source(server.url, retries=2) as metrics:
        assert [s.value for s in await metrics.instant("up", 0)] == [1.0]
    assert len(server.seen) == 3


async def test_what_stays_broken_is_not_asked_for_ever(server: Answering) -> None:
    server.on("*", status(500))
    async with source(server.url, retries=1) as metrics:
        for _ in range(5):
            with pytest.raises(SourceUnreachable):
                await metrics.instant("up", 0)
        with pytest.raises(CircuitOpen, match="5 times in a row"):
            await metrics.instant("up", 0)
    assert len(server.seen) == 10


async def test_an_answer_over_the_limit_is_cut_off(server: Answering) -> None:
    server.on("*", endless(100))
    async with source(server.url, max_bytes=1_000_000) as metrics:
        with pytest.raises(SourceBadAnswer, match=r"more than 1 MB.*max_bytes"):
            await metrics.instant("up", 0)


def test_a_hundred_megabytes_do_not_fill_the_memory(server: Answering) -> None:
    server.on("*", endless(100))
    program = f"""
import asyncio, resource
from treewalk.errors import SourceBadAnswer
from treewalk.integrations.clock import SystemClock
from treewalk.integrations.prometheus import Prometheus
from treewalk.settings import PrometheusSettings
async def main(url, bad):
    source = Prometheus("x", PrometheusSettings(url=url, retries=0, max_bytes=8_000_000), str, SystemClock())
    try:
        await source.instant("up", 0)
    except bad:
        pass
    else:
        raise SystemExit("not refused")
from treewalk.errors import SourceUnreachable
asyncio.run(main("http://127.0.0.1:{free_port()}", SourceUnreachable))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
asyncio.run(main("{server.url}", SourceBadAnswer))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 40_000  # kilobytes


def _has(name: str, value: str) -> Any:
    def check(seen: Seen) -> bool:
        return seen.headers.get(name) == value

    return check


async def test_bearer_token_and_headers_are_sent(server: Answering) -> None:
    server.on("*", reply(EMPTY), when=_has("authorization", "Bearer s3cret-t0ken")).on("*", status(401))
    async with source(server.url, bearer_token="${TOKEN}", headers={"X-Scope-OrgID": "team-${TOKEN}"}) as metrics:
        assert await metrics.instant("up", 0) == []
        assert await metrics.range("up", 0, 60, 5) == []
    assert {s.headers["x-scope-orgid"] for s in server.seen} == {"team-s3cret-t0ken"}


@pytest.mark.parametrize("in_url", [False, True])
async def test_basic_auth_is_sent_and_never_shown(in_url: bool, server: Answering) -> None:
    server.on("*", reply(EMPTY), times=1, when=_has("authorization", "Basic b3BzOnMzY3JldC10MGtlbg=="))
    server.on("*", status(401, "wrong s3cret"))
    url = server.url.replace("://", "://ops:${TOKEN}@") if in_url else server.url
    auth = {} if in_url else {"username": "ops", "password": "${TOKEN}"}
    async with source(url, **auth) as metrics:
        assert await metrics.instant("up", 0) == []
        with pytest.raises(SourceRejected) as caught:
            await metrics.instant("up", 0)
    assert "s3cret" not in str(caught.value)
    assert "TOKEN" not in str(caught.value)


async def test_a_password_in_the_url_is_not_shown_when_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SECRETS, "ADDRESS", f"http://ops:s3/cret@127.0.0.1:{free_port()}")
    async with source("${ADDRESS}") as metrics:
        with pytest.raises(SourceError) as caught:
            await metrics.instant("up", 0)
    assert "cret" not in str(caught.value)


async def test_no_redirect_carries_credentials_to_a_stranger(server: Answering) -> None:
    with answering() as stranger:
        server.on("*", redirect(f"{stranger.url}/api/v1/query"))
        async with source(server.url, bearer_token="${TOKEN}") as metrics:
            with pytest.raises(SourceRejected):
                await metrics.instant("up", 0)
        assert stranger.seen == []


async def test_proxies_of_the_environment_are_not_used(server: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    server.on("*", reply(EMPTY))
    async with source(server.url) as metrics:
        assert await metrics.instant("up", 0) == []


async def test_cookies_are_not_kept(server: Answering) -> None:
    server.on("*", reply(EMPTY, headers={"Set-Cookie": "a=b"}))
    async with source(server.url) as metrics:
        await metrics.instant("up", 0)
        await metrics.instant("up", 1)
    assert "cookie" not in server.seen[-1].headers


class TestTls:
    @pytest.fixture
    def ca(self, tmp_path: Path) -> trustme.CA:
        ca = trustme.CA()
        ca.cert_pem.write_to_path(tmp_path / "ca.pem")
        ca.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
        return ca

    @pytest.fixture
    def server(self, ca: trustme.CA) -> Iterator[Answering]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1").configure_cert(context)
        with answering(tls=context) as made:
            made.on("*", reply(EMPTY))
            yield made

    async def test_an_unknown_certificate_is_not_trusted(self, server: Answering) -> None:
        async with source(server.url) as metrics:
            with pytest.raises(SourceUnreachable, match="certificate could not be verified; set ca_file"):
                await metrics.instant("up", 0)

    async def test_a_ca_file_of_the_workspace_is_trusted(self, server: Answering, tmp_path: Path) -> None:
        async with source(server.url, root=tmp_path, ca_file="ca.pem") as metrics:
            assert await metrics.instant("up", 0) == []

    async def test_verification_can_be_switched_off(self, server: Answering, recwarn: pytest.WarningsRecorder) -> None:
        async with source(server.url, verify_tls=False) as metrics:
            assert await metrics.instant("up", 0) == []

    async def test_a_slow_answer_over_tls_ends_with_the_time_out(self, server: Answering, tmp_path: Path) -> None:
        server.rules.clear()
        server.on("*", dripping())
        async with source(server.url, root=tmp_path, ca_file="ca.pem", timeout=0.3) as metrics:
            with pytest.raises(SourceTimeout):
                await metrics.instant("up", 0)
        await _no_threads()

    async def test_a_client_certificate_is_shown(self, ca: trustme.CA, tmp_path: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1").configure_cert(context)
        ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        with answering(tls=context) as server:
            server.on("*", reply(EMPTY))
            async with source(server.url, root=tmp_path, ca_file="ca.pem", cert_file="client.pem") as metrics:
                assert await metrics.instant("up", 0) == []
            async with source(server.url, root=tmp_path, ca_file="ca.pem") as metrics:
                with pytest.raises(SourceUnreachable):
                    await metrics.instant("up", 0)

    async def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        async with source("https://127.0.0.1:1", root=tmp_path, ca_file="gone.pem") as metrics:
            with pytest.raises(SettingsError, match=r"gone\.pem does not exist"):
                await metrics.instant("up", 0)


@pytest.mark.parametrize(
    ("start", "end", "step", "wanted"),
    [
        (0, 10, 5, [(0, 10)]),
        (0, 0, 5, [(0, 0)]),
        (0, 11, 5, [(0, 10)]),
        (0, MAX_POINTS - 1, 1, [(0, MAX_POINTS - 1)]),
        (0, MAX_POINTS, 1, [(0, MAX_POINTS - 1), (MAX_POINTS, MAX_POINTS)]),
    ],
)
def test_pieces_share_one_grid(start: float, end: float, step: float, wanted: list[tuple[float, float]]) -> None:
    assert pieces(start, end, step) == wanted


async def test_a_range_that_runs_backward_is_not_asked(server: Answering) -> None:
    async with source(server.url) as metrics:
        for start, end, step in ((10, 0, 1), (0, 10, 0), (0, 10, -1), (math.nan, 10, 1)):
            with pytest.raises(SourceRejected, match="was not asked"):
                await metrics.range("up", start, end, step)
    assert server.seen == []
