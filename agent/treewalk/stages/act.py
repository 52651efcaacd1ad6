"""One step of a plan done at most once: the intent first, then the action, then its outcome.

One of the four places where what goes wrong becomes a value. An intent that is found without an outcome means that a
process died in between: such an action is done again only when doing it twice is the same as doing it once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from treewalk.errors import ActionFailed, SettingsError, SourceBadAnswer, SourceError, SourceTimeout
from treewalk.model.acting import LedgerEntry, PlannedStep, Ran
from treewalk.model.redact import redact
from treewalk.ports import Action, Books, Clock, Hands


@dataclass(frozen=True)
class Run:
    """Which run of which step: `key` is unique to it for ever, `digest` the plan's, `worker` who does it, `length` how
    many runs stood in the books when it was decided on."""

    key: str
    incident: int
    digest: str
    worker: str
    length: int | None = None


def unfinished(step: PlannedStep, entry: LedgerEntry | None) -> Ran | None:
    """What is known of a step that was begun before. None: it may run (again). Pure."""
    if entry is None:
        return None
    if entry.outcome is not None:
        undo = entry.data.get("undo")
        return Ran(entry.outcome, entry.summary, undo if isinstance(undo, dict) else None)
    if step.facts is not None and step.facts.idempotent:
        return None
    return Ran("unknown", f"{step.kind} was begun by {entry.worker}, which then died: whether it was done is not known")


def unsure(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of an incident's runs of which nobody knows whether they were done, and which may not be done twice.
    Pure."""
    return [row for row in rows if not row["idempotent"] and row["outcome"] in (None, "unknown")]


async def act(step: PlannedStep, run: Run, action: Action, hands: Hands, books: Books, clock: Clock) -> Ran | None:
    """Do one step. None: others have acted since it was decided on, so it has to be decided on anew. Raises StoreError
    only. Then, as with None, nothing was begun, or its intent stands."""
    entry = books.intend(run.key, run.incident, step, run.digest, run.worker, clock.now(), run.length)
    if entry is None:
        return None
    if not entry.fresh:
        before = unfinished(step, entry)
        if before is not None:
            return _settled(before, run, books, clock)
    try:
        params = action.parameters.model_validate(dict(step.params))
        result = await action.run(params, hands)
    except (SourceTimeout, SourceBadAnswer) as error:
        return _settled(Ran("unknown", str(error)), run, books, clock)
    except (ActionFailed, SourceError, SettingsError) as error:
        return _settled(Ran("failed", str(error)), run, books, clock)
    except Exception as error:  # noqa: BLE001  an action's own mistake: nobody knows how far it came
        return _settled(Ran("unknown", f"{step.kind} broke: {type(error).__name__}"), run, books, clock)
    done = Ran("done", redact(result.summary), result.undo)
    books.settle(run.key, "done", done.summary, {**result.data, "undo": result.undo}, run.worker, clock.now())
    return done


def _settled(ran: Ran, run: Run, books: Books, clock: Clock) -> Ran:
    books.settle(run.key, ran.outcome, ran.summary, {}, run.worker, clock.now())
    return Ran(ran.outcome, redact(ran.summary), ran.undo)
