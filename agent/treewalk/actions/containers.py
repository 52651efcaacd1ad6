"""Containers behind the Docker API: restart one, run one reviewed command inside one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from treewalk.actions.commands import classes_of, matches
from treewalk.actions.parameters import ContainerName, Name, OptionalAddress, shown
from treewalk.errors import ActionFailed, SourceRejected, SourceTimeout, SourceUnreachable
from treewalk.model.acting import ActionFacts, ActionResult, Autonomy
from treewalk.model.redact import redact
from treewalk.ports import Hands

_READ = 64 * 1024  # bytes of a command's output that are read
_MOST = 2000  # characters of a command's output that are kept


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("an argument cannot hold a NUL character")
    return text


Argument = Annotated[str, Field(max_length=4096), AfterValidator(_no_nul)]


class RestartParameters(BaseModel):
    """`engine` is the Docker API's address (default: from the environment); `grace` seconds until it is killed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    container: ContainerName
    engine: OptionalAddress = None
    grace: int = Field(default=10, ge=0, le=600)


class ContainerRestart:
    """Restart one container."""

    kind: ClassVar[str] = "container_restart"
    tier: ClassVar[Autonomy] = Autonomy.ASK
    idempotent: ClassVar[bool] = False
    reversible: ClassVar[bool] = False
    parameters: ClassVar[type[BaseModel]] = RestartParameters

    def facts(self, params: RestartParameters) -> ActionFacts:
        """It touches one container."""
        touches = (f"container {params.container}",)
        return ActionFacts(self.kind, self.tier, self.idempotent, self.reversible, touches=touches)

    async def preview(self, params: RestartParameters, hands: Hands) -> str:
        """The state that the container is in now. Raises SourceError when it or its engine is not there."""
        return await asyncio.to_thread(self._preview, params, hands)

    async def run(self, params: RestartParameters, hands: Hands) -> ActionResult:
        """Restart it and look at its state. Raises ActionFailed, SourceError."""
        return await asyncio.to_thread(self._run, params, hands)

    def _preview(self, params: RestartParameters, hands: Hands) -> str:
        with _engine(params.engine, hands) as client:
            state = client.api.inspect_container(params.container)["State"]
            return f"would restart container {params.container}, which is {state['Status']}"

    def _run(self, params: RestartParameters, hands: Hands) -> ActionResult:
        with _engine(params.engine, hands, grace=params.grace) as client:
            before = client.api.inspect_container(params.container)["State"]
            with _changing(f"container {params.container}"):
                client.api.restart(params.container, timeout=params.grace)
            after = client.api.inspect_container(params.container)["State"]
        data = {"before": before["Status"], "after": after["Status"], "started": after.get("StartedAt")}
        if not after.get("Running"):
            raise ActionFailed(f"container {params.container} does not stay up: it is {after['Status']}")
        return ActionResult(f"restarted container {params.container}, which was {before['Status']}", data)


