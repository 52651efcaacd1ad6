"""The wheel, as a user gets it: built, installed in a clean environment, run from an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).parent.parent


def run(*command: str | Path, cwd: Path = REPO) -> str:
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "uv", "build", "--wheel", "--no-build-isolation", "--out-dir", folder)
    return next(folder.glob("*.whl"))


def test_only_treewalk_reaches_site_packages(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"treewalk"}


def test_the_content_folders_ship_as_builtin(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for folder in ("checks", "trees", "known_errors", "playbooks"):
        assert any(name.startswith(f"treewalk/builtin/{folder}/") for name in names), folder


def test_an_example_runs_from_the_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "env"
    run(sys.executable, "-m", "uv", "venv", "--python", sys.executable, environment)
    python = environment / "bin" / "python"
    run(sys.executable, "-m", "uv", "pip", "install", "--python", python, wheel, "-c", REPO / "requirements-dev.lock")
    treewalk, empty = environment / "bin" / "treewalk", tmp_path / "empty"
    empty.mkdir()
    os.environ.pop("TREEWALK_WORKSPACE", None)
    assert "redis_instance" in run(treewalk, "--example", "tree", "entity_data_freshness", cwd=empty)
    assert "consumer_lag" in run(treewalk, "checks", cwd=empty)
    assert "entity_data_freshness" in run(treewalk, "--example", "impact", "redis_instance", cwd=empty)
    run(treewalk, "init", "ops", cwd=empty)
    assert "ok" in run(treewalk, "--workspace", "ops", "validate", cwd=empty).lower()
