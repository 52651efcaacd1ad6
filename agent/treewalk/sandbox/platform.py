"""The platform brought up and taken down: real programs under one supervisord, with ports and files of their own."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from treewalk.errors import SandboxError
from treewalk.sandbox.bot_chat import CHAT
from treewalk.sandbox.bot_chat import TOKEN as BOT_TOKEN
from treewalk.sandbox.signals import interrupting, undisturbed

PACKAGES = {
    "redis-server": "redis-server",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "prometheus-redis-exporter": "prometheus-redis-exporter",
}
PORTS = (
    "feed", "topic_redis", "store_redis", "prometheus", "alertmanager", "redis_exporter",
    "ingestion_metrics", "consumer_metrics", "derived_metrics", "reader_metrics", "treewalk", "chat",
)  # fmt: skip
TOKEN = "sandbox-token-of-no-worth"  # noqa: S105  it opens a server on loopback, for as long as a sandbox lives

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
        found = _state(self.folder)
        if found is None:
            raise SandboxError(f"no sandbox in {self.folder}: bring one up with `treewalk sandbox up`")
        return found

    @property
    def page(self) -> str:
        """Where treewalk's own page is, while its program `treewalk` runs."""
        return f"http://127.0.0.1:{self.ports['treewalk']}"

    def serve(self, progress: Progress) -> None:
        """Start treewalk itself, to which the Alertmanager sends what fires, and wait until it listens."""
        self.supervisor().startProcess("treewalk")
        self.wait_for(lambda: _answers(f"{self.page}/readyz"), 60, progress, "treewalk to listen")

    def running(self) -> bool:
        """Whether its supervisord is there."""
        return self._pid() is not None

    def need_running(self) -> None:
        """Raise SandboxError unless it is up."""
        if not self.running():
            raise SandboxError(self.absence())

    def absence(self) -> str:
        """Why it does not run, and what to do: there is none, or its supervisord was killed."""
        if _state(self.folder) is None:
            return f"the sandbox is down: no sandbox in {self.folder}; bring one up with `treewalk sandbox up`"
        return (
            f"the supervisord of the sandbox in {self.folder} is gone and its programs may still run; clean up with "
            f"`treewalk sandbox down --dir {self.folder}`, then bring it up again"
        )

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
        if _state(self.folder) is not None:
            self._sweep()
        progress(f"writing configuration to {self.folder}")
        with interrupting():
            try:
                self._write()
                progress("starting Redis ×2, Prometheus, Alertmanager, exporters and the platform's own processes")
                self._come_up(progress)
            except SandboxError as error:
                trouble = self._trouble()  # before the logs are gone
                self.down(progress)
                raise SandboxError(f"{error}{trouble}") from None
            except BaseException:  # Ctrl-C too leaves nothing running
                self.down(progress)
                raise

    def _come_up(self, progress: Progress) -> None:
        self._start()
        self.wait_for(self.all_met, 60, progress, "every SLA to be met")
        # A little history, so that series can be compared with their past.
        history = "count_over_time(up{job='reader'}[1m]) >= 25"
        self.wait_for(lambda: self.query(history) is not None, 60, progress, "some history")

    def down(self, progress: Progress) -> None:
        """Stop exactly what was started and remove the folder."""
        with undisturbed():
            self._down(progress)

    def _down(self, progress: Progress) -> None:
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
                raise SandboxError(f"waited {seconds:.0f} s in vain for {what}")
            time.sleep(0.25)

    def _trouble(self) -> str:
        """The programs that do not run, each with the last line that it wrote."""
        import xmlrpc.client

        found = []
        with suppress(OSError, xmlrpc.client.Error):  # the trouble may be supervisord itself
            for name, state in self.processes().items():
                if state in {"BACKOFF", "FATAL", "EXITED", "STARTING"}:
                    lines = (self.folder / "logs" / f"{name}.out").read_text(errors="replace").strip().splitlines()
                    found.append(f"{name} is {state}" + (f" ({lines[-1][:200]})" if lines else ""))
        return f"; {'; '.join(found)}" if found else ""

    def _pid(self) -> int | None:
        """supervisord's process id while it is alive and ours."""
        try:
            pid = int((self.folder / "supervisord.pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if f"{self.folder}/supervisord.conf".encode() in command.split(b"\0") else None

    def _sweep(self) -> None:
        """Kill what a crash may have left of this very sandbox, then remove its folder."""
        deadline = time.monotonic() + 10
        while (left := self._processes_left()) and time.monotonic() < deadline:
            for pid in left:
                with suppress(OSError):  # it ended by itself
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)  # one that was just being started shows in the next look
        if _state(self.folder) is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _processes_left(self) -> list[int]:
        """The ids of every process that carries the sandbox's mark or works in its folder (Redis writes its title over
        its environment, and the mark with it); other users' cannot be read, nor be ours."""
        mark = f"SANDBOX_DIR={self.folder}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                inside = (entry / "cwd").readlink().is_relative_to(self.folder / "data")
                if inside or mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return [pid for pid in found if pid != os.getpid()]

    def _write(self) -> None:
        if self.folder.exists() and any(self.folder.iterdir()):
            raise SandboxError(f"{self.folder} is not empty and no sandbox; choose another --dir")
        _check_name(self.folder)
        for name in ("logs", "config", "data"):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o700)
        ports = _free_ports(PORTS)
        (self.folder / "state.json").write_text(json.dumps({"ports": ports}))
        self.configure("ingestion", feed_port=ports["feed"])
        self.configure("consumer", store_redis_port=ports["store_redis"])
        self.configure("derived", seconds_an_entity=0.005)
        self.configure("leaker", leave_at=MAX_CLIENTS - 6)
        values = {"folder": str(self.folder), "ports": ports, "token": TOKEN, "chat": CHAT, "bot": BOT_TOKEN}
        programs = _programs(self.folder, ports)
        user = "root" if os.geteuid() == 0 else ""
        self._render(
            "supervisord.conf", self.folder / "supervisord.conf", {**values, "programs": programs, "user": user}
        )
        for name in ("prometheus.yml", "alertmanager.yml"):
            self._render(name, self.folder / name, values)
        shutil.copy(str(data_file("rules.yml")), self.folder / "rules.yml")
        for name in ("treewalk.yaml", "trees/sandbox.yaml", "known_errors/sandbox.yaml", "playbooks/skip-poison.yaml"):
            self._render(f"workspace/{name}", self.workspace / name, values)

    def _render(self, name: str, target: Path, values: Mapping[str, Any]) -> None:
        from jinja2 import StrictUndefined
        from jinja2.sandbox import SandboxedEnvironment

        environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(environment.from_string(data_file(name).read_text("utf-8")).render(values) + "\n")

    def _start(self) -> None:
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.folder / "supervisord.conf")]
        marked = {**os.environ, "SANDBOX_DIR": str(self.folder)}  # interrupted before its pid file: found all the same
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=marked)  # noqa: S603
        if done.returncode != 0:
            raise SandboxError(f"supervisord does not start: {(done.stderr or done.stdout).strip()[-300:]}")


