"""Incidents made by chance: a tree, the series of its nodes, one fault that travels upward, and things that mislead.

What is drawn is written down here and not fitted to any ranking. `pipeline` is the family of slow data platforms with
sampling from 15 s to 5 min; `microservice` the one of call graphs with 5-minute series and a window of five points.
Same seed, same incidents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from treewalk.model.condition import Condition, parse_condition
from treewalk.model.place import Place
from treewalk.model.quantity import parse_threshold
from treewalk.model.tree import BaselineSpec, Forest, Node, Sla

from bench.incidents.source import Array

HERE = Place("generated")
DAY = 86400.0
AT = 1_760_000_000.0
SLA_QUERY = "sla_value"

Rng = np.random.Generator


@dataclass
class Incident:
    """One incident: what treewalk is given, and the culprit that it is not (None: there is none in the tree)."""

    name: str
    family: str
    forest: Forest
    data: dict[str, tuple[Array, Array]]
    at: float
    spec: BaselineSpec
    culprit: str | None
    traits: dict[str, str | int | float] = field(default_factory=dict)

    def shuffled(self, seed: int) -> Forest:
        """The same forest with nodes and siblings in another order."""
        rng = np.random.default_rng(seed)

        def mixed(names: Sequence[str]) -> tuple[str, ...]:
            return tuple(names[i] for i in rng.permutation(len(names)))

        nodes = {}
        for name in mixed(tuple(self.forest.nodes)):
            node = self.forest.nodes[name]
            nodes[name] = Node(
                name=name,
                place=HERE,
                metrics=node.metrics,
                conditions=node.conditions,
                depends_on=mixed(node.depends_on),
            )
        sla = self.forest.slas["sla"]
        turned = Sla("sla", sla.query, sla.threshold, sla.baseline, None, mixed(sla.depends_on), HERE)
        return Forest({"sla": turned}, nodes)


def incidents(seed: int, faults: int = 300, quiet: int = 60, family: str = "pipeline") -> Iterator[Incident]:
    """`faults` incidents with a culprit in the tree, then `quiet` ones without."""
    make = _pipeline if family == "pipeline" else _microservice
    for number in range(faults + quiet):
        rng = np.random.default_rng([seed, number, 0 if family == "pipeline" else 1])
        yield make(rng, f"{family}-{number}", fault=number < faults)


# ---------------------------------------------------------------- trees


def _tree(rng: Rng, size: int, shape: str) -> dict[str, list[str]]:
    """What each node depends on. Node 0 stands right below the SLA; every other one below an earlier one."""
    below: dict[str, list[str]] = {f"n{i}": [] for i in range(size)}
    for child in range(1, size):
        if shape == "chain":
            parent = max(0, child - 1 - int(rng.integers(0, 3)))
        elif shape == "fan":
            parent = int(rng.integers(0, max(1, child // 4 + 1)))
        else:
            parent = int(rng.integers(0, child))
        below[f"n{parent}"].append(f"n{child}")
        if child > 3 and rng.random() < 0.12:  # a shared node: a second parent
            second = f"n{int(rng.integers(0, child))}"
            if f"n{child}" not in below[second]:
                below[second].append(f"n{child}")
    return below


def _above(below: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    above: dict[str, list[str]] = {name: [] for name in below}
    for parent, children in below.items():
        for child in children:
            above[child].append(parent)
    return above


# ---------------------------------------------------------------- healthy series

KINDS = ("latency", "errors", "throughput", "queue", "cpu", "memory", "saturation", "requests_total")


def _healthy(rng: Rng, kind: str, times: Array) -> tuple[Array, float]:
    """A series as it is when nothing is wrong, and the size of its noise."""
    n = len(times)
    level = float(np.exp(rng.uniform(np.log(2), np.log(500))))
    noise = level * float(rng.uniform(0.02, 0.12))
    swing = level * float(rng.choice([0.0, rng.uniform(0.05, 0.5)], p=[0.4, 0.6]))
    drift = level * float(rng.normal(0, 0.03))
    season = swing * np.sin(2 * np.pi * (times / DAY + rng.random()))
    memory = float(rng.uniform(0.0, 0.85))
    white = rng.standard_t(4, n) / np.sqrt(2) if rng.random() < 0.3 else rng.normal(0, 1, n)
    coloured = np.empty(n)
    coloured[0] = white[0]
    scale = np.sqrt(1 - memory**2)
    for i in range(1, n):
        coloured[i] = memory * coloured[i - 1] + scale * white[i]
    x = level + season + drift * np.linspace(-1, 1, n) + noise * coloured
    if kind == "errors":
        x = rng.poisson(np.maximum(0.05, level / 100), n).astype(float)
        noise = float(np.sqrt(max(0.3, level / 100)))
    elif kind == "queue" and rng.random() < 0.4:
        x, noise = np.round(np.maximum(0, noise * coloured)), max(noise, 1.0)
    elif kind == "saturation" and rng.random() < 0.3:
        x, noise = np.full(n, float(round(level))), max(1.0, level * 0.02)
    # The unit of every fault: how much the series varies by itself, its swing over the day included.
    return x, max(noise, 1.4826 * float(np.median(np.abs(x - np.median(x)))))


def _shape(rng: Rng, name: str, times: Array, start: float, end: float) -> Array:
    """How far a fault has come, 0 to 1, from its start on."""
    on = (times >= start).astype(float)
    span = max(end - start, 1.0)
    if name == "ramp":
        return on * np.clip((times - start) / (0.6 * span), 0, 1)
    if name == "spike":
        return on * (1 + 0.8 * np.exp(-np.maximum(times - start, 0) / (0.2 * span)))
    if name == "variance":
        return on * np.abs(rng.normal(1, 0.5, len(times)))
    return on


# ---------------------------------------------------------------- the family `pipeline`


@dataclass
class _Draft:
    """An incident on the way: series by (node, metric), with their noise."""

    times: Array
    series: dict[tuple[str, str], Array] = field(default_factory=dict)
    noise: dict[tuple[str, str], float] = field(default_factory=dict)
    sla: Array = field(default_factory=lambda: np.empty(0))

    def metrics(self, node: str) -> list[str]:
        return [metric for owner, metric in self.series if owner == node]

    def push(self, node: str, metric: str, shape: Array, size: float) -> None:
        """Move a metric by `size` noises along a shape; throughput falls, counters slow down, the rest rises."""
        sign = -1.0 if metric.startswith(("throughput", "requests")) else 1.0
        key = (node, metric)
        moved = self.series[key] + sign * size * self.noise[key] * shape
        self.series[key] = np.maximum(moved, 0) if sign < 0 else moved


def _pipeline(rng: Rng, name: str, *, fault: bool) -> Incident:
    size = int(np.exp(rng.uniform(np.log(10), np.log(201))))
    below = _tree(rng, size, str(rng.choice(["random", "chain", "fan"], p=[0.6, 0.2, 0.2])))
    above = _above(below)
    step = float(rng.choice([15, 30, 60, 300]))
    points = int(rng.integers(12, 41)) if step < 300 else int(rng.integers(5, 9))
    window = points * step
    baseline = step * int(rng.integers(200, 576))
    times = np.arange(AT - window - baseline, AT + 1e-6, step) + rng.uniform(-0.5, 0.0) * step
    draft = _Draft(times)
    for node in below:
        for kind in rng.choice(KINDS, size=int(rng.integers(1, 5)), replace=False):
            draft.series[node, str(kind)], draft.noise[node, str(kind)] = _healthy(rng, str(kind), times)
    draft.sla, sla_noise = _healthy(rng, "latency", times)
    upward = bool(rng.random() < 0.5)  # is more bad?
    traits: dict[str, str | int | float] = {"size": size, "step": step, "direction": "up" if upward else "down"}
    culprit, touched, start = None, set(), AT - window * float(rng.uniform(0.3, 0.85))
    outside = not fault and rng.random() < 0.2
    loud = 0.0
    if fault:
        culprit, touched, loud, arrival = _strike(rng, draft, below, above, start, window, step, traits)
    if fault or outside:
        begin = arrival if fault else start
        shape = _shape(rng, "step" if outside else str(traits["shape"]), times, begin, AT)
        push = float(rng.uniform(6, 16)) * (1 if upward else -1)
        draft.sla = draft.sla + push * sla_noise * shape
    decoys = _decoys(rng, draft, below, touched, window, max(loud, 10.0), always=fault or rng.random() < 0.5)
    traits |= {"decoys": decoys, "outside": int(outside)}
    by_baseline = bool(rng.random() < 0.5)
    traits["judged"] = "baseline" if by_baseline else "threshold"
    sla = _sla(rng, draft, upward, by_baseline, window, baseline, broken=fault or outside, hover=not fault)
    data = _data(rng, draft, step, keep=culprit)
    nodes = _nodes(rng, draft, below, culprit, data, window)
    spec = BaselineSpec(window, baseline, "both", 5.0)
    return Incident(name, "pipeline", Forest({"sla": sla}, nodes), data, AT, spec, culprit, traits)


def _strike(
    rng: Rng,
    draft: _Draft,
    below: Mapping[str, Sequence[str]],
    above: Mapping[str, Sequence[str]],
    start: float,
    window: float,
    step: float,
    traits: dict[str, str | int | float],
) -> tuple[str, set[str], float, float]:
    """Break one node and let it travel upward; the culprit, what was touched, its size, and the SLA's moment."""
    names = list(below)
    culprit = names[int(rng.integers(0, len(names)))]
    shape_name = str(rng.choice(["step", "ramp", "spike", "variance"], p=[0.5, 0.25, 0.15, 0.1]))
    size = float(np.exp(rng.uniform(np.log(6), np.log(30))))
    traits |= {"shape": shape_name, "loudness": round(size, 1)}
    _hit(rng, draft, culprit, _shape(rng, shape_name, draft.times, start, AT), size, most=4)
    reached: dict[str, tuple[float, float]] = {culprit: (start, size)}
    safe = _one_way_up(rng, culprit, above)  # the way that is never swallowed
    queue = [culprit]
    while queue:
        node = queue.pop(0)
        when, strength = reached[node]
        for parent in above[node]:
            if parent in reached or (parent not in safe and rng.random() < 0.25):
                continue
            delay = step * float(rng.choice([0, 1, 2, 4], p=[0.4, 0.3, 0.2, 0.1]))
            later = min(when + delay, AT - 0.2 * window)
            factor = float(rng.uniform(0.45, 1.0)) if rng.random() < 0.85 else float(rng.uniform(1.2, 3.0))
            passed = max(4.0, strength * factor) if parent in safe else strength * factor
            if passed < 2.0:
                continue
            reached[parent] = (max(later, when), passed)
            _hit(rng, draft, parent, _shape(rng, shape_name, draft.times, max(later, when), AT), passed, most=2)
            queue.append(parent)
    _side_effects(rng, draft, below, above, culprit, reached, start, step, window)
    depth = len(safe)
    traits["depth"] = depth
    top = max(when for node, (when, _) in reached.items() if node in safe)
    return culprit, set(reached), size, min(top + step * float(rng.integers(0, 2)), AT - 0.2 * window)


