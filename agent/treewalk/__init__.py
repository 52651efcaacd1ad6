"""treewalk: from a broken SLA down to the node that broke it.

What a check file of a workspace imports, and nothing else:

    from treewalk import check, Probe, Verdict, healthy, degraded, unhealthy, unknown, Seconds, Amount, Secret
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Address",
    "Amount",
    "BaselineSpec",
    "Condition",
    "HttpUrl",
    "LogQL",
    "Node",
    "Probe",
    "PromQL",
    "RedisUrl",
    "Seconds",
    "Secret",
    "SourceError",
    "SourceRejected",
    "SourceTimeout",
    "SourceUnreachable",
    "Threshold",
    "Url",
    "Verdict",
    "__version__",
    "address_problem",
    "check",
    "degraded",
    "format_bytes",
    "format_duration",
    "format_number",
    "healthy",
    "parse_threshold",
    "short",
    "shown_address",
    "unhealthy",
    "unknown",
    "url_problem",
]

if TYPE_CHECKING:
    from treewalk.errors import SourceError, SourceRejected, SourceTimeout, SourceUnreachable
    from treewalk.model.address import shown_address
    from treewalk.model.quantity import format_bytes, format_duration, format_number, parse_threshold
    from treewalk.model.redact import short
    from treewalk.model.tree import BaselineSpec, Node
    from treewalk.model.verdict import Verdict, degraded, healthy, unhealthy, unknown
    from treewalk.parameters import (
        Address,
        Condition,
        HttpUrl,
        LogQL,
        PromQL,
        RedisUrl,
        Threshold,
        Url,
        address_problem,
        url_problem,
    )
    from treewalk.sdk import Amount, Probe, Seconds, Secret, check


def __getattr__(name: str) -> Any:
    # Loaded on first use, so that the command line starts without what only checks need.
    if name not in __all__:
        raise AttributeError(f"module 'treewalk' has no attribute {name!r}")
    from importlib import import_module

    modules = (
        "parameters",
        "sdk",
        "errors",
        "model.verdict",
        "model.quantity",
        "model.tree",
        "model.address",
        "model.redact",
    )
    for module in modules:
        found = import_module(f"treewalk.{module}")
        if hasattr(found, name):
            return getattr(found, name)
    raise AttributeError(f"module 'treewalk' has no attribute {name!r}")
