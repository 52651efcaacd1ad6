"""The command line as a user runs it: exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

REPO = Path(__file__).parent.parent
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("TREEWALK_WORKSPACE",)}


def treewalk(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**ENVIRONMENT, "XDG_STATE_HOME": str(cwd / "state"), "XDG_CACHE_HOME": str(cwd / "cache")}
    command = [sys.executable, "-m", "treewalk", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environment, timeout=60)


def test_help_names_every_command(tmp_path: Path) -> None:
    done = treewalk("--help", cwd=tmp_path)
    assert done.returncode == 0
    for name in ("validate", "tree", "init", "schema", "checks", "diagnose", "replay", "doctor", "impact", "incidents"):
        assert name in done.stdout


def test_a_new_workspace_validates_and_is_not_overwritten(tmp_path: Path) -> None:
    assert treewalk("init", "ops", cwd=tmp_path).returncode == 0
    done = treewalk("--workspace", "ops", "validate", cwd=tmp_path)
    assert (done.returncode, done.stdout.split(":")[0]) == (0, "ok")
    again = treewalk("init", "ops", cwd=tmp_path)
    assert again.returncode == 2
    assert "nothing was written" in again.stderr


def test_validate_prints_ten_different_errors_at_once(tmp_path: Path) -> None:
    (tmp_path / "treewalk.yaml").write_text("sorces: {}\nwalk: {deadline: soon}\n")
    (tmp_path / "trees").mkdir()
    (tmp_path / "trees" / "a.yaml").write_text(
        """\
metrics:
  fresh:
    sla: {query: "max(", threshold: soonish, window: NO_SUCH}
    depends_on:
    - node: a
      helthcheck: {method: http}
      healthcheck: {method: htpp, url: x}
    - node: b
      healthcheck: {method: http, ulr: x}
      alerts: ["up"]
      depends_on: [c]
