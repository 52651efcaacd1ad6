"""The tree of an SLA: as it was found last, and live while somebody walks it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from treewalk.model.tree import Tree
from treewalk.server.pages.gate import Refused
from treewalk.server.pages.rendering import render
from treewalk.server.pages.room import Room
from treewalk.server.pages.sessions import Session

_MOST_ROWS = 300  # a larger tree shows what is not healthy
_DEEPEST = 8  # levels that are drawn as such; the number stands beside deeper ones
_MOST_EVIDENCE = 30


@dataclass(frozen=True)
class Look:
    """One look at an SLA: by a walk from here, or the diagnosis of an incident. `verdicts` by node."""

    verdicts: Mapping[str, Mapping[str, Any]]
    status: str
    reason: str
    limit: str | None
    at: float | None
    said: str
    document: Mapping[str, Any] | None = None
    incident: int | None = None
    walking: bool = False
    started: frozenset[str] = frozenset()


async def show(room: Room, request: Request, session: Session) -> Response:
    """The page."""
    name = request.path_params["name"]
    everything = request.query_params.get("all") == "1"
    values = await asyncio.to_thread(_about, room, name, everything)
    return await room.page("sla.html", session, "/", csrf=session.csrf, everything=everything, **values)


async def events(room: Room, request: Request, session: Session) -> Response:
    """The parts of it that have changed: the head, the tree's rows, the tree itself when other rows are shown."""
    name = request.path_params["name"]
    room.operations.app.workspace.forest.sla(name)
    everything = request.query_params.get("all") == "1"
    before: list[Any] = [None, []]
    turn: list[Any] = [0, None]

    async def look() -> Iterable[str]:
        walk = room.walks.of(name)
        if turn[0] % 4 == 0:  # the memory is asked once a second
            turn[1] = await asyncio.to_thread(room.views.mark)
        turn[0] += 1
        mark = turn[1], walk and (
            walk.begun, walk.stage, walk.done, walk.measured, len(walk.started), len(walk.verdicts)
        )  # fmt: skip
        if mark != before[0]:
            before[:] = mark, await asyncio.to_thread(_parts, room, name, everything)
        return list(before[1])

    return room.streams.answer(request, look, every=0.25)


def _parts(room: Room, name: str, everything: bool) -> list[str]:
    values = _about(room, name, everything)
    return [render(f"sla_{part}.html", **values, csrf="", everything=everything) for part in ("head", "tree")]


async def walk(room: Room, request: Request, session: Session, form: Mapping[str, str]) -> Response:
    """Walk now; a walk that is under way is joined."""
    name = request.path_params["name"]
    room.walks.start(name, session.name)
    if request.headers.get("hx-request") == "true":
        return room.part("said.html", said=f"Walking {name}", well=True)
    from treewalk.server.pages.rendering import path

    return room.on(session, f"/slas/{path(name)}", f"Walking {name}")


async def node(room: Room, request: Request, session: Session) -> Response:
    """What is known about one node: why it is judged so, and the evidence."""
    name, wanted = request.path_params["name"], request.query_params.get("node", "")
    values = await asyncio.to_thread(_node, room, name, wanted)
    return room.part("node.html", **values)


def _node(room: Room, name: str, wanted: str) -> dict[str, Any]:
    tree = room.operations.app.workspace.forest.tree(name)
    if wanted not in tree.nodes:
        raise Refused(404, f"there is no node {wanted[:100]!r} under {name}")
    look = _look(room, name, tree)
    document = look.document or {}
    evidence = [one for one in document.get("evidence", ()) if one["node"] == wanted]
    return {
        "node": tree.nodes[wanted],
        "verdict": look.verdicts.get(wanted),
        "evidence": evidence[:_MOST_EVIDENCE],
        "more": max(0, len(evidence) - _MOST_EVIDENCE),
        "gaps": [one for one in document.get("gaps", ()) if one["node"] == wanted],
        "suspect": next((one for one in document.get("suspects", ()) if one["node"] == wanted), None),
        "incident": look.incident,
        "walking": look.walking,
    }


def _about(room: Room, name: str, everything: bool) -> dict[str, Any]:
    operations = room.operations
    tree = operations.app.workspace.forest.tree(name)
    look = _look(room, name, tree)
    rows, hidden = rows_of(tree, look, everything)
    cause = (look.document or {}).get("root_cause") or {}
    shared = room.views.more_slas()
    living = [one for one in room.views.living() if one["sla"] == name or name in shared.get(one["number"], ())]
    return {
        "sla": tree.sla,
        "look": look,
        "rows": rows,
        "hidden": hidden,
        "blamed": cause.get("node"),
        "living": living,
    }


def rows_of(tree: Tree, look: Look, everything: bool) -> tuple[list[dict[str, Any]], int]:
    """The rows of a tree in the order of the file, and how many healthy ones are left out of a large one. Pure."""
    numbers = {name: number for number, name in enumerate(tree.nodes)}
    large = len(tree.nodes) > _MOST_ROWS and not everything
    rows, hidden = [], 0
    for name, depth, again in tree.draw_order():
        verdict = look.verdicts.get(name)
        word = verdict["verdict"] if verdict else ("looking" if name in look.started else "not looked at")
        if large and depth > 1 and word in ("healthy", "not looked at", "looking"):
            hidden += not again
            continue
        rows.append(
            {
                "name": name,
                "id": f"n{numbers[name]}",
                "depth": depth,
                "indent": min(depth, _DEEPEST),
                "again": again,
                "word": word,
                "reason": verdict["reason"] if verdict else "",
            }
        )
    return rows, hidden


def _look(room: Room, name: str, tree: Tree) -> Look:
    """The newest look: a walk of ours, or what an incident has found."""
    walk = room.walks.of(name)
    if walk is not None and not walk.done:
        return Look(
            verdicts={
                one: {"verdict": v.status.value, "reason": v.reason, "observed": v.observed, "expected": v.expected,
                      "onset": v.onset, "when": v.when, "origin": v.origin}
                for one, v in list(walk.verdicts.items())
            },
            status=walk.measured.status if walk.measured else "looking",
            reason=walk.measured.reason if walk.measured else "",
            limit=walk.measured.limit if walk.measured else None,
            at=walk.begun,
            said=f"walking now ({walk.stage}): {len(walk.verdicts)} of {len(tree.nodes)} nodes are judged",
            walking=True,
            started=frozenset(walk.started),
        )  # fmt: skip
    document, incident = (walk.document if walk is not None else None), None
    for number in room.views.newest_of().get(name, ()):
        found = room.operations.app.store.incident(number)
        if "reason" in found and (document is None or found["timing"]["at"] > document["timing"]["at"]):
            document, incident = found, number
    if document is None:
        failed = walk.failed if walk is not None else None
        return Look({}, "not measured", "", None, None, failed or "it was not looked at yet")
    said = "" if incident is not None else f"a walk of {walk.by or 'somebody'}" if walk is not None else ""
    if walk is not None and walk.failed is not None and walk.begun > document["timing"]["at"]:
        said = f"{said}; the walk after it failed: {walk.failed}"
    return Look(
        verdicts=document["verdicts"],
        status=document["status"],
        reason=document["reason"],
        limit=document["limit"],
        at=document["timing"]["at"],
        said=said,
        document=document,
        incident=incident,
    )
