"""Templates: escaped always, strict about names, and the few filters that pages share."""

from __future__ import annotations

import hashlib
import json
import zlib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from treewalk.model.quantity import format_duration

HERE = Path(__file__).resolve().parent
TEMPLATES = HERE.parents[1] / "templates" / "pages"
STATIC = HERE.parent / "static"
FILES = {
    "page.css": "text/css; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "htmx-2.0.11.min.js": "text/javascript; charset=utf-8",
    "htmx-LICENSE.txt": "text/plain; charset=utf-8",
    "mark.svg": "image/svg+xml",
}
_SHAPES = {
    "healthy": "✓", "met": "✓", "resolved": "✓", "approved": "✓", "off": "✓", "trusted": "✓", "holds": "✓",
    "degraded": "!", "asking": "!", "waiting": "!", "candidate": "!", "suspended": "!",
    "unhealthy": "✕", "violated": "✕", "escalated": "✕", "not_resolved": "✕", "refused": "✕", "failed": "✕",
    "denied": "✕", "on": "✕", "closed": "·", "cancelled": "·", "diagnosed": "·", "merged": "·", "retired": "·",
    "no_fault_found": "·", "rehearsed": "·", "not looked at": "·", "looking": "…", "open": "…", "diagnosing": "…",
    "planned": "…", "acting": "…", "verifying": "…",
}  # fmt: skip


def shape(word: str) -> str:
    """The sign of a state, for those who see no colours; the word always stands beside it."""
    return _SHAPES.get(word, "?")


def when(at: float | None) -> str:
    """A Unix time for people."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if at is not None else "–"


def iso(at: float | None) -> str:
    """A Unix time for the `datetime` of a `time` element."""
    return datetime.fromtimestamp(at, UTC).isoformat() if at is not None else ""


def path(text: object) -> str:
    """A name as one part of an address, slashes kept."""
    return quote(str(text), safe="/")


def word(text: object) -> str:
    """`not_resolved` as people write it."""
    return str(text).replace("_", " ")


def as_json(data: object) -> str:
    """Data as one line of JSON."""
    return json.dumps(data, ensure_ascii=False, default=str)


def version(text: str) -> str:
    """A short mark that changes when a text does."""
    return f"{zlib.crc32(text.encode()):08x}"


@cache
def static_url(name: str) -> str:
    """The address of a shipped file, another one when its content is another."""
    mark = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?{mark}"


@cache
def environment() -> Any:
    """The templates."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.filters |= {
        "when": when, "iso": iso, "path": path, "word": word, "shape": shape, "json": as_json,
        "span": format_duration, "version": version,
    }  # fmt: skip
    env.globals["static"] = static_url
    return env


def render(template: str, **values: Any) -> str:
    """A template as HTML, with everything in it escaped."""
    text: str = environment().get_template(template).render(**values)
    return text
