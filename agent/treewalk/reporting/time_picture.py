"""The course of an incident as a picture: how long each phase took, and what happened when."""

from __future__ import annotations

from collections.abc import Iterator

from treewalk.model.story import PHASES, Moment, Span, Story, phases, time_in
from treewalk.reporting.drawing import WIDTH, frame, label, written
from treewalk.reporting.wording import clock, hour, many, span

_ROW, _LINE_X, _TEXT_X, _BAR = 34, 96, 114, 26
_FIRST, _LAST = 22, 10  # lines drawn of a long timeline
_PHASES = {
    "open": ("O", "#70757d"),
    "diagnosing": ("D", "#3a6fb0"),
    "planned": ("P", "#70757d"),
    "waiting": ("W", "#8a6d3b"),
    "asking": ("?", "#8450a8"),
    "acting": ("A", "#b5532a"),
    "verifying": ("V", "#2a7f4f"),
}


def timeline_svg(story: Story) -> str:
    """The incident's timeline as a self-contained SVG, with a title and a description, no style and no script."""
    spans = phases(story)
    parts = list(_bar(spans))
    keys = list(_keys(story))
    parts += [part for key in keys for part in key]
    y = (_BAR + 14 + 20 * ((len(keys) + 1) // 2)) if keys else 10
    rows = _rows(story.timeline)
    if len(rows) > 1:
        parts.append(
            f'<path d="M{_LINE_X},{y + 12:g} V{y + 12 + (len(rows) - 1) * _ROW:g}" stroke="currentColor" '
            'opacity="0.4"/>'
        )
    for index, row in enumerate(rows):
        parts += _row(row, story.opened, y + 12 + index * _ROW)
    return frame(
        f"tw-timeline-{story.number}",
        f"Timeline of incident {story.number}",
        _description(story),
        y + 12 + len(rows) * _ROW,
        parts,
    )


def _description(story: Story) -> str:
    opened = f"Opened {clock(story.opened)}"
    closed = f", closed {clock(story.closed)} as {story.ending}" if story.closed is not None else ""
    spent = "; ".join(f"{phase} {span(seconds)}" for phase, seconds in time_in(story).items())
    return f"{opened}{closed}. {spent}. {many(len(story.timeline), 'line')}."


def _bar(spans: tuple[Span, ...]) -> Iterator[str]:
    """The phases side by side in proportion; what is very short is still seen."""
    total = sum(one.seconds for one in spans)
    if not total:
        return
    least, room = 3.0, WIDTH - 8.0
    free = max(0.0, room - least * len(spans))
    x = 4.0
    for one in spans:
        width = (least + free * one.seconds / total) if least * len(spans) < room else room / len(spans)
        letter, colour = _PHASES[one.phase]
        said = f"{one.phase} {span(one.seconds)}"
        yield f'<g><title>{written(said)}</title><rect x="{x:g}" y="4" width="{max(0.5, width - 1):g}" '
        yield f'height="{_BAR - 4}" fill="{colour}"/>'
        if width >= 14:
            yield f'<text x="{x + width / 2:g}" y="19.5" text-anchor="middle" font-size="12" font-weight="700" '
            yield f'fill="#ffffff">{letter}</text>'
        yield "</g>"
        x += width


def _keys(story: Story) -> Iterator[list[str]]:
    for index, (phase, seconds) in enumerate(time_in(story).items()):
        letter, colour = _PHASES[phase]
        x, y = 4 + (index % 2) * (WIDTH / 2), _BAR + 8 + 20 * (index // 2)
        yield [
            f'<rect x="{x:g}" y="{y:g}" width="16" height="16" fill="{colour}"/>'
            f'<text x="{x + 8:g}" y="{y + 12.5:g}" text-anchor="middle" font-size="11.5" font-weight="700" '
            f'fill="#ffffff">{letter}</text>',
            label(f"{phase} {span(seconds)}", x + 22, y + 12.5, 12.5),
        ]


def _rows(timeline: tuple[Moment, ...]) -> list[Moment | int]:
    if len(timeline) <= _FIRST + _LAST:
        return list(timeline)
    return [*timeline[:_FIRST], len(timeline) - _FIRST - _LAST, *timeline[-_LAST:]]


def _row(row: Moment | int, opened: float, y: float) -> Iterator[str]:
    if isinstance(row, int):
        yield label(f"… {many(row, 'more line')} not drawn", _TEXT_X, y + 4, 12, faint=True)
        return
    after = row.at - opened
    yield f"<g><title>{written(f'{clock(row.at)} {row.kind}: {row.text}')}</title>"
    yield f'<text x="{_LINE_X - 12}" y="{y + 1:g}" text-anchor="end" font-size="12.5">{hour(row.at)}</text>'
    offset = f"+{span(after)}" if after >= 0 else f"-{span(-after)}"
    yield f'<text x="{_LINE_X - 12}" y="{y + 15:g}" text-anchor="end" font-size="11" opacity="0.75">{offset}</text>'
    if row.kind in PHASES:
        letter, colour = _PHASES[row.kind]
        yield f'<rect x="{_LINE_X - 8}" y="{y - 8:g}" width="16" height="16" fill="{colour}"/>'
        yield f'<text x="{_LINE_X}" y="{y + 4.5:g}" text-anchor="middle" font-size="11.5" font-weight="700" '
        yield f'fill="#ffffff">{letter}</text>'
    else:
        yield f'<circle cx="{_LINE_X}" cy="{y:g}" r="4.5"/>'
    yield label(row.kind, _TEXT_X, y + 1, 13, bold=True)
    yield label(row.text, _TEXT_X, y + 15, 11.5, faint=True)
    yield "</g>"
