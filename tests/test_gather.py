"""What is gathered beside logs and metrics: alerts that fire, and what a source says beside its answers."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from treewalk.app import App, DiagnoseOptions, replay
from treewalk.errors import SourceRejected, SourceUnreachable
from treewalk.model.condition import parse_condition
from treewalk.model.diagnosis import Measurement
from treewalk.model.evidence import Gap
from treewalk.model.series import Answered, Sample
from treewalk.model.tree import BaselineSpec, Tree
from treewalk.model.verdict import Verdict, degraded, healthy, unhealthy, unknown
from treewalk.stages.gather import FIRING, Gathered, Gatherer, Heard, collect_evidence
from treewalk.stages.report import document, markdown, text

from tests.support.answers import Answering, answering, reply
from tests.support.prometheus import running_prometheus
from tests.support.sources import TableLogs, TableMetrics
from tests.support.trees import make_tree

AT = 1_795_216_800.0


def alert(name: str, state: str = "ALERTS", value: float = 1.0, **labels: str) -> Sample:
    more = {"alertstate": "firing"} if state == "ALERTS" else {}
    return Sample({"__name__": state, "alertname": name, **more, **labels}, AT, value)


def firing(*samples: Sample, since: Sequence[Sample] = ()) -> TableMetrics:
    return TableMetrics(samples={FIRING: samples, "ALERTS_FOR_STATE": since})


async def gather(
    metrics: TableMetrics, verdicts: Mapping[str, Verdict] | None = None, tree: Tree | None = None, **redis: Any
) -> Gathered:
    wanted = {"consumer": healthy("ok"), "redis": unhealthy("down"), **(verdicts or {})}
    found = tree or make_tree(
        {"consumer": ["redis"]}, redis={"conditions": (parse_condition("clients > 280"),), **redis}
    )
    logs = TableLogs()
    gatherer = Gatherer(lambda _: metrics, lambda _: logs, AT, 900.0, BaselineSpec(), 100)
    return await gatherer.gather(found, {name: wanted.get(name, healthy("ok")) for name in found.nodes})


@pytest.mark.parametrize(
    ("labels", "fields"),
    [
        ({"service": "redis"}, {}),
        ({"service": "Cache-Main"}, {"aka": ("cache-main",)}),
        ({"container_name": "primary_redis"}, {"fields": {"container": "primary_redis"}}),
        ({"instance": "10.0.0.5:9121"}, {"fields": {"host": "10.0.0.5"}}),
        ({"instance": "10.0.0.5"}, {"fields": {"host": "10.0.0.5"}}),
    ],
)
async def test_an_alert_belongs_to_the_node_that_a_label_names(labels: dict[str, str], fields: dict[str, Any]) -> None:
    found = await gather(firing(alert("TooManyClients", **labels)), **fields)
    assert [(a.node, a.name) for a in found.alerts] == [("redis", "TooManyClients")]


@pytest.mark.parametrize(
    "labels",
    [
        {"service": "redis-2"},
        {"service": "my redis"},
        {"severity": "redis"},
        {"instance": "127.0.0.1:6379"},
        {"service": "consumer"},  # healthy: not looked at
    ],
)
async def test_an_alert_that_names_no_node_in_trouble_is_left_out(labels: dict[str, str]) -> None:
    found = await gather(firing(alert("Other", **labels)), fields={"host": "127.0.0.1"})
    assert (found.alerts, found.gaps) == ((), ())


async def test_an_alerts_name_does_not_make_it_a_nodes() -> None:
    assert (await gather(firing(alert("redis", service="x")))).alerts == ()


async def test_unknown_nodes_are_looked_at_too_and_all_when_none_is_troubled() -> None:
    metrics = firing(alert("A", service="redis"), alert("B", service="consumer"))
    found = await gather(metrics, {"consumer": unknown("refused")})
    assert [(a.node, a.name) for a in found.alerts] == [("consumer", "B"), ("redis", "A")]
    assert len((await gather(metrics, {"redis": healthy("ok")})).alerts) == 2


async def test_evidence_says_since_when_it_fires_and_by_which_label() -> None:
    labels = {"service": "redis", "severity": "high"}
    since = alert("TooManyClients", "ALERTS_FOR_STATE", AT - 720, **labels)
    found = await gather(firing(alert("TooManyClients", **labels), since=[since]))
    tree = make_tree({"consumer": ["redis"]})
    verdicts = {"consumer": healthy("ok"), "redis": degraded("many")}
    evidence = collect_evidence(tree, Measurement("violated", "late"), verdicts, found, AT, 900.0)
    (one,) = [e for e in evidence if e.kind == "alert"]
    assert one.summary == 'alert TooManyClients fires for 12m (severity high, service="redis")'
    assert (one.node, one.query, one.data["since"]) == ("redis", FIRING, AT - 720)


async def test_alerts_of_a_node_are_bounded_those_that_fire_longest_first() -> None:
    many = [alert(f"A{number}", service="redis") for number in range(50)]
    since = [alert(f"A{number}", "ALERTS_FOR_STATE", AT - number, service="redis") for number in range(50)]
    assert [a.name for a in (await gather(firing(*many, since=since))).alerts] == ["A49", "A48", "A47", "A46", "A45"]


async def test_secrets_in_labels_are_not_shown() -> None:
    found = await gather(firing(alert("A password=hunter2", service="redis")))
    assert "hunter2" not in str(found.alerts)


async def test_a_source_that_does_not_tell_is_a_gap() -> None:
    found = await gather(TableMetrics(error=SourceUnreachable("refused")))
    assert found.gaps == (Gap(None, "prometheus", "alerts", "refused"),)


async def test_a_tree_that_asks_no_metric_source_asks_for_no_alerts() -> None:
    metrics = TableMetrics(error=SourceRejected("no metric source is configured"))
    tree = make_tree({"consumer": ["redis"]})
    tree = replace(tree, sla=replace(tree.sla, query=None))
    assert (await gather(metrics, tree=tree)).gaps == ()


async def test_what_a_source_says_beside_its_answers_is_kept_once_and_redacted() -> None:
    class Warning:
        name = "w"

        async def instant(self, query: str, at: float) -> Sequence[Sample]:
            return Answered([], ["store down, password=hunter2", "y" * 5000], ["not a counter"])

        async def range(self, query: str, start: float, end: float, step: float) -> Sequence[Any]:
            return []

    heard = Heard(lambda name: Warning(), lambda name: TableLogs())
    for number in (0, 1, 1):
        await heard.source(None).instant(f"q{number}", AT)
    assert [(g.source, g.what) for g in heard.gaps] == [("default", q) for q in ("q0", "q0", "q1", "q1")]
    assert heard.gaps[0].why.startswith("answered with a warning: store down")
    assert "hunter2" not in str(heard.gaps)
    assert max(len(g.why) for g in heard.gaps) < 350
    assert heard.remarks == ("q0: the source says: not a counter", "q1: the source says: not a counter")
    for number in range(100):
        await heard.source(None).instant(f"more{number}", AT)
    assert (len(heard.gaps), len(heard.remarks)) == (20, 20)


WORKSPACE = """\
metrics:
  freshness:
    sla: {query: age_seconds, threshold: 60s}
    depends_on:
    - node: redis
      alerts: ["redis_clients > 280"]
    - node: feed
      healthcheck: {method: promql, condition: "feed_up == 1"}
