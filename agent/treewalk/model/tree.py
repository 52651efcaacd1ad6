"""SLAs, nodes and the forest that they form: trees for the reader, a directed acyclic graph underneath."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Literal, TypeVar

from treewalk.errors import UsageError
from treewalk.model.condition import Condition
from treewalk.model.place import Place
from treewalk.model.quantity import Threshold
from treewalk.model.window import Window

Direction = Literal["up", "down", "both"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """A healthcheck as a tree asks for it: the check's name and its own parameters, already validated."""

    method: str
    params: Mapping[str, Any]
    place: Place


@dataclass(frozen=True, slots=True)
class LogSpec:
    """Where a node's log lines are: a LogQL query, and the named source where there are several."""

    query: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class BaselineSpec:
    """Judge a series against its own past: the last `window` seconds against the `baseline` seconds before it.

    `threshold` is a robust z-score; `direction` says which way is bad.
    """

    window: float = 900.0
    baseline: float = 86400.0
    direction: Direction = "both"
    threshold: float = 5.0


@dataclass(frozen=True, slots=True)
class Sla:
    """A promise about a number that the end user sees.

    `query` is PromQL for the measured value; it keeps `threshold`, or, where there is none, its own `baseline`.
    Without a query the SLA cannot be measured by treewalk (its alert tells). `window` is None for always.
    """

    name: str
    query: str | None
    threshold: Threshold | None
    baseline: BaselineSpec | None
    window: Window | None
    depends_on: tuple[str, ...]
    place: Place
    description: str = ""
    source: str | None = None
    gatus_check: str | None = None
    alerts: tuple[Mapping[str, str] | str, ...] = ()
    owner: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    unit_declared: bool = False  # `unit: ratio|percent` was given, so a percentage is not ambiguous


@dataclass(frozen=True, slots=True)
class Node:
    """One thing that an SLA depends on.

    `conditions` are its declared `alerts` (a condition that holds makes the node degraded), `aka` other names
    by which logs of other nodes may mention it, `fields` everything else the user wrote (container, host, …).
    """

    name: str
    place: Place
    type: str = ""
    description: str = ""
    healthcheck: CheckSpec | None = None
    logs: LogSpec | None = None
    metrics: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    depends_on: tuple[str, ...] = ()
    aka: tuple[str, ...] = ()
    source: str | None = None  # named metric source, where there are several
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def external(self) -> bool:
        """Not ours to fix: only detected."""
        return self.type == "external"


@dataclass(frozen=True)
class Forest:
    """All SLAs, nodes and windows of a workspace. References are resolved and there is no cycle."""

    slas: Mapping[str, Sla] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    windows: Mapping[str, Window] = field(default_factory=dict)

    def sla(self, name: str) -> Sla:
        """The SLA of that name. Raises UsageError with suggestions."""
        return _lookup("SLA", name, self.slas)

    def node(self, name: str) -> Node:
        """The node of that name. Raises UsageError with suggestions."""
        return _lookup("node", name, self.nodes)

    def tree(self, sla: str) -> Tree:
        """What stands under one SLA. Raises UsageError."""
        found = self.sla(sla)
        order: list[str] = []
        depth: dict[str, int] = {}
        queue = deque((name, 1) for name in found.depends_on)
        while queue:
            name, level = queue.popleft()
            if name in depth:
                continue
            depth[name] = level
            order.append(name)
            queue.extend((child, level + 1) for child in self.nodes[name].depends_on)
        return Tree(found, {name: self.nodes[name] for name in order}, depth)

    @cached_property
    def dependents(self) -> Mapping[str, tuple[str, ...]]:
        """For each node, the nodes that depend on it directly, in the order of the files."""
        above: dict[str, list[str]] = {name: [] for name in self.nodes}
        for node in self.nodes.values():
            for child in node.depends_on:
                above[child].append(node.name)
        return {name: tuple(parents) for name, parents in above.items()}


@dataclass(frozen=True)
class Tree:
    """One SLA and every node under it, breadth first; `depth` counts from 1 below the SLA (shortest way)."""

    sla: Sla
    nodes: Mapping[str, Node]
    depth: Mapping[str, int]

    @cached_property
    def dependents(self) -> Mapping[str, tuple[str, ...]]:
        """For each node, the nodes of this tree that depend on it directly."""
        above: dict[str, list[str]] = {name: [] for name in self.nodes}
        for node in self.nodes.values():
            for child in node.depends_on:
                above[child].append(node.name)
        return {name: tuple(parents) for name, parents in above.items()}

    def path(self, node: str) -> tuple[str, ...]:
        """A shortest way from the SLA down to the node: node names, the SLA itself left out."""
        way = [node]
        while self.depth[way[-1]] > 1:
            way.append(min(self.dependents[way[-1]], key=lambda n: self.depth[n]))
        return tuple(reversed(way))

    def below(self, node: str) -> Iterator[str]:
        """Every node under this one, each once, breadth first."""
        seen: set[str] = set()
        queue = deque(self.nodes[node].depends_on)
        while queue:
            name = queue.popleft()
            if name not in seen:
                seen.add(name)
                yield name
                queue.extend(self.nodes[name].depends_on)

    def draw_order(self) -> Iterator[tuple[str, int, bool]]:
        """For drawing: (node, depth, again) in depth-first order of the file; `again` marks a node that was
        drawn before and whose dependencies are therefore not repeated."""
        seen: set[str] = set()
        stack = [(name, 1) for name in reversed(self.sla.depends_on)]
        while stack:
            name, level = stack.pop()
            yield name, level, name in seen
            if name not in seen:
                seen.add(name)
                stack.extend((child, level + 1) for child in reversed(self.nodes[name].depends_on))


def nearest(name: str, known: Iterable[str], count: int = 3) -> Sequence[str]:
    """The names most like a misspelt one, best first; empty when none is close."""
    return get_close_matches(name, list(known), n=count, cutoff=0.6)


def _lookup(kind: str, name: str, known: Mapping[str, T]) -> T:
    try:
        return known[name]
    except KeyError:
        if not known:
            raise UsageError(f"no {kind} named {name!r}: this workspace defines none") from None
        raise UsageError(f"no {kind} named {name!r}", nearest(name, known)) from None
