"""What the guides show is what loads."""

from __future__ import annotations

import re
from pathlib import Path

from treewalk.content.configuration import _NAMED
from treewalk.content.known_errors import ERROR_FIELDS, SIGNATURE_FIELDS
from treewalk.content.trees import NODE_FIELDS, SLA_BLOCK, SLA_FIELDS
from treewalk.content.workspace import Workspace, load_workspace
from treewalk.settings import FilesSettings, Settings, Sources, WalkSettings

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
