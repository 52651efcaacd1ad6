"""Write what docs/ holds of the program itself: schemas, command help, the table of checks. Run by `make docs`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from treewalk.content.checks import builtin_checks
from treewalk.content.checks_doc import describe
from treewalk.content.schema import schemas
from treewalk.model.playbook import FLOW, Parameter, Playbook
from treewalk.model.quantity import format_duration, format_number
from treewalk.sdk import Amount, Seconds

DOCS = Path(__file__).parent.parent / "docs"
_PLAYBOOKS = """
# Playbooks

Written by `make docs` from the files in `playbooks/`. A playbook is a named, reviewed way to change something: typed
parameters, steps, a proof. A known error's fix names one, or a node does that is to be mended whatever broke it:

    fix: {playbook: kill-idle-redis-clients, with: {idle: 10m}}       # in known_errors/
    remedy: {playbook: restart-process, with: {timeout: 2m}}          # at a node in trees/

A parameter that is not given takes its default; `{{ node.container }}` there is a field of the node that is mended. What
cannot be filled in, or is out of bounds, makes no plan, and a human is told why. Steps run one after the other, each only
as far as the policy lets it; then the proof is looked for, for as long as `timeout`, and has to hold for `settle`.

When the proof fails, what can be taken back is: by the playbook's `undo`, or, where it has none, by what the
[actions](actions.md) themselves say, in reverse order (they know what was there before). Then a human is called.

A file of your own in the workspace's `playbooks/` adds one; the same name replaces a built-in one. Its fields are `name`,
`description`, `parameters` (each `type` text, integer, number, duration, amount, boolean or list; `default`, `min`, `max`,
`one_of`, `description`), `steps`, `verify`, `undo`, `touches`, `cost`. Steps are actions, or `wait`, `verify` and
`escalate_if_failed`. `treewalk validate` checks all of it, `treewalk schema playbook` is for editors.

Conditions such as `redis_connected_clients < 0.9 * redis_config_maxclients` are what redis_exporter measures. Where there
is none, nothing proves the fix and a human is asked; give `check: ""` to go by the SLA alone.
"""


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
    found["actions.md"] = _actions()
    found["playbooks.md"] = _playbooks()
    return found


def _cli() -> str:
    import typer.main
    from treewalk.cli.run import app

    root = typer.main.get_command(app)
    lines = ["# The command line", "", "Written by `make docs` from the program's own help.", ""]
    lines += [
        "Exit codes: 0 fine, 2 usage or configuration, 130 interrupted; those of `diagnose` and `replay` are with it. 70 is a",
        "mistake of treewalk's own, told in one line (`--debug` shows the whole trace); 74, that the answer could not be",
        "written (a full disk). Neither says anything about an SLA.",
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


def _actions() -> str:
    from treewalk.actions import ACTIONS, action

    lines = [
        "# Actions",
        "",
        "Written by `make docs` from the actions themselves. An action is one kind of change to the world; steps of a",
        "[playbook](playbooks.md) or of a known error's fix name it. Parameters are checked before anything runs, texts are one",
        "line without control characters, and a rehearsal (`--dry-run`) only reads.",
        "",
        "- **tier** is how far treewalk goes by itself unless the policy says otherwise: `after` a time, `known` errors only,",
        "  `ask` a human. Nothing that deletes data, grants rights, alters a schema, runs a shell, stops a host or operates on a",
        "  broker cluster runs at all, whoever asks: that tier is code.",
        "- **again** says whether doing it twice is the same as once; after a crash only such an action is done again by itself.",
        "- **back** says whether it knows how to take back what it did.",
        "",
        "| kind | what it does | tier | again | back | touches |",
        "|---|---|---|---|---|---|",
    ]
    for kind in sorted(ACTIONS):
        one = action(kind)
        does = (one.__doc__ or "").strip().splitlines()[0]
        touches = (type(one).facts.__doc__ or "").split(".")[0].removeprefix("It touches ")
        again, back = (("yes" if told else "no") for told in (one.idempotent, one.reversible))
        lines.append(f"| `{kind}` | {does} | {one.tier} | {again} | {back} | {touches} |")
    for kind in sorted(ACTIONS):
        lines += ["", f"## {kind}", "", *_action(action(kind))]
    return "\n".join(lines).rstrip() + "\n"


def _action(one: Any) -> Iterator[str]:
    yield from (line.strip() for line in (one.__doc__ or "").strip().splitlines())
    told = (one.parameters.__doc__ or "").strip()
    if told:
        yield ""
        yield from (line.strip() for line in told.splitlines())
    yield ""
    yield "| parameter | type | default |"
    yield "|---|---|---|"
    known = one.parameters.model_json_schema(by_alias=True)["properties"]
    for name, field in one.parameters.model_fields.items():
        shown = field.alias or name
        default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
        word = _words(field.annotation, field.metadata)
        yield f"| `{shown}` | {word}{_bounds(known[shown], word)} | {default} |"


def _words(kind: Any, metadata: Sequence[Any] = ()) -> str:
    """A parameter's type in the words of a YAML file."""
    for alias, word in ((Seconds, "duration"), (Amount, "amount")):
        if alias.__metadata__[0] in metadata:
            return word
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _words(inner[0], inner[1:])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_words(part) for part in inner if part is not type(None)))
    if origin is Literal:
        return " or ".join(inner)
    if origin in (list, tuple):
        return f"list of {_words(inner[0])}"
    plain = {str: "text", int: "whole number", float: "number", bool: "true/false", dict: "mapping"}
    return plain.get(origin or kind, "anything")


