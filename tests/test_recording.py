"""A recorded diagnosis gives itself again, from the file alone."""

from __future__ import annotations

import gzip
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from treewalk.app import App, DiagnoseOptions, memoised, replay
from treewalk.content.checks import builtin_checks
from treewalk.diagnosing import Bench, diagnose
from treewalk.errors import SourceRejected, SourceTimeout, UsageError
from treewalk.integrations.clock import SystemClock
from treewalk.model.condition import parse_condition
from treewalk.model.diagnosis import Diagnosis
from treewalk.model.series import LogLine, Sample
from treewalk.model.tree import BaselineSpec, LogSpec, Tree
from treewalk.model.verdict import Status, unhealthy
from treewalk.recording import FORMAT, Recorder, open_recording
from treewalk.stages.match import SignatureIndex
from treewalk.stages.report import document

from tests.support.answers import answering
from tests.support.loki import loki
from tests.support.prometheus import running_prometheus
from tests.support.sources import TableLogs, TableMetrics
from tests.support.trees import checked, make_tree

AT = 1_795_216_800.0
ODD = b'{"kind":"instant","source":"default","query":"x","span":[1],"answer":[[1]]}'
WORKSPACE = """\
metrics:
  freshness:
    sla: {query: age_seconds, threshold: 60s}
    depends_on:
    - node: consumer
      healthcheck: {method: promql, condition: "consumer_up == 1"}
      logs: {loki_query: '{container_name="consumer"}'}
      metrics: [lag]
      depends_on:
      - node: redis
        alerts: ["redis_clients > 280"]
        logs: {loki_query: '{container_name="redis"}'}
      - node: feed
        healthcheck: {method: tcp_connect, host: 127.0.0.1, port: 1}
      - node: gone
        healthcheck: {method: promql, condition: "nothing_like_this > 1"}
"""


def _told(diagnosis: Diagnosis) -> dict[str, Any]:
    told = document(diagnosis)
    told.pop("timing")
    return told


@pytest.mark.needs("prometheus", "promtool")
@pytest.mark.parametrize("name", ["bundle.json", "bundle.json.gz"])
async def test_a_recorded_diagnosis_is_given_again_without_the_sources(name: str, tmp_path: Path) -> None:
    now = float(int(time.time()))
    times = [now - 3600 + i * 15 for i in range(240)]
    history = {
        "age_seconds": [(t, 5.0 if t < now - 600 else 90.0) for t in times],
        "consumer_up": [(t, 1.0 if t < now - 600 else 0.0) for t in times],
        "lag": [(t, math.nan if t < now - 3000 else 10.0 if t < now - 600 else 5000.0) for t in times],
        "redis_clients": [(t, 100.0 if t < now - 700 else 298.0) for t in times],
    }
    entries = [
        (int((now - 500 + i) * 1e9), f"ERROR redis password=hunter2 pool exhausted, try {i}", {"container_name": "c"})
        for i in range(30)
    ]
    root = tmp_path / "ops"
    (root / "trees").mkdir(parents=True)
    (root / "trees" / "freshness.yaml").write_text(WORKSPACE)
    bundle = tmp_path / name
    with running_prometheus(tmp_path / "prometheus", history=history) as prometheus, answering() as logs:
        logs.on("/loki/api/v1/query_range", loki(entries))
        (root / "treewalk.yaml").write_text(
            f"sources:\n  prometheus: {{url: '{prometheus.url}'}}\n  loki: {{url: '{logs.url}'}}\n"
        )
        async with App.open(root, environ={}) as app:
            first = await app.diagnose("freshness", DiagnoseOptions(at=now - 5, record=bundle, keep=False))
    again = await replay(bundle)
    assert first.measurement.status == "violated"
    assert first.verdicts["redis"].status is Status.DEGRADED
    assert first.verdicts["gone"].status is Status.UNKNOWN
    assert _told(again) == _told(first)
    raw = bundle.read_bytes()
    text = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode()
    assert "hunter2" not in text
    assert not list(tmp_path.glob(".bundle*"))


def _tree() -> Tree:
    return make_tree(
        {"a": ["b"], "b": ["c"]},
        a=checked("custom"),
        b={"metrics": ("m",), "logs": LogSpec('{a="b"}', None)},
        c={"conditions": (parse_condition("clients > 280"),)},
    )


