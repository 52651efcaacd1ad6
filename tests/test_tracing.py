"""Traces go where the environment says, hold no secret, and cost nothing where it says nothing."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from treewalk import spans
from treewalk.integrations import tracing
from treewalk.spans import span

from tests.crash.target import running_target, write_workspace
from tests.support.otlp import receiving
from tests.support.serving import serving
from tests.test_serve import ENVIRON, TOKEN, alertmanager, until, with_server


def test_an_incident_is_one_trace_down_to_the_questions(tmp_path: Path) -> None:
    with running_target() as target, receiving() as receiver:
        workspace = with_server(
            write_workspace(tmp_path / "w", target.url, ["one"]), "server: {token: '${TREEWALK_TOKEN}'}\n"
        )
        environ = {**ENVIRON, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
        with serving(workspace, environ=environ) as served, httpx.Client(base_url=served.url, headers=TOKEN) as client:
            client.post("/webhooks/alertmanager", json=alertmanager("one")).raise_for_status()

            def closed() -> Any:
                return client.get("/api/incidents/1").json()["life"]["state"] == "closed"

            until(closed, "the incident's end")
            assert served.stop() == 0
        assert any(f"traces go to {receiver.url}" in line for line in served.said)
    assert receiver.services == {"treewalk"}
    (webhook,) = receiver.named("webhook alertmanager")
    attributes = {a.key: a.value for a in webhook.attributes}
    assert attributes["treewalk.opened"].string_value == "1"
    (incident,) = receiver.named("incident fresh_one")
    assert not incident.parent_span_id
    steps = receiver.named("step ")
    assert {"step diagnose", "step plan", "step do:0 http_call", "step prove", "step close"} <= {s.name for s in steps}
    assert all(receiver.above(one) == ["incident fresh_one"] for one in steps)
    stages = receiver.named("stage ")
    assert [s.name for s in stages if s.name == "stage walk"] == ["stage walk"]
    assert all(receiver.above(one) == ["step diagnose", "incident fresh_one"] for one in stages)
    questions = receiver.named("ask ")
    assert {a.value.string_value for q in questions for a in q.attributes if a.key == "treewalk.question"} >= {
        "age_one",
        "broken_one",
    }
    walked = [q for q in questions if receiver.above(q)[:1] == ["stage walk"]]
    assert walked
    assert {q.trace_id for q in walked} == {incident.trace_id}
    assert b"s3cret-token" not in receiver.raw


def fail() -> None:
    with span("a", url="postgresql://u:hunter22@db/x", long="x" * 9999) as note:
        note("header", "Authorization: Bearer hunter22hunter22hunter22")
        raise ValueError("password=hunter22")


def test_no_secret_leaves_in_an_attribute_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        end = tracing.start({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}, lambda line: None)
        try:
            with pytest.raises(ValueError, match="hunter22"):
                fail()
        finally:
            end()
        (found,) = receiver.named("a")
        assert b"hunter22" not in receiver.raw
        assert found.status.code == 2
        assert all(len(a.value.string_value) <= 500 for a in found.attributes)
    with span("b"):
        pass
    assert spans._tracer is None


def test_without_the_extra_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    said: list[str] = []
    tracing.start({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, said.append)()
    assert len(said) == 1
    assert "treewalk-agent[otel]" in said[0]


def test_where_nothing_is_asked_for_nothing_is_imported() -> None:
    code = (
        "import sys; from treewalk.integrations.tracing import start; start({}, print)();"
        "import treewalk.spans; import treewalk.server.serving;"
        "print([m for m in sys.modules if m.startswith('opentelemetry.sdk') or m.startswith('opentelemetry.exporter')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
