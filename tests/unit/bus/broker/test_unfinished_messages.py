"""Who is taken for a sender that never finishes a message, and who is not."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

from bridge.bus.broker import unfinished_messages
from bridge.bus.broker.unfinished_messages import UnfinishedMessages
from bridge.bus.rejection import Reason
from tests.support.wait import until

_MB = 1 << 20


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks come close together."""
    monkeypatch.setattr(unfinished_messages, "PERIOD", 0.002)


class Sender:
    """One TCP connection, and a watch on its receiving side."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.client = socket.create_connection(server.getsockname())
            self.accepted = server.accept()[0]
        self.client.settimeout(5)
        self.suspects: set[int] = set()
        self.told: list[tuple[Reason, str]] = []
        self.looks = 0
        self.watch = UnfinishedMessages(
            self._look, self.suspects, lambda reason, detail: self.told.append((reason, detail)), bound=3 * _MB
        )

    def _look(self) -> dict[int, socket.socket]:
        self.looks += 1
        return {9: self.accepted}

    async def looked_at(self) -> None:
        """Wait for three looks."""
        enough = self.looks + 3
        await until(lambda: self.looks >= enough, "looks")

    async def say(self, size: int) -> None:
        """Send so many bytes, which are taken at once."""
        sending = asyncio.to_thread(self.client.sendall, bytes(size))
        task = asyncio.create_task(sending)
        await asyncio.to_thread(self.accepted.recv, size, socket.MSG_WAITALL)
        await task


@pytest.fixture
def sender() -> Iterator[Sender]:
    """A connection."""
    made = Sender()
    yield made
    made.watch.stop()
    made.client.close()
    made.accepted.close()


async def test_one_that_goes_on_and_on(sender: Sender) -> None:
    """However slowly: it is cut once, and told of once."""
    sender.watch.start()
    with contextlib.suppress(OSError):
        for _ in range(1000):
            await sender.say(_MB // 8)
            await asyncio.sleep(0.001)
    await until(lambda: bool(sender.told), "the cut")
    assert sender.told == [(Reason.CUT, "a client at 127.0.0.1 was disconnected: 3 MiB and no end of a message")]


async def test_one_that_ends_its_messages(sender: Sender) -> None:
    """Whose messages come out again and again is left alone, whatever their sum."""
    sender.watch.start()
    for _ in range(6):
        await sender.say(2 * _MB)
        await sender.looked_at()
        sender.suspects.clear()
        await sender.looked_at()
    assert sender.told == []


async def test_one_that_rests(sender: Sender) -> None:
    """What came before the first look says nothing, and what does not grow may be at its end."""
    await sender.say(8 * _MB)
    sender.watch.start()
    await sender.looked_at()
    assert sender.suspects == set()
    await sender.say(2 * _MB)
    await until(lambda: bool(sender.suspects), "suspicion")
    await sender.looked_at()
    assert sender.told == []
