"""What the commands share: the global options, formats, times, and output that keeps stdout for the answer."""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treewalk.errors import UsageError
from treewalk.model.quantity import parse_duration

if TYPE_CHECKING:
    from treewalk.app import App
    from treewalk.model.tree import Forest


@dataclass(frozen=True)
class State:
    """The options that stand before the command."""

    workspace: Path | None = None
    example: bool = False
    debug: bool = False
    color: bool = True

    def app(self) -> App:
        """The workspace, opened whole. Raises ContentError, SettingsError, UsageError, where there is none too."""
        from treewalk.app import App

        root = self.root()
        return App.open(root, example=self.example)

    def forest(self) -> Forest:
        """Only SLAs and nodes, by the quick road through the cache. Raises like `app`."""
        from treewalk.content.workspace import load_forest

        return load_forest(self.root(), example=self.example)

    def root(self) -> Path | None:
        """The workspace's folder; None only with --example. Raises UsageError where there is none."""
        import os

        from treewalk.content.workspace import find_workspace, required

        root = find_workspace(self.workspace, os.environ, Path.cwd())
        return root if self.example else required(root)


class Format(StrEnum):
    """How a report is written."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


class PlainFormat(StrEnum):
    """How a list is written."""

    TEXT = "text"
    JSON = "json"


class TreeFormat(StrEnum):
    """How a tree is written."""

    TEXT = "text"
    JSON = "json"
    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"


class ImpactFormat(StrEnum):
    """How an impact is written."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"
    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"


def put(text: str) -> None:
    """Write an answer to stdout, with one line break at its end."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def put_json(data: Any) -> None:
    """Write an answer as JSON, for programs."""
    put(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def note(text: str) -> None:
    """Say something to the person that does not belong to the answer."""
    print(text, file=sys.stderr)


def parse_time(text: str | None) -> float | None:
    """Unix seconds from ISO 8601 (UTC unless it says), Unix seconds, or a time ago such as -2h. Raises UsageError."""
    if text is None:
        return None
    try:
        if re.fullmatch(r"-\D*\d.*[a-z]", text):
            return time.time() - parse_duration(text[1:])
        if re.fullmatch(r"\d{9,}(\.\d+)?", text):
            return float(text)
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        raise UsageError(f"{text!r} is not a time; write 2026-01-15T04:47, Unix seconds, or -2h") from None


def parse_span(text: str | None, what: str) -> float | None:
    """Seconds from a duration. Raises UsageError."""
    if text is None:
        return None
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{what}: {error}") from None
    if seconds <= 0:
        raise UsageError(f"{what}: it has to be longer than nothing")
    return seconds


def user() -> str:
    """Who runs this, as the system knows them: by the process, and not by its environment, which can say anything."""
    import os
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def signed(who: str) -> str:
    """A name that somebody gave, behind the one that the system knows them by; the second can not be hidden by it."""
    given = " ".join(line(who).split())[:100]
    return f"{user()}, as {given}" if given else user()


def line(text: str | None) -> str:
    """A stranger's text as one line that cannot steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in text or "")
