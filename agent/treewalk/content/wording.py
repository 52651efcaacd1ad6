"""Validation errors of pydantic in the words of a person who writes YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SHAPES = {
    "model_type": "has to be a mapping",
    "dict_type": "has to be a mapping",
    "list_type": "has to be a list",
    "string_type": "has to be text; put it in quotes",
    "bool_parsing": "has to be true or false",
    "bool_type": "has to be true or false",
    "int_parsing": "has to be a whole number",
    "int_type": "has to be a whole number",
    "int_from_float": "has to be a whole number",
    "float_parsing": "has to be a number",
    "float_type": "has to be a number",
    "missing": "is needed",
}
_BOUNDS = {
    "greater_than": ("gt", "has to be more than"),
    "greater_than_equal": ("ge", "has to be at least"),
    "less_than": ("lt", "has to be less than"),
    "less_than_equal": ("le", "has to be at most"),
    "literal_error": ("expected", "has to be"),
}


def in_words(what: str, error: Mapping[str, Any]) -> str:
    """One entry of `ValidationError.errors()` as a sentence about `what`; never with the value that was given."""
    kind = str(error["type"])
    if kind in _SHAPES:
        return f"{what} {_SHAPES[kind]}"
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"{what} {words} {error['ctx'][key]}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{what}: {message[:1].lower()}{message[1:]}"
