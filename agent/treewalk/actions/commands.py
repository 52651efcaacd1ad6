"""Commands as argument lists: the shapes that they have to match, and what their words say that they would do."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence

from treewalk.actions.danger import (
    BY_PART,
    BY_PROGRAM,
    BY_WORD,
    CLUSTER_PROGRAM,
    INTERPRETERS,
    PHRASES,
    UNCLEAR,
    WRAPPERS,
)
from treewalk.model.acting import ChangeClass

_SLOT = re.compile(r"<(?P<slot>[^<>]*)>")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]*")
_PATH = re.compile(r"[A-Za-z0-9_./:@+=,-]+")
_INT = re.compile(r"[0-9]{1,18}")
_DURATION = re.compile(r"[0-9]{1,18}(ms|s|m|h|d)?")


def matches(argv: Sequence[str], shape: Sequence[str]) -> bool:
    """Whether an argument list has a shape: as many words, each the same or fitting its slot."""
    return len(argv) == len(shape) and all(_fits(word, slot) for word, slot in zip(argv, shape, strict=True))


def _fits(word: str, slot: str) -> bool:
    """No slot takes a space, a control character, `..`, or a character that a shell would act on."""
    found = _SLOT.fullmatch(slot)
    if found is None:
        return word == slot
    kind = found["slot"]
    if kind == "int":
        return bool(_INT.fullmatch(word))
    if kind == "word":
        return bool(_WORD.fullmatch(word)) and ".." not in word
    if kind == "duration":
        return bool(_DURATION.fullmatch(word))
    if kind.startswith("path:"):
        return _within(word, kind.removeprefix("path:"))
    return "|" in kind and word != "" and word in kind.split("|")


def _within(path: str, folder: str) -> bool:
    """Whether a path, written without detours, lies under a folder."""
    plain = bool(_PATH.fullmatch(path)) and ".." not in path and posixpath.normpath(path) == path
    return plain and folder.startswith("/") and path.startswith(folder.rstrip("/") + "/") and path[:2] != "//"


_TOKENS = re.compile(r"[^\s=,;:'\"()|&<>`$!]+")
_WORDS = re.compile(r"[A-Za-z][\w-]*")
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_VERSION = re.compile(r"[\d.]+$")
_SIGNALS = frozenset({"hup", "usr1", "usr2", "winch", "cont", "0", "1", "10", "12", "28", "18"})


def classes_of(argv: Sequence[str]) -> frozenset[ChangeClass]:
    """What a command would do, told from its program and its words. On the safe side: a word is enough."""
    words = {word.lower() for argument in argv for word in _WORDS.findall(argument)}
    parts = {part.lower() for argument in argv for part in _PARTS.findall(argument)}
    programs = _programs(argv)
    found = {kind for names, kind in BY_PROGRAM if programs & names}
    found.update(kind for names, kind in BY_WORD if words & names)
    found.update(kind for names, kind in BY_PART if parts & names)
    found.update(kind for together, kind in PHRASES if any(phrase <= words for phrase in together))
    if any(p.startswith("mkfs") for p in programs):
        found.add(ChangeClass.DELETES_DATA)
    if any(CLUSTER_PROGRAM.fullmatch(p) for p in programs):
        found.add(ChangeClass.CLUSTER_OPERATION)
    if _runs_code(argv, programs):
        found.add(ChangeClass.RUNS_SHELL)
    if _kills_all(argv):
        found.add(ChangeClass.STOPS_HOST)
    return frozenset(found)


def _programs(argv: Sequence[str]) -> set[str]:
    """Whatever might be taken for the name of a program: every argument, and every token within one."""
    whole = {_named(argument) for argument in argv}
    return whole | ({_named(token) for argument in argv for token in _TOKENS.findall(argument)} - UNCLEAR)


def _named(word: str) -> str:
    return posixpath.basename(word).lower()


def _runs_code(argv: Sequence[str], programs: Iterable[str]) -> bool:
    """An interpreter where a program stands: first, or anywhere behind a program that runs another one."""
    if any(p.startswith(("busybox", "toybox")) for p in programs) or any("\\!" in one for one in argv):
        return True
    first = [_named(word) for word in argv[:1]]
    stand = [_named(word) for word in argv] if first and first[0] in WRAPPERS else first
    return any(word in INTERPRETERS or _VERSION.sub("", word) in INTERPRETERS for word in stand)


def _kills_all(argv: Sequence[str]) -> bool:
    """`kill` of everything, or of process 1 with a signal that ends it."""
    names = [_named(word) for word in argv]
    at = names.index("kill") if "kill" in names and (names[0] == "kill" or names[0] in WRAPPERS) else None
    told = argv[at + 1 :] if at is not None else ()
    if not {"1", "-1", "0"} & set(told):
        return False
    signals = [w.lower().removeprefix("-").removeprefix("sig") for w in told[:-1] if w not in ("-s", "-n", "--")]
    return "-1" in told[1:] or not signals or signals[0] not in _SIGNALS
