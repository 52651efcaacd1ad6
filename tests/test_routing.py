"""Who is told, and when: pure rules."""

from datetime import UTC, datetime, time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from treewalk.model.message import SEVERITIES, Message, Rendered, Severity
from treewalk.model.routing import (
    Escalation,
    Notify,
    Quiet,
    Route,
    backoff,
    climbed,
    held,
    routed,
    unanswered_since,
)
from treewalk.model.schedule import LATE, due, parse_schedule
from treewalk.model.window import Window, parse_days

CHANNELS = ("telegram", "ops", "mail", "pager")
NAMES = st.sampled_from(CHANNELS)
GRAVE = st.sampled_from(SEVERITIES)
ROUTES = st.lists(
    st.builds(
        Route,
        to=st.lists(NAMES, min_size=1, max_size=3).map(tuple),
        severities=st.frozensets(GRAVE, max_size=3),
        slas=st.lists(st.sampled_from(["orders", "orders_*", "stock", "*"]), max_size=2).map(tuple),
        tags=st.dictionaries(st.sampled_from(["tier", "team"]), st.sampled_from(["1", "2"]), max_size=2),
    ),
    max_size=5,
)


def message(severity: Severity = "P3", *slas: str, **tags: str) -> Message:
    return Message("incident:1", "incident", Rendered("t", "t", "t", "t"), severity, 1, slas, tuple(tags.items()))


MESSAGES = st.builds(
    lambda grave, slas, tags: message(grave, *slas, **tags),
    GRAVE,
    st.lists(st.sampled_from(["orders", "orders_eu", "stock"]), min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(["tier", "team"]), st.sampled_from(["1", "2"])),
)


@given(MESSAGES, ROUTES, st.lists(NAMES, unique=True, min_size=1), st.lists(NAMES, unique=True, max_size=4))
def test_a_message_always_goes_somewhere_and_only_to_channels_that_there_are(
    told: Message, routes: list[Route], channels: list[str], chain: list[str]
) -> None:
    found = routed(told, Notify(tuple(routes), (), Escalation(tuple(chain))), channels)
    assert found
    assert set(found) <= set(channels)
    wanted = {name for route in routes if route.fits(told) for name in route.to} & set(channels)
    assert not wanted or set(found) == wanted


@given(MESSAGES, ROUTES, ROUTES)
def test_another_route_that_fits_only_ever_adds_channels(told: Message, some: list[Route], more: list[Route]) -> None:
    before = routed(told, Notify(tuple(some)), CHANNELS)
    after = routed(told, Notify((*some, *more)), CHANNELS)
    if any(route.fits(told) for route in some):
        assert set(before) <= set(after)


def test_routes_go_by_severity_by_name_and_by_tag() -> None:
    notify = Notify((Route(("ops",), frozenset({"P1", "P2"}), ("finance_*",), {"tier": "1"}),))
    assert routed(message("P1", "finance_eu", tier="1"), notify, CHANNELS) == ("ops",)
    for other in (
        message("P3", "finance_eu", tier="1"),
        message("P1", "orders", tier="1"),
        message("P1", "finance_eu", tier="2"),
    ):
        assert routed(other, notify, CHANNELS) == CHANNELS


def test_what_waits_in_the_chain_is_not_told_from_the_beginning() -> None:
    notify = Notify(escalation=Escalation(("telegram", "ops", "pager")))
    assert routed(message(), notify, CHANNELS) == ("telegram", "mail")
    assert routed(message(), notify, ("ops", "pager")) == ("ops", "pager")


NIGHT = Window("NIGHT", parse_days("daily"), time(22), time(6), "Europe/Berlin")
TIMES = st.floats(1_700_000_000, 1_900_000_000)


@given(GRAVE, TIMES, st.lists(st.frozensets(GRAVE), max_size=4))
def test_quiet_hours_hold_exactly_their_severities_while_they_last(
    grave: Severity, at: float, kinds: list[frozenset[Severity]]
) -> None:
    quiet = [Quiet(NIGHT, kind) for kind in kinds]
    expected = NIGHT.contains(at) and any(grave in kind for kind in kinds)
    assert (held(grave, at, quiet) is not None) == expected


SPANS = st.fixed_dictionaries({severity: st.floats(0, 1e6) for severity in SEVERITIES})


@given(GRAVE, TIMES, st.floats(0, 1e7), st.floats(0, 1e7), st.lists(NAMES, unique=True), SPANS)
def test_the_chain_is_climbed_in_order_and_never_down_while_nobody_answers(
    grave: Severity, since: float, one: float, other: float, chain: list[str], spans: Any
) -> None:
    escalation = Escalation(tuple(chain), spans)
    first, last = (climbed(grave, since, since + t, escalation) for t in sorted((one, other)))
    assert last[: len(first)] == first
    assert tuple(chain)[: len(last)] == last
    assert bool(first) == bool(chain)
    assert climbed(grave, None, since + one, escalation) == ()


