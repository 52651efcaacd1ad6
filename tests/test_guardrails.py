"""What bounds a playbook of a real workspace: its cost, and the endpoints and folders that the workspace allows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from treewalk.actions import action
from treewalk.content.workspace import Workspace, load_workspace
from treewalk.errors import ContentError
from treewalk.model.acting import Context, Decision, Plan
from treewalk.stages.decide import decide
from treewalk.stages.plan import Shelf, plan
from treewalk.tables import guardrails

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
    return plan(found.forest.tree("fresh"), "store", None, Shelf(found.playbooks, action))


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
