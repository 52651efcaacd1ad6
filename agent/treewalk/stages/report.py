"""A diagnosis as data with a stable schema, and as a story for people. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from treewalk.model.diagnosis import Diagnosis, RootCause, Suspect
from treewalk.model.evidence import Evidence
from treewalk.model.known import Match
from treewalk.model.markup import cell, code, escaped, plain
from treewalk.model.quantity import counted, format_duration
from treewalk.model.verdict import Status, Verdict

SCHEMA = "treewalk/diagnosis/1"
MET, CULPRIT, ABSTAINED, NO_SOURCE = 0, 1, 3, 4
_MOST_SUSPECTS = 5

Json = dict[str, Any]


def exit_code(d: Diagnosis) -> int:
    """0 met and nothing broken; 1 a root cause is named; 3 treewalk abstains; 4 no source answered."""
    if d.root_cause is not None:
        return CULPRIT
    nothing_known = all(v.status is Status.UNKNOWN for v in d.verdicts.values())
    if d.unreachable and d.measurement.status == "unknown" and nothing_known:
        return NO_SOURCE
    broken = any(v.status.troubled and v.origin != "baseline" for v in d.verdicts.values())
    if d.measurement.status == "met" and not broken and not _too_much_unknown(d):
        return MET
    return ABSTAINED


def _too_much_unknown(d: Diagnosis) -> bool:
    """More than half of the nodes that were meant to be looked at could not be."""
    looked = [v for v in d.verdicts.values() if v.origin != "none"]
    return 2 * sum(v.status is Status.UNKNOWN for v in looked) > len(looked)


def document(d: Diagnosis) -> Json:
    """The diagnosis as JSON data: `treewalk/diagnosis/1`, described in docs/schemas/diagnosis.json."""
    m = d.measurement
    return {
        "schema": SCHEMA,
        "sla": d.sla,
        "status": m.status,
        "measured": _number(m.measured),
        "shown": m.shown,
        "limit": m.limit,
        "reason": m.reason,
        "onset": _number(m.onset),
        "in_window": m.in_window,
        "root_cause": _root_cause(d, d.root_cause) if d.root_cause else None,
        "suspects": [_suspect(s) for s in d.suspects],
        "known_error": _match(d.known_error) if d.known_error else None,
        "near_misses": [_match(n) for n in d.near_misses],
        "unknowns": dict(d.unknowns),
        "gaps": [{"node": g.node, "source": g.source, "what": g.what, "why": g.why} for g in d.gaps],
        "verdicts": {name: _verdict(v) for name, v in d.verdicts.items()},
        "evidence": [_evidence(e) for e in d.findings.evidence],
        "mentions": [
            {"by": x.by, "of": x.of, "word": x.word, "count": x.count, "sample": x.sample} for x in d.findings.mentions
        ],
        "remarks": list(d.remarks),
        "help": list(d.help),
        "exit_code": exit_code(d),
        "timing": {
            "at": d.timing.at,
            "started": d.timing.started,
            "total": round(d.timing.total, 4),
            "stages": {name: round(s, 4) for name, s in d.timing.stages.items()},
        },
    }


def _number(value: float | None) -> float | None:
    """JSON has no NaN and no infinity; the reason beside it says what it was."""
    return value if value is not None and math.isfinite(value) else None


def _verdict(v: Verdict) -> Json:
    return {
        "verdict": v.status.value,
        "reason": v.reason,
        "observed": v.observed,
        "expected": v.expected,
        "when": _number(v.when),
        "onset": _number(v.onset),
        "size": _number(v.size),
        "origin": v.origin,
    }


def _root_cause(d: Diagnosis, cause: RootCause) -> Json:
    path = next((s.path for s in d.suspects if s.node == cause.node), (cause.node,))
    return {
        "node": cause.node,
        "reason": cause.reason,
        "basis": cause.basis,
        "confidence": cause.confidence,
        "category": cause.category,
        "path": list(path),
        "cites": list(cause.cites),
        "tied_with": list(cause.tied_with),
    }


def _suspect(s: Suspect) -> Json:
    return {
        "node": s.node,
        "rank": s.rank,
        "score": s.score,
        "parts": dict(s.parts),
        "verdict": s.verdict.status.value,
        "path": list(s.path),
        "cites": list(s.cites),
    }


def _match(m: Match) -> Json:
    return {
        "id": m.error.id,
        "node": m.node,
        "root_cause": m.error.root_cause,
        "root_node": m.error.root_node,
        "category": m.error.category,
        "severity": m.error.severity,
        "trust": m.error.trust,
        "signals": [
            {"signal": s.signal, "state": s.state, "reason": s.reason, "evidence": s.evidence} for s in m.signals
        ],
    }


def _evidence(e: Evidence) -> Json:
    return {
        "id": e.id,
        "node": e.node,
        "kind": e.kind,
        "source": e.source,
        "query": e.query,
        "window": list(e.window),
        "summary": e.summary,
        "samples": list(e.samples),
        "count": e.count,
        "truncated": e.truncated,
        "data": {k: _number(v) if isinstance(v, float) else v for k, v in e.data.items()},
    }


def clock(at: float | None) -> str:
    """A Unix time for people: `2026-01-15 04:47:10Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if at is not None else "?"


def headline(d: Diagnosis) -> str:
    """The whole story in one line."""
    m = d.measurement
    measured = f"{m.shown} against {m.limit}" if m.shown and m.limit else m.reason
    state = {"met": "is met", "violated": "is VIOLATED", "unknown": "could not be measured"}[m.status]
    if d.root_cause is not None:
        tied = f" (equal with {', '.join(d.root_cause.tied_with)})" if d.root_cause.tied_with else ""
        tail = f"root cause: {d.root_cause.node}{tied}"
        if m.status == "met":
            verdict = d.verdicts.get(d.root_cause.node)
            how = verdict.status.value if verdict is not None and verdict.status.troubled else "in trouble"
            return f"{d.sla} {state} ({measured}), but {d.root_cause.node} is {how}{tied}"
    elif exit_code(d) == MET:
        tail = f"nothing known to be broken, {len(d.unknowns)} unknown" if d.unknowns else "nothing is broken"
    elif exit_code(d) == NO_SOURCE:
        tail = "no source could be reached"
    else:
        tail = "no culprit found"
    return f"{d.sla} {state} ({measured}); {tail}"


def text(d: Diagnosis) -> str:
    """The story as plain lines: the headline first, then each part."""
    return "\n".join(plain(line) for line in _story(d))


def markdown(d: Diagnosis) -> str:
    """The story for a ticket. What came from logs stands in code, so that it cannot become markup."""
    m = d.measurement
    lines = [
        f"## {escaped(headline(d))}",
        "",
        f"Looked at {clock(d.timing.at)}, in {format_duration(d.timing.total)}.",
        "",
    ]
    lines += [f"- **Measured:** {escaped(m.reason)}", f"- **Limit:** {escaped(m.limit or 'none')}"]
    if d.root_cause:
        lines.append(f"- **Root cause:** {code(d.root_cause.node)}: {escaped(d.root_cause.reason)}")
        lines.append(f"- **Basis:** {d.root_cause.basis}, confidence {d.root_cause.confidence}")
    if d.known_error:
        lines.append(f"- **Known error:** {code(d.known_error.error.id)} {escaped(d.known_error.error.root_cause)}")
    for title, items in (("Evidence", _evidence_lines(d)), ("Near misses", [str(n) for n in d.near_misses])):
        if items:
            lines += ["", f"### {title}", "", *[f"- {code(item)}" for item in items]]
    if d.suspects:
        lines += ["", "### Suspects", "", "| rank | node | score | parts |", "|---|---|---|---|"]
        shown = d.suspects[:_MOST_SUSPECTS]
        lines += [f"| {s.rank} | {cell(s.node)} | {s.score:.2f} | {escaped(_parts(s))} |" for s in shown]
        lines += ["", *(escaped(line) for line in [_not_shown(d)] if line)]
    for title, items in (
        ("Other alerts that fire", _alert_lines(d)),
        ("Unknown", _unknown_lines(d)),
        ("Gaps", _gap_lines(d)),
        ("Remarks", list(d.remarks)),
        ("What would help", list(d.help)),
    ):
        if items:
            lines += ["", f"### {title}", "", *[f"- {escaped(item)}" for item in items]]
    return "\n".join(lines) + "\n"


def _story(d: Diagnosis) -> Iterable[str]:
    m = d.measurement
    yield headline(d)
    yield ""
    yield f"measured    {m.reason}" + (f", since {clock(m.onset)}" if m.onset else "")
    yield f"looked at   {_counts(d.verdicts)} in {format_duration(d.timing.total)}, at {clock(d.timing.at)}"
    if d.root_cause is not None:
        yield from _cause_lines(d, d.root_cause)
    if d.known_error is not None:
        yield from _known_lines(d.known_error)
    yield from _section("evidence", _evidence_lines(d) if d.root_cause or d.known_error else ())
    for match in d.near_misses:
        yield f"near miss   {match}"
    if d.suspects:
        yield ""
        yield "suspects"
        for suspect in d.suspects[:_MOST_SUSPECTS]:
            yield f"  {suspect.rank}. {suspect.node:<28} {suspect.score:5.2f}  {_parts(suspect)}"
        if rest := _not_shown(d):
            yield f"  {rest}"
    yield from _section("other alerts that fire", _alert_lines(d))
    yield from _section("unknown", _unknown_lines(d))
    yield from _section("gaps", _gap_lines(d))
    yield from _section("remarks", d.remarks)
    yield from _section("what would help", d.help)


def _cause_lines(d: Diagnosis, cause: RootCause) -> Iterable[str]:
    path = next((s.path for s in d.suspects if s.node == cause.node), (cause.node,))
    yield f"path        {' → '.join((d.sla, *path))}"
    yield ""
    yield f"root cause  {cause.node}: {cause.reason}"
    if cause.tied_with:
        yield f"            equally likely: {', '.join(cause.tied_with)}"
    yield f"            basis: {cause.basis}, confidence {cause.confidence:.2f}"


def _known_lines(match: Match) -> Iterable[str]:
    """A known error whose signals all hold, whether or not somebody is blamed."""
    error = match.error
    yield f"known error {error.id} ({error.severity}, {error.category or 'no category'}): {error.root_cause}"
    for signal in match.signals:
        cited = f" [{signal.evidence}]" if signal.evidence else ""
        yield f"            {signal.signal}: {signal.reason}{cited}"


def _section(title: str, items: Iterable[str]) -> Iterable[str]:
    found = list(items)
    if found:
        yield ""
        yield title
        yield from (f"  {item}" for item in found)


def _evidence_lines(d: Diagnosis) -> list[str]:
    cited = set(d.root_cause.cites) if d.root_cause else set()
    if d.known_error is not None:
        cited |= {signal.evidence for signal in d.known_error.signals if signal.evidence}
    lines = []
    for e in d.findings.evidence:
        if e.id in cited or e.kind == "sla":
            sample = f'  e.g. "{e.samples[0]}"' if e.samples else ""
            cut = " (the source cut its answer)" if e.truncated else ""
            lines.append(f"{e.id:<4} {e.node or d.sla}: {e.summary}{sample}{cut}")
    return lines


def _alert_lines(d: Diagnosis) -> list[str]:
    """Alerts at nodes that are not healthy and are not blamed; those of the cause stand in its evidence."""
    cited = set(d.root_cause.cites) if d.root_cause else set()
    return [f"{e.id:<4} {e.node}: {e.summary}" for e in d.findings.evidence if e.kind == "alert" and e.id not in cited]


def _unknown_lines(d: Diagnosis) -> list[str]:
    return [f"{name}: {why}" for name, why in d.unknowns.items()]


def _gap_lines(d: Diagnosis) -> list[str]:
    """What else could not be looked at. A node's metrics that failed as its verdict did stand there already."""
    told = {(node, "metrics"): why for node, why in d.unknowns.items()}
    gaps = (g for g in d.gaps if g.why not in told.get((g.node or "", g.what), ""))
    return [f"{g.node or d.sla} {g.what}: {g.why}" for g in gaps]


def _not_shown(d: Diagnosis) -> str:
    """What is said of the suspects that are not listed; "" where all are."""
    rest = d.suspects[_MOST_SUSPECTS:]
    if not rest:
        return ""
    last = d.suspects[_MOST_SUSPECTS - 1]
    equal = sum(s.rank == last.rank for s in rest)
    return f"and {len(rest)} more" + (f", {equal} of them equal with the last one here" if equal else "")


def _counts(verdicts: Mapping[str, Verdict]) -> str:
    states = [v.status for v in verdicts.values()]
    each = [f"{states.count(s)} {s.value}" for s in Status if states.count(s)]
    return f"{counted(len(states), 'node')}: {', '.join(each)}" if states else "no nodes"


def _parts(s: Suspect) -> str:
    return " + ".join(f"{name} {value:.2f}" for name, value in s.parts.items() if value)
