"""A file that has to be fresh."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from treewalk import (
    Amount,
    Node,
    Probe,
    Seconds,
    Verdict,
    check,
    format_bytes,
    format_duration,
    healthy,
    unhealthy,
    unknown,
)


def _needs(node: Node, params: Mapping[str, Any]) -> str | None:
    return None if params["path"] or node.fields.get("path") else "no file to look at: give the healthcheck a path"


@check("file_age", live=True, needs=_needs)
def file_age(probe: Probe, *, path: str | None = None, max_age: Seconds, min_size: Amount = 0) -> Verdict:
    """A file exists, is fresh, and is not too small; of a glob, the newest counts.

    path      default: the node's field `path`; may be a glob such as /data/out/*.parquet
    max_age   how long ago it may have been changed
    min_size  bytes, such as 10kB
    """
    where = path or probe.field("path")
    if not where:
        return unknown("no file to look at: give the healthcheck a path")
    pattern = Path(str(where))
    try:
        found = sorted(Path(pattern.anchor or ".").glob(str(pattern.relative_to(pattern.anchor))))
        newest = max(found, key=lambda p: p.stat().st_mtime, default=None)
        details = newest.stat() if newest else None
    except OSError as error:
        return unknown(f"{where} cannot be looked at: {error.strerror}")
    if newest is None or details is None:
        return unhealthy(f"there is no {where}")
    age = max(0.0, time.time() - details.st_mtime)
    limit = f"< {format_duration(max_age)}"
    if age > max_age:
        onset = details.st_mtime + max_age
        return unhealthy(
            f"{newest.name} is {format_duration(age)} old", observed=format_duration(age), expected=limit, onset=onset
        )
    if details.st_size < min_size:
        size = format_bytes(details.st_size)
        return unhealthy(f"{newest.name} has only {size}", observed=size, expected=f">= {format_bytes(min_size)}")
    return healthy(f"{newest.name} is {format_duration(age)} old", observed=format_duration(age), expected=limit)
