"""The types that actions' parameters are made of: bounded text, lists of it, addresses."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from treewalk.errors import ActionFailed, SourceRejected

_REFERENCES = ("${", "connection:", "file:")
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, invisible, half a character, line and paragraph breaks


def _plain(text: str) -> str:
    if any(unicodedata.category(character) in _UNSEEN for character in text):
        raise ValueError("it holds control characters")
    return text


def _listed(value: Any) -> Any:
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else value


def _nothing(value: Any) -> Any:
    return None if value == "" else value


Name = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_plain)]
"""A name of something outside: one line of at most 512 characters."""

Names = Annotated[tuple[Name, ...], BeforeValidator(_listed), Field(max_length=100)]
"""Names; a single one may be written without a list, an empty text is none."""

ContainerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}\z")]
"""A container's name or id: nothing in it leads elsewhere in the engine's API."""

OptionalName = Annotated[Name | None, BeforeValidator(_nothing)]
"""A name, or none: an empty text is none."""

Address = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_plain)]
"""A URL, or a reference to one: `${NAME}`, `file:PATH`, `connection:NAME`."""

OptionalAddress = Annotated[Address | None, BeforeValidator(_nothing)]
"""An address, or none: an empty text is none."""


def shown(address: str) -> str:
    """An address for people: without user, password, query and fragment. A reference is shown as it is written."""
    if address.startswith(_REFERENCES):
        return address
    try:
        parts = urlsplit(address)
        where = parts.netloc.rpartition("@")[2] or parts.path
        return where if parts.scheme in ("redis", "rediss", "unix") else f"{parts.scheme}://{where}"
    except ValueError:
        return "an address that cannot be read"


@contextmanager
def looking() -> Iterator[None]:
    """Around a preview: that the action could not be done is an answer (SourceRejected), not a failed change."""
    try:
        yield
    except ActionFailed as error:
        raise SourceRejected(str(error)) from None
