"""Channels against real servers on loopback: what apprise posts and mails, issues of GitHub and GitLab."""

import asyncio
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from treewalk.app import App
from treewalk.errors import SettingsError, SourceBusy, SourceError, SourceRejected, SourceUnreachable
from treewalk.integrations.apprise_channel import AppriseChannel, kind_of
from treewalk.integrations.github import Github
from treewalk.integrations.gitlab import Gitlab
from treewalk.integrations.issues import IssueChannel
from treewalk.messages.channels import channels_of
from treewalk.model.message import Message, Rendered
from treewalk.settings import GithubSettings, GitlabSettings

from tests.support.answers import free_port
from tests.support.messengers import postbox
from tests.support.smtp import mailbox
from tests.support.trackers import STRANGER, Tracker, tracker

RENDERED = Rendered("P1 orders is late", "a <b> text", "a *b* text", "a <i>b</i> text")


def message(number: int = 7, *slas: str, rendered: Rendered = RENDERED, **more: Any) -> Message:
    return Message(f"incident:{number}", "escalation", rendered, "P1", number, slas or ("orders",), **more)


def plainly(text: str) -> str:
    return text


async def test_apprise_posts_to_a_real_server() -> None:
    with postbox() as box:
        channel = AppriseChannel("ops", "${URL}", lambda text: box.url if text == "${URL}" else text)
        assert await channel.send(message()) == ""
        assert await channel.send(message(over=True, ending="resolved")) == ""
        assert [p["title"] for p in box.posts] == [RENDERED.title] * 2
        assert [p["type"] for p in box.posts] == ["failure", "success"]
        assert box.posts[0]["message"] == "a <b> text"


@pytest.mark.parametrize("ending", ["escalated", "refused", "not_resolved"])
def test_what_ended_with_a_human_needed_calls_one_as_loudly_as_it_is_grave(ending: str) -> None:
    assert kind_of(message(over=True, ending=ending)) == "failure"
    assert kind_of(replace(message(over=True, ending=ending), severity="P3")) == "warning"


def test_what_ended_well_is_a_success_and_what_asks_for_nobody_calls_nobody() -> None:
    assert {kind_of(message(over=True, ending=ending)) for ending in ("resolved", "no_fault_found")} == {"success"}
    assert {kind_of(message(over=True, ending=ending)) for ending in ("merged", "cancelled", None)} == {"info"}


async def test_apprise_mails_html_to_a_real_server() -> None:
    async with mailbox() as (port, mails):
        url = f"mailto://127.0.0.1:{port}?from=treewalk@example.com&to=ops@example.com"
        await AppriseChannel("mail", url, plainly).send(message())
        assert mails[0]["Subject"] == RENDERED.title
        body = mails[0].get_body(("html",))
        assert body is not None
        assert "a <i>b</i> text" in body.get_content()


