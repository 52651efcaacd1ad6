"""A stored plan as text: every step with its values, so that who answers has seen what is done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from treewalk.cli.common import line
from treewalk.model.quantity import format_duration
from treewalk.model.redact import redact

SHORT = 12
"""Characters of a plan's digest that are shown, and the fewest that name a plan on the command line: 48 bits."""


def plan_lines(plan: Mapping[str, Any], digest: str) -> list[str]:
    """A plan, line by line; nothing of it is left out, and secrets are."""
    found = [f"plan {digest[:SHORT]}: {line(plan['title'])} at {line(plan['node'])}"]
    found += [f"  {number}. {_step(one)}" for number, one in enumerate(plan["steps"], 1)]
    found.append(f"  proof: {_proof(plan['verify'], plan['sla'])}")
    found += [f"  if it fails, {number}. {_step(one)}" for number, one in enumerate(plan["undo"], 1)]
    return found


def _step(step: Mapping[str, Any]) -> str:
    what = f"{step['kind']} at {step['node']}"
    if step["verify"] is not None:
        return line(f"{what}: {_proof(step['verify'], 'the SLA')}")
    if step["seconds"]:
        return line(f"{what}: {format_duration(step['seconds'])}")
    values = ", ".join(_values(step["params"]))
    return line(f"{what}: {values}" if values else what)


def _values(params: Mapping[str, Any]) -> Iterator[str]:
    for name, value in params.items():
        if value is not None:
            yield redact(f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")


def _proof(verify: Mapping[str, Any], sla: str) -> str:
    wanted = [text for text in (verify["check"], sla if verify["sla"] else None) if text]
    stable, within = format_duration(verify["stable"]), format_duration(verify["timeout"])
    return line(f"{' and '.join(wanted)}, for {stable} within {within}")
