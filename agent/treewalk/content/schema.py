"""JSON Schemas of every kind of file, so that editors complete and check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from treewalk.content.known_errors import FIX_TYPES, SEVERITIES, TRUST
from treewalk.sdk import CheckDefinition
from treewalk.settings import Settings

Json = dict[str, Any]
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEXT: Json = {"type": "string"}
_SCALAR: Json = {"type": ["string", "number"]}
_TEXTS: Json = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}


def schemas(checks: Mapping[str, CheckDefinition]) -> dict[str, Json]:
    """A schema by kind: treewalk, tree, known_errors, playbook."""
    return {
        "treewalk": _settings(),
        "tree": _tree(checks),
        "known_errors": _known_errors(),
        "playbook": _playbook(),
    }


def _settings() -> Json:
    found = _loosened(Settings.model_json_schema())
    single = {"PrometheusSettings": "prometheus", "LokiSettings": "loki"}
    sources = found["$defs"]["Sources"]["properties"]
    for model, key in single.items():
        one = {"$ref": f"#/$defs/{model}"}
        sources[key] = {"anyOf": [one, {"type": "object", "additionalProperties": one}]}
    found["properties"]["windows"] = {"$ref": "#/$defs/windows"}
    found["$defs"]["windows"] = _windows()
    return {"$schema": _DIALECT, **found, "title": "treewalk.yaml"}


def _loosened(schema: Any) -> Any:
    """Durations may be written as text: a number of the settings is a scalar in YAML."""
    if isinstance(schema, dict):
        if schema.get("type") == "number":
            return {**{k: v for k, v in schema.items() if k != "exclusiveMinimum"}, "type": ["number", "string"]}
        return {key: _loosened(value) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_loosened(value) for value in schema]
    return schema


def _windows() -> Json:
    window = {
        "type": "object",
        "properties": {"days": _TEXTS, "from": _TEXT, "to": _TEXT, "timezone": _TEXT, "description": _TEXT},
        "additionalProperties": False,
    }
    return {"type": "object", "additionalProperties": window}


def _tree(checks: Mapping[str, CheckDefinition]) -> Json:
    dependency = {"anyOf": [_TEXT, {"$ref": "#/$defs/node"}]}
    node = {
        "type": "object",
        "required": ["node"],
        "properties": {
            "node": _TEXT,
            "type": _TEXT,
            "description": _TEXT,
            "healthcheck": {"$ref": "#/$defs/healthcheck"},
            "logs": {"anyOf": [_TEXT, _closed({"loki_query": _TEXT, "source": _TEXT}, ["loki_query"])]},
            "metrics": _TEXTS,
            "alerts": _TEXTS,
            "aka": _TEXTS,
            "source": _TEXT,
            "depends_on": {"anyOf": [_TEXT, {"type": "array", "items": dependency}]},
        },
    }
    direction = {"enum": ["up", "down", "both"]}
    baseline = _closed(
        {"window": _SCALAR, "baseline": _SCALAR, "direction": direction, "threshold": {"type": "number"}}
    )
    block = {
        "query": _TEXT, "threshold": _SCALAR, "window": _TEXT, "unit": {"enum": ["ratio", "percent"]}, "source": _TEXT,
        "baseline": baseline,
    }  # fmt: skip
    sla = {
        "type": "object",
        "required": ["sla"],
        "properties": {
            "description": _TEXT,
            "sla": _closed(block),
            "gatus_check": _TEXT,
            "alerts": {"type": "array", "items": {"type": ["string", "object"]}},
            "owner": _TEXT,
            "tags": {"type": "object"},
            "depends_on": {"type": "array", "items": dependency},
        },
    }
    top = {
        "windows": _windows(),
        "metrics": {"type": "object", "additionalProperties": sla},
        "nodes": {"type": "array", "items": {"$ref": "#/$defs/node"}},
    }
    methods = [*(_check(c) for _, c in sorted(checks.items())), _own(checks)]
    healthcheck = {"type": "object", "required": ["method"], "anyOf": methods}
    return {
        "$schema": _DIALECT,
        "title": "a tree file",
        **_closed(top),
        "$defs": {"node": node, "healthcheck": healthcheck},
    }


def _own(checks: Mapping[str, CheckDefinition]) -> Json:
    """A check of the workspace's own: any method that is not built in."""
    return {"properties": {"method": {"type": "string", "not": {"enum": sorted(checks)}}}}


def _check(definition: CheckDefinition) -> Json:
    schema = _loosened(definition.parameters.model_json_schema())
    properties = {**schema.get("properties", {}), "method": {"const": definition.name}}
    found = _closed(properties, ["method", *schema.get("required", [])])
    if "$defs" in schema:
        found["$defs"] = schema["$defs"]
    return {**found, "description": definition.doc.splitlines()[0] if definition.doc else ""}


def _known_errors() -> Json:
    step = {"type": "object", "required": ["action"], "properties": {"action": _TEXT}}
    fix = {
        "type": {"enum": list(FIX_TYPES)},
        "steps": {"type": "array", "items": step},
        "playbook": _TEXT,
        "with": {"type": "object"},
    }
    error = {
        "id": _TEXT,
        "signature": _closed(
            {"log_pattern": _TEXT, "node": _TEXT, "metric_condition": _TEXT, "only_in_trouble": {"type": "boolean"}}
        ),
        "root_cause": _TEXT, "root_node": _TEXT, "category": _TEXT, "description": _TEXT,
        "severity": {"enum": list(SEVERITIES)}, "trust": {"enum": list(TRUST)},
        "fix": _closed(fix), "first_seen": _TEXT, "last_seen": _TEXT,
        "occurrence_count": {"type": "integer"}, "resolution_time_avg": _SCALAR,
    }  # fmt: skip
    top = {"description": _TEXT, "errors": {"type": "array", "items": _closed(error, ["id", "signature"])}}
    return {"$schema": _DIALECT, "title": "a file of known errors", **_closed(top)}


def _playbook() -> Json:
    steps = {"type": "array", "items": {"type": "object", "required": ["action"], "properties": {"action": _TEXT}}}
    top = {
        "name": _TEXT,
        "description": _TEXT,
        "parameters": {"type": "object"},
        "steps": steps,
        "verify": {"type": "object"},
        "undo": steps,
        "touches": _TEXTS,
        "cost": _SCALAR,
    }
    return {"$schema": _DIALECT, "title": "a playbook", **_closed(top, ["name", "steps"])}


def _closed(properties: Json, required: list[str] | None = None) -> Json:
    found: Json = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": required} if required else found
