"""Rolling a configuration file back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from treewalk.actions import action
from treewalk.errors import ActionFailed, SourceError, SourceRejected

from tests.support.actions import preview, run
from tests.support.hostile import HOSTILE

KIND = "file_rollback"


@pytest.fixture
def params(tmp_path: Path) -> dict[str, Any]:
    inside = tmp_path / "etc"
    inside.mkdir()
    (inside / "app.conf").write_text("broken")
    (inside / "app.conf").chmod(0o640)
    (inside / "app.good").write_text("works")
    (tmp_path / "outside").write_text("secret")
    return {"path": str(inside / "app.conf"), "good": str(inside / "app.good"), "within": [str(inside)]}


def contents(folder: str) -> dict[str, str]:
    return {p.name: p.read_text() for p in Path(folder).iterdir() if p.is_file()}


async def test_the_good_copy_takes_the_place_with_the_mode_kept_and_undo_puts_back(params: dict[str, Any]) -> None:
    [folder] = params["within"]
    before = contents(folder)
    assert "(6 bytes) by" in await preview(KIND, **params)
    assert contents(folder) == before
    result = await run(KIND, **params)
    assert Path(params["path"]).read_text() == "works"
    assert Path(params["path"]).stat().st_mode & 0o777 == 0o640
    assert result.undo is not None
    undo = dict(result.undo)
    assert Path(undo["good"]).read_text() == "broken"
    assert Path(undo["good"]).stat().st_mode & 0o777 == 0o640
    await run(undo.pop("action"), **undo)
    assert Path(params["path"]).read_text() == "broken"
    assert not [name for name in contents(folder) if name.startswith(".")]


async def test_nothing_is_changed_when_it_is_the_good_copy_already(params: dict[str, Any]) -> None:
    Path(params["path"]).write_text("works")
    before = Path(params["path"]).stat()
    assert "change nothing" in await preview(KIND, **params)
    result = await run(KIND, **params)
    assert (result.data, result.undo) == ({"changed": False}, None)
    assert Path(params["path"]).stat() == before
    assert set(contents(params["within"][0])) == {"app.conf", "app.good"}


async def test_a_reader_sees_the_old_or_the_new_file_whole(params: dict[str, Any]) -> None:
    with Path(params["path"]).open() as opened_before:
        await run(KIND, **params)
        assert opened_before.read() == "broken"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
async def test_the_owner_stays(params: dict[str, Any]) -> None:
    os.chown(params["path"], 65534, 65534)
    result = await run(KIND, **params)
    assert result.undo is not None
    for path in (params["path"], result.undo["good"]):
        assert (os.stat(path).st_uid, os.stat(path).st_gid) == (65534, 65534)


async def test_behind_a_link_the_file_is_replaced_and_the_link_stays(params: dict[str, Any], tmp_path: Path) -> None:
    inside = tmp_path / "etc"
    (inside / "available").mkdir()
    (inside / "app.conf").rename(inside / "available" / "app.conf")
    (inside / "app.conf").symlink_to("available/app.conf")
    result = await run(KIND, **params)
    assert (inside / "app.conf").is_symlink()
    assert (inside / "available" / "app.conf").read_text() == "works"
    undo = dict(result.undo or {})
    await run(undo.pop("action"), **undo)
    assert (inside / "available" / "app.conf").read_text() == "broken"


async def test_a_link_that_leads_out_is_refused(params: dict[str, Any], tmp_path: Path) -> None:
    inside = tmp_path / "etc"
    (inside / "out.conf").symlink_to(tmp_path / "outside")
    (inside / "loop").symlink_to(inside / "loop")
    (inside / "folder").symlink_to(tmp_path)
    (tmp_path / "back").symlink_to(inside / "app.good")
    for name in ("out.conf", "loop", "folder/outside", "folder/back"):
        for wrong in ({"path": str(inside / name)}, {"good": str(inside / name)}):
            for go in (preview, run):
                with pytest.raises(SourceRejected):
                    await go(KIND, **{**params, **wrong})
    assert (tmp_path / "outside").read_text() == "secret"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back", "etc", "outside"]


@pytest.mark.parametrize("name", ["../outside", "./../etc/../../outside", "a/../../outside"])
def test_a_detour_is_refused_before_anything_is_looked_at(params: dict[str, Any], name: str) -> None:
    for field in ("path", "good"):
        with pytest.raises(ValidationError, match=r"absolute path without '\.\.'"):
            action(KIND).parameters.model_validate({**params, field: f"{params['within'][0]}/{name}"})
    for wrong in ("app.conf", "/etc/passwd", params["within"][0], params["within"][0] + "x/app.conf"):
        with pytest.raises(ValidationError):
            action(KIND).parameters.model_validate({**params, "path": wrong})
    with pytest.raises(ValidationError):
        action(KIND).parameters.model_validate({**params, "within": []})


async def test_what_is_no_file_or_too_large_is_refused(params: dict[str, Any], tmp_path: Path) -> None:
    inside = tmp_path / "etc"
    os.mkfifo(inside / "pipe")
    (inside / "folder").mkdir()
    with (inside / "large").open("wb") as large:
        large.truncate(10_000_001)
    for name in ("pipe", "folder", "large", "missing", "app.conf/x", "x" * 300):
        with pytest.raises(SourceRejected):
            await run(KIND, **{**params, "good": str(inside / name)})
    assert (inside / "app.conf").read_text() == "broken"


async def test_a_disk_that_does_not_take_it_leaves_the_file_as_it_was(
    params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ActionFailed, match="No space left on device"):
        await run(KIND, **params)
    assert contents(params["within"][0]) == {"app.conf": "broken", "app.good": "works"}


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:20]))
async def test_hostile_texts_stay_texts(params: dict[str, Any], text: str) -> None:
    [folder] = params["within"]
    for name, value in (("path", text), ("good", text), ("within", [text]), ("good", f"{folder}/{text}")):
        with pytest.raises((ValidationError, ActionFailed, SourceError)):
            await run(KIND, **{**params, name: value})
    assert contents(folder) == {"app.conf": "broken", "app.good": "works"}
