"""Traces by OpenTelemetry, when the environment names where they go (OTEL_EXPORTER_OTLP_ENDPOINT)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from treewalk import __version__
from treewalk.model.redact import redact
from treewalk.spans import Note, trace_with

_WHERE = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_FLUSH = 5000  # milliseconds for what is not sent yet when the process ends
_LONGEST = 500  # characters of an attribute


def start(environ: Mapping[str, str], say: Callable[[str], None]) -> Callable[[], None]:
    """Trace from now on where the environment asks for it; what ends that. `say` takes a line for the person.

    Everything else comes from the environment too, as OpenTelemetry has it: OTEL_SERVICE_NAME,
    OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER, OTEL_SDK_DISABLED.
    """
    where = next((environ[name] for name in _WHERE if environ.get(name)), None)
    if where is None:
        return lambda: None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import Status, StatusCode
    except ImportError:
        say("no traces, though OTEL_EXPORTER_OTLP_ENDPOINT is set: pip install 'treewalk-agent[otel]'")
        return lambda: None
    about = {"service.version": __version__}
    if not environ.get("OTEL_SERVICE_NAME"):
        about["service.name"] = "treewalk"
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer("treewalk", __version__)

    @contextmanager
    def traced(name: str, attributes: Mapping[str, object]) -> Iterator[Note]:
        given = {f"treewalk.{key}": _plain(value) for key, value in attributes.items()}
        with tracer.start_as_current_span(
            name, attributes=given, record_exception=False, set_status_on_exception=False
        ) as one:
            try:
                yield lambda key, value: one.set_attribute(f"treewalk.{key}", _plain(value))
            except Exception as error:
                one.set_status(Status(StatusCode.ERROR, _plain_text(f"{type(error).__name__}: {error}")))
                raise

    def end() -> None:
        trace_with(None)
        provider.force_flush(_FLUSH)
        provider.shutdown()

    trace_with(traced)
    say(f"traces go to {redact(where)}")
    return end


def _plain(value: object) -> str | int | float | bool:
    """A value as an attribute: no secret in it, and not long."""
    return value if isinstance(value, bool | int | float) else _plain_text(str(value))


def _plain_text(text: str) -> str:
    return redact(text)[:_LONGEST]