def _hit(rng: Rng, draft: _Draft, node: str, shape: Array, size: float, most: int) -> None:
    metrics = draft.metrics(node)
    count = int(rng.integers(1, min(len(metrics), most) + 1))
    for metric in rng.choice(metrics, size=count, replace=False):
        draft.push(node, str(metric), shape, size * float(rng.uniform(0.6, 1.0)))


def _one_way_up(rng: Rng, node: str, above: Mapping[str, Sequence[str]]) -> set[str]:
    way = {node}
    while above[node]:
        node = str(rng.choice(list(above[node])))
        way.add(node)
    return way


def _side_effects(
    rng: Rng,
    draft: _Draft,
    below: Mapping[str, Sequence[str]],
    above: Mapping[str, Sequence[str]],
    culprit: str,
    reached: Mapping[str, tuple[float, float]],
    start: float,
    step: float,
    window: float,
) -> None:
    """Retries that load siblings, and starvation below the culprit: later and smaller than the fault."""
    siblings = {c for parent in above[culprit] for c in below[parent]} - set(reached)
    for group, chance in ((siblings, 0.25), (set(below[culprit]) - set(reached), 0.5)):
        for node in sorted(group):
            if rng.random() < chance:
                metrics = [m for m in draft.metrics(node) if m.startswith(("throughput", "cpu", "queue"))]
                if metrics:
                    later = min(start + step * float(rng.integers(1, 4)), AT - 0.15 * window)
                    shape = _shape(rng, "step", draft.times, later, AT)
                    draft.push(node, str(rng.choice(metrics)), shape, float(rng.uniform(2, 5)))


