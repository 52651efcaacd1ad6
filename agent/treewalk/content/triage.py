"""`triage:` of treewalk.yaml as rules, every mistake in an expression at its very character."""

from __future__ import annotations

from collections.abc import Mapping

from treewalk.content.yaml import Item
from treewalk.model.expression import ExpressionError, parse
from treewalk.model.place import Place, Problem
from treewalk.model.triage import Triage, TriageRule, names
from treewalk.model.window import Window
from treewalk.settings import TriageSettings


def read_triage(
    settings: TriageSettings, windows: Mapping[str, Window], item: Item | None, source: str, problems: list[Problem]
) -> Triage:
    """The rules of a workspace; a problem for each that cannot be understood. `source` is the file's text."""
    known, rules = names(windows), []
    for index, written in enumerate(settings.rules):
        try:
            rules.append(TriageRule(parse(written.when, known), written.severity))
        except ExpressionError as error:
            place = _place(item, index, written.when, error.offset, source)
            problems.append(Problem(place, f"when: {error}"))
    return Triage(tuple(rules), settings.default)


def _place(item: Item | None, index: int, text: str, offset: int, source: str) -> Place:
    """Where a character of an expression stands; where the expression begins, if YAML folded or escaped it."""
    try:
        assert item is not None
        when: Item = item.value["triage"].value["rules"].value[index].value["when"]
        line = source.splitlines()[when.line - 1]
    except (AssertionError, KeyError, IndexError, TypeError, AttributeError):
        return item.place if item is not None else Place("treewalk.yaml", 1, 1)
    for start in (when.column, when.column + 1):  # plain, or behind a quote
        if line[start - 1 :].startswith(text):
            return Place(when.file, when.line, start + offset)
    return when.place
