"""Errors met before, recognised by several signals at once, with no model asked.

Indexed by node first, so that of thousands of signatures only those that concern a node are run over its lines;
patterns are RE2, so that no pattern and no line can make it slow.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import accumulate
from typing import Any

from treewalk.errors import SourceError
from treewalk.model.condition import Answer, Condition
from treewalk.model.known import KnownError, Match, SignalOutcome
from treewalk.model.redact import redact
from treewalk.model.series import LogLine
from treewalk.model.templates import readable
from treewalk.model.tree import Node

MAX_NEAR_MISSES = 5
# With these in it, a pattern that is in a line need not be in the text of all lines.
_NOT_ACROSS = ("\\A", "\\z", "\\Z", "(?-")

Ask = Callable[[Node, Condition], Awaitable[Answer]]
Cite = Callable[[str, str], str | None]
_Question = tuple[str | None, str]  # a metric source and PromQL


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


class _Lines:
    """A node's lines, searched all at once: one pass over their whole text, and a second look at the line found."""

    def __init__(self, lines: Sequence[LogLine]) -> None:
        self._texts = [readable(line.text).encode("utf-8", "replace") for line in lines]
        self._whole = b"\n".join(self._texts)
        self._starts = [0, *accumulate(len(text) + 1 for text in self._texts)]

    def hold(self, pattern: str, index: SignatureIndex) -> bool:
        """Whether any line holds a pattern."""
        search = index.pattern(pattern).search
        if not any(mark in pattern for mark in _NOT_ACROSS):
            found = index.pattern(f"(?m){pattern}").search(self._whole)
            if found is None:
                return False
            near = bisect_right(self._starts, found.start()) - 1
            if near < len(self._texts) and search(self._texts[near]):
                return True
        return any(search(text) for text in self._texts)


async def match(
    index: SignatureIndex,
    nodes: Sequence[Node],
    lines: Mapping[str, Sequence[LogLine]],
    ask: Ask,
    log_gaps: Mapping[str, str],
    cite: Cite = lambda node, kind: None,
    troubled: Collection[str] | None = None,
    truncated: Collection[str] = (),
) -> MatchResult:
    """Every known error against every node that it may concern.

    `lines` are the lines of each node's log as they came (patterns see them as people do), `log_gaps` tells why
    others could not be read, `ask` puts a condition to the node's metric source and `cite` gives the evidence id for
    (node, kind). A signal that could not be looked at is unknown, and then the error is a near miss at the most.
    `troubled` are the nodes that are not healthy: signatures that say `only_in_trouble` hold only there (None:
    everywhere). `truncated` are the nodes of whose log the source gave only the newest lines.
    """
    matching = _Matching(index, lines, log_gaps, cite, troubled, truncated)
    pairs = [(error, node) for node in nodes for error in index.candidates(node) if matching.worth_asking(error, node)]
    answers = await _ask_all(pairs, ask)
    tried = [matching.one(error, node, answers) for error, node in pairs]
    complete = sorted((m for m in tried if m.complete), key=_best_first)
    near = sorted(
        (m for m in tried if not m.complete and _is_near(m)), key=lambda m: (-m.held / len(m.signals), m.error.id)
    )
    return MatchResult(tuple(complete), tuple(near[:MAX_NEAR_MISSES]))


def _best_first(m: Match) -> tuple[Any, ...]:
    written = not m.error.learned  # by a human: it goes before what was learned and says as much
    return (-m.error.signature.specificity, not written, -m.error.occurrence_count, m.error.id, m.node)


def _is_near(m: Match) -> bool:
    """At least half of the signals hold, and one of them is more than standing at the right node."""
    telling = [s for s in m.signals if s.state == "holds" and s.signal != "node"]
    return bool(telling) and 2 * m.held >= len(m.signals)


async def _ask_all(pairs: Iterable[tuple[KnownError, Node]], ask: Ask) -> Mapping[_Question, Answer]:
    """The answer to each condition, each asked once of its source and all at the same time."""

    async def answer(node: Node, condition: Condition) -> Answer:
        try:
            return await ask(node, condition)
        except SourceError as error:
            return Answer("unknown", str(error))

    asked: dict[_Question, tuple[Node, Condition]] = {}
    for error, node in pairs:
        condition = error.signature.metric_condition
        if condition is not None:
            asked.setdefault((node.source, condition.promql), (node, condition))
    answers = await asyncio.gather(*(answer(node, condition) for node, condition in asked.values()))
    return dict(zip(asked, answers, strict=True))


class _Matching:
    def __init__(
        self,
        index: SignatureIndex,
        lines: Mapping[str, Sequence[LogLine]],
        log_gaps: Mapping[str, str],
        cite: Cite,
        troubled: Collection[str] | None,
        truncated: Collection[str],
    ) -> None:
        self.index, self.lines, self.log_gaps, self.cite = index, lines, log_gaps, cite
        self.troubled, self.truncated = troubled, truncated
        self.held: dict[tuple[str, str], bool] = {}
        self.texts: dict[str, _Lines] = {}

    def worth_asking(self, error: KnownError, node: Node) -> bool:
        """Whether a match or a near miss is possible at all. To stand at the right node alone is no error."""
        signature = error.signature
        if signature.log_pattern is None:
            return signature.metric_condition is not None
        return node.name in self.lines or node.name in self.log_gaps

    def one(self, error: KnownError, node: Node, answers: Mapping[_Question, Answer]) -> Match:
        """How one known error stands at one node."""
        signature, signals = error.signature, []
        if signature.node is not None or signature.only_in_trouble:
            signals.append(self._node(error, node))
        if signature.log_pattern is not None:
            signals.append(self._log(signature.log_pattern, node))
        if signature.metric_condition is not None:
            signals.append(self._metric(node, answers[node.source, signature.metric_condition.promql]))
        return Match(error, node.name, tuple(signals))

    def _node(self, error: KnownError, node: Node) -> SignalOutcome:
        if error.signature.only_in_trouble and not self._in_trouble(error, node):
            return SignalOutcome("node", "not", f"{error.root_node or node.name} is not in trouble")
        return SignalOutcome("node", "holds", f"{node.name} is {error.signature.node or 'in trouble'}")

    def _in_trouble(self, error: KnownError, node: Node) -> bool:
        return self.troubled is None or (error.root_node or node.name) in self.troubled

    def _log(self, pattern: str, node: Node) -> SignalOutcome:
        if node.name in self.log_gaps:
            why = redact(self.log_gaps[node.name])
            return SignalOutcome("log_pattern", "unknown", f"the log of {node.name} could not be read: {why}")
        if not self._holds(pattern, node.name):
            count = len(self.lines[node.name])
            if node.name in self.truncated:  # what was cut may hold it
                reason = f"{pattern!r} is in none of the newest {count} lines of {node.name}; older ones were cut"
                return SignalOutcome("log_pattern", "unknown", reason)
            return SignalOutcome("log_pattern", "not", f"{pattern!r} is in none of {count} lines of {node.name}")
        return SignalOutcome("log_pattern", "holds", f"{pattern!r} is in the log", self.cite(node.name, "log"))

    def _holds(self, pattern: str, node: str) -> bool:
        if (node, pattern) not in self.held:
            if node not in self.texts:
                self.texts[node] = _Lines(self.lines[node])
            self.held[node, pattern] = self.texts[node].hold(pattern, self.index)
        return self.held[node, pattern]

    def _metric(self, node: Node, answer: Answer) -> SignalOutcome:
        cited = self.cite(node.name, "condition") or self.cite(node.name, "metric")
        return SignalOutcome("metric_condition", answer.state, redact(answer.reason), cited)
