"""Log files that answer LogQL like a Loki, so that a tree needs no change where there is none."""

from __future__ import annotations

import gzip
import os
import re
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

from treewalk.errors import QueryUnsupported, SourceRejected, SourceUnreachable
from treewalk.model.logql import LogQuery, parse
from treewalk.model.series import LogBatch, LogLine, show_labels
from treewalk.model.timestamps import find_time
from treewalk.settings import FilesSettings, LogFile
from treewalk.threads import in_thread

_BLOCK = 256 * 1024
_MAX_LINE = 1_000_000  # bytes kept of one line, with those that continue it
_OLD_IN_A_ROW = 50  # lines before the window that end the reading; fewer may only be out of order
_GRACE = 300.0  # seconds by which a file without times may be younger than the window's end
_DAY = 86400.0
_UNPACKED = 8  # times max_bytes that are unpacked at most
_ROTATED = re.compile(r"(?:\.\d{1,14}|-\d{8}(?:[-_T.]?\d{1,6})?)?(?:\.gz)?$")  # app.log.1, app.log-20261120.gz


class LogFiles:
    """A log source over files; `root` is what relative paths start from."""

    def __init__(self, name: str, settings: FilesSettings, root: Path, resolve: Callable[[str], str]) -> None:
        self.name = name
        self._settings, self._root = settings, root

    async def lines(self, query: str, start: float, end: float, limit: int) -> LogBatch:
        """The newest lines of a query with start <= time < end.

        Raises QueryUnsupported for what files cannot answer, SourceRejected when no stream has such labels,
        SourceUnreachable when a file cannot be read.
        """
        try:
            parsed = parse(query)
        except ValueError as error:
            raise QueryUnsupported(str(error)) from None
        stop = threading.Event()
        return await in_thread(lambda: self._read(parsed, query, start, end, limit, stop), stop.set)

    async def inspect(self) -> Mapping[str, str]:
        """How many of the declared streams have a file now. Raises SourceUnreachable when none has."""
        present = [s for s in self._settings.streams if self._paths(s)]
        if self._settings.streams and not present:
            raise SourceUnreachable("none of the declared log files exists: " + self._settings.streams[0].path)
        return {"streams": str(len(self._settings.streams)), "with files": str(len(present))}

    async def aclose(self) -> None:
        """Nothing is kept open."""

    def _read(
        self, parsed: LogQuery, query: str, start: float, end: float, limit: int, stop: threading.Event
    ) -> LogBatch:
        streams = [s for s in self._settings.streams if parsed.selects(s.labels)]
        if not streams:
            known = "; ".join(show_labels(s.labels) for s in self._settings.streams[:10]) or "none"
            raise SourceRejected(f"no log file has the labels of {query}; declared are: {known}")
        found: list[LogLine] = []
        cut = False
        for stream in streams:
            lines, stream_cut = self._stream(stream, parsed, start, end, limit, stop)
            found.extend(lines)
            cut = cut or stream_cut
        found.sort(key=lambda line: -line.time)
        return LogBatch(tuple(found[:limit]), cut or len(found) > limit)

    def _paths(self, stream: LogFile) -> list[list[Path]]:
        """The files of a stream, each with its rotated siblings, newest first."""
        base = Path(stream.path)
        try:
            if base.is_absolute():
                folder, pattern = Path(base.anchor), str(base.relative_to(base.anchor))
            else:
                folder, pattern = self._root, str(base)
            if any(c in pattern for c in "*?["):
                live = [p for p in folder.glob(pattern) if p.is_file()]
            else:
                live = [folder / pattern]
        except (ValueError, NotImplementedError) as error:
            raise SourceRejected(f"{stream.path!r} is not a path of log files: {error}") from None
        names = set(live)
        families = [[p, *_rotated(p)] for p in live if _live_name(p) == p or _live_name(p) not in names]
        found = [sorted((p for p in set(f) if p.is_file()), key=_modified, reverse=True) for f in families]
        return [family for family in found if family]

    def _stream(
        self, stream: LogFile, parsed: LogQuery, start: float, end: float, limit: int, stop: threading.Event
    ) -> tuple[list[LogLine], bool]:
        """The newest lines of every file of a stream, and whether some were left out."""
        reading = _Reading(stream, start, end, self._settings.max_bytes, parsed, stop)
        for attempt in range(3):
            families = self._paths(stream)
            if not families:
                raise SourceUnreachable(f"no log file at {stream.path}")
            try:
                found = [line for family in families for line in reading.family(family, limit + 1)]
            except FileNotFoundError as error:  # rotated away between the listing and the reading
                if attempt == 2:
                    raise SourceUnreachable(f"the log file {error.filename} vanished while it was read") from None
                reading = _Reading(stream, start, end, self._settings.max_bytes, parsed, stop)
                continue
            return found, reading.cut
        raise AssertionError("unreachable")


