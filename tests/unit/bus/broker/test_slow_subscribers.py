"""Subscribers that read nothing while large messages pass are disconnected, and no others."""

import socket
import sys
from collections.abc import Iterator

import pytest

from bridge.bus import Reason
from bridge.bus.broker.slow_subscribers import BOUND, PATIENCE, SlowSubscribers
from tests.support.clock import FakeClock

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel does not tell what is unsent")

MIB = 1 << 20


class Subscriber:
    """One connection on which something is unsent, its other end, and the check of it."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.send(b"x" * 4096)
        self.clock = FakeClock()
        self.reports: list[Reason] = []
        self.check = SlowSubscribers(lambda: [self.ours], lambda reason, _: self.reports.append(reason), self.clock)

    async def pass_by(self, size: int) -> None:
        """Let large messages of so many bytes in all pass, a MiB each, in more than `PATIENCE`."""
        for _ in range(size // MIB):
            self.check.passed(MIB)
        await self.clock.advance(PATIENCE)


@pytest.fixture
def subscriber() -> Iterator[Subscriber]:
    """A subscriber."""
    made = Subscriber()
    with made.ours, made.theirs:
        yield made


async def test_one_that_reads_nothing(subscriber: Subscriber) -> None:
    """It is disconnected, and reported once, when as many bytes have passed as may wait for it."""
    await subscriber.pass_by(BOUND)
    assert subscriber.reports == []
    await subscriber.pass_by(BOUND // 8)
    assert subscriber.reports == [Reason.STUCK]
    assert subscriber.theirs.recv(8192) == b"x" * 4096
    assert subscriber.theirs.recv(1) == b""


async def test_one_that_reads_something(subscriber: Subscriber) -> None:
    """It stays connected if it reads now and then, however much passes."""
    for number in range(1, 9):
        await subscriber.pass_by(BOUND // 2)
        subscriber.theirs.recv(65_536)
        subscriber.ours.send(b"x" * (10_000 * number))
    assert subscriber.reports == []


async def test_one_that_has_read_everything(subscriber: Subscriber) -> None:
    """It stays connected where nothing is unsent."""
    subscriber.theirs.recv(8192)
    await subscriber.pass_by(3 * BOUND)
    await subscriber.pass_by(BOUND)
    assert subscriber.reports == []


async def test_much_in_a_moment(subscriber: Subscriber) -> None:
    """However much passes in a moment, a busy machine has time to read something."""
    subscriber.check.passed(3 * BOUND)
    await subscriber.clock.advance(PATIENCE / 2)
    subscriber.check.passed(3 * BOUND)
    assert subscriber.reports == []
