"""What the series of a tree say together: for each node, whether and when its own trouble began. Pure.

A node in trouble shows it in some of its series, rarely in all. A series that changes at most nodes at once (traffic
comes for everybody) accuses none of them. And a node may change in the very window for reasons of its own: that is
weighed too, so that no change, however loud, is worth more than what such a coincidence costs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from treewalk.analysis.changes import SHAPE_PRIOR, Array, Changes, changes, log_sum
from treewalk.analysis.comparing import Compared

_SERIES_A_NODE = 8  # the most deviating ones
_SHOWS = 0.5  # how likely one series of a troubled node shows it
_SILENT = 0.1  # how likely a troubled node shows it in none
_COINCIDENCE = 0.05  # how likely a node changes in the window without having to do with it
_SLA_TELLS = 0.95  # how surely the SLA's own series tells when its trouble began: it is often derived, and late
_EVERYBODY = 0.4  # from this share of nodes on, a change of the same series is everybody's
_FEWEST = 5  # nodes; of fewer nobody can say what everybody does
_MATCHERS = re.compile(r"\{[^}]*\}")
_LABELS = re.compile(r"\s+")


@dataclass(frozen=True)
class Symptoms:
    """`nodes[name]` and `sla` are logs of likelihood ratios by shape and moment (see `changes`); `step` is the distance
    of moments, `sampling` that of the samples, in seconds; `moments` are Unix seconds. `changed` holds the nodes that
    rather changed than not, whenever and however that was."""

    nodes: Mapping[str, Array]
    changed: frozenset[str]
    sla: Array
    moments: Array
    step: float
    sampling: float


def symptoms(compared: Mapping[str, Sequence[Compared]], own: Compared | None, at: float, window: float) -> Symptoms:
    """The evidence of every node that has series, and of the SLA's own series; `at` and `window` in (Unix) seconds."""
    of_nodes = [(name, c) for name in sorted(compared) for c in _leading(compared[name])]
    series = [c.deviation for _, c in of_nodes] + ([own.deviation] if own is not None else [])
    found = changes(series, at, window)
    otherwise = _with_surges(found, [(name, _kind(c)) for name, c in of_nodes])
    rows = sorted({name for name, _ in of_nodes})
    nodes = _nodes(found.begins, otherwise, [name for name, _ in of_nodes])
    sla = _sla(found.begins[-1], float(otherwise[-1])) if own is not None else np.zeros(found.begins.shape[1:])
    whole = in_all(np.stack([nodes[name] for name in rows])) if rows else np.zeros(0)
    changed = frozenset(name for name, ratio in zip(rows, whole, strict=True) if ratio > 0)
    return Symptoms(nodes, changed, sla, found.grid, found.step, found.sampling)


def _leading(found: Sequence[Compared]) -> list[Compared]:
    """The most deviating series of a node, in an order that does not depend on that of the answer."""
    return sorted(found, key=lambda c: (-abs(c.anomaly.score), c.anomaly.query, c.anomaly.series))[:_SERIES_A_NODE]


def _kind(c: Compared) -> str:
    """What a query measures, whatever node it asks about: its text without label matchers."""
    return _LABELS.sub("", _MATCHERS.sub("", c.anomaly.query))


def _with_surges(found: Changes, kinds: Sequence[tuple[str, str]]) -> Array:
    """The rival accounts of each series, with one more: that the same series changes at most nodes at that time."""
    otherwise = found.otherwise.copy()
    shapes, moments = found.begins.shape[1:]
    for kind in sorted({k for _, k in kinds}):
        rows = [row for row, (_, k) in enumerate(kinds) if k == kind]
        if len({kinds[row][0] for row in rows}) < _FEWEST:
            continue
        begins = log_sum(found.begins[rows], axis=1) - math.log(shapes)
        whole = log_sum(begins, axis=1)
        changed = 1 / (1 + np.exp(-np.clip(whole - math.log(moments) - otherwise[rows] - 2.0, -50, 50)))
        shared = 0.95 * (float(changed.mean()) - _EVERYBODY) / (1 - _EVERYBODY)
        if shared <= 0:
            continue
        when = (changed[:, None] * np.exp(begins - whole[:, None])).sum(axis=0)
        surge = log_sum(begins + np.log(when / when.sum() + 1e-4), axis=1)
        otherwise[rows] = np.logaddexp(math.log(1 - shared) + otherwise[rows], math.log(shared) + surge)
    return otherwise


def _nodes(begins: Array, otherwise: Array, owners: Sequence[str]) -> dict[str, Array]:
    """Each node's evidence from that of its series (neighbours in the list), of which each shows the trouble or goes
    on as it would."""
    if not owners:
        return {}
    starts = [row for row, name in enumerate(owners) if row == 0 or owners[row - 1] != name]
    count = np.diff([*starts, len(owners)])
    begins, otherwise = begins[: len(owners)], otherwise[: len(owners)]
    rest = math.log(1 - _SHOWS) + otherwise
    each = np.add.reduceat(np.logaddexp(rest[:, None, None], math.log(_SHOWS) + begins), starts, axis=0)
    none = np.add.reduceat(rest, starts)[:, None, None]
    at_least_one = np.log(1 - (1 - _SHOWS) ** count)[:, None, None]
    some = each + np.log1p(-np.exp(np.minimum(none - each, -1e-9))) - at_least_one
    calm = np.add.reduceat(otherwise, starts)
    strange = math.log(_COINCIDENCE) + in_all(some)
    unrelated = np.logaddexp(math.log(1 - _COINCIDENCE) + calm, strange)[:, None, None]
    related = np.logaddexp(math.log(1 - _SILENT) + some, math.log(_SILENT) + calm[:, None, None]) - unrelated
    return {owners[start]: related[number] for number, start in enumerate(starts)}


def in_all(evidence: Array) -> Array:
    """Evidence that does not ask when and how: the mean over shapes, as common as they are, and moments."""
    whole = log_sum(evidence + np.log(SHAPE_PRIOR)[:, None], axis=(-2, -1))
    return np.asarray(whole - math.log(evidence.shape[-1]))


def _sla(begins: Array, otherwise: float) -> Array:
    """When the SLA's own trouble began, on average 1 over all moments; flat as far as its series does not tell."""
    whole = float(in_all(begins))
    told = 1 / (1 + math.exp(-min(50.0, max(-50.0, whole - otherwise))))
    told = min(told, _SLA_TELLS)
    return np.asarray(np.log(told * np.exp(np.maximum(begins - whole, -50.0)) + 1 - told))
