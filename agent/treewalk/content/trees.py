"""Tree files: SLAs and, nested under them, the nodes that they depend on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from treewalk.content.fields import Fields, unknown_key
from treewalk.content.windows import ALWAYS, BUILT_IN, read_windows
from treewalk.content.yaml import Item
from treewalk.model.condition import Condition, parse_condition
from treewalk.model.logql import not_logql
from treewalk.model.place import Place, Problem
from treewalk.model.quantity import Threshold, format_duration, parse_duration, parse_threshold
from treewalk.model.tree import BaselineSpec, CheckSpec, Forest, LogSpec, Node, Sla, nearest
from treewalk.model.window import Window

MAX_DEPTH = 500
SLA_FIELDS = ("description", "sla", "gatus_check", "alerts", "owner", "tags", "depends_on")
SLA_BLOCK = ("query", "threshold", "window", "baseline", "unit", "source")
BASELINE_BLOCK = ("window", "baseline", "direction", "threshold")
NODE_FIELDS = (
    "node", "type", "description", "healthcheck", "logs", "metrics", "alerts", "depends_on", "aka", "source",
)  # fmt: skip
LOG_FIELDS = ("loki_query", "source")

BindCheck = Callable[[str, Mapping[str, Any]], list[tuple[str | None, str]]]
"""(method, parameters) → what is wrong: the parameter's name (None for the method itself) and the message."""


@dataclass
class Draft:
    """What the tree files of a workspace say, before references are looked up."""

    problems: list[Problem]
    bind: BindCheck
    needs: Callable[[Node, CheckSpec], str | None] = lambda node, spec: None  # what a valid block lacks at its node
    windows: dict[str, Window] = field(default_factory=dict)
    slas: dict[str, Sla] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    references: list[tuple[str, Place]] = field(default_factory=list)
    edge_places: dict[tuple[str, str], Place] = field(default_factory=dict)
    window_uses: list[tuple[str, str, Place]] = field(default_factory=list)  # sla, window name, place
    sources: Mapping[str, Collection[str]] | None = None  # names by kind (metric, log); None: not known
    source_uses: list[tuple[str, str, Place]] = field(default_factory=list)  # kind, name, place
    complete: bool = True  # every tree file could be read, so that a name that is missing is missing

    def problem(self, place: Place, message: str) -> None:
        self.problems.append(Problem(place, message))


def read_tree_file(root: Item, draft: Draft) -> None:
    """Add one tree file to the draft."""
    fields = Fields(root, draft.problems, "a tree file")
    fields.closed(("windows", "metrics", "nodes"))
    if fields.has("windows"):
        for name, window in read_windows(fields.data["windows"], draft.problems).items():
            if name in draft.windows:
                draft.problem(fields.data["windows"].key_place(name), f"the window {name!r} is defined twice")
            draft.windows.setdefault(name, window)
    for item in fields.items("nodes"):
        _read_nodes([item], draft)
    slas = fields.mapping("metrics")
    for name, item in (slas.data if slas else {}).items():
        assert slas is not None
        _read_sla(name, slas.item.key_place(name), item, draft)


def finish(draft: Draft) -> Forest:
    """Look up references and windows and check the graph; problems go into the draft."""
    draft.windows = {**{n: w for n, w in BUILT_IN.items() if _is_used(n, draft)}, **draft.windows}
    known = draft.nodes
    if draft.complete:
        _check_names(draft)
    slas = {name: _with_window(sla, draft) for name, sla in draft.slas.items()}
    nodes = {n.name: _pruned(n, known) for n in known.values()}
    _check_graph(nodes, draft)
    return Forest(slas, nodes, dict(draft.windows))


def _check_names(draft: Draft) -> None:
    """Every node, window and source that is referred to has to exist."""
    for name, place in draft.references:
        if name not in draft.nodes:
            close = nearest(name, draft.nodes)
            hint = f"; did you mean {', '.join(repr(c) for c in close)}?" if close else "; define it with `- node: …`"
            draft.problem(place, f"no node named {name!r}{hint}")
    for sla, window, place in draft.window_uses:
        if window not in draft.windows:
            close = nearest(window, draft.windows)
            hint = f"; did you mean {close[0]!r}?" if close else "; define it under windows"
            draft.problem(place, f"no window named {window!r} (of {sla}){hint}")
    for kind, name, place in draft.source_uses if draft.sources is not None else ():
        names = (draft.sources or {})[kind]
        if name not in names:
            there = ", ".join(names) or "none"
            draft.problem(place, f"no {kind} source named {name!r} in treewalk.yaml; there is {there}")


