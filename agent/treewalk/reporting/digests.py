"""The digest of a day and of a week: what happened, in a line, in a page, and as data. Pure but for templates.

Names of SLAs, nodes and fixes are strangers' texts: the templates print them, and what they print stays text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from treewalk.model.message import Rendered
from treewalk.model.period import Answers, Case, Loss, ModelUse, PeriodFacts, Spread, counts
from treewalk.reporting.environment import render
from treewalk.reporting.wording import clock, many, plain, short, span, word

SCHEMA = "treewalk/period/1"
Kind = Literal["daily", "weekly"]
_BARS = "▁▂▃▄▅▆▇█"
_MOST = 20  # rows of a table
_WIDEST = 48  # characters of a name in the text form
_HOUR = 3600.0
NO_MODEL = "no model was asked (0 tokens, cost 0)"


@dataclass(frozen=True, slots=True)
class Table:
    """A heading, the names of the columns, and rows of text; the first cell of a row is a name. `more` are left out."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    more: int = 0

    @property
    def lines(self) -> tuple[str, ...]:
        """It as lines of plain text, in columns."""
        cells = [[short(cell, _WIDEST) for cell in row] for row in (self.columns, *self.rows)]
        widths = [max(len(row[k]) for row in cells) for k in range(len(self.columns))]
        return tuple("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def daily(facts: PeriodFacts, day: date, timezone: str = "UTC") -> Rendered:
    """The digest of a day: `day` names it, `timezone` is whose hours are counted."""
    return _rendered("daily", facts, day, timezone)


def weekly(facts: PeriodFacts, week: date, timezone: str = "UTC") -> Rendered:
    """The summary of a week, named by any of its days; `timezone` is whose days are counted."""
    return _rendered("weekly", facts, week, timezone)


def headline(kind: Kind, facts: PeriodFacts, day: date) -> str:
    """All of it in one line."""
    name = f"{'Daily digest' if kind == 'daily' else 'Weekly summary'} {label(kind, day)}"
    if not (facts.opened or facts.closed or facts.living or facts.losses):
        return f"{name}: no incident"
    parts = [many(len(facts.opened), "incident"), f"{len(facts.closed)} ended", f"{len(facts.living)} open"]
    if facts.lost:
        parts.append(f"SLAs lost {_at_least(any(x.at_least for x in facts.losses))}{span(facts.lost)} in all")
    elif facts.losses:
        parts.append("what SLAs lost is unknown")
    return f"{name}: {', '.join(parts)}"


def label(kind: Kind, day: date) -> str:
    """How a day or a week is called: `2026-01-15`, `2026-W03`."""
    if kind == "daily":
        return day.isoformat()
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02}"


def bounds(kind: Kind, day: date, timezone: str) -> tuple[float, float]:
    """From when to when a calendar day, or the week that it is in (Monday to Sunday), lasts; Unix seconds."""
    first = day if kind == "daily" else day - timedelta(days=day.weekday())
    zone = ZoneInfo(timezone)
    last = first + timedelta(days=1 if kind == "daily" else 7)
    start, end = (datetime(d.year, d.month, d.day, tzinfo=zone).timestamp() for d in (first, last))
    return start, end


def day_of(start: float, end: float, timezone: str) -> date:
    """The day that a period is named after: that of its middle, so that 08:00 to 08:00 is the day it began."""
    return datetime.fromtimestamp((start + end) / 2, ZoneInfo(timezone)).date()