def _decoys(
    rng: Rng,
    draft: _Draft,
    below: Mapping[str, Sequence[str]],
    touched: set[str],
    window: float,
    loud: float,
    *,
    always: bool,
) -> int:
    """Unrelated trouble, louder than the cause: old, at the same time, a blip, or gone again."""
    if not always:
        return 0
    free = [name for name in below if name not in touched]
    count = min(len(free), int(rng.integers(1, 5)) if free else 0)
    for node in rng.choice(free, size=count, replace=False) if count else ():
        kind = str(rng.choice(["old", "now", "blip", "gone"], p=[0.4, 0.2, 0.25, 0.15]))
        size = loud * float(rng.uniform(1.1, 3.0))
        if kind == "old":
            shape = _shape(rng, "step", draft.times, AT - window * float(rng.uniform(1.5, 6.0)), AT)
        elif kind == "now":
            shape = _shape(
                rng, str(rng.choice(["step", "ramp"])), draft.times, AT - window * float(rng.uniform(0.1, 1.0)), AT
            )
        elif kind == "blip":
            when = AT - window * float(rng.uniform(0.05, 0.95))
            shape = ((draft.times >= when) & (draft.times < when + window * 0.12)).astype(float)
        else:
            when = AT - window * float(rng.uniform(1.0, 2.0))
            until = when + window * float(rng.uniform(0.5, 0.9))
            shape = ((draft.times >= when) & (draft.times < until)).astype(float)
        _hit(rng, draft, str(node), shape, size, most=2)
    return count


