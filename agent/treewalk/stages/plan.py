"""From a diagnosis to a plan: the fix of the known error, or the remedy that the node itself declares.

Pure. Texts come from files that humans reviewed and are filled with parameters of those files and with fields of the
tree's own nodes: nothing from a log, an alert or an answer reaches a template.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from treewalk.model.acting import Plan, PlannedStep, VerifySpec
from treewalk.model.known import Fix, FixStep, KnownError
from treewalk.model.playbook import ALLOWED, FLOW, REVIEWED, Playbook
from treewalk.model.quantity import parse_duration
from treewalk.model.tree import Node, Tree
from treewalk.ports import Action

_NOT_PARAMETERS = ("purpose", "description")


class NoPlan(Exception):
    """There is nothing that treewalk could do; the message says why."""


@dataclass(frozen=True)
class Shelf:
    """What plans are made from: playbooks by name, actions by kind, and what a workspace allows (`policy.allow`), by
    the parameter that it fills in where a step leaves it out."""

    playbooks: Mapping[str, Playbook]
    action: Callable[[str], Action]
    allowed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def plan(tree: Tree, node: str, error: KnownError | None, shelf: Shelf) -> Plan:
    """The plan for an incident whose root cause is `node`; `error` is the known error that was recognised.

    Raises NoPlan with the reason where there is none.
    """
    found = tree.nodes[node]
    if found.external:
        raise NoPlan(f"{node} is external: it can be detected here, not fixed")
    if error is not None:
        if error.fix is None or error.fix.type == "escalate":
            raise NoPlan(f"known error {error.id} says to escalate")
        return _plan(tree, found, error.fix, shelf, error)
    remedy = found.fields.get("remedy")
    if remedy is None:
        raise NoPlan(f"no known error was recognised, and {node} declares no remedy")
    fix = Fix("automated", playbook=str(remedy["playbook"]), arguments=remedy.get("with") or {})
    return _plan(tree, found, fix, shelf, None)


def plan_playbook(
    tree: Tree, node: str, playbook: str, given: Mapping[str, Any], shelf: Shelf, error: KnownError | None = None
) -> Plan:
    """The plan that a playbook with these parameters gives at a node. Raises NoPlan."""
    fix = error.fix if error is not None and error.fix is not None and error.fix.playbook == playbook else None
    return _plan(tree, tree.nodes[node], fix or Fix("automated", playbook=playbook, arguments=given), shelf, error)


def _plan(tree: Tree, node: Node, fix: Fix, shelf: Shelf, error: KnownError | None) -> Plan:
    steps, cost = fix.steps, 0.0
    undo: tuple[FixStep, ...] = ()
    verify: Mapping[str, Any] = {}
    values: dict[str, Any] = {}
    title = f"the steps of {error.id}" if error else "inline steps"
    if fix.playbook is not None:
        if fix.playbook not in shelf.playbooks:
            raise NoPlan(f"no playbook named {fix.playbook!r}")
        book = shelf.playbooks[fix.playbook]
        values = arguments(book, fix.arguments, node)
        steps, undo, verify, cost = book.steps, book.undo, fill(book.verify, values, node), book.cost
        title = book.name
    making = _Making(tree, node, values, shelf)
    planned = _priced(making.steps(steps), cost)
    if not any(step.changes or step.kind in ("wait", "verify") for step in planned):
        raise NoPlan(f"{title} does nothing")
    return Plan(
        sla=tree.sla.name,
        node=node.name,
        title=title,
        steps=planned,
        verify=_final(planned, verify_spec(verify, node.name)) if not verify else verify_spec(verify, node.name),
        undo=making.steps(undo),
        known_error=error.id if error else None,
        playbook=fix.playbook,
        basis="known" if error else "remedy",
        cost=math.fsum(s.facts.cost for s in planned if s.facts) if any(s.changes for s in planned) else cost,
    )


def _priced(steps: Sequence[PlannedStep], cost: float) -> tuple[PlannedStep, ...]:
    """The steps with the price of their playbook on the first that changes something: a bound that it breaks is met
    before anything has begun, not half-way through."""
    first = next((n for n, step in enumerate(steps) if step.changes), None)
    return tuple(
        replace(step, facts=replace(step.facts, cost=step.facts.cost + cost)) if n == first and step.facts else step
        for n, step in enumerate(steps)
    )


def _final(steps: Sequence[PlannedStep], default: VerifySpec) -> VerifySpec:
    """Inline steps prove the SLA for as long as their own last proof may take."""
    own = [s.verify for s in steps if s.verify is not None]
    return VerifySpec(None, True, default.node, max(own[-1].timeout, 10.0), default.stable) if own else default


def planned_undo(undos: Sequence[tuple[str, Mapping[str, Any]]], shelf: Shelf) -> tuple[PlannedStep, ...]:
    """The steps that take back what actions did, each at the node where it was done, from what the actions themselves
    said of it (`action` and parameters)."""
    steps = []
    for index, (node, written) in enumerate(undos):
        action = shelf.action(str(written["action"]))
        model = action.parameters.model_validate({k: v for k, v in written.items() if k != "action"})
        params = model.model_dump(mode="json")
        steps.append(PlannedStep(index, action.kind, node, params, "undo", action.facts(model)))
    return tuple(steps)


def taken_back(made: Plan) -> str:
    """What a human who approves a plan is told of its actions that name their own undo once they ran. Its values are
    not known before, so that no step of the plan shows it. Empty where nothing is undone so. Pure."""
    back = [] if made.undo else [f"{s.kind} at {s.node}" for s in made.steps if s.facts and s.facts.reversible]
    verb = "is" if len(back) == 1 else "are"
    return f"if it does not help, {' and '.join(back)} {verb} taken back" if back else ""


def arguments(book: Playbook, given: Mapping[str, Any], node: Node) -> dict[str, Any]:
    """The value of every parameter of a playbook, in its type. Raises NoPlan."""
    unknown = sorted(set(given) - set(book.parameters))
    if unknown:
        raise NoPlan(f"playbook {book.name} has no parameter {', '.join(unknown)}")
    values: dict[str, Any] = {}
    for name, parameter in book.parameters.items():
        if name not in given and parameter.required:
            raise NoPlan(f"playbook {book.name} needs {name}")
        try:
            value = fill(given.get(name, parameter.default), {}, node)
            values[name] = None if value is None or value == "" else parameter.read(value)
        except ValueError as error:
            raise NoPlan(f"playbook {book.name}, {name}: {error}") from None
    return values


def fill(value: Any, values: Mapping[str, Any], node: Node) -> Any:
    """Plain data with its templates filled in. A text that is one `{{ parameter }}` keeps the parameter's type.

    Raises NoPlan for a name that does not exist.
    """
    if isinstance(value, str):
        return _text(value, values, node)
    if isinstance(value, Mapping):
        return {key: fill(inner, values, node) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [fill(inner, values, node) for inner in value]
    return value


def _text(text: str, values: Mapping[str, Any], node: Node) -> Any:
    inner = text.strip()
    if inner.startswith("{{") and inner.endswith("}}") and inner[2:-2].strip() in values:
        return values[inner[2:-2].strip()]
    if "{{" not in text and "{%" not in text:
        return text
    import jinja2

    about = {**node.fields, "name": node.name, "type": node.type}
    shown = {name: "" if value is None else value for name, value in values.items()}
    try:
        return _environment().from_string(text).render(**shown, node=about)
    except jinja2.TemplateError as error:
        raise NoPlan(f"{text[:80]!r} cannot be filled in for {node.name}: {error}") from None


def _environment() -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)


def verify_spec(written: Mapping[str, Any], node: str) -> VerifySpec:
    """A proof as written; the SLA counts unless it says not. Raises NoPlan."""
    try:
        return VerifySpec(
            check=str(written["check"]) if written.get("check") else None,
            sla=bool(written.get("sla", True)),
            node=str(written.get("node") or node),
            timeout=parse_duration(written.get("timeout", 60.0)),
            stable=parse_duration(written.get("stable", 5.0)),
        )
    except ValueError as error:
        raise NoPlan(f"verify: {error}") from None


@dataclass(frozen=True)
class _Making:
    tree: Tree
    node: Node
    values: Mapping[str, Any]
    shelf: Shelf

    def steps(self, written: Sequence[FixStep]) -> tuple[PlannedStep, ...]:
        return tuple(self._step(index, step) for index, step in enumerate(written))

    def _step(self, index: int, step: FixStep) -> PlannedStep:
        params = fill(step.params, self.values, self.node)
        purpose = str(params.get("purpose") or params.get("message") or params.get("description") or "")
        if step.action in FLOW:
            return self._flow(index, step.action, params, purpose)
        action = self.shelf.action(step.action)
        at = str(params["node"]) if "node" in params and "node" not in action.parameters.model_fields else None
        if at is not None and at not in self.tree.nodes:
            raise NoPlan(f"step {index + 1} acts on {at}, which is not under {self.tree.sla.name}")
        own = {
            key: value
            for key, value in params.items()
            if value is not None and key not in _NOT_PARAMETERS and (key != "node" or at is None)
        }
        own |= self._bounds(index, step, action)
        try:
            model = action.parameters.model_validate(own)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(p) for p in first["loc"])
            raise NoPlan(f"step {index + 1}, {step.action}: {where}: {first['msg']}") from None
        return PlannedStep(
            index=index,
            kind=step.action,
            node=at or self.node.name,
            params=model.model_dump(mode="json"),
            purpose=purpose,
            facts=action.facts(model),
        )

    def _bounds(self, index: int, step: FixStep, action: Action) -> dict[str, Any]:
        """What the step may reach, as its author wrote it or, where that is left out, as the workspace allows it."""
        found = {}
        for name in (name for name in REVIEWED if name in action.parameters.model_fields):
            written = step.params.get(name)
            if "{{" in str(written) or "{%" in str(written):
                raise NoPlan(f"step {index + 1}, {step.action}: {name} is a template, and bounds nothing")
            if written is None and name in ALLOWED:
                found[name] = self.shelf.allowed.get(name, ())
                if not found[name]:
                    raise NoPlan(f"step {index + 1}, {step.action}: nothing is allowed by {ALLOWED[name]}")
        return found

    def _flow(self, index: int, kind: str, params: Mapping[str, Any], purpose: str) -> PlannedStep:
        try:
            seconds = parse_duration(params.get("duration", 0.0)) if kind == "wait" else 0.0
        except ValueError as error:
            raise NoPlan(f"wait: {error}") from None
        spec = None
        if kind == "verify":
            spec = verify_spec({"sla": False, "stable": 0.0, **params}, self.node.name)
        return PlannedStep(index, kind, self.node.name, purpose=purpose, verify=spec, seconds=seconds)
