"""Proofs that cannot succeed, found when the workspace is loaded: a fix must not fail for want of a possible proof.

What a template leaves open is not judged. See docs/verification.md for each kind of mistake.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from treewalk.content.playbooks import has_template
from treewalk.model.condition import Condition, parse_condition
from treewalk.model.known import FixStep, KnownError
from treewalk.model.place import Place, Problem
from treewalk.model.playbook import FLOW, Playbook
from treewalk.model.quantity import format_duration, parse_duration
from treewalk.model.tree import Forest, Node, Sla, nearest
from treewalk.stages.plan import NoPlan, fill

_NOT_KNOWN: Any = object()  # what a template makes of it shows only when a plan is made


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What proofs are held against: the forest, and how often each metric source looks, in seconds, by its name."""

    forest: Forest
    playbooks: Mapping[str, Playbook]
    intervals: Mapping[str, float | None] = field(default_factory=dict)
    whole: bool = True  # the tree files were read without a mistake, so that a node that is missing is missing


def check_proofs(errors: Iterable[KnownError], around: Surroundings, problems: list[Problem]) -> None:
    """Note every proof of a playbook, a known error or a remedy that cannot succeed as it is written."""
    found: dict[Problem, None] = {}
    said = {name: _of_playbook(book, around) for name, book in around.playbooks.items() if not _built_in(book.place)}
    for one in said.values():
        found.update(dict.fromkeys(one))
    for error in errors:
        if not _built_in(error.place):
            found.update(dict.fromkeys(_of_known_error(error, around, said)))
    for node in around.forest.nodes.values():
        remedy = node.fields.get("remedy")
        if isinstance(remedy, Mapping) and isinstance(remedy.get("playbook"), str):
            call = _Call(f"the remedy of {node.name}", remedy["playbook"], remedy.get("with") or {}, node.place)
            found.update(dict.fromkeys(_of_call(call, node, (), around, said)))
    problems.extend(found)


def _built_in(place: Place) -> bool:
    """What ships with treewalk is not for a workspace to mend, so it is judged where it is used."""
    return place.file.startswith("builtin/")


def _of_playbook(book: Playbook, around: Surroundings) -> list[Problem]:
    """What is wrong with the proofs of a playbook whoever calls it: with the defaults of its parameters."""
    return list(_in_playbook(book, _Known(_values(book, {}, None), None), (), around))


@dataclass(frozen=True, slots=True)
class _Call:
    what: str
    playbook: str
    given: Any
    place: Place


def _of_call(
    call: _Call, node: Node | None, broken: Sequence[Condition], around: Surroundings, said: Mapping[str, list[Problem]]
) -> Iterator[Problem]:
    """What is wrong with a playbook's proofs as it is called here, told where it is called."""
    book = around.playbooks.get(call.playbook)
    if book is None or not isinstance(call.given, Mapping):
        return
    known = {problem.message for problem in said.get(book.name, ())}
    values = _Known(_values(book, call.given, node), node)
    for problem in _in_playbook(book, values, _broken(broken, node), around):
        if problem.message not in known:
            yield Problem(call.place, f"{call.what}: playbook {book.name}: {problem.message}")


def _of_known_error(error: KnownError, around: Surroundings, said: Mapping[str, list[Problem]]) -> Iterator[Problem]:
    if error.fix is None or error.fix.type == "escalate":
        return
    node = around.forest.nodes.get(error.root_node or error.signature.node or "")
    signature = [error.signature.metric_condition] if error.signature.metric_condition is not None else []
    if error.fix.playbook is not None:
        call = _Call(f"known error {error.id}", error.fix.playbook, error.fix.arguments, error.place)
        yield from _of_call(call, node, signature, around, said)
        return
    known = _Known({}, node)
    found, passed = _in_steps(error.fix.steps, known, _broken(signature, node), around)
    found += _by_the_sla(error.fix.steps, error.place, known, passed, around)
    for problem in dict.fromkeys(found):
        yield Problem(problem.place, f"known error {error.id}: {problem.message}")


def _by_the_sla(
    steps: Sequence[FixStep], place: Place, known: _Known, passed: float | None, around: Surroundings
) -> list[Problem]:
    """What is wrong with the proof that comes after steps: the SLA, for as long as their own last proof may take."""
    own = [step for step in steps if step.action == "verify"]
    timeout = known.seconds(own[-1].params, "timeout", 60.0) if own else 60.0
    written = {"sla": True, "stable": 5.0, "timeout": _NOT_KNOWN if timeout is None else max(timeout, 10.0)}
    return _Proof(own[-1].place if own else place, written, known, passed, (), around).problems()


