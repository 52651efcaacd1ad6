"""Log files that answer LogQL like a Loki, so that a tree needs no change where there is none."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from treewalk.errors import QueryUnsupported, SourceRejected, SourceUnreachable
from treewalk.model.logql import LogQuery, parse
from treewalk.model.series import LogBatch, LogLine
from treewalk.model.timestamps import find_time
from treewalk.settings import FilesSettings, LogFile

_BLOCK = 256 * 1024
_MAX_LINE = 1_000_000


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
        return await asyncio.to_thread(self._read, parsed, query, start, end, limit)

    async def inspect(self) -> Mapping[str, str]:
        """How many of the declared streams have a file now. Raises SourceUnreachable when none has."""
        present = [s for s in self._settings.streams if self._paths(s)]
        if self._settings.streams and not present:
            raise SourceUnreachable("none of the declared log files exists: " + self._settings.streams[0].path)
        return {"streams": str(len(self._settings.streams)), "with files": str(len(present))}

    async def aclose(self) -> None:
        """Nothing is kept open."""

    def _read(self, parsed: LogQuery, query: str, start: float, end: float, limit: int) -> LogBatch:
        streams = [s for s in self._settings.streams if parsed.selects(s.labels)]
        if not streams:
            known = "; ".join(_show(s.labels) for s in self._settings.streams[:10]) or "none"
            raise SourceRejected(f"no log file has the labels of {query}; declared are: {known}")
        found: list[LogLine] = []
        cut = False
        for stream in streams:
            lines, stream_cut = self._stream(stream, parsed, start, end, limit)
            found.extend(lines)
            cut = cut or stream_cut
        found.sort(key=lambda line: -line.time)
        return LogBatch(tuple(found[:limit]), cut or len(found) > limit)

    def _paths(self, stream: LogFile) -> list[Path]:
        """The files of a stream with their rotated siblings, newest first."""
        base = Path(stream.path)
        folder, pattern = (
            (Path(base.anchor), str(base.relative_to(base.anchor))) if base.is_absolute() else (self._root, str(base))
        )
        found = set(folder.glob(pattern))
        if not any(c in pattern for c in "*?["):
            found |= set(folder.glob(f"{pattern}.[0-9]*"))
        return sorted((p for p in found if p.is_file()), key=_modified, reverse=True)

    def _stream(
        self, stream: LogFile, parsed: LogQuery, start: float, end: float, limit: int
    ) -> tuple[list[LogLine], bool]:
        paths = self._paths(stream)
        if not paths:
            raise SourceUnreachable(f"no log file at {stream.path}")
        found: list[LogLine] = []
        budget = self._settings.max_bytes
        for path in paths:
            if _modified(path) < start:
                continue
            try:
                lines, used, done = _newest(
                    path, stream, start, end, budget, lambda t: parsed.matches(stream.labels, t), limit + 1
                )
            except OSError as error:
                raise SourceUnreachable(f"the log file {path} cannot be read: {error.strerror}") from None
            found.extend(lines)
            budget -= used
            if budget <= 0 or len(found) > limit:
                return found, True
            if done:
                break
        return found, False


def _newest(
    path: Path,
    stream: LogFile,
    start: float,
    end: float,
    budget: int,
    wanted: Callable[[str], bool],
    limit: int,
) -> tuple[list[LogLine], int, bool]:
    """Lines of one file, newest first; how many bytes were read; whether the beginning of the window was reached."""
    zone = UTC if stream.timezone == "UTC" else ZoneInfo(stream.timezone)
    modified = _modified(path)
    year = datetime.fromtimestamp(modified, UTC).year
    found: list[LogLine] = []
    tail: list[str] = []
    used = 0
    for raw in _backwards(path, budget):
        used += len(raw) + 1
        text = raw.decode("utf-8", "replace").rstrip("\r").replace("\0", "")
        moment = find_time(text, zone, year, stream.timestamp)
        if moment is None:
            tail.append(text)  # belongs to the line above, as a stack trace does
            continue
        whole = "\n".join([text, *reversed(tail)]) if tail else text
        tail = []
        if moment < start:
            return found, used, True
        if moment < end and whole and wanted(whole):
            found.append(LogLine(moment, whole, stream.labels))
            if len(found) >= limit:
                return found, used, False
    # Lines at the top of a file that have no time at all: they are as old as the file says.
    found.extend(
        LogLine(modified, text, stream.labels)
        for text in tail
        if text.strip() and start <= modified < end and wanted(text)
    )
    return found[:limit], used, False


def _backwards(path: Path, budget: int) -> Iterator[bytes]:
    """The lines of a file from its end, no more than `budget` bytes of it."""
    if path.suffix == ".gz":
        with gzip.open(path, "rb") as packed:
            yield from reversed(packed.read(budget).split(b"\n"))
        return
    with path.open("rb") as stream:
        position = stream.seek(0, os.SEEK_END)
        rest = b""
        while position > 0 and budget > 0:
            size = min(_BLOCK, position, budget)
            position -= size
            budget -= size
            stream.seek(position)
            rows = (stream.read(size) + rest).split(b"\n")
            rest = rows[0][-_MAX_LINE:]
            yield from (row for row in reversed(rows[1:]) if row)
        if position == 0 and rest:
            yield rest


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _show(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'{k}="{v}"' for k, v in labels.items()) + "}"
