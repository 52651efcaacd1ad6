"""Commands as argument lists: the shapes that they have to match, and what their words say that they would do."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote_plus

from treewalk.actions.clients import ORDINARY, judged, listed
from treewalk.actions.danger import (
    BY_PART,
    BY_PROGRAM,
    BY_WORD,
    CLUSTER_PROGRAM,
    INTERPRETERS,
    NAMING,
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
_VERSION = re.compile(r"(?<=[a-z])[-_]?[\d.]+$")
_BUILT = re.compile(r"(\.(sh|exe|bat|cmd|py|pl|real|distrib|static|orig)|-static)+$")
_SIGNALS = frozenset({"hup", "usr1", "usr2", "winch", "cont", "0", "1", "10", "12", "28", "18"})


def classes_of(argv: Sequence[str]) -> frozenset[ChangeClass]:
    """What a command would do, told from its program and its words. On the safe side: a word is enough, and of programs
    that can destroy data only what is known to be harmless is of no class."""
    found = _said(argv, _programs(argv))
    if _runs_code(argv, _programs(argv)):
        found.add(ChangeClass.RUNS_SHELL)
    if _kills_all(argv):
        found.add(ChangeClass.STOPS_HOST)
    return frozenset(found | _of_clients(argv))


def classes_in(data: Any) -> frozenset[ChangeClass]:
    """What a call would do, told from the words of its path, query and body: texts, or plain data made of them. They
    are judged as the words of a command are, percent-encoded or not, since what is behind an endpoint may be one."""
    texts = list(_texts(data))
    tokens = {_named(token) for text in texts for token in _TOKENS.findall(text)} - UNCLEAR
    found = _said(texts, tokens)
    for words in _lists(data):
        found |= _of_clients(words)
    for words in (text.split() for text in texts):
        placed = len(words) > 1 and any("/" in word for word in words[1:])  # `cp /dev/null x`, and not `sort by name`
        found |= _of_clients(words if placed else ["call", *words])
    return frozenset(found)


def _said(arguments: Iterable[str], programs: set[str]) -> set[ChangeClass]:
    """What single words say, of arguments and of whatever in them might be the name of a program."""
    spelt = [text for argument in arguments for text in _spellings(argument)]
    words = {word.lower() for text in spelt for word in _WORDS.findall(text)}
    parts = {part.lower() for text in spelt for part in _PARTS.findall(text)}
    bare = programs | {_bare(name) for name in programs if not name.endswith(".sh")} - UNCLEAR
    found = {kind for names, kind in BY_PROGRAM if bare & names}
    found.update(kind for names, kind in BY_WORD if words & names)
    found.update(kind for names, kind in BY_PART if parts & names)
    found.update(kind for together, kind in PHRASES if any(phrase <= words for phrase in together))
    if any(p.startswith("mkfs") for p in programs):
        found.add(ChangeClass.DELETES_DATA)
    if any(CLUSTER_PROGRAM.fullmatch(p) for p in programs):
        found.add(ChangeClass.CLUSTER_OPERATION)
    return found


def _spellings(text: str) -> Iterator[str]:
    """A text as it is written, and as a server may read it: letters of another width, percent-encoded once or more."""
    for _ in range(4):
        yield text
        plain = unicodedata.normalize("NFKC", unquote_plus(text))
        if plain == text:
            return
        text = plain
    yield text


def _texts(data: Any) -> Iterator[str]:
    """Every text in plain data, keys with it, in every spelling."""
    if isinstance(data, str):
        yield from _spellings(data)
    elif isinstance(data, Mapping):
        for key, value in data.items():
            yield from _texts(str(key))
            yield from _texts(value)
    elif isinstance(data, list | tuple):
        for one in data:
            yield from _texts(one)


def _lists(data: Any) -> Iterator[list[str]]:
    """Every list of texts in plain data: it may be the arguments of a command."""
    inner = data.values() if isinstance(data, Mapping) else data if isinstance(data, list | tuple) else ()
    if isinstance(data, list | tuple):
        yield [str(one) for one in data if isinstance(one, str | int | float)]
    for one in inner:
        yield from _lists(one)


def _of_clients(argv: Sequence[str]) -> set[ChangeClass]:
    """The classes of programs that can destroy data, where they are not told to do what is known to be harmless: the
    first word, or, behind a program that might run another one, any word, also within one."""
    first = _bare(argv[0]) if argv else ""
    known = judged(first)
    if known is not None and first not in WRAPPERS:
        return set() if known[0](argv[1:]) else {known[1]}
    if first in NAMING:
        return set()
    found = set() if known is None or known[0](argv[1:]) else {known[1]}
    found |= _behind(argv[1:], first in WRAPPERS)
    for words in (re.split(_BETWEEN, one) for one in argv[1:]):
        found |= _behind(words, first in WRAPPERS) if len(words) > 1 else set()
    return found


_BETWEEN = r"[\s=;|&()'\"`]+"  # what stands between the words of a command within a text


def _behind(words: Sequence[str], any_word: bool) -> set[ChangeClass]:
    found = set()
    for at, word in enumerate(words):
        name = _bare(word)
        clear = name not in ORDINARY and (listed(name) or word.lower().endswith(".sh"))
        known = judged(name) if any_word or clear else None
        if known is not None and not known[0](words[at + 1 :]):
            found.add(known[1])
    return found


def _programs(argv: Sequence[str]) -> set[str]:
    """Whatever might be taken for the name of a program: every argument, and every token within one."""
    whole = {_named(argument) for argument in argv}
    return whole | ({_named(token) for argument in argv for token in _TOKENS.findall(argument)} - UNCLEAR)


def _named(word: str) -> str:
    return posixpath.basename(word.strip()).lower()


def _bare(word: str) -> str:
    """The name of a program without its version and what says how it was built."""
    built = _BUILT.sub("", _named(word))
    return built if judged(built) is not None else _VERSION.sub("", built)


def _runs_code(argv: Sequence[str], programs: Iterable[str]) -> bool:
    """An interpreter where a program stands: first, or anywhere behind a program that runs another one."""
    if any(p.startswith(("busybox", "toybox", "ld-linux", "ld-musl", "ld.so")) for p in programs) or any(
        "\\!" in one for one in argv
    ):
        return True
    first = [_named(word) for word in argv[:1]]
    stand = [_named(word) for word in argv] if first and first[0] in WRAPPERS else first
    if first == ["flock"] and any(one == "-c" or one.startswith("--c") for one in argv):
        return True
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
