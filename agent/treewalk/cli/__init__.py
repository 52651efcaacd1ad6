"""The command line. `main` is its entry: it turns errors into one line and a documented exit code."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and leave with its exit code; nothing is left running."""
    from treewalk.cli.run import run

    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    # A worker thread may still wait for a server that does not answer; nobody waits for it.
    os._exit(code)
