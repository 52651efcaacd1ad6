import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from treewalk.errors import UsageError
from treewalk.model.tree import Forest, Node, Sla
from treewalk.model.window import Window, parse_days
from treewalk.stages.impact import check_tag, document, impact, markdown, text

from tests.support.trees import HERE


def forest(edges: dict[str, list[str]], slas: dict[str, list[str]], **changes: object) -> Forest:
    names = list(dict.fromkeys([*edges, *(c for below in edges.values() for c in below)]))
    nodes = {n: Node(name=n, place=HERE, depends_on=tuple(edges.get(n, ()))) for n in names}
    built = {
        name: Sla(name, None, None, None, changes.get("window"), tuple(tops), HERE, tags={"tier": "1"}, owner="data")  # type: ignore[arg-type]
        for name, tops in slas.items()
    }
    return Forest(built, nodes)


def test_every_sla_above_is_found_by_a_shortest_path() -> None:
    found = impact(
        forest({"a": ["b", "d"], "b": ["c"], "c": ["d"]}, {"s": ["a"], "t": ["c"], "u": ["x"]} | {"u": []}), ["d"], 0
    )
    assert [(a.sla.name, a.path, a.ways) for a in found.slas] == [("s", ("a", "d"), 2), ("t", ("c", "d"), 1)]
    assert set(found.above) == {"a", "b", "c"}
    assert document(found)["blast_radius"] == {"slas": 2, "nodes": 3}


def test_a_node_that_nothing_needs_says_so() -> None:
    found = impact(forest({"a": []}, {"s": []}), ["a"], 0)
    assert "no SLA depends on it" in text(found)


def test_a_misspelt_node_gets_suggestions() -> None:
    with pytest.raises(UsageError, match="did you mean 'redis_instance'"):
        impact(forest({"redis_instance": []}, {}), ["redis_instnce"], 0)


def test_the_window_is_judged_at_the_time_asked_for() -> None:
    from datetime import time

    window = Window("HOURS", parse_days("mon-fri"), time(9), time(17), "UTC")
    monday_noon, sunday_noon = 1_767_614_400.0, 1_767_528_000.0
    trees = forest({"a": []}, {"s": ["a"]}, window=window)
    assert impact(trees, ["a"], monday_noon).slas[0].open_now
    assert not impact(trees, ["a"], sunday_noon).slas[0].open_now


def test_a_past_moment_is_not_called_now():
    trees = forest({"a": []}, {"s": ["a"]})
    assert text(impact(trees, ["a"], 0)).startswith("a: 1 SLA above, 1 of them in their window now, by 0 nodes")
    then = text(impact(trees, ["a"], 1_767_614_400.0, now=False))
    assert "1 of them in their window at 2026-01-05 12:00:00Z" in then
    assert "now" not in then


def test_a_tag_that_no_sla_carries_is_refused_with_the_nearest():
    trees = forest({"a": []}, {"s": ["a"]})
    check_tag(trees, "tier")
    with pytest.raises(UsageError, match="no SLA carries a tag 'teir'; did you mean 'tier'"):
        check_tag(trees, "teir")
    with pytest.raises(UsageError, match="no SLA carries a tag 'x'; there is tier"):
        check_tag(trees, "x")


def test_no_name_becomes_markup_in_a_ticket():
    name = "<img src=x>[l](u)|`"
    shown = markdown(impact(forest({name: []}, {"s": [name]}), [name], 0))
    assert "\\<img src=x\\>\\[l\\](u)\\|\\`" in shown
    assert "<img" not in shown.replace("\\<", "")


def test_tags_decide_for_a_change_pipeline() -> None:
    found = impact(forest({"a": []}, {"s": ["a"]}), ["a"], 0)
    assert [a.sla.name for a in found.tagged("tier", "1")] == ["s"]
    assert not found.tagged("tier", "2")
    assert "tier=1" in markdown(found)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 12), st.data())
def test_an_sla_is_affected_exactly_when_a_path_leads_down(size: int, data: st.DataObject) -> None:
    names = [f"n{i}" for i in range(size)]
    edges = {n: [m for m in names[i + 1 :] if data.draw(st.booleans())] for i, n in enumerate(names)}
    trees = forest(edges, {"s": [names[0]]})
    target = data.draw(st.sampled_from(names))
    reachable, stack = set(), [names[0]]
    while stack:
        name = stack.pop()
        if name not in reachable:
            reachable.add(name)
            stack.extend(edges[name])
    assert bool(impact(trees, [target], 0).slas) == (target in reachable)
