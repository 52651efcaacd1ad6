"""Every error that treewalk raises on purpose, drawn once.

    TreewalkError                 something a person can act on; carries the exit code of the CLI
    ├── UsageError           (2)  a name or an option that does not exist; carries suggestions
    ├── ContentError         (2)  files of the workspace are wrong; carries every problem with its place
    ├── SettingsError        (2)  treewalk.yaml or the environment is wrong
    ├── SourceError          (4)  an outside system could not be asked; becomes a Gap or an unknown verdict
    │   ├── SourceUnreachable     nobody answered: refused, reset, no route, unknown host
    │   ├── SourceTimeout         no answer in time
    │   ├── SourceRejected        it answered and refused the question (bad query, not allowed)
    │   │   └── SourceMissing     nobody was asked: no such source is configured
    │   ├── SourceBusy            it answered: not now; carries after how many seconds to come again
    │   ├── SourceBadAnswer       it answered something that is not an answer (HTML, half a JSON, too large)
    │   ├── SourceMisconfigured   (2) not asked, because its settings or their secrets are wrong; a SettingsError too
    │   ├── CircuitOpen           not asked, because it failed repeatedly a moment ago
    │   └── QueryUnsupported      this source cannot answer this kind of query, by design
    ├── ActionFailed         (2)  a change was not made, or was made and failed, and it is known which
    ├── StoreError           (2)  the memory on disk cannot be read or written
    └── SandboxError         (2)  the sandbox cannot do what was asked on this machine

Only `SourceError`s are expected while an incident is being looked at; they are turned into values at the
check runner and at gather, and shown in the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from treewalk.model.place import Problem


class TreewalkError(Exception):
    """Base of all errors meant for a person. `exit_code` is what the CLI exits with."""

    exit_code = 2


class UsageError(TreewalkError):
    """A name that does not exist or an option that makes no sense."""

    def __init__(self, message: str, suggestions: Sequence[str] = ()) -> None:
        hint = f"; did you mean {', '.join(repr(s) for s in suggestions)}?" if suggestions else ""
        super().__init__(message + hint)
        self.suggestions = tuple(suggestions)


class ContentError(TreewalkError):
    """Files of the workspace are wrong. `problems` holds all of them, sorted by place."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = tuple(problems)


class SettingsError(TreewalkError):
    """treewalk.yaml, or what it refers to in the environment, is wrong."""


class SourceError(TreewalkError):
    """An outside system could not be asked. The message never holds a secret."""

    exit_code = 4


class SourceUnreachable(SourceError):
    """Nobody answered: connection refused or reset, no route, unknown host."""


class SourceTimeout(SourceError):
    """No answer within the time allowed."""


class SourceRejected(SourceError):
    """The source answered and refused the question: bad query, not allowed, not found."""


class SourceMissing(SourceRejected):
    """Nobody was asked: no source of that kind and name is configured."""


class SourceBusy(SourceError):
    """The source answered that it is asked too often. `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SourceBadAnswer(SourceError):
    """The source answered something that is not an answer: HTML, half a JSON, too large."""


class SourceMisconfigured(SourceError, SettingsError):
    """The source was not asked: its settings, or the secrets and files that they refer to, are wrong."""

    exit_code = 2


class CircuitOpen(SourceError):
    """The source was not asked because it failed repeatedly a moment ago."""


class QueryUnsupported(SourceError):
    """This source cannot answer this kind of query, by design; the message names what it cannot do."""


def was_answered(error: SourceError) -> bool | None:
    """Whether somebody answered the question that ended so, if only by refusing it; None where nobody was asked."""
    if isinstance(error, SourceMissing | QueryUnsupported):
        return None
    return not isinstance(error, SourceUnreachable | SourceTimeout | CircuitOpen)


class ActionFailed(TreewalkError):
    """A change to the world that certainly did not come about; the message says why."""


class StoreError(TreewalkError):
    """The memory on disk cannot be read or written."""


class SandboxError(TreewalkError):
    """The sandbox cannot do what was asked on this machine."""
