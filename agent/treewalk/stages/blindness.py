"""What people are told of SLAs that the watch cannot measure: one notice for those that go blind together. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Blind:
    """An SLA that could not be measured `since` a time, and why; `until` a time, None while it lasts. `measured` says
    whether it ended by a measurement; else the SLA is watched no more. Times are Unix seconds."""

    since: float
    why: str
    until: float | None = None
    measured: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """The SLAs of one notice by name. `begun` is when the first was noticed; `ripe` once no more are waited for."""

    begun: float
    slas: Mapping[str, Blind]
    ripe: bool = False

    @property
    def over(self) -> bool:
        """Whether all of it has ended."""
        return all(one.until is not None for one in self.slas.values())


def develop(
    notices: Collection[Notice], blind: Mapping[str, Blind], measured: Collection[str], at: float, settle: float
) -> tuple[Notice, ...]:
    """The notices after one more look at a time: what is blind now, and what is measured.

    What goes blind within `settle` seconds after the first has the same notice, since one source has mostly one fault.
    What is over is in the answer once, and one that was over before it was ripe not at all.
    """
    found = [_seen(one, blind, measured, at) for one in notices if not one.over]
    told = {name for one in found for name, state in one.slas.items() if state.until is None}
    fresh = {name: one for name, one in blind.items() if name not in told}
    young = next((k for k, one in enumerate(found) if not one.ripe), None)
    if fresh and young is not None:
        found[young] = replace(found[young], slas={**found[young].slas, **fresh})
    elif fresh:
        found.append(Notice(at, fresh))
    ripened = (replace(one, ripe=one.ripe or (at >= one.begun + settle and not one.over)) for one in found)
    return tuple(one for one in ripened if one.ripe or not one.over)


def _seen(notice: Notice, blind: Mapping[str, Blind], measured: Collection[str], at: float) -> Notice:
    ended = {
        name: one if one.until is not None or name in blind else replace(one, until=at, measured=name in measured)
        for name, one in notice.slas.items()
    }
    return replace(notice, slas=ended)


def document(notices: Collection[Notice]) -> list[dict[str, Any]]:
    """Notices as data, to be kept over a restart."""
    return [
        {
            "begun": one.begun,
            "ripe": one.ripe,
            "slas": {name: [b.since, b.why, b.until, b.measured] for name, b in one.slas.items()},
        }
        for one in notices
    ]


def notices_of(data: Collection[Mapping[str, Any]]) -> tuple[Notice, ...]:
    """Notices from their data."""
    return tuple(
        Notice(one["begun"], {name: Blind(*fields) for name, fields in one["slas"].items()}, one["ripe"])
        for one in data
    )
