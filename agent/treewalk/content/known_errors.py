"""Known errors: files of signatures, causes and fixes that humans review."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from treewalk.content.fields import Fields
from treewalk.content.yaml import Item, parse
from treewalk.model.condition import parse_condition
from treewalk.model.known import Fix, FixStep, KnownError, Signature
from treewalk.model.place import Problem
from treewalk.model.quantity import parse_duration
from treewalk.model.tree import Forest, nearest

ERROR_FIELDS = (
    "id", "signature", "root_cause", "root_node", "category", "severity", "description", "fix", "trust",
    "first_seen", "last_seen", "occurrence_count", "resolution_time_avg",
)  # fmt: skip
SIGNATURE_FIELDS = ("log_pattern", "node", "metric_condition", "only_in_trouble")
FIX_FIELDS = ("type", "steps", "playbook", "with")
FIX_TYPES = ("automated", "wait_and_verify", "escalate")
SEVERITIES = ("low", "medium", "high", "critical")
TRUST = ("candidate", "trusted", "suspended", "retired")

_BACK_REFERENCE = re.compile(r"(?<!\\)(?:\\\\)*\\[1-9]|\(\?P=")


@dataclass
class KnownDraft:
    """Known errors read so far, and what is wrong with them."""

    problems: list[Problem]
    errors: dict[str, KnownError] = field(default_factory=dict)


def read_known_errors(root: Item, draft: KnownDraft) -> None:
    """Add one file of known errors; a repeated id is a problem that names both places."""
    fields = Fields(root, draft.problems, "a known-errors file")
    fields.closed(("errors", "description"))
    for item in fields.items("errors"):
        error = _error(item, draft.problems)
        if error is None:
            continue
        if error.id in draft.errors:
            first = draft.errors[error.id].place
            draft.problems.append(Problem(error.place, f"the id {error.id!r} is given twice; first at {first}"))
            continue
        draft.errors[error.id] = error


def from_document(document: Mapping[str, Any]) -> KnownError | None:
    """A learned known error from its stored form; None where it cannot be read (any more).

    Where it names a node, that node has to be in trouble, whether its stored form says so or is older than that field.
    """
    problems: list[Problem] = []
    item = parse(json.dumps(dict(document)).encode(), str(document.get("id", "learned")), problems)
    found = _error(item, problems) if item is not None else None
    if found is None or problems:
        return None
    signature = found.signature
    troubled = signature.only_in_trouble or signature.node is not None
    return replace(found, learned=True, trust="candidate", signature=replace(signature, only_in_trouble=troubled))


def check_nodes(errors: Iterable[KnownError], forest: Forest, problems: list[Problem]) -> None:
    """Exact node names of the workspace's own known errors have to exist."""
    for error in errors:
        for name in (error.signature.node, error.root_node):
            if name is None or name in forest.nodes or name.startswith("type:") or any(c in name for c in "*?["):
                continue
            close = nearest(name, forest.nodes)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            problems.append(Problem(error.place, f"known error {error.id}: no node named {name!r}{hint}"))


def _error(item: Item, problems: list[Problem]) -> KnownError | None:
    fields = Fields(item, problems, "a known error")
    fields.closed(ERROR_FIELDS)
    identity = fields.text("id")
    if identity is None:
        fields.problem(item.place, "a known error needs an id")
        return None
    fields.what = f"known error {identity}"
    signature = fields.mapping("signature")
    if signature is None:
        fields.problem(item.place, f"known error {identity} needs a signature")
        return None
    fix = fields.mapping("fix")
    return KnownError(
        id=identity,
        signature=_signature(signature),
        root_cause=fields.text("root_cause", "") or "",
        fix=_fix(fix) if fix else None,
        place=item.place,
        root_node=fields.text("root_node"),
        category=fields.text("category", "") or "",
        severity=_one_of(fields, "severity", SEVERITIES, "medium"),
        trust=_one_of(fields, "trust", TRUST, "trusted"),  # type: ignore[arg-type]
        description=fields.text("description", "") or "",
        first_seen=fields.text("first_seen"),
        last_seen=fields.text("last_seen"),
        occurrence_count=int(fields.number("occurrence_count") or 0),
        resolution_time_avg=fields.convert("resolution_time_avg", parse_duration),
    )


