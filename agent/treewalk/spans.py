"""Spans of a trace, for whoever traces; while nobody does, nothing is imported and nothing is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

Note = Callable[[str, object], None]
"""Add an attribute to the span: its name and value."""
Tracer = Callable[[str, Mapping[str, object]], AbstractContextManager[Note]]

_tracer: Tracer | None = None


def trace_with(tracer: Tracer | None) -> None:
    """Let spans go to a tracer from now on, or nowhere."""
    global _tracer
    _tracer = tracer


def span(name: str, **attributes: object) -> AbstractContextManager[Note]:
    """A piece of work, under the one that it is part of. What is raised within it is noted and goes on."""
    return nullcontext(_nobody) if _tracer is None else _tracer(name, attributes)


def _nobody(name: str, value: object) -> None:
    """Where nobody traces."""
