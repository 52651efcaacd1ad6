"""The digest of a day and the summary of a week: what they say, and that names in them stay text."""

from __future__ import annotations

import asyncio
import json
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from treewalk.cli.run import run
from treewalk.errors import StoreError
from treewalk.messages.telling import digest_message
from treewalk.model.period import Case, ModelUse, PeriodFacts, Question, Rows, TriedFix, period
from treewalk.model.schedule import Due
from treewalk.pipeline import live
from treewalk.reporting.digests import bounds, daily, day_of, document, headline, sparkline, weekly
from treewalk.reporting.wording import span
from treewalk.store.casebook import Casebook
from treewalk.store.database import SqliteDatabase
from treewalk.store.periods import Periods

from tests.support.acting import Plainly, Scene

DAY = date(2026, 11, 18)  # a Wednesday
ZONE = "Europe/Berlin"
START, END = bounds("daily", DAY, ZONE)
HOSTILE = (
    "<script>x</script>",
    "[x](javascript:y)",
    "|a|b|",
    "`x`",
    "**b**",
    "@all",
    "a\nb",
    "\x1b[31m",
    "{{ 7*7 }}",
    "</td>",
)


def facts_of(name: str = "fresh", now: float = END) -> PeriodFacts:
    done = Case(
        number=1, sla=name, opened=START + 3600, closed=START + 4500, status="violated", state="closed",
        ending="resolved", severity="P1", root_node=name, known_error=name, diagnosed=True, began=START + 3000,
        onset=START + 3300,
    )  # fmt: skip
    given_up = Case(2, "lag", START + 7200, START + 7800, "violated", "closed", "escalated", "P2", "n", diagnosed=True)
    living = Case(3, name, END - 1800, None, "unknown", "asking")
    return period(
        Rows(
            cases=(living, given_up, done),
            decisions={("ask", "ask"): 1, ("full", "proceed"): 3},
            actions={("mend", "done"): 2},
            questions=(Question(START + 1, START + 99, True, START + 50), Question(START + 200, START + 300)),
            fixes=(TriedFix(1, name, name, name, "returned"), TriedFix(2, "lag", "n", "ke", "won")),
            alerts={name: 7},
            came=9,
            unmapped=2,
        ),
        START,
        END,
        now,
    )


def test_a_digest_says_it_all_in_its_first_line_then_each_thing_in_one() -> None:
    told = daily(facts_of(), DAY, ZONE)
    assert told.title == "Daily digest 2026-11-18: 3 incidents, 2 ended, 1 open, SLAs lost at least 30m in all"
    lines = told.text.split("\n")
    assert lines[0] == told.title
    assert lines[1] == "2026-11-17 23:00:00Z to 2026-11-18 23:00:00Z"
    assert "Incidents by the hour: ·██····················█" in told.text
    for said in (
        "Incidents: 3 began (1 P1, 1 P2, 1 ungraded); 2 ended (1 escalated, 1 resolved); 1 open",
        "Time to detect: median 10m, 9 of 10 within 10m (1 incident; 2 not known)",
        "Time to resolve: median 15m, 9 of 10 within 15m (1 incident; 1 ended otherwise)",
        "Known errors: 1 of 2 diagnosed incidents were known (50 %)",
        "Alerts: 9 came in, 2 of no SLA",
        "Policy: ask: 1 ask; full: 3 proceed",
        "Actions: mend: 2 done",
        "Questions: 2 asked (1 approved, 1 expired)",
        "Fixes: 2 tried (1 returned, 1 won)",
        "Language model: no model was asked (0 tokens, cost 0)",
        "  fresh  at least 20m  1.39 %; 1 incident not measured",
        "  lag    at least 10m  0.694 %",
        "  fresh  2          7",
        "  fresh  fresh  fresh  no. 1",
        "  fresh  no. 3     ungraded  asking  unknown  2026-11-18 22:30:00Z",
    ):
        assert said in lines, said