def _sla(
    rng: Rng,
    draft: _Draft,
    upward: bool,
    by_baseline: bool,
    window: float,
    baseline: float,
    *,
    broken: bool,
    hover: bool,
) -> Sla:
    """The promise: a threshold between what is normal and what is measured now, or its own past."""
    roots = ("n0",)
    if by_baseline:
        spec = BaselineSpec(window, baseline, "up" if upward else "down", 5.0)
        return Sla("sla", SLA_QUERY, None, spec, None, roots, HERE)
    past = draft.sla[draft.times < AT - window]
    now, edge = float(draft.sla[-1]), float(past.max() if upward else past.min())
    if broken:
        limit = (edge + now) / 2 if (now > edge) == upward else now * (0.98 if upward else 1.02)
    else:
        beyond = max(edge, float(draft.sla.max())) if upward else min(edge, float(draft.sla.min()))
        room = abs(beyond) * (0.01 if hover and rng.random() < 0.5 else 0.3)
        limit = beyond + room if upward else beyond - room
    threshold = parse_threshold(f"{'<' if upward else '>'} {limit:.6f}")
    return Sla("sla", SLA_QUERY, threshold, None, None, roots, HERE)


def _data(rng: Rng, draft: _Draft, step: float, keep: str | None) -> dict[str, tuple[Array, Array]]:
    """The series as a source has them: some missing, some late, some with gaps; counters added up."""
    data = {SLA_QUERY: (draft.times, draft.sla)}
    gone = {node for node in {n for n, _ in draft.series} if rng.random() < 0.03 and node != keep}
    for (node, metric), values in draft.series.items():
        if node in gone:
            continue
        times, x = draft.times, values
        if metric == "requests_total":
            x = np.cumsum(np.maximum(values, 0) * step)
        if rng.random() < 0.06:
            cut = int(rng.integers(1, 3))
            times, x = times[:-cut], x[:-cut]
        if rng.random() < 0.08:
            x = x.copy()
            at = int(rng.integers(0, len(x) - 6))
            x[at : at + int(rng.integers(1, 6))] = np.nan
        data[_query(node, metric)] = (times, x)
    return data