def _is_used(window: str, draft: Draft) -> bool:
    return any(name == window for _, name, _ in draft.window_uses)


def _with_window(sla: Sla, draft: Draft) -> Sla:
    name = next((w for s, w, _ in draft.window_uses if s == sla.name), None)
    return replace(sla, window=draft.windows.get(name)) if name else sla


def _pruned(node: Node, known: Mapping[str, Node]) -> Node:
    if all(child in known for child in node.depends_on):
        return node
    return replace(node, depends_on=tuple(c for c in node.depends_on if c in known))


def _check_graph(nodes: Mapping[str, Node], draft: Draft) -> None:
    import networkx as nx

    graph = nx.DiGraph((node.name, child) for node in nodes.values() for child in node.depends_on)
    cycles = list(_cycles(graph))
    for cycle in cycles:
        place = draft.edge_places.get((cycle[-1], cycle[0]), nodes[cycle[0]].place)
        draft.problem(place, f"the dependencies run in a circle: {' → '.join([*cycle, cycle[0]])}")
    if graph and not cycles and nx.dag_longest_path_length(graph) >= MAX_DEPTH:
        deepest = nx.dag_longest_path(graph)[0]
        draft.problem(nodes[deepest].place, f"the tree under {deepest!r} is deeper than {MAX_DEPTH} levels")


def _cycles(graph: Any) -> Iterator[list[str]]:
    """One circle of each group of nodes that all depend on one another, in the order of the files."""
    import networkx as nx

    group = {name: number for number, found in enumerate(nx.strongly_connected_components(graph)) for name in found}
    inner = nx.DiGraph((a, b) for a, b in graph.edges if group[a] == group[b])
    told: set[int] = set()
    for name in inner:
        if group[name] not in told:
            told.add(group[name])
            yield [edge[0] for edge in nx.find_cycle(inner, name)]


def _read_sla(name: str, place: Place, item: Item, draft: Draft) -> None:
    fields = Fields(item, draft.problems, f"SLA {name}")
    _check_name("SLA", name, place, draft)
    if name in draft.slas:
        draft.problem(place, f"the SLA {name!r} is defined twice; first at {draft.slas[name].place}")
        return
    free = fields.near_misses(SLA_FIELDS)
    block = fields.mapping("sla")
    query, threshold, baseline, source, declared = None, None, None, None, False
    if block is None:
        if not fields.has("sla"):
            draft.problem(place, f"the SLA {name!r} has no `sla:` block with its query and threshold")
    else:
        block.closed(SLA_BLOCK)
        query, source = _promql(block, "query"), _source(block, "metric", draft)
        threshold, declared = _threshold(block)
        inner = block.mapping("baseline")
        baseline = _baseline(inner) if inner else None
        _use_window(name, block, draft)
        if threshold is None and baseline is None and not (block.has("threshold") or block.has("baseline")):
            draft.problem(block.item.place, f"the SLA {name!r} needs a threshold, or a baseline to be judged against")
    tags = fields.mapping("tags")
    draft.slas[name] = Sla(
        name=name,
        query=query,
        threshold=threshold,
        baseline=baseline,
        window=None,
        depends_on=_read_dependencies(fields, draft),
        place=place,
        description=fields.text("description", "") or "",
        source=source,
        gatus_check=fields.text("gatus_check"),
        alerts=_alert_matchers(fields),
        owner=fields.text("owner"),
        tags={key: value.text() for key, value in tags.data.items()} if tags else {},
        fields=free,
        unit_declared=declared,
    )


def _use_window(name: str, block: Fields, draft: Draft) -> None:
    window = block.text("window")
    if window is not None and window.lower() not in ALWAYS:
        draft.window_uses.append((name, window, block.data["window"].place))


def _threshold(block: Fields) -> tuple[Threshold | None, bool]:
    unit = block.text("unit")
    if unit not in (None, "ratio", "percent"):
        block.problem(block.data["unit"].place, f"unit has to be ratio (0 to 1) or percent (0 to 100), not {unit!r}")
    as_percent = unit == "percent"
    found = block.convert("threshold", lambda v: parse_threshold(v, "percent" if as_percent else "ratio"))
    return found, unit is not None


