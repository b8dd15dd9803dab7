"""Noticing that files have changed, at rest and not before."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.config.watch import Watch, files_state
from tests.support.clock import FakeClock


class Folder:
    """What is looked at."""

    def __init__(self) -> None:
        self.now = self.known = "first"
        self.changes: list[str] = []

    async def look(self) -> str:
        """Return the state."""
        return self.now

    async def on_change(self) -> None:
        """Deal with a change."""
        self.changes.append(self.now)
        self.known = self.now


@contextlib.asynccontextmanager
async def watching(folder: Folder, clock: FakeClock) -> AsyncIterator[None]:
    """Run the watch in the body."""
    watch = Watch(
        folder.look,
        lambda: folder.known,
        folder.on_change,
        incomplete=lambda state: state == "missing",
        clock=clock,
    )
    task = asyncio.create_task(watch.run())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_change_is_dealt_with_once():
    """Within a second and a half, and not again while nothing changes."""
    folder, clock = Folder(), FakeClock()
    async with watching(folder, clock):
        await clock.advance(10)
        assert folder.changes == []
        folder.now = "second"
        await clock.advance(1.5)
        assert folder.changes == ["second"]
        await clock.advance(60)
        assert folder.changes == ["second"]


async def test_files_that_are_being_written():
    """Nothing happens before they are at rest; then they are read once."""
    folder, clock = Folder(), FakeClock()
    async with watching(folder, clock):
        for step in range(20):
            folder.now = f"half written {step}"
            await clock.advance(0.5)
        assert folder.changes == []
        folder.now = "whole"
        await clock.advance(1.5)
        assert folder.changes == ["whole"]


async def test_a_file_that_is_away_for_a_moment():
    """A missing file has time to come back; one that stays away is told."""
    folder, clock = Folder(), FakeClock()
    async with watching(folder, clock):
        folder.now = "missing"
        await clock.advance(2)
        folder.now = "second"
        await clock.advance(1.5)
        assert folder.changes == ["second"]
        folder.now = "missing"
        await clock.advance(4)
        assert folder.changes == ["second", "missing"]


async def test_what_was_changed_and_changed_back():
    """It is no change."""
    folder, clock = Folder(), FakeClock()
    async with watching(folder, clock):
        folder.now = "second"
        await clock.advance(0.5)
        folder.now = "first"
        await clock.advance(10)
        assert folder.changes == []


@pytest.mark.parametrize("how", ["write", "replace", "add", "remove", "rename", "switch"])
def test_each_way_to_change_files_is_seen(tmp_path: Path, how: str):
    """Written in place, replaced as editors do, added, removed, renamed; a link switched as in a ConfigMap."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.hcl").write_text("same")
    (tmp_path / "data").symlink_to("v1")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.hcl").symlink_to("../data/a.hcl")
    (folder / "b.hcl").write_text("one")
    (folder / "c.txt").write_text("one")
    before = files_state([folder])
    assert [Path(path).name for path, _ in before] == ["a.hcl", "b.hcl"]
    (folder / "c.txt").write_text("other")
    assert files_state([folder]) == before
    match how:
        case "write":
            (folder / "b.hcl").write_text("two")
        case "replace":
            (folder / "new").write_text("one")
            (folder / "new").replace(folder / "b.hcl")
        case "add":
            (folder / "d.hcl").write_text("")
        case "remove":
            (folder / "b.hcl").unlink()
        case "rename":
            (folder / "b.hcl").rename(folder / "e.hcl")
        case "switch":
            (tmp_path / "new").symlink_to("v2")
            (tmp_path / "new").replace(tmp_path / "data")
    assert files_state([folder]) != before


def test_a_file_that_is_missing(tmp_path: Path):
    """It has a state of its own."""
    assert files_state([tmp_path / "none.hcl"]) == ((str(tmp_path / "none.hcl"), None),)
