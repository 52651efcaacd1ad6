"""A watch that cannot see tells people so: once, in place, and again when it is over."""

import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from treewalk.messages.courier import Courier
from treewalk.server.blindness import Blindness
from treewalk.server.watching import remembered
from treewalk.stages.blindness import Blind, Notice, develop, document, notices_of
from treewalk.stages.watch import Row
from treewalk.store.pruning import Pruner

from tests.crash.target import running_target, write_workspace
from tests.support.messengers import Memo, postbox
from tests.support.serving import serving
from tests.test_courier import NOON, Office, settled
from tests.test_serve import until, with_server
from tests.test_watch import sla

SETTLE = 30.0


def names(notices: tuple[Notice, ...]) -> list[list[str]]:
    return [sorted(one.slas) for one in notices]


def test_what_goes_blind_together_is_one_notice_and_what_comes_later_another() -> None:
    blind = {"a": Blind(0.0, "down")}
    first = develop((), blind, (), 600.0, SETTLE)
    second = develop(first, {**blind, "b": Blind(10.0, "down")}, (), 610.0, SETTLE)
    assert (names(second), second[0].ripe) == ([["a", "b"]], False)
    ripe = develop(second, {**blind, "b": Blind(10.0, "down")}, (), 630.0, SETTLE)
    assert ripe[0].ripe
    later = develop(ripe, {**blind, "b": Blind(10.0, "down"), "c": Blind(9e3, "gone")}, (), 9600.0, SETTLE)
    assert names(later) == [["a", "b"], ["c"]]


def test_what_is_over_says_what_was_measured_and_what_is_watched_no_more() -> None:
    standing = (Notice(600.0, {"a": Blind(0.0, "down"), "b": Blind(0.0, "down")}, True),)
    half = develop(standing, {"b": Blind(0.0, "down")}, ["a"], 700.0, SETTLE)
    assert half[0].slas["a"] == Blind(0.0, "down", 700.0, True)
    assert not half[0].over
    whole = develop(half, {}, ["a"], 800.0, SETTLE)
    assert whole[0].over
    assert whole[0].slas["b"] == Blind(0.0, "down", 800.0, False)
    assert develop(whole, {}, ["a"], 900.0, SETTLE) == ()


def test_what_was_over_before_it_was_told_is_not_told() -> None:
    first = develop((), {"a": Blind(0.0, "down")}, (), 600.0, SETTLE)
    assert develop(first, {}, ["a"], 700.0, SETTLE) == ()


def test_notices_come_back_from_their_data_as_they_were() -> None:
    notices = (Notice(600.0, {"a": Blind(0.0, "down", 5.0, True), "b": Blind(1.0, "x")}, True),)
    assert notices_of(document(notices)) == notices


def test_a_restart_goes_on_with_what_was_blind() -> None:
    rows = remembered([sla("a"), sla("b")], {"a": 3.0}, 700.0, {"a": Blind(50.0, "down")})
    assert rows == {"a": Row(since=3.0, blind=50.0, told_blind=True, why="down")}


@pytest.fixture
def office(tmp_path: Path) -> Any:
    found = Office(tmp_path)
    yield found
    found.database.close()


class Eyes:
    """What a watch sees."""

    def __init__(self) -> None:
        self.blind: dict[str, Blind] = {}
        self.measured: list[str] = []

    def __call__(self) -> tuple[Mapping[str, Blind], list[str]]:
        return dict(self.blind), list(self.measured)


def courier(office: Office, eyes: Eyes, *memos: Memo) -> Courier:
    return office.courier(*memos, notices=Blindness(office.outbox, eyes, lambda: SETTLE))