class ExecParameters(BaseModel):
    """`argv` is run as it stands, without a shell, and has to match `shape`: a list of words and patterns
    (`<int>`, `<word>`, `<duration>`, `<path:/var/log/>`, `<a|b>`) declared where a human reviews it, and no
    template."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    container: ContainerName
    argv: tuple[Argument, ...] = Field(min_length=1, max_length=64)
    shape: tuple[Argument, ...] = Field(min_length=1, max_length=64)
    engine: OptionalAddress = None
    user: Name | None = None
    expect: int = Field(default=0, ge=0, le=255)
    repeatable: bool = False

    @model_validator(mode="after")
    def _fits(self) -> ExecParameters:
        if not matches(self.argv, self.shape):
            raise ValueError(f"the command {list(self.argv)} does not have the declared shape {list(self.shape)}")
        return self


class DockerExec:
    """Run one command inside a running container. Deleting, granting, stopping and shells are never allowed.

    Of clients that can destroy data (redis-cli, psql, rabbitmqctl, cp, …) only what is known to be harmless is."""

    kind: ClassVar[str] = "docker_exec"
    tier: ClassVar[Autonomy] = Autonomy.KNOWN
    idempotent: ClassVar[bool] = False
    reversible: ClassVar[bool] = False
    parameters: ClassVar[type[BaseModel]] = ExecParameters

    def facts(self, params: ExecParameters) -> ActionFacts:
        """It touches one container, in whatever way its words say; it runs twice only where it says `repeatable`."""
        return ActionFacts(
            self.kind,
            self.tier,
            params.repeatable,
            self.reversible,
            touches=(f"container {params.container}",),
            classes=classes_of(params.argv),
        )

    async def preview(self, params: ExecParameters, hands: Hands) -> str:
        """The command, and that its container runs. Raises SourceError."""
        return await asyncio.to_thread(self._preview, params, hands)

    async def run(self, params: ExecParameters, hands: Hands) -> ActionResult:
        """Run it. Raises ActionFailed for another exit code than expected, SourceError."""
        return await asyncio.to_thread(self._run, params, hands)

    def _preview(self, params: ExecParameters, hands: Hands) -> str:
        with _engine(params.engine, hands) as client:
            _need_running(client, params.container)
            return f"would run {_command(params.argv)} in container {params.container}"

    def _run(self, params: ExecParameters, hands: Hands) -> ActionResult:
        with _engine(params.engine, hands) as client:
            _need_running(client, params.container)
            with _changing(f"container {params.container}"):
                made = client.api.exec_create(params.container, list(params.argv), user=params.user or "")
                output = _output(client.api.exec_start(made["Id"], stream=True), hands.timeout)
                found = client.api.exec_inspect(made["Id"])
            code = found["ExitCode"]
            if output is None or found.get("Running") or code is None:
                message = f"{_command(params.argv)} in {params.container} did not end in time; the outcome is not known"
                raise SourceTimeout(message)
        said = redact(output.decode("utf-8", "replace"))[:_MOST]
        if code != params.expect:
            last = said.strip().splitlines()[-1][:200] if said.strip() else "it said nothing"
            raise ActionFailed(f"{_command(params.argv)} in {params.container} ended with {code}: {last}")
        summary = f"ran {_command(params.argv)} in container {params.container}"
        return ActionResult(summary, {"exit_code": code, "output": said})


def _output(stream: Any, seconds: float) -> bytes | None:
    """The beginning of what a command says, once it has ended; None when it has not by then.

    The SDK waits for ever for a command that says nothing: only closing the stream from outside ends that.
    """
    late, held = threading.Event(), b""

    def give_up() -> None:
        late.set()
        with suppress(Exception):  # it has ended in this very moment
            stream.close()

    timer = threading.Timer(seconds, give_up)
    timer.start()
    try:
        for part in stream:
            held += part[: _READ - len(held)]
    finally:
        timer.cancel()
    return None if late.is_set() else held


def _command(argv: Sequence[str]) -> str:
    import shlex

    return redact(shlex.join(argv))[:300]


def _need_running(client: Any, name: str) -> None:
    state = client.api.inspect_container(name)["State"]
    if not state.get("Running"):
        raise SourceRejected(f"container {name} does not run: it is {state.get('Status')}")


@contextmanager
def _engine(address: str | None, hands: Hands, grace: float = 0.0) -> Iterator[Any]:
    """A client of the engine; before anything is changed every failure means that nothing was."""
    import docker
    import requests

    timeout = max(1, int(hands.timeout + grace))
    try:
        if address:
            client = docker.DockerClient(base_url=hands.resolve(address), timeout=timeout)
        else:
            client = docker.from_env(timeout=timeout)
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise SourceUnreachable(f"the container engine is not reachable ({type(error).__name__})") from None
    except ValueError:
        raise SourceRejected(f"{shown(address or 'DOCKER_HOST')} is not an address of a container engine") from None
    try:
        yield client
    except docker.errors.NotFound as error:
        raise SourceRejected(f"there is no such container: {_told(error)}") from None
    except docker.errors.APIError as error:
        raise SourceRejected(f"the container engine refused: {_told(error)}") from None
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise SourceUnreachable(f"the container engine is not reachable ({type(error).__name__})") from None
    finally:
        client.close()


@contextmanager
def _changing(what: str) -> Iterator[None]:
    """Around what changes something: a refusal is a failure, silence is an outcome that nobody knows."""
    import docker
    import requests

    try:
        yield
    except docker.errors.APIError as error:
        raise ActionFailed(f"{what}: the container engine refused: {_told(error)}") from None
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
        message = f"{what}: no answer from the container engine ({type(error).__name__}); the outcome is not known"
        raise SourceTimeout(message) from None


def _told(error: Any) -> str:
    return redact(str(getattr(error, "explanation", None) or error))[:200]
