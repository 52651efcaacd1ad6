"""What the ledger says of an incident whose work may have begun before, under this plan or under an earlier one.

Work begins again from the front when a workflow broke off, its database is gone, or treewalk is of another version. The
plan is made anew then. It may read otherwise, so that its steps have other keys: the whole ledger has to be looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from treewalk.model.acting import PlannedStep
from treewalk.stages.act import unsure
from treewalk.workflow.desk import Desk

_SLACK = 3600.0  # seconds that the clocks of several hosts may differ


def unknown_outcomes(desk: Desk, number: int, but: str = "") -> str | None:
    """Why a human has to look before anything else is done or the incident is over: what was begun, may not be done
    twice, and has no known outcome; None where there is no such run. What has no outcome yet is written down as
    unknown. `but` is the key of a run that is looked at by itself. Raises StoreError."""
    said = []
    for row in unsure(desk.books.of(number)):
        if row["key"] == but:
            continue
        if row["outcome"] is None:
            _give_up(desk, row)
        said.append(row["summary"] or _died(row))
    return "; ".join(said) or None


def give_up(desk: Desk, number: int) -> None:
    """Write down as unknown whatever has no outcome: nobody works on it any more. Raises StoreError."""
    for row in desk.books.of(number):
        if row["outcome"] is None:
            _give_up(desk, row)


def key_of(desk: Desk, number: int, step: PlannedStep, digest: str, name: str) -> str:
    """The key of a step's run. Where an earlier plan of the incident has begun this very action, it is the key of that
    time: done is not done again, what failed is not tried again, and what may be done twice goes on under the name by
    which the world knows it.

    `name` is the step's place in its plan (`do:0`, `undo:0`), `digest` the plan's. Raises StoreError.
    """
    opened = int(desk.cases.life(number)["opened"])  # a memory that begins anew has the same numbers again
    key = f"{number}@{opened}:{digest[:12]}:{name}"
    earlier = desk.books.earlier(number, step, digest, name.partition(":")[0])
    return key if earlier is None or desk.books.entry(key) is not None else earlier.key


def done_before(desk: Desk, number: int) -> str | None:
    """What was done about the incident before this look at it. Raises StoreError."""
    done = [f"{row['action']} at {row['node']}" for row in desk.books.of(number) if row["outcome"] == "done"]
    return f"{' and '.join(done)} was done before work on it began again" if done else None


def ended_by_others(desk: Desk, number: int) -> Mapping[str, Sequence[int]]:
    """By node, the other incidents whose actions there have ended lately, one a run, in order. Where there are more
    than there were before a look, what was seen then is not how it is now. Raises StoreError."""
    return desk.books.ended(desk.cases.life(number)["opened"] - _SLACK, number)


def _give_up(desk: Desk, row: Mapping[str, Any]) -> None:
    desk.books.settle(row["key"], "unknown", _died(row), {}, desk.worker, desk.clock.now())


def _died(row: Mapping[str, Any]) -> str:
    begun = f"{row['action']} at {row['node']} was begun by {row['worker']}, which then died"
    return f"{begun}: whether it was done is not known"
