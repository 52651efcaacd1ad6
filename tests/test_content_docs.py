"""What the guides show is what loads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel
from treewalk.content.configuration import _NAMED
from treewalk.content.known_errors import ERROR_FIELDS, SIGNATURE_FIELDS
from treewalk.content.trees import NODE_FIELDS, SLA_BLOCK, SLA_FIELDS
from treewalk.content.workspace import Workspace, load_workspace
from treewalk.errors import ContentError
from treewalk.model.acting import Autonomy
from treewalk.settings import FilesSettings, PolicySettings, Settings, Sources, WalkSettings

DOCS = Path(__file__).parent.parent / "docs"


def example(guide: str, language: str = "yaml") -> str:
    found = re.search(rf"```{language}\n(.*?)```", (DOCS / guide).read_text("utf-8"), re.DOTALL)
    assert found
    return found[1]


def load(folder: Path, **files: str) -> Workspace:
    for name, text in {"treewalk.yaml": "{}\n", **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return load_workspace(folder, use_cache=False)


def test_the_examples_of_the_guides_load_together(tmp_path: Path) -> None:
    files = {
        "treewalk.yaml": example("configuration.md"),
        "trees/a.yaml": example("trees.md"),
        "known_errors/a.yaml": example("known-errors.md"),
        "checks/a.py": example("configuration.md", "python"),
    }
    found = load(tmp_path, **files)
    assert list(found.forest.nodes) == ["redis_instance", "kafka_to_redis_consumer"]
    assert "redis-pool-exhausted" in {e.id for e in found.known_errors}
    assert found.checks["row_count"].doc == "A metric that counts rows is not too small."
    assert set(found.settings.sources.loki) == {"default", "us"}


def test_the_guides_name_every_field() -> None:
    trees, errors, settings = (
        (DOCS / n).read_text("utf-8") for n in ("trees.md", "known-errors.md", "configuration.md")
    )
    wanting = [f for f in (*NODE_FIELDS, *SLA_FIELDS, *SLA_BLOCK) if f not in trees]
    wanting += [f for f in (*ERROR_FIELDS, *SIGNATURE_FIELDS) if f not in errors]
    models = (Settings, Sources, WalkSettings, FilesSettings, *_NAMED.values())
    wanting += [f for model in models for f in model.model_fields if f not in settings]
    assert wanting == []


def test_the_guide_to_policy_names_every_key_and_its_example_loads(tmp_path: Path) -> None:
    found = load(tmp_path, **{"treewalk.yaml": example("policy.md")}).policy
    assert found.tiers[0].after == 600.0
    assert len(found.freeze) == 2
    guide = (DOCS / "policy.md").read_text("utf-8")
    told = [*PolicySettings.model_fields]
    for field in PolicySettings.model_fields.values():
        for model in (field.annotation, *get_args(field.annotation)):
            if isinstance(model, type) and issubclass(model, BaseModel):
                told += [inner.alias or name for name, inner in model.model_fields.items()]
    assert {"per_node", "from", "trust_after", "approvers"} <= set(told)
    assert [key for key in told if f"`{key}`" not in guide] == []
    assert [tier.value for tier in Autonomy if f"`{tier.value}`" not in guide] == []


def test_the_guide_to_proofs_is_right_about_what_it_refuses(tmp_path: Path) -> None:
    steps = "".join(f"        {line}\n" for line in example("verification.md").splitlines())
    head = "errors:\n  - id: mine\n    signature: {log_pattern: boom}\n    fix:\n      type: automated\n"
    errors = f"{head}      steps:\n{steps}"
    tree = "metrics: {a: {sla: {query: max(a), threshold: 5}, depends_on: [{node: consumer, type: process}]}}\n"
    files = {"trees/a.yaml": tree, "known_errors/a.yaml": errors}
    assert load(tmp_path, **files).known_errors
    files["known_errors/a.yaml"] = errors.replace("in 1m", "in 141s")
    with pytest.raises(ContentError, match="has to hold 2m20s after the fix"):
        load(tmp_path, **files)
