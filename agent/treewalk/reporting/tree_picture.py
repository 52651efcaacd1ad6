"""The tree of an incident as a picture: an outline, one line a node, so that names stay readable on a phone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from treewalk.model.story import Spot, Story
from treewalk.reporting.drawing import STATUSES, WIDTH, fitting, frame, label, mark, status_word, written
from treewalk.reporting.wording import many

_ROW, _INDENT, _LEFT, _TOP, _DEEPEST = 40, 22, 18, 44, 9
MOST = 40  # nodes drawn; of a larger tree only what is not healthy, and the ways to it


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the outline: a node at a depth, `parent` the index of the line above it; or how many were left out."""

    spot: Spot | None
    depth: int
    parent: int | None
    again: bool = False
    left_out: int = 0


def tree_svg(story: Story) -> str:
    """The tree under the incident's SLA as a self-contained SVG: each node with the status it was found in, the way to
    the root cause in bold. It has a title and a description, no style and no script."""
    lines = list(_outline(story))
    way = {story.sla, *(story.root.path if story.root else ())}
    cause = story.root.node if story.root else None
    parts = [mark(_sla_status(story), _LEFT, 20), label(story.sla, _LEFT + 18, 25, 15, bold=True)]
    parts += [_edge(lines, index, way) for index in range(len(lines))]
    for index, line in enumerate(lines):
        parts += _row(line, _TOP + index * _ROW + 12, cause)
    height = _TOP + len(lines) * _ROW
    parts += _legend(story, height + 6)
    return frame(f"tw-tree-{story.number}", f"Tree of {story.sla}", _description(story), height + 26, parts)


def _sla_status(story: Story) -> str:
    told = story.measured.status if story.measured else ""
    return {"met": "healthy", "violated": "unhealthy", "unknown": "unknown"}.get(told, "")


def _description(story: Story) -> str:
    cause = f"Root cause: {story.root.node}. " if story.root else "No root cause was found. "
    told = [f"{spot.name} is {spot.status}" for spot in story.spots if spot.status not in ("healthy", "")]
    return cause + "; ".join([*told[:20], _counts(story)]) + "."


def _counts(story: Story) -> str:
    states = [spot.status for spot in story.spots]
    each = [f"{states.count(s)} {status_word(s)}" for s in STATUSES if s in states]
    return f"{many(len(states), 'node')}: {', '.join(each)}" if states else "no node is known"


def _outline(story: Story) -> Iterator[_Line]:
    """The nodes depth first, each drawn once; of a large tree only those that matter."""
    spots = {spot.name: spot for spot in story.spots}
    wanted = _wanted(story, spots)
    seen: set[str] = set()
    stack: list[tuple[str | int, int, int | None]] = [(name, 1, None) for name in reversed(story.tops)]
    index = 0
    while stack and index < 2 * MOST:
        name, depth, parent = stack.pop()
        if isinstance(name, int):
            yield _Line(None, depth, parent, left_out=name)
        else:
            spot = spots.get(name) or Spot(name, "", "")
            again = name in seen
            seen.add(name)
            yield _Line(spot, depth, parent, again)
            below = () if again else spot.below
            kept = [child for child in below if child in wanted]
            if len(below) > len(kept):
                stack.append((len(below) - len(kept), depth + 1, index))
            stack += [(child, depth + 1, index) for child in reversed(kept)]
        index += 1


def _wanted(story: Story, spots: Mapping[str, Spot]) -> set[str]:
    if len(spots) <= MOST:
        return set(spots)
    above: dict[str, list[str]] = {}
    for spot in spots.values():
        for child in spot.below:
            above.setdefault(child, []).append(spot.name)
    ranked = sorted(spots.values(), key=lambda s: STATUSES.index(s.status) if s.status in STATUSES else 9)
    troubled = [s.name for s in ranked if s.status not in ("healthy", "")]
    todo = [*(story.root.path if story.root else ()), *troubled[: MOST // 2]]
    wanted: set[str] = set()
    while todo and len(wanted) < MOST:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += above.get(name, [])
    return wanted


def _place(line: _Line, index: int) -> tuple[float, float]:
    return _LEFT + min(line.depth, _DEEPEST) * _INDENT, _TOP + index * _ROW + 12


def _edge(lines: list[_Line], index: int, way: set[str]) -> str:
    line = lines[index]
    x, y = _place(line, index)
    upper, top = (_LEFT, 31.0) if line.parent is None else _below(lines, line.parent)
    guilty = line.spot is not None and line.spot.name in way and not line.again
    stroke = 'stroke="#c8383f" stroke-width="3"' if guilty else 'stroke="currentColor" opacity="0.4"'
    return f'<path d="M{upper:g},{top:g} V{y:g} H{x - 12:g}" fill="none" {stroke}/>'


def _below(lines: list[_Line], index: int) -> tuple[float, float]:
    x, y = _place(lines[index], index)
    return x, y + 12


def _row(line: _Line, y: float, cause: str | None) -> Iterator[str]:
    x = _LEFT + min(line.depth, _DEEPEST) * _INDENT
    if line.spot is None:
        yield label(f"… {many(line.left_out, 'more node')} not drawn", x - 6, y + 5, 12, faint=True)
        return
    spot = line.spot
    guilty = spot.name == cause and not line.again
    yield f"<g><title>{written(f'{spot.name}: {status_word(spot.status)}')}</title>"
    yield mark(spot.status, x, y)
    if line.again:
        yield label(f"{spot.name} (above)", x + 18, y + 5, 13, faint=True)
    elif spot.reason or guilty:
        yield label(fitting(spot.name, WIDTH - x - 120, 15) if guilty else spot.name, x + 18, y, 14, bold=guilty)
        if guilty:
            yield f'<text x="{WIDTH - 6}" y="{y:g}" text-anchor="end" font-size="12" font-weight="700">'
            yield "root cause</text>"
        yield label(spot.reason, x + 18, y + 15, 11.5, faint=True)
    else:
        yield label(spot.name, x + 18, y + 5, 14)
    yield "</g>"


def _legend(story: Story, y: float) -> Iterator[str]:
    """The marks that occur, in words."""
    present = {spot.status for spot in story.spots} | {_sla_status(story)}
    x = float(_LEFT)
    for status in STATUSES:
        if status in present:
            yield f'<g transform="translate({x:g} {y + 4:g}) scale(0.7)">{mark(status, 0, 0)}</g>'
            yield f'<text x="{x + 12:g}" y="{y + 8:g}" font-size="11.5">{status_word(status)}</text>'
            x += 30 + 7 * len(status_word(status))
