"""Texts of a healthcheck block that mean something, validated when the tree is read.

Each stays the text that was written; what is wrong with it is told at its place, before anything runs. What holds
`${ENV}`, or is `file:PATH` or `connection:NAME`, is not known yet and is taken as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from treewalk.model.condition import parse_condition
from treewalk.model.logql import not_logql
from treewalk.model.quantity import parse_threshold

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.*", re.DOTALL)


def url_problem(text: str, schemes: tuple[str, ...] = ()) -> str | None:
    """What is wrong with a URL, or None. Without schemes any will do."""
    if is_reference(text):
        return None
    wanted = " or ".join(f"{scheme}://" for scheme in schemes) or "a scheme such as https://"
    if not _SCHEME.fullmatch(text.strip()) or (schemes and text.strip().split(":")[0].lower() not in schemes):
        return f"an address begins with {wanted}"
    if not schemes or "unix" in text.split(":")[0]:
        return None
    try:
        parts = urlsplit(text.strip())
        _ = parts.port
    except ValueError:  # its words may hold a part of a password
        return "not a URL: what stands for host or port is none"
    return None if parts.hostname else "the URL names no host"


def address_problem(text: str) -> str | None:
    """What is wrong with `host`, `host:port` or a URL, or None."""
    if is_reference(text):
        return None
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        _ = parts.port
    except ValueError:
        return "not an address: the port is none; write host:port"
    if not parts.hostname or re.search(r"\s", text.strip()):
        return "not an address; write host:port"
    return None


def promql_problem(text: str) -> str | None:
    """What is wrong with a PromQL expression, in the parser's words, or None."""
    import promql_parser

    try:
        promql_parser.parse(text)
    except ValueError as error:
        return f"not PromQL: {error}"
    return None


def is_reference(text: str) -> bool:
    """Whether a text is filled in from elsewhere when it is used."""
    return "${" in text or text.startswith(("file:", "connection:"))


def _without(problem: Callable[[str], str | None]) -> AfterValidator:
    def validate(text: str) -> str:
        found = problem(text)
        if found is not None:
            raise ValueError(found)
        return text

    return AfterValidator(validate)


def _condition(text: str) -> str:
    parse_condition(text)
    return text


def _threshold(value: str | float) -> str | float:
    parse_threshold(value)
    return value


Condition = Annotated[str, AfterValidator(_condition)]
"""A condition: PromQL with a comparison, or the sugar of conditions."""

PromQL = Annotated[str, _without(promql_problem)]
"""A PromQL expression."""

LogQL = Annotated[str, _without(not_logql)]
"""A LogQL log query."""

Threshold = Annotated[str | float, AfterValidator(_threshold)]
"""A limit as people write it: `< 60s`, `> 80%`."""

HttpUrl = Annotated[str, _without(lambda text: url_problem(text, ("http", "https")))]
"""An address over HTTP."""

RedisUrl = Annotated[str, _without(lambda text: url_problem(text, ("redis", "rediss", "unix")))]
"""A Redis server."""

Url = Annotated[str, _without(url_problem)]
"""Anything with a scheme: a database, a socket."""

Address = Annotated[str, _without(address_problem)]
"""`host:port`, or a URL."""
