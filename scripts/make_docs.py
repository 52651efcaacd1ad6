"""Write what docs/ holds of the program itself: schemas, command help, the table of checks. Run by `make docs`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from treewalk.content.checks import builtin_checks
from treewalk.content.checks_doc import describe
from treewalk.content.schema import schemas

DOCS = Path(__file__).parent.parent / "docs"


def generated() -> dict[str, str]:
    """Every generated file of docs/ by its path below it, with its text."""
    checks = builtin_checks()
    found = {
        f"schemas/{kind}.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for kind, schema in schemas(checks).items()
    }
    found["cli.md"] = _cli()
    found["checks.md"] = _checks([describe(c) for _, c in sorted(checks.items())])
    found["sandbox.md"] = _sandbox()
    return found


def _cli() -> str:
    import typer.main
    from treewalk.cli.run import app

    root = typer.main.get_command(app)
    lines = ["# The command line", "", "Written by `make docs` from the program's own help.", ""]
    lines += [
        "Exit codes: 0 fine, 2 usage or configuration, 130 interrupted; those of `diagnose` and `replay` are with it.",
        "",
    ]
    for path, command in _commands(root, ("treewalk",)):
        lines += [f"## {' '.join(path)}", "", (command.help or "").strip(), ""]
        for parameter in command.params:
            if parameter.name in ("help",):
                continue
            names = ", ".join(f"`{o}`" for o in (*parameter.opts, *parameter.secondary_opts))
            shown = f"`{(parameter.name or '').upper()}`" if parameter.param_type_name == "argument" else names
            lines.append(f"- {shown}: {getattr(parameter, 'help', None) or ''}".rstrip())
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, (*path, name))


def _checks(found: list[dict[str, Any]]) -> str:
    lines = [
        "# Healthchecks",
        "",
        "Written by `make docs` from the checks' own signatures. `treewalk checks` shows those of your workspace too.",
        'A check of your own is a file in the workspace\'s `checks/`: a function with `@check("name")` whose keyword-only',
        "arguments are its parameters; `treewalk init` writes an example. One that crashes makes its node unknown.",
        "",
    ]
    for check in found:
        live = " Looks at the present only." if check["live"] else ""
        extra = f" Needs `treewalk-agent[{check['extra']}]`." if check["extra"] else ""
        lines += [f"## {check['name']}", "", f"{check['summary']}{live}{extra}", ""]
        lines += ["| parameter | type | default |", "|---|---|---|"]
        for p in check["parameters"]:
            default = "required" if p["required"] else f"`{p['default']}`"
            lines.append(f"| `{p['name']}` | {p['type'].replace('|', 'or')} | {default} |")
        details = check["doc"].split("\n\n", 1)
        if len(details) > 1:
            lines += ["", "```text", details[1], "```"]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _sandbox() -> str:
    from treewalk.sandbox.faults import all_faults

    lines = [
        "# The sandbox",
        "",
        "`treewalk sandbox up|break FAULT|mend|status|faults|down`, and `make demo`: a real small platform on loopback,",
        "in a folder of its own. supervisord runs a feed, an ingestion process, a consumer, a job of derived metrics and a",
        "reader that measures what users see; beside them two Redis servers (a stream as the topic, a store with 60",
        "clients), Prometheus with rules, Alertmanager and redis_exporter. Everything is scaled down: seconds for minutes.",
        "",
        "It needs the packages redis-server, prometheus, prometheus-alertmanager and prometheus-redis-exporter (Debian's",
        "names), and `treewalk-agent[sandbox]`. `down` stops exactly what was started, also after a crash.",
        "",
        "What can be broken, and what a right diagnosis says; a test does each and compares:",
        "",
        "| fault | SLA | root cause | known error | how it looks |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{f.name}` | {f.sla} | {f.root or 'nobody'} | {f.known_error or ''} | {f.looks} |"
        for f in all_faults().values()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write every generated file."""
    for name, text in generated().items():
        path = DOCS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
