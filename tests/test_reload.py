"""Files are read again while serving, all or nothing; treewalk can be told to look and not to touch."""

import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from treewalk.app import App
from treewalk.errors import UsageError
from treewalk.operations.incidents import Operations
from treewalk.server.reloading import Reloader, later
from treewalk.server.web import build
from treewalk.settings import Settings

from tests.crash.target import running_target, write_workspace
from tests.support.serving import serving
from tests.test_cli_acting import run
from tests.test_serve import ENVIRON, TOKEN, alertmanager, until, with_server

ASKING = "policy:\n  approval: {approvers: [ann]}\n  tiers: [{action: http_call, tier: ask}]\n  repeats: {first: 0s}\n"


def write(folder: Path, url: str, stores: list[str], policy: str = "") -> Path:
    """A workspace with the server's settings; `policy` takes the place of the one that allows everything."""
    workspace = with_server(write_workspace(folder, url, stores), "server: {token: '${TREEWALK_TOKEN}'}\n")
    if policy:
        path = workspace / "treewalk.yaml"
        text = path.read_text()
        begin, end = text.index("policy:"), text.index("server:")
        path.write_text(text[:begin] + policy + text[end:])
    return workspace


def test_files_are_read_again_and_a_broken_one_keeps_the_last_good_ones(tmp_path: Path) -> None:
    with running_target() as target:
        workspace = write(tmp_path / "w", target.url, ["one"])
        tree = workspace / "trees" / "main.yaml"
        with serving(workspace, environ=ENVIRON) as served, httpx.Client(base_url=served.url, headers=TOKEN) as client:
            assert client.post("/webhooks/alertmanager", json=alertmanager("two")).json()["no_sla"] == 1
            write(workspace, target.url, ["one", "two"])
            good = tree.read_text()
            tree.write_text(good + "  broken: [\n")
            answer = client.post("/-/reload")
            assert answer.status_code == 422
            assert answer.json()["problems"][0]["file"] == "trees/main.yaml"
            assert answer.json()["problems"][0]["line"] > 5
            status = client.get("/api/status").json()
            assert (status["slas"], status["reload"]["ok"]) == (1, False)
            assert "treewalk_reload_success 0.0" in client.get("/metrics").text
            until(lambda: any("not reloaded" in line for line in served.said), "the line")
            assert client.get("/readyz").status_code == 200
            tree.write_text(good)
            served.process.send_signal(signal.SIGHUP)
            until(lambda: client.get("/api/status").json()["reload"]["ok"], "the reload")
            assert "treewalk_reload_success 1.0" in client.get("/metrics").text
            message = alertmanager("two")
            message["alerts"][0]["fingerprint"] = "other"
            assert client.post("/webhooks/alertmanager", json=message).json()["opened"] == [1]
            until(lambda: client.get("/api/incidents/1").json()["life"]["ending"] == "resolved", "its end")
            kinds = [row["kind"] for row in client.get("/api/audit?limit=1000").json()["rows"]]
            assert kinds.count("reload") == 2
            assert served.stop() == 0


def test_a_channel_whose_address_nobody_understands_is_not_taken_over(tmp_path: Path) -> None:
    workspace = write(tmp_path / "w", "http://127.0.0.1:9", ["one"])
    with serving(workspace, environ=ENVIRON) as served, httpx.Client(base_url=served.url, headers=TOKEN) as client:
        with_server(workspace, "notify: {channels: {chat: {url: 'slakc://xoxb-secret/a'}}}\n")
        answer = client.post("/-/reload")
        assert answer.status_code == 422
        assert "notify.channels.chat: apprise does not understand slakc://" in answer.text
        assert "xoxb-secret" not in answer.text


def test_an_incident_keeps_its_plan_over_a_reload_and_gets_the_newest_policy(tmp_path: Path) -> None:
    with running_target() as target:
        workspace = write(tmp_path / "w", target.url, ["one"], ASKING)
        with serving(workspace, environ=ENVIRON) as served, httpx.Client(base_url=served.url, headers=TOKEN) as client:
            client.post("/webhooks/alertmanager", json=alertmanager("one")).raise_for_status()
            asked = until(lambda: client.get("/api/approvals").json()["approvals"], "the question")[0]
            (workspace / "playbooks" / "mend.yaml").write_text("name: mend\nsteps: [{action: wait, duration: 1s}]\n")
            (workspace / "known_errors" / "main.yaml").unlink()
            forbidding = ASKING + "  forbid: [{action: http_call}]\n"
            write_workspace_policy(workspace, forbidding)
            assert client.post("/-/reload").json()["ok"] is True
            given = {"digest": asked["digest"], "granted": True, "who": "ann"}
            assert client.post("/api/incidents/1/answer", json=given).json() == {"result": "recorded"}

            def closed() -> Any:
                life = client.get("/api/incidents/1").json()["life"]
                return life if life["state"] == "closed" else None

            life = until(closed, "its end")
            assert (life["ending"], life["digest"]) == ("refused", asked["digest"])
            assert "treewalk.yaml forbids http_call" in life["why"]
            assert [step["kind"] for step in life["plan"]["steps"]].count("http_call") == 3
            assert not target.calls
            assert served.stop() == 0


def write_workspace_policy(workspace: Path, policy: str) -> None:
    path = workspace / "treewalk.yaml"
    text = path.read_text()
    begin, end = text.index("policy:"), text.index("server:")
    path.write_text(text[:begin] + policy + text[end:])


