"""Errors met before, recognised by several signals at once, with no model asked.

Indexed by node first, so that of thousands of signatures only those that concern a node are run over its lines;
patterns are RE2, so that no pattern and no line can make it slow.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from treewalk.errors import SourceError
from treewalk.model.condition import Answer, Condition
from treewalk.model.known import KnownError, Match, SignalOutcome
from treewalk.model.redact import redact
from treewalk.model.series import LogLine
from treewalk.model.tree import Node

MAX_NEAR_MISSES = 5
_MAX_LINE = 16_000  # characters of a line that patterns are run over
_ANY = ""

Ask = Callable[[Node, Condition], Awaitable[Answer]]
Cite = Callable[[str, str], str | None]


@dataclass(frozen=True, slots=True)
class MatchResult:
    """Known errors all of whose signals hold, the best first, and those that nearly do."""

    matches: tuple[Match, ...] = ()
    near_misses: tuple[Match, ...] = ()


class SignatureIndex:
    """Known errors by the node that they are about. Retired ones are left out."""

    def __init__(self, errors: Iterable[KnownError]) -> None:
        self._exact: dict[str, list[KnownError]] = {}
        self._globs: list[KnownError] = []
        self._types: dict[str, list[KnownError]] = {}
        self._patterns: dict[str, Any] = {}
        for error in errors:
            if error.trust != "retired":
                self._file(error)

    def _file(self, error: KnownError) -> None:
        name = error.signature.node
        if name is None or any(c in name for c in "*?["):
            self._globs.append(error)
        elif name.startswith("type:"):
            self._types.setdefault(name.removeprefix("type:"), []).append(error)
        else:
            self._exact.setdefault(name, []).append(error)

    def candidates(self, node: Node) -> list[KnownError]:
        """The known errors that may concern a node."""
        wide = [e for e in self._globs if e.signature.node is None or fnmatchcase(node.name, e.signature.node)]
        return [*self._exact.get(node.name, ()), *self._types.get(node.type, ()), *wide]

    def pattern(self, text: str) -> Any:
        """A compiled pattern, compiled once."""
        if text not in self._patterns:
            import re2

            options = re2.Options()
            options.log_errors = False
            self._patterns[text] = re2.compile(text, options)
        return self._patterns[text]


async def match(
    index: SignatureIndex,
    nodes: Sequence[Node],
    lines: Mapping[str, Sequence[LogLine]],
    ask: Ask,
    log_gaps: Mapping[str, str],
    cite: Cite = lambda node, kind: None,
) -> MatchResult:
    """Every known error against every node that it may concern.

    `lines` are the raw lines of each node's log, `log_gaps` tells why others could not be read, `ask` puts a
    condition to the node's metric source and `cite` gives the evidence id for (node, kind). A signal that could
    not be looked at is unknown, and then the error is a near miss at the most.
    """
    matching = _Matching(index, lines, ask, log_gaps, cite)
    found = [await matching.one(error, node) for node in nodes for error in index.candidates(node)]
    tried = [m for m in found if m is not None]
    complete = sorted((m for m in tried if m.complete), key=_best_first)
    near = sorted(
        (m for m in tried if not m.complete and _is_near(m)), key=lambda m: (-m.held / len(m.signals), m.error.id)
    )
    return MatchResult(tuple(complete), tuple(near[:MAX_NEAR_MISSES]))


def _best_first(m: Match) -> tuple[Any, ...]:
    return (-m.error.signature.specificity, -m.error.occurrence_count, m.error.id, m.node)


def _is_near(m: Match) -> bool:
    """At least half of the signals hold, and one of them is more than standing at the right node."""
    telling = [s for s in m.signals if s.state == "holds" and s.signal != "node"]
    return bool(telling) and 2 * m.held >= len(m.signals)


class _Matching:
    def __init__(
        self,
        index: SignatureIndex,
        lines: Mapping[str, Sequence[LogLine]],
        ask: Ask,
        log_gaps: Mapping[str, str],
        cite: Cite,
    ) -> None:
        self.index, self.lines, self.ask, self.log_gaps, self.cite = index, lines, ask, log_gaps, cite
        self.asked: dict[tuple[str | None, str], Answer | str] = {}
        self.searched: dict[tuple[str, str], LogLine | None] = {}
        self.cut: dict[str, list[str]] = {}

    async def one(self, error: KnownError, node: Node) -> Match | None:
        """How one known error stands at one node; None when not even a near miss is possible."""
        signature, signals = error.signature, []
        if signature.node is not None:
            signals.append(SignalOutcome("node", "holds", f"{node.name} is {signature.node}"))
        if signature.log_pattern is not None:
            signals.append(self._log(signature.log_pattern, node))
        if signature.metric_condition is not None:
            others = [s for s in signals if s.signal == "log_pattern"]
            if others and others[0].state == "not" and node.name not in self.lines:
                return None
            signals.append(await self._metric(signature.metric_condition, node))
        return Match(error, node.name, tuple(signals))

    def _log(self, pattern: str, node: Node) -> SignalOutcome:
        if node.name in self.log_gaps:
            why = redact(self.log_gaps[node.name])
            return SignalOutcome("log_pattern", "unknown", f"the log of {node.name} could not be read: {why}")
        lines = self.lines.get(node.name)
        if lines is None:
            return SignalOutcome("log_pattern", "not", f"the log of {node.name} was not looked at")
        key = (node.name, pattern)
        if key not in self.searched:
            self.searched[key] = self._search(pattern, node.name, lines)
        if self.searched[key] is None:
            return SignalOutcome("log_pattern", "not", f"{pattern!r} is in none of {len(lines)} lines of {node.name}")
        return SignalOutcome("log_pattern", "holds", f"{pattern!r} is in the log", self.cite(node.name, "log"))

    def _search(self, pattern: str, node: str, lines: Sequence[LogLine]) -> LogLine | None:
        if node not in self.cut:
            self.cut[node] = [line.text[:_MAX_LINE] for line in lines]
        search = self.index.pattern(pattern).search
        return next((line for line, text in zip(lines, self.cut[node], strict=True) if search(text)), None)

    async def _metric(self, condition: Condition, node: Node) -> SignalOutcome:
        key = (node.source, condition.promql)
        if key not in self.asked:
            try:
                self.asked[key] = await self.ask(node, condition)
            except SourceError as error:
                self.asked[key] = str(error)
        answer = self.asked[key]
        if isinstance(answer, str):
            return SignalOutcome("metric_condition", "unknown", redact(answer))
        cited = self.cite(node.name, "condition") or self.cite(node.name, "metric")
        return SignalOutcome("metric_condition", answer.state, redact(answer.reason), cited)
