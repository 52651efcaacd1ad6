"""Whatever is asked, the API answers as its own description says, and never with a mistake of its own."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as configure
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from treewalk.app import App
from treewalk.operations.incidents import Operations
from treewalk.server.web import build

from tests.crash.target import write_workspace
from tests.test_serve import ENVIRON, SERVER, TOKEN, with_server

EXAMPLES = 25
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The application over a memory that holds something of everything."""
    workspace = with_server(
        write_workspace(tmp_path_factory.mktemp("api") / "w", "http://127.0.0.1:9", ["one"]), SERVER
    )
    app = App.open(workspace, environ=ENVIRON)
    operations = Operations(app)
    operations.cases.open("fresh_one", "test", 1.0)
    yield build(operations, app.workspace.settings.server)
    asyncio.run(app.aclose())


@pytest.fixture(scope="module")
def operations_of(api: Any) -> dict[str, Any]:
    schema = schemathesis.openapi.from_asgi("/openapi.json", api)
    return {one.ok().label: one.ok() for one in schema.get_all_operations()}


LABELS = [
    "GET /api/alerts",
    "GET /api/alerts/unmapped",
    "GET /api/approvals",
    "GET /api/audit",
    "GET /api/impact",
    "GET /api/incidents",
    "GET /api/incidents/{number}",
    "GET /api/incidents/{number}/timeline",
    "GET /api/known-errors",
    "GET /api/slas",
    "GET /api/slas/{name}/tree",
    "GET /api/status",
    "GET /healthz",
    "GET /metrics",
    "GET /readyz",
    "POST /-/reload",
    "POST /api/incidents/{number}/answer",
    "POST /api/incidents/{number}/cancel",
    "POST /api/kill",
    "POST /api/read-only",
    "POST /api/revive",
    "POST /webhooks/alertmanager",
    "POST /webhooks/gatus",
    "POST /webhooks/generic",
    "POST /webhooks/grafana",
    "POST /webhooks/telegram",
]


def test_every_operation_is_tried(operations_of: dict[str, Any]) -> None:
    assert sorted(operations_of) == sorted(LABELS)


def bounded(many: int) -> configure:
    return configure(
        max_examples=many,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("allowed", [True, False], ids=["with the token", "without"])
def test_answers_are_as_described(operations_of: dict[str, Any], label: str, allowed: bool) -> None:
    operation, headers = operations_of[label], TOKEN if allowed else {}

    def tried(case: Any) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS)

    fitting = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    seed(20261121)(bounded(EXAMPLES if allowed else 3)(given(fitting)(tried)))()
    if allowed:
        unfit = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        with contextlib.suppress(Unsatisfiable):  # an operation that takes nothing cannot be given anything unfit
            seed(20261121)(bounded(EXAMPLES // 2)(given(unfit)(tried)))()


def test_the_description_says_who_may_ask_and_what_is_refused(api: Any) -> None:
    text = json.dumps(api.openapi())
    assert '"HTTPBearer"' in text
    assert "Traceback" not in text
