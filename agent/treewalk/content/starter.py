"""A small workspace to begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from treewalk.errors import UsageError

_FILES = {
    "treewalk.yaml": """\
# What treewalk looks at. Every key is optional; secrets come as ${ENV} or file:PATH.
sources:
  prometheus: {url: http://127.0.0.1:9090}
  loki: {url: http://127.0.0.1:3100}

windows:
  BUSINESS_HOURS: {days: mon-fri, from: "09:00", to: "17:30", timezone: UTC}
""",
    "trees/example.yaml": """\
# One entry an SLA: the number that the user sees, and what it depends on, down to the machine.
metrics:
  data_freshness:
    description: Age of the newest data that a user sees
    sla: {query: max(data_age_seconds), threshold: 60s, window: BUSINESS_HOURS}
    owner: data-team
    tags: {tier: 1}
    depends_on:
      - node: writer
        type: process
        healthcheck: {method: promql, condition: 'up{job="writer"} == 1'}
        logs: {loki_query: '{container_name="writer"}'}
        metrics: ['rate(writer_rows_total[5m])']
        depends_on: [database]
nodes:
  - node: database
    type: database
    healthcheck: {method: tcp_connect, address: "127.0.0.1:5432"}
    alerts: ["pg_stat_activity_count > 90"]
""",
    "known_errors/example.yaml": """\
# Errors met before. All signals of a signature have to hold.
errors:
  - id: too-many-connections
    signature:
      log_pattern: "too many clients already"
      node: writer
      metric_condition: "pg_stat_activity_count > 90"
    root_cause: The database is out of connections
    root_node: database
    category: resource_exhaustion
    severity: high
    fix: {type: escalate}
""",
    "checks/example.py": '''\
"""A healthcheck of your own: a function whose keyword-only arguments are the schema of its YAML block."""

from treewalk import Probe, Verdict, check, healthy, unhealthy, unknown


@check("row_count")
async def row_count(probe: Probe, *, metric: str, at_least: int = 1) -> Verdict:
    """A metric that counts rows is not too small."""
    samples = await probe.instant(metric)
    if not samples:
        return unknown(f"no data for {metric}")
    rows = sum(sample.value for sample in samples)
    verdict = healthy if rows >= at_least else unhealthy
    return verdict(f"{rows:.0f} rows", observed=f"{rows:.0f}", expected=f">= {at_least}")
''',
    "playbooks/.gitkeep": "",
    ".gitignore": ".treewalk/\n",
}


def write_workspace(folder: Path) -> list[Path]:
    """Write the files of a small workspace.

    Raises UsageError, before writing any, when one is there already, and when the folder cannot be written to.
    """
    try:
        existing = [name for name in _FILES if (folder / name).exists() and name != ".gitignore"]
        if existing:
            raise UsageError(f"{folder / existing[0]} is there already; nothing was written")
        return list(_written(folder))
    except (OSError, ValueError) as error:  # ValueError: a path that no system has
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"no workspace can be written to {folder}: {why}; name a folder that is yours") from None


def _written(folder: Path) -> Iterator[Path]:
    for name, text in _FILES.items():
        path = folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            yield path