def sparkline(numbers: Sequence[int]) -> str:
    """Small bars, one a number, the highest for the greatest; a dot for none."""
    top = max(numbers, default=0)
    return "".join(_BARS[-(-n * len(_BARS) // top) - 1] if n else "·" for n in numbers)


def document(kind: Kind, facts: PeriodFacts, day: date, timezone: str = "UTC") -> dict[str, Any]:
    """A digest as JSON data, `treewalk/period/1`. Times are Unix seconds, spans seconds, null is unknown."""
    return {
        "schema": SCHEMA,
        "kind": kind,
        "name": label(kind, day),
        "summary": headline(kind, facts, day),
        "start": facts.start,
        "end": facts.end,
        "until": facts.until,
        "incidents": {
            "opened": len(facts.opened),
            "closed": len(facts.closed),
            "severities": dict(facts.severities),
            "endings": dict(facts.endings),
            "by_part": [{"from": at, "opened": n} for at, n in _parts(kind, facts, timezone)],
            "living": [_case(case) for case in facts.living],
            "left_out": facts.left_out,
        },
        "detect": asdict(facts.detect),
        "resolve": asdict(facts.resolve),
        "known_errors": {"diagnosed": facts.diagnosed, "known": facts.known},
        "alerts": {"came": facts.alerts, "unmapped": facts.unmapped},
        "decisions": [{"tier": t, "ruling": r, "count": n} for (t, r), n in sorted(facts.decisions.items())],
        "actions": [{"action": a, "outcome": o, "count": n} for (a, o), n in sorted(facts.actions.items())],
        "slas": [asdict(loss) for loss in facts.losses],
        "seconds_lost": facts.lost,
        "questions": asdict(facts.questions),
        "fixes": [asdict(fix) for fix in facts.fixes],
        "noisiest": [asdict(noise) for noise in facts.noisiest],
        "model": asdict(facts.model),
    }


def _rendered(kind: Kind, facts: PeriodFacts, day: date, timezone: str) -> Rendered:
    title = headline(kind, facts, day)
    parts = _parts(kind, facts, timezone)
    values = {
        "title": title,
        "start": facts.start,
        "end": facts.until,
        "unfinished": facts.until < facts.end,
        "bars": sparkline([n for _, n in parts]),
        "parts": _named(kind, parts, timezone),
        "lines": tuple(_lines(facts)),
        "tables": tuple(t for t in _tables(facts) if t.rows),
        "left_out": facts.left_out,
    }
    text, markdown, html = (render(kind, form, **values) for form in ("text", "markdown", "html"))
    return Rendered(title, text, markdown, html)


def _parts(kind: Kind, facts: PeriodFacts, timezone: str) -> tuple[tuple[float, int], ...]:
    """How many incidents began in each hour of a day, or in each day of a week, from when on."""
    edges = [facts.start]
    while edges[-1] < facts.end and len(edges) < 200:
        edges.append(min(facts.end, edges[-1] + _HOUR if kind == "daily" else _tomorrow(edges[-1], timezone)))
    return tuple(zip(edges, counts((c.opened for c in facts.opened), edges), strict=False))


def _tomorrow(at: float, timezone: str) -> float:
    """The same time of the day after, whatever the clocks do in between."""
    local = datetime.fromtimestamp(at, ZoneInfo(timezone)) + timedelta(days=1)
    return max(at + _HOUR, local.timestamp())


def _named(kind: Kind, parts: Iterable[tuple[float, int]], timezone: str) -> tuple[tuple[str, int, str], ...]:
    form = "%H:%M" if kind == "daily" else "%a %d"
    zone = ZoneInfo(timezone)
    return tuple((datetime.fromtimestamp(at, zone).strftime(form), n, "█" * min(n, 40)) for at, n in parts)


def _lines(facts: PeriodFacts) -> Iterable[tuple[str, str]]:
    yield "Incidents", _incidents(facts)
    yield "Time to detect", _spread(facts.detect, "not known")
    yield "Time to resolve", _spread(facts.resolve, "ended otherwise")
    yield "Known errors", _known(facts)
    yield "Alerts", f"{facts.alerts} came in{f', {facts.unmapped} of no SLA' if facts.unmapped else ''}"
    yield "Policy", _pairs(facts.decisions) or "nothing was decided"
    yield "Actions", _pairs(facts.actions) or "none was begun"
    yield "Questions", _questions(facts.questions)
    yield "Fixes", _fixes(facts)
    yield "Language model", _model(facts.model)


def _incidents(facts: PeriodFacts) -> str:
    began = f"{len(facts.opened)} began{_each(facts.severities)}"
    return f"{began}; {len(facts.closed)} ended{_each(facts.endings)}; {len(facts.living)} open"


def _each(numbers: Mapping[str, int]) -> str:
    found = ", ".join(f"{n} {'ungraded' if name == '-' else word(name)}" for name, n in numbers.items())
    return f" ({found})" if found else ""


def _spread(found: Spread, otherwise: str) -> str:
    more = f"; {found.unknown} {otherwise}" if found.unknown else ""
    if found.median is None or found.p90 is None:
        return f"unknown{more}" if more else "no incident"
    return f"median {span(found.median)}, 9 of 10 within {span(found.p90)} ({many(found.known, 'incident')}{more})"


def _known(facts: PeriodFacts) -> str:
    if not facts.diagnosed:
        return "no incident was diagnosed"
    percent = round(100 * facts.known / facts.diagnosed)
    return f"{facts.known} of {facts.diagnosed} diagnosed incidents were known ({percent} %)"


def _pairs(numbers: Mapping[tuple[str, str], int]) -> str:
    """`ask: 2 proceed, 1 ask; full: 3 proceed`."""
    found: dict[str, list[str]] = {}
    for (name, what), n in sorted(numbers.items()):
        found.setdefault(plain(name), []).append(f"{n} {word(what)}")
    return "; ".join(f"{name}: {', '.join(each)}" for name, each in found.items())


def _questions(found: Answers) -> str:
    each = {name: getattr(found, name) for name in ("approved", "denied", "expired", "moot", "waiting")}
    if not found.asked and not any(each.values()):
        return "none was asked"
    return f"{found.asked} asked{_each({name: n for name, n in each.items() if n})}"


def _fixes(facts: PeriodFacts) -> str:
    results = [fix.result for fix in facts.fixes]
    each: dict[str, int] = {name: results.count(name) for name in dict.fromkeys(results)}
    return f"{len(results)} tried{_each(each)}" if results else "none was tried"


def _model(model: ModelUse) -> str:
    if not model.asked:
        return NO_MODEL
    return (
        f"asked {many(model.asked, 'time')}: {model.tokens_in} tokens in, {model.tokens_out} out, cost {model.cost:g}"
    )


def _tables(facts: PeriodFacts) -> Iterable[Table]:
    yield _table("SLAs: time lost", ("SLA", "lost", "of the period"), [_loss(x, facts) for x in facts.losses])
    noisy = [(x.sla, str(x.incidents), str(x.alerts)) for x in facts.noisiest]
    yield _table("Noisiest SLAs", ("SLA", "incidents", "alerts"), noisy)
    returned = [(fix.name, fix.node, fix.sla, f"no. {fix.incident}") for fix in facts.returned]
    yield _table("Fixes after which it came back", ("fix", "node", "SLA", "incident"), returned)
    living = [_open(case) for case in facts.living]
    yield _table("Open", ("SLA", "incident", "severity", "state", "node", "since"), living)


def _table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    return Table(title, columns, tuple(rows[:_MOST]), max(0, len(rows) - _MOST))


def _loss(loss: Loss, facts: PeriodFacts) -> tuple[str, ...]:
    whole = facts.until - facts.start
    share = f"{100 * loss.seconds / whole:.3g} %" if whole else "unknown"
    if not loss.seconds and loss.unknown:
        return loss.sla, "unknown", f"{many(loss.unknown, 'incident')} not measured"
    more = f"; {many(loss.unknown, 'incident')} not measured" if loss.unknown else ""
    return loss.sla, f"{_at_least(loss.at_least)}{span(loss.seconds)}", f"{share}{more}"


def _at_least(so: bool) -> str:
    return "at least " if so else ""


def _open(case: Case) -> tuple[str, ...]:
    state = "closed since" if case.closed is not None else word(case.state)
    sla = case.sla if len(case.slas) == 1 else f"{case.sla} and {len(case.slas) - 1} more"
    return (
        sla,
        f"no. {case.number}",
        case.severity or "ungraded",
        state,
        case.root_node or "unknown",
        clock(case.opened),
    )


def _case(case: Case) -> dict[str, Any]:
    return {
        "number": case.number,
        "slas": list(case.slas),
        "opened": case.opened,
        "state": case.state,
        "severity": case.severity,
        "root_node": case.root_node,
        "known_error": case.known_error,
    }
