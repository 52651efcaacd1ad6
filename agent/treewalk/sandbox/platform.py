"""The platform brought up and taken down: real programs under one supervisord, with ports and files of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from treewalk.errors import SandboxError

PACKAGES = {
    "redis-server": "redis-server",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "prometheus-redis-exporter": "prometheus-redis-exporter",
}
PORTS = (
    "feed", "topic_redis", "store_redis", "prometheus", "alertmanager", "redis_exporter",
    "ingestion_metrics", "consumer_metrics", "derived_metrics", "reader_metrics",
)  # fmt: skip
MAX_CLIENTS = 60
MAX_MEMORY = 24_000_000  # bytes
SLAS = {
    "entity_data_freshness": ("max(entity_data_age_seconds)", "<", 5.0),
    "stream_raw_freshness": ("max(stream_newest_age_seconds)", "<", 3.0),
    "derived_completeness": ("derived_completeness_ratio", ">", 0.8),
    "consumer_lag": ("sum(stream_lag)", "<", 100.0),
}

Progress = Callable[[str], None]


def default_folder() -> Path:
    """Where the sandbox lives unless told otherwise."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "treewalk" / "sandbox"


@dataclass(frozen=True)
class Program:
    """One program of the platform, as supervisord runs it; a lower priority starts first."""

    name: str
    command: str
    priority: int = 100
    autostart: bool = True


class Sandbox:
    """The platform in a folder. Every method raises SandboxError with what to do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    @property
    def workspace(self) -> Path:
        """The workspace that treewalk uses on it."""
        return self.folder / "workspace"

    @property
    def ports(self) -> Mapping[str, int]:
        """The ports it was given."""
        try:
            found: Mapping[str, int] = json.loads((self.folder / "state.json").read_text())["ports"]
        except (OSError, ValueError, KeyError):
            raise SandboxError(f"no sandbox in {self.folder}: bring one up with `treewalk sandbox up`") from None
        return found

    def running(self) -> bool:
        """Whether its supervisord is there."""
        return self._pid() is not None

    def up(self, progress: Progress) -> None:
        """Bring it up and wait until every SLA is met. Does nothing when it is up."""
        if self.running():
            progress("the sandbox is up already")
            return
        missing = missing_packages()
        if missing:
            raise SandboxError(
                f"the sandbox needs {', '.join(missing)}; on Debian and Ubuntu: apt-get install {' '.join(missing)}"
            )
        if (self.folder / "state.json").exists():
            self._sweep()
        progress(f"writing configuration to {self.folder}")
        self._write()
        progress("starting Redis ×2, Prometheus, Alertmanager, exporters and the platform's own processes")
        self._start()
        try:
            self.wait_for(lambda: self.all_met(), 60, progress, "every SLA to be met")
            # A little history, so that series can be compared with their past.
            self.wait_for(
                lambda: self.query("count_over_time(up{job='reader'}[1m]) >= 25") is not None,
                60,
                progress,
                "some history",
            )
        except SandboxError:
            self.down(progress)
            raise

    def down(self, progress: Progress) -> None:
        """Stop exactly what was started and remove the folder."""
        pid = self._pid()
        if pid is not None:
            progress("stopping the platform")
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 30
            while self._pid() is not None and time.monotonic() < deadline:
                time.sleep(0.1)
        self._sweep()
        progress("the sandbox is down")

    def supervisor(self) -> Any:
        """supervisord's XML-RPC interface."""
        import xmlrpc.client

        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, f"unix://{self.folder}/supervisor.sock")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def processes(self) -> dict[str, str]:
        """The state of every program by name."""
        return {p["name"]: p["statename"] for p in self.supervisor().getAllProcessInfo()}

    def restart(self, name: str, *, wait: bool = True) -> None:
        """Stop and start one program."""
        self.stop(name)
        self.supervisor().startProcess(name, wait)

    def stop(self, name: str) -> None:
        """Stop one program, if it runs."""
        import xmlrpc.client

        try:
            self.supervisor().stopProcess(name)
        except xmlrpc.client.Fault as fault:
            if "NOT_RUNNING" not in str(fault):
                raise

    def configure(self, name: str, **settings: Any) -> None:
        """Write the configuration of one of the platform's processes."""
        (self.folder / "config" / f"{name}.json").write_text(json.dumps(settings))

    def redis(self, which: str) -> Any:
        """A connection to topic_redis or store_redis."""
        from redis import Redis

        return Redis(port=self.ports[which], socket_timeout=10, decode_responses=True)

    def query(self, promql: str) -> float | None:
        """The first value of an instant query; None without one or without Prometheus."""
        url = f"http://127.0.0.1:{self.ports['prometheus']}/api/v1/query?" + urllib.parse.urlencode({"query": promql})
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                result = json.load(answer)["data"]["result"]
        except (OSError, ValueError, KeyError):
            return None
        return float(result[0]["value"][1]) if result else None

    def measured(self) -> dict[str, tuple[float | None, bool | None]]:
        """Each SLA's value, and whether it is met (None: no value)."""
        found: dict[str, tuple[float | None, bool | None]] = {}
        for name, (promql, op, limit) in SLAS.items():
            value = self.query(promql)
            met = None if value is None else (value < limit if op == "<" else value > limit)
            found[name] = (value, met)
        return found

    def all_met(self) -> bool:
        """Whether every SLA is met now."""
        return all(met is True for _, met in self.measured().values())

    def wait_for(self, done: Callable[[], bool], seconds: float, progress: Progress, what: str) -> None:
        """Wait until something is so, a bounded time, saying what is waited for."""
        progress(f"waiting for {what}")
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise SandboxError(f"waited {seconds:.0f} s in vain for {what}; look into {self.folder / 'logs'}")
            time.sleep(0.25)

    def _pid(self) -> int | None:
        """supervisord's process id while it is alive and ours."""
        try:
            pid = int((self.folder / "supervisord.pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if str(self.folder).encode() in command else None

    def _sweep(self) -> None:
        """Kill what a crash may have left of this very sandbox, then remove its folder."""
        mark = f"SANDBOX_DIR={self.folder}".encode()
        for entry in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in entry.read_bytes().split(b"\0"):
                    os.kill(int(entry.parent.name), signal.SIGKILL)
            except (OSError, ValueError):
                continue
        if (self.folder / "state.json").exists():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self) -> None:
        if self.folder.exists() and any(self.folder.iterdir()):
            raise SandboxError(f"{self.folder} is not empty and no sandbox; choose another --dir")
        for name in ("logs", "config", "data"):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o700)
        ports = _free_ports(PORTS)
        (self.folder / "state.json").write_text(json.dumps({"ports": ports}))
        self.configure("ingestion", feed_port=ports["feed"])
        self.configure("consumer", store_redis_port=ports["store_redis"])
        self.configure("derived", seconds_an_entity=0.005)
        self.configure("leaker", leave_at=MAX_CLIENTS - 6)
        values = {"folder": str(self.folder), "ports": ports}
        programs = _programs(self.folder, ports)
        user = "root" if os.geteuid() == 0 else ""
        self._render(
            "supervisord.conf", self.folder / "supervisord.conf", {**values, "programs": programs, "user": user}
        )
        self._render("prometheus.yml", self.folder / "prometheus.yml", values)
        for name in ("rules.yml", "alertmanager.yml"):
            shutil.copy(str(data_file(name)), self.folder / name)
        for name in ("treewalk.yaml", "trees/sandbox.yaml", "known_errors/sandbox.yaml"):
            self._render(f"workspace/{name}", self.workspace / name, values)

    def _render(self, name: str, target: Path, values: Mapping[str, Any]) -> None:
        from jinja2 import StrictUndefined
        from jinja2.sandbox import SandboxedEnvironment

        environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(environment.from_string(data_file(name).read_text("utf-8")).render(values) + "\n")

    def _start(self) -> None:
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.folder / "supervisord.conf")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
        if done.returncode != 0:
            raise SandboxError(f"supervisord does not start: {(done.stderr or done.stdout).strip()[-300:]}")