def _bounds(schema: dict[str, Any], word: str) -> str:
    kinds = [s for s in schema.get("anyOf", [schema]) if s.get("type") in ("integer", "number")]
    if not kinds:
        return ""
    if "exclusiveMinimum" in kinds[0]:
        return f", more than {_number(kinds[0]['exclusiveMinimum'], word)}"
    return _between(kinds[0].get("minimum"), kinds[0].get("maximum"), word)


def _between(low: float | None, high: float | None, word: str) -> str:
    first, last = (None if bound is None else _number(bound, word) for bound in (low, high))
    if first and last:
        return f", {first} to {last}"
    return f", {first} or more" if first else f", at most {last}" if last else ""


def _number(value: float, word: str) -> str:
    return format_duration(value) if word == "duration" else format_number(value)


def _default(value: Any) -> str:
    if value is None or value == () or value == {}:
        return "none"
    return f"`{list(value) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else value}`"


def _playbooks() -> str:
    from treewalk.content.builtin import builtin_folder
    from treewalk.content.workspace import load_workspace

    books = load_workspace(None, example=True, use_cache=False).playbooks
    when = {
        path.stem: path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# When: ")
        for path in builtin_folder("playbooks").glob("*.yaml")
    }
    lines = _PLAYBOOKS.strip().splitlines()
    lines += ["", "| playbook | when | what it changes | tier |", "|---|---|---|---|"]
    for name, book in sorted(books.items()):
        kinds = [step.action for step in book.steps if step.action not in FLOW]
        lines.append(f"| [`{name}`](#{name}) | {when[name]} | {_linked(kinds)} | {_tier(kinds)} |")
    for name, book in sorted(books.items()):
        lines += ["", f"## {name}", "", book.description.strip(), "", f"**When.** {when[name]}", ""]
        lines.append(f"**Steps.** {_linked([step.action for step in book.steps])}. **Proof.** {_proof(book)}")
        lines += ["", "| parameter | type | default | what |", "|---|---|---|---|"]
        lines += [_parameter(one) for one in book.parameters.values()]
    return "\n".join(lines).rstrip() + "\n"


def _linked(kinds: list[str]) -> str:
    return ", ".join(f"`{k}`" if k in FLOW else f"[`{k}`](actions.md#{k})" for k in kinds) or "nothing"


def _tier(kinds: list[str]) -> str:
    from treewalk.actions import action

    return max((action(kind).tier for kind in kinds), key=lambda tier: tier.strictness, default="none")


def _proof(book: Playbook) -> str:
    given = book.parameters["check"].default if "check" in book.parameters else None
    also = f", and `{given}` unless `check` says otherwise" if given else ", and `check` where it is given"
    return "The SLA holds" + (also if "check" in book.parameters else "") + "."


def _parameter(one: Parameter) -> str:
    bounds = _between(one.minimum, one.maximum, one.type)
    choice = f": {', '.join(one.one_of)}" if one.one_of else ""
    default = "required" if one.required else _default(None if one.default in ("", []) else one.default)
    default = default.replace("|", "\\|")
    return f"| `{one.name}` | {one.type}{choice}{bounds} | {default} | {one.description} |"


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
        "`treewalk serve` is one of its programs too, not started by itself: `make demo` starts it, the Alertmanager sends it",
        "what fires, and a small server on this machine plays Telegram. The token of its page is printed; it opens nothing",
        "else.",
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
