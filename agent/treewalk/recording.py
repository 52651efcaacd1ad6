"""`--record FILE` and `replay FILE`: a diagnosis with every answer it rested on, in one redacted file.

The format is described in docs/bundles.md. A bundle holds the tree, the known errors, the options, the verdict of
every healthcheck and every answer (or error) of every source, so that it can be diagnosed again with no network.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from treewalk import errors
from treewalk.content.checks import builtin_checks
from treewalk.content.codec import forest_from_json, forest_to_json, known_errors_from_json, known_errors_to_json
from treewalk.errors import SourceError, SourceRejected, UsageError
from treewalk.integrations.clock import SystemClock
from treewalk.model.known import KnownError
from treewalk.model.redact import redact
from treewalk.model.series import LogBatch, LogLine, Sample, Series
from treewalk.model.tree import BaselineSpec, Forest, Tree
from treewalk.model.verdict import Status, Verdict
from treewalk.pipeline import Bench
from treewalk.ports import LogSource, MetricSource
from treewalk.stages.match import SignatureIndex

FORMAT = "treewalk/bundle/1"
LARGEST = 1_000_000_000  # bytes of a bundle when unpacked
_ERRORS = {c.__name__: c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, SourceError)}

Json = dict[str, Any]


class Recorder:
    """Collects what passes while a diagnosis runs; `write` puts it into a file."""

    def __init__(self, tree: Tree, known: Sequence[KnownError], bench: Bench) -> None:
        self._answers: list[Json] = []
        self._verdicts: dict[str, Json] = {}
        windows = {tree.sla.window.name: tree.sla.window} if tree.sla.window else {}
        self._head: Json = {
            "format": FORMAT,
            "sla": tree.sla.name,
            "content": forest_to_json(Forest({tree.sla.name: tree.sla}, tree.nodes, windows)),
            "known_errors": known_errors_to_json(known),
            "options": {
                "at": bench.at,
                "window": bench.window,
                "baseline": asdict(bench.baseline),
                "live": bench.live,
                "strategy": bench.strategy,
                "max_log_lines": bench.max_log_lines,
            },
        }

    def keep_verdict(self, node: str, verdict: Verdict) -> None:
        """Keep the verdict of a node's healthcheck: what looks at the present cannot be asked again."""
        self._verdicts[node] = {**asdict(verdict), "status": verdict.status.value}

    def metrics(self, inner: Callable[[str | None], MetricSource]) -> Callable[[str | None], MetricSource]:
        """The same metric sources, listened to."""
        return lambda name: _ListenedMetrics(name, inner, self._answers)

    def logs(self, inner: Callable[[str | None], LogSource]) -> Callable[[str | None], LogSource]:
        """The same log sources, listened to."""
        return lambda name: _ListenedLogs(name, inner, self._answers)

    def write(self, path: Path) -> None:
        """Write the bundle, redacted, all of it or nothing; gzip where the name ends in .gz."""
        done = [a for a in self._answers if "answer" in a or "error" in a]  # not what the deadline broke off
        bundle = {**self._head, "verdicts": self._verdicts, "answers": done}
        data = json.dumps(_redacted(bundle), separators=(",", ":"), allow_nan=False).encode()
        _write_whole(path, gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def open_recording(path: Path) -> tuple[Tree, Bench]:
    """A bundle as a tree and a bench whose sources answer only what was recorded. Raises UsageError."""
    try:
        bundle = json.loads(_read(path))
        if bundle["format"] != FORMAT:
            raise UsageError(f"{path} is a bundle of format {bundle['format']!r}; this treewalk reads {FORMAT!r}")
        return _opened(bundle)
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise UsageError(f"{path} is damaged: it does not unpack") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise UsageError(f"{path} is not a bundle that `treewalk diagnose --record` wrote, or it is damaged") from None


def _read(path: Path) -> bytes:
    """The bundle, unpacked; packed or not is seen from its first bytes."""
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as stream:
        data = stream.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise UsageError(f"{path} is larger than {LARGEST // 10**6} MB when unpacked: no bundle of a diagnosis is")
    return data


def _write_whole(path: Path, data: bytes) -> None:
    """All of it or nothing: a file beside it takes its place when it is complete."""
    beside = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.absolute().parent, prefix=f".{path.name}.", delete=False) as stream:
            beside = stream.name
            stream.write(data)
        os.replace(beside, path)
    except OSError as error:
        if beside is not None:
            Path(beside).unlink(missing_ok=True)
        raise UsageError(f"the recording {path} cannot be written: {error.strerror}") from None


