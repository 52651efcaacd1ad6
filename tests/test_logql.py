"""The part of LogQL that log files answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from treewalk.model.logql import parse

CONTRACTS = Path(__file__).parent / "contracts" / "loki"


def passes(query: str, line: str, **labels: str) -> bool:
    return parse(query).matches(labels or {"a": "b"}, line)


@pytest.mark.parametrize(
    ("selector", "labels", "wanted"),
    [
        ('{a="b"}', {"a": "b"}, True),
        ('{a="b",}', {"a": "b", "c": "d"}, True),
        ('{a="b"}', {"a": "bb"}, False),
        ('{a="b", c!="d"}', {"a": "b"}, True),
        ('{a="b", c!="d"}', {"a": "b", "c": "d"}, False),
        ('{a=~"b.*"}', {"a": "bcd"}, True),
        ('{a=~"b"}', {"a": "bcd"}, False),  # a pattern is for the whole value
        ('{a="b", c!~"d|e"}', {"a": "b", "c": "e"}, False),
        ('{a="b", c!~"d|e"}', {"a": "b", "c": "de"}, True),
        ('{a=~".+"}', {}, False),
        ('{a!=""}', {"a": "x"}, True),
        ('{ a = "b" } # the consumer', {"a": "b"}, True),
    ],
)
def test_selectors(selector: str, labels: dict[str, str], wanted: bool) -> None:
    assert parse(selector).selects(labels) is wanted


@pytest.mark.parametrize(
    ("stages", "line", "wanted"),
    [
        ('|= "pool"', "the pool is empty", True),
        ('|= "Pool"', "the pool is empty", False),
        ('!= "pool"', "the pool is empty", False),
        ('|~ "p..l"', "the pool is empty", True),
        ('|~ "^pool"', "the pool is empty", False),
        ('|~ "(?i)POOL"', "the pool is empty", True),
        ('!~ "p..l"', "the pool is empty", False),
        (r"|~ `\d+ms`", "took 15ms", True),
        (r'|~ "\\d+ms"', "took 15ms", True),
        ('|= "a" or "b"', "xbx", True),
        ('|= "a" or "b"', "xcx", False),
        ('!= "a" or "b"', "xbx", False),
        ('|= "x" != "y"', "xy", False),
        ('|= "x"\n  |= "y" # both', "xy", True),
        (r'|= "say \"no\""', 'they say "no"', True),
        (r'|= "\u00fcn\x41"', "ünA", True),
        (r'|= "tab\there"', "tab\there", True),
        ('|= "ünïcode → 🔥"', "ERROR ünïcode → 🔥", True),
        ('|= ""', "anything", True),
    ],
)
def test_line_filters(stages: str, line: str, wanted: bool) -> None:
    assert passes('{a="b"} ' + stages, line) is wanted


@pytest.mark.parametrize(
    ("filters", "line", "wanted"),
    [
        ('level="error"', '{"level": "error"}', True),
        ('level!="error"', '{"level": "error"}', False),
        ('level=~"err.*"', '{"level": "error"}', True),
        ('level=~"err"', '{"level": "error"}', False),
        ('level!~"warn|error"', '{"level": "error"}', False),
        ("n>3", '{"n": 4}', True),
        ("n>=4.5", '{"n": 4}', False),
        ("n<-1", '{"n": -2.5}', True),
        ("n<=1e3", '{"n": 1000}', True),
        ("n==4", '{"n": "4.0"}', True),
        ("n=4", '{"n": 4}', True),
        ("n!=4", '{"n": 4}', False),
        ("n>3", '{"m": 4}', False),  # a missing label never holds
        ("took>1m30s", '{"took": "2m"}', True),
        ("took>500ms", '{"took": "0.4s"}', False),
        ("size>=5KB", '{"size": "5000"}', True),
        ("size>5KiB", '{"size": "5120B"}', False),
        ('n="1.0"', '{"n": 1.0}', True),  # numbers stay as they were written
        ('n="123456789012345678901234567890"', '{"n": 123456789012345678901234567890}', True),
        ('ok="true"', '{"ok": true}', True),
        ('request_method="GET"', '{"request": {"method": "GET"}}', True),
        ('http_status="500"', '{"http.status": 500}', True),
        ('a_extracted="z"', '{"a": "z"}', True),  # the stream has a label `a` already
        ('a="b"', '{"a": "z"}', True),
        ('level="error" and n>3', '{"level": "error", "n": 2}', False),
        ('level="error", n>3', '{"level": "error", "n": 4}', True),
        ('level="error" or n>3', '{"level": "info", "n": 4}', True),
        ('level="x" or level="error" and n>3', '{"level": "x"}', True),  # `and` binds tighter
        ('(level="x" or level="error") and n>3', '{"level": "x", "n": 1}', False),
        ('list=""', '{"list": [1, 2]}', True),
    ],
)
def test_json_with_label_filters(filters: str, line: str, wanted: bool) -> None:
    assert passes('{a="b"} | json | ' + filters, line) is wanted


@pytest.mark.parametrize(
    ("filters", "line", "wanted"),
    [
        ('level="error"', 'ts=2026-11-20T04:47:07Z level=error msg="pool is empty"', True),
        ('msg="pool is empty"', 'level=error msg="pool is empty"', True),
        ('msg="say \\"no\\""', r'level=error msg="say \"no\""', True),
        ("n>=3", "level=error n=3", True),
        ('level="error"', "no fields here", False),
        ('level=""', "level= n=3", True),
    ],
)
def test_logfmt_with_label_filters(filters: str, line: str, wanted: bool) -> None:
    assert passes('{a="b"} | logfmt | ' + filters, line) is wanted


@pytest.mark.parametrize("line", ["not json", "[1, 2]", '{"n": NaN}', "[" * 100_000, '{"n": "many"}'])
def test_a_line_that_cannot_be_compared_is_kept_and_marked_as_loki_does(line: str) -> None:
    assert passes('{a="b"} | json | n>3', line)
    assert not passes('{a="b"} | json | n>3 | __error__=""', line)


def test_half_a_character_in_json_is_no_error() -> None:
    assert passes('{a="b"} | json | level=~".+"', r'{"level": "\ud800"}')


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ('rate({a="b"}[5m])', "the metric query rate(…) is not supported by log files (column 1)"),
        ('sum by (x) (rate({a="b"}[5m]))', "the metric query sum(…) is not supported by log files (column 1)"),
        ('{a="b"}[5m]', "a range, which belongs to a metric query, is not supported by log files (column 8)"),
        ('{a="b"} | pattern "<x>"', "'| pattern' is not supported by log files (column 11)"),
        ('{a="b"} | regexp "(?P<x>.)"', "'| regexp' is not supported by log files (column 11)"),
        ('{a="b"} | line_format "{{.x}}"', "'| line_format' is not supported by log files (column 11)"),
        ('{a="b"} | json | unwrap n', "'| unwrap' is not supported by log files (column 18)"),
        ('{a="b"} | json x="y"', "a parser with parameters is not supported by log files (column 16)"),
        ('{a="b"} |> "<_> x"', "the pattern filter |> is not supported by log files (column 9)"),
        ('{a="b"} |= ip("10.0.0.0/8")', "ip(…) is not supported by log files (column 12)"),
        ('{a="b"} | detected_level="error"', "the label detected_level, which a Loki makes by itself, is not"),
        ('{a="b"} |= x', "a text in quotes expected at column 12, found 'x'"),
        ('{a="b"} | json | n>many', "a number, a duration or a size expected at column 20, found 'many'"),
        ('{a="b"} |= "x', "cannot read '\"x' at column 12"),
        ('{a="b"} |', "a stage expected at column 10, found the end"),
        ('{a="b"} | ' + "(" * 1000, "a depth of more than 50 parentheses"),
        (r'{a="b"} |= "\d"', r"unknown escape '\\d' at column 13; backticks need no escapes"),
        (r'{a="b"} |= "\ud800"', "unknown escape"),
        ("", "'{' expected at column 1, found the end"),
    ],
)
def test_what_is_not_supported_is_refused_by_name_and_place(query: str, message: str) -> None:
    with pytest.raises(ValueError, match="LogQL: ") as caught:
        parse(query)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["error_empty_matcher", "error_parse", "error_bad_regex"])
def test_what_a_loki_refuses_is_refused(name: str) -> None:
    recorded = json.loads((CONTRACTS / f"{name}.json").read_text("utf-8"))
    with pytest.raises(ValueError, match="LogQL: "):
        parse(recorded["request"]["params"]["query"])


@pytest.mark.parametrize(
    "line", ["a" * 1_000_000, 'a="\\' * 250_000, "a-" * 500_000, "a=" * 500_000, '{"a":' * 200_000, "=" * 1_000_000]
)
def test_a_hostile_line_is_answered(line: str) -> None:
    assert not passes('{a="b"} |~ "(x+x+)+y"', line)
    assert not passes('{a="b"} | logfmt | level="error"', line)
    assert not passes('{a="b"} | json | level="error"', line)


_PIECES = st.sampled_from(
    ["{", "}", "a", '="b"', "=~", "!=", "|=", "|~", "|", "json", "logfmt", "(", ")", "and", "or", ",", ">", "5ms", '"',
     "`x`", '"x"', "[5m]", "#", "\n", " ", "\\", "==", "-1", "µs", "\ud800", "{a=\"b\"}", "| json |"]
)  # fmt: skip


@given(st.one_of(st.text(max_size=60), st.lists(_PIECES, max_size=12).map("".join)))
def test_any_text_is_a_query_or_the_named_error(text: str) -> None:
    for query in (text, '{a="b"} ' + text):
        said = ""
        try:
            assert parse(query).matches({"a": "b"}, "a line") in (True, False)
        except ValueError as error:
            said = str(error)
        assert not said or said.startswith("LogQL: ")


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=40), st.text(max_size=40))
def test_a_quoted_text_is_found_exactly_where_it_stands(needle: str, around: str) -> None:
    quoted = json.dumps(needle, ensure_ascii=False).replace("\x7f", "\\u007f")
    assert passes('{a="b"} |= ' + quoted, around + needle + around)
    assert passes('{a="b"} != ' + quoted, around) is (needle not in around)
