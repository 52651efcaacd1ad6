"""The pages of `treewalk serve`, asked without a browser: who may look, who may change, and what is shown."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from treewalk.app import App
from treewalk.errors import StoreError, UsageError
from treewalk.model.acting import Plan, VerifySpec
from treewalk.model.diagnosis import Measurement
from treewalk.model.place import Place
from treewalk.model.series import Series
from treewalk.model.tree import Forest, Node, Sla, Tree
from treewalk.operations.incidents import Operations
from treewalk.server.pages.gate import Refused, own_path
from treewalk.server.pages.plots import plot
from treewalk.server.pages.sessions import LASTS, Sessions, good_name
from treewalk.server.pages.shield import POLICY
from treewalk.server.pages.slas import Look, rows_of
from treewalk.server.pages.streams import MOST as streams_bound
from treewalk.server.pages.streams import Streams, event
from treewalk.server.pages.walks import MOST as walks_bound
from treewalk.server.pages.walks import Walks
from treewalk.server.rate import WRONG_BURST
from treewalk.server.reloading import Reload
from treewalk.server.web import Service, build

from tests.crash.target import write_workspace
from tests.support.answers import free_port

TOKEN = "s3cret-token"
HERE = "http://127.0.0.1"
PAGES = (
    "/", "/slas/fresh_one", "/incidents", "/approvals", "/known-errors", "/impact", "/impact?node=store_one",
    "/audit", "/audit/verified", "/policy", "/unmapped", "/switch", "/slas/fresh_one/node?node=store_one",
)  # fmt: skip
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"


@dataclass
class Asked:
    """A browser without JavaScript, and what stands behind the pages."""

    client: httpx.AsyncClient
    operations: Operations
    service: Service

    async def log_in(self, name: str = "anna", token: str = TOKEN, **more: str) -> httpx.Response:
        return await self.client.post("/login", data={"token": token, "name": name, **more})

    async def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', (await self.client.get("/policy")).text)
        assert found
        return found[1]

    async def send(self, path: str, **fields: str) -> httpx.Response:
        return await self.client.post(path, data={"csrf": await self.csrf(), **fields})


def workspace_of(folder: Path, server: str = 'server: {token: "${TREEWALK_TOKEN}"}\n', policy: str = "") -> Path:
    workspace = write_workspace(folder, "http://127.0.0.1:9", ["one", "two"])
    settings = workspace / "treewalk.yaml"
    text = settings.read_text().replace("policy:\n", f"policy:\n  approval: {{approvers: [anna]}}\n{policy}")
    settings.write_text(text + server)
    return workspace


@asynccontextmanager
async def asked(workspace: Path) -> AsyncIterator[Asked]:
    async with App.open(workspace, environ={"TREEWALK_TOKEN": TOKEN}) as app:
        operations = Operations(app)
        api = build(operations, app.workspace.settings.server)
        transport = httpx.ASGITransport(app=api)
        async with httpx.AsyncClient(transport=transport, base_url=HERE, headers={"Origin": HERE}) as client:
            yield Asked(client, operations, api.state.service)


@pytest.fixture
async def pages(tmp_path: Path) -> AsyncIterator[Asked]:
    async with asked(workspace_of(tmp_path / "w")) as found:
        yield found


def asking(operations: Operations, title: str = "mend", cause: str = "an alert") -> tuple[int, Plan]:
    """An incident that asks a human about a plan."""
    now = operations.app.clock.now()
    number = operations.open("fresh_one", cause)
    plan = Plan("fresh_one", "store_one", title, (), VerifySpec())
    operations.cases.planned(number, plan, now)
    operations.cases.enter(number, "asking", "a human is asked", now)
    operations.cases.ask(number, plan.digest, f"{title}?", now, now + 600)
    return number, plan


async def test_nothing_is_shown_before_the_login(pages: Asked) -> None:
    for path in (*PAGES, "/incidents/1"):
        found = await pages.client.get(path)
        assert (found.status_code, found.headers["location"].startswith("/login")) == (303, True), path
    stream = await pages.client.get("/events", headers={"Accept": "text/event-stream"})
    assert stream.status_code == 401
    for path in ("/switch", "/known-errors", "/incidents/1/answer", "/slas/fresh_one/walk", "/logout"):
        found = await pages.client.post(path, data={"csrf": "x"})
        assert (found.status_code, found.headers["location"]) == (303, "/login"), path


async def test_the_login_takes_the_token_and_a_name_and_goes_on_to_own_paths_only(pages: Asked) -> None:
    wrong = await pages.log_in(token="wrong")
    assert (wrong.status_code, "not the token" in wrong.text, "set-cookie" in wrong.headers) == (401, True, False)
    nameless = await pages.log_in(name="<b>")
    assert (nameless.status_code, "<b>" in nameless.text) == (401, False)
    for target, went in (("/incidents?before=3", "/incidents?before=3"), ("//evil.example", "/"), ("https://x", "/")):
        found = await pages.log_in(next=target)
        assert (found.status_code, found.headers["location"]) == (303, went)
    cookie = found.headers["set-cookie"]
    for word in ("HttpOnly", "SameSite=strict", "Max-Age=43200", "Path=/"):
        assert word in cookie
    assert ("Secure" in cookie, cookie.startswith("treewalk=")) == (False, True)
    tls = await pages.client.post(
        "/login", data={"token": TOKEN, "name": "anna"}, headers={"X-Forwarded-Proto": "https"}
    )
    assert ("Secure" in tls.headers["set-cookie"], tls.headers["set-cookie"].startswith("__Host-")) == (True, True)


async def test_who_logs_out_is_out(pages: Asked) -> None:
    await pages.log_in()
    cookie = pages.client.cookies["treewalk"]
    assert (await pages.send("/logout")).headers["location"] == "/login"
    again = await pages.client.get("/", headers={"Cookie": f"treewalk={cookie}"})
    assert again.status_code == 303


async def test_too_many_wrong_tokens_are_slowed_down_and_never_the_right_one(
    pages: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(seconds: float) -> None: ...

    monkeypatch.setattr("treewalk.server.pages.login.asyncio.sleep", at_once)
    found = [(await pages.log_in(token="wrong")).status_code for _ in range(60)]
    assert found[:WRONG_BURST] == [401] * WRONG_BURST
    assert 429 in found[WRONG_BURST:]
    late = await pages.log_in(token="wrong")
    assert ("try again in" in late.text, "retry-after" in late.headers) == (True, True)
    assert (await pages.log_in()).status_code == 303


async def test_every_page_can_be_seen_with_an_empty_store_and_with_a_filled_one(pages: Asked) -> None:
    await pages.log_in()
    for path in PAGES:
        found = await pages.client.get(path)
        assert (found.status_code, path) == (200, path)
    number, _ = asking(pages.operations)
    pages.operations.kill("ops", "a drill")
    for path in (*PAGES, f"/incidents/{number}"):
        found = await pages.client.get(path)
        assert (found.status_code, path) == (200, path)
    assert "Approve this plan" in (await pages.client.get(f"/incidents/{number}")).text
    assert "a drill" in (await pages.client.get("/")).text


async def test_every_answer_tells_the_browser_to_run_nothing_of_others(pages: Asked) -> None:
    await pages.log_in()
    for path in (*PAGES, "/login", "/nope", "/incidents/77"):
        found = await pages.client.get(path)
        assert found.headers["content-security-policy"] == POLICY, path
        assert found.headers["cache-control"] == "no-store"
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["referrer-policy"] == "same-origin"
        assert not re.search(r"\sstyle=|\son\w+=|<script>|<style", found.text), path
    script = re.findall(r'src="(/static/[^"]+)"', (await pages.client.get("/")).text)
    assert len(script) == 2
    for address in script:
        found = await pages.client.get(address)
        assert (found.status_code, "immutable" in found.headers["cache-control"]) == (200, True)


@pytest.mark.parametrize(
    "path",
    [
        "/incidents/0", "/incidents/7", "/incidents/-1", "/incidents/99999999999999999999", "/incidents/%00",
        "/incidents/x%27", "/incidents/7/events", "/incidents?before=x", "/audit?before=0", "/slas/nope",
        "/slas/nope/events", "/slas/fresh_one/node?node=nope", "/slas/..%2f..%2fetc", "/static/..%2fweb.py",
        "/static/nope.js", "/nope", "/incidents/1/answer/more",
    ],
)  # fmt: skip
async def test_what_is_not_there_is_a_clean_page(pages: Asked, path: str) -> None:
    await pages.log_in()
    found = await pages.client.get(path)
    assert (found.status_code, found.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "<h1>Not found</h1>" in found.text


async def test_programs_are_told_in_json_as_ever(pages: Asked) -> None:
    found = await pages.client.get("/api/nope")
    assert (found.status_code, found.json()) == (404, {"detail": "Not Found"})
    assert (await pages.client.post("/api/incidents")).status_code == 405
    assert (await pages.client.get("/api/incidents")).status_code == 401
    schema = (await pages.client.get("/openapi.json")).json()
    assert not any(path.startswith("/incidents") for path in schema["paths"])


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ({}, {"csrf": ""}),
        ({}, {"csrf": "0" * 64}),
        ({}, {"csrf": "ü"}),
        ({"Origin": "http://evil.example"}, {}),
        ({"Origin": "null"}, {}),
        ({"Origin": ""}, {}),
        ({"Sec-Fetch-Site": "cross-site"}, {}),
        ({"Sec-Fetch-Site": "same-site"}, {}),
    ],
)
async def test_a_form_of_somebody_else_changes_nothing(
    pages: Asked, headers: dict[str, str], fields: dict[str, str]
) -> None:
    await pages.log_in()
    data = {"csrf": await pages.csrf(), "what": "kill", "why": "x", "sure": "yes", **fields}
    found = await pages.client.post("/switch", data=data, headers=headers)
    assert found.status_code == 403
    assert pages.operations.killed() is None


async def test_a_form_token_of_another_session_does_not_fit(pages: Asked) -> None:
    await pages.log_in()
    first = await pages.csrf()
    await pages.log_in("berta")
    found = await pages.client.post("/switch", data={"csrf": first, "what": "kill", "why": "x", "sure": "yes"})
    assert (found.status_code, pages.operations.killed()) == (403, None)


async def test_forms_are_bounded_and_of_one_kind(pages: Asked) -> None:
    await pages.log_in()
    assert (await pages.client.post("/switch", json={"what": "kill"})).status_code == 415
    assert (await pages.client.post("/switch", data={"why": "x" * 70_000})).status_code == 413
    assert (await pages.client.post("/switch", data={f"f{k}": "x" for k in range(60)})).status_code == 400


async def test_the_kill_switch_needs_a_reason_and_a_tick_and_the_audit_names_who(pages: Asked) -> None:
    await pages.log_in()
    assert (await pages.send("/switch", what="kill", why="drill")).status_code == 400
    assert (await pages.send("/switch", what="kill", why=" ", sure="yes")).status_code == 400
    assert (await pages.send("/switch", what="kill", why="drill", sure="yes")).status_code == 303
    assert "drill" in (pages.operations.killed() or "")
    assert "The kill switch is on" in (await pages.client.get("/switch")).text
    assert (await pages.send("/switch", what="revive", sure="yes")).status_code == 303
    assert pages.operations.killed() is None
    who = [row["who"] for row in pages.operations.audit.rows() if row["kind"].startswith("kill")]
    assert who == ["web anna", "web anna"]


async def test_an_answer_counts_once_and_is_bound_to_the_plan_that_was_read(pages: Asked) -> None:
    await pages.log_in()
    number, plan = asking(pages.operations)
    older = await pages.send(f"/incidents/{number}/answer", digest="0" * 64, answer="approve")
    assert older.headers["location"] == f"/incidents/{number}"
    assert "The plan has changed since you looked" in (await pages.client.get(f"/incidents/{number}")).text
    assert pages.operations.cases.approval(number, plan.digest) is None
    odd = await pages.send(f"/incidents/{number}/answer", digest=plan.digest, answer="perhaps")
    assert odd.status_code == 400
    await pages.send(f"/incidents/{number}/answer", digest=plan.digest, answer="deny")
    given = pages.operations.cases.approval(number, plan.digest)
    assert given is not None
    assert (given.granted, given.who, given.via) == (False, "anna", "web")
    await pages.send(f"/incidents/{number}/answer", digest=plan.digest, answer="approve")
    assert "Somebody has answered before you" in (await pages.client.get(f"/incidents/{number}")).text
    rows = [row for row in pages.operations.audit.rows() if "answer" in row["kind"]]
    assert [row["data"]["result"] for row in rows][:3] == ["not asked", "recorded", "already"]
    assert {(row["who"], row["data"]["via"]) for row in rows} == {("anna", "web")}


async def test_who_is_no_approver_is_refused_and_that_is_audited(pages: Asked) -> None:
    await pages.log_in("mallory")
    number, plan = asking(pages.operations)
    shown = (await pages.client.get(f"/incidents/{number}")).text
    assert ("Approve this plan" in shown, "policy.approval.approvers" in shown) == (False, True)
    found = await pages.send(f"/incidents/{number}/answer", digest=plan.digest, answer="approve")
    assert found.status_code == 403
    assert pages.operations.cases.approval(number, plan.digest) is None
    row = pages.operations.audit.rows()[-1]
    assert (row["kind"], row["who"], row["data"]["why"]) == ("refused answer", "mallory", "not an approver")


async def test_who_has_seen_an_incident_says_so_once(pages: Asked) -> None:
    await pages.log_in()
    number, plan = asking(pages.operations)
    assert "I have seen it" in (await pages.client.get(f"/incidents/{number}")).text
    await pages.send(f"/incidents/{number}/seen")
    shown = (await pages.client.get(f"/incidents/{number}")).text
    assert ("I have seen it" in shown, "anna has seen it (web)" in shown) == (False, True)
    assert pages.operations.cases.approval(number, plan.digest) is None


async def test_what_needs_a_human_stands_on_top_until_somebody_has_seen_it(pages: Asked) -> None:
    await pages.log_in()
    operations, now = pages.operations, pages.operations.app.clock.now()
    assert "Needs a human" not in (await pages.client.get("/")).text
    for ending in ("escalated", "refused", "not_resolved", "resolved", "cancelled"):
        number = operations.open("fresh_one", "an alert")
        operations.cases.close(number, ending, f"why it {ending}", now, {})
    shown = (await pages.client.get("/")).text
    assert shown.index("Needs a human") < shown.index('id="h-slas"')
    assert [number for number in range(1, 6) if f'<a href="/incidents/{number}"><b>' in shown] == [1, 2, 3]
    assert "3 ended incidents need a human." in shown
    assert "why it escalated" in shown
    for number in (1, 3):
        assert "I have seen it" in (await pages.client.get(f"/incidents/{number}")).text
        await pages.send(f"/incidents/{number}/seen")
    met = Measurement("met", "1 s against < 60 s")
    pages.service.latest["fresh_one"] = now - 1, met
    assert "1 ended incident needs a human." in (await pages.client.get("/")).text
    pages.service.latest["fresh_one"] = now + 1, met  # of the one that was refused nothing was begun
    assert "Needs a human" not in (await pages.client.get("/")).text


async def test_what_was_seen_while_it_asked_needs_a_human_again_when_it_ends_badly(pages: Asked) -> None:
    await pages.log_in()
    number, _ = asking(pages.operations)
    await pages.send(f"/incidents/{number}/seen")
    pages.operations.cases.close(number, "escalated", "nobody answered", pages.operations.app.clock.now(), {})
    assert "Needs a human" in (await pages.client.get("/")).text


async def test_an_incident_leads_to_its_report_and_its_postmortem(pages: Asked) -> None:
    await pages.log_in()
    number, _ = asking(pages.operations, cause=HOSTILE)
    shown = (await pages.client.get(f"/incidents/{number}")).text
    assert (f"/incidents/{number}/report" in shown, f"/incidents/{number}/postmortem" in shown) == (True, False)
    pages.operations.cases.close(number, "escalated", HOSTILE, pages.operations.app.clock.now(), {})
    shown = (await pages.client.get(f"/incidents/{number}")).text
    for name in ("report", "postmortem"):
        assert f'href="/incidents/{number}/{name}"' in shown
        found = await pages.client.get(f"/incidents/{number}/{name}")
        assert (found.status_code, f"ncident {number}" in found.text) == (200, True)
        assert "script" not in found.headers["content-security-policy"].replace("script-src 'none'", "")
        assert found.headers["content-security-policy"].startswith("default-src 'none'")
        assert "<script>" not in found.text
        assert (await pages.client.get(f"/incidents/77/{name}")).status_code == 404
    await pages.client.get("/logout")
    pages.client.cookies.clear()
    assert (await pages.client.get(f"/incidents/{number}/report")).status_code == 303


async def test_an_incident_is_cancelled_by_name(pages: Asked) -> None:
    await pages.log_in()
    number, _ = asking(pages.operations)
    await pages.send(f"/incidents/{number}/cancel")
    assert pages.operations.cases.life(number)["why"] == "cancelled by web anna"


async def test_known_errors_are_decided_about_as_on_the_command_line(pages: Asked) -> None:
    await pages.log_in()
    await pages.send("/known-errors", id="ke-one", what="suspend")
    assert pages.operations.app.known_errors()["ke-one"].trust == "suspended"
    assert "ke-one is suspended now" in (await pages.client.get("/known-errors")).text
    # The past cannot be asked here, so nothing is promoted.
    await pages.send("/known-errors", id="ke-one", what="promote")
    assert "ke-one was not promoted" in (await pages.client.get("/known-errors")).text
    assert pages.operations.app.known_errors()["ke-one"].trust == "suspended"
    assert (await pages.send("/known-errors", id="nope", what="retire")).status_code == 404
    assert (await pages.send("/known-errors", id="ke-one", what="burn")).status_code == 400
    assert pages.operations.audit.rows()[-1]["who"] == "web anna"


async def test_where_it_is_read_only_only_what_stops_is_offered_or_taken(tmp_path: Path) -> None:
    async with asked(workspace_of(tmp_path / "w", policy="  read_only: true\n")) as pages:
        await pages.log_in()
        number, plan = asking(pages.operations)
        stops = {"/switch": {"/switch"}, f"/incidents/{number}": {"/seen", "/cancel"}}
        for path in ("/switch", "/known-errors", f"/incidents/{number}", "/approvals"):
            shown = (await pages.client.get(path)).text
            assert "treewalk only looks" in shown
            forms = re.findall(r'<form[^>]*method="post"[^>]*action="([^"]+)"|<form[^>]*action="([^"]+)"', shown)
            offered = {(a or b).removeprefix(f"/incidents/{number}") for a, b in forms}
            assert offered <= {"/logout", *stops.get(path, ())}, path
        for path, fields in (
            ("/switch", {"what": "revive", "sure": "yes"}),
            ("/known-errors", {"id": "ke-one", "what": "retire"}),
            (f"/incidents/{number}/answer", {"digest": plan.digest, "answer": "approve"}),
        ):
            assert (await pages.send(path, **fields)).status_code == 403
        assert (await pages.send("/switch", what="kill", why="look first", sure="yes")).status_code == 303
        assert "look first" in (pages.operations.killed() or "")
        assert (await pages.send(f"/incidents/{number}/cancel")).status_code == 303
        assert pages.operations.cases.life(number)["ending"] == "cancelled"


async def test_files_that_could_not_be_read_again_are_told_with_their_place(pages: Asked) -> None:
    await pages.log_in()
    service: Service = pages.service
    problem = {"file": "trees/main.yaml", "line": 3, "column": 5, "message": HOSTILE}
    service.note_reload(Reload(False, 1.0, "SIGHUP", "broken", (problem,)))
    shown = (await pages.client.get("/")).text
    assert ("trees/main.yaml:3:5" in shown, "<script>alert" in shown) == (True, False)
    service.note_reload(Reload(True, 2.0, "SIGHUP"))
    assert "trees/main.yaml:3:5" not in (await pages.client.get("/")).text


async def test_without_a_secret_everybody_on_this_machine_may_look_and_nobody_may_change(tmp_path: Path) -> None:
    async with asked(workspace_of(tmp_path / "w", server="")) as pages:
        for path in PAGES:
            assert (await pages.client.get(path)).status_code == 200
        assert "set server.token in treewalk.yaml" in (await pages.client.get("/")).text
        assert (await pages.client.get("/login")).headers["location"] == "/"
        assert (await pages.client.get("/", headers={"Host": "evil.example"})).status_code == 403
        csrf = re.search(r'value="([0-9a-f]{64})"', (await pages.client.get("/slas/fresh_one")).text)
        assert csrf
        form = {"csrf": csrf[1], "what": "kill", "why": "x", "sure": "yes"}
        assert (await pages.client.post("/switch", data=form)).status_code == 403
        assert (await pages.client.post("/slas/fresh_one/walk", data=form)).status_code == 303


async def test_with_secrets_of_senders_only_the_pages_stay_shut(tmp_path: Path) -> None:
    async with asked(workspace_of(tmp_path / "w", server="server: {webhooks: {gatus: {token: abc}}}\n")) as pages:
        for path in ("/", "/login"):
            found = await pages.client.get(path)
            assert (found.status_code, "set server.token" in found.text) == (403, True)
        assert (await pages.log_in(token="")).status_code == 403


async def test_texts_of_strangers_stay_text(pages: Asked) -> None:
    await pages.log_in()
    number, _ = asking(pages.operations, title=HOSTILE, cause=HOSTILE)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for alert in ({"name": HOSTILE, "summary": HOSTILE, "sla": "fresh_one"}, {"name": HOSTILE, "summary": HOSTILE}):
        assert (await pages.client.post("/webhooks/generic", json=alert, headers=headers)).status_code == 200
    pages.operations.kill(HOSTILE, HOSTILE)
    for path in ("/", "/incidents", f"/incidents/{number}", "/approvals", "/audit", "/unmapped", "/switch"):
        shown = (await pages.client.get(path)).text
        assert "<script>alert" not in shown, path
        assert "<img" not in shown
        assert "{{ 7*7 }}" in shown or path == "/incidents"
    shown = (await pages.client.get("/impact", params={"node": HOSTILE})).text
    assert ("<script>alert" in shown, "no node named" in shown) == (False, True)


async def test_who_follows_a_link_from_a_chat_is_asked_to_come_again_by_the_page_itself(pages: Asked) -> None:
    found = await pages.client.get("/incidents/1", headers={"Sec-Fetch-Site": "cross-site"})
    assert (found.status_code, 'http-equiv="refresh"' in found.text) == (200, True)
    again = await pages.client.get("/incidents/1", headers={"Sec-Fetch-Site": "same-origin"})
    assert again.headers["location"] == "/login?next=/incidents/1"


async def test_an_incident_that_was_cancelled_before_it_was_looked_at_tells_nothing_of_its_sla(pages: Asked) -> None:
    await pages.log_in()
    number = pages.operations.open("fresh_one", "an alert")
    pages.operations.cancel(number, "ops")
    for path in ("/", "/slas/fresh_one", f"/incidents/{number}"):
        found = await pages.client.get(path)
        assert (found.status_code, "state met" in found.text) == (200, False)
    assert "not measured" in (await pages.client.get("/")).text


async def test_lists_go_on_page_by_page(pages: Asked) -> None:
    await pages.log_in()
    for _ in range(60):
        pages.operations.cases.open("fresh_one", "x", 1.0)
    first = (await pages.client.get("/incidents")).text
    assert 'href="/incidents?before=11"' in first
    second = (await pages.client.get("/incidents?before=11")).text
    assert (second.count("Incident "), "Earlier" in second) == (10, False)
    assert 'href="/audit?before=11"' in (await pages.client.get("/audit")).text
    assert "chain verified: 60 rows" in (await pages.client.get("/audit/verified")).text


def test_a_cookie_cannot_be_made_stretched_or_kept_after_the_token_changed() -> None:
    now = [1000.0]
    sessions = Sessions("token", lambda: now[0])
    cookie, session = sessions.begin("anna")
    assert sessions.read(cookie) == session
    assert Sessions("token", lambda: now[0]).read(cookie) == session, "a restart logs nobody out"
    assert Sessions("other", lambda: now[0]).read(cookie) is None
    body, _, signature = cookie.partition(".")
    for bad in (
        "",
        ".",
        "x",
        body,
        f"{body}.",
        f"{body[:-2]}7d.{signature}",
        f"{body}.{signature[:-1]}",
        f".{signature}",
    ):
        assert sessions.read(bad) is None, bad
    now[0] += LASTS
    assert sessions.read(cookie) is None


def test_the_cookie_of_a_person_ends_with_their_own_token_and_cannot_be_made_with_the_shared_one() -> None:
    people = {"anna": "annas", "berta": "bertas"}
    sessions = Sessions("token", lambda: 0.0, people)
    cookie, session = sessions.begin("anna", proven=True)
    assert (session.name, session.proven) == ("anna", True)
    assert sessions.read(cookie) == session
    assert Sessions("token", lambda: 0.0, {**people, "berta": "other"}).read(cookie) == session
    assert Sessions("token", lambda: 0.0, {**people, "anna": "other"}).read(cookie) is None
    assert Sessions("token", lambda: 0.0).read(cookie) is None
    shared, typed = sessions.begin("anna")
    assert (typed.proven, sessions.read(shared)) == (False, typed)
    forged = json.dumps(["anna", typed.nonce, typed.expires, True]).encode().hex()
    assert sessions.read(f"{forged}.{sessions._signed('session', forged)}") is None
    of_berta, _ = sessions.begin("berta", proven=True)
    assert sessions.read(f"{cookie.partition('.')[0]}.{of_berta.partition('.')[2]}") is None


@given(st.text())
def test_a_way_to_go_on_never_leads_elsewhere(text: str) -> None:
    path = own_path(text)
    assert path.startswith("/")
    assert not path.startswith(("//", "/\\"))
    assert path.isprintable()


@given(st.text())
def test_a_name_for_the_audit_is_one_short_plain_line(text: str) -> None:
    name: Any = good_name(text)
    assert name is None or (0 < len(name) <= 64 and name.isprintable() and "<" not in name)


class Watcher:
    """Who asked for a stream, as far as a stream cares."""

    def __init__(self) -> None:
        self.gone = False

    async def is_disconnected(self) -> bool:
        return self.gone


async def told(streams: Streams, watcher: Any, look: Any, count: int) -> list[str]:
    """The first events of a stream, which is then left."""
    found: list[str] = []
    async for chunk in streams.answer(watcher, look, every=0.0).body_iterator:
        if str(chunk).startswith("event"):
            found.append(str(chunk))
            watcher.gone = len(found) == count
    return found


async def test_a_stream_tells_what_has_changed_once_and_ends_when_nobody_listens() -> None:
    streams, turns = Streams(lambda: None, lambda request: True), iter(range(100))

    async def look() -> list[str]:
        turn = next(turns)
        return ["<p>same</p>", f"<p>{turn // 10}</p>\n<p>more</p>"]

    found = await told(streams, Watcher(), look, 4)
    assert found == [event(text) for text in ("<p>same</p>", *(f"<p>{k}</p>\n<p>more</p>" for k in range(3)))]
    assert found[1] == "event: part\ndata: <p>0</p>\ndata: <p>more</p>\n\n"
    assert streams.open == 0


async def test_streams_end_with_the_server_the_session_and_the_store() -> None:
    async def look() -> list[str]:
        return ["<p>x</p>"]

    async def broken() -> list[str]:
        raise StoreError("gone")

    for streams, asked_for in (
        (Streams(lambda: "stopping", lambda request: True), look),
        (Streams(lambda: None, lambda request: False), look),
        (Streams(lambda: None, lambda request: True), broken),
    ):
        assert await told(streams, Watcher(), asked_for, 1) == []
        assert streams.open == 0


async def test_a_browser_that_leaves_is_noticed_by_a_real_server() -> None:
    streams = Streams(lambda: None, lambda request: True)

    async def endpoint(request: Request) -> Response:
        async def look() -> list[str]:
            return ["<p>x</p>"]

        return streams.answer(request, look, every=0.02)

    port = free_port()
    config = uvicorn.Config(Starlette(routes=[Route("/", endpoint)]), port=port, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    async with httpx.AsyncClient() as client, client.stream("GET", f"http://127.0.0.1:{port}/") as response:
        async for line in response.aiter_lines():
            if line.startswith("data"):
                break
        assert streams.open == 1
    for _ in range(500):
        if streams.open == 0:
            break
        await asyncio.sleep(0.01)
    assert streams.open == 0
    server.should_exit = True
    await serving


async def test_only_so_many_pages_are_watched_at_once() -> None:
    streams = Streams(lambda: None, lambda request: True)
    streams.open = streams_bound
    with pytest.raises(Refused, match="are being watched already") as refused:
        streams.answer(Watcher(), lambda: None)  # type: ignore[arg-type, return-value]
    assert refused.value.status == 503


async def test_one_walk_an_sla_at_a_time_and_a_few_in_all(pages: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    app, begun = pages.operations.app, asyncio.Event()

    async def endless(*args: Any) -> Any:
        begun.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(app, "diagnose", endless)
    walks = Walks(lambda: app)
    first = walks.start("fresh_one", "anna")
    assert walks.start("fresh_one", "berta") is first
    await begun.wait()
    with pytest.raises(UsageError):
        walks.start("nope", "anna")
    for k in range(walks_bound - 1):
        walks._tasks.add(asyncio.create_task(asyncio.sleep(60), name=str(k)))  # type: ignore[arg-type]
    with pytest.raises(Refused, match="try again"):
        walks.start("fresh_two", "anna")
    tasks = list(walks._tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert first.failed == "the walk was broken off"


async def test_a_walk_whose_sources_are_away_says_unknown(pages: Asked) -> None:
    await pages.log_in()
    await pages.send("/slas/fresh_one/walk")

    async def until_done() -> str:
        for _ in range(300):
            shown = (await pages.client.get("/slas/fresh_one")).text
            if "a walk of anna" in shown:
                return shown
            await asyncio.sleep(0.1)
        raise AssertionError("it never ended")

    shown = await until_done()
    assert ("state unknown" in shown, "state healthy" in shown, "state met" in shown) == (True, False, False)
    assert (
        "Connection refused" in (await pages.client.get("/slas/fresh_one/node?node=store_one")).text
        or "unknown" in shown
    )
    assert pages.operations.app.store.incidents(10) == [], "a walk from a page leaves no incident behind"


def large_tree(count: int) -> Tree:
    place = Place("t.yaml", 1, 1)
    nodes = {"top": Node("top", place, depends_on=tuple(f"n{k}" for k in range(count)))}
    nodes |= {f"n{k}": Node(f"n{k}", place) for k in range(count)}
    sla = Sla("s", None, None, None, None, ("top",), place)
    return Forest({"s": sla}, nodes).tree("s")


@given(st.sets(st.integers(0, 499)), st.booleans())
def test_a_large_tree_shows_every_node_that_is_not_healthy(bad: set[int], everything: bool) -> None:
    verdicts = {
        name: {"verdict": "unhealthy" if name[1:].isdigit() and int(name[1:]) in bad else "healthy", "reason": ""}
        for name in ("top", *(f"n{k}" for k in range(500)))
    }
    tree = large_tree(500)
    rows, hidden = rows_of(tree, Look(verdicts, "met", "", None, None, ""), everything)
    assert {f"n{k}" for k in bad} <= {row["name"] for row in rows}
    assert len(rows) + hidden == 501
    assert hidden == (0 if everything else 500 - len(bad))


@given(st.lists(st.floats(-1e9, 1e9) | st.just(float("nan"))), st.none() | st.floats(-1e9, 1e9))
def test_a_plot_stays_within_its_frame(values: list[float], limit: float | None) -> None:
    series = [Series({}, tuple(float(k) for k in range(len(values))), tuple(values))]
    found = plot(series, limit, [(1.0, "opened"), (1e9, "later")], 0.0, max(1.0, len(values) - 1.0))
    if found is None:
        assert not [v for v in values if v == v]
        return
    for line in found.lines:
        for point in line.split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= found.width
            assert -0.1 <= y <= found.base + 0.1
    assert found.limit is None or -0.1 <= found.limit <= found.base + 0.1
    assert [name for _, name, _ in found.moments] in ([], ["opened"])


async def test_many_who_ask_at_once_get_no_more_streams_than_there_are(tmp_path: Path) -> None:
    async with asked(workspace_of(tmp_path / "w", server="")) as pages:
        over = list[int]()
        api = build(pages.operations, pages.operations.app.workspace.settings.server)

        async def one() -> None:
            status = 0

            async def receive() -> dict[str, Any]:
                while not (status and len(over) >= streams_bound + 20):
                    await asyncio.sleep(0.01)  # who got one keeps it until everybody has asked
                return {"type": "http.disconnect"}

            async def send(message: Any) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                    over.append(status)

            headers = [(b"host", b"127.0.0.1")]
            scope = {"type": "http", "method": "GET", "path": "/events", "query_string": b"", "headers": headers}
            await api(scope, receive, send)

        async with asyncio.timeout(60):
            await asyncio.gather(*(one() for _ in range(streams_bound + 20)))
        assert (over.count(200), over.count(503)) == (streams_bound, 20)
        async with asyncio.timeout(20):  # and all of them are free again
            await one()
