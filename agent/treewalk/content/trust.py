"""Whose workspace it is: code of a workspace that was merely come upon runs for its owner alone.

A workspace may hold checks, which are Python. As git does with a repository's hooks (safe.directory), one that is
found upward from the working folder counts only where nobody but the caller can have put anything into it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path


def reason_to_distrust(root: Path, files: Iterable[str], environ: Mapping[str, str]) -> str | None:
    """Why the code in a workspace's folder may be a stranger's, or None. `files` are read besides its checks.

    Root who came by sudo is the user who typed it. Where files have no owners (Windows) everything is the caller's.
    """
    if not hasattr(os, "geteuid"):
        return None
    mine = {os.geteuid()}
    if os.geteuid() == 0 and environ.get("SUDO_UID", "").isdecimal():
        mine.add(int(environ["SUDO_UID"]))
    checks = root / "checks"
    for path in (root, *(root / name for name in files), checks, *sorted(checks.glob("*.py"))):
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"{path} cannot be looked at ({error.strerror})"
        if found.st_uid not in mine:
            return f"{path} belongs to another user ({_owner(found.st_uid)})"
        if found.st_mode & stat.S_IWOTH:
            return f"everybody may write to {path}"
    return None


def _owner(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"
