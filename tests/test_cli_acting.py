"""The commands that act, stop and explain, run as a user runs them, against a small server that can be mended."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from treewalk.cli.common import signed, user

from tests.crash.target import Target, running_target, write_workspace


@pytest.fixture
def target() -> Iterator[Target]:
    with running_target() as found:
        yield found


@pytest.fixture
def workspace(tmp_path: Path, target: Target) -> Path:
    return write_workspace(tmp_path / "w", target.url, ["one"])


def start(workspace: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "treewalk", "--workspace", str(workspace), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL, text=True)


def run(workspace: Path, *arguments: str) -> tuple[int, str, str]:
    process = start(workspace, *arguments)
    out, err = process.communicate(timeout=90)
    return process.returncode, out, err


def ask_first(workspace: Path) -> None:
    path = workspace / "treewalk.yaml"
    path.write_text(path.read_text().replace("tier: full", "tier: ask"))


def when_asking(workspace: Path, command: str) -> Any:
    deadline = time.monotonic() + 60
    while True:
        code, out, err = run(workspace, command, "1", "--who", "ann")
        if code != 2:
            return code, out, err
        assert time.monotonic() < deadline, err
        time.sleep(0.2)


def test_fix_says_what_it_did_and_incidents_show_tells_the_timeline(workspace: Path, target: Target) -> None:
    code, out, err = run(workspace, "fix", "fresh_one")
    assert code == 0, err
    assert out.startswith("incident 1 resolved: mend at store_one")
    assert "planned      plan: mend at store_one" in err
    shown = run(workspace, "incidents", "show", "1")[1]
    assert "before/after fresh_one: 1m30s against < 1m → 1s against < 1m" in shown
    code, out, _ = run(workspace, "audit", "verify", "--format", "json")
    assert (code, json.loads(out)["whole"]) == (0, True)
    kinds = [row["kind"] for row in json.loads(run(workspace, "audit", "show", "--format", "json")[1])["rows"]]
    assert kinds[0] == "open"
    assert kinds[-1] == "close"
    assert kinds.count("intent") == kinds.count("outcome") == 3
    assert run(workspace, "fix", "fresh_one")[1].startswith("incident 2 no_fault_found")


def test_a_fix_that_becomes_part_of_another_incident_ends_as_that_one(workspace: Path, target: Target) -> None:
    ask_first(workspace)
    tree = workspace / "trees" / "main.yaml"
    tree.write_text(tree.read_text() + "  also_one: {sla: {query: age_one, threshold: 60s}, depends_on: [store_one]}\n")
    first = start(workspace, "fix", "fresh_one")
    until_asked = time.monotonic() + 60
    while "asking" not in run(workspace, "incidents", "show", "1")[1]:
        assert time.monotonic() < until_asked
        time.sleep(0.2)
    second = start(workspace, "fix", "also_one")
    merged = time.monotonic() + 60
    while "merged" not in run(workspace, "incidents", "show", "2")[1]:
        assert time.monotonic() < merged
        time.sleep(0.2)
    when_asking(workspace, "approve")
    for process in (first, second):
        out, err = process.communicate(timeout=90)
        assert (process.returncode, out.split(":")[0]) == (0, "incident 1 resolved"), err
    assert "did " in err, "the timeline of the incident that it became a part of is told too"


def test_a_dry_run_shows_plan_and_decisions_and_calls_nothing(workspace: Path, target: Target) -> None:
    code, out, _ = run(workspace, "fix", "fresh_one", "--dry-run", "--format", "json")
    found = json.loads(out)
    assert code == 0
    assert found["schema"] == "treewalk/rehearsal/1"
    assert [step["ruling"] for step in found["steps"]] == ["proceed"] * 4
    assert found["steps"][0]["told"].startswith("would send POST")
    assert not target.calls
    assert json.loads(run(workspace, "incidents", "list", "--format", "json")[1])["incidents"] == []


def test_a_plan_waits_for_a_human_and_yes_does_not_override_it(workspace: Path, target: Target) -> None:
    ask_first(workspace)
    fixing = start(workspace, "fix", "fresh_one", "--yes")
    code, out, _ = when_asking(workspace, "approve")
    assert (code, out.splitlines()[-1]) == (0, "incident 1: approved")
    out, err = fixing.communicate(timeout=90)
    assert fixing.returncode == 0, err
    assert f"{user()}, as ann approved it (cli)" in err
    code, _, err = run(workspace, "approve", "1", "--who", "bob")
    assert (code, "asks nothing" in err) == (2, True)


def test_an_answer_is_to_the_plan_that_was_shown_and_to_no_other(workspace: Path, target: Target) -> None:
    ask_first(workspace)
    fixing = start(workspace, "fix", "fresh_one")
    deadline = time.monotonic() + 60
    while "treewalk approve 1 --plan " not in (shown := run(workspace, "incidents", "show", "1")[1]):
        assert time.monotonic() < deadline
    digest = shown.split("treewalk approve 1 --plan ")[1].split("`")[0]
    for part in ("a", "b", "c"):  # every step with its values
        assert f"url={target.url}/mend/one/{part}" in shown
    assert (f"plan {digest}: mend at store_one" in shown, len(digest)) == (True, 12)
    for other in ("0" * 12, digest[:4], digest + "-"):
        code, out, err = run(workspace, "approve", "1", "--plan", other)
        assert (code, out, f"asks about plan {digest} now" in err) == (2, "", True)
        assert not target.calls
    code, out, _ = run(workspace, "approve", "1", "--plan", digest.upper())
    assert (code, out.splitlines()[-1]) == (0, "incident 1: approved")
    assert out.splitlines()[0] == f"plan {digest}: mend at store_one"
    assert f"url={target.url}/mend/one/a" in out
    _, err = fixing.communicate(timeout=90)
    assert fixing.returncode == 0, err
    assert f"`treewalk approve 1 --plan {digest}`" in err


@pytest.mark.parametrize("who", ["", "ann", "x" * 30_000, "ann\n\x1b[2K", ", as root"])
def test_a_name_that_is_given_never_hides_the_one_that_the_system_knows(who: str, monkeypatch: Any) -> None:
    for name in ("USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    said = signed(who)
    assert said.startswith(user())
    assert "somebody-else" not in said
    assert len(said) < 200
    assert said.isprintable()


def test_a_denied_plan_is_not_done(workspace: Path, target: Target) -> None:
    ask_first(workspace)
    fixing = start(workspace, "fix", "fresh_one")
    assert when_asking(workspace, "deny")[0] == 0
    out, _ = fixing.communicate(timeout=90)
    assert fixing.returncode == 3
    assert out.startswith("incident 1 refused: it was denied")
    assert not target.calls


def test_a_cancelled_incident_ends(workspace: Path, target: Target) -> None:
    ask_first(workspace)
    fixing = start(workspace, "fix", "fresh_one")
    deadline = time.monotonic() + 60
    while "asking" not in run(workspace, "incidents", "show", "1")[1]:
        assert time.monotonic() < deadline
    assert run(workspace, "incidents", "cancel", "1")[0] == 0
    out, _ = fixing.communicate(timeout=90)
    assert (fixing.returncode, out.startswith("incident 1 cancelled")) == (3, True)
    assert not target.calls


def test_the_kill_switch_and_its_file(workspace: Path, target: Target) -> None:
    assert "is on" in run(workspace, "kill", "deploy under way")[1]
    code, out, _ = run(workspace, "fix", "fresh_one")
    assert (code, "deploy under way" in out) == (3, True)
    assert run(workspace, "revive")[1].strip() == "the kill switch is off"
    (workspace / ".treewalk" / "KILL").touch()
    assert run(workspace, "fix", "fresh_one")[0] == 3
    assert run(workspace, "revive")[1].strip() == "the kill switch is off"
    assert run(workspace, "read-only", "on", "a look first")[0] == 0
    code, out, _ = run(workspace, "fix", "fresh_one", "--format", "json")
    assert (code, json.loads(out)["why"]) == (3, "treewalk is set to look and not to touch")
    assert run(workspace, "read-only", "off")[0] == 0
    assert not target.calls
    assert run(workspace, "fix", "fresh_one")[0] == 0


def test_resume_says_which_switch_holds_what_it_waits_for(workspace: Path, target: Target) -> None:
    assert "held" not in run(workspace, "resume")[2]
    run(workspace, "kill", "deploy under way")
    code, out, err = run(workspace, "resume")
    assert (code, out.strip()) == (0, "no incident was left")
    assert "held: the kill switch is on" in err
    assert "deploy under way" in err


def test_half_a_kill_switch_is_told(workspace: Path, target: Target) -> None:
    (workspace / ".treewalk" / "KILL").mkdir(parents=True)
    code, out, _ = run(workspace, "kill", "deploy under way")
    assert (code, "the kill switch is on" in out) == (0, True)
    assert out.splitlines()[-1] == "but the file KILL cannot be written (Is a directory)"


def test_policy_explains_itself(workspace: Path) -> None:
    text = run(workspace, "policy", "table")[1]
    assert "http_call                  full" in text
    assert "deletes data" in text
    code, out, _ = run(workspace, "policy", "check", "restart-process", "--node", "store_one", "--format", "json")
    assert code == 2  # it lacks the process's name
    code, out, _ = run(workspace, "policy", "check", "wait-and-verify", "--node", "store_one", "--format", "json")
    assert code == 0
    assert json.loads(out)["steps"][0]["ruling"] == "proceed"
    code, _, err = run(workspace, "policy", "check", "wait-and-verfy", "--node", "store_one")
    assert (code, "wait-and-verify" in err) == (2, True)


def test_ctrl_c_leaves_the_incident_to_be_resumed(workspace: Path, target: Target) -> None:
    import signal

    ask_first(workspace)
    fixing = start(workspace, "fix", "fresh_one")
    deadline = time.monotonic() + 60
    while "asking" not in run(workspace, "incidents", "show", "1")[1]:
        assert time.monotonic() < deadline
    fixing.send_signal(signal.SIGINT)
    fixing.communicate(timeout=60)
    assert fixing.returncode == 130
    resuming = start(workspace, "resume")
    assert when_asking(workspace, "approve")[0] == 0
    out, err = resuming.communicate(timeout=90)
    assert out.startswith("incident 1 resolved"), err
    assert max(target.calls[f"/mend/one/{part}"] for part in "ab") == 1