def missing_packages() -> list[str]:
    """The system packages that the sandbox lacks on this machine."""
    return [package for program, package in PACKAGES.items() if _program(program) is None]


def data_file(name: str) -> Any:
    """A file that ships with the sandbox."""
    return files("treewalk.sandbox").joinpath("data", *name.split("/"))


def _state(folder: Path) -> Mapping[str, int] | None:
    """The ports in the state file. None when there is none, or when it is another program's file of the same name:
    a folder is only ever removed when its state file names every port of a sandbox."""
    try:
        ports = json.loads((folder / "state.json").read_text())["ports"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return ports if isinstance(ports, dict) and set(ports) == set(PORTS) else None


def _check_name(folder: Path) -> None:
    """supervisord splits commands at spaces, expands %(…)s (with the whole environment in its error message), and
    binds a socket whose path may have 107 bytes and first carries its process id."""
    if not re.fullmatch(r"[\w./+=@~-]+", str(folder)):
        raise SandboxError(f"{folder}: use letters, digits and ./+=@~_- in the path; choose another --dir")
    if len(f"{folder}/supervisor.sock.4194304".encode()) > 107:
        raise SandboxError(f"{folder}: the path is too long for a unix socket; choose a shorter --dir")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  a loopback address of its own
            return bool(answer.status == 200)
    except OSError:
        return False


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def _programs(folder: Path, ports: Mapping[str, int]) -> list[Program]:
    python = shlex.quote(sys.executable).replace("%", "%%")

    def own(name: str, priority: int, *, autostart: bool = True) -> Program:
        return Program(name, f"{python} -m treewalk.sandbox.workers {name}", priority, autostart)

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
        Program("treewalk", f"{python} -m treewalk --workspace {folder}/workspace serve", 8, autostart=False),
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
