"""What breaks if this node goes: every SLA above it, before a change. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from treewalk.errors import UsageError
from treewalk.model.markup import escaped
from treewalk.model.quantity import counted
from treewalk.model.tree import Forest, Sla, nearest

SCHEMA = "treewalk/impact/1"


@dataclass(frozen=True, slots=True)
class AffectedSla:
    """An SLA above a node. `path` is a shortest way from the SLA down to the node, `ways` how many there are in all
    (at most a million are counted); `open_now` says whether its window is open."""

    sla: Sla
    path: tuple[str, ...]
    ways: int
    open_now: bool


@dataclass(frozen=True, slots=True)
class Impact:
    """The blast radius of some nodes: affected SLAs in the order of the files, and every node above.

    `at` (Unix seconds) is when windows are judged; `now` says that this is the present.
    """

    nodes: tuple[str, ...]
    slas: tuple[AffectedSla, ...]
    above: tuple[str, ...]
    at: float
    now: bool = True

    @property
    def when(self) -> str:
        """The time that windows are judged at, in words."""
        return "now" if self.now else f"at {datetime.fromtimestamp(self.at, UTC):%Y-%m-%d %H:%M:%SZ}"

    def tagged(self, key: str, value: str) -> tuple[AffectedSla, ...]:
        """The affected SLAs that carry a tag."""
        return tuple(a for a in self.slas if a.sla.tags.get(key) == value)


def check_tag(forest: Forest, key: str) -> None:
    """Raise UsageError, with the nearest one, for a tag that no SLA carries: a gate on it would never close."""
    known = list(dict.fromkeys(tag for sla in forest.slas.values() for tag in sla.tags))
    if key not in known:
        hint = "" if nearest(key, known) else f"; there is {', '.join(known)}" if known else "; none carries any tag"
        raise UsageError(f"no SLA carries a tag {key!r}{hint}", nearest(key, known))


def impact(forest: Forest, nodes: Sequence[str], at: float, *, now: bool = True) -> Impact:
    """Walk upward from some nodes at a time (Unix seconds). Raises UsageError, with suggestions, for an unknown one.

    `now` says that the time is the present one, for the words of the answer.
    """
    wanted = tuple(dict.fromkeys(nodes))
    for name in wanted:
        forest.node(name)
    towards = _towards(forest, wanted)
    affected = []
    for sla in forest.slas.values():
        tops = [name for name in sla.depends_on if name in towards]
        if not tops:
            continue
        path = min((_path(name, towards) for name in tops), key=len)
        ways = _ways(forest, tops, set(wanted), towards)
        affected.append(AffectedSla(sla, path, ways, sla.window is None or sla.window.contains(at)))
    above = tuple(name for name in towards if name not in wanted)
    return Impact(wanted, tuple(affected), above, at, now)


def _towards(forest: Forest, wanted: Iterable[str]) -> dict[str, str | None]:
    """Every node above the wanted ones, breadth first, with the next node on a shortest way down to one of them."""
    towards: dict[str, str | None] = dict.fromkeys(wanted)
    queue = deque(towards)
    while queue:
        name = queue.popleft()
        for parent in forest.dependents[name]:
            if parent not in towards:
                towards[parent] = name
                queue.append(parent)
    return towards


def _path(top: str, towards: Mapping[str, str | None]) -> tuple[str, ...]:
    way = [top]
    while (step := towards[way[-1]]) is not None:
        way.append(step)
    return tuple(way)


def _ways(forest: Forest, tops: Sequence[str], wanted: set[str], towards: Mapping[str, str | None]) -> int:
    """How many ways lead from the tops down to the wanted nodes; counted without recursion, bounded."""
    counts: dict[str, int] = {}
    stack = list(tops)
    while stack:
        name = stack[-1]
        below = [child for child in forest.nodes[name].depends_on if child in towards]
        missing = [child for child in below if child not in counts]
        if missing and name not in counts:
            stack.extend(missing)
            continue
        stack.pop()
        counts[name] = min(1_000_000, sum(counts[child] for child in below) + (name in wanted))
    return min(1_000_000, sum(counts[name] for name in tops))


def document(found: Impact) -> dict[str, Any]:
    """The impact as JSON data: `treewalk/impact/1`, described in docs/schemas/impact.json."""
    return {
        "schema": SCHEMA,
        "nodes": list(found.nodes),
        "at": found.at,
        "blast_radius": {"slas": len(found.slas), "nodes": len(found.above)},
        "slas": [
            {
                "sla": a.sla.name,
                "description": a.sla.description,
                "path": list(a.path),
                "ways": a.ways,
                "window": a.sla.window.name if a.sla.window else None,
                "open_now": a.open_now,
                "owner": a.sla.owner,
                "tags": dict(a.sla.tags),
            }
            for a in found.slas
        ],
        "above": list(found.above),
    }


def headline(found: Impact) -> str:
    """The whole answer in one line."""
    names = ", ".join(found.nodes)
    if not found.slas:
        return f"{names}: no SLA depends on it ({counted(len(found.above), 'node')} above)"
    open = sum(a.open_now for a in found.slas)
    slas, by = counted(len(found.slas), "SLA"), counted(len(found.above), "node")
    return f"{names}: {slas} above, {open} of them in their window {found.when}, by {by}"


def text(found: Impact) -> str:
    """The answer as plain lines."""
    lines = [headline(found)]
    for a in found.slas:
        window = f"{a.sla.window.name}, {'open' if a.open_now else 'closed'} {found.when}" if a.sla.window else "always"
        tags = ", ".join(f"{k}={v}" for k, v in a.sla.tags.items())
        detail = "; ".join(part for part in (window, f"owner {a.sla.owner}" if a.sla.owner else "", tags) if part)
        ways = f" (one of {a.ways} ways)" if a.ways > 1 else ""
        lines += [f"  {a.sla.name}  [{detail}]", f"      {' → '.join((a.sla.name, *a.path))}{ways}"]
    return "\n".join(lines)


def markdown(found: Impact) -> str:
    """The answer as a table for a change ticket."""
    lines = [f"**{escaped(headline(found))}**", "", "| SLA | path | window | owner | tags |", "|---|---|---|---|---|"]
    for a in found.slas:
        window = f"{a.sla.window.name} ({'open' if a.open_now else 'closed'})" if a.sla.window else "always"
        tags = ", ".join(f"{k}={v}" for k, v in a.sla.tags.items())
        cells = (a.sla.name, " → ".join(a.path), window, a.sla.owner or "", tags)
        lines.append("| " + " | ".join(escaped(c) for c in cells) + " |")
    return "\n".join(lines) + "\n"
