"""Fixtures that every test may use; servers are in tests/support/."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from treewalk.sandbox.platform import Sandbox

from tests.support import kafka

_missing: Counter[str] = Counter()


def _have(name: str) -> bool:
    """A program on the path, a setting of the environment that says where a server is, or what a test can fetch."""
    if name == "kafka":
        return kafka.obtainable()
    built = Path(__file__).parent.parent / ".cache" / name / "bin" / name  # by a script of scripts/
    return bool(os.environ.get(name) or shutil.which(name) or Path("/usr/sbin", name).exists() or built.exists())


def pytest_runtest_setup(item: pytest.Item) -> None:
    lacking = [p for mark in item.iter_markers("needs") for p in mark.args if not _have(p)]
    if lacking:
        _missing.update(lacking)
        pytest.skip(f"needs {', '.join(lacking)}, which this machine does not have")


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The sandbox, up and healthy, shared because it takes most of a minute to come up: whoever breaks it mends it."""
    found = Sandbox(tmp_path_factory.mktemp("sandbox") / "platform")
    found.up(print)
    yield found
    found.down(print)
    assert not found.folder.exists()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = len(terminalreporter.stats.get("skipped", []))
    wanting = ", ".join(f"{program} ({count})" for program, count in sorted(_missing.items()))
    why = f"; missing here: {wanting}" if wanting else ""
    terminalreporter.write_line(f"tests not run on this machine: {skipped}{why}")
