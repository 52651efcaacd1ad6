"""What goes wrong beside a diagnosis: one line, an exit code that claims nothing, and the diagnosis itself kept."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from treewalk.app import App, DiagnoseOptions
from treewalk.cli.common import parse_moment, parse_time
from treewalk.cli.run import run
from treewalk.errors import StoreError, UsageError
from treewalk.model.verdict import Status

from tests.test_cli import ENVIRONMENT, treewalk
from tests.test_stuck_checks import node, workspace

BROKEN = {"node": "b", "healthcheck": {"method": "tcp_connect", "address": "127.0.0.1:1"}}


def write(folder: Path, tree: dict[str, object], **settings: object) -> Path:
    (folder / "trees").mkdir()
    (folder / "trees" / "a.yaml").write_text(json.dumps({"metrics": {"a": tree}}))
    (folder / "treewalk.yaml").write_text(json.dumps(settings))
    return folder


def test_a_secret_that_is_missing_costs_what_its_source_would_have_told_and_no_more(tmp_path: Path) -> None:
    source = {"url": "http://127.0.0.1:9", "bearer_token": "${NO_SUCH_TOKEN}", "retries": 0}
    alerting = {"node": "n", "alerts": ["up > 1"], "logs": {"loki_query": '{a="b"}'}, "metrics": ["up"]}
    for name, sla in (("without", {"threshold": "60s"}), ("with", {"query": "age", "threshold": "60s"})):
        folder = tmp_path / name
        folder.mkdir()
        write(folder, {"sla": sla, "depends_on": [alerting, BROKEN]}, sources={"prometheus": source, "loki": source})
        done = treewalk("diagnose", "a", "-q", "--format", "json", cwd=folder)
        assert "Traceback" not in done.stderr
        found = json.loads(done.stdout)
        assert found["root_cause"]["node"] == "b"
        assert "NO_SUCH_TOKEN is not set" in found["verdicts"]["n"]["reason"]
        assert {"log", "metrics"} <= {g["what"] for g in found["gaps"] if "NO_SUCH_TOKEN is not set" in g["why"]}


@pytest.mark.parametrize("text", ["99999999999999999", "0001-01-01", "-1000000d", "-" + "9" * 30 + "d", "9" * 400])
def test_a_time_that_never_was_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(UsageError, match=r"1970 to 9000|is not a time"):
        parse_time(text)


def test_the_future_cannot_be_diagnosed_but_a_change_there_has_an_impact() -> None:
    with pytest.raises(UsageError, match="in the future"):
        parse_moment("2130-01-01")
    assert parse_time("2130-01-01") == 5_049_129_600.0 + 2 * 86400 - 172_800  # of `impact`
    assert parse_moment(f"{time.time() + 30:.0f}") is not None  # clocks differ


@pytest.mark.parametrize("at", ["1e300", "NaN", "-1e18"])
def test_a_bundle_of_no_time_is_refused(tmp_path: Path, at: str) -> None:
    options = {"at": float("nan"), "window": 900}
    tree = {"slas": {}, "nodes": {}, "windows": {}}
    text = json.dumps({"format": "treewalk/bundle/1", "sla": "a", "content": tree, "options": options})
    (tmp_path / "b.json").write_text(text.replace("NaN", at))
    done = treewalk("replay", "b.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "is not a bundle" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_recording_with_its_time_changed_is_refused_too(tmp_path: Path) -> None:
    workspace(tmp_path, BROKEN)
    assert treewalk("diagnose", "a", "--record", "b.json", "--no-keep", cwd=tmp_path).returncode == 1
    assert treewalk("replay", "b.json", cwd=tmp_path).returncode == 1
    bundle = json.loads((tmp_path / "b.json").read_text())
    for at in (1e300, float("nan")):
        bundle["options"]["at"] = at
        (tmp_path / "c.json").write_text(json.dumps(bundle))
        assert treewalk("replay", "c.json", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize("folder", ["/proc/foo", "/etc/passwd"])
def test_a_workspace_where_none_can_be_is_refused_in_one_line(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", folder]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"treewalk: no workspace can be written to {folder}")
    assert len(said.splitlines()) == 1


ODD = """
from treewalk import Probe, Verdict, check, unhealthy

@check("odd")
def odd(probe: Probe, *, what: str) -> Verdict:
    if what == "number":
        return unhealthy("gone", onset=float("nan"), size=float("inf"), observed=5)
    if what == "late":
        return unhealthy("gone", onset=1e300)
    if what == "status":
        return Verdict("sick", "gone")

    class Unspeakable(Exception):
        def __str__(self):
            raise ValueError

    raise Unspeakable
