"""One MQTT connection against a scripted broker: who reads what, and how it ends."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge.adapters.mqtt.connection import Limits, MqttConnection
from bridge.adapters.mqtt.packets.message import IncomingMessage
from bridge.adapters.mqtt.packets.reader import PacketReader
from bridge.adapters.mqtt.transport import SocketTransport
from bridge.core.clock import RealClock
from bridge.core.errors import BridgeError, ConnectionLostError, NotConnectedError, RejectedError
from tests.support.wait import until

CONNACK = b"\x20\x03\x00\x00\x00"


class Broker:
    """The other end of a connection; what it sends is scripted by the test."""

    def __init__(self, *, version5: bool = True) -> None:
        """Everything that the connection reports is kept."""
        ours, self._sock = socket.socketpair()
        for one in (ours, self._sock):
            one.setblocking(False)
        self._reader = PacketReader()
        self._packets: list[tuple[int, bytes]] = []
        self.messages: list[IncomingMessage] = []
        self.released: list[int] = []
        self.lost: list[BridgeError] = []
        self.connection = MqttConnection(
            transport=SocketTransport(ours),
            clock=RealClock(),
            version5=version5,
            clean=True,
            on_accepted=lambda _: None,
            on_message=self._on_message,
            on_released=self.released.append,
            on_lost=self.lost.append,
            keep_alive=60,
            properties=None,
            identifier="x",
        )
        self.most = 1_000_000

    def _on_message(self, message: IncomingMessage) -> None:
        self.messages.append(message)
        if len(self.messages) % self.most == 0:
            self.connection.pause()

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def receive(self) -> tuple[int, bytes]:
        """Return first byte and body of the next packet; (0, b"") at the end of the connection."""
        while not self._packets:
            data = await asyncio.get_running_loop().sock_recv(self._sock, 65_536)
            if not data:
                return 0, b""
            self._reader.feed(data)
            self._packets += self._reader.packets()
        return self._packets.pop(0)

    async def turn(self) -> None:
        """Wait until the connection has handled all that was sent before."""
        call = asyncio.ensure_future(self.connection.unsubscribe("turn"))
        first, body = await self.receive()
        assert first == 0xA2
        await self.send(b"\xb0\x04" + body[:2] + b"\x00\x11")
        await call

    def close(self) -> None:
        """End both sides."""
        self.connection.close(orderly=False)
        self._sock.close()


@asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[Broker]:
    """A broker that has accepted the connection."""
    broker = Broker(**options)
    try:
        opening = asyncio.ensure_future(broker.connection.open())
        assert (await broker.receive())[0] == 0x10
        await broker.send(CONNACK if options.get("version5", True) else b"\x20\x02\x00\x00")
        await opening
        yield broker
    finally:
        broker.close()


async def test_packets_with_an_identifier_have_different_ones() -> None:
    """Messages, subscriptions and their ends share one supply ([MQTT-2.2.1-3])."""
    async with connected() as broker:
        calls: list[Awaitable[Any]] = []
        for number in range(3):
            promise: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            broker.connection.send("t", b"", 1, retain=False, properties=None, promise=promise)
            calls += [
                promise,
                asyncio.ensure_future(broker.connection.subscribe(f"t/{number}", 1, None)),
                asyncio.ensure_future(broker.connection.unsubscribe(f"t/{number}")),
            ]
            await asyncio.sleep(0)
        seen = set()
        for _ in range(9):
            first, body = await broker.receive()
            at = 3 if first & 0xF0 == 0x30 else 0
            seen.add(identifier := body[at : at + 2])
            answer = {0x30: b"\x40\x02%b", 0x80: b"\x90\x04%b\x00\x01", 0xA0: b"\xb0\x04%b\x00\x00"}[first & 0xF0]
            await broker.send(answer % identifier)
        await asyncio.gather(*calls)
        assert len(seen) == 9


async def test_an_identifier_is_not_used_again_before_it_is_answered() -> None:
    """Although whoever called has given up: the broker still has it."""
    async with connected() as broker:
        call = asyncio.ensure_future(broker.connection.subscribe("slow", 1, None))
        _, body = await broker.receive()
        call.cancel()
        await asyncio.wait([call])
        assert broker.connection._identifiers.take() != int.from_bytes(body[:2], "big")
        await broker.send(b"\x90\x04" + body[:2] + b"\x00\x01")
        await broker.turn()
        assert int.from_bytes(body[:2], "big") not in broker.connection._identifiers._used


async def test_reading_stops_in_the_middle_of_what_has_come() -> None:
    """After `pause` not one message more, and after `resume` the rest in order."""
    async with connected() as broker:
        broker.most = 2
        await broker.send(b"".join(b"\x30\x05\x00\x01t\x00%d" % number for number in range(7)))
        for count in (2, 4, 6):
            await until(lambda count=count: len(broker.messages) >= count)
            for _ in range(5):
                await asyncio.sleep(0)
            assert len(broker.messages) == count
            broker.connection.resume()
        await broker.turn()
        assert [message.payload for message in broker.messages] == [b"%d" % number for number in range(7)]


async def test_quality_two_is_confirmed_step_by_step() -> None:
    """PUBREC only by `acknowledge`, PUBCOMP as soon as the broker releases the identifier."""
    async with connected() as broker:
        await broker.send(b"\x34\x06\x00\x01t\x00\x05\x00")
        await broker.turn()
        assert broker.connection.acknowledge(broker.messages[0])
        assert await broker.receive() == (0x50, b"\x00\x05")
        await broker.send(b"\x62\x02\x00\x05")
        assert await broker.receive() == (0x70, b"\x00\x05")
        assert broker.released == [5]


@pytest.mark.parametrize("version5", [True, False])
async def test_a_refused_subscription(version5: bool) -> None:
    """It is that call's failure, whatever the byte, and the connection goes on."""
    async with connected(version5=version5) as broker:
        call = asyncio.ensure_future(broker.connection.subscribe("t", 1, None))
        _, body = await broker.receive()
        code = b"\x00\xfe" if version5 else b"\x80"
        await broker.send(b"\x90%c%b%b" % (2 + len(code), body[:2], code))
        with pytest.raises(RejectedError):
            await call
        assert broker.connection.error is None


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\x01\x00",  # a PUBLISH without a topic
        b"\x36\x07\x00\x01t\x00\x05\x00x",  # QoS 3
        b"\x40\x01\x00",  # a PUBACK without an identifier
        b"\x90\x02\x00\x01",  # a SUBACK without properties
        b"\x30\xff\xff\xff\xff\x01",  # a length of five bytes
        b"\x00\x00",  # no packet at all
        b"\x10\x00",  # what only clients send
        b"\x20\x01\x00",  # half a CONNACK
    ],
)
async def test_what_is_no_mqtt_ends_the_connection(data: bytes) -> None:
    """It is reported once, and everything that waits fails at once."""
    async with connected() as broker:
        call = asyncio.ensure_future(broker.connection.subscribe("t", 1, None))
        await broker.receive()
        await broker.send(data)
        with pytest.raises(ConnectionLostError):
            await call
        assert len(broker.lost) == 1
        with pytest.raises(NotConnectedError):
            await broker.connection.unsubscribe("t")