def _one_of(fields: Fields, key: str, allowed: tuple[str, ...], default: str) -> str:
    value = fields.text(key, default) or default
    if value not in allowed:
        close = nearest(value, allowed)
        hint = f"did you mean {close[0]!r}?" if close else f"it is one of {', '.join(allowed)}"
        fields.problem(fields.data[key].place, f"{key} {value!r} does not exist; {hint}")
        return default
    return value


def _signature(fields: Fields) -> Signature:
    fields.what = "a signature"
    fields.closed(SIGNATURE_FIELDS)
    if not any(fields.has(key) for key in SIGNATURE_FIELDS if key != "only_in_trouble"):
        fields.problem(fields.item.place, "a signature without a signal would match everything; give it at least one")
    elif set(fields.data) - {"only_in_trouble"} == {"node"}:  # with a misspelt key beside it, that key is what is wrong
        fields.problem(
            fields.data["node"].place,
            "a signature that names only a node is never met, as standing at a node is no error; "
            "give it a log_pattern or a metric_condition",
        )
    return Signature(
        log_pattern=fields.convert("log_pattern", _pattern),
        node=fields.text("node"),
        metric_condition=fields.convert("metric_condition", lambda value: parse_condition(str(value))),
        only_in_trouble=fields.convert("only_in_trouble", _yes_or_no) or False,
    )


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _pattern(value: Any) -> str:
    """A regular expression of RE2, which has no look-around and no back-reference. Raises ValueError."""
    import re2

    options = re2.Options()
    options.log_errors = False
    text = str(value)
    try:
        re2.compile(text, options)
    except re2.error as error:
        detail = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        if any(mark in text for mark in ("(?=", "(?!", "(?<=", "(?<!")):
            detail = "look-around is not supported, because patterns must run in linear time (RE2)"
        elif _BACK_REFERENCE.search(text):
            detail = "a back-reference is not supported, because patterns must run in linear time (RE2)"
        raise ValueError(f"not a pattern: {detail}") from None
    return text


def _fix(fields: Fields) -> Fix:
    fields.what = "a fix"
    fields.closed(FIX_FIELDS)
    kind = _one_of(
        fields, "type", FIX_TYPES, "automated" if fields.has("playbook") or fields.has("steps") else "escalate"
    )
    steps = tuple(step for step in (_step(item, fields) for item in fields.items("steps")) if step is not None)
    arguments = fields.mapping("with")
    if fields.has("steps") and fields.has("playbook"):
        fields.problem(fields.item.place, "a fix has steps or a playbook, not both")
    return Fix(
        type=kind,  # type: ignore[arg-type]
        steps=steps,
        playbook=fields.text("playbook"),
        arguments=(fields.plain(arguments.item) or {}) if arguments else {},
    )


def _step(item: Item, parent: Fields) -> FixStep | None:
    fields = Fields(item, parent.problems, "a step")
    action = fields.text("action")
    if action is None:
        fields.problem(item.place, "a step begins with `action: NAME`")
        return None
    params = {k: fields.plain(v) for k, v in fields.data.items() if k != "action"}
    return FixStep(action, _literal_command(params) if action == "docker_exec" else params, item.place)


def _literal_command(params: dict[str, Any]) -> dict[str, Any]:
    """`command: "redis-cli PING"` as an argument list. What a human reviewed word for word is its own shape."""
    if isinstance(params.get("command"), str) and "argv" not in params:
        try:
            params["argv"] = shlex.split(params.pop("command"))
        except ValueError:
            return params
    if isinstance(params.get("argv"), list):
        params.setdefault("shape", [str(word) for word in params["argv"]])
    return params
