"""The one place that knows every concrete part and wires them together. The CLI and the server call only this."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from treewalk.content.secrets import resolver
from treewalk.content.workspace import Workspace, find_workspace, load_workspace
from treewalk.diagnosing import Bench, diagnose
from treewalk.errors import SettingsError, SourceError, SourceMissing, StoreError, UsageError
from treewalk.integrations.clock import SystemClock
from treewalk.integrations.memo import MemoLogSource, MemoMetricSource
from treewalk.model.diagnosis import Diagnosis
from treewalk.model.events import Event
from treewalk.model.known import KnownError
from treewalk.model.redact import redact, take_out_emails
from treewalk.model.tree import BaselineSpec, Sla, Tree
from treewalk.ports import LogSource, MetricSource, Store
from treewalk.settings import LokiSettings, PrometheusSettings, WalkSettings
from treewalk.stages.match import SignatureIndex
from treewalk.threads import Threads

_FORGETFUL = (
    "; known errors are those of the files alone, as trusted as they say there, and this diagnosis is not remembered"
)

Watch = Callable[[Event], None]


def _nobody(event: Event) -> None:
    """The watcher where nobody watches."""


@dataclass(frozen=True)
class DiagnoseOptions:
    """How one diagnosis is to be done; None takes what treewalk.yaml says.

    `at` is Unix seconds (None is now); `since` how far back to look and `deadline` how long the walk may take,
    both in seconds; `record` a file that will keep every answer; `keep` whether the memory keeps the diagnosis.
    `warn` is told when the memory or the recording fails, and the diagnosis goes on without it; with None that is
    raised, as it has to be where somebody acts on what the memory says of a known error's trust.
    """

    at: float | None = None
    since: float | None = None
    deadline: float | None = None
    strategy: Literal["sweep", "frontier"] = "sweep"
    record: Path | None = None
    keep: bool = True
    warn: Callable[[str], None] | None = None


@dataclass(frozen=True)
class SourceReport:
    """How one source is: what `treewalk doctor` shows. `detail` says what was learned, or `error` why not."""

    name: str
    kind: str
    url: str
    ok: bool
    detail: Mapping[str, str]
    error: str = ""


@dataclass(frozen=True)
class Sources:
    """All outside systems of a workspace by kind and name; `log_default` is the one that nodes use unless they say."""

    metrics: Mapping[str, Any]
    logs: Mapping[str, Any]
    urls: Mapping[tuple[str, str], str]

    def metric(self, name: str | None) -> MetricSource:
        """The metric source of that name, or the default. Raises SourceMissing when there is none."""
        return _pick("metric", name, self.metrics)  # type: ignore[no-any-return]

    def log(self, name: str | None) -> LogSource:
        """The log source of that name, or the default. Raises SourceMissing when there is none."""
        return _pick("log", name, self.logs)  # type: ignore[no-any-return]

    def failures(self) -> Mapping[tuple[str, str, str], int]:
        """How many calls failed: by kind of source, its name, and the kind of error."""
        return {
            (kind, name, error): count
            for kind, group in (("metrics", self.metrics), ("logs", self.logs))
            for name, source in group.items()
            for error, count in getattr(source, "failures", {}).items()
        }

    async def aclose(self) -> None:
        for source in (*self.metrics.values(), *self.logs.values()):
            await source.aclose()


class App:
    """A workspace, opened: diagnose, doctor, memory. An async context manager that closes what it opened."""

    def __init__(self, workspace: Workspace, environ: Mapping[str, str], *, example: bool = False) -> None:
        self.workspace, self._environ, self._example = workspace, environ, example
        self.resolve = _connections(workspace, resolver(environ, workspace.root))
        self.clock = SystemClock()
        self._threads = Threads()
        self._sources: Sources | None = None
        self._database: Any = None

    @classmethod
    def open(
        cls,
        workspace: Path | None = None,
        *,
        example: bool = False,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> App:
        """Find and read the workspace. Raises ContentError with every problem, SettingsError, UsageError."""
        env = os.environ if environ is None else environ
        root = find_workspace(workspace, env, cwd or Path.cwd())
        found = load_workspace(root, example=example)
        take_out_emails(found.settings.redact.emails)
        return cls(found, env, example=example)

    def renewed(self) -> App:
        """The same workspace with all its files read again; the memory stays the one that is open.

        Raises ContentError with every problem, SettingsError for a secret that is missing; nothing is changed then.
        """
        found = load_workspace(self.workspace.root, example=self._example)
        fresh = App(replace(found, state=self.workspace.state), self._environ, example=self._example)
        fresh._database, fresh._threads = self.database, self._threads
        _ = fresh.sources  # their secrets are filled in when they are built: what is missing is told now
        take_out_emails(found.settings.redact.emails)
        return fresh

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection. Safe to call twice."""
        await self.close_sources()
        if self._database is not None:
            self._database.close()
            self._database = None

    async def close_sources(self) -> None:
        """Close the connections to outside systems; they open again when they are used."""
        sources, self._sources = self._sources, None
        if sources is not None:
            await sources.aclose()

    @property
    def database(self) -> Any:
        """Where everything is remembered, opened on first use. Raises StoreError."""
        if self._database is None:
            from treewalk.store.database import database

            url = self.workspace.settings.store.url
            path = self.workspace.state / Path(self.workspace.settings.store.path).name
            self._database = database(path, self.resolve(url) if url else None)
        return self._database

    @property
    def workflow_url(self) -> str:
        """The database of the workflows: the shared one, or a file beside the memory."""
        url = self.workspace.settings.store.url
        if url:
            return self.resolve(url)
        from treewalk.integrations.durable import own_file

        return own_file(self.workspace.state.resolve() / "workflows.db")

    @property
    def store(self) -> Store:
        """The memory of what was diagnosed. Raises StoreError."""
        from treewalk.store.memory import MemoryStore

        return MemoryStore(self.database)

    def known_errors(self) -> Mapping[str, KnownError]:
        """Known errors of the files and those learned, by id, each with the trust that was decided about it."""
        found = {error.id: error for error in self.workspace.known_errors}
        if not self.remembers:
            return found
        from treewalk.content.known_errors import from_document
        from treewalk.store.lessons import Lessons

        lessons = Lessons(self.database)
        for row in lessons.learned():
            learned = from_document(row["document"]) if row["id"] not in found else None
            if learned is not None:
                found[learned.id] = replace(learned, trust=row["trust"])
        for id, trust in lessons.trusts().items():
            if id in found:
                found[id] = replace(found[id], trust=trust)
        return found

    @property
    def remembers(self) -> bool:
        """Whether there is a memory already."""
        settings = self.workspace.settings.store
        return (
            self._database is not None
            or bool(settings.url)
            or (self.workspace.state / Path(settings.path).name).exists()
        )

    @property
    def sources(self) -> Sources:
        """The outside systems, built on first use; nothing is contacted yet. Raises SettingsError."""
        if self._sources is None:
            self._sources = self._build_sources()
        return self._sources

    async def diagnose(self, sla: str, options: DiagnoseOptions | None = None, watch: Watch | None = None) -> Diagnosis:
        """Look at one SLA and say which node broke it, or that none did.

        Raises UsageError for an unknown SLA or a recording that has no place to go, SettingsError for settings that
        make no sources; StoreError, and UsageError for a recording that failed, unless `options.warn` takes them. A
        source that fails does not raise: what could not be looked at is in the result.
        """
        options = options or DiagnoseOptions()
        tree = self.workspace.forest.tree(sla)
        remarks: list[str] = []
        known = self._known(options, remarks)
        bench = self._bench(tree.sla, options, known)
        recording = self._recording(tree, bench, known, options.record) if options.record else None
        if recording is not None:
            bench = replace(
                bench,
                metrics=recording.metrics(bench.metrics),
                logs=recording.logs(bench.logs),
                keep_verdict=recording.keep_verdict,
            )
        diagnosis = await diagnose(tree, memoised(bench), watch or _nobody)
        forgetful = bool(remarks)
        if recording is not None and options.record is not None:
            with _told(options, remarks):
                recording.write(options.record)
        diagnosis = replace(diagnosis, remarks=(*diagnosis.remarks, *remarks))
        late: list[str] = []
        if options.keep and not forgetful:
            with _told(options, late):
                self._remember(diagnosis)
        return replace(diagnosis, remarks=(*diagnosis.remarks, *late))

    def _known(self, options: DiagnoseOptions, remarks: list[str]) -> Mapping[str, KnownError]:
        """The known errors; those of the files alone, with a remark, where the memory fails and that is allowed."""
        with _told(options, remarks, _FORGETFUL):
            return self.known_errors()
        return {error.id: error for error in self.workspace.known_errors}

    async def doctor(self) -> tuple[SourceReport, ...]:
        """Whether each source can be reached, and with which rights."""
        reports = []
        for kind, group in (("metrics", self.sources.metrics), ("logs", self.sources.logs)):
            for name, source in group.items():
                url = self.sources.urls[kind, name]
                try:
                    detail = await source.inspect()
                except (SourceError, SettingsError) as error:
                    reports.append(SourceReport(name, kind, url, False, {}, str(error)))
                else:
                    reports.append(SourceReport(name, kind, url, True, detail))
        return tuple(reports)

    def _remember(self, diagnosis: Diagnosis) -> None:
        from treewalk.stages.report import document

        self.store.keep(diagnosis, document(diagnosis))

    def _bench(self, sla: Sla, options: DiagnoseOptions, known: Mapping[str, KnownError]) -> Bench:
        walk = self.workspace.settings.walk
        now = self.clock.now()
        spec = baseline_of(sla, walk, options.since)
        return Bench(
            metrics=self.sources.metric,
            logs=self.sources.log,
            checks=self.workspace.checks,
            known=SignatureIndex(known.values()),
            clock=self.clock,
            at=now if options.at is None else options.at,
            window=spec.window,
            baseline=spec,
            live=options.at is None or abs(options.at - now) < 5.0,
            deadline=options.deadline or walk.deadline,
            check_timeout=min(walk.check_timeout, options.deadline or walk.deadline),
            concurrency=walk.concurrency,
            max_log_lines=walk.max_log_lines,
            strategy=options.strategy,
            resolve=self.resolve,
            threads=self._threads,
        )

    def _recording(self, tree: Tree, bench: Bench, known: Mapping[str, KnownError], file: Path) -> Any:
        """What listens. Raises UsageError, before anything is asked, when the file could not be written."""
        from treewalk.recording import Recorder, check_place

        check_place(file)
        return Recorder(tree, tuple(known.values()), bench)

    def _build_sources(self) -> Sources:
        configured = self.workspace.settings.sources
        prometheus, loki, files = configured.prometheus, configured.loki, configured.files
        if not prometheus and not loki and files is None:
            prometheus, loki = {"default": PrometheusSettings()}, {"default": LokiSettings()}
        root = self.workspace.root
        metrics: dict[str, Any] = {}
        logs: dict[str, Any] = {}
        urls: dict[tuple[str, str], str] = {}
        if prometheus:
            from treewalk.integrations.prometheus import Prometheus

            for name, settings in prometheus.items():
                metrics[name] = Prometheus(name, settings, self.resolve, self.clock, root)
                urls["metrics", name] = redact(settings.url)
        if loki:
            from treewalk.integrations.loki import Loki

            for name, loki_settings in loki.items():
                logs[name] = Loki(name, loki_settings, self.resolve, self.clock, root)
                urls["logs", name] = redact(loki_settings.url)
        if files is not None:
            from treewalk.integrations.logfiles import LogFiles

            logs["files"] = LogFiles("files", files, root or Path.cwd(), self.resolve)
            urls["logs", "files"] = f"{len(files.streams)} streams of files"
        return Sources(metrics, logs, urls)


