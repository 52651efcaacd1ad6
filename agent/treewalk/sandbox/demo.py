"""The demonstration: a healthy platform, broken for real, found out, fixed and proven."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from treewalk.app import App, DiagnoseOptions
from treewalk.model.diagnosis import Diagnosis
from treewalk.model.events import Event
from treewalk.operations import Operations
from treewalk.sandbox.faults import break_it
from treewalk.sandbox.platform import Sandbox
from treewalk.sandbox.signals import interrupting
from treewalk.stages import impact as impact_stage
from treewalk.stages import report

SLA = "entity_data_freshness"
FAULT = "leaked_clients"

Say = Callable[[str], None]
Watched = Callable[[Callable[[Callable[[Event], None]], Diagnosis]], Diagnosis]


def demonstrate(folder: Path, say: Say, progress: Say, watched: Watched, *, keep: bool) -> int:
    """Run the demonstration; 0 when treewalk found and fixed what was broken. Cleans up in any case, unless `keep`:
    also after Ctrl-C, SIGTERM, and when the terminal is closed."""
    sandbox = Sandbox(folder)
    with interrupting():
        return _run(sandbox, say, progress, watched, keep=keep)


def _run(sandbox: Sandbox, say: Say, progress: Say, watched: Watched, *, keep: bool) -> int:
    began = time.monotonic()
    try:
        say("1. A real small platform comes up: feed → ingestion → Redis Stream → consumer → Redis → users.")
        sandbox.up(progress)
        say("\n2. While it is healthy, treewalk looks and finds nothing to complain of:\n")
        healthy = watched(lambda watch: look(sandbox, watch))
        say("   " + report.headline(healthy))
        say("\n3. Now it is broken: a program opens connections to Redis and forgets them, until hardly any are left.")
        chosen = break_it(sandbox, FAULT, progress)
        say("\n4. The SLA is violated. treewalk walks from the number that users see down to the node that broke it:\n")
        found = watched(lambda watch: look(sandbox, watch))
        say(report.text(found))
        say(_explanation(found))
        say("\n5. Before anybody touches Redis: what else hangs on it?\n")
        say(_impact(sandbox))
        right = found.root_cause is not None and found.root_cause.node == chosen.root
        say("\n6. The known error has a fix that policy lets run. It is done, and the SLA itself is the proof:\n")
        life = _fix(sandbox, say)
        say(_OUTCOMES.get(life["ending"], f"\n   It ended otherwise: {life['ending']}, {life['why']}"))
        took = time.monotonic() - began
        say(f"\n{'That is what was broken.' if right else 'That is NOT what was broken.'} ({took:.0f} s in all)")
        return 0 if right and life["ending"] == "resolved" else 1
    finally:
        if keep:
            say(f"The sandbox stays up: treewalk --workspace {sandbox.workspace} diagnose {SLA}")
            say(f"Take it down with: treewalk sandbox down --dir {sandbox.folder}")
        else:
            sandbox.down(progress)


_OUTCOMES = {
    "resolved": """
   Fixed, proven, and written down: `treewalk incidents show 3`, `treewalk audit verify`, `treewalk memory list`."""
}


def _fix(sandbox: Sandbox, say: Say) -> Mapping[str, Any]:
    """The loop, with its timeline told; how the incident ended."""

    async def run() -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]], Mapping[str, Any]]:
        async with App.open(sandbox.workspace) as app:
            operations = Operations(app)
            number = await operations.fix(SLA, "the demonstration")
            life = operations.cases.life(number)
            return life, operations.cases.timeline(number), app.store.incident(number)["life"]

    life, timeline, outcome = asyncio.run(run())
    for row in timeline:
        say(f"   {report.clock(row['at'])}  {row['kind']:<12} {row['text']}")
    proof = (outcome["outcome"] or {}).get("proof") or {}
    for name, after in proof.get("after", {}).items():
        say(f"   before/after {name}: {proof['before'].get(name, 'not looked at')} → {after}")
    return life


def look(sandbox: Sandbox, watch: Callable[[Event], None], sla: str = SLA) -> Diagnosis:
    """One diagnosis of the sandbox."""

    async def diagnose() -> Diagnosis:
        async with App.open(sandbox.workspace) as app:
            return await app.diagnose(sla, DiagnoseOptions(), watch)

    return asyncio.run(diagnose())


def _impact(sandbox: Sandbox) -> str:
    forest = App.open(sandbox.workspace).workspace.forest
    return impact_stage.text(impact_stage.impact(forest, ["store_redis"], time.time()))


def _explanation(found: Diagnosis) -> str:
    if found.root_cause is None:
        return ""
    return """
What you see: the consumer is the node that fails its healthcheck, and it is innocent. Redis passes its own
healthcheck (it answers), but a condition that an operator once declared holds, the consumer's log names it,
and a known error matches by three signals at once. So Redis is blamed, with its evidence, and no model was asked."""
