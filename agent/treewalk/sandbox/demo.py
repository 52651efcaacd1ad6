"""The demonstration: a healthy platform is broken for real, and from then on nobody types anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from treewalk.app import App, DiagnoseOptions
from treewalk.errors import SandboxError
from treewalk.model.diagnosis import Diagnosis
from treewalk.model.events import Event
from treewalk.sandbox.bot_api import BotApi, running_bot_api
from treewalk.sandbox.bot_chat import Shown
from treewalk.sandbox.faults import Fault, break_it, mend
from treewalk.sandbox.platform import TOKEN, Sandbox
from treewalk.sandbox.signals import interrupting
from treewalk.stages import impact as impact_stage
from treewalk.stages import report
from treewalk.store.audit import Audit
from treewalk.store.casebook import Casebook

SLA = "entity_data_freshness"
FAULT, ASKING = "leaked_clients", "derived_stopped"
STRANGER, ANN = 6666, 1001  # people in the chat; Ann is listed in treewalk.yaml
_PATIENCE = 90.0  # seconds that an incident may take

Say = Callable[[str], None]
Watched = Callable[[Callable[[Callable[[Event], None]], Diagnosis]], Diagnosis]


def demonstrate(folder: Path, say: Say, progress: Say, watched: Watched, *, keep: bool) -> int:
    """Run the demonstration; 0 when treewalk found and fixed what was broken. Cleans up in any case, unless `keep`:
    also after Ctrl-C, SIGTERM, and when the terminal is closed."""
    sandbox = Sandbox(folder)
    with interrupting():
        try:
            say("1. A real small platform comes up: feed → ingestion → Redis Stream → consumer → Redis → users.")
            sandbox.up(progress)
            with running_bot_api(port=sandbox.ports["chat"]) as chat:
                return _run(sandbox, chat, say, progress, watched)
        finally:
            if keep:
                say(f"\nThe page stays open: {sandbox.page} (token: {TOKEN})")
                say(f"Break something else: treewalk sandbox break redis_full --dir {sandbox.folder}")
                say(f"Take it down with:    treewalk sandbox down --dir {sandbox.folder}")
            else:
                sandbox.down(progress)


def _run(sandbox: Sandbox, chat: BotApi, say: Say, progress: Say, watched: Watched) -> int:
    began = time.monotonic()
    say("\n2. While it is healthy, treewalk looks and finds nothing to complain of:\n")
    say("   " + report.headline(watched(lambda watch: look(sandbox, watch))))
    say("\n3. `treewalk serve` starts. Prometheus evaluates rules, its Alertmanager sends what fires to treewalk,")
    say("   and treewalk speaks with people in a chat (a server on this machine that talks Telegram's protocol).")
    sandbox.serve(progress)
    say(f"   Its page: {sandbox.page} (token: {TOKEN})")
    loop = _Loop(sandbox, chat, say)
    say("\n4. Now it is broken: a program opens connections to Redis and forgets them, until hardly any are left.")
    say("   From here on nobody types anything.\n")
    first = loop.through(break_it(sandbox, FAULT, progress))
    say(_EXPLANATION)
    say("\n   What else hangs on Redis?\n")
    say(_impact(sandbox))
    mend(sandbox, progress)
    say("\n5. Something else: the job that derives metrics is stopped. Policy lets nobody restart it unasked.\n")
    second = loop.through(break_it(sandbox, ASKING, progress))
    rows, flaws = asyncio.run(_audited(sandbox))
    say(f"\n6. The audit has {rows} rows; {'the chain is whole' if not flaws else f'{flaws} flaws'}.")
    say("   Look closer: `treewalk incidents list`, `treewalk incidents show 1`, `treewalk audit show`,")
    say(f"   each with --workspace {sandbox.workspace}")
    well = first and second and not flaws
    took = time.monotonic() - began
    say(f"\n{'Both were found, mended and proven.' if well else 'It did NOT go as it should.'} ({took:.0f} s)")
    return 0 if well else 1


class _Loop:
    """Looks on while treewalk works on an incident, and tells it; plays the people in the chat when it asks."""

    def __init__(self, sandbox: Sandbox, chat: BotApi, say: Say) -> None:
        self.sandbox, self.chat, self.say = sandbox, chat, say

    def through(self, broken: Fault) -> bool:
        """Follow the incident of a fault to its end; whether the right node was blamed and mended."""
        return asyncio.run(self._through(broken))

    async def _through(self, broken: Fault) -> bool:
        async with App.open(self.sandbox.workspace) as app:
            cases = Casebook(app.database)
            number = await self._wait(lambda: self._number(cases, broken.sla), "an incident")
            told, asked = 0, False

            def over() -> Mapping[str, Any] | None:
                nonlocal told, asked
                rows = cases.timeline(number)
                self._tell(rows[told:])
                told = len(rows)
                life = cases.life(number)
                shown = self._question() if life["state"] == "asking" and not asked else None
                if shown is not None:
                    asked = True
                    self._answer(shown)
                return life if life["state"] == "closed" else None

            life = await self._wait(over, f"the end of incident {number}")
            self._proof(app.store.incident(number)["life"]["outcome"])
        last = await self._wait(lambda: self._report(number), "the report in the chat")
        self.say("\n   In the chat now:\n" + _quoted(last))
        return bool(life["ending"] == "resolved" and life["root_node"] == broken.root)

    async def _wait(self, look: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + _PATIENCE
        while not (found := look()):
            if time.monotonic() > deadline:
                raise SandboxError(f"waited {_PATIENCE:.0f} s in vain for {what}")
            await asyncio.sleep(0.2)
        return found

    def _number(self, cases: Casebook, sla: str) -> int | None:
        living = cases.living(sla)
        return int(living[0]["number"]) if living else None

    def _tell(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            self.say(f"   {report.clock(row['at'])}  {row['kind']:<12} {row['text']}")

    def _question(self) -> Shown | None:
        return next((one for one in reversed(self.chat.messages) if "Approve" in one.labels()), None)

    def _answer(self, shown: Shown) -> None:
        self.say("\n   In the chat, with buttons:\n" + _quoted(shown.text))
        self.chat.press(STRANGER, shown, "Approve", name="A stranger")
        self.say("   A stranger presses Approve: refused, and in the audit. Ann, who is listed, presses it too:\n")
        self.chat.press(ANN, shown, "Approve", name="Ann")

    def _proof(self, outcome: Mapping[str, Any] | None) -> None:
        proof = (outcome or {}).get("proof") or {}
        for name, after in proof.get("after", {}).items():
            self.say(f"   before/after {name}: {proof['before'].get(name, 'not looked at')} → {after}")

    def _report(self, number: int) -> str | None:
        """The last form of the incident's message."""
        for shown in self.chat.messages:
            first = shown.text.split("\n", 1)[0]
            if f"incident {number}" in first and "resolved" in first:
                return shown.text
        return None


def look(sandbox: Sandbox, watch: Callable[[Event], None], sla: str = SLA) -> Diagnosis:
    """One diagnosis of the sandbox."""

    async def diagnose() -> Diagnosis:
        async with App.open(sandbox.workspace) as app:
            return await app.diagnose(sla, DiagnoseOptions(keep=False), watch)

    return asyncio.run(diagnose())


async def _audited(sandbox: Sandbox) -> tuple[int, int]:
    async with App.open(sandbox.workspace) as app:
        rows, flaws = Audit(app.database).verify()
        return rows, len(flaws)


def _impact(sandbox: Sandbox) -> str:
    forest = App.open(sandbox.workspace).workspace.forest
    return impact_stage.text(impact_stage.impact(forest, ["store_redis"], time.time()))


def _quoted(text: str) -> str:
    return "\n".join(f"   │ {line}" for line in text.splitlines()) + "\n"


_EXPLANATION = """
   What you see: the consumer is the node that fails its healthcheck, and it is innocent. Redis passes its own
   healthcheck (it answers), but a condition that an operator once declared holds, the consumer's log names it,
   and a known error matches by three signals at once. So Redis is blamed, with its evidence, and no model was asked."""