async def test_a_message_before_the_broker_accepted() -> None:
    """CONNACK comes first ([MQTT-3.2.0-1]); nobody is told of such a message."""
    broker = Broker()
    opening = asyncio.ensure_future(broker.connection.open())
    await broker.receive()
    await broker.send(b"\x30\x04\x00\x01t\x00" + CONNACK)
    with pytest.raises(ConnectionLostError, match="before CONNACK"):
        await opening
    assert not broker.messages
    assert not broker.lost
    broker.close()


async def test_an_orderly_end_sends_disconnect() -> None:
    """And any other does not."""
    async with connected() as broker:
        broker.connection.close(orderly=True)
        assert await broker.receive() == (0xE0, b"")
        assert await broker.receive() == (0, b"")
        assert not broker.lost
    async with connected() as broker:
        broker.connection.close(orderly=False)
        assert await broker.receive() == (0, b"")


def test_limits_of_the_broker() -> None:
    """What CONNACK does not name is not limited."""
    properties: Any = Properties(PacketTypes.CONNACK)
    assert Limits.of(properties) == Limits()
    properties.ReceiveMaximum, properties.MaximumPacketSize, properties.MaximumQoS = 7, 1_000, 1
    properties.RetainAvailable, properties.SubscriptionIdentifierAvailable = 0, 0
    assert Limits.of(properties) == Limits(7, 1_000, 1, retain=False, subscription_identifiers=False)


async def _hear(data: bytes) -> None:
    async with connected() as broker:
        await broker.send(data)
        broker._sock.shutdown(socket.SHUT_WR)
        while await broker.receive() != (0, b""):
            pass


@given(st.lists(st.tuples(st.integers(0, 15), st.binary(max_size=12)), max_size=6))
def test_arbitrary_packets_end_nothing_but_the_connection(packets: list[tuple[int, bytes]]) -> None:
    """Whatever a broker sends, paho's part and ours raise nothing into the loop."""
    failures: list[Any] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        await _hear(b"".join(b"%c%c%b" % (kind << 4, len(body), body) for kind, body in packets))

    asyncio.run(run())
    assert not failures
