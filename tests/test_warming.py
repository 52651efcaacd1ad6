"""The libraries of the first diagnosis are loaded while the server waits for its first alert."""

from pathlib import Path

import pytest
from treewalk.content.workspace import load_workspace
from treewalk.server import warming

TREE = """metrics:
  fresh: {sla: {query: age, threshold: 60s}, depends_on: [cache, web]}
nodes:
- {node: cache, healthcheck: {method: redis, url: "redis://127.0.0.1:1"}}
- {node: web, healthcheck: {method: http, url: "http://127.0.0.1:9/"}}
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "trees").mkdir()
    (tmp_path / "trees" / "main.yaml").write_text(TREE)
    (tmp_path / "treewalk.yaml").write_text("sources: {prometheus: {url: http://127.0.0.1:9}}\n")
    return tmp_path


def test_only_what_a_workspace_uses_is_loaded(workspace: Path) -> None:
    found = warming.libraries(load_workspace(workspace))
    assert {"prometheus_api_client", "redis", "httpx"} <= set(found)
    assert "docker" not in found
    assert len(set(found)) == len(found)


def test_a_library_that_is_missing_or_breaks_stops_nothing(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, loaded = [], load_workspace(workspace)

    def broken(name: str) -> None:
        asked.append(name)
        raise OSError("its shared object is missing") if name == "redis" else ImportError(name)

    with monkeypatch.context() as patch:
        patch.setattr(warming.importlib, "import_module", broken)
        warming.warm(loaded)
    assert asked == list(warming.libraries(loaded))
