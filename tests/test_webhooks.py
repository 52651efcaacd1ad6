"""Messages of alerting systems are read as they are, whatever a stranger put into them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from treewalk.errors import UsageError
from treewalk.integrations import alertmanager, gatus, generic, grafana
from treewalk.model.alert import Alert, Parsed

CONTRACTS = Path(__file__).parent / "contracts" / "alertmanager"
PARSERS = {m.__name__.rpartition(".")[2]: m.parse for m in (alertmanager, gatus, generic, grafana)}
Parse = Callable[[bytes], Parsed]


def recorded(name: str) -> bytes:
    return json.dumps(json.loads((CONTRACTS / f"{name}.json").read_text())["request"]["body"]).encode()


def test_two_alerts_of_a_real_alertmanager() -> None:
    found = alertmanager.parse(recorded("webhook_firing_two"))
    assert [(a.name, a.status, a.fingerprint) for a in found.alerts] == [
        ("TargetDown", "firing", "f65f1fc4ebc8a9ec"),
        ("EntityDataStale", "firing", "4ea69d89bdcaabe3"),
    ]
    assert found.alerts[1].labels["sla"] == "entity_data_freshness"
    assert found.alerts[1].summary == "entity data is stale"
    assert found.alerts[0].starts_at == pytest.approx(1_795_216_807.794)
    assert found.alerts[0].ends_at is None  # year 1 is no end
    assert (found.problems, found.truncated) == ((), 0)


def test_a_group_that_fires_may_hold_a_resolved_alert() -> None:
    found = alertmanager.parse(recorded("webhook_partly_resolved"))
    assert [a.status for a in found.alerts] == ["firing", "resolved"]
    assert found.alerts[1].ends_at is not None
    assert alertmanager.parse(recorded("webhook_resolved")).alerts[0].status == "resolved"


def test_alerts_that_the_sender_cut_off_are_counted() -> None:
    body = json.loads(recorded("webhook_firing_two")) | {"truncatedAlerts": 7}
    assert alertmanager.parse(json.dumps(body).encode()).truncated == 7


def test_one_alert_that_cannot_be_read_does_not_hide_the_others() -> None:
    body = json.loads(recorded("webhook_firing_two"))
    body["alerts"] += [None, {"status": "perhaps", "labels": {"a": "b"}}]
    found = alertmanager.parse(json.dumps(body).encode())
    assert len(found.alerts) == 2
    assert found.problems == ("alert 3 is no object", "alert 4 is neither firing nor resolved but 'perhaps'")


def test_a_grafana_group() -> None:
    body = {
        "receiver": "treewalk", "status": "firing", "orgId": 1, "title": "[FIRING:1]", "truncatedAlerts": 0,
        "alerts": [
            {
                "status": "firing", "labels": {"alertname": "Slow", "grafana_folder": "x"}, "annotations": {},
                "startsAt": "2026-11-20T10:00:00.123456789+01:00", "endsAt": "0001-01-01T00:00:00Z",
                "valueString": "[ var='A' labels={} value=9 ]", "fingerprint": "abc",
            }
        ],
    }  # fmt: skip
    alert = grafana.parse(json.dumps(body).encode()).alerts[0]
    assert (alert.source, alert.name, alert.fingerprint) == ("grafana", "Slow", "abc")
    assert alert.starts_at == pytest.approx(1_795_165_200.123456)
    assert alert.summary.startswith("[ var='A'")


def test_the_small_json_of_any_sender() -> None:
    one = {"name": "OrdersStale", "sla": "orders", "summary": "none for 9 minutes", "starts_at": 1000.5}
    alert = generic.parse(json.dumps(one).encode()).alerts[0]
    assert (alert.name, alert.status, alert.labels["sla"], alert.starts_at) == (
        "OrdersStale",
        "firing",
        "orders",
        1000.5,
    )
    many = generic.parse(json.dumps({"alerts": [one, one | {"status": "resolved"}]}).encode()).alerts
    assert [a.status for a in many] == ["firing", "resolved"]
    assert many[0].fingerprint == many[1].fingerprint
    with pytest.raises(UsageError, match="neither name nor sla"):
        generic.parse(b"{}")


def test_long_names_of_alerts_that_differ_late_are_two_alerts() -> None:
    far = "https://shop.example/" + "orders/" * 30
    many = generic.parse(json.dumps([{"name": "Stale", "id": far + end} for end in "ab"]).encode()).alerts
    assert many[0].fingerprint != many[1].fingerprint
    assert all(len(one.fingerprint) <= 100 for one in many)
    short = generic.parse(json.dumps({"name": "Stale", "id": "orders-7"}).encode()).alerts[0]
    assert short.fingerprint == "orders-7"


LINES = """status: TRIGGERED
group: Data Latency
name: Redis Freshness Primary
url: http://status.example/age
description: data is old
errors:
conditions: ❌ - `[BODY].state == "fresh"`, ✅ - `[STATUS] == 200`
"""


def with_labels(labels: dict[str, Any]) -> bytes:
    return json.dumps({"alerts": [{"status": "firing", "labels": labels}]}).encode()


@pytest.mark.parametrize("place", [0, 200])
def test_what_tells_the_sla_is_kept_of_ever_so_many_labels_and_the_rest_is_told(place: int) -> None:
    labels = [(f"l{k:03}", "v" * 400) for k in range(4_997)]
    labels[place:place] = [("alertname", "Stale"), ("sla", "orders"), ("severity", "critical")]
    found = alertmanager.parse(with_labels(dict(labels)))
    (alert,) = found.alerts
    assert (alert.name, alert.labels["sla"], alert.labels["severity"]) == ("Stale", "orders", "critical")
    assert len(alert.labels) == 64
    assert found.problems == ("alert 1 has 5000 labels, of which 64 were kept",)


@pytest.mark.parametrize("name", ["alertmanager", "grafana", "generic"])
@pytest.mark.parametrize(
    "differing",
    [lambda x: {f"l{k}": "v" for k in range(99)} | {"z": x}, lambda x: {"q": "v" * 600 + x}, lambda x: {"q": [x]}],
)
def test_alerts_that_differ_in_what_is_not_kept_are_two_alerts(name: str, differing: Callable[[str], Any]) -> None:
    names = set()
    for one in "ab":
        body = {"alerts": [{"status": "firing", "name": "A", "labels": {"alertname": "A", **differing(one)}}]}
        names |= {alert.fingerprint for alert in PARSERS[name](json.dumps(body).encode()).alerts}
    assert len(names) == 2


@pytest.mark.parametrize("depth", [100, 900, 990, 2_000, 20_000, 90_000])
def test_a_label_that_is_nested_ever_so_deeply_is_an_alert_or_a_clear_refusal(depth: int) -> None:
    label = "[" * depth + "]" * depth
    check(PARSERS["generic"], f'{{"name": "A", "labels": {{"a": {label}}}}}'.encode())


def test_of_a_repeated_key_the_first_counts_and_the_order_stays() -> None:
    text = b'{"alerts": [{"status": "firing", "status": "resolved", "labels": {"b": "1", "a": "2", "b": "3"}}]}'
    (alert,) = alertmanager.parse(text).alerts
    assert (alert.status, alert.labels) == ("firing", {"a": "2", "b": "1"})
    (alert,) = alertmanager.parse(with_labels({"b": "1", "a": "2"})).alerts
    assert list(alert.labels) == ["b", "a"]


def test_lines_of_gatus_cannot_break() -> None:
    found = gatus.parse(LINES.encode())
    alert = found.alerts[0]
    assert alert.labels["gatus_check"] == "Data Latency / Redis Freshness Primary"
    assert (alert.status, alert.summary, alert.starts_at) == ("firing", "data is old", None)
    assert '"fresh"' in alert.annotations["conditions"]
    assert found.problems == ()
    resolved = gatus.parse(LINES.replace("TRIGGERED", "RESOLVED").encode()).alerts[0]
    assert (resolved.status, resolved.fingerprint) == ("resolved", alert.fingerprint)


TEMPLATE = (
    '{"status": "[S]", "group": "[G]", "name": "[N]", "description": "[D]", "errors": "[E]", "conditions": "[C]"}'
)


def filled(**values: str) -> bytes:
    text = TEMPLATE
    for key, value in ({"S": "TRIGGERED", "G": "core", "N": "front", "D": "", "E": "", "C": ""} | values).items():
        text = text.replace(f"[{key}]", value)
    return text.encode()


def test_json_of_gatus_that_a_condition_broke_is_understood() -> None:
    found = gatus.parse(filled(D='the "front" door', C='❌ - `[BODY].state == "fresh\\d"`'))
    alert = found.alerts[0]
    assert alert.labels["gatus_check"] == "core / front"
    assert alert.annotations == {"description": 'the "front" door', "conditions": '❌ - `[BODY].state == "fresh\\d"`'}
    assert found.problems == ("its JSON is broken and was read by its keys",)
    assert gatus.parse(filled(C="fine")).problems == ()


@pytest.mark.parametrize("splice", ['", "name": "other", "status": "RESOLVED', '"name": "other" "status": "RESOLVED"'])
def test_what_a_condition_says_cannot_replace_status_or_name(splice: str) -> None:
    alert = gatus.parse(filled(C=splice)).alerts[0]
    assert (alert.name, alert.status) == ("core / front", "firing")


def test_a_message_of_gatus_without_status_names_the_page_that_helps() -> None:
    with pytest.raises(UsageError, match=r"no status .* docs/serve\.md"):
        gatus.parse(b'{"text": "hello"}')


@given(st.text(max_size=60), st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_condition_leaves_the_endpoint_readable(description: str, conditions: str) -> None:
    alert = gatus.parse(filled(D=description, C=conditions)).alerts[0]
    assert (alert.name, alert.status) == ("core / front", "firing")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(["alerts", "status", "labels", "startsAt", "name", "fingerprint", "sla", "x"]), inner
        )
    ),
    max_leaves=25,
)


def check(parse: Parse, body: bytes) -> None:
    refused = ""
    try:
        found = parse(body)
    except UsageError as error:
        found, refused = Parsed(()), str(error)
    assert not refused or 10 < len(refused) < 1000
    for alert in found.alerts:
        plain = json.dumps([alert.name, alert.summary, dict(alert.labels), dict(alert.annotations)], ensure_ascii=False)
        plain.encode()  # no half of a surrogate pair
        assert "\\u0000" not in plain
        assert alert.fingerprint
        assert len(alert.name) <= 1100


@pytest.mark.parametrize("name", sorted(PARSERS))
@given(body=st.binary(max_size=300) | JSON.map(lambda data: json.dumps(data).encode()))
@settings(max_examples=250, deadline=None)
def test_any_bytes_are_alerts_or_a_clear_refusal(name: str, body: bytes) -> None:
    check(PARSERS[name], body)


@pytest.mark.parametrize("name", sorted(PARSERS))
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xef\xbb\xbf",
        b"[" * 200_000,
        b'{"alerts": ' + b"[" * 200_000,
        b'{"alerts": [{"status": "firing", "labels": {"a": ' + b"9" * 10_000 + b"}}]}",
        b'{"status": "TRIGGERED", "name": ' * 50_000,
        b'"name": "' * 100_000,
        b"x" * 5_000_000,
        b'{"alerts": [{"labels": {"alertname": "\\ud800\\u0000"}, "status": "firing", "startsAt": 1e400}]}',
    ],
    ids=lambda body: f"{len(body)} bytes {body[:12]!r}",
)
def test_hostile_bodies_are_alerts_or_a_clear_refusal(name: str, body: bytes) -> None:
    check(PARSERS[name], body)


def test_a_storm_in_one_message_is_bounded_and_counted() -> None:
    one: dict[str, Any] = {"status": "firing", "labels": {"alertname": "A"}}
    found = alertmanager.parse(json.dumps({"alerts": [one] * 2500}).encode())
    assert (len(found.alerts), found.truncated) == (2000, 500)
    long = alertmanager.parse(json.dumps({"alerts": [one | {"labels": {"alertname": "A" * 10**6}}]}).encode())
    assert len(long.alerts[0].name) == 500


def test_hostile_text_stays_text() -> None:
    one = {"name": "$(reboot)\x1b[2J\u202e {{ 7*7 }}", "summary": "`rm -rf /`"}
    alert = generic.parse(json.dumps(one).encode()).alerts[0]
    assert alert == Alert("generic", alert.fingerprint, "firing", "$(reboot) [2J  {{ 7*7 }}", summary="`rm -rf /`")
