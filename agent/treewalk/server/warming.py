"""What the first diagnosis needs is loaded before the first alert comes: client libraries take a second and more."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from treewalk.content.workspace import Workspace

_ALWAYS = ("networkx", "re2", "promql_parser", "jinja2")


def libraries(workspace: Workspace) -> tuple[str, ...]:
    """The modules that diagnoses in a workspace load on their way, each once."""
    return tuple(dict.fromkeys(_libraries(workspace)))


def _libraries(workspace: Workspace) -> Iterator[str]:
    sources = workspace.settings.sources
    if sources.prometheus:
        yield from ("treewalk.integrations.prometheus", "treewalk.integrations.sessions", "prometheus_api_client")
    if sources.loki:
        yield from ("treewalk.integrations.loki", "httpx")
    if sources.files:
        yield "treewalk.integrations.logfiles"
    yield from _ALWAYS
    for node in workspace.forest.nodes.values():
        spec = node.healthcheck
        if spec is not None and spec.method in workspace.checks:
            yield from workspace.checks[spec.method].modules(spec.params)


def warm(workspace: Workspace) -> None:
    """Load them. One that is missing or breaks is told of by the check that uses it."""
    for name in libraries(workspace):
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001, S112  as above
            continue
