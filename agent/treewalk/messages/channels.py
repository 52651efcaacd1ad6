"""The channels of a workspace, and the courier that serves them, wired together from its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from treewalk.errors import SettingsError
from treewalk.messages.courier import Channel, Courier, Notices
from treewalk.messages.telling import Teller, digest_message, told_by
from treewalk.settings import NotifySettings
from treewalk.store.outbox import Outbox
from treewalk.store.stories import Stories

if TYPE_CHECKING:
    from treewalk.app import App
    from treewalk.operations.incidents import Operations

Noticing = Callable[[float], Notices | None]


def channels_of(app: App) -> dict[str, Channel]:
    """Every channel that is configured, by name; nothing is contacted yet. Raises SettingsError."""
    settings, found = app.workspace.settings.notify, dict[str, Channel]()
    if settings.telegram is not None:
        from treewalk.integrations.telegram import TelegramChannel

        found["telegram"] = Channel(TelegramChannel(settings.telegram, app.resolve))
    if settings.github is not None:
        from treewalk.integrations.github import Github
        from treewalk.integrations.issues import IssueChannel

        tracker = Github(settings.github, app.resolve, settings.timeout)
        found["github"] = Channel(IssueChannel("github", tracker), frozenset({"escalation"}))
    if settings.gitlab is not None:
        from treewalk.integrations.gitlab import Gitlab
        from treewalk.integrations.issues import IssueChannel

        labs = Gitlab(settings.gitlab, app.resolve, settings.timeout)
        found["gitlab"] = Channel(IssueChannel("gitlab", labs), frozenset({"escalation"}))
    if settings.channels:
        from treewalk.integrations.apprise_channel import AppriseChannel

        for name, one in settings.channels.items():
            found[name] = Channel(AppriseChannel(name, one.url, app.resolve))
    return found


def check_channels(app: App) -> None:
    """Whether every channel can be spoken to, as far as its settings tell. Raises SettingsError."""
    for one in channels_of(app).values():
        check = getattr(one.notifier, "check", None)
        if check is not None:
            check()


def misread(settings: NotifySettings, resolve: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Channels whose address apprise does not understand, and that in words; those are left out whose secret is not
    here: whoever validates files need not know what the server knows."""
    for name, one in settings.channels.items():
        from treewalk.integrations.apprise_channel import AppriseChannel

        try:
            channel = AppriseChannel(name, one.url, resolve)
        except SettingsError:
            continue
        try:
            channel.check()
        except SettingsError as error:
            yield name, str(error)


def courier_of(operations: Operations, say: Callable[[str], None], notices: Noticing = lambda at: None) -> Courier:
    """The courier of a workspace; `notices` has what else there is to tell. Raises SettingsError, StoreError."""
    app = operations.app
    workspace, database = app.workspace, app.database
    settings = workspace.settings.notify
    render = told_by(Stories(database, workspace.forest.tree))
    teller = Teller(database, workspace.forest, workspace.triage, operations.blast, settings.timezone, render)
    return Courier(
        outbox=Outbox(database),
        cases=operations.cases,
        teller=teller,
        notify=workspace.notify,
        channels=channels_of(app),
        clock=app.clock,
        digests=workspace.digests,
        digest=lambda due: digest_message(database, due, settings.timezone),
        notices=notices,
        timeout=settings.timeout,
        tries=settings.tries,
        keep_trying=settings.keep_trying,
        say=say,
    )
