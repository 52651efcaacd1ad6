"""Who may speak: wrong secrets slow down nobody else, and people with tokens of their own are those people."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from treewalk.app import App
from treewalk.errors import SettingsError
from treewalk.operations.incidents import Operations
from treewalk.server.keys import keys_of
from treewalk.server.rate import WRONG_BURST
from treewalk.server.senders import networks, sender
from treewalk.server.web import build
from treewalk.settings import ServerSettings

from tests.test_pages import HERE, Asked, asking, workspace_of

SHARED, ANNA, BERTA = "s3cret-token", "annas-own", "bertas-own"
ENVIRON = {"TREEWALK_TOKEN": SHARED, "ANNA_TOKEN": ANNA, "BERTA_TOKEN": BERTA}
PEOPLE = 'users: {anna: "${ANNA_TOKEN}", berta: "${BERTA_TOKEN}"}'
HOOKS = "webhooks: {grafana: {secret: grafana-secret}}"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Server:
    """The application for `server:` settings. `client` asks from an address."""

    def __init__(self, folder: Path, *settings: str) -> None:
        text = "server: {" + ", ".join(('token: "${TREEWALK_TOKEN}"', *settings)) + "}\n"
        self.workspace = workspace_of(folder / "w", text)

    async def __aenter__(self) -> Server:
        self._app = App.open(self.workspace, environ=ENVIRON)
        app = await self._app.__aenter__()
        self.operations = Operations(app)
        self.api = build(self.operations, app.workspace.settings.server)
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._app.__aexit__(*error)

    def client(self, address: str = "127.0.0.1", **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=self.api, client=(address, 1234))
        return httpx.AsyncClient(transport=transport, base_url=HERE, headers={"Origin": HERE, **headers})

    def pages(self, client: httpx.AsyncClient) -> Asked:
        return Asked(client, self.operations, self.api.state.service)

    def audited(self, kind: str) -> list[tuple[str, Any]]:
        rows = self.operations.app.database.query("SELECT who, data FROM audit WHERE kind = ? ORDER BY seq", [kind])
        return [(row["who"], json.loads(row["data"])) for row in rows]


async def test_wrong_tokens_are_slowed_down_and_the_right_one_is_let_in_at_once(tmp_path: Path) -> None:
    async with Server(tmp_path) as server, server.client() as client:
        found = [(await client.get("/api/status", headers=bearer("wrong"))).status_code for _ in range(60)]
        assert found[:WRONG_BURST] == [401] * WRONG_BURST
        assert found.count(401) <= WRONG_BURST + 1
        late = await client.get("/metrics", headers=bearer("wrong"))
        assert (late.status_code, int(late.headers["retry-after"]) > 0) == (429, True)
        assert (await client.post("/webhooks/generic", json={}, headers=bearer("wrong"))).status_code == 429
        assert (await client.get("/api/status")).status_code == 401, "nothing was shown, so nothing was tried"
        assert (await client.get("/api/status", headers=bearer(SHARED))).status_code == 200
        async with server.client("10.0.0.9") as other:
            assert (await other.get("/api/status", headers=bearer("wrong"))).status_code == 401


async def test_who_signs_wrongly_takes_nothing_from_those_who_sign_rightly(tmp_path: Path) -> None:
    async with Server(tmp_path, HOOKS, "rate: {per_second: 0.001, burst: 3}") as server, server.client() as client:
        body = json.dumps({"alerts": []}).encode()

        async def post(signature: str) -> int:
            headers = {"X-Treewalk-Signature": signature}
            return (await client.post("/webhooks/grafana", content=body, headers=headers)).status_code

        right = hmac.new(b"grafana-secret", body, hashlib.sha256).hexdigest()
        assert {await post("0" * 64) for _ in range(30)} == {401, 429}
        assert [await post(right) for _ in range(4)] == [200, 200, 200, 429]


async def test_behind_a_trusted_proxy_each_client_has_a_bucket_of_its_own(tmp_path: Path) -> None:
    async with Server(tmp_path, 'trusted_proxies: ["10.0.0.0/8"]') as server, server.client("10.0.0.1") as client:

        async def wrong(address: str) -> int:
            headers = {**bearer("wrong"), "X-Forwarded-For": address}
            return (await client.get("/api/status", headers=headers)).status_code

        assert {await wrong(f"{k}.1.1.1, 192.0.2.7") for k in range(1, 40)} == {401, 429}
        assert await wrong("192.0.2.7") == 429, "what stands before the last one may be made up"
        assert await wrong("192.0.2.8") == 401
        killed = await client.post("/api/kill", headers={**bearer(SHARED), "X-Forwarded-For": "192.0.2.8"})
        assert (killed.status_code, server.audited("kill on")[0][0]) == (200, "http 192.0.2.8")


async def test_what_others_say_of_their_address_counts_nothing(tmp_path: Path) -> None:
    async with Server(tmp_path, "trusted_proxies: [10.0.0.1]") as server, server.client("10.0.0.2") as client:
        headers = {**bearer(SHARED), "X-Forwarded-For": "192.0.2.8"}
        await client.post("/api/kill", headers=headers)
        assert server.audited("kill on")[0][0] == "http 10.0.0.2"


@pytest.mark.parametrize(
    ("peer", "passed_on", "found"),
    [
        ("192.0.2.1", ["203.0.113.5"], "192.0.2.1"),
        ("10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("::ffff:10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.5, 10.2.2.2"], "203.0.113.5"),
        ("10.0.0.1", ["1.1.1.1", "203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["203.0.113.5:4711"], "203.0.113.5"),
        ("10.0.0.1", ['"[2001:db8::7]:4711"'], "2001:db8::7"),
        ("10.0.0.1", ["1.1.1.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("", ["203.0.113.5"], ""),
    ],
)
def test_the_address_of_a_client(peer: str, passed_on: list[str], found: str) -> None:
    assert sender(peer, passed_on, networks(["10.0.0.0/8"])) == found


@given(st.text(), st.lists(st.text()))
def test_whatever_a_stranger_says_of_their_address_is_not_believed(peer: str, passed_on: list[str]) -> None:
    assert sender(peer, passed_on, ()) == peer
    assert sender("192.0.2.1", passed_on, networks(["10.0.0.0/8"])) == "192.0.2.1"
    sender("10.0.0.1", passed_on, networks(["10.0.0.0/8"]))


async def test_over_http_the_token_says_who_answers_and_the_shared_one_may_only_look(tmp_path: Path) -> None:
    async with Server(tmp_path, PEOPLE) as server, server.client() as client:
        number, plan = asking(server.operations)
        said = {"digest": plan.digest, "granted": True, "who": "anna"}
        address = f"/api/incidents/{number}/answer"
        assert (await client.get("/api/approvals", headers=bearer(SHARED))).status_code == 200
        for path, body in (
            (address, said),
            (f"/api/incidents/{number}/cancel", None),
            ("/api/kill", None),
            ("/api/revive", None),
            ("/api/read-only", {"on": True}),
            ("/-/reload", None),
        ):
            found = await client.post(path, json=body, headers=bearer(SHARED))
            assert (found.status_code, "server.users" in found.json()["detail"]) == (403, True), path
        found = await client.post(address, json=said, headers=bearer(BERTA))  # who is no approver
        assert (found.status_code, "'berta'" in found.json()["detail"]) == (403, True)
        found = await client.post(address, json={**said, "who": "somebody"}, headers=bearer(ANNA))
        assert found.json() == {"result": "recorded"}
        assert [who for who, _ in server.audited("answer refused")] == ["berta"]
        assert [who for who, _ in server.audited("answer")] == ["anna"]
        await client.post("/api/kill?why=storm", headers=bearer(BERTA))
        assert [who for who, _ in server.audited("kill on")] == ["http berta"]


async def test_who_a_person_is_need_not_be_said(tmp_path: Path) -> None:
    async with Server(tmp_path, PEOPLE) as server, server.client() as client:
        number, plan = asking(server.operations)
        body = {"digest": plan.digest, "granted": False}
        found = await client.post(f"/api/incidents/{number}/answer", json=body, headers=bearer(ANNA))
        assert (found.status_code, server.audited("answer")[0][0]) == (200, "anna")


async def test_without_users_everybody_with_the_token_says_who_they_are(tmp_path: Path) -> None:
    async with Server(tmp_path) as server, server.client() as client:
        number, plan = asking(server.operations)
        body = {"digest": plan.digest, "granted": True}
        address = f"/api/incidents/{number}/answer"
        assert (await client.post(address, json=body, headers=bearer(SHARED))).status_code == 403
        found = await client.post(address, json={**body, "who": "anna"}, headers=bearer(SHARED))
        assert (found.status_code, server.audited("answer")[0][0]) == (200, "anna")


async def test_at_the_pages_a_person_is_who_the_token_says(tmp_path: Path) -> None:
    async with Server(tmp_path, PEOPLE) as server, server.client() as client:
        number, plan = asking(server.operations)
        pages = server.pages(client)
        assert (await pages.log_in(name="berta", token=ANNA)).status_code == 303
        page = (await client.get(f"/incidents/{number}")).text
        assert ("<span>anna</span>" in page, "berta" in page) == (True, False)
        await pages.send(f"/incidents/{number}/answer", answer="approve", digest=plan.digest)
        assert [who for who, _ in server.audited("answer")] == ["anna"]
        await pages.send("/switch", what="kill", why="a storm", sure="yes")
        assert [who for who, _ in server.audited("kill on")] == ["web anna"]


async def test_at_the_pages_the_shared_token_may_only_look_where_there_are_people(tmp_path: Path) -> None:
    async with Server(tmp_path, PEOPLE) as server, server.client() as client:
        number, plan = asking(server.operations)
        pages = server.pages(client)
        assert (await pages.log_in(name="anna", token=SHARED)).status_code == 303
        page = (await client.get(f"/incidents/{number}")).text
        assert ("server.users" in page, 'name="answer"' in page) == (True, False)
        for path, fields in (
            (f"/incidents/{number}/answer", {"answer": "deny", "digest": plan.digest}),
            (f"/incidents/{number}/seen", {}),
            (f"/incidents/{number}/cancel", {}),
            ("/known-errors", {"id": "ke-one", "what": "promote"}),
            ("/switch", {"what": "kill", "why": "x", "sure": "yes"}),
            ("/switch", {"what": "revive", "sure": "yes"}),
        ):
            found = await pages.send(path, **fields)
            assert (found.status_code, "server.users" in found.text) == (403, True), path
        assert server.operations.killed() is None
        assert await asyncio.to_thread(server.operations.cases.approval, number, plan.digest) is None


async def test_people_need_no_shared_token(tmp_path: Path) -> None:
    server = Server(tmp_path)
    settings = server.workspace / "treewalk.yaml"
    settings.write_text(settings.read_text().replace('token: "${TREEWALK_TOKEN}"', PEOPLE))
    async with server, server.client() as client:
        assert (await client.get("/api/status", headers=bearer(BERTA))).status_code == 200
        assert (await client.get("/api/status", headers=bearer(SHARED))).status_code == 401
        assert (await server.pages(client).log_in(token=BERTA)).status_code == 303


@pytest.mark.parametrize(
    "more", [{"token": "same"}, {"metrics_token": "same"}, {"webhooks": {"gatus": {"token": "same"}}}]
)
def test_a_token_of_a_person_that_somebody_else_has_too_is_refused(more: Any) -> None:
    with pytest.raises(SettingsError, match=r"server\.users\.anna"):
        keys_of(ServerSettings(users={"anna": "same"}, **more), str)
    with pytest.raises(SettingsError, match=r"server\.users\.berta"):
        keys_of(ServerSettings(users={"anna": "x", "berta": "x"}), str)
    with pytest.raises(SettingsError, match="empty"):
        keys_of(ServerSettings(users={"anna": " "}), str)


def test_names_and_networks_are_looked_at_when_they_are_read() -> None:
    for bad in ({"users": {"<b>": "x"}}, {"users": {"": "x"}}, {"trusted_proxies": ["proxy.example"]}):
        with pytest.raises(ValidationError):
            ServerSettings.model_validate(bad)