def _query(node: str, metric: str) -> str:
    return f'{metric}{{node="{node}"}}'


def _nodes(
    rng: Rng,
    draft: _Draft,
    below: Mapping[str, Sequence[str]],
    culprit: str | None,
    data: Mapping[str, tuple[Array, Array]],
    window: float,
) -> dict[str, Node]:
    """Nodes with their metrics; a few with a condition, which at some culprits holds."""
    nodes = {}
    for name, children in below.items():
        metrics = tuple(_query(name, m) for m in draft.metrics(name))
        conditions: tuple[Condition, ...] = ()
        if rng.random() < (0.25 if name == culprit else 0.08):
            conditions = tuple(_limit(metrics, data, AT - window))
        nodes[name] = Node(name=name, place=HERE, metrics=metrics, conditions=conditions, depends_on=tuple(children))
    return nodes


def _limit(metrics: Sequence[str], data: Mapping[str, tuple[Array, Array]], before: float) -> Iterator[Condition]:
    """A limit that an operator would set: well above everything that was seen before a time."""
    for query in metrics:
        if query in data and not query.startswith(("throughput", "requests")):
            times, values = data[query]
            past = values[times < before]
            if np.isfinite(past).any():
                yield parse_condition(f"{query} > {float(np.nanmax(past)) * 1.25 + 1e-6:.6f}")
                return


# ---------------------------------------------------------------- the family `microservice`


def _microservice(rng: Rng, name: str, *, fault: bool) -> Incident:
    """A call graph with 5-minute series: callers carry a share of what they call; traffic comes and goes."""
    size = int(rng.integers(10, 60))
    below = _tree(rng, size, "random")
    step, window, baseline = 300.0, 1500.0, 2 * DAY
    times = np.arange(AT - window - baseline, AT + 1e-6, step)
    n = len(times)
    traffic = 1 + 0.5 * np.sin(2 * np.pi * (times / DAY + rng.random())) + 0.06 * rng.normal(0, 1, n)
    if rng.random() < 0.3:  # busier than ever, for everybody
        traffic = traffic * np.where(
            times > AT - window * float(rng.uniform(0.5, 3)), float(rng.uniform(1.3, 2.0)), 1.0
        )
    traffic = np.maximum(traffic, 0.1)
    carried = _shares(rng, below)
    felt = [name for name, weight in carried[1].items() if weight > 0.1]
    culprit = str(rng.choice(felt)) if fault else None
    kind = str(rng.choice(["latency", "availability"], p=[0.6, 0.4]))
    start = AT - window * float(rng.uniform(0.4, 1.0))
    on = (times >= start).astype(float)
    latency, good, requests = _calls(rng, below, traffic, on, culprit, kind, carried)
    data: dict[str, tuple[Array, Array]] = {}
    for node in below:
        noise = rng.normal(1, 0.05, n)
        data[_query(node, "requests")] = (times, requests[node])
        data[_query(node, "latency_p50")] = (times, latency[node] * noise)
        data[_query(node, "latency_p95")] = (
            times,
            latency[node] * float(rng.uniform(1.8, 3.5)) * rng.lognormal(0, 0.1, n),
        )
        data[_query(node, "availability")] = (times, np.clip(good[node], 0, 1))
    outside = not fault and rng.random() < 0.2
    watched = "availability" if (kind == "availability" or (not fault and rng.random() < 0.4)) else "latency_p50"
    sla_values = data[_query("n0", watched)][1] * (1 + 0.005 * rng.normal(0, 1, n))
    if outside:
        sla_values = sla_values * (1 - 0.2 * on) if watched == "availability" else sla_values * (1 + 1.2 * on)
    data[SLA_QUERY] = (times, sla_values)
    loud = _loud_strangers(rng, data, below, culprit, times, window)
    direction = "down" if watched == "availability" else "up"
    spec = BaselineSpec(window, baseline, "both", 5.0)
    sla = Sla("sla", SLA_QUERY, None, BaselineSpec(window, baseline, direction, 4.0), None, ("n0",), HERE)
    metrics = ("requests", "latency_p50", "latency_p95", "availability")
    nodes = {
        node: Node(name=node, place=HERE, metrics=tuple(_query(node, m) for m in metrics), depends_on=tuple(children))
        for node, children in below.items()
    }
    traits: dict[str, str | int | float] = {
        "size": size,
        "step": step,
        "direction": direction,
        "judged": "baseline",
        "decoys": loud,
        "outside": int(outside),
        "shape": kind,
    }
    return Incident(name, "microservice", Forest({"sla": sla}, nodes), data, AT, spec, culprit, traits)


