"""A real supervisord with a socket and programs of its own.

with running_supervisord(tmp_path, {"steady": "command=sleep 300"}, {"workers": ["steady"]}) as server:
    ... ask server.url ...
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HEAD = """\
[supervisord]
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}
nodaemon=true
[unix_http_server]
file={socket}
{login}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""


@dataclass(frozen=True)
class RunningSupervisord:
    """A supervisord that answers at `url`."""

    url: str
    process: subprocess.Popen[bytes]
    login: tuple[str, str] | None = None

    @property
    def rpc(self) -> Any:
        """Its XML-RPC interface."""
        from supervisor.xmlrpc import SupervisorTransport

        name, word = self.login or (None, None)
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=SupervisorTransport(name, word, self.url))
        return proxy.supervisor

    def wait_for(self, name: str, state: str, seconds: float = 20.0) -> dict[str, Any]:
        """The process's info once it is in that state. Raises AssertionError when it does not come to that."""
        end = time.monotonic() + seconds
        while (info := self.rpc.getProcessInfo(name))["statename"] != state:
            assert time.monotonic() < end, f"{name} is {info['statename']}, not {state}"
            time.sleep(0.05)
        found: dict[str, Any] = info
        return found


@contextlib.contextmanager
def running_supervisord(
    folder: Path,
    programs: Mapping[str, str],
    groups: Mapping[str, Sequence[str]] | None = None,
    login: tuple[str, str] | None = None,
) -> Iterator[RunningSupervisord]:
    """Start it and wait until it answers; it and its programs are gone at the end.

    `programs` maps a name to the lines of its section, `groups` a group to the names of its programs.
    """
    with tempfile.TemporaryDirectory(prefix="tw-") as short:  # a socket's path may not be long
        socket = f"{short}/s.sock"
        words = f"username={login[0]}\npassword={login[1]}" if login else ""
        text = _HEAD.format(folder=folder, socket=socket, login=words)
        text += "".join(f"[program:{name}]\n{lines}\nstartsecs=1\n" for name, lines in programs.items())
        text += "".join(f"[group:{name}]\nprograms={','.join(members)}\n" for name, members in (groups or {}).items())
        (folder / "supervisord.conf").write_text(text)
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(folder / "supervisord.conf")]
        with (folder / "out.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        server = RunningSupervisord(f"unix://{socket}", process, login)
        try:
            _ready(server, folder)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(server: RunningSupervisord, folder: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and server.process.poll() is None:
        with contextlib.suppress(OSError):
            server.rpc.getState()
            return
        time.sleep(0.05)
    raise AssertionError(f"supervisord does not start:\n{(folder / 'out.log').read_text()[-2000:]}")
