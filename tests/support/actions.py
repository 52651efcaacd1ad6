"""Actions called the way that the pipeline calls them: parameters validated first."""

from __future__ import annotations

from typing import Any

from treewalk.actions import action
from treewalk.model.acting import ActionResult
from treewalk.ports import Hands


def hands(key: str = "run-1", timeout: float = 5.0, **values: str) -> Hands:
    """Hands that fill in the given references and leave every other text alone."""
    return Hands(resolve=lambda text: values.get(text, text), timeout=timeout, key=key)


async def preview(kind: str, /, using: Hands | None = None, **params: Any) -> str:
    """What an action would do."""
    one = action(kind)
    return await one.preview(one.parameters.model_validate(params), using or hands())


async def run(kind: str, /, using: Hands | None = None, **params: Any) -> ActionResult:
    """What an action did."""
    one = action(kind)
    return await one.run(one.parameters.model_validate(params), using or hands())
