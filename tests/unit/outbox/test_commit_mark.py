"""What SQLite does not tell: committed transactions that are gone after a crash."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bridge.core.payloads import OutboxLoss
from bridge.outbox.commit_mark import CommitMark, Mark
from tests.support.guard.outbox import OutboxHarness

_FILES = ("outbox.db", "outbox.db-wal", "outbox.db.mark")


async def _killed(folder: Path, *, shortened: bool = True) -> None:
    """Leave the files of an outbox that was killed after 5 events; the first 2 are in the database, unless all are new.

    Only what was written counts: the files are copied while the outbox is open.
    """
    box = OutboxHarness(folder / "before")
    await box.open()
    box.api.usable = False
    for number in range(1, 6):
        box.accept(number, key=None)
        await box.settle()
        if number == 2 and shortened:
            box.store.shorten_log()
    (folder / "data").mkdir(mode=0o700)
    for name in _FILES:
        shutil.copy(folder / "before" / name, folder / "data" / name)
    await box.outbox.close()


def _gone(data: Path) -> None:
    (data / "outbox.db-wal").unlink()


def _cut(data: Path) -> None:
    log = data / "outbox.db-wal"
    log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])


def _damaged(data: Path) -> None:
    log = data / "outbox.db-wal"
    log.write_bytes(bytes(log.stat().st_size))


@pytest.mark.parametrize("harm", [_gone, _cut, _damaged])
async def test_a_log_that_is_gone_or_cut_is_told_once(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    """The log, health and an event say how much is missing; what is there is delivered; the next start says nothing."""
    await _killed(tmp_path)
    harm(tmp_path / "data")
    box = OutboxHarness(tmp_path / "data")
    with capture_logs() as logs:
        await box.open()
    loss = box.outbox.loss
    assert loss is not None
    assert (loss.replaced, loss.commits) == (False, loss.entries)
    assert box.pending == 5 - loss.entries
    assert 0 < loss.entries <= 3
    told = f"{loss.commits} commits of an earlier run are missing, with {loss.entries} accepted events"
    assert [told in line.get("missing", "") for line in logs if line["log_level"] == "warning"] == [True]
    counts = box.outbox.counts()
    assert counts.missing is not None
    assert counts.missing.startswith(told)
    assert counts.problem is None
    await box.restart()
    assert (box.outbox.loss, box.outbox.counts().missing) == (None, None)
    await box.outbox.close()


async def test_a_kill_alone_loses_nothing(tmp_path: Path) -> None:
    """With all files as they were nothing is missing, and nothing is told."""
    await _killed(tmp_path)
    box = OutboxHarness(tmp_path / "data")
    await box.open()
    assert (box.pending, box.outbox.loss) == (5, None)
    await box.outbox.close()


@pytest.mark.parametrize("shortened", [True, False])
async def test_a_database_that_is_gone_is_told(tmp_path: Path, shortened: bool) -> None:
    """Where another one is in its place, all of the former is missing; no sequence number is given a second time."""
    await _killed(tmp_path, shortened=shortened)
    (tmp_path / "data" / "outbox.db-wal").unlink()
    if shortened:
        (tmp_path / "data" / "outbox.db").unlink()
    box = OutboxHarness(tmp_path / "data")
    await box.open()
    assert box.outbox.loss == OutboxLoss(commits=6, entries=5, replaced=True)
    box.api.usable = False
    box.accept(1)
    await box.settle()
    (seq,) = box.store.execute("SELECT seq FROM entry").fetchone()
    assert seq > 5
    await box.outbox.close()


async def test_without_the_mark_nothing_is_claimed(tmp_path: Path) -> None:
    """A mark that is gone, cut or no mark at all, as after an upgrade, is no loss."""
    for content in (None, b"", b"nemomark", bytes(60)):
        folder = tmp_path / str(content)[:8].replace("/", "")
        folder.mkdir()
        await _killed(folder)
        mark = folder / "data" / "outbox.db.mark"
        mark.unlink()
        if content is not None:
            mark.write_bytes(content)
        box = OutboxHarness(folder / "data")
        await box.open()
        assert (box.pending, box.outbox.loss) == (5, None)
        await box.outbox.close()


def test_a_mark_that_cannot_be_written_remembers_nothing(tmp_path: Path) -> None:
    """A folder in its place, for example, does no harm."""
    (tmp_path / "mark").mkdir()
    mark = CommitMark(tmp_path / "mark")
    mark.write(Mark(bytes(16), 1, 1, 1))
    assert mark.read() is None
    mark.close()
