"""Known errors that leave a workspace or come into it: YAML files, written round-trip so that comments stay."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from treewalk.content.fixes import check_fixes
from treewalk.content.known_errors import KnownDraft, read_known_errors
from treewalk.content.workspace import Workspace, scrape_intervals
from treewalk.content.yaml import parse
from treewalk.errors import ContentError, UsageError
from treewalk.model.place import Problem


def add_to_file(file: Path, documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """Add known errors to a file that may be there already; the ids that were added. What is there stays as it is, and
    what is added is indented like it.

    Raises UsageError when the file cannot be read as known errors.
    """
    from ruamel.yaml.error import YAMLError

    try:
        text = file.read_text("utf-8") if file.exists() else ""
        data = _round_trip().load(text) if text.strip() else None
    except (OSError, UnicodeError, YAMLError) as error:
        raise UsageError(f"{file} cannot be read: {type(error).__name__}") from None
    if data is None:
        data = {"errors": []}
    if not isinstance(data, dict) or not isinstance(data.get("errors"), list):
        raise UsageError(f"{file} is not a file of known errors: it has no list `errors`")
    there = {one.get("id") for one in data["errors"] if isinstance(one, dict)}
    new = [dict(one) for one in documents if one["id"] not in there]
    if new:
        whole = _with(text, data, new)
        _replace(file, lambda stream: stream.write(whole))
    return [str(one["id"]) for one in new]


def _round_trip(indent: tuple[int, int, int] = (2, 2, 0)) -> Any:
    """Reads and writes YAML with its comments. `indent` is that of mappings, of sequences, and of their dashes."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    mapping, sequence, offset = indent
    yaml.indent(mapping=mapping, sequence=sequence, offset=offset)
    return yaml


def _with(text: str, data: Any, new: Sequence[Mapping[str, Any]]) -> str:
    """The text of a file with more errors: behind its own text where that can be, else written anew in its way."""
    yaml = _round_trip(_indent(data))
    wanted = [*data["errors"], *new]
    if data["errors"] and list(data)[-1] == "errors" and not data["errors"].fa.flow_style():
        behind = text + ("" if text.endswith("\n") else "\n") + _dumped(yaml, {"errors": list(new)}).partition("\n")[2]
        if _says(behind, {**data, "errors": wanted}):
            return behind
    data["errors"].extend(new)
    return _dumped(yaml, data)


def _dumped(yaml: Any, data: Any) -> str:
    stream = StringIO()
    yaml.dump(data, stream)
    return stream.getvalue()


def _says(text: str, wanted: Mapping[str, Any]) -> bool:
    from ruamel.yaml.error import YAMLError

    try:
        return bool(_round_trip().load(text) == wanted)
    except YAMLError:
        return False


def _indent(data: Any) -> tuple[int, int, int]:
    """How a file indents mappings, sequences and their dashes, told from its first error."""
    errors = data["errors"]
    if not errors or not hasattr(errors, "lc") or errors.fa.flow_style():
        return 2, 2, 0
    dash, content = errors.lc.col, errors.lc.item(0)[1]
    if not 0 <= dash < content:
        return 2, 2, 0
    inner = (v.lc.col - content for one in errors for v in getattr(one, "values", tuple)() if _is_block(v))
    return next((width for width in inner if width > 0), 2), content, dash


def _is_block(value: Any) -> bool:
    return isinstance(value, dict) and hasattr(value, "fa") and not value.fa.flow_style()


def _replace(file: Path, write: Any) -> None:
    """Write beside the file, then put it in its place: what was there is never half written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_pack(file: Path, namespace: str, workspace: Workspace) -> list[dict[str, Any]]:
    """Known errors of a file in the stored form, each id behind `namespace/`.

    Raises ContentError with every problem at its place, also for fixes that cannot be done in this workspace.
    """
    from treewalk.content.fields import Fields

    if not namespace or not all(c.isalnum() or c in "-_." for c in namespace):
        raise UsageError(f"{namespace!r} cannot be a namespace: letters, digits, -, _ and .")
    problems: list[Problem] = []
    try:
        item = parse(file.read_bytes(), file.name, problems)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    draft = KnownDraft(problems)
    if item is not None:
        read_known_errors(item, draft)
    intervals = scrape_intervals(workspace.settings)
    check_fixes(draft.errors.values(), workspace.forest, workspace.playbooks, problems, intervals)
    if item is None or problems:
        raise ContentError(sorted(set(problems)))
    fields = Fields(item, [], "")
    plain = [fields.plain(one) for one in fields.items("errors")]
    return [{**one, "id": f"{namespace}/{one['id']}", "trust": "candidate"} for one in plain]
