"""Log in by the server's token or one's own, and out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from treewalk.server.pages.gate import Refused, cookie_name, form_of, from_here, is_https, own_path
from treewalk.server.pages.room import Room
from treewalk.server.pages.sessions import LASTS, Session, good_name


def ask(room: Room, request: Request) -> Response:
    """The form."""
    if room.service.keys.none:
        return RedirectResponse("/", 303)
    room.gate.need_token()
    return room.bare("login.html", next=own_path(request.query_params.get("next", "/")), wrong=None, name="")


async def enter(room: Room, request: Request) -> Response:
    """Who shows a token gets a cookie: under the name of its owner, or, with the server's, under the one that is typed.

    The form has no token of a session yet: where it came from has to do. Wrong tokens are answered slower and slower,
    but a right one is never refused for the wrong ones of others at the same address.
    """
    from_here(request)
    room.gate.need_token()
    form = await form_of(request)
    service, given = room.service, f"Bearer {form.get('token', '')}"
    shared, person = service.keys.server.shown(given), service.keys.person(given)
    if not shared and person is None:
        wait = service.wrong.wait("secrets", service.address(request))
        if wait:
            raise Refused(429, f"too many wrong tokens from your address: try again in {wait} s")
        await asyncio.sleep(0.3)
        return _again(room, form, "this is not the token of this server (server.token), nor anybody's (server.users)")
    name = person or good_name(form.get("name", ""))
    if name is None:
        return _again(room, form, "a name has letters, digits, spaces and . @ + - and at most 64 of them")
    cookie, _ = room.gate.sessions.begin(name, proven=person is not None)
    response = RedirectResponse(own_path(form.get("next", "/")), 303)
    response.set_cookie(
        cookie_name(request), cookie, max_age=int(LASTS), path="/", httponly=True, samesite="strict",
        secure=is_https(request),
    )  # fmt: skip
    return response


def _again(room: Room, form: Mapping[str, str], wrong: str) -> Response:
    name = form.get("name", "")[:64]
    return room.bare("login.html", 401, next=own_path(form.get("next", "/")), wrong=wrong, name=name)


async def leave(room: Room, request: Request, session: Session, form: Mapping[str, str]) -> Response:
    """Log out."""
    room.gate.sessions.end(session)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(cookie_name(request), path="/", httponly=True, samesite="strict", secure=is_https(request))
    return response