"""


@pytest.mark.parametrize("what", ["number", "late", "status", "message"])
def test_whatever_a_check_gives_there_is_a_diagnosis(tmp_path: Path, what: str) -> None:
    workspace(tmp_path, node("n", "odd", what=what))
    (tmp_path / "checks" / "odd.py").write_text(ODD)
    done = treewalk("diagnose", "a", "-q", "--format", "json", cwd=tmp_path)
    found = json.loads(done.stdout)
    verdict = found["verdicts"]["n"]
    assert verdict["onset"] is None
    assert verdict["verdict"] == ("unhealthy" if what in ("number", "late") else "unknown")
    assert treewalk("incidents", "show", "1", cwd=tmp_path).returncode == 0


def test_what_nobody_foresaw_is_one_line_and_an_exit_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: object, **named: object) -> None:
        raise ExceptionGroup("several", [ValueError("password=hidden1 is odd")])

    monkeypatch.setattr("treewalk.cli.run.app", broken)
    assert run(["diagnose", "a"]) == 70
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "ValueError" in said
    assert "--debug" in said
    assert "hidden1" not in said
    assert run(["--debug", "diagnose", "a"]) == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["checks"], ["--version"], ["--example", "tree", "entity_data_freshness"]])
def test_an_answer_that_cannot_be_written_says_so(tmp_path: Path, arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "treewalk", *arguments], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE,
            text=True, check=False, env=ENVIRONMENT, timeout=60,
        )  # fmt: skip
    assert done.returncode == 74
    assert done.stderr == "treewalk: the answer cannot be written: No space left on device\n"


def test_an_answer_that_nobody_waits_for_is_no_failure(tmp_path: Path) -> None:
    shell = f"{sys.executable} -m treewalk"
    for command, code in ((f"{shell} checks >&-", 74), (f"set -o pipefail; {shell} checks | true", 0)):
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False, env=ENVIRONMENT,
            timeout=60,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == (1 if code else 0)


@pytest.mark.parametrize("more", [[], ["--no-keep"]])
def test_a_memory_that_is_damaged_does_not_keep_the_diagnosis_from_being_made(tmp_path: Path, more: list[str]) -> None:
    workspace(tmp_path, BROKEN)
    (tmp_path / ".treewalk").mkdir()
    (tmp_path / ".treewalk" / "memory.db").write_bytes(b"this is no database at all" * 1000)
    done = treewalk("diagnose", "a", "--format", "json", *more, cwd=tmp_path)
    found = json.loads(done.stdout)
    assert done.returncode == found["exit_code"] == 1
    assert found["root_cause"]["node"] == "b"
    assert "warning: the memory" in done.stderr
    assert any("known errors are those of the files alone" in remark for remark in found["remarks"])


async def test_where_somebody_acts_on_it_a_memory_that_fails_ends_the_diagnosis(tmp_path: Path) -> None:
    workspace(tmp_path, BROKEN)
    (tmp_path / ".treewalk").mkdir()
    (tmp_path / ".treewalk" / "memory.db").write_bytes(b"this is no database at all" * 1000)
    async with App.open(tmp_path, environ={}) as app:
        with pytest.raises(StoreError):  # it holds which fixes are not trusted any more
            await app.diagnose("a", DiagnoseOptions(keep=False))


def test_a_recording_that_has_no_place_to_go_is_refused_before_the_walk(tmp_path: Path) -> None:
    workspace(tmp_path, BROKEN)
    (tmp_path / "folder").mkdir()
    for place, says in (("/nonexist/x.json", "there is no folder"), ("folder", "it is a folder")):
        done = treewalk("diagnose", "a", "--record", place, cwd=tmp_path)
        assert done.returncode == 2
        assert says in done.stderr
        assert "walking" not in done.stderr


async def test_a_recording_that_fails_after_the_walk_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace(tmp_path, BROKEN)

    def full(*arguments: object) -> None:
        raise UsageError("the recording x.json cannot be written: No space left on device")

    monkeypatch.setattr("treewalk.recording._write_whole", full)
    warnings: list[str] = []
    options = DiagnoseOptions(record=tmp_path / "x.json", warn=warnings.append)
    async with App.open(tmp_path, environ={}) as app:
        found = await app.diagnose("a", options)
        assert app.store.incident(1)["remarks"] == list(found.remarks)
    assert found.verdicts["b"].status is Status.UNHEALTHY
    assert warnings == ["the recording x.json cannot be written: No space left on device"]
    assert set(warnings) <= set(found.remarks)


CLOSED = {"days": "mon", "from": "00:00", "to": "00:01", "timezone": "UTC"}


async def test_a_window_that_is_closed_stays_closed_when_the_sla_cannot_be_measured(tmp_path: Path) -> None:
    write(
        tmp_path, {"sla": {"query": "age", "baseline": {"window": "15m"}, "window": "W"}, "depends_on": [BROKEN]},
        windows={"W": CLOSED}, sources={"files": {"streams": []}},
    )  # fmt: skip
    async with App.open(tmp_path, environ={}) as app:
        found = await app.diagnose("a", DiagnoseOptions(keep=False, at=1_768_452_130.0))  # a Thursday
    assert found.measurement.status == "unknown"
    assert found.measurement.in_window is False
    assert found.measurement.limit is None
