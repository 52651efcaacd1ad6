"""Playbooks: read whole, each step held against the schema of its action, each text against the parameters."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from treewalk.actions import ACTIONS, action
from treewalk.content.fields import Fields, unknown_key
from treewalk.content.wording import in_words
from treewalk.content.yaml import Item
from treewalk.model.known import FixStep
from treewalk.model.place import Problem
from treewalk.model.playbook import ALLOWED, FLOW, REVIEWED, TYPES, Parameter, Playbook
from treewalk.model.quantity import parse_duration
from treewalk.model.tree import nearest

PLAYBOOK_FIELDS = ("name", "description", "parameters", "steps", "verify", "undo", "touches", "cost")
PARAMETER_FIELDS = ("type", "default", "min", "max", "one_of", "description")
VERIFY_FIELDS = ("check", "sla", "timeout", "stable", "node", "purpose", "description")
WAIT_FIELDS = ("duration", "purpose", "description")
ESCALATE_FIELDS = ("message", "purpose", "description")
_FLOW_FIELDS = {"wait": WAIT_FIELDS, "verify": VERIFY_FIELDS, "escalate_if_failed": ESCALATE_FIELDS}
STEP_FIELDS = ("action", "node", "purpose", "description")
_NEEDS = {"wait": "duration", "verify": "check"}
_BRACES = re.compile(r"\{[{%#]")


def read_playbook(root: Item, problems: list[Problem]) -> Playbook | None:
    """One playbook; None, with the problems, when the file is not one."""
    before = len(problems)
    fields = Fields(root, problems, "a playbook")
    fields.closed(PLAYBOOK_FIELDS)
    name = fields.text("name")
    if name is None:
        fields.problem(root.place, "a playbook needs a name")
    fields.what = f"playbook {name}" if name else "a playbook"
    parameters = _parameters(fields)
    steps = tuple(s for s in (_step(i, problems) for i in fields.items("steps")) if s is not None)
    if not steps:
        fields.problem(root.key_place("steps"), f"{fields.what} needs steps")
    undo = tuple(s for s in (_step(i, problems) for i in fields.items("undo")) if s is not None)
    verify = fields.mapping("verify")
    if verify is not None:
        verify.what = "verify"
        verify.closed(VERIFY_FIELDS)
    cost = fields.number("cost") or 0.0
    if not (0 <= cost < math.inf):
        fields.problem(fields.data["cost"].place, f"the cost of {name or 'a playbook'} has to be a number from 0")
    for step in (*steps, *undo):
        check_step(step, parameters, problems)
    if name is None or len(problems) > before:
        return None
    return Playbook(
        name=name,
        place=root.place,
        steps=steps,
        description=fields.text("description", "") or "",
        parameters=parameters,
        verify=(fields.plain(verify.item) or {}) if verify is not None else {},
        verify_place=verify.item.place if verify is not None else None,
        undo=undo,
        touches=tuple(text for text, _ in fields.texts("touches")),
        cost=cost,
    )


def _parameters(fields: Fields) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    block = fields.mapping("parameters")
    for name, item in block.data.items() if block is not None else ():
        one = Fields(item, fields.problems, f"parameter {name}")
        one.closed(PARAMETER_FIELDS)
        kind = one.text("type", "text") or "text"
        if kind not in TYPES:
            close = nearest(kind, TYPES)
            hint = f"did you mean {close[0]!r}?" if close else f"it is one of {', '.join(TYPES)}"
            one.problem(one.data["type"].place, f"type {kind!r} does not exist; {hint}")
            continue
        if name == "node" or not name.isidentifier():
            one.problem(block.item.key_place(name) if block else item.place, f"{name!r} cannot name a parameter")
            continue
        parameter = Parameter(
            name=name,
            type=kind,  # type: ignore[arg-type]
            default=one.plain(one.data["default"]) if "default" in one.data else None,
            required="default" not in one.data,
            minimum=one.convert("min", _bound(kind)),
            maximum=one.convert("max", _bound(kind)),
            one_of=tuple(text for text, _ in one.texts("one_of")),
            description=one.text("description", "") or "",
        )
        found[name] = parameter
        if parameter.default is not None and not has_template(parameter.default):
            try:
                parameter.read(parameter.default)
            except ValueError as error:
                one.problem(one.data["default"].place, f"the default of {name}: {error}")
    return found


def _bound(kind: str) -> Any:
    probe = Parameter("bound", kind if kind in ("duration", "amount") else "number")  # type: ignore[arg-type]
    return lambda value: float(probe.read(value))


def _step(item: Item, problems: list[Problem]) -> FixStep | None:
    fields = Fields(item, problems, "a step")
    kind = fields.text("action")
    if kind is None:
        if isinstance(item.value, dict):
            fields.problem(item.place, "a step begins with `action: NAME`")
        return None
    return FixStep(kind, {k: fields.plain(v) for k, v in fields.data.items() if k != "action"}, item.place)


def check_step(step: FixStep, parameters: Mapping[str, Parameter], problems: list[Problem]) -> None:
    """Note what is wrong with one step: its action, its keys, its texts, and its values where they are plain."""

    def problem(message: str) -> None:
        problems.append(Problem(step.place, message))

    if step.action in FLOW:
        _check_flow(step, problem)
    elif step.action in ACTIONS:
        _check_action(step, problem)
    else:
        close = nearest(step.action, [*ACTIONS, *FLOW])
        hint = f"did you mean {close[0]!r}?" if close else f"there is {', '.join([*ACTIONS, *FLOW])}"
        problem(f"no action named {step.action!r}; {hint}")
        return
    for text in texts_in(step.params):
        _check_text(text, parameters, problem)


def _check_flow(step: FixStep, problem: Any) -> None:
    for key in step.params:
        if key not in _FLOW_FIELDS[step.action]:
            problem(unknown_key(key, _FLOW_FIELDS[step.action], step.action))
    needed = _NEEDS.get(step.action)
    if needed and needed not in step.params and not (step.action == "verify" and step.params.get("sla")):
        problem(f"{step.action} needs `{needed}`")
    for key in ("duration", "timeout", "stable"):
        value = step.params.get(key)
        if value is not None and not has_template(value):
            try:
                parse_duration(value)
            except ValueError as error:
                problem(f"{key}: {error}")


def _check_action(step: FixStep, problem: Any) -> None:
    model = action(step.action).parameters
    own = {k: v for k, v in step.params.items() if k not in STEP_FIELDS or k in model.model_fields}
    for key in own:
        if key not in model.model_fields:
            problem(unknown_key(key, model.model_fields, step.action))
    for name, field in model.model_fields.items():
        if field.is_required() and name not in own and name not in ALLOWED:
            problem(f"{step.action} needs `{name}`")
    for name in REVIEWED:
        if has_template(own.get(name)):
            problem(_filled_in(name))
    if has_template(own) or any(key not in model.model_fields for key in own):
        return
    try:
        model.model_validate(own)
    except ValidationError as error:
        for entry in error.errors(include_url=False):
            if entry["type"] != "missing":
                problem(in_words(".".join(str(p) for p in entry["loc"]) or step.action, entry))


def _filled_in(name: str) -> str:
    why = f"{name} cannot hold a template: whoever calls it could fill in anything"
    if name in ALLOWED:
        return f"{why}; write it out, or leave it out, and {ALLOWED[name]} of treewalk.yaml counts"
    return f"{why}; write it out, with <word>, <int> or <a|b> where words differ"


def _check_text(text: str, parameters: Mapping[str, Parameter], problem: Any) -> None:
    import jinja2
    from jinja2 import meta
    from jinja2.sandbox import SandboxedEnvironment

    if not _BRACES.search(text):
        return
    try:
        tree = SandboxedEnvironment().parse(text)
    except jinja2.TemplateSyntaxError as error:
        problem(f"{text[:80]!r} is not a template: {error.message}")
        return
    for name in sorted(meta.find_undeclared_variables(tree)):
        if name != "node" and name not in parameters:
            close = nearest(name, parameters)
            problem(f"no parameter named {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""))


def has_template(value: Any) -> bool:
    """Whether any text in a value holds `{{ … }}`."""
    return any(_BRACES.search(text) for text in texts_in(value))


def texts_in(value: Any) -> Iterable[str]:
    """Every text in plain data, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from texts_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_in(inner)