class _Reading:
    """Reading one stream's files within a budget of bytes, until `stop` is set because nobody waits any more."""

    def __init__(
        self, stream: LogFile, start: float, end: float, budget: int, parsed: LogQuery, stop: threading.Event
    ) -> None:
        self.stop = stop
        self.stream, self.start, self.end, self.budget, self.limit = stream, start, end, budget, budget
        self.wanted: Callable[[str], bool] = lambda text: parsed.matches(stream.labels, text)
        self.cut = False
        try:
            self.zone = UTC if stream.timezone == "UTC" else ZoneInfo(stream.timezone)
        except (KeyError, ValueError):
            raise SourceRejected(f"the timezone {stream.timezone!r} of {stream.path} does not exist") from None

    def family(self, paths: Sequence[Path], limit: int) -> list[LogLine]:
        """The newest lines of a file and its rotated siblings."""
        found: list[LogLine] = []
        for path in paths:
            try:
                modified = path.stat().st_mtime
                if modified < self.start:
                    continue
                if self.budget <= 0:
                    self.cut = True
                    break
                done = self.one(path, modified, found, limit)
            except FileNotFoundError:
                raise
            except (OSError, EOFError, zlib.error) as error:
                why = (error.strerror if isinstance(error, OSError) else None) or "it is not a whole gzip file"
                raise SourceUnreachable(f"the log file {path} cannot be read: {why}") from None
            if done or len(found) >= limit:
                break
        return found

    def one(self, path: Path, modified: float, found: list[LogLine], limit: int) -> bool:
        """Add one file's lines, newest first; whether the beginning of the window was reached."""
        tail: list[str] = []
        oldest: float | None = None
        older = 0
        year = datetime.fromtimestamp(modified, self.zone).year
        for raw in self.backwards(path):
            text = raw.decode("utf-8", "replace").rstrip("\r").replace("\0", "")
            moment = self.time(text, modified, year)
            if moment is None:
                tail.append(text)  # belongs to the line above, as a stack trace does
                continue
            whole = "\n".join([text, *reversed(tail)])[:_MAX_LINE] if tail else text
            tail, oldest = [], moment
            if moment < self.start:
                older += 1
                if older >= _OLD_IN_A_ROW:
                    return True
                continue
            older = 0
            if moment < self.end and self.wanted(whole):
                found.append(LogLine(moment, whole, self.stream.labels))
                if len(found) >= limit:
                    return False
        self.top(tail, modified if oldest is None else oldest, found, limit)
        return False

    def top(self, texts: list[str], moment: float, found: list[LogLine], limit: int) -> None:
        """Lines above the first time of a file: as old as that, or in a file without times as the file itself."""
        if self.end <= moment < self.end + _GRACE:
            moment = self.end - 0.001  # still being written while it is read
        if self.start <= moment < self.end:
            kept = (text for text in texts if text.strip() and self.wanted(text))
            found.extend(LogLine(moment, text, self.stream.labels) for text in islice(kept, limit - len(found)))

    def time(self, text: str, modified: float, year: int) -> float | None:
        """A line's own time, or None for one that continues the line before."""
        if self.stream.timestamp is None and text[:1] in (" ", "\t") and not text.lstrip().startswith("{"):
            return None
        moment = find_time(text, self.zone, year, self.stream.timestamp)
        if moment is not None and moment > modified + _DAY:  # without a year, and last year's
            moment = find_time(text, self.zone, year - 1, self.stream.timestamp)
        return moment

    def backwards(self, path: Path) -> Iterator[bytes]:
        """The lines of a file from its end, no more than the budget; `cut` tells that there were more."""
        if path.suffix == ".gz":
            yield from self.unpacked(path)
            return
        with path.open("rb") as stream:
            position = stream.seek(0, os.SEEK_END)
            rest = b""
            while position > 0:
                size = min(_BLOCK, position, self.budget)
                if size <= 0 or self.stop.is_set():
                    self.cut = True
                    return
                position -= size
                self.budget -= size
                stream.seek(position)
                rows = (stream.read(size) + rest).split(b"\n")
                rest = rows[0][:_MAX_LINE]
                yield from (row[:_MAX_LINE] for row in reversed(rows[1:]) if row)
            if rest:
                yield rest

    def unpacked(self, path: Path) -> Iterator[bytes]:
        """The same of a packed file, which has to be unpacked from its beginning; its end is kept."""
        kept: deque[bytes] = deque()
        size = total = 0
        with gzip.open(path, "rb") as packed:
            while block := packed.read(_BLOCK):
                kept.append(block)
                size += len(block)
                total += len(block)
                while size - len(kept[0]) > self.budget:
                    size -= len(kept.popleft())
                    self.cut = True
                if total > _UNPACKED * self.limit or self.stop.is_set():
                    self.cut = True
                    break
        self.budget -= size
        rows = b"".join(kept).split(b"\n")
        yield from (row[:_MAX_LINE] for row in reversed(rows[1:] if total > size else rows) if row)


def _live_name(path: Path) -> Path:
    """What a rotated file was called while it was written."""
    return path.with_name(_ROTATED.sub("", path.name) or path.name)


def _rotated(path: Path) -> list[Path]:
    """The rotated siblings of a log file."""
    try:
        with os.scandir(path.parent) as entries:
            beside = [path.with_name(entry.name) for entry in entries if entry.name.startswith(path.name)]
    except OSError:
        return []
    return [other for other in beside if other != path and _live_name(other) == path]


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
