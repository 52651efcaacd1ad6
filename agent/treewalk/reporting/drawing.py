"""Marks of the pictures. Colour is never the only sign: each has a shape and a letter. Text and lines take the colour
of the text around the picture, so that it is readable on light and dark, and under a policy that allows no styles."""

from __future__ import annotations

from html import escape

from treewalk.reporting.wording import plain, short

WIDTH = 480
RADIUS = 10
_CHARACTER = 0.56  # the mean width of a letter, as a part of the font's size
_COLOURS = {"healthy": "#2a7f4f", "degraded": "#a8690f", "unhealthy": "#c8383f", "unknown": "#70757d", "": "#70757d"}
_LETTERS = {"healthy": "H", "degraded": "D", "unhealthy": "U", "unknown": "?", "": "–"}
STATUSES = ("unhealthy", "degraded", "unknown", "healthy", "")


def frame(id: str, title: str, description: str, height: float, parts: list[str]) -> str:
    """A whole picture, with its name and its description for those who cannot see it."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="tw-picture" role="img" viewBox="0 0 {WIDTH} {height:g}" '
            f'width="{WIDTH}" height="{height:g}" aria-labelledby="{id}-title {id}-desc" '
            'font-family="system-ui, sans-serif" fill="currentColor">',
            f'<title id="{id}-title">{written(title)}</title><desc id="{id}-desc">{written(description)}</desc>',
            *parts,
            "</svg>",
        ]
    )


def written(text: object) -> str:
    """Text as it may stand in a picture."""
    return escape(plain(text), quote=True)


def fitting(text: object, width: float, size: float) -> str:
    """Text cut to what fits into a width, both in the picture's units."""
    return short(text, max(4, int(width / (size * _CHARACTER))))


def label(text: object, x: float, y: float, size: float = 13, *, bold: bool = False, faint: bool = False) -> str:
    """A line of text from `x` on, cut at the right edge."""
    weight = ' font-weight="700"' if bold else ""
    opacity = ' opacity="0.75"' if faint else ""
    shown = escape(fitting(text, WIDTH - x - 4, size * (1.06 if bold else 1)), quote=True)
    return f'<text x="{x:g}" y="{y:g}" font-size="{size:g}"{weight}{opacity}>{shown}</text>'


def mark(status: str, x: float, y: float) -> str:
    """The sign of a status around a point: its own shape, colour and letter."""
    colour, r = _COLOURS.get(status, _COLOURS[""]), RADIUS
    dashed = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="3 2"'
    shape = {
        "healthy": f'<circle cx="{x:g}" cy="{y:g}" r="{r}" fill="{colour}"/>',
        "degraded": f'<path d="M{x:g},{y - r - 2:g} L{x + r + 2:g},{y + r - 1:g} L{x - r - 2:g},{y + r - 1:g} Z" '
        f'fill="{colour}"/>',
        "unhealthy": f'<rect x="{x - r:g}" y="{y - r:g}" width="{2 * r}" height="{2 * r}" rx="2" fill="{colour}"/>',
    }.get(status, f'<circle cx="{x:g}" cy="{y:g}" r="{r}" {dashed}/>')
    ink = "currentColor" if status not in ("healthy", "degraded", "unhealthy") else "#ffffff"
    lower = 6 if status == "degraded" else 4.5
    return (
        f'{shape}<text x="{x:g}" y="{y + lower:g}" text-anchor="middle" font-size="12" font-weight="700" '
        f'fill="{ink}">{_LETTERS.get(status, "–")}</text>'
    )


def status_word(status: str) -> str:
    """A status for people."""
    return status or "not looked at"