async def test_it_is_one_message_edited_in_place_and_two_where_nothing_can_be_edited(office: Office) -> None:
    memo, mail, eyes = Memo(), Memo("mail", edits=False), Eyes()
    one = courier(office, eyes, memo, mail)
    await settled(one)
    eyes.blind = {"orders": Blind(NOON - 600, "Prometheus: connection refused, token=abcdef0123456789abcdef")}
    await settled(one)
    assert memo.sent == []
    office.clock.at += 10
    eyes.blind["stock"] = Blind(NOON - 590, "connection refused")
    await settled(one)
    office.clock.at += 21
    for _ in range(100):  # polls
        await settled(one)
        office.clock.at += 30
    assert memo.shown == mail.shown == ["treewalk: these SLAs cannot be measured: orders, stock"]
    text = memo.sent[0].rendered.text
    assert "orders: since 2026-11-21 11:50:00Z: Prometheus: connection refused" in text
    assert "abcdef0123456789" not in text
    assert (memo.sent[0].kind, memo.sent[0].over) == ("notice", False)
    del eyes.blind["stock"]
    eyes.measured = ["stock"]
    await settled(one)
    assert memo.edited[-1][1].rendered.title == "treewalk: these SLAs cannot be measured: orders"
    office.clock.at += 5
    eyes.blind, eyes.measured = {}, ["stock", "orders"]
    await settled(one)
    assert (len(memo.sent), len(memo.edited), len(mail.sent)) == (1, 2, 2)
    for last in (memo.edited[-1][1], mail.sent[-1]):
        assert last.rendered.title == "treewalk: these SLAs can be measured again: orders, stock"
        assert (last.over, last.ending) == (True, "resolved")
    office.clock.at += 900
    await settled(one)
    assert (len(memo.sent), len(memo.edited), len(mail.sent)) == (1, 2, 2)


async def test_a_restart_tells_it_neither_again_nor_leaves_it_standing(office: Office) -> None:
    memo, eyes = Memo(), Eyes()
    eyes.blind = {"orders": Blind(NOON - 600, "down")}
    one = courier(office, eyes, memo)
    for _ in range(3):
        await settled(one)
        office.clock.at += 20
    assert len(memo.sent) == 1
    office.clock.at += 200
    restarted = Blindness(office.outbox, eyes, lambda: SETTLE)
    assert restarted.standing() == {"orders": Blind(NOON - 600, "down")}
    again = office.courier(memo, notices=restarted)
    await settled(again)
    assert (len(memo.sent), memo.edited) == (1, [])
    eyes.blind, eyes.measured = {}, ["orders"]
    await settled(again)
    assert [m.over for _, m in memo.edited] == [True]
    assert restarted.standing() == {}


async def test_of_two_servers_on_one_memory_one_tells(office: Office) -> None:
    memo, blind, sees = Memo(), Eyes(), Eyes()
    blind.blind, sees.measured = {"orders": Blind(NOON - 600, "down")}, ["orders"]
    one, other = courier(office, blind, memo), courier(office, sees, memo)
    for _ in range(20):
        await settled(one)
        await settled(other)
        office.clock.at += 15
    assert (len(memo.sent), memo.edited) == (1, [])
    office.clock.at += 60  # the first is gone
    await settled(other)
    assert [m.over for _, m in memo.edited] == [True]


async def test_what_stands_is_not_removed_because_it_is_old(office: Office) -> None:
    eyes = Eyes()
    eyes.blind = {"orders": Blind(NOON - 600, "down")}
    one = courier(office, eyes)
    await settled(one)
    Pruner(office.database, 100.0).some(office.clock.now() + 1000)
    assert office.outbox.kept("watch") is not None
    assert office.outbox.rows(9) == []


def test_a_server_whose_prometheus_is_gone_tells_people_and_tells_them_when_it_is_back(tmp_path: Path) -> None:
    with postbox() as box, running_target() as target:
        workspace = with_server(write_workspace(tmp_path / "w", "http://127.0.0.1:9", ["one"]))
        path = workspace / "treewalk.yaml"
        path.write_text(path.read_text().replace("walk: {", "walk: {check_timeout: 500ms, "))
        with_server(workspace, "watch: {interval: 100ms, silent: 500ms}\n")
        with_server(workspace, f"notify: {{channels: {{ops: {{url: '{box.url}'}}}}}}\n")
        with serving(workspace, environ={"TREEWALK_TOKEN": "s3cret-token"}) as served:
            until(lambda: box.posts, "the notice")
            time.sleep(1.0)
            assert box.titles == ["treewalk: these SLAs cannot be measured: fresh_one"]
            assert box.posts[0]["type"] == "failure"
            path.write_text(path.read_text().replace("http://127.0.0.1:9", target.url))
            served.process.send_signal(signal.SIGHUP)
            until(lambda: any("measured again" in title for title in box.titles), "its end")
            end = next(post for post in box.posts if "measured again" in post["title"])
            assert end["type"] == "success"
            assert served.stop() == 0
