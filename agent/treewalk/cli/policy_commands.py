"""Commands about what is allowed and what was done: policy, audit."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from treewalk.cli.common import PlainFormat, parse_span, put, put_json
from treewalk.errors import UsageError

FormatOption = Annotated[PlainFormat, typer.Option(help="text or json.")]

policy = typer.Typer(help="What treewalk may do by itself.", no_args_is_help=True, rich_markup_mode=None)
audit = typer.Typer(help="What was decided and done.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(policy, name="policy")
    app.add_typer(audit, name="audit")


@policy.command("table")
def table(context: typer.Context, format: FormatOption = PlainFormat.TEXT) -> None:
    """Every kind of action with its tier, where it differs by node, and the guardrails."""
    from treewalk.operations.tables import guardrails, never, tiers

    rules = context.obj.app().workspace.policy
    rows = list(tiers(rules))
    if format is PlainFormat.JSON:
        put_json({"actions": rows, "guardrails": guardrails(rules)})
        return
    put(f"{'action':<26} {'tier':<7} {'where':<40} twice is once  can be undone")
    for row in rows:
        once, back = "yes" if row["idempotent"] else "no", "yes" if row["reversible"] else "no"
        put(f"{row['action']:<26} {row['tier']:<7} {row['where']:<40} {once:<14} {back}")
    put("")
    for name, value in guardrails(rules).items():
        put(f"{name:<26} {value}")
    put(f"{'never, by code':<26} {', '.join(never())}")


@policy.command("check")
def check(
    context: typer.Context,
    playbook: Annotated[str, typer.Argument(help="The playbook's name.")],
    node: Annotated[str, typer.Option("--node", help="The node that it would be done at.")],
    unhealthy_for: Annotated[str, typer.Option(help="How long the node has been unhealthy, such as 10m.")] = "",
    known: Annotated[str, typer.Option(help="The known error that was recognised, if any.")] = "",
    format: FormatOption = PlainFormat.TEXT,
) -> int:
    """Which rule would decide about a playbook at a node now, and why. Nothing outside is asked."""
    from treewalk.operations.incidents import Operations

    operations = Operations(context.obj.app())
    seconds = parse_span(unhealthy_for or None, "--unhealthy-for")
    decisions = operations.explain(playbook, node, seconds, known or None)
    if format is PlainFormat.JSON:
        put_json({"playbook": playbook, "node": node, "steps": [_decision(s, d) for s, d in decisions]})
        return 0
    for step, decision in decisions:
        put(f"{step.index + 1}. {step.kind}: {decision.ruling} (tier {decision.tier.value})")
        for line in decision.lines:
            mark = "→" if line.rule == decision.rule else " "
            put(f"   {mark} {line.ruling:<8} {line.rule}: {line.because}")
    return 0


def _decision(step: Any, decision: Any) -> dict[str, Any]:
    lines = [{"rule": one.rule, "ruling": one.ruling, "because": one.because} for one in decision.lines]
    return {
        "kind": step.kind,
        "ruling": decision.ruling,
        "rule": decision.rule,
        "because": decision.because,
        "tier": decision.tier.value,
        "lines": lines,
    }


@audit.command("verify")
def verify(
    context: typer.Context,
    head: Annotated[
        str | None, typer.Option(help="The hash of a row that was kept elsewhere: it has to be among the rows still.")
    ] = None,
    format: FormatOption = PlainFormat.TEXT,
) -> int:
    """Whether every row is as it was written, none removed and none inserted. Exit code 1 when not.

    The rows are held against each other and against the ledger, incidents, questions and trust. Who rewrites all of it
    is found out only by the hash of the last row, which this prints, kept elsewhere and given as --head.
    """
    from treewalk.store.audit import Audit

    kept = head.strip().lower() if head is not None else None
    if kept is not None and (len(kept) != 64 or set(kept) - set("0123456789abcdef")):
        raise UsageError("--head: a hash has 64 hexadecimal digits, as `treewalk audit verify` prints it")
    audit = Audit(context.obj.app().database)
    last = audit.head()
    count, flaws = audit.verify(kept)
    if format is PlainFormat.JSON:
        shown = {"row": last["seq"], "hash": last["hash"]} if last else None
        found = [{"row": f.seq, "what": f.what} for f in flaws]
        put_json({"rows": count, "whole": not flaws, "flaws": found, "head": shown})
    else:
        for flaw in flaws:
            put(str(flaw))
        put(f"{count} rows; {'the chain is whole' if not flaws else f'{len(flaws)} flaws'}")
        if last:
            put(f"head: {last['hash']} (row {last['seq']}); keep it elsewhere, and give it as --head the next time")
    return 1 if flaws else 0


@audit.command("show")
def show(
    context: typer.Context,
    incident: Annotated[int | None, typer.Option(help="Only of this incident.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many at the most, the newest.")] = 100,
    format: FormatOption = PlainFormat.TEXT,
) -> None:
    """The rows, oldest first."""
    import json

    from treewalk.stages.report import clock
    from treewalk.store.audit import Audit

    rows = Audit(context.obj.app().database).rows(limit, incident)
    if format is PlainFormat.JSON:
        put_json({"rows": [dict(row) for row in rows]})
        return
    for row in rows:
        about = json.dumps(row["data"], ensure_ascii=False)
        about = "".join(c if c.isprintable() else " " for c in about)
        put(f"{row['seq']:>6}  {clock(row['at'])}  {row['kind']:<10} {row['who']:<24} {about[:300]}")
    if not rows:
        put("nothing was decided or done yet")