def _bench(metrics: TableMetrics, logs: TableLogs | None = None, **changes: Any) -> Bench:
    found = logs or TableLogs()
    bench = Bench(
        metrics=lambda name: metrics,
        logs=lambda name: found,
        checks=builtin_checks(),
        known=SignatureIndex(()),
        clock=SystemClock(),
        at=AT,
        window=900.0,
        baseline=BaselineSpec(),
    )
    return replace(bench, **changes)


async def _record(tree: Tree, bench: Bench, file: Path) -> Diagnosis:
    recorder = Recorder(tree, (), bench)
    listened = replace(
        bench,
        metrics=recorder.metrics(bench.metrics),
        logs=recorder.logs(bench.logs),
        keep_verdict=recorder.keep_verdict,
    )
    diagnosis = await diagnose(tree, memoised(listened))
    recorder.write(file)
    return diagnosis


async def test_not_a_number_and_infinity_survive_strict_json(tmp_path: Path) -> None:
    metrics = TableMetrics(samples={"clients": [Sample({"x": "1"}, AT, math.nan), Sample({"x": "2"}, AT, math.inf)]})
    tree, file = _tree(), tmp_path / "b.json"
    first = await _record(tree, _bench(metrics), file)
    json.loads(file.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    opened, bench = open_recording(file)
    found = await bench.metrics(None).instant("clients", AT)
    assert math.isnan(found[0].value)
    assert found[1].value == math.inf
    assert _told(await diagnose(opened, bench)) == _told(first)


async def test_an_infinite_size_in_a_verdict_survives(tmp_path: Path) -> None:
    bench = _bench(TableMetrics())
    recorder = Recorder(_tree(), (), bench)
    recorder.keep_verdict("a", unhealthy("far off", size=math.inf))
    recorder.write(tmp_path / "b.json")
    assert open_recording(tmp_path / "b.json")[1].recorded["a"].size == math.inf


async def test_errors_are_recorded_as_what_they_were(tmp_path: Path) -> None:
    error = SourceTimeout("http://x gave no answer within 10s")
    first = await _record(_tree(), _bench(TableMetrics(error=error), TableLogs(error=error)), tmp_path / "b.json")
    opened, bench = open_recording(tmp_path / "b.json")
    with pytest.raises(SourceTimeout, match="within 10s"):
        await bench.metrics(None).instant("clients", AT)
    assert _told(await diagnose(opened, bench)) == _told(first)


async def test_what_was_not_asked_is_said_to_be_missing(tmp_path: Path) -> None:
    await _record(_tree(), _bench(TableMetrics()), tmp_path / "b.json")
    _, bench = open_recording(tmp_path / "b.json")
    for asked in (
        bench.metrics(None).instant("something_else", AT),
        bench.metrics("other").instant("clients", AT),
        bench.metrics(None).range("clients", 0, 10, 1),
        bench.logs(None).lines('{a="b"}', 0, 10, 1),
    ):
        with pytest.raises(SourceRejected, match="the recording holds no answer"):
            await asked


async def test_a_replay_looks_at_nothing_live(tmp_path: Path) -> None:
    """A bundle without the verdict of a live check must not send that check out into the network."""
    with answering() as stranger:
        tree = make_tree({"a": []}, a=checked("tcp_connect", host="127.0.0.1", port=stranger.port))
        Recorder(tree, (), _bench(TableMetrics(), live=True)).write(tmp_path / "b.json")
        opened, bench = open_recording(tmp_path / "b.json")
        verdict = (await diagnose(opened, bench)).verdicts["a"]
    assert verdict.status is Status.UNKNOWN
    assert "present" in verdict.reason


async def test_secrets_are_not_kept_and_questions_that_held_one_are_still_found(tmp_path: Path) -> None:
    query = '{a="b"} |= "password=hunter22"'
    tree = make_tree({"a": []}, a={"logs": LogSpec(query, None), "conditions": (parse_condition("x > 1"),)})
    logs = TableLogs({query: [LogLine(AT - 5, "ERROR token=abcdef123456 refused", {"k": "password=hunter22"})]})
    metrics = TableMetrics(samples={"x": [Sample({}, AT, 5.0)]})
    await _record(tree, _bench(metrics, logs), tmp_path / "b.json")
    text = (tmp_path / "b.json").read_text()
    assert "hunter22" not in text
    assert "abcdef123456" not in text
    bundle = json.loads(text)
    asked = next(a for a in bundle["answers"] if a["kind"] == "lines")
    _, bench = open_recording(tmp_path / "b.json")
    start, end, limit = asked["span"]
    assert len((await bench.logs(None).lines(query, start, end, int(limit))).lines) == 1


def _documented() -> dict[str, Any]:
    text = (Path(__file__).parents[1] / "docs" / "bundles.md").read_text("utf-8")
    made: dict[str, Any] = json.loads(text.split("```json")[1].split("```")[0])
    return made


async def test_the_bundle_made_by_hand_in_the_docs_is_diagnosed(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(json.dumps(_documented()))
    diagnosis = await replay(tmp_path / "b.json")
    assert diagnosis.measurement.status == "violated"
    assert diagnosis.verdicts["redis"].status is Status.DEGRADED
    assert [s.node for s in diagnosis.suspects][:1] == ["redis"]
    assert {line.node for line in diagnosis.findings.logs} == {"consumer"}


async def test_whole_series_and_logs_answer_any_span(tmp_path: Path) -> None:
    made = _documented()
    made["options"] = {"at": 100, "lookback": 20}
    made["series"] = [{"query": "m", "series": [[{"a": "b"}, [10, 20, 80], [1, "NaN", 3]], [{"a": "c"}, [500], [1]]]}]
    made["logs"] = [{"query": "q", "source": "other", "lines": [[1, "old", {}], [5, "new", {}]]}]
    (tmp_path / "b.json").write_text(json.dumps(made))
    _, bench = open_recording(tmp_path / "b.json")
    metrics, logs = bench.metrics(None), bench.logs("other")
    assert [s.value for s in await metrics.instant("m", 12)] == [1.0]
    assert await metrics.instant("m", 9) == []
    assert await metrics.instant("m", 60) == []  # older than the lookback
    (series,) = await metrics.range("m", 0, 100, 10)
    assert list(series.times) == [10, 20, 30, 80, 90]
    assert math.isnan(series.values[1])
    assert [x.text for x in (await logs.lines("q", 0, 10, 1)).lines] == ["new"]
    assert (await logs.lines("q", 0, 10, 1)).truncated
    with pytest.raises(SourceRejected):
        await bench.logs(None).lines("q", 0, 10, 1)


def _good(tmp_path: Path) -> bytes:
    Recorder(_tree(), (), _bench(TableMetrics())).write(tmp_path / "good.json.gz")
    return (tmp_path / "good.json.gz").read_bytes()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda good: b"", "is not a bundle"),
        (lambda good: b"hello", "is not a bundle"),
        (lambda good: b"\xff\xfe\x00", "is not a bundle"),
        (lambda good: b"[]", "is not a bundle"),
        (lambda good: b'{"format": "treewalk/bundle/9"}', "this treewalk reads"),
        (lambda good: json.dumps({"format": FORMAT}).encode(), "is not a bundle"),
        (lambda good: b"[" * 100_000, "is not a bundle"),
        (lambda good: good[:100], "does not unpack"),
        (lambda good: good[:40] + bytes(len(good) - 40), "does not unpack"),
        (lambda good: b"\x1f\x8b but no gzip", "does not unpack"),
        (lambda good: gzip.decompress(good)[:-200], "is not a bundle"),
        (lambda good: gzip.decompress(good).replace(b'"answers":[', b'"answers":[7,'), "is not a bundle"),
        (lambda good: gzip.decompress(good).replace(b'"answers":[', b'"answers":[' + ODD), "is not a bundle"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_in_one_line(make: Any, words: str, tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    file.write_bytes(make(_good(tmp_path)))
    with pytest.raises(UsageError, match=words) as caught:
        open_recording(file)
    assert "b.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        open_recording(tmp_path / "none.json")
    with pytest.raises(UsageError, match="Is a directory"):
        open_recording(tmp_path)


def test_a_place_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    recorder = Recorder(_tree(), (), _bench(TableMetrics()))
    with pytest.raises(UsageError, match="cannot be written"):
        recorder.write(tmp_path / "none" / "b.json")
    (tmp_path / "b.json").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        recorder.write(tmp_path / "b.json")
    assert [p.name for p in tmp_path.iterdir()] == ["b.json"]


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    assert _good(tmp_path) == _good(tmp_path)
