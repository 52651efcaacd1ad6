"""Configuration files: back to the last copy that is known to be good."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from treewalk.actions.parameters import Name
from treewalk.errors import ActionFailed, SourceRejected
from treewalk.model.acting import ActionFacts, ActionResult, Autonomy
from treewalk.ports import Hands

_LARGEST = 10_000_000  # bytes


class RollBackParameters(BaseModel):
    """`path` is the file, `good` its last good copy; both are absolute and lie below `within`, which is no
    template; left out, `policy.allow.folders` counts. The file that was
    replaced is kept beside it as `<name>.before-<digest>`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Name
    good: Name
    within: tuple[Name, ...] = Field(min_length=1, max_length=20)

    @model_validator(mode="after")
    def _inside(self) -> RollBackParameters:
        for text in (self.path, self.good):
            path = Path(text)
            if not path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{text} has to be an absolute path without '..'")
            if not any(Path(folder) in path.parents for folder in self.within):
                raise ValueError(f"{text} does not lie below {', '.join(self.within)}")
        return self


class RollBack:
    """Put the last good copy of a configuration file in its place, at once or not at all."""

    kind: ClassVar[str] = "file_rollback"
    tier: ClassVar[Autonomy] = Autonomy.ASK
    idempotent: ClassVar[bool] = True
    reversible: ClassVar[bool] = True
    parameters: ClassVar[type[BaseModel]] = RollBackParameters

    def facts(self, params: RollBackParameters) -> ActionFacts:
        """It touches one file."""
        touches = (f"file {params.path}",)
        return ActionFacts(self.kind, self.tier, self.idempotent, self.reversible, touches=touches)

    async def preview(self, params: RollBackParameters, hands: Hands) -> str:
        """Whether the two differ, and by how much. Raises SourceRejected when one cannot be read."""
        now, good = await asyncio.to_thread(_both, params)
        if now == good:
            return f"would change nothing: {params.path} is the good copy already"
        return f"would replace {params.path} ({len(now)} bytes) by {params.good} ({len(good)} bytes)"

    async def run(self, params: RollBackParameters, hands: Hands) -> ActionResult:
        """Replace it. Raises ActionFailed when it could not be written; the file is then as it was."""
        return await asyncio.to_thread(_roll_back, params)


def _roll_back(params: RollBackParameters) -> ActionResult:
    now, good = _both(params)
    if now == good:
        return ActionResult(f"{params.path} is the good copy already", {"changed": False})
    path = Path(params.path)
    real = path.resolve()  # behind a link it is the file that is replaced, not the link
    kept = path.with_name(f"{path.name}.before-{hashlib.sha256(now).hexdigest()[:12]}")
    try:
        before = real.stat()
        _write(kept, now, before)
        _write(real, good, before)
    except OSError as error:
        raise ActionFailed(f"{params.path} could not be replaced: {error.strerror}") from None
    undo = {"action": RollBack.kind, "path": params.path, "good": str(kept), "within": list(params.within)}
    return ActionResult(f"replaced {params.path} by {params.good}; before: {kept.name}", {"changed": True}, undo)


def _both(params: RollBackParameters) -> tuple[bytes, bytes]:
    """What the file holds now, and its good copy. Links that lead out of the allowed folders are refused."""
    return _read(params.path, params.within), _read(params.good, params.within)


def _read(text: str, within: tuple[str, ...]) -> bytes:
    path = Path(text)
    try:
        real = path.resolve(strict=True)
        beside = path.parent.resolve(strict=True) / path.name
        folders = [Path(folder).resolve() for folder in within]
        if not all(any(folder in one.parents for folder in folders) for one in (real, beside)):
            raise SourceRejected(f"{text} leads out of {', '.join(within)}")
        if not real.is_file():
            raise SourceRejected(f"{text} is not a file")
        if real.stat().st_size > _LARGEST:
            raise SourceRejected(f"{text} is larger than a configuration file is")
        return real.read_bytes()
    except RuntimeError:  # before Python 3.13, a link that leads to itself
        raise SourceRejected(f"{text} is a link that leads to itself") from None
    except OSError as error:
        raise SourceRejected(f"{text} cannot be read: {error.strerror}") from None


def _write(path: Path, data: bytes, like: os.stat_result) -> None:
    """The whole file or nothing: a new file beside it, synced, then renamed over it, with that mode and owner."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        made = os.stat(temporary)
        if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
            os.chown(temporary, like.st_uid, like.st_gid)
        os.chmod(temporary, stat.S_IMODE(like.st_mode))
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
