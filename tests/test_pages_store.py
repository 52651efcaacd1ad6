"""Pages of long lists, and what is old, on SQLite and on PostgreSQL."""

from treewalk.server.tidying import prune
from treewalk.store.database import Database
from treewalk.store.inbox import Inbox
from treewalk.store.ledger import Ledger
from treewalk.store.pages import END, Pages, following
from treewalk.store.pruning import Pruned, Pruner

from tests.test_books import database, postgres  # noqa: F401
from tests.test_pruning import KEEP, filled


async def test_both_databases_prune_page_and_count_alike(database: Database) -> None:  # noqa: F811
    filled(database, [(500.0, True), (500.0, False), (50.0, True)], [500.0, 0.0])
    pages, inbox = Pages(database), Inbox(database)
    assert [row["number"] for row in pages.incidents(3, 10)] == [2, 1]
    assert following(pages.incidents(END, 3), 2, "number") == 2
    assert [row["name"] for row in pages.alerts(END, 10, unmapped=True)] == ["N1", "N0"]
    assert set(inbox.firing("generic")) == {"a0", "a1", "a2", "n0", "n1"}
    rows, more = pages.timeline(1, 0, 1)
    assert (rows[0]["kind"], more is not None) == ("open", True)
    assert [row["seq"] for row in pages.audit(1, 2)] == [2, 3]
    assert Ledger(database).counts() == {}
    pruner = Pruner(database, KEEP)
    wanted = Pruned(1, 2, 0)
    assert pruner.would(1000.0) == await prune(pruner, 1000.0) == wanted
    assert pages.timeline(1, 0, 9)[0][0]["kind"] == "pruned"
