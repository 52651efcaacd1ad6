"""`--record FILE` and `replay FILE`: a diagnosis with every answer it rested on, in one redacted file.

The format is described in docs/bundles.md. A bundle holds the tree, the known errors, the options, the verdict of
every healthcheck and every answer (or error) of every source, so that it can be diagnosed again with no network.
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from treewalk.content.checks import builtin_checks
from treewalk.content.codec import forest_from_json, forest_to_json, known_errors_from_json, known_errors_to_json
from treewalk.diagnosing import Bench
from treewalk.errors import UsageError
from treewalk.integrations.bundle import (
    ListenedLogs,
    ListenedMetrics,
    Notebook,
    Recorded,
    ReplayedLogs,
    ReplayedMetrics,
    number_out,
)
from treewalk.integrations.clock import SystemClock
from treewalk.model.known import KnownError
from treewalk.model.redact import redact
from treewalk.model.timestamps import LATEST
from treewalk.model.tree import BaselineSpec, Forest, Tree
from treewalk.model.verdict import Status, Verdict
from treewalk.ports import LogSource, MetricSource
from treewalk.stages.match import SignatureIndex

FORMAT = "treewalk/bundle/1"
DEFAULTS = BaselineSpec(window=900.0, baseline=21_600.0)  # of a bundle that does not say
LARGEST = 1_000_000_000  # bytes of a bundle when unpacked

Json = dict[str, Any]


class Recorder:
    """Collects what passes while a diagnosis runs; `write` puts it into a file."""

    def __init__(self, tree: Tree, known: Sequence[KnownError], bench: Bench) -> None:
        self._notebook = Notebook()
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
        return lambda name: ListenedMetrics(name, lambda: inner(name), self._notebook)

    def logs(self, inner: Callable[[str | None], LogSource]) -> Callable[[str | None], LogSource]:
        """The same log sources, listened to."""
        return lambda name: ListenedLogs(name, lambda: inner(name), self._notebook)

    def write(self, path: Path) -> None:
        """Write the bundle, redacted, all of it or nothing; gzip where the name ends in .gz."""
        bundle = {**self._head, "verdicts": self._verdicts, "answers": self._notebook.done()}
        bundle["asked"] = list(self._notebook.asked())
        data = json.dumps(_redacted(bundle), separators=(",", ":"), allow_nan=False).encode()
        _write_whole(path, gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def check_place(path: Path) -> None:
    """Raises UsageError when a bundle could not be written there: told before a walk, and not after it."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"the recording {path} cannot be written: there is no folder {folder}")
    if path.is_dir():
        raise UsageError(f"the recording {path} cannot be written: it is a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"the recording {path} cannot be written: {folder} may not be written to")


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
    at, window = float(options["at"]), float(options.get("window", DEFAULTS.window))
    if not (0 <= at < LATEST and 0 < window < LATEST):
        raise ValueError("no time")
    recorded = Recorded(bundle)
    bench = Bench(
        metrics=lambda name: ReplayedMetrics(name, recorded),
        logs=lambda name: ReplayedLogs(name, recorded),
        checks=builtin_checks(),
        known=SignatureIndex(known_errors_from_json(bundle.get("known_errors", []))),
        clock=SystemClock(),
        at=at,
        window=window,
        baseline=BaselineSpec(**options["baseline"]) if "baseline" in options else DEFAULTS,
        live=False,  # what looks at the present only is in `verdicts`, or was never answered
        strategy=options.get("strategy", "sweep"),
        max_log_lines=int(options.get("max_log_lines", 1000)),
        asked=recorded.asked,
        told=recorded.told,
        recorded={node: _verdict(v) for node, v in bundle.get("verdicts", {}).items()},
    )
    return forest.tree(bundle["sla"]), bench


def _verdict(data: Mapping[str, Any]) -> Verdict:
    given = {name: float(data[name]) for name in ("when", "onset", "size") if data.get(name) is not None}
    numbers = {name: value if name == "size" or abs(value) < LATEST else None for name, value in given.items()}
    return Verdict(**{**data, **numbers, "status": Status(data["status"])})


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, float):
        return number_out(value)
    if isinstance(value, Mapping):
        return {key: _redacted(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(inner) for inner in value]
    return value