def test_each_response_time_that_passes_is_one_channel_more() -> None:
    escalation = Escalation(("telegram", "ops", "pager"), {"P1": 300.0})
    reached = [len(climbed("P1", 0.0, at, escalation)) for at in (0, 299, 300, 599, 600, 9e9)]
    assert reached == [1, 1, 2, 2, 3, 3]
    assert climbed("P1", 0.0, 1.0, Escalation(("telegram", "ops"), {"P1": 5e-324})) == ("telegram", "ops")


def line(at: float, kind: str, **data: Any) -> dict[str, Any]:
    return {"at": at, "kind": kind, "data": data}


@pytest.mark.parametrize(
    ("timeline", "ending", "since"),
    [
        ([], None, None),
        ([line(1, "open"), line(2, "diagnosed")], None, None),
        ([line(1, "asking")], None, 1),
        ([line(1, "asking"), line(2, "asking")], None, 1),
        ([line(1, "asking"), line(2, "answer")], None, None),
        ([line(1, "asking"), line(2, "acknowledged")], None, None),
        ([line(1, "asking"), line(2, "answer"), line(3, "asking")], None, 3),
        ([line(1, "asking"), line(2, "closed")], "escalated", 1),
        ([line(1, "asking"), line(2, "answer"), line(3, "closed")], "escalated", 3),
        ([line(1, "asking"), line(2, "closed")], "resolved", None),
        ([line(1, "closed"), line(2, "acknowledged")], "escalated", None),
        ([line(1, "planned"), line(2, "closed")], "refused", 2),
        ([line(1, "asking"), line(2, "answer", granted=False), line(3, "closed")], "refused", None),
        ([line(1, "asking"), line(2, "answer", granted=True), line(3, "closed")], "refused", 3),
        ([line(1, "closed"), line(2, "acknowledged")], "refused", None),
        ([line(1, "waiting")], None, None),
        ([line(1, "waiting", held=True), line(2, "alert")], None, 1),
        ([line(1, "waiting", held=True), line(2, "acknowledged")], None, None),
        ([line(1, "acknowledged"), line(2, "waiting", held=True)], None, None),
        ([line(1, "acknowledged"), line(2, "asking"), line(3, "answer"), line(4, "waiting", held=True)], None, 4),
        ([line(1, "waiting", held=True), line(2, "goes on"), line(3, "waiting")], None, None),
        ([line(1, "waiting", held=True), line(2, "closed")], "resolved", None),
        ([line(1, "waiting", held=True), line(2, "closed")], "escalated", 1),
    ],
)
def test_an_incident_waits_from_when_it_needs_a_human_until_somebody_answers(
    timeline: list[Any], ending: str | None, since: float | None
) -> None:
    assert unanswered_since(timeline, ending) == since


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_waits_grow_to_a_bound_and_are_never_nothing(attempt: int, dice: float) -> None:
    wait = backoff(attempt, dice)
    assert 2.5 <= wait <= 600
    assert backoff(attempt + 1, dice) >= wait


ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"])


@given(st.sampled_from([("daily", "08:00"), ("weekly", "mon 08:00"), ("daily", "02:30")]), ZONES, TIMES)
def test_a_digest_is_due_for_a_while_after_its_time_under_one_key(kind: Any, zone: str, now: float) -> None:
    schedule = parse_schedule(kind[1], kind[0], zone)
    found = due(schedule, now)
    if found is not None:
        assert found.at <= now < found.at + LATE
        assert found.end == found.at > found.start
        assert due(schedule, found.at) == found


def test_a_digest_is_named_by_its_own_day() -> None:
    at = datetime(2026, 11, 21, 7, 30, tzinfo=UTC).timestamp()
    found = due(parse_schedule("08:00", "daily", "Europe/Berlin"), at)
    assert found is not None
    assert found.key == "daily:2026-11-21"
    assert due(parse_schedule("08:00", "daily", "UTC"), at) is None
    assert due(parse_schedule("mon 08:00", "weekly", "UTC"), at) is None
    monday = datetime(2026, 11, 23, 8, 0, tzinfo=UTC).timestamp()
    weekly = due(parse_schedule("mon 08:00", "weekly", "UTC"), monday)
    assert weekly is not None
    assert (weekly.key, weekly.end - weekly.start) == ("weekly:2026-11-23", 7 * 86400)
