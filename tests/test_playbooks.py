"""The playbooks that ship with treewalk load, plan, and say how their fix is proven."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from treewalk.actions import action
from treewalk.content.builtin import builtin_folder
from treewalk.content.workspace import load_workspace
from treewalk.model.acting import Plan
from treewalk.model.condition import parse_condition
from treewalk.model.playbook import Playbook
from treewalk.stages.plan import NoPlan, Shelf, plan

from tests.support.hostile import HOSTILE
from tests.support.trees import make_tree

SUPERVISED = {"supervisor_process": "writer", "supervisor_group": "primary"}
REDIS = {"host": "10.0.0.5"}
STUCK = {"streams": ["events:1"], "consumer_group": "writers"}
QUERY = {"fingerprint": "select * from events where %"}
ENDPOINT = {"url": "http://app:8080/-/reload"}
CONFIG = {"path": "/etc/app/app.conf", "good": "/etc/app/app.good"}
ALLOWED = {"allow": ("http://app:8080/-/",), "within": ("/etc/app",)}


def book(name: str) -> Playbook:
    return BOOKS[name]


@pytest.fixture(scope="module", autouse=True)
def _ordinary_workspace(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "treewalk.yaml").write_text("{}\n")
    assert set(load_workspace(folder, use_cache=False).playbooks) == set(BOOKS)


BOOKS: Mapping[str, Playbook] = load_workspace(None, example=True, use_cache=False).playbooks


def made(name: str, fields: Mapping[str, Any], **given: Any) -> Plan:
    node = {"remedy": {"playbook": name, "with": given}, **fields}
    tree = make_tree({"api": ["store"]}, store={"fields": node})
    return plan(tree, "store", None, Shelf(BOOKS, action, ALLOWED))


# what the node says, what is given, the parameters of the steps that change something, and the proof
ESSENTIALS: dict[str, tuple[dict[str, Any], dict[str, Any], list[tuple[str, str, dict[str, Any]]], Any]] = {
    "restart-process": (
        SUPERVISED, {},
        [("process_restart", "after", {"process": "writer", "group": "primary", "server": "unix:///var/run/supervisor.sock"})],
        (None, 60.0, 5.0),
    ),
    "restart-container": (
        {"container": "store-1"}, {"engine": "unix:///run/docker.sock", "grace": 30},
        [("container_restart", "ask", {"container": "store-1", "engine": "unix:///run/docker.sock", "grace": 30})],
        (None, 120.0, 10.0),
    ),
    "kill-idle-redis-clients": (
        REDIS, {"idle": "10m", "except_names": ["keep-*"]},
        [("redis_kill_idle_clients", "known",
          {"url": "redis://10.0.0.5:6379/0", "idle": 600.0, "except_names": ["keep-*"], "at_most": 100})],
        ("redis_connected_clients < 0.9 * redis_config_maxclients", 120.0, 10.0),
    ),
    "redis-active-defrag": (
        {"host": "10.0.0.5", "port": 6380}, {},
        [("redis_active_defrag", "known", {"url": "redis://10.0.0.5:6380/0", "on": True})],
        ("redis_mem_fragmentation_ratio < 1.4", 300.0, 10.0),
    ),
    "raise-redis-memory": (
        {"redis_url": "connection:store"}, {"at_most": "4GiB", "check": ""},
        [("redis_max_memory", "known", {"url": "connection:store", "factor": 1.25, "at_most": 2.0**32, "add": None})],
        (None, 120.0, 10.0),
    ),
    "skip-poison-message": (
        REDIS | SUPERVISED, STUCK | {"min_deliveries": 5},
        [("redis_skip_message", "known",
          {"streams": ["events:1"], "group": "writers", "dead_letter": "dead-letter", "min_deliveries": 5,
           "min_idle": 60.0, "at_most": 1}),
         ("process_restart", "after", {"process": "writer", "group": "primary"})],
        (None, 120.0, 10.0),
    ),
    "terminate-postgres-query": (
        {"postgres_url": "connection:events"}, QUERY | {"user": "reports", "age": "15m"},
        [("postgres_terminate", "known",
          {"url": "connection:events", "age": 900.0, "user": "reports", "database": None, "state": "active",
           "how": "terminate", "at_most": 1, **QUERY})],
        (None, 120.0, 10.0),
    ),
    "call-endpoint": (
        {}, ENDPOINT | {"authorization": "Bearer ${OPS}"},
        [("http_call", "ask",
          {"url": "http://app:8080/-/reload", "method": "POST", "headers": {"Authorization": "Bearer ${OPS}"},
           "allow": ["http://app:8080/-/"], "expect": [200, 201, 202, 204], "repeatable": False, "body": None})],
        (None, 120.0, 10.0),
    ),
    "roll-back-config": (
        SUPERVISED, CONFIG,
        [("file_rollback", "ask", CONFIG | {"within": ["/etc/app"]}),
         ("process_restart", "after", {"process": "writer", "group": "primary"})],
        (None, 120.0, 10.0),
    ),
    "wait-and-verify": ({}, {"wait": "30s", "check": "up > 0"}, [], ("up > 0", 120.0, 10.0)),
}  # fmt: skip


def test_every_playbook_is_in_a_file_of_its_name_and_is_looked_at_here() -> None:
    assert set(BOOKS) == {path.stem for path in builtin_folder("playbooks").glob("*.yaml")} == set(ESSENTIALS)


@pytest.mark.parametrize("name", ESSENTIALS)
def test_a_playbook_becomes_the_plan_that_it_says(name: str) -> None:
    fields, given, wanted, proof = ESSENTIALS[name]
    planned = made(name, fields, **given)
    changing = [step for step in planned.steps if step.changes]
    assert [step.kind for step in changing] == [kind for kind, _, _ in wanted]
    for step, (_, tier, params) in zip(changing, wanted, strict=True):
        assert step.facts is not None
        assert (step.facts.tier, step.facts.classes) == (tier, frozenset())
        assert {key: step.params[key] for key in params} == params
    assert planned.verify.sla
    assert (planned.verify.check, planned.verify.timeout, planned.verify.stable) == proof
    assert planned.undo == ()  # what can be taken back, the actions themselves say: they know what was there before
    assert all(step.purpose for step in planned.steps if step.kind != "verify")


@pytest.mark.parametrize("name", ESSENTIALS)
def test_a_playbook_says_what_it_is_for(name: str) -> None:
    one = book(name)
    assert one.description
    assert all(parameter.description for parameter in one.parameters.values())
    assert all(step.params.get("purpose") or step.action in ("verify", "escalate_if_failed") for step in one.steps)
    assert one.touches or name == "wait-and-verify"
    assert {"settle", "timeout"} <= set(one.parameters)
    check = one.parameters.get("check")
    if check is not None and check.default:
        assert str(parse_condition(check.default)) == check.default


@pytest.mark.parametrize(
    ("name", "fields", "given", "why"),
    [
        ("restart-process", {}, {}, "supervisor_process"),
        ("restart-container", {}, {}, "container"),
        ("restart-container", {"container": "a/b"}, {}, "container"),
        ("restart-container", {"container": "c"}, {"grace": 601}, "at most 600"),
        ("kill-idle-redis-clients", {}, {}, "host"),
        ("kill-idle-redis-clients", REDIS, {"idle": "1s"}, "at least 10"),
        ("kill-idle-redis-clients", REDIS, {"at_most": 0}, "at least 1"),
        ("raise-redis-memory", REDIS, {}, "needs at_most"),
        ("raise-redis-memory", REDIS, {"at_most": "1GB", "factor": 3}, "at most 2"),
        ("raise-redis-memory", REDIS, {"at_most": "1GB", "factor": 1}, "at least 1.01"),
        ("skip-poison-message", REDIS, STUCK, "supervisor_process"),
        ("skip-poison-message", REDIS | SUPERVISED, {"streams": ["s"]}, "needs consumer_group"),
        ("skip-poison-message", REDIS | SUPERVISED, STUCK | {"dead_letter": "events:1"}, "dead-letter"),
        ("terminate-postgres-query", {}, QUERY, "postgres_url"),
        ("terminate-postgres-query", {"postgres_url": "x"}, {"fingerprint": "select %"}, "every query"),
        ("terminate-postgres-query", {"postgres_url": "x"}, QUERY | {"how": "kill"}, "one of cancel, terminate"),
        ("call-endpoint", {}, ENDPOINT | {"allow": ["http://evil:8080"]}, "no parameter allow"),
        ("call-endpoint", {}, {"url": "http://app:8080/x"}, "not below"),
        ("roll-back-config", SUPERVISED, CONFIG | {"within": ["/"]}, "no parameter within"),
        ("call-endpoint", {}, ENDPOINT | {"url": "http://evil:8080/-/reload"}, "not below"),
        ("call-endpoint", {}, ENDPOINT | {"method": "DELETE"}, "one of GET, POST, PUT, PATCH"),
        ("roll-back-config", SUPERVISED, CONFIG | {"good": "/etc/other/app.good"}, "does not lie below"),
        ("roll-back-config", CONFIG, CONFIG, "supervisor_process"),
        ("wait-and-verify", {}, {"wait": "7h"}, "at most"),
    ],
)
def test_what_is_missing_or_out_of_bounds_makes_no_plan(
    name: str, fields: dict[str, Any], given: dict[str, Any], why: str
) -> None:
    with pytest.raises(NoPlan, match=why):
        made(name, fields, **given)


def test_waiting_looks_again_and_calls_a_human() -> None:
    planned = made("wait-and-verify", {})
    assert [step.kind for step in planned.steps] == ["wait", "verify", "escalate_if_failed"]
    wait, look, call = planned.steps
    assert (wait.seconds, look.verify and look.verify.sla) == (60.0, True)
    assert call.purpose == "store did not recover by itself"


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:20]))
@pytest.mark.parametrize("name", ESSENTIALS)
def test_a_hostile_text_is_refused_or_stays_a_text(name: str, text: str) -> None:
    fields, given, _, _ = ESSENTIALS[name]
    ordinary = made(name, fields, **given)
    tries = [(fields, {**given, parameter: text}) for parameter in book(name).parameters]
    tries += [({**fields, field: text}, given) for field in fields]
    for with_fields, with_given in tries:
        try:
            planned = made(name, with_fields, **with_given)
        except NoPlan:
            continue
        assert [step.kind for step in planned.steps] == [step.kind for step in ordinary.steps]
        assert not any(step.facts.classes for step in planned.steps if step.facts)


def test_what_a_node_says_of_itself_is_no_template() -> None:
    with pytest.raises(NoPlan, match="container"):
        made("restart-container", {"container": "{{ 7*7 }}"})
    planned = made("restart-process", {"supervisor_process": "{{ 7*7 }}"})
    assert planned.steps[0].params["process"] == "{{ 7*7 }}"


def test_a_workspace_takes_a_playbook_of_its_own_under_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "treewalk.yaml").write_text("{}\n")
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "mine.yaml").write_text(
        "name: restart-process\nsteps:\n- {action: wait, duration: 1s}\nverify: {sla: true}\n"
    )
    assert [s.action for s in load_workspace(tmp_path, use_cache=False).playbooks["restart-process"].steps] == ["wait"]
