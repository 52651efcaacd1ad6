"""Several processes share a PostgreSQL: one is killed in the middle of an incident, the other finishes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from treewalk.store.audit import Audit
from treewalk.store.casebook import Casebook
from treewalk.store.database import Database, database
from treewalk.store.ledger import Ledger

from tests.crash.target import running_target, write_workspace
from tests.support.postgres import running_postgres
from tests.test_crash import Nursery

pytestmark = [pytest.mark.needs("/usr/lib/postgresql"), pytest.mark.alone]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_postgres(tmp_path_factory.mktemp("shared")) as url:
        yield url.replace("+psycopg", "")


def until(done: object, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not done():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def test_one_worker_is_killed_and_the_other_finishes_its_incident(shared: str, tmp_path: Path) -> None:
    doomed, heir = Nursery(), Nursery()
    stop = tmp_path / "stop"
    with running_target() as target:
        workspace = write_workspace(tmp_path / "w", target.url, ["shared"], shared)
        books: Database = database(tmp_path / "none.db", shared)
        doomed.ready()
        heir.ready()
        staying = threading.Thread(target=lambda: heir.run(workspace, "stay", until=str(stop)))
        staying.start()
        until(lambda: books.query("SELECT id FROM workers"), 60, "the heir to work")
        heirs = {row["id"] for row in books.query("SELECT id FROM workers")}
        # It dies at a point between the first call and the last.
        assert doomed.run(workspace, ["fresh_shared"], kill_at=30)["killed"]
        cases, ledger = Casebook(books), Ledger(books)
        number = cases.database.query("SELECT number FROM incidents")[0]["number"]
        assert cases.life(number)["state"] != "closed"
        began = {row["key"]: row["worker"] for row in ledger.of(number)}
        assert began, "it died before it began anything"
        assert not set(began.values()) & heirs, "the doomed one began nothing"
        until(lambda: cases.life(number)["state"] == "closed", 60, "the heir to finish it")
        stop.touch()
        staying.join(60)
        assert cases.life(number)["ending"] in ("resolved", "escalated")
        assert max(target.calls[f"/mend/shared/{part}"] for part in "ab") <= 1
        runs = {row["key"]: row["worker"] for row in ledger.of(number)}
        later = {worker for key, worker in runs.items() if key not in began}
        assert runs.items() >= began.items()
        assert later == heirs, f"the heir {heirs} did not do the rest: {runs}"
        assert {row["kind"] for row in cases.timeline(number)} >= {"open", "diagnosed", "planned", "closed"}
        assert Audit(books).verify()[1] == []
        books.close()
    doomed.close()
    heir.close()
