"""Alerts come in over HTTP, are kept before they are accepted, and incidents are worked on until they are closed."""

import asyncio
import base64
import hashlib
import hmac
import json
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from treewalk.app import App
from treewalk.errors import ContentError, SettingsError, StoreError
from treewalk.operations.incidents import Operations
from treewalk.server.keys import host_of, is_loopback, keys_of
from treewalk.server.web import build
from treewalk.settings import ServerSettings
from treewalk.store.audit import Audit
from treewalk.store.casebook import Casebook
from treewalk.store.database import SqliteDatabase

from tests.crash.target import running_target, write_workspace
from tests.support.answers import free_port
from tests.support.serving import Served, serving

TOKEN = {"Authorization": "Bearer s3cret-token"}
SERVER = """server:
  token: "${TREEWALK_TOKEN}"
  webhooks:
    alertmanager: {token: am-token}
    gatus: {username: gatus, password: gatus-password}
    grafana: {secret: grafana-secret, signature_header: X-Grafana-Alerting-Signature}
"""
ENVIRON = {"TREEWALK_TOKEN": "s3cret-token"}


def until(done: Callable[[], Any], what: str, seconds: float = 40.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)
    return found


def alertmanager(*stores: str, status: str = "firing") -> dict[str, Any]:
    alerts = [
        {
            "status": status,
            "labels": {"alertname": "Stale", "sla": f"fresh_{store}"},
            "annotations": {"summary": f"{store} is stale"},
            "startsAt": "2026-11-20T23:20:07.794Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "fingerprint": f"fp-{store}",
        }
        for store in stores
    ]
    return {"version": "4", "status": status, "alerts": alerts, "truncatedAlerts": 0}


def with_server(workspace: Path, text: str = SERVER) -> Path:
    with (workspace / "treewalk.yaml").open("a") as file:
        file.write(text)
    return workspace