async def test_why_a_delivery_failed_is_told_without_the_address(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with postbox() as box, caplog.at_level(logging.DEBUG):
        box.status = 500
        with pytest.raises(SourceError) as refused:
            await AppriseChannel("ops", box.url, plainly).send(message())
        assert "500" in str(refused.value)
        with pytest.raises(SourceError) as absent:
            await AppriseChannel("ops", f"json://user:very-secret-word@127.0.0.1:{free_port()}/deep/er", plainly).send(
                message()
            )
        for text in (str(refused.value), str(absent.value), *capfd.readouterr()):
            assert "very-secret-word" not in text
        assert not [r for r in caplog.records if r.name.startswith("apprise") and "secret" in r.getMessage()]


async def test_a_server_that_gives_no_answer_is_an_error() -> None:
    with postbox() as box:
        box.hang.clear()
        with pytest.raises(SourceUnreachable, match="error occurred"):
            await AppriseChannel("ops", box.url + "?rto=0.2&cto=0.2", plainly).send(message())


@pytest.mark.parametrize("url", ["slakc://token-of-mine", "", "http://", "\n://x"])
async def test_an_address_that_apprise_does_not_know_is_told_without_it(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        await AppriseChannel("ops", url, plainly).send(message())
    assert "token-of-mine" not in str(caught.value)
    assert "notify.channels.ops" in str(caught.value)


def issues(kind: str, kept: Tracker, token: str = "good-token", now: float | None = None) -> IssueChannel:
    if kind == "github":
        return IssueChannel(
            kind, Github(GithubSettings(repository="acme/shop", token=token, url=kept.url), plainly), now
        )
    return IssueChannel(kind, Gitlab(GitlabSettings(project="acme/shop", token=token, url=kept.url), plainly), now)


def body_of(issue: dict[str, Any]) -> str:
    return str(issue.get("body") or issue.get("description"))


KINDS = pytest.mark.parametrize("kind", ["github", "gitlab"])


@KINDS
async def test_an_escalation_is_one_issue_that_is_kept_up_to_date(kind: str) -> None:
    async with tracker(kind) as kept:
        channel = issues(kind, kept)
        id = await channel.send(message())
        assert kept.issues[int(id)]["title"] == RENDERED.title
        assert "a *b* text" in body_of(kept.issues[int(id)])
        newer = Rendered("P1 orders: escalated", "t", "newer text", "h")
        await channel.edit(id, message(rendered=newer))
        assert len(kept.issues) == 1
        assert "newer text" in body_of(kept.issues[int(id)])


@pytest.mark.parametrize(("kind", "tells_who"), [("github", True), ("gitlab", True), ("github", False)])
async def test_an_issue_of_a_stranger_that_poses_as_ours_keeps_nothing_from_being_filed(
    kind: str, tells_who: bool
) -> None:
    async with tracker(kind) as kept:
        kept.tells_who = tells_who
        body, author = "description" if kind == "gitlab" else "body", "author" if kind == "gitlab" else "user"
        first = await issues(kind, kept).send(message(7))
        copied, own = kept.issues[int(first)], body_of(kept.issues[int(first)])
        number = kept.number()
        key = "iid" if kind == "gitlab" else "number"
        posing = {**copied, key: number, body: own, author: STRANGER, "state": "closed"}
        kept.issues = {number: posing}
        second = await issues(kind, kept).send(message(7))
        assert (second == str(number), body_of(posing)) == (False, own)
        third = await issues(kind, kept).send(message(8))
        assert third.partition("/")[0] == second
        comment = kept.comments[int(third.partition("/")[2])]
        comment[author] = STRANGER
        fourth = await issues(kind, kept).send(message(8))
        assert fourth != third


@KINDS
async def test_a_crash_after_filing_does_not_file_it_again(kind: str) -> None:
    async with tracker(kind) as kept:
        kept.drop_next = True
        with pytest.raises(SourceUnreachable):
            await issues(kind, kept).send(message())
        id = await issues(kind, kept).send(message())
        assert list(kept.issues) == [int(id)]


@KINDS
async def test_what_comes_back_within_a_day_is_a_comment_once_and_opens_the_issue_again(kind: str) -> None:
    async with tracker(kind) as kept:
        first = await issues(kind, kept).send(message(7))
        kept.issues[int(first)]["state"] = "closed"
        kept.drop_next = True
        with pytest.raises(SourceUnreachable):
            await issues(kind, kept).send(message(8))
        second = await issues(kind, kept).send(message(8))
        assert second.startswith(f"{first}/")
        assert len(kept.issues) == len(kept.comments) == 1
        await issues(kind, kept).edit(second, message(8, rendered=Rendered("t", "t", "the end", "h")))
        assert "the end" in kept.of(int(first))[0]["body"]
        assert "the end" not in body_of(kept.issues[int(first)])
        await issues(kind, kept).send(message(9, "stock"))
        assert len(kept.issues) == 2


@KINDS
async def test_a_comment_at_an_issue_that_was_closed_opens_it(kind: str) -> None:
    async with tracker(kind) as kept:
        first = await issues(kind, kept).send(message(7))
        kept.issues[int(first)]["state"] = "closed"
        await issues(kind, kept).send(message(8))
        assert kept.issues[int(first)]["state"] in ("open", "opened")


@KINDS
async def test_what_comes_back_after_a_day_is_a_new_issue(kind: str) -> None:
    async with tracker(kind) as kept:
        first = await issues(kind, kept).send(message(7))
        kept.issues[int(first)]["created_at"] = "2020-01-01T00:00:00Z"
        await issues(kind, kept).send(message(8))
        assert len(kept.issues) == 2


@KINDS
async def test_it_is_found_among_many_issues(kind: str) -> None:
    async with tracker(kind) as kept:
        first = await issues(kind, kept).send(message(7))
        for _ in range(250):
            n = kept.number()
            key = "number" if kind == "github" else "iid"
            kept.issues[n] = {**kept.issues[int(first)], key: n, "body": None, "description": None}
        assert await issues(kind, kept).send(message(7)) == first


@KINDS
async def test_a_wrong_token_and_a_busy_server_are_told_apart(kind: str) -> None:
    async with tracker(kind) as kept:
        with pytest.raises(SourceRejected) as caught:
            await issues(kind, kept, token="wrong-token-abc").send(message())
        assert "wrong-token-abc" not in str(caught.value)
        kept.answers = [(429, {"Retry-After": "17"}), (503, {})]
        with pytest.raises(SourceBusy) as busy:
            await issues(kind, kept).send(message())
        assert busy.value.retry_after == 17.0
        with pytest.raises(SourceUnreachable):
            await issues(kind, kept).send(message())
        if kind == "github":
            kept.answers = [(403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"})]
            with pytest.raises(SourceBusy):
                await issues(kind, kept).send(message())


async def test_names_that_end_a_comment_cannot_forge_a_mark() -> None:
    async with tracker("github") as kept:
        await issues("github", kept).send(message(7, "x --> <!-- treewalk:sla=y"))
        assert body_of(kept.issues[1]).count("<!--") == 2


def test_a_workspace_has_the_channels_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "treewalk.yaml").write_text(
        "notify:\n  channels: {ops: {url: 'json://127.0.0.1:1/${WORD}'}}\n"
        "  github: {repository: acme/shop, token: '${WORD}'}\n  gitlab: {project: '7', token: '${WORD}'}\n"
    )
    app = App.open(tmp_path, environ={"WORD": "w"})
    assert {n: c.kinds is None for n, c in channels_of(app).items()} == {"github": False, "gitlab": False, "ops": True}
    with pytest.raises(SettingsError, match="WORD"):
        channels_of(App.open(tmp_path, environ={}))


async def test_one_that_hangs_leaves_the_threads_of_all_others_alone() -> None:
    with postbox() as box, postbox() as other:
        box.hang.clear()
        hanging = AppriseChannel("hanging", box.url + "?rto=20", plainly)
        stuck = [asyncio.create_task(hanging.send(message())) for _ in range(40)]
        await asyncio.sleep(0.1)
        await AppriseChannel("fine", other.url, plainly).send(message())
        assert await asyncio.to_thread(json.dumps, [1]) == "[1]"
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        box.hang.set()
        assert len(box.posts) <= 1