async def replay(file: Path, watch: Watch | None = None) -> Diagnosis:
    """The diagnosis of a recorded bundle again, from the bundle alone: no network, no workspace.

    Raises UsageError when the file is not a bundle.
    """
    from treewalk.recording import open_recording

    tree, bench = open_recording(file)
    return await diagnose(tree, memoised(bench), watch or _nobody)


def baseline_of(sla: Sla, walk: WalkSettings, since: float | None) -> BaselineSpec:
    """How nodes under an SLA are compared with their past: the SLA's own spans, and changes both ways."""
    default = walk.baseline.spec()
    spec = sla.baseline or replace(default, window=walk.since)
    return replace(spec, window=since or spec.window, direction="both", threshold=default.threshold)


def memoised(bench: Bench) -> Bench:
    """The same bench with sources that are asked each question once during this diagnosis."""
    metrics: dict[str | None, MetricSource] = {}
    logs: dict[str | None, LogSource] = {}

    def metric(name: str | None) -> MetricSource:
        if name not in metrics:
            metrics[name] = MemoMetricSource(bench.metrics(name))
        return metrics[name]

    def log(name: str | None) -> LogSource:
        if name not in logs:
            logs[name] = MemoLogSource(bench.logs(name))
        return logs[name]

    return replace(bench, metrics=metric, logs=log)


