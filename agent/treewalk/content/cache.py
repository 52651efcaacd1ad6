"""A parsed forest on disk, by the hash of what it was parsed from; lines of JSON under their checksum, never code.

It lives in the user's own cache folder, so that a stranger's workspace can put nothing into it. Whatever is wrong
with an entry, it is as if there were none.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from treewalk import __version__
from treewalk.content.codec import forest_from_lines, forest_to_lines
from treewalk.content.quiet import no_collection
from treewalk.model.tree import Forest

_FORMAT = "forest/2"


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where parsed workspaces are kept."""
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "treewalk"


def fingerprint(files: Iterable[tuple[str, Path]]) -> str:
    """A hash over names and contents of files; a file that cannot be read makes it unique to nothing."""
    digest = hashlib.sha256(f"{_FORMAT} {__version__}".encode())
    for name, path in files:
        digest.update(f"\0{name}\0".encode())
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError:
            digest.update(b"unreadable")
    return digest.hexdigest()


def load(folder: Path, key: str) -> Forest | None:
    """The forest kept under a key, or None."""
    try:
        with no_collection():
            seal, _, content = (folder / f"{key}.json").read_bytes().partition(b"\n")
            if seal.decode() != hashlib.sha256(content).hexdigest():
                return None
            return forest_from_lines(content.split(b"\n"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return None


def save(folder: Path, key: str, forest: Forest) -> None:
    """Keep a forest. A folder that cannot be written to costs speed, not correctness."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = "\n".join(forest_to_lines(forest))
        seal = hashlib.sha256(text.encode()).hexdigest()
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as stream:
            stream.write(f"{seal}\n{text}")
        os.replace(stream.name, folder / f"{key}.json")
        _forget_old(folder)
    except (OSError, TypeError, ValueError, RecursionError):
        return


def _forget_old(folder: Path, keep: int = 20) -> None:
    entries = sorted(folder.glob("*.json"), key=lambda p: p.stat().st_mtime, reverse=True)
    for path in entries[keep:]:
        path.unlink(missing_ok=True)
