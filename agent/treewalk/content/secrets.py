"""Filling in `${ENV}` and `file:` references, at the moment a client needs them and nowhere before."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from treewalk.errors import SettingsError

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def reads_as_reference(text: str) -> bool:
    """Whether a text would be filled in, were it a secret."""
    return text.startswith("file:") or bool(_REFERENCE.search(text))


def resolver(environ: Mapping[str, str], root: Path | None) -> Callable[[str], str]:
    """A function that fills references in a text.

    `${NAME}` comes from the environment; a text that is `file:PATH` is replaced by that file's content without
    the last newline (relative paths start at the workspace). It raises SettingsError, naming what is missing and
    never a value.
    """

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        if name not in environ:
            raise SettingsError(f"the environment variable {name} is not set; treewalk.yaml refers to it")
        return environ[name]

    def resolve(text: str) -> str:
        if text.startswith("file:"):
            path = Path(root or Path.cwd(), text.removeprefix("file:"))
            try:
                return path.read_text("utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "not text"
                raise SettingsError(f"the secret file {path} cannot be read: {why}") from None
        return _REFERENCE.sub(fill, text)

    return resolve
