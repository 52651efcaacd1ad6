"""What is remembered of an error that was not known and has been fixed: a signature that waits for a human's review.

Pure. Texts come from logs, so they become patterns with everything escaped: data, never a pattern of a stranger's.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from treewalk.model.acting import Plan, canonical
from treewalk.model.diagnosis import Diagnosis
from treewalk.model.evidence import Anomaly, LogGroup
from treewalk.model.redact import MARK
from treewalk.model.templates import MASK, clean
from treewalk.model.tree import Node, Sla, Tree

_SLOTS = {
    "time": r"[\dA-Za-z:., /+-]{4,40}",
    "id": r"[\w-]{5,40}",
    "hex": r"[0-9a-fA-Fx]+",
    "ip": r"[0-9a-fA-F.:]+",
    "n": r"[-+]?\d[\d.,:]*[A-Za-zµ%]{0,3}",
    "text": r"\S{1,102}",
}
# A redacted value's quotes may be others than they were, and what held a mark itself leaves half of one.
_VARIES = re.compile(rf"{MASK.pattern}|[\\\"']*{re.escape(MARK)}[\]\\\"']*")
_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$])")
_HIDDEN = ".+"  # what is redacted may be several words
_COUNTERS = ("_total", "_count", "_sum", "_bucket")
_COMPOUND = re.compile(r"\s(?:and|or|unless|[-+*/%^]|[<>=!]=?)\s")
_OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
_PLAIN = re.compile(r"[A-Za-z_:][\w:]*")
_CLEAR = 4.0  # how far from its past, in robust z, a series has to be for a condition to be made of it
_ALONE, _SURE = 0.25, 0.1  # how far from its past towards what was seen: by itself, and beside a log pattern
_FARTHEST = 1 / 3  # and so far at the most: a limit near to what was seen would miss the same fault when it is smaller
_LONGEST = 300  # characters of a pattern


def candidate(diagnosis: Diagnosis, tree: Tree, plan: Plan, window: float) -> dict[str, Any] | None:
    """A known error in the form of its file, made of what this diagnosis saw; None when it saw nothing telling.

    `window` (seconds) is that of the diagnosis. The signature asks for the node, the most frequent kind of error line
    and the most deviating series, whichever there are; with neither, for the SLA's own violation. (What is learned
    holds only at a node that is in trouble, so that even this says something.) A series whose past is so restless, by
    earlier trouble say, that only a limit near to what was seen would be apart from it, is the last resort.
    """
    cause = diagnosis.root_cause
    if cause is None or plan.playbook is None:
        return None
    node = tree.nodes[cause.node]
    places = [node.name, *reversed(tree.path(node.name)[:-1])]
    group = _telling(diagnosis.findings.logs, places)
    found = _deviating(diagnosis.findings.anomalies, places)
    share = _SURE if group else _ALONE
    signature: dict[str, Any] = {"node": group.node if group else node.name}
    if group is not None:
        signature["log_pattern"] = pattern_of(group.template)
    condition = condition_of(found, window, share) if found is not None else None
    if found is None or _share(found, share) > _FARTHEST:
        condition = None if group is not None else _broken(tree.sla) or condition
    if condition is not None:
        signature["metric_condition"] = condition
    elif group is None:
        return None
    return {
        "id": _identity(signature, node.name),
        "signature": signature,
        "root_cause": f"{node.name}: {_short(cause.reason)}",
        "root_node": node.name,
        "category": "learned",
        "severity": "medium",
        "fix": {"playbook": plan.playbook, "with": _arguments(node)},
        "description": f"Learned from a fix of {diagnosis.sla} that held; review it before it may act alone.",
    }


def _broken(sla: Sla) -> str | None:
    """The condition that an SLA is violated; None where it has no limit of its own."""
    if sla.query is None or sla.threshold is None:
        return None
    query = f"({sla.query})" if _COMPOUND.search(sla.query) else sla.query
    return f"{query} {_OPPOSITE[sla.threshold.op]} {sla.threshold.limit:.12g}"


def _telling(groups: Iterable[LogGroup], places: list[str]) -> LogGroup | None:
    """The most frequent error lines of the cause itself, else of the nearest node above it that has some."""
    known = [g for g in groups if g.node in places and _words(g.template) >= 2]
    return min(known, key=lambda g: (places.index(g.node), -g.count, g.template), default=None)


def _words(template: str) -> int:
    """Words that say something: letters, not masks."""
    return len(re.findall(r"[A-Za-z]{3,}", _VARIES.sub(" ", template)))


def _deviating(anomalies: Iterable[Anomaly], places: list[str]) -> Anomaly | None:
    """The most deviating series of the cause itself, else of the nearest node above it that has one."""
    clear = [a for a in anomalies if a.node in places and abs(a.score) >= _CLEAR and a.level != a.baseline]
    return min(clear, key=lambda a: (places.index(a.node), -abs(a.score), a.query), default=None)


def pattern_of(template: str) -> str:
    """An RE2 pattern for lines of a template: what was masked or redacted varies, everything else is literal."""
    parts, last = [], 0
    for found in _VARIES.finditer(template):
        parts += [*_literal(template[last : found.start()]), _SLOTS[found[1]] if found[1] else _HIDDEN]
        last = found.end()
    parts += _literal(template[last:])
    whole = ""
    for part in parts:  # whole parts only: a cut slot would be another pattern
        if len(whole) + len(part) > _LONGEST:
            break
        whole += part
    return whole


def _literal(text: str) -> list[str]:
    """The parts of a pattern that match a text itself, one a character; space is any space."""
    return [r"\s+" if one.isspace() else _SPECIAL.sub(r"\\\1", one) for one in re.findall(r"\s+|\S", text)]


def condition_of(found: Anomaly, window: float, share: float = _ALONE) -> str:
    """A condition that holds at the level that was seen, and not at that of the past: a share of the way between,
    because the next time somebody may look earlier, and three spreads of the past where that is more."""
    up = found.level > found.baseline
    limit = found.baseline + (found.level - found.baseline) * _share(found, share)
    limit = min(limit, found.level) if up else max(limit, found.level)  # where rounding took it beyond
    plain = _PLAIN.fullmatch(found.query.split("{")[0].strip())
    counter = plain is not None and plain[0].endswith(_COUNTERS)
    query = f"rate({found.query}[{max(1, math.ceil(window))}s])" if counter else found.query
    grouped = f"({query})" if _COMPOUND.search(query) else query
    return f"{grouped} {'>' if up else '<'} {_rounded(limit, up=up)}"


def _share(found: Anomaly, share: float) -> float:
    """How far a limit stands from the past towards what was seen: a share of the way, or three spreads if more."""
    return min(1.0, max(share, 3 * found.spread / abs(found.level - found.baseline)))


def _rounded(value: float, *, up: bool) -> str:
    """Three digits, rounded towards the past, so that the level seen is still beyond it."""
    if value == 0:
        return "0"
    scale = 10 ** (math.floor(math.log10(abs(value))) - 2)
    digits = math.floor(value / scale) if up else math.ceil(value / scale)
    return f"{digits * scale:.12g}"


def _identity(signature: Mapping[str, Any], node: str) -> str:
    digest = hashlib.sha256(canonical(dict(signature)).encode()).hexdigest()[:6]
    return f"learned-{node}-{digest}"


def _arguments(node: Node) -> dict[str, Any]:
    remedy = node.fields.get("remedy") or {}
    given = remedy.get("with") or {}
    return dict(given) if isinstance(given, Mapping) else {}


def _short(text: str) -> str:
    return " ".join(clean(text).split())[:200]
