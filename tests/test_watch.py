"""SLAs are measured by treewalk itself; what that amounts to is told once, by the road that alerts take."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from treewalk.app import App
from treewalk.errors import StoreError, UsageError
from treewalk.model.diagnosis import Measurement
from treewalk.model.place import Place
from treewalk.model.quantity import parse_threshold
from treewalk.model.tree import Sla
from treewalk.model.window import Window
from treewalk.server.watching import SOURCE, Watch, Watcher, alert_of, remembered, rule_of, watched
from treewalk.settings import WatchSettings
from treewalk.stages.route import Route
from treewalk.stages.watch import Change, Row, Rule, advance
from treewalk.store.casebook import Casebook
from treewalk.store.database import SqliteDatabase
from treewalk.store.inbox import Inbox

from tests.crash.target import running_target, write_workspace
from tests.support.clocks import StandingClock
from tests.support.serving import serving
from tests.test_serve import ENVIRON, TOKEN, until, with_server

OPEN = Window("W", frozenset(range(7)), time(0), time(0), "UTC")
statuses = st.lists(st.sampled_from(["met", "violated", "unknown", "closed"]), max_size=60)
rules = st.builds(
    Rule, times=st.integers(1, 4), lasting=st.sampled_from([0.0, 25.0, 60.0]), silent=st.sampled_from([0.0, 30.0, 90.0])
)


def sla(name: str, source: str | None = None, query: str | None = "q", window: Window | None = None) -> Sla:
    return Sla(name, query, parse_threshold("60s"), None, window, (), Place("t.yaml", 1, 1), source=source)


def told(said: Sequence[str], rule: Rule) -> list[tuple[int, Change]]:
    row, changes = Row(), []
    for k, status in enumerate(said):
        found = Measurement("met" if status == "closed" else status, "r", in_window=status != "closed")  # type: ignore[arg-type]
        row, new = advance(row, "s", found, 10.0 * k, rule)
        changes += [(k, one) for one in new]
    return changes


@given(statuses, rules)
def test_violated_and_met_take_turns(said: list[str], rule: Rule) -> None:
    kinds = [c.kind for _, c in told(said, rule) if c.kind in ("violated", "met", "window closed")]
    for first, second in zip(["met", *kinds], kinds, strict=False):
        assert (first == "violated") != (second == "violated")


@given(statuses, rules)
def test_nothing_is_told_but_by_the_measurements_that_say_it(said: list[str], rule: Rule) -> None:
    for k, change in told(said, rule):
        if change.kind in ("violated", "met"):
            row = said[max(0, k - rule.times + 1) : k + 1]
            assert set(row) == {change.kind}
            assert len(row) == rule.times
            began = k
            while began and said[began - 1] == change.kind:
                began -= 1
            assert 10.0 * (k - began) >= rule.lasting
        if change.kind == "violated":
            assert change.since == 10.0 * began


@given(statuses, rules)
def test_unknown_is_never_violated_and_said_once(said: list[str], rule: Rule) -> None:
    said = [status for status in said if status != "closed"]  # a new day may say it anew
    blind = [c for _, c in told(said, rule) if c.kind in ("unmeasurable", "measurable")]
    assert all((a.kind, b.kind) != ("unmeasurable", "unmeasurable") for a, b in pairwise(blind))
    for k, change in told(said, rule):
        if change.kind == "unmeasurable":
            assert said[k] == "unknown"
            assert change.at - change.since >= rule.silent
    assert not [c for _, c in told([s for s in said if s == "unknown"], rule) if c.kind in ("violated", "met")]


@given(statuses, st.integers(1, 4))
def test_a_row_long_enough_is_told(said: list[str], times: int) -> None:
    kinds = [c.kind for _, c in told([*said, *["violated"] * times], Rule(times))]
    assert [kind for kind in kinds if kind != "measurable" and kind != "unmeasurable"][-1:] == ["violated"]


def test_an_alert_fires_and_is_resolved_with_one_start() -> None:
    first, second = (alert_of(c) for _, c in told(["violated", "violated", "met", "met"], Rule(2)))
    assert first is not None
    assert second is not None
    assert (first.status, first.starts_at, first.labels) == ("firing", 0.0, {"treewalk_sla": "s"})
    assert (second.status, second.starts_at, second.ends_at) == ("resolved", 0.0, 30.0)
    assert alert_of(Change("s", "unmeasurable", "r", 0.0, 1.0)) is None


def test_how_long_is_written_as_a_number_or_a_duration() -> None:
    assert rule_of(WatchSettings.model_validate({"for": 3})) == Rule(3, 0.0, 600.0)
    assert rule_of(WatchSettings.model_validate({"for": "2m"})) == Rule(1, 120.0, 600.0)


def test_which_slas_are_watched() -> None:
    slas = {name: sla(name, query=None if name == "c" else "q") for name in ("a", "b", "c")}
    found, without = watched(slas, ["a", "c"])
    assert ([s.name for s in found], without) == (["a"], ["c"])
    with pytest.raises(UsageError, match="no SLA is called 'd\\*'"):
        watched(slas, ["d*"])


def test_what_was_told_before_a_restart_is_not_told_again_while_its_window_stayed_open() -> None:
    day = Window("D", frozenset(range(7)), time(9), time(17), "UTC")
    at = 10 * 86400.0 + 12 * 3600.0
    slas = [sla("always"), sla("day", window=day), sla("other")]
    assert set(remembered(slas, {"always": at - 90000, "day": at - 600}, at)) == {"always", "day"}
    assert set(remembered(slas, {"always": at - 90000, "day": at - 86400}, at)) == {"always"}


def settings(**more: Any) -> WatchSettings:
    return WatchSettings.model_validate({"interval": 10.0, "for": 2, **more})


async def test_a_change_that_could_not_be_told_is_told_again() -> None:
    tries: list[Change] = []
    done = asyncio.Event()

    async def tell(change: Change) -> None:
        tries.append(change)
        if len(tries) < 3:
            raise StoreError("disk full")
        done.set()

    async def broken(one: Sla) -> Measurement:
        return Measurement("violated", "90s")

    watcher = Watcher([sla("a")], broken, settings(), StandingClock(), tell)
    task = asyncio.create_task(watcher.run())
    await asyncio.wait_for(done.wait(), 10)
    task.cancel()
    assert len({(c.kind, c.since) for c in tries}) == 1


async def test_each_measurement_that_is_met_is_noted_and_trouble_with_it_ends_no_watch() -> None:
    clock, noted = StandingClock(0.0), []
    said = iter(["met", "violated", "unknown", "met"])

    async def measure(one: Sla) -> Measurement:
        return Measurement(next(said), "r")  # type: ignore[arg-type]

    async def met(name: str) -> None:
        noted.append((name, clock.now()))
        raise StoreError("the disk is full")

    async def tell(change: Change) -> None: ...

    watcher = Watcher([sla("a")], measure, settings(), clock, tell, met=met)
    for _ in range(4):
        await watcher._turn(watcher.slas[0])
        clock.at += 30
    assert noted == [("a", 0.0), ("a", 90.0)]


async def test_a_violation_that_was_mended_and_is_back_is_told_again(tmp_path: Path) -> None:
    """A fix may hold just long enough for its proof, and break before the watch has seen it met."""
    database, clock, tries = SqliteDatabase(tmp_path / "m.db"), StandingClock(), list[Change]()
    inbox, cases = Inbox(database), Casebook(database)
    done = asyncio.Event()

    async def tell(change: Change) -> None:
        alert = alert_of(change)
        assert alert is not None
        inbox.accept([[alert]], lambda one: Route(("a",), ""), clock.now())
        tries.append(change)
        living = cases.living("a")
        endings = {1: "resolved", 2: "escalated"}
        cases.close(living[0]["number"], endings[len(tries)], "over", clock.now(), {})
        if len(tries) == 2:
            asyncio.get_running_loop().call_later(0.2, done.set)

    async def broken(one: Sla) -> Measurement:
        return Measurement("violated", "90s")

    async def mended(name: str, since: float) -> bool:
        return inbox.mended(SOURCE, name, since)

    watcher = Watcher([sla("a")], broken, settings(), clock, tell, mended=mended)
    task = asyncio.create_task(watcher.run())
    await asyncio.wait_for(done.wait(), 10)
    task.cancel()
    assert [c.kind for c in tries] == ["violated", "violated"]  # escalated: a human knows, and it is not told again
    assert tries[0].since < tries[1].since
    assert [row["ending"] for row in database.query("SELECT ending FROM incidents ORDER BY number")] == [
        "resolved",
        "escalated",
    ]


async def test_a_source_that_hangs_keeps_only_its_own_slas_waiting() -> None:
    seen: list[str] = []
    done, forever = asyncio.Event(), asyncio.Event()

    async def measure(one: Sla) -> Measurement:
        if one.source == "dead":
            await forever.wait()
        if one.name == "bug":
            raise ZeroDivisionError
        return Measurement("violated", "90s")

    async def tell(change: Change) -> None:
        seen.append(change.sla)
        if len(set(seen)) == 2:
            done.set()

    slas = [sla(f"d{k}", "dead") for k in range(5)] + [sla("a", "well"), sla("bug", "well"), sla("b", "well")]
    watcher = Watcher(slas, measure, settings(concurrency=2), StandingClock(), tell)
    task = asyncio.create_task(watcher.run())
    await asyncio.wait_for(done.wait(), 10)
    task.cancel()
    assert set(seen) == {"a", "b"}


async def test_a_closed_window_is_not_measured() -> None:
    async def measure(one: Sla) -> Measurement:
        raise AssertionError("asked outside of the window")

    never = Window("N", frozenset(), time(9), time(17), "UTC")
    watcher = Watcher([sla("a", window=never)], measure, settings(), StandingClock(), lambda c: asyncio.sleep(0))
    assert await watcher.once() == {"a": None}


def test_a_violated_sla_opens_an_incident_without_any_alerting(tmp_path: Path) -> None:
    with running_target() as target:
        workspace = with_server(write_workspace(tmp_path / "w", target.url, ["one", "two"]))
        with_server(workspace, "watch: {interval: 100ms, for: 2, slas: ['fresh_o*']}\n")
        with serving(workspace, environ=ENVIRON) as served, httpx.Client(base_url=served.url, headers=TOKEN) as client:

            def resolved() -> Any:
                found = client.get("/api/incidents/1")
                kinds = [row["kind"] for row in found.json().get("timeline", [])]
                return found.json() if "closed" in kinds and "alert resolved" in kinds else None

            incident = until(resolved, "the incident's end and the alert's")
            assert incident["life"]["ending"] == "resolved"
            assert incident["timeline"][0]["text"].startswith("opened: watch: fresh_one: ")
            assert [a["status"] for a in incident["alerts"]] == ["firing", "resolved"]
            assert len(client.get("/api/incidents").json()["incidents"]) == 1
            assert target.broken("two")
            metrics = client.get("/metrics").text
            assert 'treewalk_alerts_accepted_total{source="watch",what="new"} 2.0' in metrics
            assert served.stop() == 0


def test_a_name_that_is_no_sla_is_told_at_the_start(tmp_path: Path) -> None:
    workspace = with_server(write_workspace(tmp_path / "w", "http://127.0.0.1:9", ["one"]))
    with_server(workspace, "watch: {slas: [fresh_on]}\n")
    with serving(workspace, environ=ENVIRON) as served:
        assert served.process.wait(timeout=30) == 2
        served._reader.join(timeout=5)
        assert re.search(r"treewalk\.yaml:\d+:\d+: watch\.slas: .*did you mean 'fresh_one'", served.said[-1])


def test_a_restart_says_nothing_twice(tmp_path: Path) -> None:
    with running_target() as target:
        workspace = with_server(write_workspace(tmp_path / "w", target.url, ["one"]), "watch: {interval: 100ms}\n")
        path = workspace / "treewalk.yaml"
        path.write_text(path.read_text().replace("tier: full", "tier: never"))
        for turn in range(2):
            with serving(workspace) as served, httpx.Client(base_url=served.url) as client:

                def measured(many: int) -> bool:
                    lines = client.get("/metrics").text.splitlines()
                    found = [one for one in lines if one.startswith("treewalk_watch_measurements_total{")]
                    return any(float(one.split()[-1]) >= many for one in found if 'status="violated"' in one)

                until(lambda: measured(5), "five measurements")
                found = until(lambda: client.get("/api/incidents").json()["incidents"], "the incident")
                until(lambda: client.get("/api/incidents/1").json()["life"]["ending"] == "refused", "its end")
                assert (turn, len(found)) == (turn, 1)
                alerts = client.get("/api/alerts").json()["alerts"]
                assert [(one["status"], one["seen"]) for one in alerts] == [("firing", 1)]
                assert served.stop() == 0


async def test_what_was_told_stays_told_over_a_reload(tmp_path: Path) -> None:
    workspace = with_server(write_workspace(tmp_path / "w", "http://127.0.0.1:9", ["one", "two"]), "watch: {}\n")
    said: list[str] = []
    async with App.open(workspace, environ=ENVIRON) as app:
        watch = Watch(lambda alert: asyncio.sleep(0), said.append, lambda sla, found: None)
        await watch.begin(app, {"fresh_one": 5.0})
        assert watch._watcher is not None
        assert watch._watcher.rows == {"fresh_one": Row(since=5.0)}
        watch._watcher.rows["fresh_two"] = Row(same=1, last="violated")
        await watch.begin(app, {})
        assert watch._watcher.rows == {"fresh_one": Row(since=5.0), "fresh_two": Row(same=1, last="violated")}
        with_server(workspace, "# nothing is watched any more\n")
        path = workspace / "treewalk.yaml"
        path.write_text(path.read_text().replace("watch: {}\n", ""))
        await watch.begin(app.renewed(), {})
        assert (watch.watching, watch._watcher) == (0, None)
        await watch.end()


def test_the_command_shows_all_once_and_says_by_its_exit_code(tmp_path: Path) -> None:
    with running_target() as target:
        workspace = write_workspace(tmp_path / "w", target.url, ["one", "two"])
        for part in "ab":
            httpx.post(f"{target.url}/mend/two/{part}").raise_for_status()
        command = [sys.executable, "-m", "treewalk", "--workspace", str(workspace), "watch"]
        done = subprocess.run([*command, "--once", "--format", "json"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1, done.stderr
        found = {row["sla"]: row["status"] for row in json.loads(done.stdout)["slas"]}
        assert found == {"fresh_one": "violated", "fresh_two": "met"}
        assert subprocess.run([*command, "--once", "fresh_two"], capture_output=True, timeout=60).returncode == 0
        running = subprocess.Popen(
            [*command, "--interval", "100ms", "--format", "json"], stdout=subprocess.PIPE, text=True
        )
        try:
            assert running.stdout is not None
            line = json.loads(running.stdout.readline())
            assert (line["sla"], line["kind"]) == ("fresh_one", "violated")
        finally:
            running.kill()
            running.wait(timeout=10)
