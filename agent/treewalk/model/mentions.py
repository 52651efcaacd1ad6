"""Error lines of one node that name another: the consumer's log that says "redis"."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from treewalk.model.evidence import Mention
from treewalk.model.redact import redact
from treewalk.model.series import LogLine
from treewalk.model.templates import MAX_LINE, clean, is_error
from treewalk.model.tree import Node

_PIECE = re.compile(r"[\w-]+")
_FIELDS = ("container", "host", "supervisor_process", "topic", "stream", "database", "table", "service")
_GENERIC = frozenset(
    (
        "error", "errors", "node", "process", "service", "server", "client", "host", "localhost", "data", "main", "app",
        "worker", "api", "db", "log", "logs", "queue", "topic", "consumer", "producer", "primary", "default", "test",
        "prod", "127.0.0.1", "the", "and", "for", "with", "from", "connection", "pool",
    )
)  # fmt: skip


def find_mentions(by: str, lines: Sequence[LogLine], nodes: Mapping[str, Node]) -> tuple[Mention, ...]:
    """Which other nodes the error lines of `by` name, by name, `aka`, container, host or the like.

    Whole words, case aside; a dash and an underscore are the same. Short and generic words do not count.
    """
    words = _Words(_named(by, nodes))
    if not words:
        return ()
    counts: dict[tuple[str, str], int] = {}
    samples: dict[tuple[str, str], str] = {}
    for line in lines:
        if not is_error(line.text, line.labels):
            continue
        for word, owner in words.found_in(_plain(line.text[:MAX_LINE])):
            key = (owner, word)
            counts[key] = counts.get(key, 0) + 1
            samples.setdefault(key, line.text)
    return tuple(
        Mention(by, of, word, count, redact(clean(samples[of, word]))[:300])
        for (of, word), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


class _Words:
    """Words to look for, by the first piece of each, so that a text is gone through once however many there are."""

    def __init__(self, owners: Mapping[str, str]) -> None:
        self._by_piece: dict[str, list[tuple[str, int, str]]] = {}
        for word, owner in sorted(owners.items(), key=lambda item: -len(item[0])):
            piece = _PIECE.search(word)
            if piece is not None:
                self._by_piece.setdefault(piece[0], []).append((word, piece.start(), owner))

    def __bool__(self) -> bool:
        return bool(self._by_piece)

    def found_in(self, text: str) -> set[tuple[str, str]]:
        """Each (word, node) that stands in a text as a whole word; of those that overlap the longer one."""
        found = set()
        passed = 0
        for piece in _PIECE.finditer(text):
            for word, offset, owner in self._by_piece.get(piece[0], ()):
                start, end = piece.start() - offset, piece.start() - offset + len(word)
                if start >= passed and text.startswith(word, start) and not _PIECE.match(text, end):
                    found.add((word, owner))
                    passed = end
                    break
        return found


def _plain(text: str) -> str:
    return text.lower().replace("_", "-")


def _named(by: str, nodes: Mapping[str, Node]) -> dict[str, str]:
    """Every word that stands for exactly one other node."""
    owners: dict[str, set[str]] = {}
    for node in nodes.values():
        named = [node.name, *node.aka, *(str(node.fields[f]) for f in _FIELDS if isinstance(node.fields.get(f), str))]
        for word in named:
            plain = _plain(word).strip()
            if len(plain) >= 3 and plain not in _GENERIC:
                owners.setdefault(plain, set()).add(node.name)
    return {word: min(names) for word, names in owners.items() if len(names) == 1 and by not in names}