def test_a_week_shows_its_days() -> None:
    start, end = bounds("weekly", DAY, ZONE)
    cases = [Case(k, "a", start + k * 86400 + 60) for k in (1, 1, 3)]
    told = weekly(period(Rows(tuple(cases)), start, end, end), DAY, ZONE)
    assert told.title.startswith("Weekly summary 2026-W47: 3 incidents, 0 ended, 3 open")
    assert "Incidents by the day: ·█·▄···" in told.text
    assert [line for line in told.text.split("\n") if "█ " in line] == ["  Tue 17  ██ 2", "  Thu 19  █ 1"]


def test_a_quiet_period_is_said_to_be_quiet_and_one_that_lasts_to_last() -> None:
    told = daily(period(Rows(), START, END, START + 60), DAY, ZONE)
    assert told.title == "Daily digest 2026-11-18: no incident"
    assert "(it lasts still)" in told.text
    assert "SLA" not in told.text.replace("of no SLA", "")


def test_what_was_not_measured_is_unknown_and_no_zero() -> None:
    found = period(Rows((Case(1, "a", START + 5, START + 9, "unknown", "closed", "escalated"),)), START, END, END)
    assert "what SLAs lost is unknown" in headline("daily", found, DAY)
    assert "  a    unknown  1 incident not measured" in daily(found, DAY).text
    many = period(Rows(left_out=4), START, END, END)
    assert all(
        "Not counted" in form for form in (daily(many, DAY).text, daily(many, DAY).markdown, daily(many, DAY).html)
    )


def test_a_model_that_was_asked_is_counted() -> None:
    found = period(Rows(model=ModelUse(2, 100, 7, 0.25)), START, END, END)
    assert "Language model: asked 2 times: 100 tokens in, 7 out, cost 0.25" in daily(found, DAY).text


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, int]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, len(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def shape_of(html: str) -> list[tuple[str, int]]:
    parser = Tags()
    parser.feed(html)
    return parser.found


def structure_of(markdown: str) -> list[str]:
    found: list[str] = []
    for token in MarkdownIt("js-default", {"html": True}).parse(markdown):
        found += [token.type, *(t.type for t in token.children or [] if not t.type.startswith("text"))]
    return found


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.sampled_from(HOSTILE), st.text(min_size=1, max_size=60)))
def test_names_stay_text_in_every_form(name: str) -> None:
    name = f"n{name}n"
    plain, told = daily(facts_of("nn"), DAY, ZONE), daily(facts_of(name), DAY, ZONE)
    assert shape_of(told.html) == shape_of(plain.html)
    assert structure_of(told.markdown) == structure_of(plain.markdown)
    assert len(told.text.split("\n")) == len(plain.text.split("\n"))
    assert all(c.isprintable() or c == "\n" for c in told.text)
    assert told.title.isprintable()


def test_data_has_its_schema_and_every_number() -> None:
    found = json.loads(json.dumps(document("daily", facts_of(), DAY, ZONE), allow_nan=False))
    assert (found["schema"], found["kind"], found["name"]) == ("treewalk/period/1", "daily", "2026-11-18")
    assert found["seconds_lost"] == 1800
    assert found["detect"] == {"known": 1, "unknown": 2, "median": 600, "p90": 600}
    assert found["slas"][0] == {"sla": "fresh", "seconds": 1200, "at_least": True, "unknown": 1}
    assert len(found["incidents"]["by_part"]) == 24
    assert [case["number"] for case in found["incidents"]["living"]] == [3]


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (DAY, 24)])
def test_a_day_is_as_long_as_its_clocks_make_it(day: date, hours: int) -> None:
    start, end = bounds("daily", day, ZONE)
    assert end - start == hours * 3600
    assert len(document("daily", period(Rows(), start, end, end), day, ZONE)["incidents"]["by_part"]) == hours
    assert day_of(start, end, ZONE) == day
    week = bounds("weekly", day, ZONE)
    assert len(document("weekly", period(Rows(), *week, week[1]), day, ZONE)["incidents"]["by_part"]) == 7


