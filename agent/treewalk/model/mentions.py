"""Error lines of one node that name another: the consumer's log that says "redis"."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from treewalk.model.evidence import Mention
from treewalk.model.redact import redact
from treewalk.model.series import LogLine
from treewalk.model.templates import MAX_LINE, clean, is_error
from treewalk.model.tree import Node

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
    words = _words(by, nodes)
    if not words:
        return ()
    pattern = re.compile(
        r"(?<![\w-])(?:" + "|".join(re.escape(w) for w in sorted(words, key=len, reverse=True)) + r")(?![\w-])"
    )
    counts: dict[tuple[str, str], int] = {}
    samples: dict[tuple[str, str], str] = {}
    for line in lines:
        if not is_error(line.text, line.labels):
            continue
        text = line.text[:MAX_LINE].lower().replace("_", "-")
        for word in set(pattern.findall(text)):
            key = (words[word], word)
            counts[key] = counts.get(key, 0) + 1
            samples.setdefault(key, line.text)
    return tuple(
        Mention(by, of, word, count, redact(clean(samples[of, word]))[:300])
        for (of, word), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def _words(by: str, nodes: Mapping[str, Node]) -> dict[str, str]:
    """Every word that stands for exactly one other node."""
    owners: dict[str, set[str]] = {}
    for node in nodes.values():
        named = [node.name, *node.aka, *(str(node.fields[f]) for f in _FIELDS if isinstance(node.fields.get(f), str))]
        for word in named:
            plain = word.lower().replace("_", "-").strip()
            if len(plain) >= 3 and plain not in _GENERIC:
                owners.setdefault(plain, set()).add(node.name)
    own = {word for word, names in owners.items() if by in names}
    return {word: next(iter(names)) for word, names in owners.items() if len(names) == 1 and word not in own}
