"""SQL that only reads, told from its form. On the safe side: what is not plainly harmless is not."""

from __future__ import annotations

import re

from treewalk.actions.options import names

_STATEMENT = re.compile(
    r"""(select|show|vacuum|analyze|checkpoint|kill|explain(\s+(analyze|verbose))*\s+select|explain\s+\(\s*\w+(\s*,\s*\w+)*\s*\)\s*select)\b""",
    re.IGNORECASE,
)
_HIDES = ("--", "/*", "*/", "#", "\\", "`", "$", "@", "{", "}")
"""Comments, escapes and quotes that one server reads as nothing and another one as something."""

_LITERAL = re.compile(r"'(?:[^']|'')*'")
_CALL = re.compile(r"([\w.]+|\")\s*\(")
_NAME = re.compile(r"[a-z_]\w*")
_CHANGES = names(
    "into outfile dumpfile insert update delete merge replace upsert copy call do execute prepare set reset lock"
    " truncate drop alter create grant revoke rename load handler import discard reassign refresh notify listen full"
    " for procedure begin commit rollback savepoint"
)
_KEYWORDS = names(
    "select from where and or not in exists any some all as on using join left right inner outer cross lateral case"
    " when then else end between like ilike is over filter within group by order having limit offset union except"
    " intersect distinct values with partition rows range show vacuum analyze explain verbose"
)
_HARMLESS = names(
    "count sum min max avg coalesce nullif greatest least extract date_trunc now current_timestamp age to_char lower"
    " upper length round abs ceil floor concat version database current_database current_setting row_number rank lag"
    " lead string_agg array_agg json_agg jsonb_agg row_to_json to_json group_concat if ifnull timestampdiff"
    " unix_timestamp date_format interval cast text integer bigint numeric pg_cancel_backend pg_terminate_backend"
    " pg_blocking_pids pg_is_in_recovery pg_last_wal_receive_lsn pg_last_wal_replay_lsn"
    " pg_last_xact_replay_timestamp pg_current_wal_lsn pg_wal_lsn_diff pg_size_pretty pg_database_size"
    " pg_relation_size pg_table_size pg_indexes_size pg_total_relation_size pg_postmaster_start_time"
    " pg_conf_load_time pg_get_viewdef pg_get_indexdef pg_stat_get_activity pg_backend_pid pg_reload_conf"
)


def harmless_sql(text: str) -> bool:
    """Whether it is one statement that reads, tidies without locking, or ends one session: SELECT of known functions,
    SHOW, EXPLAIN SELECT, VACUUM, ANALYZE, CHECKPOINT, KILL."""
    plain = text.strip().removesuffix(";").strip()
    if "\\" in plain or ("'" in plain and '"' in plain):  # it is not clear which quote lies within which
        return False
    if any(mark in _LITERAL.sub("''", plain) for mark in (*_HIDES, ";")):
        return False
    bare = _LITERAL.sub("''", plain).lower()
    if "'" in bare.replace("''", "") or not _STATEMENT.match(bare):
        return False
    names = set(_NAME.findall(bare))
    return not names & _CHANGES and all(_may_be_called(name) for name in _CALL.findall(bare))


def _may_be_called(name: str) -> bool:
    return name.removeprefix("pg_catalog.") in _HARMLESS | _KEYWORDS