@given(st.lists(st.integers(0, 1000), max_size=40))
def test_small_bars_keep_the_order_of_the_numbers(numbers: list[int]) -> None:
    bars = sparkline(numbers)
    assert len(bars) == len(numbers)
    order = "·▁▂▃▄▅▆▇█"
    for a, x in zip(numbers, bars, strict=True):
        assert (x == "·") == (a == 0)
        assert all(order.index(x) <= order.index(y) for b, y in zip(numbers, bars, strict=True) if a <= b)


def test_what_the_courier_sends_is_the_digest_of_the_time_up_to_then(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "memory.db")
    Casebook(database).open("fresh", "x", START + 9 * 3600)
    due = Due("daily:2026-11-19", "daily", END + 8 * 3600, START + 8 * 3600, END + 8 * 3600)
    message = digest_message(database, due, ZONE)
    assert (message.key, message.kind, message.over, message.severity) == ("daily:2026-11-19", "daily", True, "P4")
    assert message.rendered.title.startswith("Daily digest 2026-11-18: 1 incident")
    database.close()


async def test_a_life_as_it_is_written_down_is_told_whole(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    begun = scene.clock.now()
    number = scene.cases.open(scene.sla, "x", begun)
    assert await asyncio.wait_for(live(number, scene.desk(), Plainly()), 20) == "resolved"
    took, now = scene.clock.now() - begun, scene.clock.now() + 1
    facts = Periods(scene.database).period(begun - 60, now, now)
    told = daily(facts, DAY).text.split("\n")
    assert f"SLAs lost {span(took + 30)} in all" in told[0]  # its series says when it began
    for said in (
        "Time to detect: median 30s, 9 of 10 within 30s (1 incident)",
        f"Time to resolve: median {span(took)}, 9 of 10 within {span(took)} (1 incident)",
        "Known errors: 1 of 1 diagnosed incidents were known (100 %)",
        "Policy: full: 1 proceed",
        "Actions: mend: 1 done",
        "Fixes: 1 tried (1 won)",
    ):
        assert said in told, said


def test_a_digest_that_cannot_be_made_says_so_and_a_store_that_is_down_is_tried_again(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "memory.db")
    due = Due("weekly:2026-11-23", "weekly", END, END, START)
    assert (
        "could not be made (ValueError)" in digest_message(database, due, ZONE).rendered.title
    )  # it ends before it starts
    database.close()
    (tmp_path / "broken").write_text("not a database, and long enough to be seen as none" * 99)
    with pytest.raises(StoreError):
        digest_message(SqliteDatabase(tmp_path / "broken"), due, ZONE)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "treewalk.yaml").write_text("notify: {timezone: Europe/Berlin}\n")
    (tmp_path / "trees").mkdir()
    database = SqliteDatabase(tmp_path / ".treewalk" / "memory.db")
    Casebook(database).open("fresh", "x", bounds("daily", date(2020, 11, 18), ZONE)[0])  # midnight there, not in UTC
    database.close()
    monkeypatch.delenv("TREEWALK_WORKSPACE", raising=False)
    return tmp_path


def test_the_commands_tell_a_day_and_a_week_in_four_forms(workspace: Path, capsys: Any) -> None:
    def said(*arguments: str) -> str:
        assert run(["--workspace", str(workspace), "report", *arguments]) == 0
        return str(capsys.readouterr().out)

    assert said("daily", "--date", "2020-11-17").startswith("Daily digest 2020-11-17: no incident")
    assert said("daily", "--date", "2020-11-18").startswith("Daily digest 2020-11-18: 1 incident, 0 ended, 1 open")
    assert said("weekly", "--date", "2020-11-18", "--format", "markdown").startswith(
        "**Weekly summary 2020-W47: 1 incident,"
    )
    assert said("daily", "--format", "html").startswith("<!doctype html>")
    assert json.loads(said("weekly", "--format", "json"))["kind"] == "weekly"


@pytest.mark.parametrize("wrong", ["soon", "2026-13-01", "0001-01-02", "9999-12-31"])
def test_a_day_that_is_none_is_said_to_be_none(workspace: Path, capsys: Any, wrong: str) -> None:
    assert run(["--workspace", str(workspace), "report", "daily", "--date", wrong]) == 2
    assert wrong in capsys.readouterr().err
