"""A small graph to be drawn: Mermaid, DOT, or SVG with a layered layout of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 200, 46, 24, 44, 16
_COLOURS = {
    "sla": ("#d4943a", "#1a1814"),
    "external": ("#6b4c2a", "#ffffff"),
    "target": ("#8c2f2f", "#ffffff"),
    "node": ("#2a3b4c", "#ffffff"),
}


@dataclass(frozen=True, slots=True)
class Box:
    """One box: its id, two lines of text, and its kind (sla, node, external, target) for the colour."""

    id: str
    title: str
    detail: str = ""
    kind: str = "node"


@dataclass(frozen=True)
class Picture:
    """Boxes and the edges between them, from the upper to the lower."""

    boxes: Sequence[Box]
    edges: Sequence[tuple[str, str]]
    depth: Mapping[str, int] = field(default_factory=dict)


def mermaid(picture: Picture) -> str:
    """A Mermaid flowchart. Names stand in quotes with their markup escaped."""
    ids = {box.id: f"n{number}" for number, box in enumerate(picture.boxes)}
    lines = ["graph TD"]
    for box in picture.boxes:
        detail = f"<br/><i>{_entity(box.detail)}</i>" if box.detail else ""
        lines.append(f'    {ids[box.id]}["{_entity(box.title)}{detail}"]:::{box.kind}')
    lines += [f"    {ids[a]} --> {ids[b]}" for a, b in picture.edges]
    lines += [f"    classDef {kind} fill:{fill},color:{ink}" for kind, (fill, ink) in _COLOURS.items()]
    return "\n".join(lines) + "\n"


def dot(picture: Picture) -> str:
    """A graph for Graphviz."""
    lines = ["digraph tree {", '    node [shape=box, style="filled,rounded", fontname="sans-serif"];']
    for box in picture.boxes:
        fill, ink = _COLOURS[box.kind]
        label = _dot(box.title) + (f"\\n{_dot(box.detail)}" if box.detail else "")
        lines.append(f'    "{_dot(box.id)}" [label="{label}", fillcolor="{fill}", fontcolor="{ink}"];')
    lines += [f'    "{_dot(a)}" -> "{_dot(b)}";' for a, b in picture.edges]
    return "\n".join([*lines, "}"]) + "\n"


def svg(picture: Picture) -> str:
    """A self-contained SVG: a layer for each depth, boxes in the order in which they come."""
    rows: dict[int, list[Box]] = {}
    for box in picture.boxes:
        rows.setdefault(picture.depth.get(box.id, 0), []).append(box)
    levels = {level: index for index, level in enumerate(sorted(rows))}
    widest = max((len(row) for row in rows.values()), default=1)
    width = 2 * _MARGIN + widest * (_WIDTH + _GAP_X) - _GAP_X
    height = 2 * _MARGIN + len(rows) * (_HEIGHT + _GAP_Y) - _GAP_Y
    place: dict[str, tuple[float, float]] = {}
    for level, row in rows.items():
        start = (width - len(row) * (_WIDTH + _GAP_X) + _GAP_X) / 2
        for column, box in enumerate(row):
            place[box.id] = (start + column * (_WIDTH + _GAP_X), _MARGIN + levels[level] * (_HEIGHT + _GAP_Y))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" font-family="sans-serif" font-size="12">'
    ]
    parts += [_line(place[a], place[b]) for a, b in picture.edges]
    parts += [_box(box, *place[box.id]) for box in picture.boxes]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _line(upper: tuple[float, float], lower: tuple[float, float]) -> str:
    x1, y1, x2, y2 = upper[0] + _WIDTH / 2, upper[1] + _HEIGHT, lower[0] + _WIDTH / 2, lower[1]
    middle = (y1 + y2) / 2
    way = f"M{x1:g},{y1:g} C{x1:g},{middle:g} {x2:g},{middle:g} {x2:g},{y2:g}"
    return f'<path d="{way}" fill="none" stroke="#8a8a8a"/>'


def _box(box: Box, x: float, y: float) -> str:
    fill, ink = _COLOURS[box.kind]
    title, detail = escape(_short(box.title)), escape(_short(box.detail))
    lower = (
        f'<text x="{x + _WIDTH / 2:g}" y="{y + 35:g}" text-anchor="middle" fill="{ink}" font-size="10">{detail}</text>'
    )
    middle, baseline = x + _WIDTH / 2, y + (20 if detail else 28)
    return (
        f'<g><title>{escape(box.title)}</title><rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" '
        f'fill="{fill}"/><text x="{middle:g}" y="{baseline:g}" text-anchor="middle" fill="{ink}">{title}</text>'
        f"{lower if detail else ''}</g>"
    )


def _short(text: str, limit: int = 30) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _entity(text: str) -> str:
    """Mermaid takes `#x27;` for an entity of its own: no entity here is a number."""
    return escape(text, quote=False).replace("#", "&num;").replace('"', "&quot;").replace("\n", " ")


def _dot(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
