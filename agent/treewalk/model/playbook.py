"""Playbooks: named, reviewed ways to change something, with typed parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from treewalk.model.known import FixStep
from treewalk.model.place import Place
from treewalk.model.quantity import parse_duration, parse_threshold

ParameterType = Literal["text", "integer", "number", "duration", "amount", "boolean", "list"]
FLOW = ("wait", "verify", "escalate_if_failed")
"""Steps that are the flow itself and change nothing."""

ALLOWED = {"allow": "policy.allow.endpoints", "within": "policy.allow.folders"}
"""Parameters of actions that say what they may reach at all, and where a workspace says it for steps that do not."""

REVIEWED = ("shape", *ALLOWED)
"""Parameters that bound a step: written where a human reviews them, never filled in by whoever calls a playbook."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `default` may hold `{{ node.FIELD }}`; without a default it has to be given."""

    name: str
    type: ParameterType = "text"
    default: Any = None
    required: bool = True
    minimum: float | None = None
    maximum: float | None = None
    one_of: tuple[str, ...] = ()
    description: str = ""

    def read(self, value: Any) -> Any:
        """A value in this parameter's type; durations and amounts become numbers. Raises ValueError."""
        found = _READ[self.type](value)
        if self.one_of and str(found) not in self.one_of:
            raise ValueError(f"{self.name} is one of {', '.join(self.one_of)}, not {value!r}")
        if isinstance(found, int | float) and not isinstance(found, bool):
            if self.minimum is not None and found < self.minimum:
                raise ValueError(f"{self.name} has to be at least {self.minimum:g}, not {value!r}")
            if self.maximum is not None and found > self.maximum:
                raise ValueError(f"{self.name} has to be at most {self.maximum:g}, not {value!r}")
        return found


@dataclass(frozen=True, slots=True)
class Playbook:
    """A named way to change something. Texts of steps, `verify`, `undo` and `touches` may hold `{{ parameter }}`."""

    name: str
    place: Place
    steps: tuple[FixStep, ...]
    description: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    verify: Mapping[str, Any] = field(default_factory=dict)
    verify_place: Place | None = None
    undo: tuple[FixStep, ...] = ()
    touches: tuple[str, ...] = ()
    cost: float = 0.0


def _text(value: Any) -> str:
    if isinstance(value, dict | list) or value is None:
        raise ValueError(f"{value!r} is not text")
    return str(value)


def _integer(value: Any) -> int:
    if isinstance(value, bool) or float(value) != int(float(value)):
        raise ValueError(f"{value!r} is not a whole number")
    return int(float(value))


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def _amount(value: Any) -> float:
    return parse_threshold(value).limit


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "yes", "on"):
        return True
    if str(value).lower() in ("false", "no", "off"):
        return False
    raise ValueError(f"{value!r} is neither true nor false")


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


_READ: Mapping[str, Any] = {
    "text": _text, "integer": _integer, "number": _number, "duration": parse_duration, "amount": _amount,
    "boolean": _boolean, "list": _list,
}  # fmt: skip
TYPES = tuple(_READ)
