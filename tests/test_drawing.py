"""Trees as lines and as pictures."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st
from treewalk.cli.content_commands import _branches, tree_lines
from treewalk.model.picture import Box, Picture, mermaid

from tests.support.trees import make_tree


def _goes_on(depths: list[int], index: int, level: int) -> bool:
    """Whether another row of this level follows before the branch ends."""
    later = depths[index + 1 :]
    ends = next((i for i, depth in enumerate(later) if depth < level), len(later))
    return level in later[:ends]


@given(st.lists(st.integers(1, 6), max_size=30))
def test_branches_go_on_as_long_as_a_row_of_their_level_follows(depths: list[int]) -> None:
    expected = [
        "".join("│  " if _goes_on(depths, i, level) else "   " for level in range(1, depth))
        + ("├─ " if _goes_on(depths, i, depth) else "└─ ")
        for i, depth in enumerate(depths)
    ]
    assert _branches(depths) == expected


def test_a_broad_tree_is_drawn_in_one_pass() -> None:
    edges = {"top": [f"n{i}" for i in range(20_000)]}
    began = time.monotonic()
    lines = list(tree_lines(make_tree(edges)))
    assert time.monotonic() - began < 5, "looking ahead from every row took minutes"
    assert lines[-1].endswith("└─ n19999")


def test_apostrophes_and_numbers_are_no_entities_of_mermaid() -> None:
    drawn = mermaid(Picture([Box("a", 'o\'brien #1 "x" <b>')], []))
    assert '["o\'brien &num;1 &quot;x&quot; &lt;b&gt;"]' in drawn
    assert "&&" not in drawn
