"""`make bench`: how fast it is, as ratios within one run where that is possible; a table, and bench/out/speed.json."""

from __future__ import annotations

import asyncio
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from treewalk import Probe, Verdict, check, healthy
from treewalk.content.workspace import load_forest, load_workspace
from treewalk.model.condition import Condition
from treewalk.model.known import KnownError, Signature
from treewalk.model.place import Place
from treewalk.model.series import LogLine
from treewalk.model.tree import Forest, Node, Sla
from treewalk.stages.match import SignatureIndex, match

OUT = Path("bench/out")
HERE = Place("bench")


def main() -> None:
    """Measure everything, print a table, write the figures."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        rows += loading(Path(folder))
    rows += [walking(n, kind) for kind in ("http", "sync") for n in (32, 128)]
    rows += [asyncio.run(matching(hostile=hostile)) for hostile in (False, True)]
    rows.append(ranking())
    rows.append(process("treewalk --help", ["--help"], 0.25))
    OUT.mkdir(parents=True, exist_ok=True)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    (OUT / "speed.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))
    print(f"{machine}\n\n| what | measured | goal | |\n|---|---|---|---|")
    for row in rows:
        good = "met" if row["value"] <= row["goal"] else "NOT met"
        print(f"| {row['what']} | {row['value']:.3g} {row['unit']} | ≤ {row['goal']:g} {row['unit']} | {good} |")


def row(what: str, value: float, goal: float, unit: str = "s", **more: Any) -> dict[str, Any]:
    return {"what": what, "value": value, "goal": goal, "unit": unit, **more}


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def loading(folder: Path) -> list[dict[str, Any]]:
    """10,000 nodes: cold, from the cache, and a whole `treewalk impact`."""
    (folder / "trees").mkdir()
    (folder / "treewalk.yaml").write_text("{}\n")
    (folder / "trees" / "big.yaml").write_text(_big_tree(10_000))
    rows = [row("load and validate 10,000 nodes, cold", timed(lambda: load_workspace(folder)), 4.0)]
    rows.append(row("the same from the cache", min(timed(lambda: load_forest(folder)) for _ in range(3)), 0.3))
    rows.append(
        process("treewalk impact on it, whole process, warm", ["--workspace", str(folder), "impact", "n9999"], 0.4)
    )
    return rows


def _big_tree(count: int) -> str:
    lines = ["metrics:", "  big:", "    sla: {query: age, threshold: 60s}", "    depends_on: [n0]", "nodes:"]
    for i in range(count):
        below = [f"n{c}" for c in (3 * i + 1, 3 * i + 2, 3 * i + 3) if c < count]
        lines += [
            f"- node: n{i}",
            "  type: process",
            f"  healthcheck: {{method: promql, condition: 'up{{job=\"n{i}\"}} == 1'}}",
            f"  logs: {{loki_query: '{{container_name=\"n{i}\"}}'}}",
            f"  metrics: ['rate(requests_total{{node=\"n{i}\"}}[5m])']",
            f"  depends_on: [{', '.join(below)}]",
        ]
    return "\n".join(lines) + "\n"


def process(what: str, arguments: list[str], goal: float) -> dict[str, Any]:
    """The wall time of a whole process, the best of five, with compiled files as an installation has them."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "treewalk", *arguments]

    def run() -> None:
        subprocess.run(command, env=environment, capture_output=True, check=True)

    run()
    return row(what, min(timed(run) for _ in range(5)), goal)


def walking(concurrency: int, kind: str) -> dict[str, Any]:
    """`walk` in a process of its own: the peak of one that has loaded 10,000 nodes would hide what a walk needs."""
    command = [sys.executable, "-m", "bench.run", "walk", str(concurrency), kind]
    return dict(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))


async def walk(concurrency: int, kind: str) -> dict[str, Any]:
    """1,000 nodes whose checks each take 100 ms, against ceil(1000/concurrency) × 100 ms, and how far memory rises.

    `kind` is http (asynchronous, at a local server) or sync (a check that sleeps).
    """
    from treewalk.content.checks import builtin_checks
    from treewalk.diagnosing import Bench, diagnose
    from treewalk.integrations.clock import SystemClock
    from treewalk.model.tree import BaselineSpec, CheckSpec

    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.slow_server", stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    port = int(await server.stdout.readline())
    spec = (
        CheckSpec("http", {"url": f"http://127.0.0.1:{port}/"}, HERE) if kind == "http" else CheckSpec(kind, {}, HERE)
    )
    nodes = {f"n{i}": Node(f"n{i}", HERE, healthcheck=spec) for i in range(1000)}
    tree = Forest({"s": Sla("s", None, None, None, None, tuple(nodes), HERE)}, nodes).tree("s")
    bench = Bench(
        metrics=lambda name: None,  # type: ignore[arg-type, return-value]
        logs=lambda name: None,  # type: ignore[arg-type, return-value]
        checks={**builtin_checks(), "sync": _sleeping.__treewalk_check__},
        known=SignatureIndex(()),
        clock=SystemClock(),
        at=time.time(),
        window=900.0,
        baseline=BaselineSpec(),
        deadline=600.0,
        concurrency=concurrency,
    )
    await diagnose(Forest({"s": Sla("s", None, None, None, None, ("n0",), HERE)}, {"n0": nodes["n0"]}).tree("s"), bench)
    before = _memory("VmRSS")
    found = await diagnose(tree, bench)
    grown = (_memory("VmHWM") - before) / 1024
    server.terminate()
    await server.wait()
    assert all(v.status.value == "healthy" for v in found.verdicts.values())
    bound = math.ceil(1000 / concurrency) * 0.1
    ratio = found.timing.stages["walk"] / bound
    goal = 1.3 if concurrency == 32 else math.inf
    what = f"walk of 1,000 nodes with {kind} checks at concurrency {concurrency} against its bound of {bound:.1f} s"
    return row(f"{what} (memory +{grown:.0f} MB)", ratio, goal, "×")


