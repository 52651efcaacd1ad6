"""Down the tree: every node looked at, concurrently, within a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, Literal

from treewalk.model.events import Event, NodeJudged, NodeStarted
from treewalk.model.quantity import format_duration
from treewalk.model.tree import Node, Tree
from treewalk.model.verdict import Status, Verdict, unknown

Strategy = Literal["sweep", "frontier"]
Judge = Callable[[Node], Awaitable[Verdict]]


async def walk(
    tree: Tree,
    judge: Judge,
    *,
    deadline: float,
    concurrency: int,
    strategy: Strategy = "sweep",
    watch: Callable[[Event], None] = lambda event: None,
) -> dict[str, Verdict]:
    """A verdict for every node of the tree, in the tree's order.

    `sweep` looks at all of them; `frontier` descends only below what is not healthy. What is not judged within
    `deadline` seconds is unknown and says so. At most `concurrency` nodes are looked at at once.
    """
    verdicts: dict[str, Verdict] = {}
    gate = asyncio.Semaphore(concurrency)

    async def look(name: str) -> None:
        async with gate:
            watch(NodeStarted(name))
            verdicts[name] = await judge(tree.nodes[name])
        watch(NodeJudged(name, verdicts[name]))

    try:
        async with asyncio.timeout(deadline):
            if strategy == "sweep":
                await _all(look, tree.nodes)
            else:
                await _descend(tree, look, verdicts)
    except TimeoutError:
        late = f"not looked at within the deadline of {format_duration(deadline)}"
        for name in tree.nodes:
            if name not in verdicts and strategy == "sweep":
                verdicts[name] = unknown(late)
                watch(NodeJudged(name, verdicts[name]))
    for name in tree.nodes:
        verdicts.setdefault(name, replace(unknown("not looked at: nothing above it is troubled"), origin="none"))
    return {name: verdicts[name] for name in tree.nodes}


async def _all(look: Callable[[str], Coroutine[Any, Any, None]], names: Iterable[str]) -> None:
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(look(name))


async def _descend(tree: Tree, look: Callable[[str], Coroutine[Any, Any, None]], verdicts: dict[str, Verdict]) -> None:
    level = list(dict.fromkeys(tree.sla.depends_on))
    while level:
        await _all(look, level)
        troubled = [name for name in level if verdicts[name].status is not Status.HEALTHY]
        below = dict.fromkeys(child for name in troubled for child in tree.nodes[name].depends_on)
        level = [name for name in below if name not in verdicts]
