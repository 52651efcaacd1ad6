"""`policy:` of treewalk.yaml as rules, with its windows looked up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from treewalk.content.yaml import Item
from treewalk.model.place import Place, Problem
from treewalk.model.policy import Allow, Bound, Costs, Limits, Maintenance, Policy, Repeats, Returns, TierRule
from treewalk.model.tree import nearest
from treewalk.model.window import Span, Window
from treewalk.settings import FreezeSettings, PolicySettings


def read_policy(
    settings: PolicySettings,
    windows: Mapping[str, Window],
    item: Item | None,
    problems: list[Problem],
    users: Iterable[tuple[str, str]] = (),
) -> Policy:
    """The rules of a workspace; a problem at its place for every window that does not exist.

    `users` may approve where the policy names nobody at all: people whom a channel (the first of each pair) knows by
    their ids. Through another channel, where a name can be claimed, they may not.
    """
    named = "approvers" in settings.approval.model_fields_set
    freeze = [_span(f, windows, _place(item, "freeze", n), problems) for n, f in enumerate(settings.freeze)]
    kept = [
        (m, _span(m, windows, _place(item, "maintenance", n), problems)) for n, m in enumerate(settings.maintenance)
    ]
    return Policy(
        tiers=tuple(TierRule(t.scope(), t.tier, t.after) for t in settings.tiers),
        forbid=tuple(s.scope() for s in settings.forbid),
        ask=tuple(s.scope() for s in settings.ask),
        freeze=tuple(f for f in freeze if f is not None),
        maintenance=tuple(Maintenance(w, tuple(m.nodes)) for m, w in kept if w is not None),
        limits=Limits(**settings.limits.model_dump()),
        repeats=Repeats(**settings.repeats.model_dump()),
        costs=Costs(**settings.cost.model_dump()),
        allow=Allow(tuple(settings.allow.endpoints), tuple(settings.allow.folders)),
        blast_radius=settings.blast_radius,
        rehearse=settings.rehearse,
        known=Bound(**settings.known.model_dump()),
        returns=Returns(**settings.returns.model_dump()),
        trust_after=settings.learning.trust_after,
        approval_expires=settings.approval.expires,
        approvers=tuple(settings.approval.approvers),
        users=() if named else tuple(users),
        after=settings.after,
        unmet=settings.unmet,
        read_only=settings.read_only,
    )


def _span(
    written: FreezeSettings, windows: Mapping[str, Window], place: Place, problems: list[Problem]
) -> Window | Span | None:
    if written.window is not None and (written.start is None and written.end is None):
        if written.window in windows:
            return windows[written.window]
        close = nearest(written.window, windows)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        problems.append(Problem(place, f"no window named {written.window!r}{hint}"))
        return None
    if written.window is not None or written.start is None or written.end is None:
        problems.append(Problem(place, "give either a window's name, or both `from` and `to`"))
        return None
    try:
        start, end = _moment(written.start), _moment(written.end)
    except ValueError as error:
        problems.append(Problem(place, f"not a time: {error}; write it like 2026-12-20T18:00"))
        return None
    if end <= start:
        problems.append(Problem(place, "`to` has to be later than `from`"))
        return None
    return Span(f"{written.start} to {written.end}", start, end)


def _moment(text: str) -> float:
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _place(item: Item | None, key: str, index: int) -> Place:
    try:
        assert item is not None
        return item.value["policy"].value[key].value[index].place  # type: ignore[no-any-return]
    except (AssertionError, KeyError, IndexError, TypeError, AttributeError):
        return item.place if item is not None else Place("treewalk.yaml", 1, 1)
