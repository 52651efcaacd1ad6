"""Check files, loaded by path: the built-in ones and those of a declared workspace."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from treewalk.content.builtin import builtin_folder
from treewalk.content.fields import unknown_key
from treewalk.content.wording import in_words
from treewalk.errors import ContentError, UsageError
from treewalk.model.place import Place, Problem
from treewalk.model.tree import CheckSpec, Node
from treewalk.sdk import CheckDefinition


def builtin_checks() -> dict[str, CheckDefinition]:
    """The checks that ship with treewalk, by name. Raises ContentError when one is broken."""
    problems: list[Problem] = []
    found = load_checks(builtin_folder("checks"), "built-in", "", problems)
    if problems:
        raise ContentError(problems)
    return found


def load_checks(folder: Path, origin: str | None, label: str, problems: list[Problem]) -> dict[str, CheckDefinition]:
    """Every check in the files of a folder. `origin` is shown to people; None means the file itself.

    A file that cannot be imported, or defines no check, is a problem at its file and line.
    """
    found: dict[str, CheckDefinition] = {}
    homes: dict[str, str] = {}
    for path in sorted(folder.glob("*.py")):
        if path.name.startswith("_"):
            continue
        name = f"{label}{path.name}"
        module = _import(path, name, problems)
        if module is None:
            continue
        defined = list(_definitions(module))
        if not defined:
            problems.append(Problem(Place(name), 'defines no check: decorate a function with @check("name")'))
        for definition in defined:
            if definition.name in found:
                line = definition.function.__code__.co_firstlineno
                first = homes[definition.name]
                problems.append(
                    Problem(Place(name, line), f"the check {definition.name!r} is there already, in {first}")
                )
                continue
            homes[definition.name] = name
            found[definition.name] = replace(definition, origin=origin or name)
    return found


def _import(path: Path, name: str, problems: list[Problem]) -> ModuleType | None:
    """Import one file. A stranger's module may raise anything; here that becomes a problem with its line."""
    qualified = f"treewalk_checks.{path.stem}"
    spec = importlib.util.spec_from_file_location(qualified, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[qualified] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        own = error.filename == str(path)
        place = Place(name, (error.lineno or 1) if own else 1, max(error.offset or 1, 1) if own else 1)
        problems.append(Problem(place, f"not Python: {error.msg}" + ("" if own else f" (in {error.filename})")))
    except (Exception, SystemExit) as error:  # noqa: BLE001
        frames = traceback.extract_tb(error.__traceback__)
        line = next((f.lineno for f in reversed(frames) if f.filename == str(path)), None) or 1
        text = " ".join(str(error).split())[:200]
        problems.append(Problem(Place(name, line), f"cannot be loaded: {type(error).__name__}: {text}"))
    else:
        return module
    del sys.modules[qualified]
    return None


def _definitions(module: ModuleType) -> Iterable[CheckDefinition]:
    for value in vars(module).values():
        definition = getattr(value, "__treewalk_check__", None)
        if isinstance(definition, CheckDefinition) and value.__module__ == module.__name__:
            yield definition


def bind_with(checks: Mapping[str, CheckDefinition]) -> Any:
    """A function that tells what is wrong with a healthcheck block, for the tree reader."""

    def bind(method: str, params: Mapping[str, Any]) -> list[tuple[str | None, str]]:
        definition = checks.get(method)
        if definition is None:
            close = get_close_matches(method, list(checks), n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]!r}?" if close else "; `treewalk checks` lists the names"
            return [(None, f"no check named {method!r}{hint}")]
        try:
            definition.bind(params)
        except ValidationError as error:
            return [_explain(definition, e) for e in error.errors(include_url=False)]
        except UsageError as error:
            return [(None, str(error))]
        return []

    return bind


def needs_with(checks: Mapping[str, CheckDefinition]) -> Callable[[Node, CheckSpec], str | None]:
    """A function that tells what a valid healthcheck block lacks to work at a node, for the tree reader."""

    def missing(node: Node, spec: CheckSpec) -> str | None:
        definition = checks.get(spec.method)
        if definition is None or definition.needs is None:
            return None
        try:
            found = definition.missing(node, spec.params)
        except Exception as error:  # noqa: BLE001  a workspace's own code may raise anything
            return f"what {spec.method} needs cannot be told: {type(error).__name__} ({definition.origin})"
        return f"healthcheck {spec.method}: {found}" if found else None

    return missing


def _explain(definition: CheckDefinition, error: Mapping[str, Any]) -> tuple[str | None, str]:
    key = str(error["loc"][0]) if error["loc"] else None
    known = list(definition.parameters.model_fields)
    if error["type"] == "extra_forbidden":
        return key, unknown_key(key or "", known, f"healthcheck {definition.name}")
    if error["type"] == "missing":
        return None, f"healthcheck {definition.name} needs {key!r}"
    return key, f"healthcheck {definition.name}: {in_words(str(key), error)}"
