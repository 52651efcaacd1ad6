"""The container check against real containers behind the Docker API."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from treewalk.model.verdict import Status

from tests.support.podman import running_podman, start
from tests.test_checks_local import run

pytestmark = [
    pytest.mark.needs("podman", "crun", "busybox"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a mount namespace"),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[tuple[str, Any]]:
    import docker

    with running_podman() as url:
        client = docker.DockerClient(base_url=url, timeout=20)
        yield url, client
        for container in client.containers.list(all=True):
            container.remove(force=True)
        client.close()


async def test_a_running_an_exited_and_a_missing_container_are_told_apart(engine: tuple[str, Any]) -> None:
    url, client = engine
    start(client, "steady", "/bin/sleep", "300")
    ended = start(client, "ended", "/bin/sh", "-c", "exit 3")
    ended.wait(timeout=20)
    assert (await run("container", name="steady", base_url=url)).status is Status.HEALTHY
    verdict = await run("container", name="ended", base_url=url)
    assert verdict.status is Status.UNHEALTHY
    assert "exit code 3" in verdict.reason
    assert (await run("container", fields={"container": "nobody"}, base_url=url)).status is Status.UNHEALTHY


async def test_an_engine_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    verdict = await run("container", name="x", base_url=f"unix://{tmp_path}/nothing.sock")
    assert verdict.status is Status.UNKNOWN


async def test_no_container_named_is_unknown() -> None:
    assert (await run("container")).status is Status.UNKNOWN
