"""Issues of a GitLab project, through its REST API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from treewalk.errors import SourceBadAnswer
from treewalk.integrations.issues import Issue, iso, when
from treewalk.integrations.rest import Rest
from treewalk.settings import GitlabSettings

_PAGES = 10


class Gitlab:
    """A Tracker (integrations/issues.py). Comments are called notes there."""

    def __init__(self, settings: GitlabSettings, resolve: Callable[[str], str], timeout: float = 10.0) -> None:
        """Raises SettingsError for a token that is missing."""
        headers = {"PRIVATE-TOKEN": resolve(settings.token), "User-Agent": "treewalk"}
        self._rest = Rest("gitlab", settings.url, headers, timeout)
        self._issues = f"/api/v4/projects/{quote(settings.project, safe='')}/issues"
        self._labels = ",".join(settings.labels)
        self._name: str | None = None

    async def recent(self, since: float) -> Sequence[Issue]:
        params = {"scope": "all", "updated_after": iso(since), "order_by": "created_at"}
        rows, me = await self._pages(self._issues, params), await self._me()
        return [_issue(row) for row in rows if _by(row, me)]

    async def create(self, title: str, body: str) -> str:
        data = {"title": title, "description": body, "labels": self._labels}
        return _number(await self._rest.ask("POST", self._issues, body=data), "iid")

    async def update(self, issue: str, title: str, body: str) -> None:
        await self._rest.ask("PUT", f"{self._issues}/{issue}", body={"title": title, "description": body})

    async def reopen(self, issue: str) -> None:
        await self._rest.ask("PUT", f"{self._issues}/{issue}", body={"state_event": "reopen"})

    async def comments(self, issue: str) -> Sequence[Issue]:
        rows, me = await self._pages(f"{self._issues}/{issue}/notes", {}), await self._me()
        return [_note(row) for row in rows if _by(row, me)]

    async def comment(self, issue: str, body: str) -> str:
        return _number(await self._rest.ask("POST", f"{self._issues}/{issue}/notes", body={"body": body}), "id")

    async def update_comment(self, issue: str, comment: str, body: str) -> None:
        await self._rest.ask("PUT", f"{self._issues}/{issue}/notes/{comment}", body={"body": body})

    async def _me(self) -> str:
        """Whose token it is."""
        if self._name is None:
            found = await self._rest.ask("GET", "/api/v4/user")
            if not isinstance(found, dict) or not found.get("username"):
                raise SourceBadAnswer("gitlab did not say whose token it is")
            self._name = str(found["username"])
        return self._name

    async def _pages(self, path: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """All of a list, page by page, up to a bound."""
        found: list[dict[str, Any]] = []
        for page in range(1, _PAGES + 1):
            rows = await self._rest.ask("GET", path, params={**params, "per_page": 100, "page": page})
            if not isinstance(rows, list):
                raise SourceBadAnswer("gitlab answered something that is not a list")
            found += rows
            if len(rows) < 100:
                break
        return found


def _by(row: Mapping[str, Any], me: str) -> bool:
    """Whether it was written with this token. Strangers can copy the marks, and what is told there nobody may see."""
    return bool((row.get("author") or {}).get("username") == me)


def _issue(row: Mapping[str, Any]) -> Issue:
    body, opened = row.get("description") or "", row.get("state") == "opened"
    return Issue(_number(row, "iid"), body, when(row["created_at"]), opened)


def _note(row: Mapping[str, Any]) -> Issue:
    return Issue(_number(row, "id"), row.get("body") or "", when(row["created_at"]))


def _number(row: Any, name: str) -> str:
    if not isinstance(row, dict) or not isinstance(row.get(name), int):
        raise SourceBadAnswer(f"gitlab answered without a {name}")
    return str(row[name])
