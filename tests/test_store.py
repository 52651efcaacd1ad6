from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from treewalk.errors import StoreError, UsageError
from treewalk.model.diagnosis import Diagnosis, Findings, Measurement, RootCause, Timing
from treewalk.model.evidence import Evidence
from treewalk.model.known import KnownError, Match, Signature
from treewalk.stages.report import document
from treewalk.store.casebook import Casebook
from treewalk.store.database import SqliteDatabase
from treewalk.store.memory import MemoryStore

from tests.support.trees import HERE


def diagnosis(at: float = 1000.0, sample: str = "Redis connection pool exhausted") -> Diagnosis:
    known = Match(KnownError("ke-001", Signature(node="consumer"), "pool exhausted", None, HERE), "consumer", ())
    evidence = Evidence("E1", "consumer", "log", "logs", "{}", (0, at), "12 × pool", (sample,), 12)
    return Diagnosis(
        sla="freshness",
        measurement=Measurement("violated", "73s against < 1m", 73.0, "73s", "< 1m"),
        verdicts={},
        suspects=(),
        root_cause=RootCause("redis", "298 of 300 clients", "known", 0.9, cites=("E1",)),
        known_error=known,
        matches=(known,),
        near_misses=(),
        findings=Findings(evidence=(evidence,)),
        gaps=(),
        timing=Timing(at, at, 0.5, {}),
    )


def keep(path: Path, at: float = 1000.0) -> int:
    found = diagnosis(at)
    return MemoryStore(path).keep(found, document(found))


def test_a_diagnosis_comes_back_whole(tmp_path: Path) -> None:
    number = keep(tmp_path / "memory.db")
    store = MemoryStore(tmp_path / "memory.db")
    assert store.incident(number)["root_cause"]["node"] == "redis"
    assert [row["number"] for row in store.incidents(10)] == [number]
    assert (tmp_path / "memory.db").stat().st_mode & 0o777 == 0o600


def test_known_errors_are_counted(tmp_path: Path) -> None:
    for at in (100.0, 300.0, 200.0):
        keep(tmp_path / "memory.db", at)
    row = MemoryStore(tmp_path / "memory.db").statistics()["ke-001"]
    assert (row["occurrence_count"], row["first_seen"], row["last_seen"]) == (3, 100.0, 300.0)


def test_one_violation_is_counted_once_however_often_it_is_looked_at(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "memory.db")
    cases, store = Casebook(database), MemoryStore(database)

    def count() -> int:
        return int(store.statistics()["ke-001"]["occurrence_count"])

    def looked(at: float, onset: float) -> Diagnosis:
        found = diagnosis(at)
        return replace(found, measurement=replace(found.measurement, onset=onset))

    store.keep(looked(1000, 900), {**document(diagnosis())})
    number = cases.open("freshness", "an alert", 1100)
    for at in (1110.0, 1120.0, 1130.0):  # begun again twice
        cases.diagnosed(number, looked(at, 900), document(diagnosis()), "found", at)
    store.keep(looked(1200, 900), document(diagnosis()))
    assert count() == 1
    cases.close(number, "resolved", "mended", 1300, {})
    store.keep(looked(1250, 900), document(diagnosis()))  # a look back into it
    assert count() == 1
    store.keep(looked(2000, 1950), document(diagnosis()))
    assert count() == 2
    assert store.statistics()["ke-001"]["last_seen"] == 2000


def test_search_goes_through_samples_and_causes(tmp_path: Path) -> None:
    number = keep(tmp_path / "memory.db")
    store = MemoryStore(tmp_path / "memory.db")
    assert [row["number"] for row in store.search("pool exhausted", 5)] == [number]
    assert store.search("kafka", 5) == []


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_hostile_search_text_is_only_text(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("store")
    keep(folder / "memory.db")
    MemoryStore(folder / "memory.db").search(text, 5)


def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match=r"memory\.db"):
        MemoryStore(path).incidents(1)
    assert path.read_bytes().startswith(b"this is no database")


def test_an_unknown_number_is_said_to_be_unknown(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no incident number 7"):
        MemoryStore(tmp_path / "memory.db").incident(7)


def _many(path: str) -> int:
    return sum(keep(Path(path)) > 0 for _ in range(20))


def test_two_processes_may_write_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "memory.db")
    with ProcessPoolExecutor(2) as pool:
        assert list(pool.map(_many, [path, path])) == [20, 20]
    assert MemoryStore(Path(path)).statistics()["ke-001"]["occurrence_count"] == 40
