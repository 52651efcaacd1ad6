"""Playbooks: read for their shape. What they do is checked where they are run."""

from __future__ import annotations

from treewalk.content.fields import Fields
from treewalk.content.yaml import Item
from treewalk.model.place import Problem

PLAYBOOK_FIELDS = ("name", "description", "parameters", "steps", "verify", "undo", "touches", "cost")


def check_playbook(root: Item, problems: list[Problem]) -> str | None:
    """The name of a playbook; None, with the problems, when the file is not one."""
    fields = Fields(root, problems, "a playbook")
    fields.closed(PLAYBOOK_FIELDS)
    name = fields.text("name")
    if name is None:
        fields.problem(root.place, "a playbook needs a name")
    steps = list(fields.items("steps"))
    if not steps:
        fields.problem(root.key_place("steps"), "a playbook needs steps")
    for item in steps:
        step = Fields(item, problems, "a step")
        if step.data and not step.has("action"):
            step.problem(item.place, "a step begins with `action: NAME`")
    return name
