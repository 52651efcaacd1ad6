"""What known errors and nodes say is to be done, held against playbooks and actions when the workspace is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from treewalk.content.playbooks import check_step, has_template
from treewalk.content.verification import Surroundings, check_proofs
from treewalk.model.known import KnownError
from treewalk.model.place import Place, Problem
from treewalk.model.playbook import ALLOWED, Playbook
from treewalk.model.tree import Forest, nearest


def check_fixes(
    errors: Iterable[KnownError],
    forest: Forest,
    playbooks: Mapping[str, Playbook],
    problems: list[Problem],
    intervals: Mapping[str, float | None] | None = None,
) -> None:
    """Note every fix that could not be done or not be proven: of known errors, and the remedies of nodes.

    `intervals` is how often each metric source looks, in seconds, by its name.
    """
    whole = not any(p.place.file.split(":")[-1].startswith("trees/") for p in problems)
    errors = list(errors)
    for error in errors:
        if error.fix is None:
            continue
        for step in error.fix.steps:
            check_step(step, {}, problems)
        if error.fix.playbook is not None:
            call = (error.fix.playbook, error.fix.arguments)
            _check_call(f"known error {error.id}", *call, error.place, playbooks, problems)
    for node in forest.nodes.values():
        remedy = node.fields.get("remedy")
        if remedy is not None:
            _check_remedy(node.name, remedy, node.place, playbooks, problems)
    check_proofs(errors, Surroundings(forest, playbooks, intervals or {}, whole), problems)


def _check_remedy(
    node: str, remedy: Any, place: Place, playbooks: Mapping[str, Playbook], problems: list[Problem]
) -> None:
    if (
        not isinstance(remedy, Mapping)
        or not isinstance(remedy.get("playbook"), str)
        or set(remedy) - {"playbook", "with"}
    ):
        problems.append(Problem(place, f"the remedy of {node} is written `remedy: {{playbook: NAME, with: {{…}}}}`"))
        return
    given = remedy.get("with") or {}
    if not isinstance(given, Mapping):
        problems.append(Problem(place, f"the remedy of {node}: `with` has to be a mapping"))
        return
    _check_call(f"the remedy of {node}", remedy["playbook"], given, place, playbooks, problems)


def _check_call(
    what: str,
    name: str,
    given: Mapping[str, Any],
    place: Place,
    playbooks: Mapping[str, Playbook],
    problems: list[Problem],
) -> None:
    if name not in playbooks:
        close = nearest(name, playbooks)
        hint = f"; did you mean {close[0]!r}?" if close else f"; there is {', '.join(sorted(playbooks))}"
        problems.append(Problem(place, f"{what}: no playbook named {name!r}{hint}"))
        return
    book = playbooks[name]
    for key in given:
        if key not in book.parameters:
            close = nearest(key, book.parameters)
            hint = f"; did you mean {close[0]!r}?" if close else f"; it takes {', '.join(sorted(book.parameters))}"
            hint = f"; what may be reached stands in treewalk.yaml, {ALLOWED[key]}" if key in ALLOWED else hint
            problems.append(Problem(place, f"{what}: playbook {name} has no parameter {key!r}{hint}"))
    for key, parameter in book.parameters.items():
        if key not in given:
            if parameter.required:
                problems.append(Problem(place, f"{what}: playbook {name} needs {key}"))
            continue
        if given[key] is None or has_template(given[key]):
            continue
        try:
            parameter.read(given[key])
        except ValueError as error:
            problems.append(Problem(place, f"{what}: {error}"))
