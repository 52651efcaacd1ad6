"""What bounds a playbook of a real workspace: its cost, and the endpoints and folders that the workspace allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from treewalk.actions import action
from treewalk.content.workspace import Workspace, load_workspace
from treewalk.errors import ContentError
from treewalk.model.acting import Context, Decision, Plan, Record
from treewalk.model.known import Fix, FixStep
from treewalk.operations.tables import guardrails
from treewalk.stages.decide import decide
from treewalk.stages.plan import NoPlan, Shelf, plan

NOW = 1_790_000_000.0
SLAS = "metrics:\n  fresh: {sla: {query: age, threshold: 60s}, depends_on: [store]}\n"
MEND = (
    "steps:\n- {action: wait, duration: 1s}\n- {action: process_start, process: a}\n"
    "- {action: process_stop, process: b}\nverify: {sla: true}\n"
)


def workspace(folder: Path, settings: str, remedy: str = "{playbook: mend}", mend: str = MEND) -> Workspace:
    """A workspace whose one node is mended by its playbook `mend`."""
    for name in ("trees", "playbooks"):
        (folder / name).mkdir()
    (folder / "treewalk.yaml").write_text(settings)
    (folder / "trees" / "all.yaml").write_text(f"{SLAS}nodes:\n- {{node: store, type: service, remedy: {remedy}}}\n")
    (folder / "playbooks" / "mend.yaml").write_text(f"name: mend\n{mend}")
    return load_workspace(folder, use_cache=False)


def planned(found: Workspace) -> Plan:
    return plan(found.forest.tree("fresh"), "store", None, _shelf(found))


def _shelf(found: Workspace) -> Shelf:
    return Shelf(found.playbooks, action, found.policy.allow.by_parameter)


def decisions(found: Workspace, made: Plan, spent: float = 0.0) -> Sequence[Decision]:
    """What is decided about each changing step, where policy would let all of them run but for a bound."""
    context = Context(NOW, "store", basis="remedy", unhealthy_for=1e6, digest=made.digest, spent=spent)
    return [decide(step, context, found.policy) for step in made.steps if step.changes]


FULL = "policy:\n  tiers: [{action: '*', tier: full}]\n"


@pytest.mark.parametrize("bound", ["per_action", "per_incident"])
def test_a_playbook_that_costs_more_than_is_allowed_is_asked_about(tmp_path: Path, bound: str) -> None:
    found = workspace(tmp_path, f"{FULL}  cost: {{{bound}: 0.5}}\n", mend=f"cost: 1\n{MEND}")
    made = planned(found)
    first, second = decisions(found, made)
    assert (first.ruling, first.rule) == ("ask", "cost")
    assert second.ruling == "proceed"
    assert made.cost == 1.0


def test_what_an_incident_has_spent_counts_with_what_the_playbook_costs(tmp_path: Path) -> None:
    found = workspace(tmp_path, f"{FULL}  cost: {{per_incident: 2}}\n", mend=f"cost: 1.5\n{MEND}")
    made = planned(found)
    assert [d.ruling for d in decisions(found, made)] == ["proceed", "proceed"]
    assert decisions(found, made, spent=1.0)[0].rule == "cost"


def test_the_bounds_of_cost_stand_in_the_table(tmp_path: Path) -> None:
    found = workspace(tmp_path, "policy: {cost: {per_action: 0.5, per_incident: 2}}\n")
    assert guardrails(found.policy)["cost"] == "at most 0.5 an action, at most 2 an incident"


@pytest.mark.parametrize("cost", ["-1", "1e999", ".nan", "much"])
def test_a_playbook_cannot_cost_less_than_nothing(tmp_path: Path, cost: str) -> None:
    with pytest.raises(ContentError, match=r"mend\.yaml:2:\d+: (the cost of mend|cost: .* is not a number)"):
        workspace(tmp_path, "{}\n", mend=f"cost: {cost}\n{MEND}")


SEEN = (
    "errors:\n- id: mine\n  signature: {{node: store, metric_condition: up < 1}}\n  root_node: store\n  root_cause: x\n"
    "  fix:\n    steps:\n    - {{action: docker_exec, container: redis, command: '{command}'}}\n"
    "    - {{action: verify, check: up > 0, timeout: 60s}}\n"
)


def exec_decision(folder: Path, command: str) -> Decision:
    """What is decided about a command that is the fix of a trusted known error."""
    (folder / "known_errors").mkdir()
    (folder / "known_errors" / "all.yaml").write_text(SEEN.format(command=command))
    found = workspace(folder, "{}\n")
    [error] = [one for one in found.known_errors if one.id == "mine"]
    made = plan(found.forest.tree("fresh"), "store", error, _shelf(found))
    context = Context(NOW, "store", record=Record(), unhealthy_for=1e6, digest=made.digest)
    return decide(made.steps[0], context, found.policy)


@pytest.mark.parametrize("command", ["redis-cli CONFIG SET activedefrag yes", "redis-cli CLIENT KILL AGE 300"])
def test_a_harmless_command_is_allowed_as_the_fix_of_a_trusted_known_error(tmp_path: Path, command: str) -> None:
    found = exec_decision(tmp_path, command)
    assert (found.ruling, found.rule) == ("proceed", "tier known")


@pytest.mark.parametrize(
    "command",
    [
        "cp /dev/null /var/lib/redis/dump.rdb",
        "rabbitmqctl reset",
        "redis-cli EXPIRE orders 0",
        "psql -f /x.sql",
        "redis-cli CONFIG SET maxmemory 1",
        "rsync -a /empty/ /data/",
    ],
)
def test_a_command_that_can_destroy_data_is_refused_though_its_known_error_is_trusted(
    tmp_path: Path, command: str
) -> None:
    found = exec_decision(tmp_path, command)
    assert (found.ruling, found.rule) == ("refuse", "never tier")


CALL = "{playbook: call-endpoint, with: {url: 'http://app:8080/-/reload'}}"
BACK = "{playbook: roll-back-config, with: {path: /etc/app/a, good: /etc/app/b, process: app}}"


@pytest.mark.parametrize(("remedy", "key"), [(CALL, "endpoints"), (BACK, "folders")])
def test_what_a_shipped_playbook_may_reach_is_nothing_unless_the_workspace_allows_it(
    tmp_path: Path, remedy: str, key: str
) -> None:
    found = workspace(tmp_path, "{}\n", remedy)
    with pytest.raises(NoPlan, match=f"nothing is allowed by policy.allow.{key}"):
        planned(found)


def test_what_the_workspace_allows_bounds_the_shipped_playbooks(tmp_path: Path) -> None:
    allow = "policy: {allow: {endpoints: ['http://app:8080/-/'], folders: [/etc/app]}}\n"
    found = workspace(tmp_path, allow, CALL)
    assert planned(found).steps[0].params["allow"] == ["http://app:8080/-/"]
    assert guardrails(found.policy)["endpoints"] == "http://app:8080/-/"
    node = replace(found.forest.nodes["store"], fields={"remedy": {"playbook": "roll-back-config", "with": FILES}})
    tree = replace(found.forest, nodes={"store": node}).tree("fresh")
    with pytest.raises(NoPlan, match="does not lie below /etc/app"):
        plan(tree, "store", None, _shelf(found))


FILES = {"path": "/etc/passwd", "good": "/etc/app/b", "process": "app"}


@pytest.mark.parametrize("key", ["allow", "within"])
def test_who_calls_a_shipped_playbook_cannot_widen_what_it_may_reach(tmp_path: Path, key: str) -> None:
    remedy = f"{{playbook: call-endpoint, with: {{url: 'http://anywhere/x', {key}: ['http://anywhere/']}}}}"
    with pytest.raises(ContentError, match=f"no parameter '{key}'; what may be reached stands in treewalk.yaml"):
        workspace(tmp_path, "{}\n", remedy)


@pytest.mark.parametrize(
    ("step", "key"),
    [
        ("{action: docker_exec, container: c, argv: '{{ a }}', shape: '{{ a }}'}", "shape"),
        ("{action: docker_exec, container: c, argv: [redis-cli, '{{ a }}'], shape: [redis-cli, '{{ a }}']}", "shape"),
        ("{action: http_call, url: '{{ a }}', allow: ['{{ a }}']}", "allow"),
        ("{action: http_call, url: 'http://a/{{ node.name }}', allow: ['{% if 1 %}http://a/{% endif %}']}", "allow"),
        ("{action: file_rollback, path: /a/b, good: /a/c, within: ['{{ node.name }}']}", "within"),
    ],
)
def test_what_bounds_a_step_is_no_template(tmp_path: Path, step: str, key: str) -> None:
    with pytest.raises(ContentError, match=rf"mend\.yaml:4:3: {key} cannot hold a template: .*; write it out"):
        workspace(tmp_path, "{}\n", mend=f"parameters: {{a: {{type: list, default: []}}}}\nsteps:\n- {step}\n")


def test_a_stored_step_whose_bounds_are_a_template_makes_no_plan(tmp_path: Path) -> None:
    found = workspace(tmp_path, "{}\n")
    step = FixStep("http_call", {"url": "http://a/x", "allow": ["{{ node.name }}"]}, found.known_errors[0].place)
    error = replace(found.known_errors[0], fix=Fix("automated", steps=(step,)))
    with pytest.raises(NoPlan, match="allow is a template"):
        plan(found.forest.tree("fresh"), "store", error, _shelf(found))


@pytest.mark.parametrize(
    "allow",
    ["{endpoints: [app]}", "{endpoints: ['http://a@b/']}", "{endpoints: ['http://*/']}", "{endpoints: ['http://a/?b']}",
     "{endpoints: ['file:///etc']}", "{folders: [/]}", "{folders: [etc]}", "{folders: [/etc/../x]}",
     "{folders: ['//']}"],
)  # fmt: skip
def test_an_allowance_without_bounds_is_refused(tmp_path: Path, allow: str) -> None:
    with pytest.raises(ContentError, match=r"treewalk\.yaml:1:\d+: .*such as"):
        workspace(tmp_path, f"policy: {{allow: {allow}}}\n")
