"""A real Prometheus on a port and in a folder of its own, with history from the start where a test wants it.

with running_prometheus(tmp_path, history={'up{job="redis"}': [(t, 1.0), ...]}) as server:
    ... ask server.url ...
"""

from __future__ import annotations

import contextlib
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.answers import free_port

CONFIG = "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class RunningPrometheus:
    """A Prometheus that is ready. `folder` holds its configuration and data."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    def reload(self, config: str) -> None:
        """Take another configuration."""
        (self.folder / "prometheus.yml").write_text(config)
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/-/reload", method="POST"), timeout=10).close()


def scraping(**targets: str) -> str:
    """A configuration that scrapes each job's `host:port` every second."""
    jobs = "".join(f"- job_name: {job}\n  static_configs: [{{targets: ['{at}']}}]\n" for job, at in targets.items())
    return f"{CONFIG}scrape_configs:\n{jobs}" if targets else CONFIG


@contextlib.contextmanager
def running_prometheus(
    folder: Path, config: str = CONFIG, *, history: Mapping[str, Points] | None = None, flags: Sequence[str] = ()
) -> Iterator[RunningPrometheus]:
    """Start it, wait until it is ready, stop it at the end.

    `history` maps a series (`name{label="value"}`) to its points (Unix seconds, value), which it has from the start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(config)
    if history:
        backfill(folder, history)
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--storage.tsdb.retention.time=20y",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-lifecycle",
        *flags,
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        yield _ready(RunningPrometheus(f"http://127.0.0.1:{port}", folder, process))
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def backfill(folder: Path, history: Mapping[str, Points]) -> None:
    """Put series into the data folder of a Prometheus that does not run yet."""
    (folder / "history.om").write_text(openmetrics(history))
    done = subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", folder / "history.om", folder / "data"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"promtool: {done.stderr}{done.stdout}")


def openmetrics(history: Mapping[str, Points]) -> str:
    """Series in the text format of OpenMetrics, gauges all; series of one name come together, as it demands."""
    lines: list[str] = []
    known: set[str] = set()
    for series in sorted(history, key=lambda s: (s.partition("{")[0], s)):
        name = series.partition("{")[0]
        if name not in known:
            known.add(name)
            lines.append(f"# TYPE {name} gauge")
        lines += [f"{series} {_number(value)} {at:.3f}" for at, value in history[series]]
    return "\n".join([*lines, "# EOF\n"])


def _number(value: float) -> str:
    return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}.get(repr(value), repr(value))


def _ready(server: RunningPrometheus) -> RunningPrometheus:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if server.process.poll() is not None:
            raise AssertionError(f"prometheus stopped:\n{(server.folder / 'prometheus.log').read_text()[-2000:]}")
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(f"{server.url}/-/ready", timeout=5).close()
            return server
        time.sleep(0.05)
    raise AssertionError("prometheus was not ready within a minute")