@contextmanager
def _told(options: DiagnoseOptions, remarks: list[str], besides: str = "") -> Iterator[None]:
    """What the memory or the recording fails with, as a warning and a remark where somebody takes warnings."""
    try:
        yield
    except (StoreError, UsageError) as error:
        if options.warn is None:
            raise
        said = redact(f"{error}{besides}")
        options.warn(said)
        remarks.append(said)


def _pick(kind: str, name: str | None, sources: Mapping[str, Any]) -> Any:
    if not sources:
        raise SourceMissing(f"no {kind} source is configured: add it under sources in treewalk.yaml")
    if name is None:
        return sources.get("default", next(iter(sources.values())))
    if name not in sources:
        raise SourceMissing(f"no {kind} source named {name!r}; there is {', '.join(sources)}")
    return sources[name]


def _connections(workspace: Workspace, resolve: Callable[[str], str]) -> Callable[[str], str]:
    """Secrets, and `connection:NAME` for the named connections of treewalk.yaml."""
    named = workspace.settings.connections

    def look_up(text: str) -> str:
        if not text.startswith("connection:"):
            return resolve(text)
        name = text.removeprefix("connection:")
        if name not in named:
            raise SettingsError(f"no connection named {name!r} in treewalk.yaml; there is {_list(tuple(named))}")
        return resolve(named[name])

    return look_up


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none"
