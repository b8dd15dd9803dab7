"""How messages of channels wait for the bus."""

import asyncio
from typing import Any

import pytest

from bridge.adapters._common.content import Codec
from bridge.adapters.redis import pubsub as module
from bridge.adapters.redis.pubsub import PubSub
from bridge.core.errors import BridgeError, ConnectionLostError
from bridge.core.model import Inbound
from bridge.core.ports import AckDecision


class Server:
    """The connection: each command is confirmed, unless it is held back."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, ...]] = []
        self.confirm = True
        self.replies: list[asyncio.Future[Any]] = []

    def call(self, *command: str) -> asyncio.Future[Any]:
        """See `Connection.call`."""
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.commands.append(command)
        self.replies.append(reply)
        if self.confirm:
            reply.set_result([])
        return reply

    send_and_forget = call


class Bus:
    """Takes messages while it has room."""

    def __init__(self) -> None:
        self.room = asyncio.Event()
        self.room.set()
        self.got: list[Inbound] = []

    def __call__(self, message: Inbound) -> Any:
        """See `ports.Deliver`."""
        if self.room.is_set():
            self.got.append(message)
            return AckDecision.ACK
        return self._wait(message)

    async def _wait(self, message: Inbound) -> AckDecision:
        await self.room.wait()
        self.got.append(message)
        return AckDecision.ACK

    @property
    def messages(self) -> list[Any]:
        return [one.message for one in self.got]


def message(number: int, channel: bytes = b"topic") -> list[Any]:
    """A push."""
    return [b"message", channel, b"%d" % number]


async def subscribed(bus: Bus, dropped: list[tuple[BridgeError, str]] | None = None) -> tuple[PubSub, Server]:
    """Subscriptions with one to `topic`."""
    told: list[tuple[BridgeError, str]] = [] if dropped is None else dropped
    pubsub, server = PubSub(Codec(), lambda error, topic: told.append((error, topic))), Server()
    pubsub.connection = server  # type: ignore[assignment]
    pubsub.delivering = asyncio.create_task(pubsub.run())
    pubsub.delivering.add_done_callback(lambda _: pubsub.drop_waiting())
    await pubsub.add("topic", bus)
    return pubsub, server


async def test_a_full_bus_holds_up_no_confirmation() -> None:
    """While a message waits, later ones wait behind it, and another subscription is confirmed; the order is kept."""
    bus, other = Bus(), Bus()
    pubsub, _ = await subscribed(bus)
    bus.room.clear()
    assert [pubsub.on_push(message(n)) for n in range(3)] == [None] * 3
    async with asyncio.timeout(1):
        await pubsub.add("other", other)
    pubsub.on_push(message(7, b"other"))
    assert bus.messages == other.messages == []
    bus.room.set()
    await asyncio.sleep(0.01)
    assert (bus.messages, other.messages) == ([0, 1, 2], [7])
    pubsub.delivering.cancel()


async def test_too_much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing more is read until there is room, and nothing is lost."""
    monkeypatch.setattr(module, "_MOST_WAITING", 2000)
    bus = Bus()
    pubsub, _ = await subscribed(bus)
    bus.room.clear()
    held = None
    sent = 0
    while held is None:
        held = pubsub.on_push(message(sent))
        sent += 1
    reading = asyncio.ensure_future(held)
    await asyncio.sleep(0.01)
    assert pubsub.stalled
    assert not reading.done()
    bus.room.set()
    await reading
    await asyncio.sleep(0.01)
    assert not pubsub.stalled
    assert bus.messages == list(range(sent))
    pubsub.delivering.cancel()


async def test_all_receivers_of_a_channel_get_a_message() -> None:
    """Each its own, also where an earlier one has to wait."""
    first, second = Bus(), Bus()
    pubsub, _ = await subscribed(first)
    await pubsub.add("topic", second)
    first.room.clear()
    pubsub.on_push(message(1))
    first.room.set()
    pubsub.on_push(message(2))
    await asyncio.sleep(0.01)
    assert first.messages == second.messages == [1, 2]
    pubsub.delivering.cancel()


async def test_messages_that_wait_when_the_connection_ends() -> None:
    """They are dropped, and that is told; of a subscription that was removed nothing is delivered any more."""
    dropped: list[tuple[BridgeError, str]] = []
    bus = Bus()
    pubsub, _ = await subscribed(bus, dropped)
    leaving = await pubsub.add("leaving", gone := Bus())
    bus.room.clear()
    gone.room.clear()
    for n in range(3):
        pubsub.on_push(message(n))
    pubsub.on_push(message(9, b"leaving"))
    await pubsub.remove(leaving)
    assert [one.topic for one in pubsub.end("it was cut")] == ["topic"]
    pubsub.delivering.cancel()
    await asyncio.wait([pubsub.delivering])
    await asyncio.sleep(0)
    assert [error.message for error, _ in dropped] == ["3 messages still waited when their connection ended"]
    assert bus.messages == gone.messages == []


async def test_the_end_comes_with_the_confirmation() -> None:
    """The subscription fails, and is not also told as one that has ended."""
    bus = Bus()
    pubsub, server = await subscribed(bus)
    server.confirm = False
    adding = asyncio.create_task(pubsub.add("late", bus))
    await asyncio.sleep(0)
    server.replies[-1].set_result([])
    assert [one.topic for one in pubsub.end("it was cut")] == ["topic"]
    with pytest.raises(ConnectionLostError, match="it was cut"):
        await adding
    pubsub.delivering.cancel()


@pytest.mark.parametrize(
    "push",
    [
        [],
        [[]],
        [b"message"],
        [b"message", b"topic", 7],
        [b"invalidate", [b"x"]],
        [b"message", b"\xff", b"1"],
        [b"pmessage", b"t*", b"topic", b"1"],
    ],
)
async def test_pushes_that_nobody_asked_for(push: list[Any]) -> None:
    """Each is dropped and told; the next message is delivered."""
    dropped: list[tuple[BridgeError, str]] = []
    bus = Bus()
    pubsub, _ = await subscribed(bus, dropped)
    assert pubsub.on_push(push) is None
    assert [error.kind for error, _ in dropped] == ["protocol"]
    pubsub.on_push(message(1))
    assert bus.messages == [1]
    pubsub.delivering.cancel()
