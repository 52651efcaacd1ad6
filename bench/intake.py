"""How fast alerts are taken in: `treewalk serve` against a bare handler that only commits a row, in turns.

`python -m bench.intake` prints a table and writes bench/out/intake.json. Both servers get the same bodies from the same
sender over the same number of connections, in turns, so that what the machine does besides hits both.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from treewalk.store.casebook import Casebook
from treewalk.store.database import SqliteDatabase

from bench.sender import TOKEN
from tests.crash.target import running_target
from tests.support.bursts import alert, message, messages, write_storm_workspace
from tests.support.serving import Served

OUT = Path("bench/out")
SLAS, ALERTS, CONNECTIONS = 20, 200, 64
ROUNDS, PER_ROUND = 5, 2000


@dataclass(frozen=True)
class Where:
    """A server: the port that it listens at, and its process."""

    port: int
    pid: int


def main() -> None:
    """Measure both kinds of storm, print a table, write the figures."""
    rows = measure()
    OUT.mkdir(parents=True, exist_ok=True)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    (OUT / "intake.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))
    print(f"{machine}, {CONNECTIONS} connections, {ROUNDS} rounds of {PER_ROUND} messages each in turns\n")
    print("| messages | server | accepted a second | p50 | p99 | core time each |\n|---|---|---|---|---|---|")
    for row in rows:
        shown = (f"{row[key]:.0f} ms" for key in ("p50", "p99"))
        print(f"| {row['what']} | {row['server']} | {row['rate']:.0f} | {' | '.join(shown)} | {row['cpu']:.2f} ms |")
    for what in dict.fromkeys(row["what"] for row in rows):
        print(f"\n{what}: treewalk takes in {ratio(rows, what):.2f} × what the bare handler does (goal: ≥ 0.5)")


def ratio(rows: Sequence[Mapping[str, Any]], what: str) -> float:
    """The throughput of treewalk against that of the bare handler, round by round; the middle one of the rounds."""
    rates = {row["server"]: row["rates"] for row in rows if row["what"] == what}
    pairs = zip(rates["treewalk serve"], rates["bare handler"], strict=True)
    return float(np.median([ours / bare for ours, bare in pairs]))


def measure() -> list[dict[str, Any]]:
    """One row for each kind of storm and server."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        target = stack.enter_context(running_target())
        workspace = write_storm_workspace(folder / "w", target.url, SLAS, ALERTS)
        with (workspace / "treewalk.yaml").open("a") as file:
            file.write(f"server: {{token: {TOKEN}}}\n")
        servers = {
            "bare handler": stack.enter_context(_bare(folder)),
            "treewalk serve": stack.enter_context(_treewalk(workspace)),
        }
        _send(folder, servers["treewalk serve"], [message([number]) for number in range(ALERTS)])
        _until_asking(workspace)
        rows = []
        for what, make in (("a new alert in each", _distinct), ("1 to 5 of 200 known alerts", _repeated)):
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in servers}
            for k in range(ROUNDS + 1):
                bodies = make(k)
                for server, where in servers.items():
                    runs[server].append(_send(folder, where, bodies))
            rows += [_row(what, server, found[1:]) for server, found in runs.items()]  # the first one warms up
        return rows


def _distinct(k: int) -> list[dict[str, Any]]:
    """Messages with one alert each that never came before."""
    found = []
    for i in range(PER_ROUND):
        one = alert((number := k * PER_ROUND + i) % ALERTS)
        one["fingerprint"] = f"new-{number:012x}"
        found.append({**message([0], i), "alerts": [one]})
    return found


def _repeated(k: int) -> list[dict[str, Any]]:
    return [message(numbers, i) for i, numbers in enumerate(messages(PER_ROUND, ALERTS, seed=k))]


def _send(folder: Path, where: Where, bodies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    path = folder / "bodies"
    path.write_text("\n".join(json.dumps(body) for body in bodies))
    command = [sys.executable, "-m", "bench.sender", str(where.port), str(CONNECTIONS), str(path)]
    before = _cpu(where.pid)
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=300).stdout)
    assert found["statuses"] == {"200": len(bodies)}, found["statuses"]
    return {**found, "cpu": _cpu(where.pid) - before}


def _cpu(pid: int) -> float:
    """The seconds of a core that a process has used so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _row(what: str, server: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    taken = np.concatenate([run["taken"] for run in runs])
    rates = [len(run["taken"]) / run["seconds"] for run in runs]
    p50, p99 = np.percentile(taken, [50, 99])
    cpu = float(np.median([1000 * run["cpu"] / len(run["taken"]) for run in runs]))
    rate = float(np.median(rates))
    return {"what": what, "server": server, "rate": rate, "p50": p50, "p99": p99, "rates": rates, "cpu": cpu}


def _until_asking(workspace: Path) -> None:
    """Until every incident waits for a human, so that nothing but the messages is worked on."""
    cases = Casebook(SqliteDatabase(workspace / ".treewalk" / "memory.db"))
    deadline = time.monotonic() + 60
    while [one["state"] for one in cases.living()] != ["asking"] * SLAS:
        assert time.monotonic() < deadline, "the incidents do not come to their question"
        time.sleep(0.2)


@contextmanager
def _treewalk(workspace: Path) -> Iterator[Where]:
    served = Served(workspace)
    try:
        yield Where(int(served.url.rpartition(":")[2]), served.process.pid)
        assert served.stop() == 0
    finally:
        served.kill()


@contextmanager
def _bare(folder: Path) -> Iterator[Where]:
    command = [sys.executable, "-m", "bench.bare_server", str(folder / "bare.db")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield Where(int(process.stdout.readline()), process.pid)
    finally:
        process.terminate()
        process.wait(timeout=10)


if __name__ == "__main__":
    main()
