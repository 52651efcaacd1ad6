"""Strict YAML: what loads, what is refused, and that every value knows its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from treewalk.content import yaml
from treewalk.content.yaml import Item
from treewalk.model.place import Place, Problem


def parse(text: str | bytes) -> tuple[Any, list[str]]:
    problems: list[Problem] = []
    item = yaml.parse(text.encode() if isinstance(text, str) else text, "a.yaml", problems)
    return (item.plain() if item is not None else None), [str(p) for p in problems]


def item_of(text: str) -> Item:
    problems: list[Problem] = []
    found = yaml.parse(text.encode(), "a.yaml", problems)
    assert not problems
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("5", 5), ("-7", -7), ("012", 12), ("0x1F", 31), ("0o17", 15), ("1.50", 1.5), ("1e3", 1000.0), (".5", 0.5),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("10,000", "10,000"), ("60s", "60s"), ("09:00", "09:00"), ("190:20:30", "190:20:30"),
        ("2026-01-15", "2026-01-15"),
        ("yes", "yes"), ("on", "on"), ("1_000", "1_000"), (".inf", ".inf"), (".nan", ".nan"), ("1e999", "1e999"),
        ("> 80% of entities".join('""'), "> 80% of entities"), ("'5'", "5"), ("!!str 5", "5"), ("80%", "80%"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2_and_what_looks_like_a_time_stays_text(written: str, value: object) -> None:
    found, problems = parse(f"a: {written}\n")
    assert not problems
    assert found == {"a": value}
    assert type(found["a"]) is type(value)


def test_a_url_in_braces_needs_no_quotes() -> None:
    text = "sources: {prometheus: {url: http://127.0.0.1:9090}, windows: [09:00, a:b]}\n"
    assert parse(text) == (
        {"sources": {"prometheus": {"url": "http://127.0.0.1:9090"}, "windows": ["09:00", "a:b"]}},
        [],
    )


def test_every_value_and_every_key_knows_its_place() -> None:
    root = item_of("a: 1\nb:\n  c: [x, {d: y}]\n  e: z\n")
    b = root.value["b"]
    assert root.key_place("b") == Place("a.yaml", 2, 1)
    assert b.place == Place("a.yaml", 3, 3)
    assert b.key_place("c") == Place("a.yaml", 3, 3)
    assert b.value["c"].place == Place("a.yaml", 3, 6)
    assert b.value["c"].value[1].value["d"].place == Place("a.yaml", 3, 14)
    assert b.key_place("e") == Place("a.yaml", 4, 3)


def test_places_are_the_same_when_the_python_parser_has_to_read() -> None:
    root = item_of("u: {v: http://x, w: [1, {d: y}]}\nb:\n  c: z\n")
    assert root.value["u"].value["w"].value[1].value["d"].place == Place("a.yaml", 1, 29)
    assert root.value["b"].key_place("c") == Place("a.yaml", 3, 3)


def test_a_number_is_shown_as_it_is_written() -> None:
    root = item_of("a: 1.10\nb: 007\nc: True\nd: ~\n")
    assert [root.value[k].text() for k in "abcd"] == ["1.10", "007", "True", "~"]


def test_aliases_and_merge_keys_are_filled_in_and_what_stands_beside_wins() -> None:
    text = "x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\nz: *x\nw: {<<: [*x, {c: 4}]}\n"
    found, problems = parse(text)
    assert not problems
    assert found["y"] == {"a": 1, "b": 3}
    assert found["z"] == {"a": 1, "b": 2}
    assert found["w"] == {"a": 1, "b": 2, "c": 4}


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_any_depth_of_nesting_is_an_error_and_not_a_crash(opening: str) -> None:
    for prefix in ("", "{u: a:b, v: "):  # the second one goes through the Python parser
        found, problems = parse((prefix if opening in "[{a: " else "") + opening * 30_000)
        assert found is None
        assert len(problems) == 1


def test_aliases_cannot_nest_deeper_than_the_text_may() -> None:
    text = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{x: *a{i - 1}}}\n" for i in range(1, 2500))
    found, problems = parse(text)
    assert found is None
    assert len(problems) == 1


def test_data_of_people_is_not_a_hundred_levels_deep() -> None:
    problems: list[Problem] = []
    item = yaml.parse(b"[" * 500 + b"]" * 500, "a.yaml", problems)
    assert item is not None
    with pytest.raises(ValueError, match="nested deeper than 100 levels"):
        item.plain()


@pytest.mark.parametrize(
    "data", [b"\xff\xfea\x00", b"a: \xc3(\n", b"\x00\x01\x02", b"a: \x1b[31m\n", "a: 1".encode("utf-16")]
)
def test_a_binary_file_is_refused_at_its_first_strange_byte(data: bytes) -> None:
    found, problems = parse(data)
    assert found is None
    assert len(problems) == 1


@pytest.mark.parametrize("text", ['a: "\\ud800"\n', 'a: {b: c:d, e: "\\ud800"}\n', 'a: {b: c:d, e: "\\UFFFFFFFF"}\n'])
def test_half_characters_are_not_text(text: str) -> None:
    found, problems = parse(text)
    assert found is None
    assert len(problems) == 1


def test_a_byte_order_mark_and_windows_line_ends_are_fine() -> None:
    assert parse(b"\xef\xbb\xbfa: 1\r\nb:\r\n  c: 2\r\n") == ({"a": 1, "b": {"c": 2}}, [])


def test_a_file_of_unreasonable_size_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(yaml, "MAX_BYTES", 1_000_000)
    (tmp_path / "a.yaml").write_bytes(b"#" * 1_000_001)
    problems: list[Problem] = []
    assert yaml.read(tmp_path / "a.yaml", "a.yaml", problems) is None
    assert [str(p) for p in problems] == ["a.yaml:1:1: larger than 1 MB; split it"]


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    problems: list[Problem] = []
    assert yaml.read(tmp_path / "none.yaml", "none.yaml", problems) is None
    assert [str(p) for p in problems] == ["none.yaml:1:1: cannot be read: No such file or directory"]


def test_a_comment_alone_is_an_empty_file() -> None:
    assert parse("# nothing yet\n") == (None, [])


PIECES = st.sampled_from(
    ["a: ", "- ", "\n", "  ", "{", "}", "[", "]", "&x ", "*x", "<<: ", "!!int ", "? ", ": ", "'", '"', "|\n", ">",
     "---\n", "...\n", "%YAML 1.2\n", "#", "\t", "http://x", ",", "\\", "é", "\x85", "@", "`", "1", "~"]
)  # fmt: skip


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200), st.lists(PIECES, max_size=40).map("".join)))
def test_anything_at_all_is_a_value_or_a_problem_with_a_place(data: bytes | str) -> None:
    raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    for content in (raw, b"z: {y: a:b, x: " + raw):
        problems: list[Problem] = []
        item = yaml.parse(content, "a.yaml", problems)
        assert item is None or isinstance(item, Item)
        for problem in problems:
            assert problem.place.line >= 1
            assert problem.place.column >= 1
            assert len(problem.message) < 500
