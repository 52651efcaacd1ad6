"""What policy and memory look like as rows, for the command line and for the pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from treewalk.model.acting import NEVER_CLASSES, Record
from treewalk.model.known import KnownError
from treewalk.model.policy import Policy
from treewalk.model.quantity import format_duration
from treewalk.stages.decide import success_bound
from treewalk.stages.report import clock

if TYPE_CHECKING:
    from treewalk.app import App


def tiers(rules: Policy) -> Iterable[dict[str, Any]]:
    """Every kind of action with its tier, and again where a rule of the policy makes it another one."""
    from treewalk.actions import ACTIONS, action

    for kind in ACTIONS:
        one = action(kind)
        about = {"idempotent": one.idempotent, "reversible": one.reversible}
        rule = rules.tier_of(kind, one.tier, "", "", {})
        yield {"action": kind, "tier": rule.tier.value, "where": "anywhere", **about}
        for other in rules.tiers:
            scope = other.scope
            if (scope.node or scope.tags) and scope.fits(kind, scope.node or "", "", scope.tags):
                yield {"action": kind, "tier": other.tier.value, "where": str(scope), **about}


def guardrails(rules: Policy) -> dict[str, str]:
    """The bounds of what may be done, each in a few words."""
    limits, repeats, returns = rules.limits, rules.repeats, rules.returns
    return {
        "rates": f"{limits.per_node} a node, {limits.per_kind} a kind, {limits.total} in all,"
        f" in {format_duration(limits.period)}",
        "repeats": f"after {format_duration(repeats.first)}, then {repeats.factor:g} times as long; most {repeats.most}"
        f" in {format_duration(repeats.within)}",
        "returns": f"{returns.tries} fixes that do not last {format_duration(returns.within)} are the last",
        "cost": _costs(rules),
        "endpoints": ", ".join(rules.allow.endpoints) or "none but those that steps name",
        "folders": ", ".join(rules.allow.folders) or "none but those that steps name",
        "blast radius": "any" if rules.blast_radius is None else f"at most {rules.blast_radius} SLAs",
        "rehearsal": "needed" if rules.rehearse else "not needed",
        "forbidden": "; ".join(str(scope) for scope in rules.forbid) or "nothing more",
        "a human for": "; ".join(str(scope) for scope in rules.ask) or "nothing more",
        "freezes": str(len(rules.freeze)),
        "maintenance windows": str(len(rules.maintenance)),
        "read only": "yes" if rules.read_only else "no",
    }


def _costs(rules: Policy) -> str:
    bounds = (("an action", rules.costs.per_action), ("an incident", rules.costs.per_incident))
    return ", ".join(f"at most {bound:g} {what}" for what, bound in bounds if bound is not None) or "any"


def never() -> list[str]:
    """What nobody may do, whatever a workspace says."""
    return sorted(one.value for one in NEVER_CLASSES)


def known_error_rows(app: App) -> list[dict[str, Any]]:
    """Every known error with its trust, how often and when it was met, and how its fix did. Raises StoreError."""
    from treewalk.store.lessons import Lessons

    statistics, records = app.store.statistics(), Lessons(app.database).records()
    return [_row(e, statistics.get(e.id, {}), records.get(e.id, {})) for e in app.known_errors().values()]


def _row(error: KnownError, seen: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    signature = error.signature
    return {
        "id": error.id,
        "trust": error.trust,
        "node": signature.node,
        "log_pattern": signature.log_pattern,
        "metric_condition": str(signature.metric_condition) if signature.metric_condition else None,
        "root_cause": error.root_cause,
        "description": error.description,
        "root_node": error.root_node,
        "category": error.category,
        "severity": error.severity,
        "fix": error.fix.type if error.fix else None,
        "occurrence_count": error.occurrence_count + int(seen.get("occurrence_count", 0)),
        "first_seen": error.first_seen or (clock(seen["first_seen"]) if seen else None),
        "last_seen": clock(seen["last_seen"]) if seen else error.last_seen,
        "fires": int(record.get("fires", 0)),
        "wins": int(record.get("wins", 0)),
        "failures_in_a_row": int(record.get("failures", 0)),
        "success_at_least": round(success_bound(Record(record.get("fires", 0), record.get("wins", 0))), 3),
        "resolution_time_avg": record.get("resolution_time_avg") or error.resolution_time_avg,
        "place": str(error.place),
    }
