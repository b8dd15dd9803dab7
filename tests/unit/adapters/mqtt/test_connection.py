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
from bridge.adapters.mqtt.errors import refused
from bridge.adapters.mqtt.packets.message import IncomingMessage
from bridge.adapters.mqtt.packets.outgoing import UnfinishedMessages
from bridge.adapters.mqtt.packets.reader import MOST_BYTES, PacketReader
from bridge.adapters.mqtt.packets.session import decode_connack
from bridge.adapters.mqtt.packets.wire_format import variable_integer
from bridge.adapters.mqtt.transport import SocketTransport
from bridge.core.clock import RealClock
from bridge.core.errors import BridgeError, ConnectionLostError, NotConnectedError, ProtocolError, RejectedError
from bridge.core.ports import Clock
from tests.support.clock import FakeClock
from tests.support.wait import until

CONNACK = b"\x20\x03\x00\x00\x00"


class Broker:
    """The other end of a connection; what it sends is scripted by the test."""

    def __init__(
        self, *, version5: bool = True, clock: Clock | None = None, unfinished: UnfinishedMessages | None = None
    ) -> None:
        """Everything that the connection reports is kept."""
        ours, self._sock = socket.socketpair()
        for one in (ours, self._sock):
            one.setblocking(False)
        self._reader = PacketReader(lambda *_: None)
        self._packets: list[tuple[int, bytes]] = []
        self.messages: list[IncomingMessage] = []
        self.released: list[int] = []
        self.lost: list[BridgeError] = []
        self.connection = MqttConnection(
            transport=SocketTransport(ours),
            clock=clock or RealClock(),
            version5=version5,
            clean=True,
            unfinished=UnfinishedMessages() if unfinished is None else unfinished,
            on_accepted=lambda _: None,
            on_message=self._on_message,
            on_released=self.released.append,
            on_lost=self.lost.append,
            guess=lambda: "; no idea why",
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
async def connected(connack: bytes = b"", **options: Any) -> AsyncIterator[Broker]:
    """A broker that has accepted the connection."""
    broker = Broker(**options)
    connack = connack or (CONNACK if options.get("version5", True) else b"\x20\x02\x00\x00")
    try:
        opening = asyncio.ensure_future(broker.connection.open())
        assert (await broker.receive())[0] == 0x10
        await broker.send(connack)
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
        assert int.from_bytes(body[:2], "big") not in broker.connection._identifiers.used


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


async def test_messages_that_come_often() -> None:
    """They are read together; an answer, a pause and the end of the connection find their way all the same."""
    async with connected() as broker:

        async def come(*numbers: int) -> None:
            for number in numbers:
                await broker.send(b"\x30\x05\x00\x01t\x00%c" % number)
                while len(broker.messages) <= number:  # noqa: ASYNC110 - so that they come often
                    await asyncio.sleep(0)

        await come(*range(40))
        await broker.turn()
        await come(*range(40, 80))
        broker.connection.pause()
        broker.connection.resume()
        await come(*range(80, 120))
        assert [message.payload for message in broker.messages] == [b"%c" % number for number in range(120)]
        broker.close()
        await until(lambda: broker.connection.error)


async def test_quality_two_is_confirmed_step_by_step() -> None:
    """PUBREC only by `acknowledge`, PUBCOMP as soon as the broker releases the identifier."""
    async with connected() as broker:
        await broker.send(b"\x34\x06\x00\x01t\x00\x05\x00")
        await broker.turn()
        assert broker.connection.acknowledge(broker.messages[:1])
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
    assert Limits.of(decode_connack(b"\x00\x00" + properties.pack(), version5=True)) == Limits()
    assert Limits.of(decode_connack(b"\x00\x00", version5=False)) == Limits()
    properties.ReceiveMaximum, properties.MaximumPacketSize, properties.MaximumQoS = 7, 1_000, 1
    properties.RetainAvailable, properties.SubscriptionIdentifierAvailable = 0, 0
    properties.WildcardSubscriptionAvailable, properties.SharedSubscriptionAvailable = 0, 0
    properties.ServerKeepAlive, properties.UserProperty = 9, ("a", "b")
    assert Limits.of(decode_connack(b"\x00\x00" + properties.pack(), version5=True)) == Limits(
        7, 1_000, 1, retain=False, wildcards=False, shared=False, subscription_identifiers=False, keep_alive=9
    )


def publish(broker: Broker, payload: bytes = b"x", qos: int = 1) -> asyncio.Future[Any]:
    """Publish a message; return its promise."""
    promise: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    broker.connection.send("t", payload, qos, retain=False, properties=None, promise=promise)
    return promise


BAD = b"\xff\xfe"
TEXT = b"\x00\x02" + BAD
#: Names of the properties that are text, in CONNACK, DISCONNECT and the answers to calls.
TEXTS = [0x12, 0x1A, 0x1C, 0x1F, 0x15]


@pytest.mark.parametrize("name", [*TEXTS, 0x26, 0x16])
async def test_an_accepted_connection_with_texts_that_are_not_utf_8(name: int) -> None:
    """Bytes of the broker that nobody needs cost nobody the session."""
    properties = b"%c%b" % (name, TEXT * 2 if name == 0x26 else TEXT)
    body = b"\x00\x00" + b"%c" % len(properties) + properties
    async with connected(b"\x20%c%b" % (len(body), body)) as broker:
        await broker.turn()
        assert not broker.lost


@pytest.mark.parametrize("name", [*TEXTS, 0x26])
@pytest.mark.parametrize("first", [0x20, 0xE0])
async def test_a_refusal_or_an_end_with_texts_that_are_not_utf_8(first: int, name: int) -> None:
    """Is the broker's word all the same, with its reason code."""
    properties = b"%c%b" % (name, TEXT * 2 if name == 0x26 else TEXT)
    body = (b"\x00" if first == 0x20 else b"") + b"\x89%c%b" % (len(properties), properties)
    broker = Broker()
    opening = asyncio.ensure_future(broker.connection.open())
    await broker.receive()
    await broker.send((b"" if first == 0x20 else CONNACK) + b"%c%c%b" % (first, len(body), body))
    if first == 0x20:
        with pytest.raises(NotConnectedError, match="Server busy") as caught:
            await opening
        assert caught.value.code == 0x89
    else:
        await until(lambda: broker.lost)
        assert "Server busy" in broker.lost[0].message
        assert broker.lost[0].code == 0x89
    broker.close()


@pytest.mark.parametrize("answer", [0x90, 0xB0, 0x40, 0x50, 0x70])
async def test_answers_with_texts_that_are_not_utf_8(answer: int) -> None:
    """The reason code counts."""
    async with connected() as broker:
        promise: asyncio.Future[Any]
        if answer in {0x90, 0xB0}:
            connection = broker.connection
            promise = asyncio.ensure_future(
                connection.subscribe("t", 1, None) if answer == 0x90 else _codes(connection)
            )
        else:
            promise = publish(broker, qos=1 if answer == 0x40 else 2)
        identifier = (await broker.receive())[1][:2] if answer in {0x90, 0xB0} else b"\x00\x01"
        properties = b"\x1f" + TEXT + b"\x26" + TEXT + TEXT
        body = b"%c%b" % (len(properties), properties)
        if answer == 0x70:
            await broker.send(b"\x50\x02\x00\x01")
        code = b"\x92" if answer == 0x70 else b"\x87"
        tail = body + code if answer in {0x90, 0xB0} else code + body
        await broker.send(b"%c%c%b%b" % (answer, 2 + len(tail), identifier, tail))
        with pytest.raises(RejectedError, match=r"Not authorized|Packet identifier not found") as caught:
            await promise
        assert caught.value.code == code[0]
        assert not broker.lost


async def _codes(connection: MqttConnection) -> None:
    (code,) = await connection.unsubscribe("t")
    raise refused(PacketTypes.UNSUBACK, code)


@pytest.mark.parametrize(
    ("suback", "kind"),
    [
        (b"\x00", ProtocolError),
        (b"\x00\x01\x01", ProtocolError),
        (b"\x00\x03", ProtocolError),
        (b"\x00\x7f", ProtocolError),
        (b"\x00\xff", RejectedError),
    ],
)
async def test_an_answer_to_subscribe_that_makes_no_sense(suback: bytes, kind: type[BridgeError]) -> None:
    """It is that subscription's failure; no answer at all is not taken for a yes."""
    async with connected() as broker:
        call = asyncio.ensure_future(broker.connection.subscribe("t", 1, None))
        _, body = await broker.receive()
        await broker.send(b"\x90%c%b%b" % (2 + len(suback), body[:2], suback))
        with pytest.raises(kind):
            await call
        await broker.turn()
        assert not broker.lost


@pytest.mark.parametrize(
    "body",
    [
        b"\x00\x00\x00x",  # no topic
        b"\x00\x00\x03\x23\x00\x05x",  # the alias of a topic, which nobody has told
        b"\x00\x01t\x02\x99\x00x",  # no such property
        b"\x00\x01t\x05\x03\x00\x09x",  # a property that is longer than all of them
        b"\x00\x01t\x7fx",  # properties that are longer than the packet
        b"\x00\x01t\xff\xff\xff\xff\x01",  # a length of five bytes
    ],
)
async def test_a_message_that_makes_no_sense_costs_nobody_the_connection(body: bytes) -> None:
    """It comes with its fault, and what follows comes, too."""
    async with connected() as broker:
        await broker.send(b"\x30%c%b" % (len(body), body) + b"\x30\x05\x00\x01t\x00x")
        await broker.turn()
        bad, good = broker.messages
        assert bad.fault
        assert (good.fault, good.payload) == (None, b"x")
        assert not broker.lost


async def test_a_message_that_is_too_large_for_the_memory() -> None:
    """It is read and thrown away; what follows comes, and the broker gets its acknowledgement."""
    async with connected() as broker:
        size = MOST_BYTES + 1
        head = b"\x32" + variable_integer(size) + b"\x00\x01t\x00\x07\x00"
        rest = size - 6
        await broker.send(head)
        while rest:
            piece = min(rest, 1 << 20)
            await broker.send(bytes(piece))
            rest -= piece
        await broker.send(b"\x30\x05\x00\x01t\x00x")
        await broker.turn()
        large, good = broker.messages
        assert (large.topic, large.identifier, large.payload, good.payload) == ("t", 7, b"", b"x")
        assert str(size) in (large.fault or "")
        assert len(broker.connection._reader._data) < 1 << 20
        assert not broker.lost


async def test_a_session_that_ends_while_a_call_waits() -> None:
    """CONNACK and the end in one read; SUBSCRIBE and the end: each is told once, and says what the broker said."""
    broker = Broker()
    opening = asyncio.ensure_future(broker.connection.open())
    await broker.receive()
    await broker.send(CONNACK + b"\xe0\x01\x8e")
    await opening
    await until(lambda: broker.lost)
    with pytest.raises(NotConnectedError, match="taken over"):
        await broker.connection.unsubscribe("t")
    assert len(broker.lost) == 1
    broker.close()
    async with connected() as broker:
        call = asyncio.ensure_future(broker.connection.subscribe("t", 1, None))
        await broker.receive()
        await broker.send(b"\xe0\x01\x8b")
        with pytest.raises(ConnectionLostError, match="shutting down"):
            await call
        assert len(broker.lost) == 1


async def test_the_older_version_is_not_tried_with_an_older_one() -> None:
    """A broker that refuses 3.1.1 gets no second CONNECT; only a person can help."""
    broker = Broker(version5=False)
    opening = asyncio.ensure_future(broker.connection.open())
    await broker.receive()
    await broker.send(b"\x20\x02\x00\x01")
    with pytest.raises(NotConnectedError, match="protocol version") as caught:
        await opening
    assert caught.value.permanent
    assert await broker.receive() == (0, b"")
    broker.close()


async def test_a_protocol_error_is_told_to_the_broker() -> None:
    """By the reason code of DISCONNECT, with which the will is published; MQTT 3.1.1 has none."""
    for version5 in (True, False):
        async with connected(version5=version5) as broker:
            await broker.send(b"\x36\x05\x00\x01t\x00\x01")
            assert await broker.receive() == ((0xE0, b"\x82") if version5 else (0, b""))


async def test_the_keep_alive_takes_anything_for_a_sign_of_life() -> None:
    """PINGREQ at each interval, the broker's if it says one; lost only where nothing at all comes for that long."""
    clock = FakeClock()
    async with connected(b"\x20\x06\x00\x00\x03\x13\x00\x14", clock=clock) as broker:
        for _ in range(4):
            await clock.advance(20.0)
            assert await broker.receive() == (0xC0, b"")
            await broker.send(b"\x30\x05\x00\x01t\x00x")  # behind it PINGRESP may wait for long
            await until(lambda: broker.connection.last_heard == clock.monotonic())
        await clock.advance(20.0)
        assert await broker.receive() == (0xC0, b"")
        await clock.advance(20.0)
        (error,) = broker.lost
        assert "keep-alive" in error.message


async def test_qos_0_is_answered_when_it_is_sent() -> None:
    """So a broker that reads nothing fills no memory: the limit of what is in flight counts, and what is given up."""
    async with connected() as broker:
        payload = bytes(200_000)
        promises = [publish(broker, payload, qos=0) for _ in range(100)]
        for _ in range(20):
            await asyncio.sleep(0)
        sent = sum(promise.done() for promise in promises)
        assert 0 < sent < 20
        assert len(broker.connection._transport._waiting) < 2_000_000
        for promise in promises[50:]:
            promise.cancel()
        received = 0
        while received < 50:
            first, _ = await broker.receive()
            received += first == 0x30
        assert await asyncio.gather(*promises[:50]) == [{}] * 50
        await broker.turn()
    async with connected() as broker:
        late = [publish(broker, payload, qos=0) for _ in range(100)][-1]
    with pytest.raises(ConnectionLostError):
        await late


async def test_what_an_earlier_connection_left_unanswered_swallows_nothing() -> None:
    """The broker releases its identifiers first, and a new message gets another one until it has."""
    unfinished = UnfinishedMessages()
    async with connected(unfinished=unfinished) as broker:
        promise = publish(broker, qos=2)
        await broker.receive()
    with pytest.raises(ConnectionLostError):
        await promise
    async with connected(b"\x20\x03\x01\x00\x00", unfinished=unfinished) as broker:
        assert await broker.receive() == (0x62, b"\x00\x01")
        promise = publish(broker, qos=2)
        _, body = await broker.receive()
        assert body[3:5] == b"\x00\x02"
        await broker.send(b"\x70\x02\x00\x01" + b"\x50\x02\x00\x02")
        assert await broker.receive() == (0x62, b"\x00\x02")
        await broker.send(b"\x70\x02\x00\x02")
        assert await promise == {}
    async with connected(b"\x20\x03\x01\x00\x00", unfinished=unfinished) as broker:
        promise = publish(broker, qos=2)
        assert (await broker.receive())[1][3:5] == b"\x00\x01"
        promise.cancel()


async def _hear(data: bytes, *, accepted: bool) -> None:
    if not accepted:
        broker = Broker()
        opening = asyncio.ensure_future(broker.connection.open())
        await broker.receive()
        await broker.send(data)
        broker._sock.shutdown(socket.SHUT_WR)
        await asyncio.wait((opening,))
        if (error := opening.exception()) is not None:
            assert isinstance(error, BridgeError)
        broker.close()
        return
    async with connected() as broker:
        await broker.send(data)
        broker._sock.shutdown(socket.SHUT_WR)
        while await broker.receive() != (0, b""):
            pass


@given(st.lists(st.tuples(st.integers(0, 15), st.binary(max_size=12)), max_size=6), st.booleans())
def test_arbitrary_packets_end_nothing_but_the_connection(packets: list[tuple[int, bytes]], accepted: bool) -> None:
    """Whatever a broker sends, before or after CONNACK: nothing is raised into the loop."""
    failures: list[Any] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        data = b"".join(b"%c%c%b" % (kind << 4, len(body), body) for kind, body in packets)
        await _hear(data, accepted=accepted)

    asyncio.run(run())
    assert not failures


@given(st.binary(max_size=30))
def test_an_arbitrary_answer_to_connect(body: bytes) -> None:
    """Whatever is in CONNACK, the connection is accepted, or fails with an error of ours."""
    asyncio.run(_hear(b"\x20%c%b" % (len(body), body), accepted=False))
