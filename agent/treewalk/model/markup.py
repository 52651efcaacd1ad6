"""Texts of anybody put into Markdown so that they stay text."""

from __future__ import annotations

_MARKUP = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]<>#|!~&"})


def plain(line: str) -> str:
    """One line of text without anything that a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in line).rstrip()


def escaped(value: str) -> str:
    """One line in running text or a table's cell: nothing in it is markup."""
    return plain(value).translate(_MARKUP)


def code(value: str) -> str:
    """One line as a span of code, between as many backticks as it takes."""
    line = plain(value)
    fence = "`" * (_longest_run(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def cell(value: str) -> str:
    """The same as a cell of a table, where a bar ends the cell even within code."""
    return code(value).replace("|", "\\|")


def _longest_run(line: str) -> int:
    longest = run = 0
    for character in line:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    return longest
