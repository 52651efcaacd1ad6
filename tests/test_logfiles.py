"""Log files that answer like a Loki."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from treewalk.errors import QueryUnsupported, SourceError, SourceRejected, SourceUnreachable
from treewalk.integrations import logfiles
from treewalk.integrations.logfiles import LogFiles
from treewalk.model.series import LogBatch
from treewalk.model.timestamps import find_time
from treewalk.settings import FilesSettings, LogFile

CONTRACTS = Path(__file__).parent / "contracts" / "loki"
T0 = datetime(2026, 11, 20, 4, 0, tzinfo=UTC).timestamp()
QUERY = '{app="x"}'


def stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S,%f")[:-3]


def source(root: Path, path: str = "app.log", *, max_bytes: int = 64_000_000, **stream: Any) -> LogFiles:
    labels = stream.pop("labels", {"app": "x"})
    settings = FilesSettings(streams=[LogFile(labels=labels, path=path, **stream)], max_bytes=max_bytes)
    return LogFiles("files", settings, root, lambda text: text)


def write(path: Path, *lines: str, modified: float | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), "utf-8")
    if modified is not None:
        os.utime(path, (modified, modified))


async def ask(
    files: LogFiles, query: str = QUERY, start: float = T0, end: float = T0 + 3600, limit: int = 100
) -> LogBatch:
    return await files.lines(query, start, end, limit)


def texts(batch: LogBatch) -> list[str]:
    return [line.text for line in batch.lines]


# --- the same as a Loki on the same data


def recorded(name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    contract = json.loads((CONTRACTS / f"{name}.json").read_text("utf-8"))
    return contract["request"]["params"], contract["response"]["body"]["data"]["result"]


@pytest.mark.parametrize(
    "name",
    ["query_range_backward", "query_range_json_parser", "query_range_multiline_unicode", "query_range_two_streams"],
)
async def test_files_answer_a_recorded_query_as_the_loki_did(tmp_path: Path, name: str) -> None:
    params, wanted = recorded(name)
    everything = {
        (value[0], value[1], stream["stream"]["container_name"])
        for other in ("query_range_backward", "query_range_forward", "query_range_json_parser",
                      "query_range_multiline_unicode", "query_range_two_streams", "query_range_structured_metadata")
        for stream in recorded(other)[1]
        for value in stream["values"]
    }  # fmt: skip
    hosts = {"primary_kafka_to_redis": "node-a", "primary_websocket_kafka": "node-a", "redis": "node-b"}
    for container in hosts:
        lines = sorted((int(time), text) for time, text, of in everything if of == container)
        write(tmp_path / f"{container}.log", *(f"{time / 1e9:.9f} {text}" for time, text in lines))
    streams = [LogFile(labels={"container_name": c, "host": h}, path=f"{c}.log") for c, h in hosts.items()]
    files = LogFiles("files", FilesSettings(streams=streams), tmp_path, lambda text: text)

    # The shipper of the recording put the time beside the line; here it stands in front of it.
    query = params["query"].replace("| json ", "")
    if "json" in params["query"]:
        query = query.replace('| level="error"', '|= `"level": "error"`')
    batch = await files.lines(query, int(params["start"]) / 1e9, int(params["end"]) / 1e9, 1000)

    found = {(line.text.split(" ", 1)[1], round(line.time, 3)) for line in batch.lines}
    for stream in wanted:
        for time, text in (value[:2] for value in stream["values"]):
            assert (text, round(int(time) / 1e9, 3)) in found
    assert [line.time for line in batch.lines] == sorted((line.time for line in batch.lines), reverse=True)


async def test_json_lines_are_filtered_as_the_loki_did(tmp_path: Path) -> None:
    params, wanted = recorded("query_range_json_parser")
    lines = []
    for second in range(300):
        body = {"time": stamp(T0 + second), "level": "error" if second % 50 == 3 else "info", "n": second}
        lines.append(json.dumps(body))
    write(tmp_path / "ws.log", *lines)
    files = source(tmp_path, "ws.log", labels={"container_name": "primary_websocket_kafka"})
    batch = await ask(files, params["query"], limit=2)
    assert [json.loads(text)["n"] for text in texts(batch)] == [253, 203]
    assert sorted(int(s["stream"]["n"]) for s in wanted) == [203, 253]
    assert batch.truncated


async def test_newest_lines_come_first_and_a_cut_is_said(tmp_path: Path) -> None:
    write(tmp_path / "app.log", *(f"{stamp(T0 + n)} INFO line {n}" for n in range(50)))
    files = source(tmp_path)
    batch = await ask(files, limit=3)
    assert [text[-7:] for text in texts(batch)] == ["line 49", "line 48", "line 47"]
    assert batch.truncated
    assert not (await ask(files, limit=50)).truncated
    assert batch.lines[0].labels == {"app": "x"}


async def test_the_window_holds_its_start_and_not_its_end(tmp_path: Path) -> None:
    write(tmp_path / "app.log", *(f"{stamp(T0 + n)} line {n}" for n in range(10)))
    batch = await ask(source(tmp_path), start=T0 + 3, end=T0 + 6)
    assert [text[-1] for text in texts(batch)] == ["5", "4", "3"]


# --- what is refused


async def test_labels_that_no_stream_has_are_an_error_that_names_the_streams(tmp_path: Path) -> None:
    write(tmp_path / "app.log", f"{stamp(T0)} x")
    with pytest.raises(SourceRejected, match=r'no log file has the labels of \{app="y"\}; declared are: \{app="x"\}'):
        await ask(source(tmp_path), '{app="y"}')


async def test_a_query_that_files_cannot_answer_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(QueryUnsupported, match="rate"):
        await ask(source(tmp_path), 'rate({app="x"}[5m])')


async def test_a_missing_file_is_an_error_not_silence(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreachable, match=r"no log file at app\.log"):
        await ask(source(tmp_path))
    with pytest.raises(SourceUnreachable, match="none of the declared log files exists"):
        await source(tmp_path).inspect()


@pytest.mark.parametrize(
    ("path", "stream", "message"),
    [
        ("a**b/*.log", {}, "is not a path of log files"),
    ],
)
async def test_a_wrong_declaration_is_a_named_error(
    tmp_path: Path, path: str, stream: dict[str, Any], message: str
) -> None:
    write(tmp_path / "app.log", f"{stamp(T0)} x")
    with pytest.raises(SourceRejected, match=message.replace("*", r"\*")):
        await ask(source(tmp_path, path, **stream))


async def test_an_unreadable_file_is_an_error_with_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "app.log", f"{stamp(T0)} x")

    def denied(self: Path, *args: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(SourceUnreachable, match=r"app\.log cannot be read: Permission denied"):
        await ask(source(tmp_path))


async def test_a_broken_gzip_file_is_an_error_with_its_path(tmp_path: Path) -> None:
    write(tmp_path / "app.log")
    whole = gzip.compress(f"{stamp(T0)} x\n".encode() * 1000)
    for content in (whole[: len(whole) // 2], b"no gzip at all", whole[:-20] + b"\0" * 20):
        (tmp_path / "app.log.1.gz").write_bytes(content)
        with pytest.raises(SourceUnreachable, match=r"app\.log\.1\.gz cannot be read"):
            await ask(source(tmp_path))


# --- several files


async def test_rotated_siblings_are_read_when_the_window_needs_them(tmp_path: Path) -> None:
    def lines(first: int) -> list[str]:
        return [f"{stamp(T0 + n)} line {n}" for n in range(first, first + 100)]

    (tmp_path / "app.log.3.gz").write_bytes(gzip.compress("\n".join(lines(0)).encode()))
    write(tmp_path / "app.log-20261120", *lines(100))
    write(tmp_path / "app.log.1", *lines(200))
    write(tmp_path / "app.log", *lines(300))
    write(tmp_path / "app.log.old.txt", f"{stamp(T0 + 350)} not a rotated one")
    for age, name in enumerate(("app.log", "app.log.1", "app.log-20261120", "app.log.3.gz")):
        os.utime(tmp_path / name, (T0 + 400 - 100 * age,) * 2)

    batch = await ask(source(tmp_path), start=T0 + 50, limit=1000)
    assert [int(text.split()[-1]) for text in texts(batch)] == list(range(399, 49, -1))


async def test_every_file_of_a_glob_is_read_and_the_newest_lines_win(tmp_path: Path) -> None:
    for worker in range(3):
        write(tmp_path / f"logs/worker-{worker}.log", *(f"{stamp(T0 + 10 * n + worker)} w{worker}" for n in range(60)))
    # One that reaches far back must not keep the others from being read.
    write(tmp_path / "logs/old.log", *(f"{stamp(T0 - 9000 + n)} old" for n in range(60)), f"{stamp(T0 + 1000)} old")
    batch = await ask(source(tmp_path, "logs/*.log"), limit=4)
    assert [text.split()[-1] for text in texts(batch)] == ["old", "w2", "w1", "w0"]
    assert batch.truncated
    assert len(texts(await ask(source(tmp_path, "logs/*.log"), limit=1000))) == 181


async def test_a_neighbour_whose_name_ends_in_a_number_is_not_a_rotated_file(tmp_path: Path) -> None:
    write(tmp_path / "worker", f"{stamp(T0)} zero")
    write(tmp_path / "worker-1", f"{stamp(T0)} one")
    assert [t.split()[-1] for t in texts(await ask(source(tmp_path, "worker")))] == ["zero"]
    assert [t.split()[-1] for t in texts(await ask(source(tmp_path, "worker-1")))] == ["one"]


async def test_an_absolute_path_needs_no_root(tmp_path: Path) -> None:
    write(tmp_path / "app.log", f"{stamp(T0)} here")
    assert texts(await ask(source(Path("/nowhere"), str(tmp_path / "app.log")))) == [f"{stamp(T0)} here"]


async def test_a_file_that_vanishes_between_listing_and_reading_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "app.log", f"{stamp(T0)} before the rotation")
    files, listed = source(tmp_path), []
    original = LogFiles._paths

    def rotating(self: LogFiles, stream: LogFile) -> list[list[Path]]:
        found = original(self, stream)
        if not listed:
            (tmp_path / "app.log").rename(tmp_path / "app.log.1")
            write(tmp_path / "app.log", f"{stamp(T0 + 1)} after the rotation")
            (tmp_path / "app.log").rename(tmp_path / "other")
        elif len(listed) == 1:
            (tmp_path / "other").rename(tmp_path / "app.log")
            found = original(self, stream)
        listed.append(found)
        return found

    monkeypatch.setattr(LogFiles, "_paths", rotating)
    assert [t.split(" ", 2)[2] for t in texts(await ask(files))] == ["after the rotation", "before the rotation"]


async def test_a_file_that_never_stays_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LogFiles, "_paths", lambda self, stream: [[tmp_path / "gone.log"]])
    with pytest.raises(SourceUnreachable, match=r"gone\.log vanished while it was read"):
        await ask(source(tmp_path))


# --- one file


async def test_lines_without_a_time_belong_to_the_line_before(tmp_path: Path) -> None:
    trace = [
        f"{stamp(T0)} ERROR flush failed",
        "Traceback (most recent call last):",
        '  File "writer.py", line 41, in flush',
        "    2026-11-20 03:00:00 looks like a time but is indented",
        "redis.exceptions.ConnectionError: max number of clients reached",
    ]
    write(tmp_path / "app.log", f"{stamp(T0 - 1)} INFO fine", *trace, f"{stamp(T0 + 1)} INFO next")
    batch = await ask(source(tmp_path), QUERY + ' |= "max number of clients"')
    assert texts(batch) == ["\n".join(trace)]
    assert batch.lines[0].time == T0


async def test_lines_above_the_first_time_are_not_newer_than_it(tmp_path: Path) -> None:
    write(
        tmp_path / "app.log", "the end of an older trace", f"{stamp(T0 + 5)} INFO first", f"{stamp(T0 + 9)} INFO second"
    )
    batch = await ask(source(tmp_path))
    assert [line.time - T0 for line in batch.lines] == [9, 5, 5]


async def test_a_file_without_times_is_as_old_as_the_file(tmp_path: Path) -> None:
    write(tmp_path / "app.log", "plain output", "Segmentation fault", modified=T0 + 60)
    batch = await ask(source(tmp_path))
    assert [(line.time, line.text) for line in batch.lines] == [
        (T0 + 60, "Segmentation fault"),
        (T0 + 60, "plain output"),
    ]
    assert texts(await ask(source(tmp_path), end=T0 + 30)) == ["Segmentation fault", "plain output"]  # being written
    assert texts(await ask(source(tmp_path), start=T0 + 61)) == []


async def test_one_line_out_of_order_does_not_hide_the_rest(tmp_path: Path) -> None:
    write(tmp_path / "app.log", f"{stamp(T0)} first", f"{stamp(T0 - 86400)} odd", f"{stamp(T0 + 1)} last")
    assert [t.split()[-1] for t in texts(await ask(source(tmp_path)))] == ["last", "first"]


async def test_only_the_end_of_a_huge_file_is_read(tmp_path: Path) -> None:
    line = f"{stamp(T0)} INFO " + "x" * 1000 + "\n"
    with (tmp_path / "app.log").open("w") as file:
        file.writelines(line for _ in range(2000))
        file.write(f"{stamp(T0 + 1)} ERROR at the end\n")
    batch = await ask(source(tmp_path, max_bytes=100_000), limit=5000)
    assert texts(batch)[0].endswith("ERROR at the end")
    assert 50 < len(batch.lines) < 110
    assert batch.truncated


async def test_only_the_end_of_a_huge_packed_file_is_kept(tmp_path: Path) -> None:
    content = "".join(f"{stamp(T0 + n / 100)} line {n}\n" for n in range(20_000))
    write(tmp_path / "app.log", modified=T0 + 300)
    (tmp_path / "app.log.1.gz").write_bytes(gzip.compress(content.encode()))
    batch = await ask(source(tmp_path, max_bytes=500_000), limit=50_000)
    assert texts(batch)[0].endswith("line 19999")
    assert batch.truncated
    assert all(t.startswith("2026-") for t in texts(batch))


async def test_the_beginning_of_an_endless_line_is_kept(tmp_path: Path) -> None:
    with (tmp_path / "app.log").open("w") as file:
        file.write(
            f"{stamp(T0)} ERROR begins\n{stamp(T0 + 1)} ERROR long " + "y" * 3_000_000 + f"\n{stamp(T0 + 2)} ends\n"
        )
    batch = await ask(source(tmp_path))
    assert [len(text) <= 1_000_000 for text in texts(batch)] == [True, True, True]
    assert texts(batch)[1].startswith(f"{stamp(T0 + 1)} ERROR long yyy")


async def test_binary_rubbish_and_windows_line_ends_are_read_around(tmp_path: Path) -> None:
    good = f"{stamp(T0)} ERROR ünïcode → 🔥".encode()
    (tmp_path / "app.log").write_bytes(b"\0\0\xff\xfe\n" + b"\0" * 5000 + good + b"\r\n\n\x80 tail \xff\r\n")
    (text,) = [t for t in texts(await ask(source(tmp_path))) if "ERROR" in t]
    assert text == f"{stamp(T0)} ERROR ünïcode → 🔥\n\ufffd tail \ufffd"


async def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    write(tmp_path / "app.log", modified=T0 + 60)
    batch = await ask(source(tmp_path))
    assert (batch.lines, batch.truncated) == ((), False)


async def test_a_file_that_grows_is_read_as_far_as_it_was(tmp_path: Path) -> None:
    write(tmp_path / "app.log", f"{stamp(T0)} one")
    files = source(tmp_path)
    assert len((await ask(files)).lines) == 1
    with (tmp_path / "app.log").open("a") as file:
        file.write(f"{stamp(T0 + 1)} two\n{stamp(T0 + 2)} thr")
        file.flush()
        assert [t.split(" ", 2)[2] for t in texts(await ask(files))] == ["thr", "two", "one"]


async def test_inspect_counts_streams_that_have_files(tmp_path: Path) -> None:
    write(tmp_path / "a.log", "x")
    streams = [LogFile(labels={"app": n}, path=f"{n}.log") for n in "ab"]
    files = LogFiles("files", FilesSettings(streams=streams), tmp_path, lambda text: text)
    assert await files.inspect() == {"streams": "2", "with files": "1"}
    await files.aclose()


@given(st.binary(max_size=2000), st.sampled_from([16, 100, 10_000]))
@settings(deadline=None, max_examples=60)
def test_any_bytes_are_answered(tmp_path_factory: pytest.TempPathFactory, content: bytes, block: int) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "app.log").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logfiles, "_BLOCK", block)
        try:
            batch = asyncio.run(ask(source(folder), start=0.0, end=4e9))
        except SourceError as error:
            pytest.fail(str(error))
    assert all(0 <= line.time < 4e9 for line in batch.lines)


@given(
    st.lists(st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc")), max_size=30), max_size=30),
    st.integers(1, 70),
)
@settings(deadline=None, max_examples=60)
def test_blocks_do_not_change_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], block: int
) -> None:
    folder = tmp_path_factory.mktemp("blocks")
    lines = [f"{stamp(T0 + n)} {word}" for n, word in enumerate(words)]
    (folder / "app.log").write_text("".join(line + "\n" for line in lines), "utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logfiles, "_BLOCK", block)
        batch = asyncio.run(ask(source(folder), limit=1000))
    assert texts(batch) == lines[::-1]


# --- times of lines

AT = datetime(2026, 11, 20, 4, 47, 7, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("2026-11-20 04:47:07,297 ERROR x", 0.297),
        ("2026-11-20T04:47:07.5Z x", 0.5),
        ("2026-11-20T05:47:07+01:00 x", 0),
        ("2026-11-19T22:47:07.25-0600 x", 0.25),
        ("[2026-11-20 04:47:07,297] ERROR [KafkaServer id=0]", 0.297),
        ("2026-11-20 04:47:07.123 UTC [1] ERROR:  deadlock", 0.123),
        ("INFO 2026-11-20 04:47:07,1 x", 0.1),
        ("ts=2026-11-20T04:47:07Z level=error", 0),
        ("<34>1 2026-11-20T04:47:07Z host app", 0),
        ("1:M 20 Nov 2026 04:47:07.021 # Error registering fd event", 0.021),
        ("2026/11/20 04:47:07 [error] 12#12: connect() failed", 0),
        ("[Fri Nov 20 04:47:07.123456 2026] [core:error]", 0.123456),
        ('127.0.0.1 - - [20/Nov/2026:05:47:07 +0100] "GET / HTTP/1.1" 500', 0),
        ("Nov 20 04:47:07 host app[1]: x", 0),
        ("<13>Nov 20 04:47:07 host app: x", 0),
        ("E1120 04:47:07.123456 1 main.go:1] boom", 0.123456),
        (f"{int(AT)} x", 0),
        (f"{int(AT)}.25 x", 0.25),
        (f"[{int(AT)}.250] x", 0.25),
        (f"{int(AT)}250 x", 0.25),
        (f"{int(AT)}250000000 x", 0.25),
        (f"ts={int(AT)}.5 level=error", 0.5),
        ('{"msg": "since 2025-01-01T00:00:00", "time": "2026-11-20T04:47:07Z"}', 0),
        (f'{{"ts": {int(AT)}.5}}', 0.5),
        (f'{{"timestamp": {int(AT)}500}}', 0.5),
        (f'{{"@timestamp": "2026-11-20T04:47:07.5Z", "n": {int(AT)}}}', 0.5),
    ],
)
def test_the_time_of_a_line_is_found(line: str, seconds: float) -> None:
    assert find_time(line, year=2026) == pytest.approx(AT + seconds, abs=1e-4)


@pytest.mark.parametrize(
    "line",
    ["", "redis.exceptions.ConnectionError: gone", "2026-13-45T04:47:07Z x", "Nov 31 04:47:07 host x", "12345 items",
     "1234567890abc", "in 2026", '{"msg": "no time"}', "Foo 20 04:47:07 host"],
)  # fmt: skip
def test_a_line_without_a_time_has_none(line: str) -> None:
    assert find_time(line, year=2026) is None


@given(st.text(max_size=80), st.sampled_from([None, "%d.%m.%Y %H:%M"]))
def test_any_line_has_a_time_or_none(line: str, pattern: str | None) -> None:
    found = find_time(line, year=2026, pattern=pattern)
    assert found is None or isinstance(found, float)


async def test_times_without_a_zone_are_in_the_streams_own(tmp_path: Path) -> None:
    write(tmp_path / "app.log", "2026-11-19 23:00:00 in New York")
    batch = await ask(source(tmp_path, timezone="America/New_York"))
    assert batch.lines[0].time == T0


async def test_a_declared_format_is_used(tmp_path: Path) -> None:
    write(tmp_path / "app.log", "20.11.2026 04:30 ERROR x", "continued 2026-11-20 04:40:00")
    batch = await ask(source(tmp_path, timestamp="%d.%m.%Y %H:%M"))
    assert [(line.time - T0) / 60 for line in batch.lines] == [30]


async def test_december_in_a_file_of_january_is_last_years(tmp_path: Path) -> None:
    january = datetime(2027, 1, 1, 0, 10, tzinfo=UTC).timestamp()
    write(tmp_path / "app.log", "Dec 31 23:55:00 host app: old", "Jan  1 00:05:00 host app: new", modified=january)
    batch = await ask(source(tmp_path), start=january - 1800, end=january)
    assert [(line.time - january) / 60 for line in batch.lines] == [-5, -15]


async def test_a_reading_that_nobody_waits_for_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "app.log", *(f"{stamp(T0 + n)} line {n}" for n in range(100)))
    monkeypatch.setattr(logfiles, "_BLOCK", 100)
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()
    original, blocks = logfiles._Reading.backwards, []

    def slow(self: Any, path: Path) -> Any:
        for raw in original(self, path):
            begun.set()
            go.wait(10)
            blocks.append(raw)
            yield raw
        ended.set()

    monkeypatch.setattr(logfiles._Reading, "backwards", slow)
    asking = asyncio.create_task(ask(source(tmp_path)))
    await asyncio.to_thread(begun.wait, 10)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    go.set()
    assert await asyncio.to_thread(ended.wait, 10)
    assert len(blocks) < 50
