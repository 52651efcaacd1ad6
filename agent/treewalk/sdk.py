"""What a healthcheck is written with: `@check`, `Probe`, and the parameter types.

A check is a function whose keyword-only arguments are the schema of its YAML block:

    @check("consumer_lag")
    async def consumer_lag(probe: Probe, *, consumer_group: str, lag_threshold: int = 10_000) -> Verdict:
        '''One line that `treewalk checks` shows.'''

It may be sync (it then runs in a thread of its own) or async; an async one does what blocks by `probe.in_thread`.
It returns a Verdict; a `SourceError`, a time-out or any other exception becomes *unknown* with the reason, in the
check runner and nowhere else. Reasons and values are redacted before anybody sees them.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, create_model

from treewalk.analysis.asking import ask
from treewalk.errors import UsageError
from treewalk.model.condition import Answer, parse_condition
from treewalk.model.evidence import Anomaly
from treewalk.model.quantity import parse_duration, parse_threshold
from treewalk.model.series import LogBatch, Sample, Series
from treewalk.model.tree import BaselineSpec, Direction, Node
from treewalk.model.verdict import Verdict
from treewalk.ports import LogSource, MetricSource
from treewalk.threads import Threads

Seconds = Annotated[float, BeforeValidator(parse_duration)]
"""A duration parameter: `30s`, `5m`, or bare seconds."""


def _amount(value: Any) -> float:
    return parse_threshold(value).limit


Amount = Annotated[float, BeforeValidator(_amount)]
"""A number parameter as people write it: `10,000`, `80%` (0.8), `30GB` (3e10)."""

Secret = Annotated[str, "secret"]
"""A text parameter that may hold `${ENV}` or be `file:PATH`; resolved by `probe.secret()`, never shown."""

Needs = Callable[[Node, Mapping[str, Any]], str | None]
"""(node, parameters) → what is missing."""

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Awaitable[Verdict] | Verdict])


@dataclass(frozen=True)
class Probe:
    """What a check may use: the node, the moment, and the sources.

    `at` is the moment that is diagnosed (Unix seconds), `window` how far back to look (seconds) and `timeout` how
    long the check may take. `live` is false when a past moment is diagnosed. `baseline` is what a baseline check
    uses where its own parameters do not say.
    """

    node: Node
    at: float
    window: float
    timeout: float
    metrics: Callable[[str | None], MetricSource]
    logs: Callable[[str | None], LogSource]
    live: bool = True
    baseline: BaselineSpec = field(default_factory=BaselineSpec)
    resolve: Callable[[str], str] = str
    threads: Threads = field(default_factory=Threads)

    def field(self, name: str, default: Any = None) -> Any:
        """A field of the node's own definition, such as `container` or `host`."""
        return self.node.fields.get(name, default)

    def secret(self, text: str) -> str:
        """The text with `${ENV}` and `file:` references filled in. Raises SettingsError when one is missing."""
        return self.resolve(text)

    async def in_thread(self, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """What a blocking function returns or raises, while others are looked at. Not `asyncio.to_thread`: one that
        hangs must hold up neither the end of the program nor what else runs there."""
        return await self.threads.run(self.node.name, partial(work, *arguments, **named))

    async def instant(self, query: str) -> Sequence[Sample]:
        """Instant PromQL at the diagnosed moment. Raises SourceError."""
        return await self.metrics(self.node.source).instant(query, self.at)

    async def range(self, query: str, window: float, step: float) -> Sequence[Series]:
        """Range PromQL over the last `window` seconds up to the diagnosed moment. Raises SourceError."""
        return await self.metrics(self.node.source).range(query, self.at - window, self.at, step)

    async def condition(self, text: str) -> Answer:
        """How a condition stands now; absent data is unknown. Raises SourceError, ValueError on bad PromQL."""
        return await ask(self.metrics(self.node.source), parse_condition(text), self.at)

    def baseline_spec(
        self,
        *,
        window: float | None = None,
        baseline: float | None = None,
        direction: Direction | None = None,
        threshold: float | None = None,
    ) -> BaselineSpec:
        """The baseline parameters given, and for the rest those of the SLA or of treewalk.yaml."""
        own = self.baseline
        return BaselineSpec(
            own.window if window is None else window,
            own.baseline if baseline is None else baseline,
            own.direction if direction is None else direction,
            own.threshold if threshold is None else threshold,
        )

    async def deviations(self, queries: Sequence[str], spec: BaselineSpec) -> Sequence[Anomaly]:
        """Every series of the queries against its own past; those without enough data are left out.

        Raises SourceError.
        """
        from treewalk.analysis.comparing import compare_queries

        source = self.metrics(self.node.source)
        judged = await compare_queries(source, self.node.name, queries, self.at, spec)
        return [found.anomaly for found in judged]

    async def log_lines(self, query: str, window: float, limit: int = 100) -> LogBatch:
        """The newest lines of a LogQL query in the last `window` seconds. Raises SourceError."""
        source = self.node.logs.source if self.node.logs else None
        return await self.logs(source).lines(query, self.at - window, self.at, limit)


@dataclass(frozen=True)
class CheckDefinition:
    """A registered check: its function, its parameters as a pydantic model, and where it comes from."""

    name: str
    function: Callable[..., Awaitable[Verdict] | Verdict]
    parameters: type[BaseModel]
    live: bool
    extra: str | None
    doc: str
    origin: str = ""
    loads: tuple[str, ...] = ()
    needs: Needs | None = None

    def modules(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        """The client libraries that a YAML block makes it need."""
        wanted = (entry.rpartition(":") for entry in self.loads)
        return tuple(module for parameter, _, module in wanted if not parameter or params.get(parameter))

    def missing(self, node: Node, params: Mapping[str, Any]) -> str | None:
        """What this check lacks to work at a node, given a block that is valid; None when it can work."""
        return self.needs(node, self.bind(params)) if self.needs is not None else None

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine; else it runs in a worker thread."""
        return inspect.iscoroutinefunction(self.function)

    def bind(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters of a YAML block, validated and converted. Raises pydantic.ValidationError."""
        model = self.parameters.model_validate(dict(params))
        return {name: getattr(model, name) for name in type(model).model_fields}


def check(
    name: str,
    *,
    live: bool = False,
    extra: str | None = None,
    loads: tuple[str, ...] = (),
    needs: Needs | None = None,
) -> Callable[[F], F]:
    """Register a function as the check of that name.

    `live` says that it looks at the present only (a connection, a process): for a past moment its node is then
    unknown without running it. `extra` names the optional part of treewalk that brings its client library.
    `loads` are modules that take long to import, loaded before a check's time begins: `redis`, or `parameter:redis`
    where only blocks with that parameter need it. `needs` tells, from a node as the tree has it and the block's
    parameters, what is missing for the check to work there (None: nothing), when the tree is read.
    Raises UsageError when the function is not of a check's shape.
    """

    def register(function: F) -> F:
        definition = CheckDefinition(
            name=name,
            function=function,
            parameters=_parameters(name, function),
            live=live,
            extra=extra,
            doc=inspect.cleandoc(function.__doc__ or ""),
            loads=loads,
            needs=needs,
        )
        function.__treewalk_check__ = definition  # type: ignore[attr-defined]
        return function

    return register


def _parameters(name: str, function: Callable[..., Any]) -> type[BaseModel]:
    signature = inspect.signature(function)
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    positional = 0
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[parameter.name] = (hints.get(parameter.name, Any), default)
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            positional += 1
        else:
            raise UsageError(f"check {name!r}: *args and **kwargs are not a schema; name every parameter")
    if positional != 1:
        raise UsageError(f"check {name!r}: takes one positional argument, the probe, then keyword-only parameters")
    if "method" in fields:
        raise UsageError(f"check {name!r}: a parameter cannot be called 'method': that key names the check itself")
    return create_model(f"{name}_parameters", __config__=ConfigDict(extra="forbid"), **fields)
