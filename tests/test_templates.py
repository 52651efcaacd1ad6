"""Which lines are errors, and which say the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from treewalk.model.redact import redact
from treewalk.model.series import LogLine
from treewalk.model.templates import MAX_SAMPLE, clean, group_errors, is_error, template

DATA = Path(__file__).parent / "data" / "log_templates.txt"
BLOCKS = [
    block.splitlines()
    for block in DATA.read_text("utf-8").split("\n", 1)[1].strip().split("\n\n")
]  # fmt: skip


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block[0][-30:])
def test_lines_that_say_the_same_have_one_template(block: list[str]) -> None:
    assert len({template(line) for line in block}) == 1


def test_lines_that_say_different_things_have_different_templates() -> None:
    assert len({template(block[0]) for block in BLOCKS}) == len(BLOCKS)


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-20 04:47:07,297 ERROR redis_writer Redis connection pool exhausted",
        "2026-11-20 04:47:07 [error] something",
        "[2026-11-20 04:47:07,1] ERROR [KafkaServer id=0] Fatal error",
        "E1120 04:47:07.123456 1 main.go:1] boom",
        "level=error msg=x",
        'time="2026-11-20T04:47:07Z" level=fatal msg=x',
        '{"level":"error","msg":"x"}',
        '{"severity": "CRITICAL"}',
        "<3>kernel: something",
        "FATAL:  too many connections for role",
        "2026-11-20 04:47:07.1 UTC [1] ERROR:  deadlock detected",
        "panic: runtime error: index out of range",
        "Traceback (most recent call last):\n  File\nValueError: x",
        "java.lang.NullPointerException",
        "Exception in thread main java.io.IOException: Broken pipe",
        "1:M 20 Nov 2026 04:47:00.000 # Error registering fd event for the new client",
        "2026/11/20 04:47:07 [warn] upstream timed out (110: Connection timed out)",
        "Out of memory: Killed process 1",
        "container OOMKilled",
        "FAILED: task x",
        "process ended with exit code 137",
        "error: build failed",
        "0 errors, then a panic",
        "INFO starting\nTraceback (most recent call last):\n  File x\nKeyError: 'REDIS_HOST'",
        "ERROR ünïcode → 🔥",
        "\x1b[31mERROR\x1b[0m cannot write",
        "\x1b[1;31mTraceback (most recent call last):\x1b[0m\n  File\n\x1b[31mValueError\x1b[0m: x",
    ],
)
def test_a_line_that_reports_an_error_is_one(line: str) -> None:
    assert is_error(line, {})


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-20 04:47:07,297 INFO ok",
        "INFO 0 errors found",
        "completed: 0 failed, 0 errors",
        "no errors detected",
        "finished without errors",
        "error_count=0",
        "errors=0 warnings=2",
        "Error count: 0",
        "errors: 0, warnings: 2",
        "error_rate=0.00",
        "error=null",
        '{"level":"info","error":null,"msg":"0 errors"}',
        '{"error": "", "ok": true}',
        'level=info msg="error budget ok"',
        "INFO handler for ERROR pages loaded",
        "[INFO] ERROR is a level",
        "DEBUG error rate 0.1",
        "GET /error HTTP/1.1 200",
        "GET /errors/list 200",
        "Loaded ErrorHandler",
        "stderr is clean",
        "the mirror is in sync",
        "alert rules loaded",
        "exit status 0",
        "",
    ],
)
def test_a_line_that_only_speaks_of_errors_is_none(line: str) -> None:
    assert not is_error(line, {})


def test_the_level_that_loki_detected_decides_where_the_line_gives_none() -> None:
    assert is_error("the pool is empty", {"detected_level": "error"})
    assert not is_error("an error was handled", {"detected_level": "info"})
    assert is_error("ValueError: x", {"detected_level": "info"})
    assert is_error("an error happened", {"detected_level": "unknown"})


def lines(*texts: str) -> list[LogLine]:
    return [LogLine(float(number), text) for number, text in enumerate(texts)]


def test_errors_are_grouped_counted_and_sorted() -> None:
    found = group_errors(
        "consumer",
        lines(
            "INFO fine", "ERROR late 1", "ERROR pool 1 empty", "ERROR pool 2 empty", "ERROR early", "ERROR pool 3 empty"
        ),
        redact,
    )
    assert [(g.template, g.count, g.first, g.last) for g in found] == [
        ("ERROR pool <n> empty", 3, 2.0, 5.0),
        ("ERROR late <n>", 1, 1.0, 1.0),
        ("ERROR early", 1, 4.0, 4.0),
    ]
    assert found[0].sample == "ERROR pool 3 empty"
    assert found[0].node == "consumer"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("ERROR flush\nTraceback (most recent call last):\n  File x, line 4\nredis.exceptions.ConnectionError: max 9\n",
         "redis.exceptions.ConnectionError: max <n>"),
        ("Traceback (most recent call last):\n  File x\nsqlalchemy.exc.OperationalError: gone\n[SQL: x]\n(See y)",
         "sqlalchemy.exc.OperationalError: gone"),
        ("ERROR x\njava.lang.StateException: b\n\tat a.b(C.java)\nCaused by: java.net.ConnectException: refused\n\tat",
         "java.net.ConnectException: refused"),
        ("ERROR x\njava.lang.IllegalStateException: bad\n\tat a.b(C.java:12)", "java.lang.IllegalStateException: bad"),
        ("panic: index 3\n\ngoroutine 1 [running]:\nmain.main()", "panic: index <n>"),
        ("ERROR first row\nsecond row", "ERROR first row"),
    ],
)  # fmt: skip
def test_a_trace_counts_by_its_exception(text: str, named: str) -> None:
    (group,) = group_errors("n", lines(text), redact)
    assert group.template == named


def test_samples_are_redacted_clean_and_short() -> None:
    text = "ERROR \x1b[31mlogin\x1b[0m\x07 password=s3cr3t-made-up\x00 \x1b]0;title\x07" + "x" * 5000
    (group,) = group_errors("n", lines(text), redact)
    assert group.sample.startswith("ERROR login password=[redacted]")
    assert "s3cr3t" not in group.sample + group.template
    assert len(group.sample) <= MAX_SAMPLE
    assert group.sample.isprintable()


_HOSTILE = ("a", "1", "1.", "a1", "-1", "0x", "12:", "\x1b[", "\x1b]", "A.", "Error", "'a", '"a', "(= '", "2026-01-01T",
            "Jan 1 ", "a:", "::", "\n", "\nCaused by: ", "\nA.B", " errors", "error=", "level=", "[",
            "-a1b2c3d4-")  # fmt: skip


@pytest.mark.parametrize("piece", _HOSTILE)
def test_a_hostile_line_is_cut_before_it_is_looked_at(piece: str) -> None:
    text = "ERROR " + piece * (1_000_000 // len(piece))
    assert len(template(text)) <= 200
    assert len(group_errors("n", lines(text), redact)) == 1


@given(st.text(max_size=300))
def test_any_text_has_a_template_that_is_its_own(text: str) -> None:
    once = template(text)
    assert once.isprintable() or once == ""
    assert template(once) == template(template(once))
    assert is_error(text) in (True, False)
    assert clean(clean(text)) == clean(text)


_SHAPES = ("ERROR pool {} empty", "ERROR took {}ms at {}", "{} is gone: Connection refused", "panic: {} {}")


@given(st.sampled_from(_SHAPES), st.lists(st.integers(0, 10**12), min_size=4, max_size=4))
def test_numbers_never_split_a_group(shape: str, numbers: list[int]) -> None:
    assert template(shape.format(*numbers[:2])) == template(shape.format(*numbers[2:]))


@given(st.lists(st.sampled_from([b[0] for b in BLOCKS]), max_size=30), st.randoms(use_true_random=False))
def test_groups_do_not_depend_on_the_order_of_the_lines(texts: list[str], random: object) -> None:
    ordered = [LogLine(float(n), text) for n, text in enumerate(texts)]
    shuffled = list(ordered)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert group_errors("n", ordered, redact) == group_errors("n", shuffled, redact)
    assert sum(g.count for g in group_errors("n", ordered, redact)) == len(texts)
