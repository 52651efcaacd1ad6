"""The command line. `main` is its entry: it turns errors into one line and a documented exit code."""

from __future__ import annotations

import contextlib
import os
import sys


def main() -> None:
    """Run the command line and leave with its exit code; nothing is left running."""
    from treewalk.cli.run import run

    code = run(sys.argv[1:])
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    # A worker thread may still wait for a server that does not answer; nobody waits for it.
    os._exit(code)
