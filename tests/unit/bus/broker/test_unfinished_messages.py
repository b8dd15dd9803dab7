"""Senders that never finish a message are disconnected, and no others."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

from bridge.bus.broker.unfinished_messages import PERIOD, UnfinishedMessages
from bridge.bus.rejection import Reason
from tests.support.clock import FakeClock

_MB = 1 << 20


class Sender:
    """One TCP connection, and the check of its receiving side."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.client = socket.create_connection(server.getsockname())
            self.accepted = server.accept()[0]
        self.client.settimeout(5)
        self.clock = FakeClock()
        self.suspects: set[int] = set()
        self.reports: list[tuple[Reason, str]] = []
        self.check = UnfinishedMessages(
            lambda: {9: self.accepted},
            self.suspects,
            lambda reason, detail: self.reports.append((reason, detail)),
            self.clock,
            bound=3 * _MB,
        )

    async def checked(self, times: int = 1) -> None:
        """Let so many checks happen."""
        await self.clock.advance(times * PERIOD)

    async def send(self, size: int) -> None:
        """Send so many bytes, which are read at once."""
        sending = asyncio.create_task(asyncio.to_thread(self.client.sendall, bytes(size)))
        await asyncio.to_thread(self.accepted.recv, size, socket.MSG_WAITALL)
        await sending


@pytest.fixture
def sender() -> Iterator[Sender]:
    """A connection."""
    made = Sender()
    yield made
    made.check.stop()
    assert made.clock.timers == 0
    made.client.close()
    made.accepted.close()


async def test_a_message_without_end(sender: Sender) -> None:
    """However slowly the bytes come, their sender is disconnected once they are too many, and reported once."""
    sender.check.start()
    with contextlib.suppress(OSError):
        for _ in range(100):
            await sender.send(_MB // 8)
            await sender.checked()
    await sender.checked(3)
    assert sender.reports == [(Reason.CUT, "a client at 127.0.0.1 was disconnected: 3 MiB and no end of a message")]


async def test_messages_that_end(sender: Sender) -> None:
    """A sender whose messages are complete again and again stays connected, however many bytes they are in all."""
    sender.check.start()
    await sender.checked()
    for _ in range(6):
        await sender.send(2 * _MB)
        await sender.checked()
        assert sender.suspects == {9}
        sender.suspects.clear()
        await sender.checked()
    assert sender.reports == []


async def test_a_message_that_pauses(sender: Sender) -> None:
    """Bytes from before the first check do not count, and a message that does not grow may be complete soon."""
    await sender.send(8 * _MB)
    sender.check.start()
    await sender.checked(3)
    assert sender.suspects == set()
    await sender.send(2 * _MB)
    await sender.checked(10)
    assert sender.suspects == {9}
    assert sender.reports == []
