"""`notify:` of treewalk.yaml as rules, with its windows and channels looked up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from treewalk.content.yaml import Item
from treewalk.model.message import SEVERITIES
from treewalk.model.place import Place, Problem
from treewalk.model.routing import Escalation, Notify, Quiet, Route, severities
from treewalk.model.schedule import Schedule, parse_schedule
from treewalk.model.tree import nearest
from treewalk.model.window import Window
from treewalk.settings import NotifySettings

BUILT_IN = ("telegram", "github", "gitlab")


def channel_names(settings: NotifySettings) -> tuple[str, ...]:
    """Every channel that is configured, the built-in ones first."""
    given = {name: getattr(settings, name) for name in BUILT_IN}
    return (*(name for name, one in given.items() if one is not None), *settings.channels)


def read_notify(
    settings: NotifySettings, windows: Mapping[str, Window], item: Item | None, problems: list[Problem]
) -> Notify:
    """The rules of a workspace; a problem at its place for every channel or window that does not exist."""
    known = channel_names(settings)
    for name in settings.channels:
        if name in BUILT_IN:
            place = _place(item, "channels", name)
            problems.append(Problem(place, f"a channel cannot be called {name!r}: that name is taken by notify.{name}"))
    for index, route in enumerate(settings.routes):
        _need(route.to, known, lambda n, i=index: _place(item, "routes", i, "to", n), problems)
    chain = settings.escalation.chain
    _need(chain, known, lambda n: _place(item, "escalation", "chain", n), problems)
    quiet = []
    for index, hours in enumerate(settings.quiet):
        if hours.window in windows:
            quiet.append(Quiet(windows[hours.window], severities(hours.severity)))
            continue
        place = _place(item, "quiet", index, "window")
        problems.append(Problem(place, f"no window named {hours.window!r}{_hint(hours.window, windows)}"))
    return Notify(
        routes=tuple(Route(tuple(r.to), frozenset(r.severity), tuple(r.slas), dict(r.tags)) for r in settings.routes),
        quiet=tuple(quiet),
        escalation=Escalation(
            tuple(dict.fromkeys(chain)), {s: getattr(settings.escalation.respond, s) for s in SEVERITIES}
        ),
    )


def channel_place(item: Item | None, name: str) -> Place:
    """Where a channel of `notify.channels` stands."""
    return _place(item, "channels", name, "url")


def read_digests(settings: NotifySettings, item: Item | None, problems: list[Problem]) -> tuple[Schedule, ...]:
    """When digests are sent."""
    kinds: tuple[Literal["daily", "weekly"], ...] = ("daily", "weekly")
    found = []
    for kind in kinds:
        written = getattr(settings, kind)
        if written is None:
            continue
        try:
            found.append(parse_schedule(written, kind, settings.timezone))
        except ValueError as error:
            problems.append(Problem(_place(item, kind), f"{kind}: {error}"))
    return tuple(found)


def _need(names: Iterable[str], known: tuple[str, ...], place: Any, problems: list[Problem]) -> None:
    for index, name in enumerate(names):
        if name not in known:
            hint = _hint(name, known) or (f"; there is {', '.join(known)}" if known else "; none is configured")
            problems.append(Problem(place(index), f"no channel named {name!r}{hint}"))


def _hint(name: str, known: Iterable[str]) -> str:
    close = nearest(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _place(item: Item | None, *path: str | int) -> Place:
    """Where something under `notify` stands, as near as it can be found."""
    if item is None:
        return Place("treewalk.yaml", 1, 1)
    for part in ("notify", *path):
        try:
            item = item.value[part]
        except (KeyError, IndexError, TypeError):
            break
    return item.place