def missing_packages() -> list[str]:
    """The system packages that the sandbox lacks on this machine."""
    return [package for program, package in PACKAGES.items() if _program(program) is None]


def data_file(name: str) -> Any:
    """A file that ships with the sandbox."""
    return files("treewalk.sandbox").joinpath("data", *name.split("/"))


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def _programs(folder: Path, ports: Mapping[str, int]) -> list[Program]:
    def own(name: str, priority: int, *, autostart: bool = True) -> Program:
        return Program(name, f"{sys.executable} -m treewalk.sandbox.workers {name}", priority, autostart)

    server = f"{_program('redis-server')} --bind 127.0.0.1 --dir {folder}/data --save '' --appendonly no --daemonize no"
    storage = f"--storage.tsdb.path={folder}/data/prometheus --config.file={folder}/prometheus.yml"
    alerts = f"--storage.path={folder}/data/alertmanager --config.file={folder}/alertmanager.yml"
    return [
        Program("topic_redis", f"{server} --port {ports['topic_redis']}", 1),
        Program(
            "store_redis",
            f"{server} --port {ports['store_redis']} --maxclients {MAX_CLIENTS} --maxmemory {MAX_MEMORY} "
            "--maxmemory-policy noeviction --enable-debug-command local",
            1,
        ),
        Program(
            "prometheus", f"{_program('prometheus')} {storage} --web.listen-address=127.0.0.1:{ports['prometheus']}", 2
        ),
        Program(
            "alertmanager",
            f"{_program('prometheus-alertmanager')} {alerts} --cluster.listen-address= "
            f"--web.listen-address=127.0.0.1:{ports['alertmanager']}",
            2,
        ),
        Program(
            "redis_exporter",
            f"{_program('prometheus-redis-exporter')} -redis.addr redis://127.0.0.1:{ports['store_redis']} "
            f"-web.listen-address 127.0.0.1:{ports['redis_exporter']}",
            3,
        ),
        own("feed", 4),
        own("reader", 4),
        own("ingestion", 5),
        own("consumer", 6),
        own("derived", 7),
        own("leaker", 9, autostart=False),
        own("hog", 9, autostart=False),
    ]


def _free_ports(names: tuple[str, ...]) -> dict[str, int]:
    sockets = [socket.socket() for _ in names]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return {name: one.getsockname()[1] for name, one in zip(names, sockets, strict=True)}
    finally:
        for one in sockets:
            one.close()
