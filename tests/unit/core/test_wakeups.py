"""When a source of messages is read at once, and when in intervals."""

import asyncio
from types import SimpleNamespace

import pytest

from bridge.core import wakeups
from bridge.core.wakeups import INTERVAL, Wakeups


class Source:
    """Readings of a source, one after the other.

    Attributes:
        watched: Whether it is read whenever there is something.
        intervals: How often it was to be read after an interval.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.watched = True
        self.intervals = 0
        self.wakeups = Wakeups(ignore=lambda: self._is(False), read=self._count, watch=lambda: self._is(True))
        self._now = 100.0
        monkeypatch.setattr(wakeups, "time", SimpleNamespace(monotonic=lambda: self._now))

    def _is(self, watched: bool) -> None:
        assert self.watched is not watched
        self.watched = watched

    def _count(self) -> None:
        self.intervals += 1

    def read(self, *counts: int, every: float) -> bool:
        """Read so many messages each time, so many seconds apart; return whether the source is watched then."""
        for count in counts:
            self._now += every
            self.wakeups.has_read(count)
        return self.watched


async def test_messages_that_come_often_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand messages a second, one by one, are read in intervals; as long as an interval has some."""
    source = Source(monkeypatch)
    assert source.read(*[1] * 10, every=0.001)
    assert not source.read(*[1] * 10, every=0.001)
    assert not source.read(*[4] * 100, every=INTERVAL)
    assert source.read(*[1] * 10, every=INTERVAL)
    await asyncio.sleep(2 * INTERVAL)
    assert not source.intervals


async def test_it_is_read_after_each_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """One reading leads to the next, an interval later, and to none after the end."""
    source = Source(monkeypatch)
    source.read(*[1] * 17, every=0.001)
    await asyncio.sleep(3 * INTERVAL)
    assert source.intervals == 1
    source.read(4, every=INTERVAL)
    await asyncio.sleep(3 * INTERVAL)
    assert source.intervals == 2
    source.read(4, every=INTERVAL)
    assert not source.wakeups.close()
    await asyncio.sleep(3 * INTERVAL)
    assert source.intervals == 2


async def test_messages_that_come_seldom_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred a second are read one by one, also where two of them come together now and then."""
    source = Source(monkeypatch)
    assert source.read(*[1, 2, 1] * 100, every=0.01)
    for _ in range(100):
        source.read(1, every=0.01)
        assert source.read(1, 1, every=0.001)
    assert source.wakeups.close()


async def test_a_flood_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each reading has many messages, there is nothing to save."""
    assert Source(monkeypatch).read(*[200] * 100, every=0.001)


async def test_one_at_a_time_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends the next message when the last one has had an effect waits for a few intervals, and not for each."""
    source = Source(monkeypatch)
    assert not source.read(*[2] * 17, every=0.0005)
    assert source.read(*[2] * 4, every=INTERVAL)


async def test_who_waits_for_an_answer_does_not_wait_for_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """One message that somebody waits for ends the intervals, and they begin only when none has come for a while."""
    source = Source(monkeypatch)
    assert not source.read(*[1] * 18, every=0.001)
    source.wakeups.hurry()
    assert source.read(4, every=INTERVAL)
    assert source.read(*[1] * 10, every=0.001)
    for _ in range(100):
        source.wakeups.hurry()
        assert source.read(1, every=0.0004)
