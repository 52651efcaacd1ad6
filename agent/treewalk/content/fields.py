"""Reading the fields of a mapping, collecting a problem for everything that is not as it should be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, TypeVar

from treewalk.content.yaml import Item
from treewalk.model.place import Place, Problem

T = TypeVar("T")
_ORDINARY = frozenset({"resource"})  # words of their own that only look like a misspelt field


class Fields:
    """One mapping being read. Every getter gives a usable value and notes a problem where it had to make one up."""

    def __init__(self, item: Item, problems: list[Problem], what: str) -> None:
        self.item, self.problems, self.what = item, problems, what
        self.data: dict[str, Item] = item.value if isinstance(item.value, dict) else {}
        if not isinstance(item.value, dict):
            self.problem(item.place, f"{what} has to be a mapping, not {item.kind}")

    def problem(self, place: Place, message: str) -> None:
        self.problems.append(Problem(place, message))

    def has(self, key: str) -> bool:
        """Whether a key is there and not left empty."""
        return key in self.data and self.data[key].value is not None

    def text(self, key: str, default: str | None = None) -> str | None:
        """A text field; numbers are taken as they are written."""
        if not self.has(key):
            return default
        item = self.data[key]
        if isinstance(item.value, bool | dict | list):
            self.problem(item.place, f"{key} has to be text, not {item.kind}")
            return default
        return item.text()

    def convert(self, key: str, convert: Callable[[Any], T]) -> T | None:
        """A scalar field through a converter that raises ValueError; None where it is missing or wrong."""
        if not self.has(key):
            return None
        item = self.data[key]
        if isinstance(item.value, dict | list):
            self.problem(item.place, f"{key} cannot be {item.kind}")
            return None
        try:
            return convert(item.value)
        except ValueError as error:
            self.problem(item.place, f"{key}: {error}")
            return None

    def number(self, key: str) -> float | None:
        """A number field; None where it is missing or wrong."""
        return self.convert(key, _number)

    def items(self, key: str) -> Iterator[Item]:
        """The entries of a list field; a single scalar counts as a list of one."""
        if not self.has(key):
            return
        item = self.data[key]
        if isinstance(item.value, list):
            yield from item.value
        elif isinstance(item.value, dict):
            self.problem(item.place, f"{key} has to be a list, not a mapping")
        else:
            yield item

    def texts(self, key: str) -> tuple[tuple[str, Item], ...]:
        """The text entries of a list field, each with its item."""
        found = []
        for item in self.items(key):
            if isinstance(item.value, str):
                found.append((item.value, item))
            else:
                self.problem(item.place, f"an entry of {key} has to be text, not {item.kind}")
        return tuple(found)

    def mapping(self, key: str) -> Fields | None:
        """A field that is itself a mapping."""
        if not self.has(key):
            return None
        item = self.data[key]
        if not isinstance(item.value, dict):
            self.problem(item.place, f"{key} has to be a mapping, not {item.kind}")
            return None
        return Fields(item, self.problems, key)

    def closed(self, known: Iterable[str]) -> None:
        """Refuse every key that is not known, with the nearest that is."""
        names = list(known)
        for key in self.data:
            if key not in names:
                self.problem(self.item.key_place(key), unknown_key(key, names, self.what))

    def near_misses(self, known: Iterable[str]) -> dict[str, Any]:
        """The fields that are nobody's, as plain data; one that looks like a misspelt known one is refused."""
        names = tuple(known)
        free: dict[str, Any] = {}
        for key, item in self.data.items():
            if key in names:
                continue
            close = _near_miss(key, names)
            if close:
                self.problem(self.item.key_place(key), f"unknown field {key!r} of {self.what}; did you mean {close!r}?")
            else:
                free[key] = self.plain(item)
        return free

    def plain(self, item: Item) -> Any:
        """A value of any shape as plain data; None, with a problem, where it is nested beyond reason."""
        try:
            return item.plain()
        except ValueError as error:
            self.problem(item.place, str(error))
            return None


@lru_cache(maxsize=10_000)
def _near_miss(key: str, names: tuple[str, ...]) -> str | None:
    close = () if key in _ORDINARY else get_close_matches(key, names, n=1, cutoff=0.8)
    return close[0] if close else None


def unknown_key(key: str, known: Iterable[str], what: str) -> str:
    """The message for a key that does not exist."""
    names = list(known)
    close = get_close_matches(key, names, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}?" if close else f"it takes {', '.join(sorted(names))}"
    return f"unknown key {key!r} in {what}; {hint}"


def _number(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError(f"{value!r} is not a number")
