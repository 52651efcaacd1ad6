"""Templates of what is told to people, in three forms: `templates/reports/NAME.FORM.j2`.

Whatever a template prints is data and stays text: one line, without control characters, and escaped for the form. Only
what a template itself writes, or marks with `|safe` (the output of a macro, a picture), is taken as it is.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, Literal

from treewalk.reporting.wording import clock, day, hour, many, plain, short, span, word

Form = Literal["text", "markdown", "html"]
FORMS: tuple[Form, ...] = ("text", "markdown", "html")
TEMPLATES = Path(__file__).resolve().parents[1] / "templates" / "reports"
UNKNOWN = "unknown"
_JOINER = "\u2060"  # takes no room, and ends what a client would make a link or a call of
_MARKS = re.compile(r"([\\`*\[\]|~$])")
_UNDERLINE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # one within a word means nothing
_FIRST = re.compile(r"^([-+=#:]|\d{1,9}(?=[.)]))")
_CALLS = re.compile(r"(@|#(?=\w)|:(?=//)|\bwww(?=\.))", re.IGNORECASE)


def render(name: str, form: Form, /, **facts: Any) -> str:
    """A text in one of its forms, without blank ends. A name that the template needs and `facts` lacks is an error
    (jinja2's UndefinedError); what is None is told as unknown."""
    text: str = _environment(form).get_template(f"{name}.{form}.j2").render(**facts)
    lines = [line.rstrip() for line in text.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def for_markdown(text: object) -> str:
    """A stranger's text as it may stand anywhere in Markdown: no link, picture, heading, list, code, or call of
    anybody (@channel, <!here>)."""
    line = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = _UNDERLINE.sub(r"\\_", _MARKS.sub(r"\\\1", line))
    line = _CALLS.sub(r"\1" + _JOINER, line)
    first = _FIRST.match(line)
    if first is None:
        return line
    return (f"{first[1]}\\" if first[1].isdigit() else f"\\{first[1]}") + line[first.end() :]


def code_for_markdown(text: object) -> str:
    """A stranger's text as code in Markdown, in a table too; what is empty is told as unknown."""
    line = plain(text).replace("`", "'")
    return f"`{line.replace('|', '¦').replace('<', '<' + _JOINER)}`" if line else UNKNOWN


@cache
def _environment(form: Form) -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        if hasattr(value, "__html__"):
            return value
        if isinstance(value, StrictUndefined):
            return str(value)  # raises
        told = UNKNOWN if value is None else value
        return for_markdown(told) if form == "markdown" else plain(told)

    def code(value: object) -> Any:
        if form == "markdown":
            return Markup(code_for_markdown(value))  # noqa: S704  escaped there
        if form == "html":
            return Markup("<code>{}</code>").format(plain(value))
        return plain(value)

    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=form == "html",  # noqa: S701  `shown` escapes the others
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.filters |= {
        "plain": plain, "short": short, "clock": _known(clock), "day": _known(day), "hour": _known(hour),
        "span": _known(span), "many": many, "code": code, "word": word,
    }  # fmt: skip
    return env


def _known(write: Any) -> Any:
    return lambda value: None if value is None else write(value)
