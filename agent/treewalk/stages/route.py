"""Which SLA an alert means: by what the alert says itself, by its Gatus endpoint, or by the SLA's `alerts`. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from treewalk.model.alert import Alert
from treewalk.model.tree import Sla, nearest

LABELS = ("treewalk_sla", "sla")  # labels that name the SLA itself, the more telling first


@dataclass(frozen=True, slots=True)
class Route:
    """Where an alert goes: the SLAs that it means (more than one may list it), and why; or none, and `hint`, which
    is what to write so that it would."""

    slas: tuple[str, ...]
    because: str
    hint: str = ""


class Router:
    """The alerts that the SLAs of a workspace name, looked up quickly."""

    def __init__(self, slas: Iterable[Sla]) -> None:
        self._slas = {sla.name: sla for sla in slas}
        self._gatus: dict[str, list[str]] = {}
        self._names: dict[str, list[str]] = {}
        self._matchers: list[tuple[Mapping[str, str], str]] = []
        for sla in self._slas.values():
            if sla.gatus_check:
                self._gatus.setdefault(_endpoint(sla.gatus_check), []).append(sla.name)
            for one in sla.alerts:
                if isinstance(one, Mapping):
                    self._matchers.append((one, sla.name))
                else:
                    self._names.setdefault(one, []).append(sla.name)

    def route(self, alert: Alert) -> Route:
        """The SLAs that an alert means: the label that names one, else `gatus_check`, else `alerts`."""
        named = next(((key, alert.labels[key]) for key in LABELS if alert.labels.get(key)), None)
        if named and named[1] in self._slas:
            return Route((named[1],), f"its label {named[0]}")
        endpoint = alert.labels.get("gatus_check")
        if endpoint and (found := self._gatus.get(_endpoint(endpoint))):
            return Route(tuple(found), f"gatus_check {endpoint!r}")
        listed = [*self._names.get(alert.name, ()), *(sla for one, sla in self._matchers if _fits(one, alert))]
        if listed:
            return Route(tuple(dict.fromkeys(listed)), f"listed in the SLA's alerts: {alert.name}")
        return Route((), self._why(alert, named), _hint(alert))

    def _why(self, alert: Alert, named: tuple[str, str] | None) -> str:
        if named is None:
            return f"no SLA for this alert: none has {alert.name!r} as its gatus_check or in its alerts"
        close = nearest(named[1], self._slas, 1)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        return f"no SLA for this alert: its label {named[0]} says {named[1]!r}, and there is none of that name{meant}"


def _endpoint(text: str) -> str:
    """A Gatus endpoint as it is compared: spaces around the slash and the case of letters say nothing."""
    return "/".join(" ".join(part.split()).casefold() for part in text.split("/"))


def _fits(matcher: Mapping[str, str], alert: Alert) -> bool:
    """Whether every label of a matcher is the alert's. One without labels fits nothing."""
    return bool(matcher) and all(
        (alert.labels.get(key) or (alert.name if key == "alertname" else None)) == value
        for key, value in matcher.items()
    )


def _hint(alert: Alert) -> str:
    """The line of a tree file that would give the alert to an SLA. JSON's quotes are YAML's, so any name is safe."""
    endpoint = alert.labels.get("gatus_check")
    if endpoint:
        return f"gatus_check: {json.dumps(endpoint, ensure_ascii=False)}"
    return f"alerts: [{json.dumps(alert.name, ensure_ascii=False)}]"