"""


def workspace(folder: Path, url: str) -> Path:
    (folder / "trees").mkdir(parents=True)
    (folder / "trees" / "freshness.yaml").write_text(WORKSPACE)
    (folder / "treewalk.yaml").write_text(f"sources: {{prometheus: {{url: '{url}'}}}}\n")
    return folder


async def test_a_partial_answer_is_shown_as_a_gap_and_kept_in_the_recording(tmp_path: Path) -> None:
    with answering() as server:
        for query, value in (("age_seconds", 90), ("redis_clients", 298), ("feed_up", 1)):
            told = {"warnings": ["store-7 did not reply"]} if query == "redis_clients" else {"infos": ["a hint"]}
            _answer(server, query, value, **(told if query != "age_seconds" else {}))
        for path in ("/api/v1/query", "/api/v1/query_range"):
            server.on(path, reply({"status": "success", "data": {"resultType": "vector", "result": []}}))
        async with App.open(workspace(tmp_path / "ops", server.url), environ={}) as app:
            options = DiagnoseOptions(at=AT, record=tmp_path / "b.json", keep=False)
            first = await app.diagnose("freshness", options)
    assert Gap(None, "default", "redis_clients", "answered with a warning: store-7 did not reply") in first.gaps
    assert any("a hint" in remark for remark in first.remarks)
    assert "store-7 did not reply" in text(first)
    again = await replay(tmp_path / "b.json")
    assert {**document(again), "timing": None} == {**document(first), "timing": None}


def _answer(server: Answering, query: str, value: float, **told: Any) -> None:
    vector = {"resultType": "vector", "result": [{"metric": {"__name__": query}, "value": [AT, str(value)]}]}
    body = {"status": "success", "data": vector, **told}
    server.on("/api/v1/query", reply(body), when=lambda seen: _query(seen) == query)


def _query(seen: Any) -> str:
    return str(seen.params.get("query", ""))


RULES = """\
groups:
- name: redis
  interval: 1s
  rules:
  - alert: TooManyClients
    expr: redis_clients > 280
    labels: {service: redis, severity: high}
  - alert: FeedSlow
    expr: redis_clients > 280
    labels: {service: feed, severity: low}
"""


@pytest.mark.needs("prometheus", "promtool")
async def test_alerts_of_a_real_prometheus_are_shown_at_the_node_in_trouble(tmp_path: Path) -> None:
    now = float(int(time.time()))
    points = [(now - 300 + i * 15, 298.0) for i in range(20)]
    history = {
        "redis_clients": points,
        "age_seconds": [(t, 90.0) for t, _ in points],
        "feed_up": [(t, 0.0) for t, _ in points],
    }
    folder = tmp_path / "prometheus"
    folder.mkdir()
    (folder / "rules.yml").write_text(RULES)
    config = "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yml]\n"
    with running_prometheus(folder, config, history=history) as server:
        _until_firing(server.url)
        async with App.open(workspace(tmp_path / "ops", server.url), environ={}) as app:
            found = await app.diagnose("freshness", DiagnoseOptions(keep=False))
    alerts = {e.node: e for e in found.findings.evidence if e.kind == "alert"}
    assert set(alerts) == {"redis", "feed"}
    assert alerts["redis"].summary.startswith("alert TooManyClients fires for ")
    assert alerts["redis"].summary.endswith('(severity high, service="redis")')
    for shown in (text(found), markdown(found).replace("\\", "")):
        assert "alert TooManyClients fires" in shown
        assert "alert FeedSlow fires" in shown
    assert json.loads(json.dumps(document(found)))


def _until_firing(url: str) -> None:
    import urllib.parse
    import urllib.request

    asked = f"{url}/api/v1/query?{urllib.parse.urlencode({'query': FIRING})}"
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with urllib.request.urlopen(asked, timeout=5) as answer:
            if len(json.load(answer)["data"]["result"]) == 2:
                return
        time.sleep(0.2)
    raise AssertionError("no alert fires after 30 s")