nodes:
- {node: a, type: twice}
"""
    )
    done = treewalk("validate", cwd=tmp_path)
    assert done.returncode == 2
    for piece in (
        "treewalk.yaml:1:1: unknown key 'sorces'", "deadline", "a.yaml:3:18: query: not PromQL", "soonish",
        "no window named 'NO_SUCH'", "did you mean 'healthcheck'?", "did you mean 'http'?", "did you mean 'url'?",
        "a condition compares something", "no node named 'c'", "'a' is defined twice",
    ):  # fmt: skip
        assert piece in done.stdout, (piece, done.stdout)
    assert "errors" in done.stderr
    as_json = json.loads(treewalk("validate", "--format", "json", cwd=tmp_path).stdout)
    assert len(as_json["problems"]) >= 10


def test_validate_tells_of_a_channel_whose_address_nobody_understands(tmp_path: Path) -> None:
    text = "notify:\n  channels:\n    fine: {url: 'json://127.0.0.1:1/x'}\n    chat: {url: 'slakc://xoxb-secret/a'}\n"
    (tmp_path / "treewalk.yaml").write_text(text + "    elsewhere: {url: '${NOT_SET_HERE}'}\n")
    done = treewalk("validate", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout.startswith("treewalk.yaml:4:17: notify.channels.chat: apprise does not understand slakc://")
    assert "xoxb-secret" not in done.stdout + done.stderr
    assert done.stderr == "1 error\n"


def test_trees_are_drawn_in_every_format(tmp_path: Path) -> None:
    name = "entity_data_freshness"
    drawn = treewalk("--example", "tree", name, cwd=tmp_path).stdout
    assert "└─ redis_instance" in drawn
    assert json.loads(treewalk("--example", "tree", name, "--format", "json", cwd=tmp_path).stdout)["sla"] == name
    for format, begin in (("mermaid", "graph TD"), ("dot", "digraph"), ("svg", "<svg")):
        assert treewalk("--example", "tree", name, "--format", format, cwd=tmp_path).stdout.startswith(begin)


def test_impact_keeps_its_schema_and_can_fail_a_pipeline(tmp_path: Path) -> None:
    schema = json.loads((REPO / "docs/schemas/impact.json").read_text())
    done = treewalk("--example", "impact", "kafka_entity_topic", "--format", "json", cwd=tmp_path)
    jsonschema.validate(json.loads(done.stdout), schema)
    assert treewalk("--example", "impact", "tsdb_writer", "--fail-on", "tier=1", cwd=tmp_path).returncode == 1
    assert treewalk("--example", "impact", "tsdb_writer", "--fail-on", "tier=9", cwd=tmp_path).returncode == 0
    for format in ("text", "markdown", "mermaid", "dot", "svg"):
        assert treewalk("--example", "impact", "redis_instance", "--format", format, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--example", "diagnose", "entity_data_freshnes"], "did you mean 'entity_data_freshness'"),
        (["--example", "impact", "redis_instnce"], "did you mean 'redis_instance'"),
        (["--workspace", "nowhere", "validate"], "no workspace at nowhere"),
        (["--example", "diagnose", "consumer_lag", "--at", "teatime"], "not a time"),
        (["replay", "nothing.json"], "nothing.json"),
    ],
)
def test_usage_errors_are_one_line_on_stderr(tmp_path: Path, arguments: list[str], says: str) -> None:
    done = treewalk(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_with_no_source_reachable_the_exit_code_is_four_and_nothing_is_called_healthy(tmp_path: Path) -> None:
    (tmp_path / "treewalk.yaml").write_text(
        "sources: {prometheus: {url: 'http://me:hidden@127.0.0.1:9', retries: 0}}\n"
    )
    (tmp_path / "trees").mkdir()
    (tmp_path / "trees" / "t.yaml").write_text(
        "metrics:\n  fresh:\n    sla: {query: age, threshold: 5s}\n    depends_on: [{node: a, metrics: [up]}]\n"
    )
    done = treewalk("diagnose", "fresh", "--format", "json", cwd=tmp_path)
    found = json.loads(done.stdout)
    jsonschema.validate(found, json.loads((REPO / "docs/schemas/diagnosis.json").read_text()))
    assert done.returncode == found["exit_code"] == 4
    assert found["verdicts"]["a"]["verdict"] == "unknown"
    assert "hidden" not in done.stdout + done.stderr
    assert treewalk("doctor", cwd=tmp_path).returncode == 4
    assert "fresh" in treewalk("incidents", "list", cwd=tmp_path).stdout


def test_running_in_a_strangers_folder_executes_nothing_of_theirs(tmp_path: Path) -> None:
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "evil.py").write_text("import pathlib; pathlib.Path('ran').touch()\n")
    assert treewalk("--example", "tree", "entity_data_freshness", cwd=tmp_path).returncode == 0
    assert treewalk("--example", "validate", cwd=tmp_path).returncode == 0
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "command",
    [["diagnose", "x"], ["tree"], ["impact", "x"], ["doctor"], ["validate"], ["kill", "why"], ["audit", "verify"]],
)
def test_outside_of_a_workspace_that_is_what_is_said(command: list[str], tmp_path: Path) -> None:
    done = treewalk(*command, cwd=tmp_path)
    assert done.returncode == 2
    assert "no workspace here or above" in done.stderr
    assert done.stdout == ""


def test_a_gate_on_a_misspelt_tag_does_not_fail_open(tmp_path: Path) -> None:
    done = treewalk("--example", "impact", "tsdb_writer", "--fail-on", "teir=1", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'tier'" in done.stderr


def test_ctrl_c_leaves_quickly_with_130(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, never answers
        port = silent.getsockname()[1]
        (tmp_path / "treewalk.yaml").write_text(f"sources: {{prometheus: {{url: 'http://127.0.0.1:{port}'}}}}\n")
        (tmp_path / "trees").mkdir()
        (tmp_path / "trees" / "t.yaml").write_text("metrics:\n  fresh:\n    sla: {query: age, threshold: 5s}\n")
        command = [sys.executable, "-m", "treewalk", "diagnose", "fresh"]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert "walking" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
        assert "Traceback" not in process.stderr.read()
