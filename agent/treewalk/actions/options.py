"""Options of a command line, as getopt reads them; whatever is not listed is not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


def names(text: str) -> frozenset[str]:
    """A set from a text of names with spaces between them."""
    return frozenset(text.split())


@dataclass(frozen=True, slots=True)
class Options:
    """Options that are known of a program, each as it is written: without a value, with one, and with one that is only
    taken when it is joined on (`-pSECRET`). `leading` programs end their options at the first word that is none;
    `single` ones write long options with one dash, so that letters cannot be joined."""

    flags: frozenset[str] = frozenset()
    values: frozenset[str] = frozenset()
    joined: frozenset[str] = frozenset()
    leading: bool = False
    single: bool = False

    def read(self, args: Sequence[str]) -> Read | None:
        """The words and the values of options; None where an option is not one of these, or lacks its value."""
        words: list[str] = []
        given: list[tuple[str, str]] = []
        rest = list(args)
        while rest:
            arg = rest.pop(0)
            if arg == "--":
                return Read((*words, *rest), tuple(given))
            if not arg.startswith("-") or arg == "-":
                words.append(arg)
                if self.leading:
                    return Read((*words, *rest), tuple(given))
                continue
            short = not arg.startswith("--") and not self.single
            taken = self._letters(arg, rest) if short else self._whole(arg, rest)
            if taken is None:
                return None
            given += taken
        return Read(tuple(words), tuple(given))

    def _whole(self, arg: str, rest: list[str]) -> list[tuple[str, str]] | None:
        name, equals, value = arg.partition("=")
        if equals:
            return [(name, value)] if name in self.values | self.joined else None
        if name in self.flags | self.joined:
            return [(name, "")]
        return [(name, rest.pop(0))] if name in self.values and rest else None

    def _letters(self, arg: str, rest: list[str]) -> list[tuple[str, str]] | None:
        found = []
        for at in range(1, len(arg)):
            name, more = f"-{arg[at]}", arg[at + 1 :]
            if name in self.flags:
                found.append((name, ""))
                continue
            if name in self.joined:
                return [*found, (name, more)]
            if name not in self.values or not (more or rest):
                return None
            return [*found, (name, more or rest.pop(0))]
        return found


@dataclass(frozen=True, slots=True)
class Read:
    """A command line taken apart: its words, and its options with their values (empty for those without)."""

    words: tuple[str, ...]
    given: tuple[tuple[str, str], ...]

    def values(self, *names: str) -> list[str]:
        """What was given to any of these options, in order."""
        return [value for name, value in self.given if name in names]


def known(
    flags: str = "", values: str = "", joined: str = "", *, leading: bool = False, single: bool = False
) -> Options:
    """Options from texts of names with spaces between them."""
    return Options(names(flags), names(values), names(joined), leading=leading, single=single)
