"""A Loki as far as log queries of one selector go, for what recorded answers cannot show: paging and bounds.

Errors are worded as the real server words them (tests/contracts/loki). Where a real one is at hand,
`TREEWALK_TEST_LOKI_URL` names it and tests/test_loki.py asks it as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, urlsplit

from tests.support.answers import Handler, Say, reply, status

Entry = tuple[int, str, Mapping[str, str]]  # Unix nanoseconds, line, labels
HOUR = 3_600_000_000_000


def loki(entries: Sequence[Entry], max_lines: int = 5000, longest_hours: int = 721) -> Say:
    """Answers query_range over these entries, whatever the query."""

    def say(handler: Handler) -> None:
        params = {k: v[-1] for k, v in parse_qs(urlsplit(handler.path).query).items()}
        start, end, limit = int(params["start"]), int(params["end"]), int(params["limit"])
        if end <= start:
            return status(400, "end timestamp must not be before or equal to start time")(handler)
        if limit > max_lines:
            text = f"max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {max_lines})"
            return status(400, text)(handler)
        if end - start > longest_hours * HOUR:
            asked = f"{(end - start) // HOUR}h0m0s"
            text = f"the query time range exceeds the limit (query length: {asked}, limit: {longest_hours}h)"
            return status(400, text)(handler)
        found = sorted((e for e in entries if start <= e[0] < end), key=lambda e: (-e[0], e[1]))[:limit]
        return reply(_answer(found))(handler)

    return say


def _answer(found: Sequence[Entry]) -> object:
    streams: dict[str, list[list[str]]] = {}
    for at, text, labels in found:
        streams.setdefault(json.dumps(labels, sort_keys=True), []).append([str(at), text])
    result = [{"stream": json.loads(labels), "values": values} for labels, values in sorted(streams.items())]
    return {"status": "success", "data": {"resultType": "streams", "result": result, "stats": {}}}
