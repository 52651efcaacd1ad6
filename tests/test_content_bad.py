"""One mistake a folder: tests/bad/<mistake>/ is a workspace, expected.txt the very messages that it gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from treewalk.content.workspace import load_workspace
from treewalk.errors import ContentError

BAD = Path(__file__).parent / "bad"
MISTAKES = sorted(path.name for path in BAD.iterdir() if path.is_dir())


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_with_its_place(mistake: str) -> None:
    with pytest.raises(ContentError) as caught:
        load_workspace(BAD / mistake, use_cache=False)
    expected = (BAD / mistake / "expected.txt").read_text("utf-8")
    assert str(caught.value) + "\n" == expected


def test_validate_prints_all_ten_errors_of_a_workspace_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "treewalk", "--workspace", str(BAD / "ten-errors"), "validate"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == (BAD / "ten-errors" / "expected.txt").read_text("utf-8")
    assert len(done.stdout.splitlines()) == 10
    assert "10 errors" in done.stderr
