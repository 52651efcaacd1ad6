"""`watch.slas` of treewalk.yaml: whether every name and glob means an SLA."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from treewalk.content.yaml import Item
from treewalk.model.place import Place, Problem
from treewalk.model.tree import nearest


def check_watch(wanted: Iterable[str], slas: Iterable[str], item: Item | None, problems: list[Problem]) -> None:
    """A problem at its place for every name or glob that means no SLA."""
    names = list(slas)
    for index, one in enumerate(wanted):
        if one == "*" or any(fnmatchcase(name, one) for name in names):
            continue
        close = nearest(one, names, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        problems.append(Problem(_place(item, index), f"watch.slas: no SLA is called {one!r}{hint}"))


def _place(item: Item | None, index: int) -> Place:
    try:
        assert item is not None
        return item.value["watch"].value["slas"].value[index].place  # type: ignore[no-any-return]
    except (AssertionError, KeyError, IndexError, TypeError, AttributeError):
        return item.place if item is not None else Place("treewalk.yaml", 1, 1)
