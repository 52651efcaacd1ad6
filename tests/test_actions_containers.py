"""Actions on real containers behind the Docker API."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from treewalk.actions import action
from treewalk.errors import ActionFailed, SourceError, SourceRejected, SourceTimeout, SourceUnreachable
from treewalk.model.acting import ChangeClass

from tests.support.actions import hands, preview, run
from tests.support.hostile import HOSTILE
from tests.support.podman import running_podman, start

pytestmark = [
    pytest.mark.needs("podman", "crun", "busybox"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a mount namespace"),
]
RESTART, EXEC = "container_restart", "docker_exec"


@pytest.fixture(scope="module")
def engine() -> Iterator[tuple[str, Any]]:
    import docker

    with running_podman() as url:
        client = docker.DockerClient(base_url=url, timeout=30)
        start(client, "steady", "/bin/sleep", "600")
        ended = start(client, "ended", "/bin/sh", "-c", "exit 3")
        ended.wait(timeout=20)
        yield url, client
        for container in client.containers.list(all=True):
            container.remove(force=True)
        client.close()


def started(client: Any, name: str = "steady") -> str:
    return str(client.api.inspect_container(name)["State"]["StartedAt"])


def literally(*argv: str, **more: Any) -> dict[str, Any]:
    return {"argv": argv, "shape": argv, **more}


async def test_a_restart_starts_it_anew_and_a_preview_does_not(engine: tuple[str, Any]) -> None:
    url, client = engine
    before = started(client)
    params = {"container": "steady", "engine": url, "grace": 0}
    assert await preview(RESTART, **params) == "would restart container steady, which is running"
    assert started(client) == before
    result = await run(RESTART, **params)
    assert result.data["after"] == "running"
    assert result.data["started"] == started(client) != before


async def test_a_container_that_does_not_stay_up_is_a_failure(engine: tuple[str, Any]) -> None:
    url, client = engine
    before = started(client, "ended")
    said = ""
    for _ in range(5):  # it may be looked at before it has ended
        try:
            await run(RESTART, container="ended", engine=url, grace=0)
        except ActionFailed as error:
            said = str(error)
            break
    assert "does not stay up" in said
    assert started(client, "ended") != before


async def test_a_command_runs_as_a_list_of_words_without_a_shell(engine: tuple[str, Any]) -> None:
    url, client = engine
    words = ("/bin/echo", "; touch /tmp/x", "$(id)", "`id`", "a\nb", "*", "|", "> /tmp/y")
    assert "would run /bin/echo '; touch /tmp/x'" in await preview(
        EXEC, container="steady", engine=url, **literally(*words)
    )
    result = await run(EXEC, container="steady", engine=url, **literally(*words))
    assert result.data["exit_code"] == 0
    assert result.data["output"].rstrip("\n") == " ".join(words[1:])
    code, _ = client.containers.get("steady").exec_run(["/bin/sh", "-c", "[ -e /tmp/x -o -e /tmp/y ]"])
    assert code == 1


async def test_secrets_in_what_a_command_says_are_not_kept(engine: tuple[str, Any]) -> None:
    url, _ = engine
    result = await run(EXEC, container="steady", engine=url, **literally("/bin/echo", "password=hunter2made-up"))
    assert "hunter2" not in str(result)


async def test_another_exit_code_than_expected_is_a_failure(engine: tuple[str, Any]) -> None:
    url, _ = engine
    words = literally("/bin/sleep", "not-a-number")
    with pytest.raises(ActionFailed, match=r"ended with 1: .*invalid"):
        await run(EXEC, container="steady", engine=url, **words)
    assert (await run(EXEC, container="steady", engine=url, expect=1, **words)).data["exit_code"] == 1
    with pytest.raises(ActionFailed):
        await run(EXEC, container="steady", engine=url, **literally("/bin/nothing"))


@pytest.mark.parametrize("command", [("/bin/sleep", "600"), ("/bin/sh", "-c", "while :; do echo xxxxxxxx; done")])
async def test_a_command_that_does_not_end_is_given_up_on_and_not_known(
    engine: tuple[str, Any], command: tuple[str, ...]
) -> None:
    url, _ = engine
    began = time.monotonic()
    with pytest.raises(SourceTimeout, match="not known"):
        await run(EXEC, hands(timeout=4), container="steady", engine=url, **literally(*command))
    assert time.monotonic() - began < 30
    await run(RESTART, container="steady", engine=url, grace=0)


async def test_much_output_is_cut(engine: tuple[str, Any]) -> None:
    url, _ = engine
    script = "i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done"
    result = await run(EXEC, hands(timeout=20), container="steady", engine=url, **literally("/bin/sh", "-c", script))
    assert len(result.data["output"]) == 2000


@pytest.mark.parametrize("kind", [RESTART, EXEC])
async def test_what_is_not_there_is_refused_and_what_does_not_run_takes_no_command(
    engine: tuple[str, Any], kind: str
) -> None:
    url, client = engine
    words = literally("/bin/echo") if kind == EXEC else {}
    for go in (preview, run):
        with pytest.raises(SourceRejected, match="no such container"):
            await go(kind, container="nobody", engine=url, **words)
        if kind == EXEC:
            with pytest.raises(SourceRejected, match="does not run"):
                await go(kind, container="ended", engine=url, **words)
    assert len(client.containers.list(all=True)) == 2


@pytest.mark.parametrize("kind", [RESTART, EXEC])
async def test_an_engine_that_is_gone_is_unreachable(kind: str, tmp_path: Path) -> None:
    words = literally("/bin/echo") if kind == EXEC else {}
    for address in (f"unix://{tmp_path}/no.sock", "tcp://127.0.0.1:1"):
        for go in (preview, run):
            with pytest.raises(SourceUnreachable, match="not reachable"):
                await go(kind, hands(timeout=2), container="steady", engine=address, **words)


@pytest.mark.parametrize("name", ["../images/x", "a/b", "a?b=c", "a#b", "a b", "-a", ".", "..", "a%2fb", "a\n", ""])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    for kind, words in ((RESTART, {}), (EXEC, literally("/bin/echo"))):
        with pytest.raises(ValidationError):
            action(kind).parameters.model_validate({"container": name, **words})


@pytest.mark.parametrize(
    ("argv", "shape"),
    [
        (["redis-cli", "PING"], ["redis-cli"]),
        (["redis-cli"], ["redis-cli", "PING"]),
        (["redis-cli", "FLUSHALL"], ["redis-cli", "<PING|INFO>"]),
        (["kill", "1; rm"], ["kill", "<int>"]),
        (["cat", "/var/log/../../etc/passwd"], ["cat", "<path:/var/log/>"]),
        (["cat", "x"], ["cat", "<what>"]),
        ([], []),
        ("redis-cli PING", "redis-cli PING"),
    ],
)
def test_a_command_of_another_shape_is_refused_before_anything_runs(argv: Any, shape: Any) -> None:
    with pytest.raises(ValidationError):
        action(EXEC).parameters.model_validate({"container": "steady", "argv": argv, "shape": shape})


def test_a_command_says_of_itself_what_it_would_do() -> None:
    one = action(EXEC)
    for argv, wanted in ((("rm", "-rf", "/"), {ChangeClass.DELETES_DATA}), (("redis-cli", "PING"), set())):
        facts = one.facts(one.parameters.model_validate({"container": "c", **literally(*argv)}))
        assert (facts.classes, facts.idempotent, facts.touches) == (wanted, False, ("container c",))
    again = one.parameters.model_validate({"container": "c", **literally("x", repeatable=True)})
    assert one.facts(again).idempotent


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:20]))
async def test_hostile_texts_stay_texts(engine: tuple[str, Any], text: str) -> None:
    url, client = engine
    before = started(client)
    tries: list[tuple[str, dict[str, Any]]] = [
        (RESTART, {"container": text, "engine": url}),
        (RESTART, {"container": "steady", "engine": text}),
        (EXEC, {"container": text, "engine": url, **literally("/bin/echo")}),
        (EXEC, {"container": "steady", "engine": text, **literally("/bin/echo")}),
        (EXEC, {"container": "steady", "engine": url, "user": text, **literally("/bin/echo")}),
        (EXEC, {"container": "steady", "engine": url, "argv": ["/bin/echo", text], "shape": ["/bin/echo", "<word>"]}),
        (EXEC, {"container": "steady", "engine": url, **literally(text)}),
    ]
    for kind, params in tries:
        with pytest.raises((ValidationError, ActionFailed, SourceError)):
            await run(kind, hands(timeout=3), **params)
    try:
        said = await run(EXEC, container="steady", engine=url, **literally("/bin/echo", text))
        assert said.data["output"].startswith(text[:20])
    except (ValidationError, ActionFailed, SourceError):
        pass
    assert started(client) == before
