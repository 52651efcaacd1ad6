"""Commands as argument lists: the shapes that they have to match, and what their words say that they would do."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

from treewalk.model.acting import ChangeClass

_SLOT = re.compile(r"<(?P<slot>[^<>]*)>")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]*")
_DURATION = re.compile(r"\d+(ms|s|m|h|d)?")

SHELLS = frozenset(
    [
        "sh",
        "bash",
        "dash",
        "ash",
        "zsh",
        "ksh",
        "fish",
        "csh",
        "tcsh",
        "busybox",
        "pwsh",
        "powershell",
        "cmd",
        "env",
        "xargs",
        "eval",
    ]
)
"""Programs that run what their arguments say."""

INTERPRETERS = frozenset(["python", "python2", "python3", "perl", "ruby", "node", "php", "lua", "awk", "gawk", "mawk"])
"""Programs that run code from an argument or a file."""

_STOPPING = frozenset(["shutdown", "reboot", "halt", "poweroff", "init", "telinit"])
_GRANTING = frozenset(
    ["chmod", "chown", "chgrp", "setfacl", "usermod", "useradd", "passwd", "visudo", "sudo", "su", "doas", "setcap"]
)
_DELETING = frozenset(["rm", "rmdir", "unlink", "shred", "truncate", "dd", "wipefs", "fdisk", "parted"])
_CLUSTER = re.compile(
    r"(kafka-(topics|reassign-partitions|configs|acls|delete-records|storage|leader-election)|rpk)(\.sh)?"
)
_DELETING_WORDS = frozenset(
    ["flushall", "flushdb", "drop", "delete", "truncate", "purge", "destroy", "prune", "--delete", "--delete-topic"]
)
_ALTERING_WORDS = frozenset({"alter"})
_GRANTING_WORDS = frozenset({"grant", "revoke", "acl"})
_CLUSTER_WORDS = frozenset({"cluster", "failover", "replicaof", "slaveof"})
_STOPPING_WORDS = frozenset({"shutdown", "segfault"})
_WORDS = re.compile(r"--?[A-Za-z][\w-]*|[A-Za-z_]+")


def matches(argv: Sequence[str], shape: Sequence[str]) -> bool:
    """Whether an argument list has a shape: as many words, each the same or fitting its slot."""
    return len(argv) == len(shape) and all(_fits(word, slot) for word, slot in zip(argv, shape, strict=True))


def _fits(word: str, slot: str) -> bool:
    found = _SLOT.fullmatch(slot)
    if found is None:
        return word == slot
    kind = found["slot"]
    if kind == "int":
        return word.isascii() and word.isdigit() and len(word) <= 18
    if kind == "word":
        return bool(_WORD.fullmatch(word))
    if kind == "duration":
        return bool(_DURATION.fullmatch(word))
    if kind.startswith("path:"):
        return _within(word, kind.removeprefix("path:"))
    return "|" in kind and word in kind.split("|")


def _within(path: str, folder: str) -> bool:
    """Whether a path, written without detours, lies under a folder."""
    plain = posixpath.normpath(path) == path and not any(ord(c) < 32 for c in path)
    return plain and folder.startswith("/") and path.startswith(folder.rstrip("/") + "/")


def classes_of(argv: Sequence[str]) -> frozenset[ChangeClass]:
    """What a command would do, told from its program and its words. On the safe side: a word is enough."""
    found: set[ChangeClass] = set()
    programs = [posixpath.basename(word).lower() for word in argv]
    first = programs[0] if programs else ""
    if any(p in SHELLS for p in programs) or re.sub(r"[\d.]+$", "", first) in INTERPRETERS:
        found.add(ChangeClass.RUNS_SHELL)
    by_program = (
        (_STOPPING, ChangeClass.STOPS_HOST),
        (_GRANTING, ChangeClass.GRANTS_RIGHTS),
        (_DELETING, ChangeClass.DELETES_DATA),
    )
    for names, kind in by_program:
        if any(p in names for p in programs):
            found.add(kind)
    if any(p.startswith("mkfs") for p in programs):
        found.add(ChangeClass.DELETES_DATA)
    if any(_CLUSTER.fullmatch(p) for p in programs):
        found.add(ChangeClass.CLUSTER_OPERATION)
    words = {word.lower() for argument in argv[1:] for word in _WORDS.findall(argument)}
    by_word = (
        (_DELETING_WORDS, ChangeClass.DELETES_DATA),
        (_ALTERING_WORDS, ChangeClass.ALTERS_SCHEMA),
        (_GRANTING_WORDS, ChangeClass.GRANTS_RIGHTS),
        (_CLUSTER_WORDS, ChangeClass.CLUSTER_OPERATION),
        (_STOPPING_WORDS, ChangeClass.STOPS_HOST),
    )
    found.update(kind for names, kind in by_word if words & names)
    return frozenset(found)
