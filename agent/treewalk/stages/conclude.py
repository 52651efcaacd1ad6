"""From suspects to a claim, or to saying that there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from treewalk.model.diagnosis import Measurement, RootCause, Suspect
from treewalk.model.evidence import Evidence, Gap, LogGroup, Mention
from treewalk.model.known import Match
from treewalk.model.tree import Tree
from treewalk.model.verdict import Status, Verdict

LEAST_SCORE = 3.0  # what a merely unusual node needs to be blamed: e³, twenty times likelier than that it is innocent
_MOST_TIED = 3


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The claim, or None; with suspects that cite their evidence, remarks, and what would help."""

    root_cause: RootCause | None
    suspects: tuple[Suspect, ...]
    known_error: Match | None
    remarks: tuple[str, ...]
    help: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """Everything that a conclusion rests on."""

    tree: Tree
    measurement: Measurement
    verdicts: Mapping[str, Verdict]
    suspects: Sequence[Suspect]
    matches: Sequence[Match]
    evidence: Sequence[Evidence]
    gaps: Sequence[Gap]
    logs: Sequence[LogGroup]
    mentions: Sequence[Mention]


def conclude(case: Case) -> Conclusion:
    """Blame the best suspect when it is fit to be blamed, else abstain and say what would help. Pure.

    While the SLA is not violated only those that are fit are considered: an unusual node cannot stand before a
    declared one there.
    """
    suspects = tuple(replace(s, cites=_cites(case, s.node)) for s in case.suspects)
    recognised = next((m for m in case.matches if m.complete), None)
    able = suspects if case.measurement.status == "violated" else [s for s in suspects if _fit(case, s)]
    blamed = [s for s in able if s.rank == able[0].rank]
    if not blamed or len(blamed) > _MOST_TIED or not any(_fit(case, s) for s in blamed):
        return Conclusion(None, suspects, recognised, _remarks(case, suspects, None), _help(case, suspects))
    best = next(s for s in blamed if _fit(case, s))
    tied = tuple(s.node for s in blamed if s.node != best.node)
    cause = _root_cause(case, best, suspects, recognised, tied)
    return Conclusion(cause, suspects, recognised, _remarks(case, suspects, cause), ())


def _declared(verdict: Verdict) -> bool:
    return verdict.status.troubled and verdict.origin != "baseline"


def _fit(case: Case, suspect: Suspect) -> bool:
    """Declared trouble is enough. Being merely unusual is not: it has to explain a violated SLA."""
    if suspect.parts.get("known_error", 0.0) > 0 or _declared(suspect.verdict):
        return True
    if case.measurement.status != "violated":
        return False
    return suspect.score >= LEAST_SCORE


def _root_cause(
    case: Case, best: Suspect, suspects: Sequence[Suspect], recognised: Match | None, tied: tuple[str, ...]
) -> RootCause:
    own = recognised is not None and best.node in (recognised.error.root_node, recognised.node)
    match = recognised if own else None
    reason = match.error.root_cause if match else best.verdict.reason
    if not match and not best.verdict.status.troubled:
        found = next((e for e in case.evidence if e.node == best.node and e.kind == "metric"), None)
        reason = found.summary if found else reason
    if case.tree.nodes[best.node].external:
        reason += " (external: it can be detected here, not fixed)"
    return RootCause(
        node=best.node,
        reason=reason,
        basis="known" if match else "reasoned",
        confidence=_confidence(best, suspects, known=match is not None),
        category=match.error.category if match else "",
        cites=best.cites,
        tied_with=tied,
    )


def _confidence(best: Suspect, suspects: Sequence[Suspect], *, known: bool) -> float:
    """From 0 to 1: the share of the blamed node in all that the suspects account for, against blaming nobody.

    Scores are logarithms of likelihood ratios, so shares of their exponentials are probabilities as far as the model
    holds. It does not hold that far: the share is bounded by 0.95 for what was reasoned.
    """
    others = [LEAST_SCORE, *(s.score for s in suspects)]
    share = 1.0 / sum(math.exp(min(50.0, score - best.score)) for score in others)
    least = 0.5 if known or _declared(best.verdict) else 0.0
    tied = sum(s.rank == best.rank for s in suspects)
    return round(min(0.99 if known else 0.95, max(share, least / tied)), 2)


def _cites(case: Case, node: str) -> tuple[str, ...]:
    accusers = {m.by for m in case.mentions if m.of == node}
    own = [e.id for e in case.evidence if e.node == node]
    others = [e.id for e in case.evidence if e.kind == "log" and e.node in accusers]
    return tuple(own + others)


def _remarks(case: Case, suspects: Sequence[Suspect], cause: RootCause | None) -> tuple[str, ...]:
    """What was seen besides and is not blamed: unusual nodes that do not explain the SLA."""
    said = []
    for name, verdict in case.verdicts.items():
        if not verdict.status.troubled or (cause is not None and name == cause.node):
            continue
        if verdict.origin == "baseline":
            why = "nothing is violated" if case.measurement.status == "met" else "it explains the SLA less well"
            said.append(f"{name} is unusual ({verdict.reason}); {why}")
    if not case.measurement.in_window:
        said.append("the SLA's window is closed at this moment")
    return tuple(said)


def _help(case: Case, suspects: Sequence[Suspect]) -> tuple[str, ...]:
    """What would make the next look succeed; only worth saying when something is wrong."""
    said = []
    status = case.measurement.status
    if status == "unknown":
        said.append(f"the SLA could not be measured: {case.measurement.reason}")
    unknown = [name for name, v in case.verdicts.items() if v.status is Status.UNKNOWN]
    if unknown and status != "met":
        said.append(f"{len(unknown)} of {len(case.verdicts)} nodes could not be looked at: {', '.join(unknown[:5])}")
    if status == "violated" and not unknown:
        if suspects:
            near = ", ".join(s.node for s in suspects[:3])
            said.append(f"no node explains the SLA well enough to be blamed; nearest: {near}")
        else:
            said.append(
                "every node under the SLA looks healthy: the cause stands outside this tree, or a check is missing"
            )
    if status == "violated" and case.gaps:
        said.append(f"{len(case.gaps)} looks failed; see the gaps")
    return tuple(said)
