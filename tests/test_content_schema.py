"""The JSON Schemas: current in docs/, and in agreement with what the loader takes and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from treewalk.content import yaml
from treewalk.content.checks import builtin_checks
from treewalk.content.schema import schemas
from treewalk.content.starter import write_workspace
from treewalk.model.place import Problem

REPO = Path(__file__).parent.parent
KINDS = {"trees": "tree", "known_errors": "known_errors", "playbooks": "playbook"}
SCHEMAS = schemas(builtin_checks())


def content(path: Path) -> Any:
    problems: list[Problem] = []
    item = yaml.read(path, path.name, problems)
    assert not problems
    assert item is not None
    return item.plain()


def faults(kind: str, data: Any) -> list[str]:
    return [error.message for error in Draft202012Validator(SCHEMAS[kind]).iter_errors(data)]


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_every_schema_is_a_schema_and_the_one_in_docs_is_current(kind: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[kind])
    kept = json.loads((REPO / "docs" / "schemas" / f"{kind}.json").read_text("utf-8"))
    assert kept == SCHEMAS[kind], "run `make docs`"


@pytest.mark.parametrize("path", sorted(p for k in KINDS for p in (REPO / k).rglob("*.yaml")), ids=lambda p: p.name)
def test_the_files_that_ship_keep_their_schemas(path: Path) -> None:
    assert faults(KINDS[path.parent.name], content(path)) == []


def test_a_new_workspace_keeps_the_schemas(tmp_path: Path) -> None:
    for path in write_workspace(tmp_path):
        if path.suffix == ".yaml":
            assert faults(KINDS.get(path.parent.name, "treewalk"), content(path)) == []


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("treewalk", {"sources": {"prometheus": {"url": "http://h", "timeout": "5s"}}}),
        ("treewalk", {"sources": {"loki": {"eu": {"url": "http://h", "timeout": 5}, "us": {"url": "http://i"}}}}),
        ("treewalk", {"windows": {"NIGHT": {"days": ["mon", "tue"], "from": "22:00", "to": "06:00"}}}),
        ("treewalk", {"walk": {"deadline": "1m", "baseline": {"window": "15m"}}, "connections": {"db": "${DB}"}}),
        ("tree", {"nodes": [{"node": "n", "container": "c", "healthcheck": {"method": "mine", "of": "my own"}}]}),
        ("tree", {"metrics": {"s": {"sla": {"threshold": 5}, "depends_on": ["n", {"node": "m"}]}}}),
        ("tree", {"nodes": [{"node": "n", "healthcheck": {"method": "log_recency", "max_age": "30s"}}]}),
        ("known_errors", {"errors": [{"id": "a", "signature": {"log_pattern": "x"}, "fix": {"playbook": "p"}}]}),
    ],
)
def test_what_the_loader_takes_the_schema_takes(kind: str, data: Any) -> None:
    assert faults(kind, data) == []


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("treewalk", {"source": {}}),
        ("treewalk", {"sources": {"prometheus": {"url": "http://h", "time_out": 5}}}),
        ("treewalk", {"windows": {"NIGHT": {"form": "22:00"}}}),
        ("tree", {"metric": {}}),
        ("tree", {"metrics": {"s": {"sla": {"treshold": 5}}}}),
        ("tree", {"nodes": [{"type": "process"}]}),
        ("tree", {"nodes": [{"node": "n", "healthcheck": {"method": "consumer_lag", "lag_treshold": 5}}]}),
        ("tree", {"nodes": [{"node": "n", "healthcheck": {"method": "consumer_lag"}}]}),
        ("tree", {"nodes": [{"node": "n", "logs": {"loki_qery": "x"}}]}),
        ("known_errors", {"errors": [{"id": "a"}]}),
        ("known_errors", {"errors": [{"id": "a", "signature": {"log_patern": "x"}}]}),
        ("playbook", {"name": "p"}),
    ],
)
def test_what_the_loader_refuses_the_schema_refuses(kind: str, data: Any) -> None:
    assert faults(kind, data)