@check("sync")
def _sleeping(probe: Probe) -> Verdict:
    """A check that blocks for 100 ms."""
    time.sleep(0.1)
    return healthy("it was slept")


def _memory(what: str) -> int:
    """VmRSS or VmHWM of this process in kB (Linux). Not ru_maxrss: that begins at the peak of whoever started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{what}:")[1].split()[0])


def ranking() -> dict[str, Any]:
    """1,000 nodes with two series each, fifty of which changed in the window: who did it?"""
    from dataclasses import replace

    from treewalk.analysis.comparing import compare_series
    from treewalk.model.diagnosis import Measurement
    from treewalk.model.series import Series
    from treewalk.model.tree import BaselineSpec
    from treewalk.model.verdict import degraded, healthy
    from treewalk.stages.rank import Scene, rank

    rng, count = np.random.default_rng(1), 1000
    spec, times = BaselineSpec(900, 14_400), np.arange(0, 15_301, 30.0)
    at = float(times[-1])

    def series(node: str, metric: str, *, changed: bool) -> Any:
        values = rng.normal(100, 5, len(times)) + 60 * (changed & (times > at - 500))
        return compare_series(node, f'{metric}{{node="{node}"}}', [Series({}, times, values)], at, spec)

    below: list[list[str]] = [[] for _ in range(count)]
    for i in range(1, count):
        below[int(rng.integers(0, i))].append(f"n{i}")
    nodes = {f"n{i}": Node(f"n{i}", HERE, depends_on=tuple(below[i])) for i in range(count)}
    changed = set(rng.choice(list(nodes), 50, replace=False))
    compared = {n: series(n, "cpu", changed=False) + series(n, "queue", changed=n in changed) for n in nodes}
    verdicts = {n: replace(degraded("z") if n in changed else healthy("z"), origin="baseline") for n in nodes}
    tree = Forest({"s": Sla("s", "age", None, None, None, ("n0",), HERE)}, nodes).tree("s")
    own = series("s", "age", changed=True)[0]
    scene = Scene(tree, Measurement("violated", ""), own, verdicts, compared, at, 900.0)
    return row("ranking of 1,000 nodes with two series each", min(timed(lambda: rank(scene)) for _ in range(3)), 1.0)


async def matching(*, hostile: bool) -> dict[str, Any]:
    """10,000 lines against 1,000 signatures, of which 30 concern the node; and with a hostile pattern and line."""
    rng = np.random.default_rng(1)
    words = ["connection", "refused", "pool", "exhausted", "timeout", "retry", "partition", "offset", "lag", "redis"]
    lines = [
        LogLine(float(i), f"2026-01-15 04:47:{i % 60:02d} ERROR {' '.join(rng.choice(words, 12))} {i}")
        for i in range(10_000)
    ]

    def error(i: int) -> KnownError:
        node = "consumer" if i < 30 else f"other-{i}"
        pattern = "(a+)+$" if hostile and i == 0 else f"never (seen|met) {i}.*again"
        return KnownError(f"e{i}", Signature(pattern, node), "cause", None, HERE)

    if hostile:
        lines[0] = LogLine(0.0, "a" * 1_000_000 + "b")
    index = SignatureIndex([error(i) for i in range(1000)])

    async def ask(node: Node, condition: Condition) -> Any:
        raise AssertionError("no condition here")

    began = time.perf_counter()
    await match(index, [Node("consumer", HERE)], {"consumer": lines}, ask, {})
    took = time.perf_counter() - began
    return row(
        "10,000 lines against 1,000 signatures" + (", one hostile, and a line of 1 MB" if hostile else ""), took, 0.5
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["walk"]:
        print(json.dumps(asyncio.run(walk(int(sys.argv[2]), sys.argv[3]))))
    else:
        main()
