"""treewalk.yaml: its single-source short form, and pydantic's errors put back at their places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from treewalk.content.fields import unknown_key
from treewalk.content.secrets import reads_as_reference
from treewalk.content.wording import in_words
from treewalk.content.yaml import Item
from treewalk.model.place import Place, Problem
from treewalk.settings import LokiSettings, PrometheusSettings, Settings

_NAMED: dict[str, type[BaseModel]] = {"prometheus": PrometheusSettings, "loki": LokiSettings}

_SECRETS = ("url", "bearer_token", "password", "token", "secret", "webhook_secret", "metrics_token")
_SECRETS_BY_NAME = ("headers", "users")  # mappings of a name of the user's own to a secret


def read_settings(item: Item, problems: list[Problem]) -> Settings:
    """The settings of a workspace; defaults, with problems noted, for what is wrong."""
    if item.value is None:
        return Settings()
    if not isinstance(item.value, dict):
        problems.append(Problem(item.place, f"treewalk.yaml has to be a mapping, not {item.kind}"))
        return Settings()
    try:
        data = item.plain()
    except ValueError as error:
        problems.append(Problem(item.place, str(error)))
        return Settings()
    for block in ("sources", "walk", "store", "server", "notify"):
        if block in item.value:
            problems.extend(_misplaced_references(item.value[block], block))
    short = _expand(data)
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        problems.extend(_problem(item, entry, short) for entry in error.errors(include_url=False))
        return Settings()
    return settings


def _misplaced_references(item: Item, key: str) -> Iterator[Problem]:
    """`${NAME}` and `file:` where nobody fills them in: they would be taken as they stand."""
    if isinstance(item.value, dict) and key not in _SECRETS_BY_NAME:
        for name, inner in item.value.items():
            yield from _misplaced_references(inner, name)
    elif isinstance(item.value, list):
        for inner in item.value:
            yield from _misplaced_references(inner, key)
    elif isinstance(item.value, str) and key not in _SECRETS and reads_as_reference(item.value):
        where = f"{', '.join(_SECRETS)}, {' and '.join(_SECRETS_BY_NAME)}"
        yield Problem(item.place, f"{key}: ${{NAME}} and file:PATH are filled in only in {where}")


def _expand(data: dict[str, Any]) -> set[str]:
    """`prometheus: {url: …}` is short for `prometheus: {default: {url: …}}`; which sources were written so."""
    sources = data.get("sources")
    short: set[str] = set()
    if not isinstance(sources, dict):
        return short
    for kind, model in _NAMED.items():
        body = sources.get(kind)
        if isinstance(body, dict) and _is_single(body, model):
            sources[kind] = {"default": body}
            short.add(kind)
    return short


def _is_single(body: Mapping[str, Any], model: type[BaseModel]) -> bool:
    """One source, not a map of names: a known setting is among its keys, or none of its values is a mapping."""
    return any(key in model.model_fields for key in body) or not any(isinstance(v, dict) for v in body.values())


def _problem(root: Item, entry: Any, short: set[str]) -> Problem:
    path = [part for part in entry["loc"] if isinstance(part, str | int)]
    if len(path) > 2 and path[0] == "sources" and path[1] in short and path[2] == "default":
        del path[2]
    place = _place(root, path, key=entry["type"] == "extra_forbidden")
    shown = ".".join(str(p) for p in path)
    if entry["type"] == "extra_forbidden":
        where = ".".join(str(p) for p in path[:-1]) or "treewalk.yaml"
        return Problem(place, unknown_key(str(path[-1]), _known_keys(path[:-1]), where))
    return Problem(place, in_words(shown, entry))


def _place(item: Item, path: Sequence[str | int], *, key: bool) -> Place:
    for index, part in enumerate(path):
        if isinstance(item.value, dict) and part in item.value:
            if key and index == len(path) - 1:
                return item.key_place(str(part))
            item = item.value[part]
        elif isinstance(item.value, list) and isinstance(part, int) and part < len(item.value):
            item = item.value[part]
        else:
            break
    return item.place


def _known_keys(path: Sequence[str | int]) -> list[str]:
    """The keys that a block of the settings takes."""
    model: Any = Settings
    for part in path:
        if isinstance(part, int):
            continue
        fields = getattr(model, "model_fields", {})
        if part in fields:
            model = _inner_model(fields[part].annotation)
    return list(getattr(model, "model_fields", {}))


def _inner_model(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_model(argument)
        if found is not None:
            return found
    return None