def _baseline(block: Fields) -> BaselineSpec:
    block.closed(BASELINE_BLOCK)
    default = BaselineSpec()
    direction = block.text("direction", default.direction)
    if direction not in ("up", "down", "both"):
        block.problem(block.data["direction"].place, f"direction has to be up, down or both, not {direction!r}")
        direction = default.direction
    window = block.convert("window", _some_time) or default.window
    past = block.convert("baseline", _some_time) or default.baseline
    if window > past:
        spans = f"{format_duration(window)} against {format_duration(past)}"
        block.problem(block.item.place, f"the window is longer than the baseline that it is compared with: {spans}")
    return BaselineSpec(
        window=window,
        baseline=past,
        direction=direction,  # type: ignore[arg-type]
        threshold=block.number("threshold") or default.threshold,
    )


def _some_time(value: Any) -> float:
    seconds = parse_duration(value)
    if not seconds:
        raise ValueError("has to be more than 0")
    return seconds


def _alert_matchers(fields: Fields) -> tuple[Mapping[str, str] | str, ...]:
    found: list[Mapping[str, str] | str] = []
    for item in fields.items("alerts"):
        if isinstance(item.value, dict):
            found.append({key: inner.text() for key, inner in item.value.items()})
        else:
            found.append(item.text())
    return tuple(found)


def _read_dependencies(fields: Fields, draft: Draft) -> tuple[str, ...]:
    """The names under an SLA's `depends_on`; nested definitions are read as well, however deep."""
    children = _children(None, fields, draft)
    _read_nodes([child for child in children.values() if child is not None], draft)
    return tuple(children)


def _dependency_name(item: Item, fields: Fields) -> str | None:
    if isinstance(item.value, str) and item.value:
        return item.value
    if isinstance(item.value, dict):
        name = item.value.get("node")
        if name is not None and isinstance(name.value, str) and name.value:
            return name.value
        if name is not None:
            has = "is empty" if name.value in (None, "") else f"has to be text, not {name.kind}"
            quoted = f': write it in quotes, node: "{name.text()}"' if isinstance(name.value, int | float) else ""
            fields.problem(name.place, f"the name of a node {has}{quoted}")
            return None
        wrong = next((k for k in item.value if unknown_key(k, ["node"], "").find("did you mean") > 0), None)
        where = item.key_place(wrong) if wrong else item.place
        hint = f", not {wrong!r}" if wrong else ""
        fields.problem(where, f"a dependency begins with `node: NAME`{hint}")
        return None
    fields.problem(item.place, f"a dependency is a node's name or its definition, not {item.kind}")
    return None


def _check_name(kind: str, name: str, place: Place, draft: Draft) -> None:
    """A name is printed in terminals, typed in shells, and may be a pattern in a known error's signature."""
    if not name.isprintable() or name != name.strip() or not name or len(name) > 200:
        draft.problem(
            place, f"{name[:200]!r} is not a name of a {kind}: one line of printable text, without outer spaces"
        )
    elif kind == "node" and (name.startswith("type:") or any(c in name for c in "*?[")):
        draft.problem(place, f"the node name {name!r} would be a pattern: leave out *, ?, [ and a leading 'type:'")


def _is_definition(item: Item) -> bool:
    """A mapping that says more than a name; `{node: name}` alone is a reference."""
    return isinstance(item.value, dict) and len(item.value) > 1


def _read_nodes(todo: list[Item], draft: Draft) -> None:
    """Read node definitions with a stack of their own: a tree may be deeper than Python can recurse."""
    stack = list(reversed(todo))
    while stack:
        item = stack.pop()
        fields = Fields(item, draft.problems, "a node")
        name = _dependency_name(item, fields) if fields.data else None
        if name is None:
            continue
        children = _children(name, fields, draft)
        _define(name, fields, tuple(children), draft)
        stack.extend(child for child in reversed(list(children.values())) if child is not None)


def _children(name: str | None, fields: Fields, draft: Draft) -> dict[str, Item | None]:
    """What a node (None: the SLA) depends on: by name, the nested definition, or None for a reference."""
    found: dict[str, Item | None] = {}
    for item in fields.items("depends_on"):
        child = _dependency_name(item, fields)
        if child is None:
            continue
        if child in found:
            fields.problem(item.place, f"{child!r} is listed twice")
            continue
        found[child] = item if _is_definition(item) else None
        if name is not None:
            draft.edge_places[name, child] = item.place
        draft.references.append((child, item.place))
    return found


