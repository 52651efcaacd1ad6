"""What every page works with: the gate, the templates, walks under way, and what is to be said on the next page."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from treewalk.server.pages.gate import Gate, Refused, form_of, own_path
from treewalk.server.pages.rendering import render
from treewalk.server.pages.sessions import Session
from treewalk.server.pages.streams import Streams
from treewalk.server.pages.walks import Walks
from treewalk.store.views import Views

if TYPE_CHECKING:
    from treewalk.operations.incidents import Operations
    from treewalk.server.web import Service

Show = Callable[["Room", Request, Session], Awaitable[Response]]
Take = Callable[["Room", Request, Session, Mapping[str, str]], Awaitable[Response]]
_MOST_SAID = 1000


class Room:
    """One for the application. `ready` says why the server is stopping, or None."""

    def __init__(self, service: Service, ready: Callable[[], str | None]) -> None:
        self.service, self.gate = service, Gate(service)
        self.walks = Walks(lambda: service.operations.app)
        self.streams = Streams(ready, self.gate.lets_read)
        self.verifying = asyncio.Lock()
        self.heads: dict[int, tuple[tuple[Any, ...], dict[str, Any] | None]] = {}  # what the overview has read
        self._said: dict[str, str] = {}

    @property
    def operations(self) -> Operations:
        """What treewalk does; another object after the configuration was read again."""
        return self.service.operations

    @property
    def views(self) -> Views:
        """What is looked up for pages."""
        return Views(self.operations.app.database)

    def now(self) -> float:
        """Unix seconds."""
        return self.operations.app.clock.now()

    # routes

    def shows(self, show: Show) -> Callable[[Request], Awaitable[Response]]:
        """A page, for those who may read."""

        async def endpoint(request: Request) -> Response:
            return await show(self, request, self.gate.reader(request))

        return endpoint

    def takes(
        self, take: Take, by: Literal["changer", "stopper", "sender"] = "changer"
    ) -> Callable[[Request], Awaitable[Response]]:
        """A form, from those who may change something, who may at least stop something, or from any reader."""

        async def endpoint(request: Request) -> Response:
            form = await form_of(request)
            session = await asyncio.to_thread(getattr(self.gate, by), request, form)
            return await take(self, request, session, form)

        return endpoint

    # answers

    async def page(self, template: str, session: Session, here: str, **values: Any) -> Response:
        """A whole page. `here` is the address in the menu that it belongs to."""
        frame = await asyncio.to_thread(self._frame, session)
        return HTMLResponse(render(template, **{**frame, **values, "session": session, "here": here}))

    def _frame(self, session: Session) -> dict[str, Any]:
        """What stands around every page."""
        operations = self.operations
        return {
            "killed": operations.killed(),
            "asked": len(operations.cases.questions(self.now())),
            "why_not": self.gate.why_not(session),
            "may_stop": self.gate.why_no_stop(session) is None,
            "reloaded": self.service.reloaded,
            "said": self._said.pop(session.nonce, None),
        }

    def on(self, session: Session, path: str, said: str) -> Response:
        """Go on to a page of ours, which says what became of a form."""
        if len(self._said) >= _MOST_SAID:
            self._said.pop(next(iter(self._said)))
        self._said[session.nonce] = said
        return RedirectResponse(own_path(path), 303)

    def bare(self, template: str, code: int = 200, **values: Any) -> Response:
        """A page without a menu, with an HTTP status: the login, an error."""
        return HTMLResponse(render(template, **values), code)

    def part(self, template: str, **values: Any) -> Response:
        """A piece of a page."""
        return HTMLResponse(render(template, **values))


def number_of(text: str, what: str = "incident") -> int:
    """A number out of an address. Raises Refused for what can be none."""
    if not text.isascii() or not text.isdigit() or not 0 < len(text) < 19 or int(text) == 0:
        raise Refused(404, f"no {what} number {text[:40]}")
    return int(text)
