"""The tables, for both databases. A change of them is a new version with its own step."""

from __future__ import annotations

VERSION = 5

_INCIDENTS_1 = (
    "CREATE TABLE incidents (number INTEGER PRIMARY KEY AUTOINCREMENT, opened REAL NOT NULL, sla TEXT NOT NULL,"
    " status TEXT NOT NULL, root_node TEXT, known_error TEXT, document TEXT NOT NULL, words TEXT NOT NULL)",
    "CREATE TABLE known_error_statistics (id TEXT PRIMARY KEY, occurrence_count INTEGER NOT NULL,"
    " first_seen REAL NOT NULL, last_seen REAL NOT NULL)",
    "CREATE VIRTUAL TABLE incidents_fts USING fts5(words, content='incidents', content_rowid='number')",
    "CREATE TRIGGER incidents_added AFTER INSERT ON incidents BEGIN"
    " INSERT INTO incidents_fts(rowid, words) VALUES (new.number, new.words); END",
)
_INCIDENT_COLUMNS = (
    "state TEXT NOT NULL DEFAULT 'diagnosed'",
    "ending TEXT",
    "why TEXT",
    "cause TEXT",
    "updated DOUBLE PRECISION",
    "closed DOUBLE PRECISION",
    "plan TEXT",
    "digest TEXT",
    "outcome TEXT",
)
_TABLES = (
    "CREATE TABLE IF NOT EXISTS timeline ({id}, incident BIGINT NOT NULL, at DOUBLE PRECISION NOT NULL,"
    " kind TEXT NOT NULL, text TEXT NOT NULL, data TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS timeline_incident ON timeline (incident)",
    "CREATE TABLE IF NOT EXISTS ledger (key TEXT PRIMARY KEY, incident BIGINT NOT NULL, action TEXT NOT NULL,"
    " node TEXT NOT NULL, params TEXT NOT NULL, digest TEXT NOT NULL, idempotent INTEGER NOT NULL,"
    " cost DOUBLE PRECISION NOT NULL, worker TEXT NOT NULL, intent_at DOUBLE PRECISION NOT NULL, outcome TEXT,"
    " outcome_at DOUBLE PRECISION, summary TEXT, data TEXT)",
    "CREATE INDEX IF NOT EXISTS ledger_time ON ledger (intent_at)",
    "CREATE TABLE IF NOT EXISTS audit (seq BIGINT PRIMARY KEY, at DOUBLE PRECISION NOT NULL, kind TEXT NOT NULL,"
    " incident BIGINT, who TEXT NOT NULL, data TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS audit_head (one INTEGER PRIMARY KEY, seq BIGINT NOT NULL, hash TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS claims (node TEXT PRIMARY KEY, incident BIGINT NOT NULL,"
    " since DOUBLE PRECISION NOT NULL)",
    "CREATE TABLE IF NOT EXISTS approvals (incident BIGINT NOT NULL, digest TEXT NOT NULL,"
    " asked DOUBLE PRECISION NOT NULL, expires DOUBLE PRECISION NOT NULL, question TEXT NOT NULL, granted INTEGER,"
    " who TEXT, via TEXT, decided DOUBLE PRECISION, PRIMARY KEY (incident, digest))",
    "CREATE TABLE IF NOT EXISTS learned (id TEXT PRIMARY KEY, trust TEXT NOT NULL, document TEXT NOT NULL,"
    " incident BIGINT, created DOUBLE PRECISION NOT NULL, updated DOUBLE PRECISION NOT NULL, who TEXT)",
    "CREATE TABLE IF NOT EXISTS trust (id TEXT PRIMARY KEY, trust TEXT NOT NULL, at DOUBLE PRECISION NOT NULL,"
    " who TEXT NOT NULL, why TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS fixes ({id}, known_error TEXT, playbook TEXT, node TEXT NOT NULL, sla TEXT NOT NULL,"
    " incident BIGINT NOT NULL UNIQUE, at DOUBLE PRECISION NOT NULL, result TEXT NOT NULL,"
    " seconds DOUBLE PRECISION)",
    "CREATE TABLE IF NOT EXISTS workers (id TEXT PRIMARY KEY, host TEXT NOT NULL, pid BIGINT NOT NULL,"
    " started TEXT NOT NULL, beat DOUBLE PRECISION NOT NULL)",
    "CREATE TABLE IF NOT EXISTS switches (name TEXT PRIMARY KEY, since DOUBLE PRECISION NOT NULL, who TEXT NOT NULL,"
    " why TEXT NOT NULL)",
)
_ALERTS_3 = (
    "CREATE TABLE IF NOT EXISTS alerts ({id}, source TEXT NOT NULL, fingerprint TEXT NOT NULL,"
    " starts DOUBLE PRECISION NOT NULL, status TEXT NOT NULL, name TEXT NOT NULL, summary TEXT NOT NULL,"
    " document TEXT NOT NULL, received DOUBLE PRECISION NOT NULL, last_seen DOUBLE PRECISION NOT NULL,"
    " seen BIGINT NOT NULL, mapped INTEGER NOT NULL, because TEXT NOT NULL, hint TEXT NOT NULL,"
    " UNIQUE (source, fingerprint, starts, status))",
    "CREATE TABLE IF NOT EXISTS alert_incidents (alert BIGINT NOT NULL, incident BIGINT NOT NULL,"
    " PRIMARY KEY (alert, incident))",
    "CREATE INDEX IF NOT EXISTS alert_incidents_incident ON alert_incidents (incident)",
)
_SERVING_4 = (
    "ALTER TABLE incidents ADD COLUMN severity TEXT",
    "CREATE TABLE IF NOT EXISTS incident_slas (incident BIGINT NOT NULL, sla TEXT NOT NULL,"
    " since DOUBLE PRECISION NOT NULL, PRIMARY KEY (incident, sla))",
    "CREATE TABLE IF NOT EXISTS deliveries (channel TEXT NOT NULL, key TEXT NOT NULL, incident BIGINT,"
    " state TEXT NOT NULL, digest TEXT NOT NULL, sent TEXT, id TEXT, attempts BIGINT NOT NULL,"
    " due DOUBLE PRECISION NOT NULL, created DOUBLE PRECISION NOT NULL, updated DOUBLE PRECISION NOT NULL,"
    " why TEXT, document TEXT NOT NULL, PRIMARY KEY (channel, key))",
    "CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (state, due)",
    "CREATE INDEX IF NOT EXISTS incidents_updated ON incidents (updated)",
    "CREATE INDEX IF NOT EXISTS incidents_state ON incidents (state)",
)
_UNMET_5 = (
    "CREATE TABLE IF NOT EXISTS unmet (sla TEXT PRIMARY KEY, incident BIGINT NOT NULL, since DOUBLE PRECISION NOT NULL,"
    " gravest INTEGER)",
    "CREATE INDEX IF NOT EXISTS unmet_incident ON unmet (incident)",
)
_SQLITE_GUARDS = (
    "CREATE TRIGGER audit_kept BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END",
    "CREATE TRIGGER audit_whole BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END",
    "CREATE TRIGGER incidents_changed AFTER UPDATE OF words ON incidents BEGIN"
    " INSERT INTO incidents_fts(incidents_fts, rowid, words) VALUES ('delete', old.number, old.words);"
    " INSERT INTO incidents_fts(rowid, words) VALUES (new.number, new.words); END",
)
SQLITE_STEPS: tuple[tuple[str, ...], ...] = (
    _INCIDENTS_1,
    (
        *(f"ALTER TABLE incidents ADD COLUMN {column}" for column in _INCIDENT_COLUMNS),
        *(statement.format(id="id INTEGER PRIMARY KEY AUTOINCREMENT") for statement in _TABLES),
        *_SQLITE_GUARDS,
    ),
    tuple(statement.format(id="id INTEGER PRIMARY KEY AUTOINCREMENT") for statement in _ALERTS_3),
    _SERVING_4,
    _UNMET_5,
)
"""What makes each version of a SQLite file out of the one before."""

