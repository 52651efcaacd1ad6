"""What the commands share: the global options, formats, times, and output that keeps stdout for the answer."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from treewalk.errors import TreewalkError, UsageError
from treewalk.model.quantity import parse_duration
from treewalk.model.timestamps import LATEST

_AHEAD = 60.0  # seconds by which clocks may differ

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


class OutputError(TreewalkError):
    """The answer cannot be written to stdout: the disk is full, say."""

    exit_code = 74  # EX_IOERR of sysexits.h

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the answer cannot be written: {error.strerror or error}")


def put(text: str) -> None:
    """Write an answer to stdout, with one line break at its end. Raises OutputError."""
    out: TextIO | None = sys.stdout  # Python has none where the caller closed it
    if out is None:
        raise OutputError(OSError(errno.EBADF, "stdout is closed"))
    try:
        out.write(text if text.endswith("\n") else text + "\n")
    except BrokenPipeError:
        drop_output(out)
    except OSError as error:
        raise OutputError(error) from None


def drop_output(out: TextIO) -> None:
    """Let what is written from now on go nowhere: whoever read it has seen enough. The exit code stays what it is."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


def put_json(data: Any) -> None:
    """Write an answer as JSON, for programs."""
    put(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def note(text: str) -> None:
    """Say something to the person that does not belong to the answer."""
    print(text, file=sys.stderr)


def parse_time(text: str | None) -> float | None:
    """Unix seconds from ISO 8601 (UTC unless it says), Unix seconds, or a time ago such as -2h.

    Raises UsageError, also for times before 1970 and after 9000: nothing was ever measured then.
    """
    if text is None:
        return None
    try:
        if re.fullmatch(r"-\D*\d.*[a-z]", text):
            found = time.time() - parse_duration(text[1:])
        elif re.fullmatch(r"\d{9,}(\.\d+)?", text):
            found = float(text)
        else:
            moment = datetime.fromisoformat(text)
            found = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is not a time; write 2026-01-15T04:47, Unix seconds, or -2h") from None
    if not 0 <= found < LATEST:
        raise UsageError(f"{text!r} lies outside the years 1970 to 9000; Unix times are in seconds, not milliseconds")
    return found


def parse_moment(text: str | None) -> float | None:
    """A time that has been: as `parse_time`, and UsageError when it is more than a minute in the future."""
    found = parse_time(text)
    if found is not None and found > time.time() + _AHEAD:
        raise UsageError(f"{text!r} is in the future: nothing can be seen there yet; leave --at out for now")
    return found


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