def _opened(bundle: Mapping[str, Any]) -> tuple[Tree, Bench]:
    forest = forest_from_json(bundle["content"])
    options = bundle["options"]
    answers = {_key(a): a for a in bundle["answers"]}
    bench = Bench(
        metrics=lambda name: _ReplayedMetrics(name, answers),
        logs=lambda name: _ReplayedLogs(name, answers),
        checks=builtin_checks(),
        known=SignatureIndex(known_errors_from_json(bundle["known_errors"])),
        clock=SystemClock(),
        at=float(options["at"]),
        window=float(options["window"]),
        baseline=BaselineSpec(**options["baseline"]),
        live=False,  # what looks at the present only is in `verdicts`, or was never answered
        strategy=options["strategy"],
        max_log_lines=int(options["max_log_lines"]),
        recorded={node: _verdict(v) for node, v in bundle["verdicts"].items()},
    )
    return forest.tree(bundle["sla"]), bench


def _verdict(data: Mapping[str, Any]) -> Verdict:
    numbers = {name: float(data[name]) for name in ("when", "onset", "size") if data.get(name) is not None}
    return Verdict(**{**data, **numbers, "status": Status(data["status"])})


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, float):
        return _out(value)
    if isinstance(value, Mapping):
        return {key: _redacted(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(inner) for inner in value]
    return value


def _key(answer: Mapping[str, Any]) -> tuple[Any, ...]:
    return (answer["kind"], answer["source"], redact(answer["query"]), *(round(float(x), 3) for x in answer["span"]))


def _out(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


async def _listen(answers: list[Json], entry: Json, ask: Any, encode: Callable[[Any], Any]) -> Any:
    answers.append(entry)
    try:
        found = await ask()
    except SourceError as error:
        entry["error"] = [type(error).__name__, str(error)]
        raise
    entry["answer"] = encode(found)
    return found


class _ListenedMetrics:
    def __init__(self, key: str | None, inner: Callable[[str | None], MetricSource], answers: list[Json]) -> None:
        self._key, self._inner, self._answers = key, inner, answers

    @property
    def name(self) -> str:
        return self._key or "default"

    async def instant(self, query: str, at: float) -> Sequence[Sample]:
        entry: Json = {"kind": "instant", "source": self.name, "query": query, "span": [at]}

        def encode(found: Sequence[Sample]) -> list[Any]:
            return [[dict(s.labels), s.time, _out(s.value), s.scalar] for s in found]

        result: Sequence[Sample] = await _listen(
            self._answers, entry, lambda: self._inner(self._key).instant(query, at), encode
        )
        return result

    async def range(self, query: str, start: float, end: float, step: float) -> Sequence[Series]:
        entry: Json = {"kind": "range", "source": self.name, "query": query, "span": [start, end, step]}

        def encode(found: Sequence[Series]) -> list[Any]:
            return [[dict(s.labels), [float(t) for t in s.times], [_out(float(v)) for v in s.values]] for s in found]

        result: Sequence[Series] = await _listen(
            self._answers, entry, lambda: self._inner(self._key).range(query, start, end, step), encode
        )
        return result


class _ListenedLogs:
    def __init__(self, key: str | None, inner: Callable[[str | None], LogSource], answers: list[Json]) -> None:
        self._key, self._inner, self._answers = key, inner, answers

    @property
    def name(self) -> str:
        return self._key or "default"

    async def lines(self, query: str, start: float, end: float, limit: int) -> LogBatch:
        entry: Json = {"kind": "lines", "source": self.name, "query": query, "span": [start, end, limit]}

        def encode(found: LogBatch) -> Json:
            return {"lines": [[x.time, x.text, dict(x.labels)] for x in found.lines], "truncated": found.truncated}

        result: LogBatch = await _listen(
            self._answers, entry, lambda: self._inner(self._key).lines(query, start, end, limit), encode
        )
        return result


class _Replayed:
    def __init__(self, key: str | None, answers: Mapping[tuple[Any, ...], Json]) -> None:
        self._source, self._answers = key or "default", answers

    @property
    def name(self) -> str:
        return self._source

    def _find(self, kind: str, query: str, *span: float) -> Any:
        entry = self._answers.get(_key({"kind": kind, "source": self._source, "query": query, "span": span}))
        if entry is None:
            raise SourceRejected(f"the recording holds no answer to {redact(query)}")
        if "error" in entry:
            name, message = entry["error"]
            raise _ERRORS.get(name, SourceError)(message)
        return entry["answer"]


class _ReplayedMetrics(_Replayed):
    async def instant(self, query: str, at: float) -> Sequence[Sample]:
        return [Sample(labels, t, float(v), scalar) for labels, t, v, scalar in self._find("instant", query, at)]

    async def range(self, query: str, start: float, end: float, step: float) -> Sequence[Series]:
        found = self._find("range", query, start, end, step)
        return [Series(labels, times, [float(v) for v in values]) for labels, times, values in found]


class _ReplayedLogs(_Replayed):
    async def lines(self, query: str, start: float, end: float, limit: int) -> LogBatch:
        found = self._find("lines", query, start, end, limit)
        return LogBatch(tuple(LogLine(t, text, labels) for t, text, labels in found["lines"]), found["truncated"])
