"""Forests and known errors as plain JSON data and back, without loss: for the cache and for recorded bundles."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import time
from typing import Any

from treewalk.model.condition import Condition, parse_condition
from treewalk.model.known import Fix, FixStep, KnownError, Signature
from treewalk.model.place import Place
from treewalk.model.quantity import Threshold, parse_threshold
from treewalk.model.tree import BaselineSpec, CheckSpec, Forest, LogSpec, Node, Sla
from treewalk.model.window import Window

Json = dict[str, Any]


def forest_to_json(forest: Forest) -> Json:
    """The forest as JSON data; defaults are left out."""
    return {
        "windows": {name: _window(w) for name, w in forest.windows.items()},
        "slas": [_sla(s) for s in forest.slas.values()],
        "nodes": [_node(n) for n in forest.nodes.values()],
    }


def forest_from_json(data: Mapping[str, Any]) -> Forest:
    """The forest again. Raises KeyError, TypeError or ValueError on data that `forest_to_json` did not write."""
    windows = {name: _read_window(name, w) for name, w in data.get("windows", {}).items()}
    slas = [_read_sla(s, windows) for s in data["slas"]]
    nodes = [_read_node(n) for n in data["nodes"]]
    return Forest({s.name: s for s in slas}, {n.name: n for n in nodes}, windows)


def forest_to_lines(forest: Forest) -> list[str]:
    """The forest as lines of JSON: a frame (SLAs, windows, who depends on whom), then one line a node."""
    frame = {
        "windows": {name: _window(w) for name, w in forest.windows.items()},
        "slas": [_sla(s) for s in forest.slas.values()],
        "edges": [[n.name, *n.depends_on] for n in forest.nodes.values()],
    }
    return [json.dumps(part, separators=(",", ":")) for part in (frame, *(_node(n) for n in forest.nodes.values()))]


def forest_from_lines(lines: Sequence[str | bytes]) -> Forest:
    """The forest again, with nodes that are read from their lines when they are first looked at: walking up from
    one node of 10,000 does not need the others. Raises like `forest_from_json`."""
    frame = json.loads(lines[0])
    edges = {name: children for name, *children in frame["edges"]}
    if len(edges) != len(lines) - 1:
        raise ValueError("there has to be one line a node")
    windows = {name: _read_window(name, w) for name, w in frame["windows"].items()}
    slas = [_read_sla(s, windows) for s in frame["slas"]]
    forest = Forest({s.name: s for s in slas}, LazyNodes(dict(zip(edges, lines[1:], strict=True))), windows)
    above: dict[str, list[str]] = {name: [] for name in edges}
    for name, children in edges.items():
        for child in children:
            above[child].append(name)
    vars(forest)["dependents"] = {name: tuple(parents) for name, parents in above.items()}
    return forest


class LazyNodes(Mapping[str, Node]):
    """Nodes by name, each read from its line of JSON at first sight."""

    def __init__(self, lines: Mapping[str, str | bytes]) -> None:
        self._lines = lines
        self._read: dict[str, Node] = {}

    def __getitem__(self, name: str) -> Node:
        if name not in self._read:
            self._read[name] = _read_node(json.loads(self._lines[name]))
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, name: object) -> bool:
        return name in self._lines


def known_errors_to_json(errors: Sequence[KnownError]) -> list[Json]:
    """Known errors as JSON data."""
    return [_known(e) for e in errors]


def known_errors_from_json(data: Sequence[Mapping[str, Any]]) -> tuple[KnownError, ...]:
    """Known errors again. Raises KeyError, TypeError or ValueError on foreign data."""
    return tuple(_read_known(e) for e in data)


def _without_empty(data: Json) -> Json:
    return {key: value for key, value in data.items() if value not in (None, "", [], {}, False)}


def _place(place: Place) -> list[Any]:
    return [place.file, place.line, place.column]


def _read_place(data: Mapping[str, Any]) -> Place:
    return Place(*data.get("place", ("bundle",)))


def _window(w: Window) -> list[Any]:
    return [sorted(w.days), w.start.isoformat(), w.end.isoformat(), w.timezone]


def _read_window(name: str, data: Sequence[Any]) -> Window:
    days, start, end, zone = data
    return Window(name, frozenset(days), time.fromisoformat(start), time.fromisoformat(end), zone)


def _condition(c: Condition) -> list[Any]:
    return [c.text, c.promql, c.left, c.op, c.limit, list(c.operands)]


def _read_condition(data: Any) -> Condition:
    if isinstance(data, str):  # as a person writes it
        return parse_condition(data)
    text, promql, left, op, limit, operands = data
    return Condition(text, promql, left, op, limit, tuple(operands))


def _sla(s: Sla) -> Json:
    return _without_empty(
        {
            "name": s.name,
            "place": _place(s.place),
            "query": s.query,
            "threshold": [s.threshold.op, s.threshold.limit, s.threshold.unit, s.threshold.text]
            if s.threshold
            else None,
            "baseline": _baseline(s.baseline) if s.baseline else None,
            "window": s.window.name if s.window else None,
            "depends_on": list(s.depends_on),
            "description": s.description,
            "source": s.source,
            "gatus_check": s.gatus_check,
            "alerts": [dict(a) if isinstance(a, Mapping) else a for a in s.alerts],
            "owner": s.owner,
            "tags": dict(s.tags),
            "fields": dict(s.fields),
            "unit_declared": s.unit_declared,
        }
    )


def _baseline(b: BaselineSpec) -> list[Any]:
    return [b.window, b.baseline, b.direction, b.threshold]


def _read_sla(data: Mapping[str, Any], windows: Mapping[str, Window]) -> Sla:
    return Sla(
        name=data["name"],
        place=_read_place(data),
        query=data.get("query"),
        threshold=_read_threshold(data["threshold"]) if "threshold" in data else None,
        baseline=BaselineSpec(*data["baseline"]) if "baseline" in data else None,
        window=windows[data["window"]] if "window" in data else None,
        depends_on=tuple(data.get("depends_on", ())),
        description=data.get("description", ""),
        source=data.get("source"),
        gatus_check=data.get("gatus_check"),
        alerts=tuple(data.get("alerts", ())),
        owner=data.get("owner"),
        tags=data.get("tags", {}),
        fields=data.get("fields", {}),
        unit_declared=data.get("unit_declared", False),
    )


def _read_threshold(data: Sequence[Any] | str) -> Threshold:
    return parse_threshold(data) if isinstance(data, str) else Threshold(*data)


def _node(n: Node) -> Json:
    check = n.healthcheck
    return _without_empty(
        {
            "name": n.name,
            "place": _place(n.place),
            "type": n.type,
            "description": n.description,
            "healthcheck": [check.method, dict(check.params), _place(check.place)] if check else None,
            "logs": [n.logs.query, n.logs.source] if n.logs else None,
            "metrics": list(n.metrics),
            "conditions": [_condition(c) for c in n.conditions],
            "depends_on": list(n.depends_on),
            "aka": list(n.aka),
            "source": n.source,
            "fields": dict(n.fields),
        }
    )


def _read_node(data: Mapping[str, Any]) -> Node:
    check, place = data.get("healthcheck"), _read_place(data)
    return Node(
        name=data["name"],
        place=place,
        type=data.get("type", ""),
        description=data.get("description", ""),
        healthcheck=CheckSpec(check[0], check[1], Place(*check[2]) if len(check) > 2 else place) if check else None,
        logs=LogSpec(*data["logs"]) if "logs" in data else None,
        metrics=tuple(data.get("metrics", ())),
        conditions=tuple(_read_condition(c) for c in data.get("conditions", ())),
        depends_on=tuple(data.get("depends_on", ())),
        aka=tuple(data.get("aka", ())),
        source=data.get("source"),
        fields=data.get("fields", {}),
    )


def _known(e: KnownError) -> Json:
    s, fix = e.signature, e.fix
    return _without_empty(
        {
            "id": e.id,
            "place": _place(e.place),
            "log_pattern": s.log_pattern,
            "node": s.node,
            "metric_condition": _condition(s.metric_condition) if s.metric_condition else None,
            "only_in_trouble": s.only_in_trouble or None,
            "learned": e.learned or None,
            "root_cause": e.root_cause,
            "root_node": e.root_node,
            "category": e.category,
            "severity": e.severity,
            "trust": e.trust,
            "description": e.description,
            "first_seen": e.first_seen,
            "last_seen": e.last_seen,
            "occurrence_count": e.occurrence_count or None,
            "resolution_time_avg": e.resolution_time_avg,
            "fix": {
                "type": fix.type,
                "steps": [[step.action, dict(step.params), _place(step.place)] for step in fix.steps],
                "playbook": fix.playbook,
                "arguments": dict(fix.arguments),
            }
            if fix
            else None,
        }
    )


def _read_known(data: Mapping[str, Any]) -> KnownError:
    condition, fix = data.get("metric_condition"), data.get("fix")
    signature = Signature(
        data.get("log_pattern"),
        data.get("node"),
        _read_condition(condition) if condition else None,
        data.get("only_in_trouble", False),
    )
    return KnownError(
        id=data["id"],
        signature=signature,
        root_cause=data.get("root_cause", ""),
        fix=_read_fix(fix) if fix else None,
        place=_read_place(data),
        root_node=data.get("root_node"),
        category=data.get("category", ""),
        severity=data.get("severity", "medium"),
        trust=data.get("trust", "trusted"),
        description=data.get("description", ""),
        first_seen=data.get("first_seen"),
        last_seen=data.get("last_seen"),
        occurrence_count=data.get("occurrence_count", 0),
        resolution_time_avg=data.get("resolution_time_avg"),
        learned=data.get("learned", False),
    )


def _read_fix(data: Mapping[str, Any]) -> Fix:
    steps = tuple(FixStep(action, params, Place(*place)) for action, params, place in data["steps"])
    return Fix(data["type"], steps, data["playbook"], data["arguments"])
