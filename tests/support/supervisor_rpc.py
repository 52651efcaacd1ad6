"""A real supervisord on a Unix socket and on loopback, with programs of its own."""

from __future__ import annotations

import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.support.redis import free_port

USER, WORD = "ops", "made-up-word"
_CONF = """\
[supervisord]
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
nodaemon=true
silent=true
user=root
[unix_http_server]
file={folder}/s.sock
[inet_http_server]
port=127.0.0.1:{port}
username={user}
password={word}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""


@dataclass(frozen=True)
class Supervisor:
    """Where it listens, and its own interface for looking."""

    socket: str
    http: str
    pid: int
    look: Any


@contextmanager
def running_supervisor(programs: Mapping[str, str]) -> Iterator[Supervisor]:
    """`programs` maps names to the lines of their sections; everything is stopped afterwards."""
    with TemporaryDirectory(prefix="tw-s-") as folder:
        port = free_port()
        text = _CONF.format(folder=folder, port=port, user=USER, word=WORD)
        text += "".join(f"[program:{name}]\n{lines}\n" for name, lines in programs.items())
        conf = Path(folder, "supervisord.conf")
        conf.write_text(text)
        program = [sys.executable, "-m", "supervisor.supervisord", "-c", str(conf)]
        with Path(folder, "out").open("w") as log:
            server = subprocess.Popen(program, stdout=log, stderr=log, cwd=folder)
        look = xmlrpc.client.ServerProxy(f"http://{USER}:{WORD}@127.0.0.1:{port}/RPC2").supervisor
        try:
            _until_it_answers(look, server, Path(folder, "out"))
            yield Supervisor(f"unix://{folder}/s.sock", f"http://127.0.0.1:{port}", server.pid, look)
        finally:
            server.terminate()
            server.wait(timeout=20)


def _until_it_answers(look: Any, server: subprocess.Popen[bytes], out: Path) -> None:
    deadline = time.monotonic() + 15
    while True:
        try:
            look.getState()
            return
        except OSError:
            if time.monotonic() > deadline or server.poll() is not None:
                raise RuntimeError(f"supervisord does not start: {out.read_text()[-300:]}") from None
            time.sleep(0.05)