def _broken(signature: Sequence[Condition], node: Node | None) -> Sequence[Condition]:
    """The conditions that say that something is broken: of the signature, and those that make the node degraded."""
    return [*signature, *(node.conditions if node is not None else ())]


def _in_playbook(book: Playbook, known: _Known, broken: Sequence[Condition], around: Surroundings) -> Iterator[Problem]:
    found, passed = _in_steps(book.steps, known, broken, around)
    yield from found
    if book.verify:
        written = {"stable": 5.0, "sla": True, **book.verify}
        proof = _Proof(book.verify_place or book.place, written, known, passed, broken, around)
        yield from proof.problems()
    yield from _in_steps(book.undo, known, (), around)[0]


def _in_steps(
    steps: Sequence[FixStep], known: _Known, broken: Sequence[Condition], around: Surroundings
) -> tuple[list[Problem], float | None]:
    """What is wrong, and how many seconds at least have passed since the last change when the steps are done."""
    found: list[Problem] = []
    passed: float | None = 0.0
    for step in steps:
        if step.action not in FLOW:
            passed = 0.0
        elif step.action == "wait":
            passed = _sum(passed, known.seconds(step.params, "duration", 0.0))
        elif step.action == "verify":
            proof = _Proof(step.place, {"stable": 0.0, **step.params}, known, passed, broken, around)
            found += proof.problems()
            passed = _sum(passed, proof.stable)
    return found, passed


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the values that templates take: parameters, and the node where it is known."""

    values: Mapping[str, Any]
    node: Node | None

    def read(self, value: Any) -> Any:
        if not has_template(value):
            return value
        names = _names(str(value))
        if names is None or any(n not in self.values for n in names if n != "node" or self.node is None):
            return _NOT_KNOWN
        try:
            return fill(value, self.values, self.node or Node("", Place("")))
        except NoPlan:
            return _NOT_KNOWN

    def seconds(self, params: Mapping[str, Any], key: str, default: float) -> float | None:
        """A duration; None where it is not known, or is none."""
        value = params.get(key)
        value = self.read(default if value is None else value)
        try:
            return None if value is _NOT_KNOWN else parse_duration(value)
        except (ValueError, TypeError, AttributeError):
            return None

    def text(self, params: Mapping[str, Any], key: str) -> str | None:
        value = self.read(params.get(key))
        return str(value) if value is not _NOT_KNOWN and value else None


def _values(book: Playbook, given: Mapping[str, Any], node: Node | None) -> dict[str, Any]:
    """The parameters whose values are known, in their types."""
    found: dict[str, Any] = {}
    for name, parameter in book.parameters.items():
        if parameter.required and name not in given:
            continue
        value = _Known({}, node).read(given.get(name, parameter.default))
        try:
            if value is not _NOT_KNOWN:
                found[name] = None if value is None or value == "" else parameter.read(value)
        except (ValueError, TypeError):
            continue
    return found


def _names(text: str) -> set[str] | None:
    import jinja2
    from jinja2 import meta
    from jinja2.sandbox import SandboxedEnvironment

    try:
        return set(meta.find_undeclared_variables(SandboxedEnvironment().parse(text)))
    except jinja2.TemplateError:
        return None


class _Proof:
    """One `verify` with what is known of it. `passed` are the seconds since the fix when it begins, at least."""

    def __init__(
        self,
        place: Place,
        written: Mapping[str, Any],
        known: _Known,
        passed: float | None,
        broken: Sequence[Condition],
        around: Surroundings,
    ) -> None:
        self.place, self.fixed, self.broken, self.around = place, known.node, broken, around
        self.check = known.text(written, "check")
        self.node = known.text(written, "node")
        sla = known.read(written.get("sla", False))
        self.sla = sla is not _NOT_KNOWN and bool(sla)
        self.timeout = known.seconds(written, "timeout", 60.0)
        self.stable = known.seconds(written, "stable", 0.0)
        self.passed = passed

    def problems(self) -> list[Problem]:
        """Everything that keeps it from succeeding."""
        told = [*self._of_times(), *self._of_node(), *self._of_check(), *self._of_slas()]
        return [Problem(self.place, f"verify: {message}") for message in told]

    @property
    def _seconds(self) -> float | None:
        """How long after the fix it has to hold at the latest; None where that is not known."""
        if self.passed is None or self.timeout is None or self.stable is None:
            return None
        return self.passed + self.timeout - self.stable

    def _of_times(self) -> Iterator[str]:
        if self.timeout == 0:
            yield "with a timeout of zero nothing can be measured; give it time, such as `timeout: 60s`"
        elif self.timeout is not None and self.stable is not None and self.stable >= self.timeout:
            held, given = format_duration(self.stable), format_duration(self.timeout)
            yield f"it has to hold for {held} (stable) and ends after {given} (timeout); make the timeout longer"

    def _of_node(self) -> Iterator[str]:
        nodes = self.around.forest.nodes
        if self.node is None or not self.around.whole:
            return
        if self.node not in nodes:
            if nodes and not _built_in(self.place):
                close = nearest(self.node, nodes)
                yield f"no node named {self.node!r}" + (f"; did you mean {close[0]!r}?" if close else "")
        elif self.fixed is not None and self.node not in _related(self.around.forest, self.fixed.name):
            name = self.fixed.name
            yield f"{self.node} stands neither above nor below {name}, and shows nothing of its fix; name one that does"

    def _of_check(self) -> Iterator[str]:
        if self.check is None:
            return
        try:
            condition = parse_condition(self.check)
        except ValueError as error:
            yield _not_parsed(self.check, str(error))
            return
        shown = f"`{condition}` cannot succeed"
        interval = self._interval()
        never = _never(condition, self.broken, interval)
        if never is not None:
            yield f"{shown}: {never}"
        elif self._seconds is not None and self.timeout and self._seconds > 0:
            yield from (f"{shown}: {late}" for late in self._late(condition, self._seconds, interval))

    def _of_slas(self) -> Iterator[str]:
        """The SLAs that the fix is for: those above the fixed node."""
        if not self.sla or self.fixed is None or not self._seconds or self._seconds <= 0:
            return
        forest, above = self.around.forest, _above(self.around.forest, self.fixed.name)
        for sla in forest.slas.values():
            condition = _kept(sla) if above.intersection(sla.depends_on) else None
            late = self._late(condition, self._seconds, None) if condition is not None else ()
            yield from (f"the SLA {sla.name} cannot be shown to be met: {one}" for one in late)

    def _late(self, condition: Condition, seconds: float, interval: float | None) -> Iterator[str]:
        from treewalk.content.lookback import too_late

        ends = f"it has to hold {format_duration(seconds)} after the fix at the latest"
        late = too_late(condition, seconds)
        if late is not None:
            reason, needed = late
            yield f"{reason}, while {ends}; {self._way_out(seconds, needed)}"
        elif interval is not None and interval > seconds:
            every = format_duration(interval)
            longer = format_duration(math.ceil((self.timeout or 0.0) + interval - seconds))
            yield f"its metrics come every {every}, while {ends}; give it a timeout of {longer}"

    def _way_out(self, seconds: float, needed: float) -> str:
        if needed == math.inf:
            return "leave out the @"
        timeout = format_duration(math.ceil((self.timeout or 0.0) + needed - seconds))
        return f"look back at most {format_duration(seconds)}, or give it a timeout of {timeout}"

    def _interval(self) -> float | None:
        """How often the source that is asked looks, in seconds."""
        node = self.around.forest.nodes.get(self.node) if self.node is not None else self.fixed
        source = node.source if node is not None else None
        intervals = self.around.intervals
        if source is None:
            source = "default" if "default" in intervals else next(iter(intervals), "")
        return intervals.get(source)


def _never(condition: Condition, broken: Sequence[Condition], interval: float | None) -> str | None:
    from treewalk.content.lookback import asks_the_same, impossible, too_few_samples

    found = impossible(condition)
    if found is not None:
        return found
    for one in broken:
        if asks_the_same(condition, one):
            return f"it holds only while `{one}` does, which is what is broken; ask for the opposite"
    few = too_few_samples(condition, interval) if interval is not None else None
    if few is None or interval is None:
        return None
    every, enough = format_duration(interval), format_duration(4 * interval)
    return f"{few}, where one comes every {every}; let it look back {enough}"


def _not_parsed(check: str, error: str) -> str:
    if "between scalars" in error:
        same = "and so says the same whatever the fix did; compare a metric"
        return f"`{check}` cannot succeed: it compares numbers and no metric, {same}"
    return error


def _kept(sla: Sla) -> Condition | None:
    """The condition that says that an SLA is met; None where it has no limit, or cannot be written so."""
    if sla.query is None or sla.threshold is None:
        return None
    try:
        return parse_condition(f"({sla.query}) {sla.threshold.op} {sla.threshold.limit!r}")
    except ValueError:
        return None


def _above(forest: Forest, name: str) -> set[str]:
    """The node and every node above it."""
    return _reached(name, forest.dependents)


def _related(forest: Forest, name: str) -> set[str]:
    """The node and every node above and below it."""
    return _above(forest, name) | _reached(name, {n.name: n.depends_on for n in forest.nodes.values()})


def _reached(name: str, edges: Mapping[str, Sequence[str]]) -> set[str]:
    found, ahead = {name}, [name]
    while ahead:
        near = [other for other in edges.get(ahead.pop(), ()) if other not in found]
        found.update(near)
        ahead += near
    return found
