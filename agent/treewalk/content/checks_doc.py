"""Checks described from their signatures, for `treewalk checks` and the docs."""

from __future__ import annotations

from typing import Any, get_args, get_origin

from treewalk.sdk import Amount, CheckDefinition, Seconds


def describe(definition: CheckDefinition) -> dict[str, Any]:
    """A check as data: name, summary, origin, extra, whether it sees only the present, and its parameters."""
    parameters = []
    for name, info in definition.parameters.model_fields.items():
        default = None if info.is_required() else info.default
        parameters.append(
            {
                "name": name,
                "type": type_name(info.annotation, info.metadata),
                "required": info.is_required(),
                "default": default,
            }
        )
    return {
        "name": definition.name,
        "summary": definition.doc.splitlines()[0] if definition.doc else "",
        "origin": definition.origin,
        "extra": definition.extra,
        "live": definition.live,
        "parameters": parameters,
        "doc": definition.doc,
    }


def type_name(annotation: Any, metadata: Any = ()) -> str:
    """A parameter's type in the words of a YAML file."""
    aliases: tuple[tuple[Any, str], ...] = ((Seconds, "duration"), (Amount, "amount"))
    for alias, word in aliases:
        if metadata and list(alias.__metadata__) == list(metadata):
            return word
        if annotation == alias:
            return word
    origin = get_origin(annotation)
    if hasattr(annotation, "__metadata__"):
        return type_name(get_args(annotation)[0])
    if str(origin) == "typing.Literal":
        return " | ".join(str(a) for a in get_args(annotation))
    if origin is list:
        return "list of " + type_name(get_args(annotation)[0])
    if origin is dict:
        return "mapping"
    parts = [type_name(a) for a in get_args(annotation) if a is not type(None)]
    if parts:
        return " | ".join(dict.fromkeys(parts))
    names = {str: "text", int: "number", float: "number", bool: "true/false"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))