def _define(name: str, fields: Fields, children: tuple[str, ...], draft: Draft) -> None:
    place, before = fields.item.place, len(draft.problems)
    _check_name("node", name, place, draft)
    fields.what = f"node {name}"
    free = fields.near_misses(NODE_FIELDS)
    node = Node(
        name=name,
        place=place,
        type=fields.text("type", "") or "",
        description=fields.text("description", "") or "",
        healthcheck=_healthcheck(fields, draft),
        logs=_logs(fields, draft),
        metrics=_metrics(fields),
        conditions=_conditions(fields),
        depends_on=children,
        aka=tuple(text for text, _ in fields.texts("aka")),
        source=_source(fields, "metric", draft),
        fields=free,
    )
    _check_needs(node, fields, len(draft.problems) > before, draft)
    if name in draft.nodes:
        first = draft.nodes[name].place
        draft.problem(
            place, f"the node {name!r} is defined twice; first at {first}. Elsewhere, refer to it by its name"
        )
        return
    draft.nodes[name] = node


def _source(fields: Fields, kind: str, draft: Draft) -> str | None:
    name = fields.text("source")
    if name is not None:
        draft.source_uses.append((kind, name, fields.data["source"].place))
    return name


def _healthcheck(fields: Fields, draft: Draft) -> CheckSpec | None:
    block = fields.mapping("healthcheck")
    if block is None:
        return None
    method = block.text("method")
    if method is None:
        block.problem(block.item.place, "a healthcheck begins with `method: NAME`; `treewalk checks` lists the names")
        return None
    params = {key: block.plain(item) for key, item in block.data.items() if key != "method"}
    for key, message in draft.bind(method, params):
        where = block.data["method"].place if key is None else block.item.key_place(key)
        block.problem(where, message)
    return CheckSpec(method, params, block.item.place)


def _check_needs(node: Node, fields: Fields, faulty: bool, draft: Draft) -> None:
    """Whether a healthcheck can work at its node; not asked where something is wrong with the node already."""
    missing = draft.needs(node, node.healthcheck) if node.healthcheck is not None and not faulty else None
    if missing:
        draft.problem(fields.data["healthcheck"].value["method"].place, missing)


def _logs(fields: Fields, draft: Draft) -> LogSpec | None:
    if not fields.has("logs"):
        return None
    item = fields.data["logs"]
    if isinstance(item.value, str):
        _check_logql(item.value, item, "logs", draft)
        return LogSpec(item.value)
    block = fields.mapping("logs")
    if block is None:
        return None
    block.closed(LOG_FIELDS)
    query = block.text("loki_query")
    if query is None:
        block.problem(block.item.place, "logs needs a loki_query such as '{container_name=\"api\"}'")
        return None
    _check_logql(query, block.data["loki_query"], "loki_query", draft)
    return LogSpec(query, _source(block, "log", draft))


def _check_logql(query: str, item: Item, what: str, draft: Draft) -> None:
    problem = not_logql(query)
    if problem:
        draft.problem(item.place, f"{what}: {problem}")


def _metrics(fields: Fields) -> tuple[str, ...]:
    found = []
    for text, item in fields.texts("metrics"):
        problem = _promql_problem(text)
        if problem:
            fields.problem(item.place, f"metrics: {problem}")
        else:
            found.append(text)
    return tuple(found)


def _conditions(fields: Fields) -> tuple[Condition, ...]:
    found = []
    for text, item in fields.texts("alerts"):
        try:
            found.append(_condition(text))
        except ValueError as error:
            fields.problem(item.place, f"alerts: {error}")
    return tuple(found)


def _promql(fields: Fields, key: str) -> str | None:
    text = fields.text(key)
    problem = _promql_problem(text) if text is not None else None
    if problem:
        fields.problem(fields.data[key].place, f"{key}: {problem}")
    return text


@lru_cache(maxsize=50_000)
def _condition(text: str) -> Condition:
    return parse_condition(text)


@lru_cache(maxsize=50_000)
def _promql_problem(text: str) -> str | None:
    import promql_parser

    try:
        promql_parser.parse(text)
    except ValueError as error:
        return f"not PromQL: {error}"
    return None