POSTGRES: tuple[str, ...] = (
    "CREATE TABLE IF NOT EXISTS incidents (number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    " opened DOUBLE PRECISION NOT NULL, sla TEXT NOT NULL, status TEXT NOT NULL, root_node TEXT, known_error TEXT,"
    f" document TEXT NOT NULL, words TEXT NOT NULL, {', '.join(_INCIDENT_COLUMNS)})",
    "CREATE INDEX IF NOT EXISTS incidents_words ON incidents USING gin (to_tsvector('simple', words))",
    "CREATE TABLE IF NOT EXISTS known_error_statistics (id TEXT PRIMARY KEY, occurrence_count BIGINT NOT NULL,"
    " first_seen DOUBLE PRECISION NOT NULL, last_seen DOUBLE PRECISION NOT NULL)",
    *(s.format(id="id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY") for s in (*_TABLES, *_ALERTS_3)),
    # Only where it is missing: to add it, even in vain, waits for whoever reads the table, and all others behind it.
    "DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = 'incidents'::regclass"
    " AND attname = 'severity' AND NOT attisdropped)"
    " THEN ALTER TABLE incidents ADD COLUMN severity TEXT; END IF; END $$",
    *_SERVING_4[1:],
    *_UNMET_5,
    "CREATE OR REPLACE FUNCTION treewalk_audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE EXCEPTION 'the audit is append-only'; END $$",
    "CREATE OR REPLACE TRIGGER audit_kept BEFORE UPDATE OR DELETE ON audit"
    " FOR EACH ROW EXECUTE FUNCTION treewalk_audit_is_append_only()",
)
"""What makes the tables of this version in a PostgreSQL; safe to run again."""
