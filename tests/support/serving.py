"""`treewalk serve` as a real process, on a port of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

START = 60.0


class Served:
    """The process, its address, and what it says."""

    def __init__(self, workspace: Path, *more: str, environ: Mapping[str, str] | None = None) -> None:
        import os

        command = [sys.executable, "-m", "treewalk", "--workspace", str(workspace), "serve", "--port", "0", *more]
        self.said: list[str] = []
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environ or {})}
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.said.append(line.rstrip())

    @property
    def url(self) -> str:
        """Where it listens, once it does."""
        deadline = time.monotonic() + START
        while time.monotonic() < deadline and self.process.poll() is None:
            found = re.search(r"listening on (http\S+)", "\n".join(self.said))
            if found:
                return found[1]
            time.sleep(0.02)
        raise AssertionError(f"it does not listen ({self.process.poll()}):\n" + "\n".join(self.said))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)

    def stop(self) -> int:
        """End it as a service manager does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=30)
        self._reader.join(timeout=5)
        return code


@contextmanager
def serving(workspace: Path, *more: str, environ: Mapping[str, str] | None = None) -> Iterator[Served]:
    """A server that is gone afterwards."""
    served = Served(workspace, *more, environ=environ)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.kill()