@asynccontextmanager
async def asked(workspace: Path, **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application itself, without a process."""
    async with App.open(workspace, environ=ENVIRON) as app:
        api = build(Operations(app), app.workspace.settings.server, **more)
        transport = httpx.ASGITransport(app=api, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield client


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return with_server(write_workspace(tmp_path / "w", "http://127.0.0.1:9", ["one", "two"]))


def test_an_alert_opens_an_incident_that_is_worked_on_until_it_is_closed(tmp_path: Path) -> None:
    with running_target() as target:
        workspace = with_server(write_workspace(tmp_path / "w", target.url, ["one"]))
        with serving(workspace, environ=ENVIRON) as served, httpx.Client(base_url=served.url, headers=TOKEN) as client:
            assert client.get("/healthz").text == "ok\n"
            assert client.get("/readyz").status_code == 200
            first = client.post("/webhooks/alertmanager", json=alertmanager("one"))
            assert (first.status_code, first.json()["opened"]) == (200, [1])
            again = client.post("/webhooks/alertmanager", json=alertmanager("one"))
            assert (again.json()["repeated"], again.json()["opened"]) == (1, [])

            def closed() -> Any:
                found = client.get("/api/incidents/1").json()
                return found if found["life"]["state"] == "closed" else None

            incident = until(closed, "the incident's end")
            assert incident["life"]["ending"] == "resolved"
            assert incident["alerts"][0]["fingerprint"] == "fp-one"
            assert incident["timeline"][0]["text"] == "opened: alertmanager: Stale: one is stale"
            assert not target.broken("one")
            assert target.calls["/mend/one/a"] == 1
            resolved = client.post("/webhooks/alertmanager", json=alertmanager("one", status="resolved"))
            assert resolved.json()["opened"] == []
            assert client.get("/api/incidents/1").json()["timeline"][-1]["kind"] == "alert resolved"
            assert client.get("/api/incidents").json()["incidents"][0]["number"] == 1
            metrics = client.get("/metrics").text
            assert 'treewalk_incidents{state="closed"} 1.0' in metrics
            assert 'treewalk_alerts_accepted_total{source="alertmanager",what="new"} 2.0' in metrics
            assert 'treewalk_alerts_accepted_total{source="alertmanager",what="repeated"} 1.0' in metrics
            assert served.stop() == 0
        assert served.said[-1].startswith("stopped")


def sent_until_accepted(served: list[Served], messages: list[dict[str, Any]]) -> int:
    """Send each message as Alertmanager does: again after anything but a 2xx or a 4xx. How often it was sent."""
    tries = 0
    with httpx.Client(headers=TOKEN, timeout=10) as client:
        for message in messages:
            for _ in range(600):
                tries += 1
                try:
                    if client.post(f"{served[-1].url}/webhooks/alertmanager", json=message).status_code == 200:
                        break
                except (httpx.HTTPError, AssertionError):
                    time.sleep(0.05)
            else:
                raise AssertionError("it was never accepted")
    return tries


def test_a_burst_with_two_kills_in_between_loses_no_alert_and_doubles_none(tmp_path: Path) -> None:
    stores = ["a", "b", "c"]
    with running_target() as target:
        workspace = with_server(write_workspace(tmp_path / "w", target.url, stores))
        messages = []
        for k in range(600):
            message = alertmanager(stores[k % 3])
            message["alerts"][0] |= {"fingerprint": f"fp-{k % 150}"}
            messages.append(message)
        served = [Served(workspace, environ=ENVIRON)]
        try:
            with ThreadPoolExecutor(4) as pool:
                senders = [pool.submit(sent_until_accepted, served, messages[k::4]) for k in range(4)]
                for _ in range(2):
                    assert served[-1].url
                    time.sleep(0.4)
                    served[-1].kill()
                    served.append(Served(workspace, environ=ENVIRON))
                tries = sum(sender.result(timeout=120) for sender in senders)
            assert tries > len(messages), "the kills came too late to hit anything"
            database = SqliteDatabase(workspace / ".treewalk" / "memory.db")
            until(lambda: not Casebook(database).living(), "every incident's end", 60)
            assert served[-1].stop() == 0
        finally:
            for one in served:
                one.kill()
        rows = database.query("SELECT alert, count(*) AS many FROM alert_incidents GROUP BY alert")
        assert len(rows) == len(database.query("SELECT id FROM alerts")) == 150
        assert {row["many"] for row in rows} == {1}
        assert Audit(database).verify()[1] == []
        assert all(target.calls[f"/mend/{store}/{part}"] <= 1 for store in stores for part in "ab")


ALERTMANAGER = """
route: {{receiver: treewalk, group_by: [team], group_wait: 0s, group_interval: 1s, repeat_interval: 1s}}
receivers:
  - name: treewalk
    webhook_configs:
      - url: {url}/webhooks/alertmanager
        send_resolved: true
        http_config: {{authorization: {{type: Bearer, credentials: am-token}}}}
"""


@contextmanager
def running_alertmanager(folder: Path, treewalk: str, text: str = ALERTMANAGER) -> Iterator[str]:
    """A real one that sends to treewalk, and, unless its configuration says otherwise, again every second."""
    port = free_port()
    folder.mkdir()
    (folder / "alertmanager.yml").write_text(text.format(url=treewalk))
    command = [
        "prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/data",
        "--cluster.listen-address=", f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until(lambda: _answers(f"http://127.0.0.1:{port}/-/ready"), "Alertmanager")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(timeout=10)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.needs("prometheus-alertmanager")
def test_a_real_alertmanager_that_repeats_itself_opens_one_incident(tmp_path: Path) -> None:
    with running_target() as target:
        workspace = with_server(write_workspace(tmp_path / "w", target.url, ["one"]))
        with (
            serving(workspace, environ=ENVIRON) as served,
            running_alertmanager(tmp_path / "am", served.url) as sender,
            httpx.Client(base_url=served.url, headers=TOKEN) as client,
        ):
            labels = {"team": "data", "sla": "fresh_one"}
            alerts = [{"labels": labels | {"alertname": name}} for name in ("Stale", "Slow")]
            httpx.post(f"{sender}/api/v2/alerts", json=alerts).raise_for_status()
            httpx.post(f"{sender}/api/v2/alerts", json=[{"labels": {"alertname": "DiskFull"}}]).raise_for_status()

            def seen(name: str, status: str) -> int:
                found = client.get("/api/incidents/1")
                alerts = found.json()["alerts"] if found.status_code == 200 else []
                return sum(a["seen"] for a in alerts if (a["name"], a["status"]) == (name, status))

            until(lambda: seen("Stale", "firing") >= 3 and seen("Slow", "firing") >= 1, "repetitions")
            gone = {**alerts[0], "endsAt": datetime.now(UTC).isoformat()}
            httpx.post(f"{sender}/api/v2/alerts", json=[gone]).raise_for_status()
            until(lambda: seen("Stale", "resolved") >= 1, "the resolved alert")
            assert seen("Slow", "resolved") == 0
            incidents = client.get("/api/incidents").json()["incidents"]
            assert [one["number"] for one in incidents] == [1]
            unmapped = client.get("/api/alerts/unmapped").json()["alerts"]
            assert [one["hint"] for one in unmapped] == ['alerts: ["DiskFull"]']


class Relay(BaseHTTPRequestHandler):
    """Passes a webhook on to treewalk, and keeps what was sent and what was answered."""

    target = ""
    kept: ClassVar[list[tuple[dict[str, Any], dict[str, Any]]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name: self.headers[name] for name in ("Authorization", "Content-Type")}
        answer = httpx.post(f"{self.target}{self.path}", content=body, headers=headers)
        self.kept.append((json.loads(body), answer.json()))
        self.send_response(answer.status_code)
        self.end_headers()

    def log_message(self, *args: Any) -> None: ...


@pytest.mark.needs("prometheus-alertmanager")
def test_alerts_that_a_real_alertmanager_cut_off_are_counted_in_the_answer(tmp_path: Path) -> None:
    short = ALERTMANAGER.replace("send_resolved: true", "send_resolved: true\n        max_alerts: 1")
    workspace = with_server(write_workspace(tmp_path / "w", "http://127.0.0.1:9", ["one"]))
    with serving(workspace, environ=ENVIRON) as served, ThreadingHTTPServer(("127.0.0.1", 0), Relay) as relay:
        Relay.target, Relay.kept = served.url, []
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        with running_alertmanager(tmp_path / "am", f"http://127.0.0.1:{relay.server_port}", short) as sender:
            alerts = [{"labels": {"team": "data", "sla": "fresh_one", "alertname": name}} for name in ("Stale", "Slow")]
            httpx.post(f"{sender}/api/v2/alerts", json=alerts).raise_for_status()
            cut = until(lambda: [one for one in Relay.kept if one[0]["truncatedAlerts"]], "a message that was cut off")
        relay.shutdown()
    sent, answer = cut[0]
    assert (len(sent["alerts"]), sent["truncatedAlerts"]) == (1, 1)
    assert (answer["truncated"], answer["new"] + answer["repeated"], answer["problems"]) == (1, 1, [])


async def test_who_shows_nothing_gets_nothing(workspace: Path) -> None:
    async with asked(workspace) as client:
        for path in ("alertmanager", "gatus", "grafana", "generic"):
            found = await client.post(f"/webhooks/{path}", json=alertmanager("one"))
            assert (found.status_code, path) == (401, path)
        for path in ("/metrics", "/api/incidents", "/api/incidents/1", "/api/alerts/unmapped"):
            assert (await client.get(path)).status_code == 401
            assert (await client.get(path, headers={"Authorization": "Bearer am-token"})).status_code == 401
        for path in ("/api/kill", "/api/revive"):
            assert (await client.post(path)).status_code == 401
        assert (await client.get("/healthz")).status_code == 200
        metrics = (await client.get("/metrics", headers=TOKEN)).text
        assert 'treewalk_webhooks_refused_total{source="gatus",why="not allowed"} 1.0' in metrics


async def test_each_sender_may_show_what_it_can(workspace: Path) -> None:
    body = json.dumps(alertmanager("one")).encode()
    signature = hmac.new(b"grafana-secret", body, hashlib.sha256).hexdigest()
    basic = base64.b64encode(b"gatus:gatus-password").decode()
    gatus = "status: TRIGGERED\ngroup: a\nname: b\n"
    async with asked(workspace) as client:

        async def post(source: str, content: bytes | str, **headers: str) -> int:
            return (await client.post(f"/webhooks/{source}", content=content, headers=headers)).status_code

        assert await post("alertmanager", body, Authorization="Bearer am-token") == 200
        assert await post("alertmanager", body, Authorization="Bearer s3cret-token") == 200
        assert await post("alertmanager", body, Authorization="bearer wrong") == 401
        assert await post("gatus", gatus, Authorization=f"Basic {basic}") == 200
        assert await post("gatus", gatus, Authorization="Basic %%%") == 401
        assert await post("gatus", gatus, Authorization="Bearer am-token") == 401
        signed = "X-Grafana-Alerting-Signature"
        assert await post("grafana", body, **{signed: signature}) == 200
        assert await post("grafana", body, **{signed: f"sha256={signature}"}) == 200
        assert await post("grafana", body + b" ", **{signed: signature}) == 401
        odd = httpx.Headers([(signed.encode(), b"\xfcnfit")])
        assert (await client.post("/webhooks/grafana", content=body, headers=odd)).status_code == 401
        assert await post("grafana", body, **{"X-Treewalk-Signature": signature}) == 401


async def test_a_source_without_a_secret_of_its_own_stays_shut_where_there_are_secrets(tmp_path: Path) -> None:
    text = "server: {webhooks: {gatus: {token: abc}}}\n"
    workspace = with_server(write_workspace(tmp_path / "w", "http://127.0.0.1:9", ["one"]), text)
    async with asked(workspace) as client:
        found = await client.post("/webhooks/generic", json={"name": "x"})
        assert (found.status_code, "server.webhooks.generic" in found.text) == (403, True)
        assert (await client.get("/api/incidents")).status_code == 403
        assert (await client.post("/api/revive")).status_code == 403


async def test_messages_that_cannot_be_read_are_refused_for_good(workspace: Path) -> None:
    async with asked(workspace) as client:
        client.headers.update(TOKEN)
        bad = await client.post("/webhooks/alertmanager", content=b"<html>")
        assert (bad.status_code, "not JSON" in bad.json()["detail"]) == (400, True)
        large = await client.post("/webhooks/generic", content=b"x" * 4_000_001)
        assert (large.status_code, "server.max_body" in large.json()["detail"]) == (413, True)
        assert (await client.get("/api/incidents/99999999999999999999")).status_code == 404
        assert (await client.get("/api/incidents/7")).json()["detail"].startswith("no incident number 7")
        assert (await client.get("/api/incidents?limit=0")).status_code == 422


async def test_what_was_left_out_or_not_understood_is_counted_said_and_in_the_timeline(workspace: Path) -> None:
    said: list[str] = []
    async with asked(workspace, say=said.append) as client:
        client.headers.update(TOKEN)
        body = alertmanager("one")
        body["alerts"].append({"status": "firing", "labels": {}})
        body["truncatedAlerts"] = 200
        told = (await client.post("/webhooks/alertmanager", json=body)).json()
        assert (told["truncated"], told["opened"], len(told["problems"])) == (200, [1], 1)
        await client.post("/webhooks/alertmanager", json=body)
        text = (await client.get("/metrics")).text
        assert 'treewalk_alerts_truncated_total{source="alertmanager"} 400.0' in text
        assert 'treewalk_alerts_not_understood_total{source="alertmanager"} 2.0' in text
        assert 'treewalk_alerts_not_understood_total{source="gatus"} 0.0' in text
        lines = (await client.get("/api/incidents/1")).json()["timeline"]
        (line,) = [line["text"] for line in lines if line["kind"] == "left out"]
        assert "200 alerts were left out" in line
        assert "1 alerts were not understood" in line
        assert said == [line]


async def test_a_group_of_500_large_alerts_is_taken_in(workspace: Path) -> None:
    async with asked(workspace) as client:
        client.headers.update(TOKEN)
        body = alertmanager(*["one"] * 500)
        for number, alert in enumerate(body["alerts"]):
            alert["fingerprint"] = str(number)
            alert["annotations"] = {"description": "x" * 7000}
        assert (await client.post("/webhooks/alertmanager", json=body)).json()["new"] == 500


async def test_an_alert_of_no_sla_is_shown_with_the_line_to_add(workspace: Path) -> None:
    async with asked(workspace) as client:
        client.headers.update(TOKEN)
        found = await client.post("/webhooks/generic", json={"name": "DiskFull"})
        assert (found.json()["no_sla"], found.json()["opened"]) == (1, [])
        assert (await client.get("/api/alerts/unmapped")).json()["alerts"][0]["hint"] == 'alerts: ["DiskFull"]'


async def test_the_kill_switch_by_http(workspace: Path) -> None:
    async with App.open(workspace, environ=ENVIRON) as app:
        operations = Operations(app)
        api = build(operations, app.workspace.settings.server)
        transport = httpx.ASGITransport(app=api)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=TOKEN) as client:
            killed = (await client.post("/api/kill", params={"why": "a drill"})).json()
            assert killed["problems"] == []
            assert "a drill" in killed["killed"]
            assert operations.killed() == killed["killed"]
            assert "treewalk_kill_switch 1.0" in (await client.get("/metrics")).text
            assert (await client.post("/api/revive")).json() == {"was_on": True}
            assert operations.killed() is None
            operations.kill_file.mkdir()  # one half of the switch cannot be had
            killed = (await client.post("/api/kill", params={"why": "a drill"})).json()
            assert killed["problems"] == ["the file KILL cannot be written (Is a directory)"]
            assert killed["killed"]


async def test_nothing_is_accepted_that_could_not_be_written(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from treewalk.store.inbox import Inbox

    def full(*args: Any) -> Any:
        raise StoreError("the memory cannot be used: disk full")

    opened: list[Any] = []
    async with asked(workspace, opened=opened.append, ready=lambda: None) as client:
        client.headers.update(TOKEN)
        with monkeypatch.context() as patch:
            patch.setattr(Inbox, "accept", full)
            found = await client.post("/webhooks/alertmanager", json=alertmanager("one"))
            assert (found.status_code, found.headers["retry-after"]) == (503, "5")
            assert opened == []
        assert (await client.post("/webhooks/alertmanager", json=alertmanager("one"))).json()["opened"] == [1]
    async with asked(workspace, ready=lambda: "stopping") as client:
        assert (await client.get("/readyz")).status_code == 503


async def test_many_at_once_are_in_one_incident_an_sla(workspace: Path) -> None:
    opened: list[int] = []
    async with asked(workspace, opened=opened.extend) as client:
        client.headers.update(TOKEN)
        messages = [
            {"name": f"A{k % 40}", "sla": ("fresh_one", "fresh_two")[k % 2], "id": str(k % 40)} for k in range(400)
        ]
        found = await asyncio.gather(*(client.post("/webhooks/generic", json=one) for one in messages))
        assert {one.status_code for one in found} == {200}
        assert sum(one.json()["new"] for one in found) == 40
        assert sorted(opened) == [1, 2]
        assert len((await client.get("/api/incidents/1")).json()["alerts"]) == 20


def test_without_a_secret_it_listens_on_this_machine_only_and_says_so(tmp_path: Path) -> None:
    workspace = write_workspace(tmp_path / "w", "http://127.0.0.1:9", ["one"])
    with serving(workspace, "--host", "0.0.0.0") as served:
        assert served.url.startswith("http://127.0.0.1:")
        assert any("no secret is configured" in line for line in served.said)
        assert any("server.host is 0.0.0.0: it is not listened at" in line for line in served.said)
        with httpx.Client(base_url=served.url) as client:
            assert client.get("/api/incidents").status_code == 200
            elsewhere = client.get("/api/incidents", headers={"Host": "evil.example"})
            assert elsewhere.status_code == 403
            assert client.post("/api/revive").status_code == 403
        assert served.stop() == 0


def test_an_address_in_use_is_told_in_one_line(workspace: Path) -> None:
    with serving(workspace, environ=ENVIRON) as served:
        port = served.url.rpartition(":")[2]
        second = Served(workspace, "--port", port, environ=ENVIRON)
        assert second.process.wait(timeout=30) == 2
        second._reader.join(timeout=5)
        assert "cannot be listened at" in "\n".join(second.said)
        assert "Traceback" not in "\n".join(second.said)


def test_an_address_of_a_channel_that_nobody_understands_is_told_at_the_start(workspace: Path) -> None:
    with_server(workspace, "notify: {channels: {chat: {url: 'slakc://xoxb-secret/a'}}}\n")
    with serving(workspace, environ=ENVIRON) as served:
        assert served.process.wait(timeout=60) == 2
        served._reader.join(timeout=5)
        assert "notify.channels.chat: apprise does not understand slakc://" in "\n".join(served.said)
        assert "xoxb-secret" not in "\n".join(served.said)


def test_an_empty_or_missing_secret_is_refused() -> None:
    def resolve(text: str) -> str:
        if text == "${GONE}":
            raise SettingsError("the environment variable GONE is not set")
        return ""

    for text in ("${GONE}", "${EMPTY}"):
        with pytest.raises(SettingsError, match=r"GONE|server\.token is empty"):
            keys_of(ServerSettings(token=text), resolve)


def test_half_a_password_and_a_secret_at_the_wrong_place_are_told_at_load(tmp_path: Path) -> None:
    for text, told in (
        ("server: {webhooks: {gatus: {username: x}}}\n", "username and password belong together"),
        ("server: {host: '${HOST}'}\n", "are filled in only in"),
        ("server: {tokn: x}\n", "did you mean 'token'"),
    ):
        workspace = write_workspace(tmp_path / told[:4], "http://127.0.0.1:9", ["one"])
        with_server(workspace, text)
        with pytest.raises(ContentError, match=told):
            App.open(workspace, environ={})


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1:80", True),
        ("localhost:9", True),
        ("[::1]:80", True),
        ("127.evil.example", False),
        ("", False),
        ("0.0.0.0", False),
    ],
)
def test_which_hosts_are_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host_of(host)) is loopback


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://127.0.0.1:8080"},
        {"X-Forwarded-For": "203.0.113.7"},
        {"Forwarded": "for=203.0.113.7"},
    ],
)
async def test_without_a_secret_a_web_page_or_a_proxy_sends_no_alert(tmp_path: Path, headers: dict[str, str]) -> None:
    workspace = write_workspace(tmp_path / "w", "http://127.0.0.1:9", ["one"])
    async with asked(workspace) as client:
        message = json.dumps(alertmanager("one"))
        # What a page anywhere can have a browser send without being asked for leave: text/plain.
        found = await client.post("/webhooks/alertmanager", content=message, headers=headers)
        assert found.status_code == 403, found.text
        assert (await client.get("/api/incidents")).json()["incidents"] == []
        for more in ({}, {"Origin": "http://127.0.0.1"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
            found = await client.post("/webhooks/alertmanager", content=message, headers=more)
            assert found.status_code == 200, more


@pytest.mark.parametrize("path", ["/", "/api/status", "/metrics"])
async def test_without_a_secret_nothing_is_shown_through_a_proxy(tmp_path: Path, path: str) -> None:
    async with asked(write_workspace(tmp_path / "w", "http://127.0.0.1:9", ["one"])) as client:
        assert (await client.get(path)).status_code == 200
        assert (await client.get(path, headers={"X-Forwarded-For": "203.0.113.7"})).status_code == 403


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/webhooks/grafana", {"X-Grafana-Alerting-Signature": "0" * 64}),  # only the body tells whether it is known
        ("/api/read-only", {"Content-Type": "application/json"}),
        ("/login", {"Content-Type": "application/x-www-form-urlencoded", "Origin": "http://127.0.0.1"}),
    ],
)
async def test_a_body_that_never_ends_is_not_waited_for(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, path: str, headers: dict[str, str]
) -> None:
    monkeypatch.setattr("treewalk.server.routes.BODY_WITHIN", 0.2)

    async def slowly() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.05)

    async with asked(workspace) as client, asyncio.timeout(20):
        assert (await client.post(path, content=slowly(), headers=headers)).status_code == 408


async def test_who_only_scrapes_may_do_nothing_else(tmp_path: Path) -> None:
    text = 'server: {token: "${TREEWALK_TOKEN}", metrics_token: scrape-token}\n'
    workspace = with_server(write_workspace(tmp_path / "w", "http://127.0.0.1:9", ["one"]), text)
    async with asked(workspace) as client:
        for headers, status in ((TOKEN, 200), ({"Authorization": "Bearer scrape-token"}, 200), ({}, 401)):
            assert (await client.get("/metrics", headers=headers)).status_code == status
        scraping = {"Authorization": "Bearer scrape-token"}
        for path in ("/api/status", "/api/audit", "/api/approvals"):
            assert (await client.get(path, headers=scraping)).status_code == 401
        for path in ("/api/kill", "/-/reload", "/webhooks/alertmanager"):
            assert (await client.post(path, headers=scraping, json={})).status_code == 401
        origin = {"Origin": "http://127.0.0.1"}
        entered = await client.post("/login", data={"token": "scrape-token", "name": "anna"}, headers=origin)
        assert (entered.status_code, "set-cookie" in entered.headers) == (401, False)


async def test_ready_means_that_the_memory_could_be_written_of_late(workspace: Path) -> None:
    async with App.open(workspace, environ=ENVIRON) as app:
        operations = Operations(app)
        api = build(operations, app.workspace.settings.server)
        transport = httpx.ASGITransport(app=api)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            operations.workers.register(operations.worker, app.clock.now())
            assert (await client.get("/readyz")).text == "ready\n"
            operations.workers.beat(operations.worker, app.clock.now() - 60)
            found = await client.get("/readyz")
            assert (found.status_code, "could not be written" in found.text) == (503, True)


async def test_where_the_memory_is_is_told_to_those_who_may_know(workspace: Path) -> None:
    async with asked(workspace) as client:
        (workspace / ".treewalk").mkdir(exist_ok=True)
        (workspace / ".treewalk" / "memory.db").write_text("not a database, but long enough to be looked at" * 100)
        found = await client.get("/readyz")
        assert (found.status_code, str(workspace) in found.text) == (503, False)
        told = await client.get("/api/status", headers=TOKEN)
        assert (told.status_code, str(workspace) in told.text) == (503, True)


async def test_a_kill_switch_that_cannot_be_turned_off_says_so(workspace: Path) -> None:
    async with App.open(workspace, environ=ENVIRON) as app:
        operations = Operations(app)
        api = build(operations, app.workspace.settings.server)
        operations.kill_file.mkdir(parents=True)  # what cannot be removed as a file is
        transport = httpx.ASGITransport(app=api, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=TOKEN) as client:
            found = await client.post("/api/revive")
            assert (found.status_code, "KILL cannot be removed" in found.text) == (503, True)
            assert operations.killed() is not None
