"""Commands about the files of a workspace: validate, tree, init, schema, checks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from treewalk.cli.common import PlainFormat, State, TreeFormat, note, put, put_json
from treewalk.errors import ContentError, UsageError
from treewalk.model.quantity import counted

if TYPE_CHECKING:
    from treewalk.content.workspace import Workspace


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(validate)
    app.command()(tree)
    app.command()(init)
    app.command()(schema)
    app.command()(checks)


def validate(
    context: typer.Context,
    format: Annotated[PlainFormat, typer.Option(help="text or json.")] = PlainFormat.TEXT,
) -> int:
    """Read the whole workspace and print every error at once, each with its place. Exit code 2 when there is one."""
    from treewalk.content.workspace import load_workspace

    state: State = context.obj
    try:
        workspace = load_workspace(state.root(), example=state.example)
        _check_channels(workspace)
    except ContentError as error:
        if format is PlainFormat.JSON:
            put_json({"ok": False, "problems": [_problem(p) for p in error.problems]})
        else:
            put(str(error))
            note(counted(len(error.problems), "error"))
        return error.exit_code
    counts = {
        "slas": len(workspace.forest.slas),
        "nodes": len(workspace.forest.nodes),
        "known_errors": len(workspace.known_errors),
        "checks": len(workspace.checks),
    }
    if format is PlainFormat.JSON:
        put_json({"ok": True, "problems": [], **counts})
    else:
        names = {"slas": "SLA", "nodes": "node", "known_errors": "known error", "checks": "check"}
        put("ok: " + ", ".join(counted(count, names[name]) for name, count in counts.items()))
    return 0


def _check_channels(workspace: Workspace) -> None:
    """Whether channels have addresses that can be understood, where their secrets are here. Raises ContentError."""
    import os

    from treewalk.content.notify import channel_place
    from treewalk.content.secrets import resolver
    from treewalk.content.yaml import read
    from treewalk.messages.channels import misread
    from treewalk.model.place import Problem

    if workspace.root is None or not workspace.settings.notify.channels:
        return
    found = list(misread(workspace.settings.notify, resolver(os.environ, workspace.root)))
    if found:
        item = read(workspace.root / "treewalk.yaml", "treewalk.yaml", [])
        raise ContentError([Problem(channel_place(item, name), why) for name, why in found])


def _problem(problem: Any) -> dict[str, Any]:
    place = problem.place
    return {"file": place.file, "line": place.line, "column": place.column, "message": problem.message}


def tree(
    context: typer.Context,
    sla: Annotated[str, typer.Argument(help="The SLA's name; without it, every SLA is listed.")] = "",
    format: Annotated[TreeFormat, typer.Option(help="text, json, mermaid, dot or svg.")] = TreeFormat.TEXT,
) -> None:
    """Draw what an SLA depends on."""
    forest = context.obj.forest()
    if not sla:
        rows = [
            {"sla": s.name, "limit": str(s.threshold or "its own past"), "description": s.description}
            for s in forest.slas.values()
        ]
        if format is TreeFormat.JSON:
            put_json({"slas": rows})
        else:
            put("\n".join(f"{r['sla']:<32} {r['limit']:<16} {r['description']}" for r in rows) or "no SLAs")
        return
    found = forest.tree(sla)
    if format is TreeFormat.TEXT:
        put("\n".join(tree_lines(found)))
    elif format is TreeFormat.JSON:
        put_json(_tree_json(found))
    else:
        from treewalk.cli.pictures import draw, tree_picture

        put(draw(tree_picture(found), format.value))


def tree_lines(found: Any) -> Iterable[str]:
    """A tree as lines with branches; a node that was drawn before is marked and not opened again."""
    limit = f" {found.sla.threshold}" if found.sla.threshold else ""
    yield f"{found.sla.name}{limit}"
    rows = list(found.draw_order())
    branches = _branches([depth for _, depth, _ in rows])
    for (name, _, again), branch in zip(rows, branches, strict=True):
        node = found.nodes[name]
        kind = f" ({node.type})" if node.type else ""
        yield f"{branch}{name}{kind}{' ↑ see above' if again and node.depends_on else ''}"


def _branches(depths: Sequence[int]) -> list[str]:
    """What stands before each row's name, given the levels of all rows; from the last row up, in one pass."""
    drawn = []
    later: list[bool] = []  # by level: whether a row of it follows before its branch ends
    for depth in reversed(depths):
        later = [*later[:depth], *[False] * (depth - len(later))]
        bars = "".join("│  " if goes_on else "   " for goes_on in later[:-1])
        drawn.append(bars + ("├─ " if later[-1] else "└─ "))
        later[-1] = True
    return drawn[::-1]


def _tree_json(found: Any) -> dict[str, Any]:
    sla = found.sla
    return {
        "sla": sla.name,
        "description": sla.description,
        "limit": str(sla.threshold) if sla.threshold else None,
        "depends_on": list(sla.depends_on),
        "nodes": [
            {
                "node": n.name,
                "type": n.type,
                "depth": found.depth[n.name],
                "depends_on": list(n.depends_on),
                "healthcheck": n.healthcheck.method if n.healthcheck else None,
                "place": str(n.place),
            }
            for n in found.nodes.values()
        ],
    }


def init(folder: Annotated[Path, typer.Argument(help="Where; it is made when it is not there.")] = Path()) -> None:
    """Make a small workspace that validates, to begin with."""
    from treewalk.content.starter import write_workspace

    for path in write_workspace(folder):
        note(f"wrote {path}")
    put(f"a workspace is in {folder}: put your SLA into trees/, then run `treewalk --workspace {folder} validate`")


def schema(
    kind: Annotated[
        str, typer.Argument(help="treewalk, tree, known_errors or playbook; without it, all of them.")
    ] = "",
) -> None:
    """Print the JSON Schemas of the workspace's files, for editors."""
    from treewalk.content.checks import builtin_checks
    from treewalk.content.schema import schemas

    found = schemas(builtin_checks())
    if kind and kind not in found:
        raise UsageError(f"no schema named {kind!r}; there is {', '.join(found)}")
    put_json(found[kind] if kind else found)


def checks(
    context: typer.Context,
    format: Annotated[PlainFormat, typer.Option(help="text or json.")] = PlainFormat.TEXT,
) -> None:
    """List the healthchecks with their parameters and where they come from."""
    import os

    from treewalk.content.checks_doc import describe
    from treewalk.content.workspace import find_workspace, load_workspace

    state: State = context.obj
    root = find_workspace(state.workspace, os.environ, Path.cwd())
    found = [describe(c) for c in load_workspace(root, example=state.example).checks.values()]
    found.sort(key=lambda c: c["name"])
    if format is PlainFormat.JSON:
        put_json({"checks": found})
        return
    for check in found:
        put(f"{check['name']}  [{check['origin']}]  {check['summary']}")
        for p in check["parameters"]:
            default = "required" if p["required"] else f"default {p['default']}"
            put(f"    {p['name']}: {p['type']} ({default})")
