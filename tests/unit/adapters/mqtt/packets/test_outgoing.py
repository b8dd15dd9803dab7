"""Packets out, the broker's window, and what each answer means."""

import asyncio
from itertools import count
from typing import Any

import pytest

from bridge.adapters.mqtt.packets.headers import Packed, variable_integer
from bridge.adapters.mqtt.packets.message import decode
from bridge.adapters.mqtt.packets.outgoing import PUBACK, PUBCOMP, PUBREC, Outgoing
from bridge.adapters.mqtt.transport import Wire
from bridge.core.errors import AuthError, ConnectionLostError, ThrottledError


class Sent:
    """An `Outgoing` whose packets are kept."""

    def __init__(self, *, window: int = 65_535, version5: bool = True) -> None:
        self.packets: list[bytes] = []
        self.version5 = version5
        identifiers = count(1)
        self.outgoing = Outgoing(self.packets.append, lambda: next(identifiers), version5=version5)
        self.outgoing.window = window

    def publish(self, payload: bytes = b"x", qos: int = 1, **more: Any) -> asyncio.Future[Any]:
        promise: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        values = {"retain": False, "properties": None, **more}
        self.outgoing.publish("a/b", payload, qos, promise=promise, **values)
        return promise

    def seen(self) -> list[tuple[int, bytes]]:
        """Identifier and payload of each PUBLISH."""
        messages = [decode(one[0], one[2:], version5=self.version5) for one in self.packets if one[0] >> 4 == 3]
        return [(message.mid, message.payload) for message in messages]


@pytest.mark.parametrize("version5", [True, False])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("size", [0, 1, 110, 120, 125, 130, 16_400, 2_100_000])
async def test_a_packet_reads_back(version5: bool, qos: int, size: int) -> None:
    """Length, flags, topic, identifier, properties and payload are where the specification wants them."""
    sent = Sent(version5=version5)
    properties = Packed()
    properties.pair("hop", "1")
    sent.publish(bytes(size), qos, retain=True, properties=properties)
    (packet,) = sent.packets
    start = next(n for n in range(1, 5) if packet[n] < 128) + 1
    assert packet[1:start] == variable_integer(len(packet) - start)
    message = decode(packet[0], packet[start:], version5=version5)
    assert (message.topic, message.payload, message.qos, message.retain) == ("a/b", bytes(size), qos, True)
    assert message.headers == ({"hop": "1"} if version5 else {})
    assert message.mid == (1 if qos else 0)


async def test_the_window_is_kept_in_order() -> None:
    """No more unanswered than the broker takes; the rest goes out one by one, in order, without what was given up."""
    sent = Sent(window=2)
    promises = [sent.publish(bytes([n])) for n in range(5)]
    assert sent.seen() == [(1, b"\x00"), (2, b"\x01")]
    promises[2].cancel()
    sent.outgoing.take(PUBACK, 2, 0)
    assert promises[1].result() == {}
    assert sent.seen()[2:] == [(3, b"\x03")]
    sent.outgoing.take(PUBACK, 1, 0)
    sent.outgoing.take(PUBACK, 1, 0)
    assert sent.seen()[3:] == [(4, b"\x04")]
    assert [promise.done() for promise in promises] == [True, True, True, False, False]


async def test_answers() -> None:
    """Taken over, nobody there, refused; an answer to nothing is no matter."""
    sent = Sent()
    good, alone, forbidden, full = (sent.publish() for _ in range(4))
    for identifier, code in ((1, 0), (2, 0x10), (3, 0x87), (4, 0x97), (99, 0)):
        sent.outgoing.take(PUBACK, identifier, code)
    assert (good.result(), alone.result()) == ({}, {"receivers": 0})
    with pytest.raises(AuthError):
        forbidden.result()
    with pytest.raises(ThrottledError):
        full.result()


async def test_quality_two_is_done_with_pubcomp() -> None:
    """PUBREC is answered by PUBREL and settles nothing, unless it refuses."""
    sent = Sent()
    good, bad = sent.publish(qos=2), sent.publish(qos=2)
    sent.outgoing.take(PUBREC, 1, 0)
    sent.outgoing.take(PUBREC, 2, 0x87)
    assert sent.packets[2:] == [b"\x62\x02\x00\x01"]
    assert not good.done()
    with pytest.raises(AuthError):
        bad.result()
    sent.outgoing.take(PUBCOMP, 1, 0)
    assert good.result() == {}


async def test_a_lost_connection_fails_all() -> None:
    """What is unanswered and what waited for room, once each."""
    sent = Sent(window=1)
    promises = [sent.publish() for _ in range(3)]
    promises[1].cancel()
    for _ in range(2):
        sent.outgoing.fail(lambda: ConnectionLostError("gone"))
    for promise in (promises[0], promises[2]):
        with pytest.raises(ConnectionLostError):
            promise.result()
    sent.outgoing.take(PUBACK, 1, 0)
    assert len(sent.packets) == 1


def test_answers_are_taken_from_the_socket_in_one_go() -> None:
    """Up to a packet of another kind, or one that is not yet here as a whole."""
    wire = Wire(None)  # type: ignore[arg-type]  # no socket is touched
    whole = b"\x40\x02\x00\x01" + b"\x50\x03\x00\x02\x10" + b"\x70\x04\x00\x03\x00\x00"
    wire._read = whole + b"\xd0\x00" + b"\x40\x02\x00\x04"
    assert list(wire.answers()) == [(0x40, b"\x00\x01"), (0x50, b"\x00\x02\x10"), (0x70, b"\x00\x03\x00\x00")]
    assert list(wire.answers()) == []
    assert wire.recv(2) == b"\xd0\x00"
    assert list(wire.answers()) == [(0x40, b"\x00\x04")]
    wire._read, wire._position = whole[:7], 0
    assert list(wire.answers()) == [(0x40, b"\x00\x01")]
    assert wire.recv(3) == whole[4:7]
