"""What people may do from a chat, on the operations of a workspace."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from treewalk.errors import UsageError
from treewalk.model.acting import Approval
from treewalk.operations.incidents import same_plan
from treewalk.ports import Answer, Standing

if TYPE_CHECKING:
    from treewalk.operations.incidents import Operations

_CLOCKS = 1.0  # seconds by which a chat's times, which are whole seconds, may lie before ours


class OperationsSwitchboard:
    """The port `Switchboard`. Answers count for those whom policy lets approve."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def answer(self, number: int, digest: str, who: str, granted: bool, via: str) -> Answer:
        """Answer what an incident asks. An answer that policy would not count is not recorded: it would be the only
        one."""
        asked = self._digest(number, digest)
        if asked is None:
            self._keep(number, digest, who, granted, via, "not asked")
            return Answer("not asked", asking=self._asks(number))
        if not self._operations.policy.may_approve(who, via):
            self.refused("refused answer", who, {"why": "not an approver", "via": via, "granted": granted}, number)
            return Answer("not allowed", asking=True)
        if granted and (why := self._operations.read_only()) is not None:
            self.refused("refused answer", who, {"why": f"read-only: {why}", "via": via, "granted": True}, number)
            return Answer("read-only", asking=True)
        try:
            result = self._operations.answer(number, who, granted, via, asked)
        except UsageError:  # it asks nothing any more
            result = "already" if self._approval(number, asked) else "expired"
            self._keep(number, asked, who, granted, via, result)
        found: Any = result
        return Answer(found, self._approval(number, asked), self._asks(number))

    def _keep(self, number: int, digest: str, who: str, granted: bool, via: str, result: str) -> None:
        """An answer that came to nothing stands in the audit too."""
        self.refused("answer", who, {"digest": digest, "granted": granted, "via": via, "result": result}, number)

    def _digest(self, number: int, shown: str) -> str | None:
        """The whole digest of the question that an answer is to, whether it still stands or not."""
        rows = self._operations.app.database.query("SELECT digest FROM approvals WHERE incident = ?", [number])
        return next((row["digest"] for row in rows if same_plan(shown, row["digest"])), None)

    def _approval(self, number: int, digest: str) -> Approval | None:
        return self._operations.cases.approval(number, digest)

    def _asks(self, number: int) -> bool:
        now = self._operations.app.clock.now()
        return any(row["incident"] == number for row in self._operations.cases.questions(now))

    def acknowledge(self, number: int, who: str, via: str) -> bool:
        """Keep that somebody has seen it, which approves nothing. Raises UsageError."""
        return self._operations.acknowledge(number, who, via)

    def details(self, number: int) -> Mapping[str, Any]:
        """One incident. Raises UsageError."""
        found = self._operations.app.store.incident(number)
        return {**found, "timeline": self._operations.cases.timeline(number)}

    def incidents(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest incidents first."""
        return self._operations.app.store.incidents(limit)

    def standing(self) -> Standing:
        """How things stand."""
        operations = self._operations
        read_only = operations.read_only() is not None
        questions = operations.cases.questions(operations.app.clock.now())
        return Standing(operations.killed(), read_only, operations.cases.living(), questions)

    def kill(self, who: str, why: str) -> Sequence[str]:
        """Stop everything; what went wrong with one of its two halves. Raises StoreError when neither could be had."""
        return self._operations.kill(who, why)

    def revive(self, who: str, said: float) -> bool | None:
        """Let things run again, unless the switch was thrown after that was said: messages arrive late, and twice."""
        if said + _CLOCKS < self._thrown():
            return None
        return self._operations.revive(who)

    def _thrown(self) -> float:
        """When the kill switch was thrown last, Unix seconds; 0 when it is off."""
        rows = self._operations.app.database.query("SELECT since FROM switches WHERE name = 'kill'")
        found = [float(row["since"]) for row in rows]
        with contextlib.suppress(OSError):  # one that cannot be looked at cannot be removed either
            found.append(self._operations.kill_file.stat().st_mtime)
        return max(found, default=0.0)

    def refused(self, kind: str, who: str, data: Mapping[str, Any], incident: int | None = None) -> None:
        """Keep in the audit what somebody tried who may not."""
        self._operations.audit.add(self._operations.app.clock.now(), kind, who, data, incident)
