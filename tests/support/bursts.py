"""A storm of alerts as Alertmanager sends it: groups that repeat themselves, and again until they are accepted."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.target import write_workspace

_FIRST, _LONGEST = 0.05, 1.0  # seconds between two tries
_PATIENCE = 120.0  # seconds until a sender gives up for good
_STARTS = "2026-11-20T23:20:07.794Z"


def alert_name(number: int) -> str:
    return f"Stale{number:03d}"


def alert(number: int) -> dict[str, Any]:
    """One of the alerts, as Alertmanager writes it."""
    name = alert_name(number)
    return {
        "status": "firing",
        "labels": {
            "alertname": name,
            "cluster": "demo",
            "instance": f"127.0.0.1:{9000 + number}",
            "severity": "warning",
        },
        "annotations": {"summary": f"what {name} watches is stale", "description": "no new rows for 9 minutes"},
        "startsAt": _STARTS,
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example:9090/graph?g0.expr=age+%3E+60&g0.tab=1",
        "fingerprint": f"{number:016x}",
    }


def message(numbers: Sequence[int], key: int = 0) -> dict[str, Any]:
    """A group of alerts, as it comes to a webhook."""
    return {
        "receiver": "treewalk",
        "status": "firing",
        "alerts": [alert(number) for number in numbers],
        "groupLabels": {},
        "commonLabels": {"cluster": "demo"},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example:9093",
        "version": "4",
        "groupKey": f'{{}}:{{group="{key}"}}',
        "truncatedAlerts": 0,
    }


def messages(count: int, alerts: int, seed: int = 1) -> list[tuple[int, ...]]:
    """Which alerts each message holds: 1 to 5 of them, every one of them somewhere."""
    rng = random.Random(seed)
    return [tuple({k % alerts, *rng.sample(range(alerts), rng.randint(0, 4))}) for k in range(count)]


def write_storm_workspace(folder: Path, url: str, slas: int, alerts: int) -> Path:
    """A workspace in which each SLA lists its share of the alerts, and in which nothing is done without a human."""
    stores = [f"s{k:02d}" for k in range(slas)]
    write_workspace(folder, url, stores)
    tree, settings = folder / "trees" / "main.yaml", folder / "treewalk.yaml"
    text = tree.read_text()
    for k, store in enumerate(stores):
        listed = ", ".join(alert_name(number) for number in range(k, alerts, slas))
        text = text.replace(f"  fresh_{store}:\n", f"  fresh_{store}:\n    alerts: [{listed}]\n")
    tree.write_text(text)
    settings.write_text(settings.read_text().replace("tier: full", "tier: ask"))
    return folder


@dataclass
class Sent:
    """What a storm came to: messages that were accepted, how often each alert was in one, and the tries."""

    accepted: int = 0
    tries: int = 0
    seen: Counter[int] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)


async def storm(url: str, token: str, groups: Sequence[tuple[int, ...]], sent: Sent, connections: int = 32) -> None:
    """Send every group until it is accepted; `sent` is filled while it goes on."""
    import aiohttp

    waiting = iter(enumerate(groups))
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(
        headers=headers, timeout=timeout, connector=aiohttp.TCPConnector(limit=connections)
    ) as session:

        async def worker() -> None:
            for key, numbers in waiting:
                body = json.dumps(message(numbers, key)).encode()
                await _until_accepted(session, url, body, sent)
                sent.accepted += 1
                sent.seen.update(numbers)

        await asyncio.gather(*(worker() for _ in range(connections)))


async def _until_accepted(session: Any, url: str, body: bytes, sent: Sent) -> None:
    import aiohttp

    wait, deadline = _FIRST, time.monotonic() + _PATIENCE
    while True:
        sent.tries += 1
        try:
            async with session.post(url, data=body) as answer:
                await answer.read()
                sent.statuses[answer.status] += 1
                if answer.status == 200:
                    return
                assert answer.status >= 500 or answer.status == 429, f"refused for good: {answer.status}"
        except (aiohttp.ClientError, TimeoutError, OSError):
            sent.statuses[0] += 1
        assert time.monotonic() < deadline, "it was never accepted"
        await asyncio.sleep(wait)
        wait = min(_LONGEST, 2 * wait)
