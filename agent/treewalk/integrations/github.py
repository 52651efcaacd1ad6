"""Issues of a GitHub repository, through its REST API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from treewalk.errors import SourceBadAnswer, SourceRejected
from treewalk.integrations.issues import Issue, iso, when
from treewalk.integrations.rest import Rest
from treewalk.settings import GithubSettings

_PAGES = 10


class Github:
    """A Tracker (integrations/issues.py)."""

    def __init__(self, settings: GithubSettings, resolve: Callable[[str], str], timeout: float = 10.0) -> None:
        """Raises SettingsError for a token that is missing."""
        headers = {
            "Authorization": f"Bearer {resolve(settings.token)}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
            "User-Agent": "treewalk",
        }
        self._rest = Rest("github", settings.url, headers, timeout)
        self._issues = f"/repos/{settings.repository}/issues"
        self._labels = settings.labels
        self._name: str | None = None

    async def recent(self, since: float) -> Sequence[Issue]:
        # Not by label: GitHub drops labels without a word where the token may not set them.
        params = {"state": "all", "since": iso(since), "sort": "created"}
        rows = await self._pages(self._issues, params)
        me = await self._me()
        return [_issue(row) for row in rows if "pull_request" not in row and _by(row, me)]

    async def create(self, title: str, body: str) -> str:
        data = {"title": title, "body": body, "labels": self._labels}
        return _number(await self._rest.ask("POST", self._issues, body=data), "number")

    async def update(self, issue: str, title: str, body: str) -> None:
        await self._rest.ask("PATCH", f"{self._issues}/{issue}", body={"title": title, "body": body})

    async def reopen(self, issue: str) -> None:
        await self._rest.ask("PATCH", f"{self._issues}/{issue}", body={"state": "open"})

    async def comments(self, issue: str) -> Sequence[Issue]:
        rows, me = await self._pages(f"{self._issues}/{issue}/comments", {}), await self._me()
        return [_comment(row) for row in rows if _by(row, me)]

    async def comment(self, issue: str, body: str) -> str:
        return _number(await self._rest.ask("POST", f"{self._issues}/{issue}/comments", body={"body": body}), "id")

    async def update_comment(self, issue: str, comment: str, body: str) -> None:
        await self._rest.ask("PATCH", f"{self._issues}/comments/{comment}", body={"body": body})

    async def _me(self) -> str:
        """Whose token it is; nothing for that of an app, which may not ask."""
        if self._name is None:
            try:
                found = await self._rest.ask("GET", "/user")
                self._name = str(found.get("login") or "") if isinstance(found, dict) else ""
            except SourceRejected:
                self._name = ""
        return self._name

    async def _pages(self, path: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """All of a list, page by page, up to a bound."""
        found: list[dict[str, Any]] = []
        for page in range(1, _PAGES + 1):
            rows = await self._rest.ask("GET", path, params={**params, "per_page": 100, "page": page})
            if not isinstance(rows, list):
                raise SourceBadAnswer("github answered something that is not a list")
            found += rows
            if len(rows) < 100:
                break
        return found


def _by(row: Mapping[str, Any], me: str) -> bool:
    """Whether it was written with this token. Strangers can copy the marks, and what is told there nobody may see."""
    author = row.get("user") or {}
    return bool(author.get("login") == me if me else author.get("type") == "Bot")


def _issue(row: Mapping[str, Any]) -> Issue:
    return Issue(_number(row, "number"), row.get("body") or "", when(row["created_at"]), row.get("state") == "open")


def _comment(row: Mapping[str, Any]) -> Issue:
    return Issue(_number(row, "id"), row.get("body") or "", when(row["created_at"]))


def _number(row: Any, name: str) -> str:
    if not isinstance(row, dict) or not isinstance(row.get(name), int):
        raise SourceBadAnswer(f"github answered without a {name}")
    return str(row[name])
