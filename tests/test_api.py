"""What can be asked over HTTP: pages of long lists, trees, impact, known errors; bodies are bounded."""

from pathlib import Path

import httpx
import pytest

from tests.crash.target import write_workspace
from tests.test_serve import SERVER, TOKEN, asked, with_server


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return with_server(write_workspace(tmp_path / "w", "http://127.0.0.1:9", [f"s{k}" for k in range(5)]), SERVER)


async def paged(client: httpx.AsyncClient, address: str, key: str, by: str, name: str) -> list[str]:
    found, more = [], ""
    for _ in range(100):
        answer = (await client.get(f"{address}?limit=2{more}")).json()
        found += [str(row[name]) for row in answer[key]]
        if answer["next"] is None:
            return found
        assert len(answer[key]) == 2
        more = f"&{by}={answer['next']}"
    raise AssertionError("it never ends")


async def test_long_lists_come_in_pages_that_leave_nothing_out(workspace: Path) -> None:
    async with asked(workspace) as client:
        client.headers.update(TOKEN)
        for k in range(5):
            await client.post("/webhooks/generic", json={"name": "A", "sla": f"fresh_s{k}"})
            await client.post("/webhooks/generic", json={"name": f"N{k}"})
            await client.post("/webhooks/generic", json={"name": f"B{k}", "sla": "fresh_s0"})
        assert await paged(client, "/api/incidents", "incidents", "before", "number") == ["5", "4", "3", "2", "1"]
        names = await paged(client, "/api/alerts/unmapped", "alerts", "before", "name")
        assert names == ["N4", "N3", "N2", "N1", "N0"]
        assert len(await paged(client, "/api/alerts", "alerts", "before", "id")) == 15
        assert await paged(client, "/api/slas", "slas", "after", "name") == [f"fresh_s{k}" for k in range(5)]
        rows = await paged(client, "/api/audit", "rows", "after", "seq")
        assert rows == [str(k + 1) for k in range(len(rows))]
        texts = await paged(client, "/api/incidents/1/timeline", "timeline", "after", "text")
        assert len(texts) == 7
        known = await paged(client, "/api/known-errors", "known_errors", "after", "id")
        assert known == sorted(known)
        assert {f"ke-s{k}" for k in range(5)} <= set(known)


async def test_trees_and_impact(workspace: Path) -> None:
    async with asked(workspace) as client:
        client.headers.update(TOKEN)
        tree = (await client.get("/api/slas/fresh_s1/tree")).json()
        assert [node["name"] for node in tree["nodes"]] == ["store_s1"]
        assert tree["sla"]["limit"] == "< 1m"
        found = (await client.get("/api/impact", params={"node": ["store_s1", "store_s2"]})).json()
        assert found["schema"] == "treewalk/impact/1"
        assert [one["sla"] for one in found["slas"]] == ["fresh_s1", "fresh_s2"]
        lost = await client.get("/api/impact?node=store_s")
        assert (lost.status_code, "did you mean" in lost.json()["detail"]) == (404, True)
        assert (await client.get("/api/slas/nope/tree")).status_code == 404
        assert (await client.get("/api/impact")).status_code == 422
        assert (await client.post("/-/reload")).status_code == 409


async def test_bodies_are_bounded_before_anybody_is_let_in(workspace: Path) -> None:
    async with asked(workspace) as client:
        large = b'{"on": true, "why": "' + b"x" * 5_000_000 + b'"}'
        headers = {"Content-Type": "application/json"}
        assert (await client.post("/api/read-only", content=large, headers=headers)).status_code == 413


async def test_every_address_but_health_needs_the_token(workspace: Path) -> None:
    async with asked(workspace) as client:
        schema = (await client.get("/openapi.json")).json()
        for path, methods in schema["paths"].items():
            for method, operation in methods.items():
                if path == "/webhooks/telegram":  # no bot listens here; it has a secret of its own
                    continue
                address = path.replace("{number}", "1").replace("{name}", "fresh_s0")
                body = {"on": True} if path.endswith("read-only") else {"digest": "d", "granted": True, "who": "ann"}
                found = await client.request(method, address, json=body if method == "post" else None)
                open_to_all = path in ("/healthz", "/readyz")
                if path == "/webhooks/telegram":  # nobody listens there: it is not there, whatever is shown
                    assert found.status_code == 404
                    continue
                assert (found.status_code == 401) is not open_to_all, path
                assert open_to_all or {"401", "403", "503"} <= set(operation["responses"]), path
