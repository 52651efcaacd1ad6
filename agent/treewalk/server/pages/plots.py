"""Small plots of a measured series against its limit, as numbers for an inline SVG. Pure but for `of_incident`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from treewalk.errors import SourceError
from treewalk.model.quantity import format_number
from treewalk.model.series import Series
from treewalk.server.pages.room import Room, number_of
from treewalk.server.pages.sessions import Session

WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM = 680.0, 150.0, 64.0, 52.0, 20.0
_BEFORE, _AFTER, _POINTS, _MOST_SERIES = 900.0, 600.0, 160, 5


@dataclass(frozen=True, slots=True)
class Plot:
    """What is drawn: lines as SVG points, the limit's height, moments with their names, the values at the edges."""

    lines: tuple[str, ...]
    limit: float | None
    moments: tuple[tuple[float, str, str], ...]  # where, its name, on which side the name stands
    top: str
    bottom: str
    left: float = LEFT
    right: float = WIDTH - RIGHT
    width: float = WIDTH
    height: float = HEIGHT
    base: float = HEIGHT - BOTTOM


def plot(
    series: Sequence[Series],
    limit: float | None,
    moments: Sequence[tuple[float, str]],
    start: float,
    end: float,
    show: Callable[[float], str] = format_number,
) -> Plot | None:
    """A plot of some series between two times (Unix seconds), or None when there is nothing to draw."""
    values = [v for one in series for v in one.values if math.isfinite(v)]
    if not values or end <= start:
        return None
    low, high = min([0.0, *values]), max([*values, *([limit] if limit is not None else [])])
    spread = (high - low) * 1.06 or 1.0

    def x(at: float) -> float:
        return round(LEFT + (WIDTH - RIGHT - LEFT) * (at - start) / (end - start), 1)

    def y(value: float) -> float:
        return round((HEIGHT - BOTTOM) * (1 - (value - low) / spread), 1)

    lines = []
    for one in series[:_MOST_SERIES]:
        points = [(t, v) for t, v in zip(one.times, one.values, strict=True) if math.isfinite(v) and start <= t <= end]
        lines.append(" ".join(f"{x(t)},{y(v)}" for t, v in points))
    shown = [
        (x(at), name, "start" if place else "end") for place, (at, name) in enumerate(moments) if start <= at <= end
    ]
    drawn = y(limit) if limit is not None and low <= limit else None
    return Plot(tuple(line for line in lines if line), drawn, tuple(shown), show(max(values)), show(low))


async def of_incident(room: Room, request: Request, session: Session) -> Response:
    """The SLA's own number before, during and after an incident, asked of its source now."""
    number = number_of(request.path_params["number"])
    found = await asyncio.to_thread(room.operations.app.store.incident, number)
    values = await _drawn(room, found)
    return room.part("plot.html", number=number, sla=found["sla"], **values)


async def _drawn(room: Room, found: Mapping[str, Any]) -> dict[str, Any]:
    app, life = room.operations.app, found["life"]
    sla = app.workspace.forest.slas.get(found["sla"])
    if sla is None or not sla.query:
        return {"plot": None, "why": "this SLA has no query that treewalk could ask", "start": None, "end": None}
    begin = min(found["opened"], found.get("onset") or found["opened"])
    start, end = begin - _BEFORE, min(room.now(), (life["closed"] or room.now()) + _AFTER)
    series: Sequence[Series] = ()
    why = "its source has no values of that time"
    try:
        async with asyncio.timeout(app.workspace.settings.walk.check_timeout):
            step = max(1.0, (end - start) / _POINTS)
            series = await app.sources.metric(sla.source).range(sla.query, start, end, step)
    except SourceError as error:
        why = str(error)
    except TimeoutError:
        why = "no answer in time"
    moments = [(found["opened"], "opened")]
    if life["closed"]:
        moments.append((life["closed"], "closed"))
    limit, show = None, format_number
    if sla.threshold is not None:
        limit, show = float(sla.threshold.limit), sla.threshold.show
    return {"plot": plot(series, limit, moments, start, end, show), "why": why, "start": start, "end": end}
