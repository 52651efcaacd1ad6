"""How well the culprit is found: top-1 and top-3, ties counted fairly, with two naive rankings beside."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from treewalk.content.checks import builtin_checks
from treewalk.diagnosing import Bench, diagnose
from treewalk.errors import SourceRejected
from treewalk.integrations.clock import SystemClock
from treewalk.model.diagnosis import Diagnosis
from treewalk.model.tree import Forest
from treewalk.ports import LogSource
from treewalk.stages.match import SignatureIndex
from treewalk.stages.rank import Weights

from bench.incidents.generate import Incident, incidents
from bench.incidents.source import MemoryMetrics


@dataclass
class Result:
    """One incident, diagnosed."""

    name: str
    family: str
    culprit: str | None
    status: str
    top1: float  # share of rank 1 that is the culprit
    top3: float
    top1_shuffled: float
    named: str | None
    loudest: float  # the naive rankings, scored alike
    deepest: float
    traits: Mapping[str, Any] = field(default_factory=dict)


def no_logs(name: str | None) -> LogSource:
    """The generated incidents have no logs."""
    raise SourceRejected("no logs here")


def bench_for(incident: Incident, weights: Weights | None = None) -> Bench:
    """A bench whose only source is the incident's own data."""
    source = MemoryMetrics(incident.data)
    return Bench(
        metrics=lambda name: source,
        logs=no_logs,
        checks=builtin_checks(),
        known=SignatureIndex(()),
        clock=SystemClock(),
        at=incident.at,
        window=incident.spec.window,
        baseline=incident.spec,
        live=False,
        deadline=600.0,
        weights=weights or Weights(),
    )


async def look(incident: Incident, forest: Forest, weights: Weights | None = None) -> Diagnosis:
    """One diagnosis of one incident."""
    return await diagnose(forest.tree("sla"), bench_for(incident, weights))


def share(ranks: Mapping[str, int], culprit: str | None, most: int) -> float:
    """Credit for the culprit being within the first `most`: the expected hit when equals are drawn by lot."""
    if culprit not in ranks:
        return 0.0
    better = sum(r < ranks[culprit] for r in ranks.values())
    equal = sum(r == ranks[culprit] for r in ranks.values())
    return max(0.0, min(1.0, (most - better) / equal))


def ranks_of(diagnosis: Diagnosis) -> dict[str, int]:
    return {s.node: s.rank for s in diagnosis.suspects}


def evaluate(incident: Incident) -> Result:
    """Diagnose one incident twice, the second time with everything in another order."""
    first = asyncio.run(look(incident, incident.forest))
    second = asyncio.run(look(incident, incident.shuffled(7))) if incident.culprit else first
    loudest: dict[str, float] = {}
    for a in first.findings.anomalies:
        loudest[a.node] = max(loudest.get(a.node, 0.0), abs(a.score))
    depth = incident.forest.tree("sla").depth
    by_noise = _ranked(loudest)
    by_depth = _ranked({n: depth[n] for n, z in loudest.items() if z >= 5})
    return Result(
        name=incident.name,
        family=incident.family,
        culprit=incident.culprit,
        status=first.measurement.status,
        top1=share(ranks_of(first), incident.culprit, 1),
        top3=share(ranks_of(first), incident.culprit, 3),
        top1_shuffled=share(ranks_of(second), incident.culprit, 1),
        named=first.root_cause.node if first.root_cause else None,
        loudest=share(by_noise, incident.culprit, 1),
        deepest=share(by_depth, incident.culprit, 1),
        traits=incident.traits,
    )


def _ranked(scores: Mapping[str, float]) -> dict[str, int]:
    return {name: 1 + sum(other > mine for other in scores.values()) for name, mine in scores.items()}


def _evaluate_range(arguments: tuple[int, int, int, str, int, int]) -> list[Result]:
    seed, faults, quiet, family, part, parts = arguments
    found = incidents(seed, faults, quiet, family)
    return [evaluate(incident) for number, incident in enumerate(found) if number % parts == part]


def score(seed: int, faults: int, quiet: int, family: str, workers: int = 2) -> list[Result]:
    """All incidents of a family, in `workers` processes."""
    jobs = [(seed, faults, quiet, family, part, workers) for part in range(workers)]
    if workers == 1:
        return _evaluate_range(jobs[0])
    with ProcessPoolExecutor(workers) as pool:
        return [result for part in pool.map(_evaluate_range, jobs) for result in part]


def summary(results: Sequence[Result]) -> dict[str, float]:
    """The figures that the benchmark reports."""
    faults = [r for r in results if r.culprit is not None]
    quiet = [r for r in results if r.culprit is None]
    named_wrongly = [r for r in faults if r.named is not None and r.named != r.culprit]
    return {
        "incidents": len(results),
        "with_fault": len(faults),
        "top1": _mean(r.top1 for r in faults),
        "top1_shuffled": _mean(r.top1_shuffled for r in faults),
        "top3": _mean(r.top3 for r in faults),
        "abstained_with_fault": _mean(r.named is None for r in faults),
        "named_wrongly": len(named_wrongly) / max(1, len(faults)),
        "quiet": len(quiet),
        "named_where_none": _mean(r.named is not None for r in quiet),
        "naive_loudest_top1": _mean(r.loudest for r in faults),
        "naive_deepest_top1": _mean(r.deepest for r in faults),
    }


def _mean(values: Iterable[float]) -> float:
    found = [float(v) for v in values]
    return sum(found) / len(found) if found else 0.0


def by_trait(results: Sequence[Result], trait: str) -> dict[str, float]:
    """Top-1 for each value of a trait."""
    groups: dict[str, list[float]] = {}
    for r in results:
        if r.culprit is not None and trait in r.traits:
            groups.setdefault(str(r.traits[trait]), []).append(r.top1)
    return {key: _mean(values) for key, values in sorted(groups.items())}


def main() -> None:
    """`python -m bench.incidents.score [seed]`: score both families, print a table, write bench/out/incidents.json."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    report: dict[str, Any] = {"seed": seed}
    for family, faults, quiet in (("pipeline", 300, 60), ("microservice", 150, 40)):
        results = score(seed, faults, quiet, family)
        traits = {f"by_{t}": by_trait(results, t) for t in ("judged", "step", "direction", "shape")}
        report[family] = {**summary(results), **traits}
        print(f"{family}: " + ", ".join(f"{k} {v:.3g}" for k, v in summary(results).items()))
        report[family]["results"] = [asdict(r) for r in results]
    out = Path("bench/out")
    out.mkdir(parents=True, exist_ok=True)
    (out / "incidents.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