def test_only_the_first_right_answer_of_a_listed_approver_counts(tmp_path: Path) -> None:
    with running_target() as target:
        workspace = write(tmp_path / "w", target.url, ["one"], ASKING)
        with serving(workspace, environ=ENVIRON) as served, httpx.Client(base_url=served.url, headers=TOKEN) as client:
            client.post("/webhooks/alertmanager", json=alertmanager("one")).raise_for_status()
            asked = until(lambda: client.get("/api/approvals").json()["approvals"], "the question")[0]
            address = f"/api/incidents/{asked['incident']}/answer"

            def answer(who: str, digest: str) -> tuple[int, str]:
                found = client.post(address, json={"digest": digest, "granted": True, "who": who})
                return found.status_code, found.text

            assert answer("mallory", asked["digest"])[0] == 403
            assert answer("ann", "0" * 64)[0] == 409
            client.post("/api/read-only", json={"on": True, "why": "a drill"}).raise_for_status()
            code, text = answer("ann", asked["digest"])
            assert (code, "a drill" in text) == (409, True)
            assert client.post("/api/read-only", json={"on": False}).json() == {"read_only": None}
            assert answer("ann", asked["digest"])[0] == 200
            assert answer("ann", asked["digest"])[0] == 409
            until(lambda: client.get("/api/incidents/1").json()["life"]["ending"] == "resolved", "its end")
            said = [
                row for row in client.get("/api/audit?limit=1000").json()["rows"] if row["kind"] == "answer refused"
            ]
            assert [row["who"] for row in said] == ["mallory", "ann"]
            assert served.stop() == 0


@pytest.mark.parametrize("how", ["option", "policy", "switch"])
def test_looking_without_touching(tmp_path: Path, how: str) -> None:
    with running_target() as target:
        workspace = write(tmp_path / "w", target.url, ["one"])
        if how == "policy":
            path = workspace / "treewalk.yaml"
            path.write_text(path.read_text().replace("policy:\n", "policy:\n  read_only: true\n"))
        if how == "switch":
            assert run(workspace, "read-only", "on", "a drill")[1].startswith("treewalk only looks")
        options = ["--read-only"] if how == "option" else []
        with (
            serving(workspace, *options, environ=ENVIRON) as served,
            httpx.Client(base_url=served.url, headers=TOKEN) as client,
        ):
            assert client.get("/api/status").json()["read_only"]
            client.post("/webhooks/alertmanager", json=alertmanager("one")).raise_for_status()

            def held() -> Any:
                found = client.get("/api/incidents/1").json()
                return found if "held: " in found["timeline"][-1]["text"] else None

            incident = until(held, "the plan, and that it is held")
            assert incident["root_cause"]["node"] == "store_one"
            assert incident["life"]["state"] == "waiting"
            assert "look and not to touch" in incident["timeline"][-1]["text"]
            assert not target.calls
        if how == "switch":
            assert "may act again" in run(workspace, "read-only", "off")[1]


async def test_a_reload_that_leaves_an_open_address_without_a_secret_is_refused(tmp_path: Path) -> None:
    workspace = write(tmp_path / "w", "http://127.0.0.1:9", ["one"])
    async with App.open(workspace, environ=ENVIRON) as app:
        service = build(Operations(app), app.workspace.settings.server).state.service
        path = workspace / "treewalk.yaml"
        path.write_text(path.read_text().replace("server: {token: '${TREEWALK_TOKEN}'}", "watch: {slas: [fresh_one]}"))
        said: list[str] = []
        found = await Reloader(service, "0.0.0.0", said.append).reload("test")
        assert (found.ok, "no secret any more" in found.error) == (False, True)
        assert not service.keys.none
        assert (await Reloader(service, "127.0.0.1", said.append).reload("test")).ok


async def test_content_of_before_is_let_go_when_its_incidents_are_over(tmp_path: Path) -> None:
    workspace = write(tmp_path / "w", "http://127.0.0.1:9", ["one"])
    async with App.open(workspace, environ=ENVIRON) as app:
        operations = Operations(app)
        operations._lives = 1
        new = await operations.renew(app.renewed())
        assert new._newest == [new, operations]
        assert operations.policy is new.policy
        operations._lives = 0
        newest = await new.renew(new.app.renewed())
        assert newest._newest == [newest]
        assert newest.worker == operations.worker
        await newest.app.close_sources()


async def test_an_incident_whose_sla_is_gone_is_escalated(tmp_path: Path) -> None:
    async with App.open(write(tmp_path / "w", "http://127.0.0.1:9", ["one"]), environ=ENVIRON) as app:
        operations = Operations(app)
        number = operations.cases.open("gone", "test", time.time())
        assert await operations._live(number, None) == "escalated"  # type: ignore[arg-type]
        assert "no SLA gone" in operations.cases.life(number)["why"]
        with pytest.raises(UsageError):
            operations.answer(number, "ann", True)


def test_what_holds_after_a_restart_only_is_told() -> None:
    before = Settings()
    after = Settings.model_validate({"server": {"port": 1, "max_body": 2000}, "store": {"path": "x/y.db"}})
    assert [line.split(" ")[0] for line in later(before, after)] == ["server.port", "store.path"]
    assert later(before, before) == ()
