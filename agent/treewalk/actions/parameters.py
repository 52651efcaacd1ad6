"""The types that actions' parameters are made of: bounded text, lists of it, addresses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from treewalk.errors import ActionFailed, SourceRejected

_REFERENCES = ("${", "connection:", "file:")


def _plain(text: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
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

OptionalName = Annotated[Name | None, BeforeValidator(_nothing)]
"""A name, or none: an empty text is none."""

Address = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_plain)]
"""A URL, or a reference to one: `${NAME}`, `file:PATH`, `connection:NAME`."""


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