def _shares(rng: Rng, below: Mapping[str, Sequence[str]]) -> tuple[dict[tuple[str, str], float], dict[str, float]]:
    """The share of a callee that each caller carries, and how much of each service arrives at the entry."""
    shares = {(a, b): float(rng.uniform(0.4, 1.0)) for a, children in below.items() for b in children}
    weight = dict.fromkeys(below, 0.0)
    weight["n0"] = 1.0
    for name in _callers_first(below):
        for child in below[name]:
            weight[child] += weight[name] * shares[name, child]
    return shares, weight


def _callers_first(below: Mapping[str, Sequence[str]]) -> list[str]:
    waiting = {name: len(parents) for name, parents in _above(below).items()}
    ready, order = [name for name, count in waiting.items() if count == 0], []
    while ready:
        name = ready.pop()
        order.append(name)
        for child in below[name]:
            waiting[child] -= 1
            if waiting[child] == 0:
                ready.append(child)
    return order


def _calls(
    rng: Rng,
    below: Mapping[str, Sequence[str]],
    traffic: Array,
    on: Array,
    culprit: str | None,
    kind: str,
    carried: tuple[dict[tuple[str, str], float], dict[str, float]],
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    """Latency, availability and requests of every service, from the leaves up.

    The fault is as large as it has to be for the user to feel it: 25 to 150 % more latency at the entry, or 2 to
    20 points less availability.
    """
    shares, weight = carried
    own = {name: float(np.exp(rng.uniform(np.log(3), np.log(80)))) for name in below}
    entry = sum(own[name] * weight[name] for name in below)
    felt = float(rng.uniform(0.25, 1.5)) * entry, float(rng.uniform(0.02, 0.2))
    latency: dict[str, Array] = {}
    good: dict[str, Array] = {}
    requests: dict[str, Array] = {}
    n = len(traffic)
    for name in reversed(_callers_first(below)):
        busy = 1 + float(rng.uniform(0, 0.15)) * (traffic - 1)
        mine = own[name] * busy * rng.lognormal(0, 0.04, n)
        up = 1 - np.abs(rng.normal(0, float(rng.uniform(0.0005, 0.004)), n))
        if name == culprit and kind == "latency":
            mine = mine + felt[0] / max(weight[name], 0.05) * on
        elif name == culprit:
            up = up - min(0.8, felt[1] / max(weight[name], 0.05)) * on
        for child in below[name]:
            mine = mine + shares[name, child] * latency[child]
            up = up * (1 - shares[name, child] * (1 - good[child]))
        latency[name], good[name] = mine, up
        requests[name] = float(np.exp(rng.uniform(3, 8))) * traffic * rng.lognormal(0, 0.03, n)
    return latency, good, requests


def _loud_strangers(
    rng: Rng,
    data: dict[str, tuple[Array, Array]],
    below: Mapping[str, Sequence[str]],
    culprit: str | None,
    times: Array,
    window: float,
) -> int:
    """Nodes with an anomaly that nobody above feels: a batch job, a deployment, a broken exporter."""
    above = _above(below)
    related = {culprit} if culprit else set()
    queue = list(related)
    while queue:
        for parent in above[queue.pop()]:
            if parent not in related:
                related.add(parent)
                queue.append(parent)
    free = [name for name in below if name not in related and name != "n0"]
    count = min(len(free), int(rng.integers(0, 4)))
    for node in rng.choice(free, size=count, replace=False) if count else ():
        query = _query(str(node), str(rng.choice(["requests", "latency_p95"])))
        since = AT - window * float(rng.uniform(0.3, 4.0))
        stretch = 1 + float(rng.uniform(1.0, 5.0)) * (times >= since)
        data[query] = (times, data[query][1] * stretch)
    return count
