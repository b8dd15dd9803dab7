"""Packets out, the broker's window, and what each answer means."""

import asyncio
from typing import Any

import pytest

from bridge.adapters.mqtt.packets.headers import PropertyWriter
from bridge.adapters.mqtt.packets.identifiers import Identifiers
from bridge.adapters.mqtt.packets.message import decode
from bridge.adapters.mqtt.packets.outgoing import OutgoingMessages, UnfinishedMessages
from bridge.adapters.mqtt.packets.wire_format import LARGEST, PUBACK, PUBCOMP, PUBREC, variable_integer
from bridge.core.errors import ConnectionLostError, InvalidError, RejectedError, ThrottledError


class Sent:
    """`OutgoingMessages` whose packets are kept."""

    def __init__(
        self,
        *,
        window: int = 65_535,
        packet_size: int = LARGEST,
        version5: bool = True,
        unfinished: UnfinishedMessages | None = None,
        present: bool = False,
    ) -> None:
        self.packets: list[bytes] = []
        self.version5 = version5
        self.identifiers = Identifiers()
        self.room = True
        self.outgoing = OutgoingMessages(
            self.packets.append,
            self.identifiers,
            version5=version5,
            unfinished=UnfinishedMessages() if unfinished is None else unfinished,
            has_room=lambda: self.room,
        )
        self.outgoing.begin(present=present)
        self.outgoing.limit(window=window, packet_size=packet_size)

    def publish(self, payload: bytes = b"x", qos: int = 1, **more: Any) -> asyncio.Future[Any]:
        promise: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        values = {"retain": False, "properties": None, **more}
        self.outgoing.publish("a/b", payload, qos, promise=promise, **values)
        return promise

    def seen(self) -> list[tuple[int, bytes]]:
        """Identifier and payload of each PUBLISH."""
        messages = [decode(one[0], one[2:], version5=self.version5) for one in self.packets if one[0] >> 4 == 3]
        return [(message.identifier, message.payload) for message in messages]


@pytest.mark.parametrize("version5", [True, False])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("size", [0, 1, 110, 120, 125, 130, 16_400, 2_100_000])
async def test_a_packet_reads_back(version5: bool, qos: int, size: int) -> None:
    """Length, flags, topic, identifier, properties and payload are where the specification wants them."""
    sent = Sent(version5=version5)
    properties = PropertyWriter()
    properties.pair("hop", "1")
    sent.publish(bytes(size), qos, retain=True, properties=properties.encode())
    (packet,) = sent.packets
    start = next(n for n in range(1, 5) if packet[n] < 128) + 1
    assert packet[1:start] == variable_integer(len(packet) - start)
    message = decode(packet[0], packet[start:], version5=version5)
    assert (message.topic, message.payload, message.qos, message.retain) == ("a/b", bytes(size), qos, True)
    assert message.headers == ({"hop": "1"} if version5 else {})
    assert message.identifier == (1 if qos else 0)


async def test_the_window_is_kept_in_order() -> None:
    """No more unanswered than the broker takes; the rest goes out one by one, in order, without what was given up."""
    sent = Sent(window=2)
    promises = [sent.publish(bytes([n])) for n in range(5)]
    assert sent.seen() == [(1, b"\x00"), (2, b"\x01")]
    promises[2].cancel()
    sent.outgoing.on_answer(PUBACK, 2, 0)
    assert promises[1].result() == {}
    assert sent.seen()[2:] == [(3, b"\x03")]
    sent.outgoing.on_answer(PUBACK, 1, 0)
    sent.outgoing.on_answer(PUBACK, 1, 0)
    assert sent.seen()[3:] == [(4, b"\x04")]
    assert [promise.done() for promise in promises] == [True, True, True, False, False]


async def test_answers() -> None:
    """Taken over, nobody there, refused; an answer to nothing is no matter."""
    sent = Sent()
    good, alone, forbidden, full = (sent.publish() for _ in range(4))
    for identifier, code in ((1, 0), (2, 0x10), (3, 0x87), (4, 0x97), (99, 0)):
        sent.outgoing.on_answer(PUBACK, identifier, code)
    assert (good.result(), alone.result()) == ({}, {"receivers": 0})
    with pytest.raises(RejectedError):
        forbidden.result()
    with pytest.raises(ThrottledError):
        full.result()


async def test_quality_two_is_done_with_pubcomp() -> None:
    """PUBREC is answered by PUBREL and settles nothing, unless it refuses."""
    sent = Sent()
    good, bad = sent.publish(qos=2), sent.publish(qos=2)
    sent.outgoing.on_answer(PUBREC, 1, 0)
    sent.outgoing.on_answer(PUBREC, 2, 0x87)
    assert sent.packets[2:] == [b"\x62\x02\x00\x01"]
    assert not good.done()
    with pytest.raises(RejectedError):
        bad.result()
    sent.outgoing.on_answer(PUBCOMP, 1, 0)
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
    sent.outgoing.on_answer(PUBACK, 1, 0)
    assert len(sent.packets) == 1


async def test_an_unknown_reason_code_is_a_refusal() -> None:
    """A broker may send any byte; it fails that message and nothing else."""
    sent = Sent()
    odd, good = sent.publish(), sent.publish()
    sent.outgoing.on_answer(PUBACK, 1, 0xFE)
    sent.outgoing.on_answer(PUBACK, 2, 0)
    with pytest.raises(RejectedError, match="254") as caught:
        odd.result()
    assert caught.value.code == 0xFE
    assert good.result() == {}


async def test_identifiers_are_left_for_subscriptions() -> None:
    """Even a broker that takes any number of messages and answers none leaves some."""
    sent = Sent(window=65_535)
    for _ in range(65_535):
        sent.publish(b"")
    assert len({int.from_bytes(packet[-3:-1], "big") for packet in sent.packets}) == len(sent.packets) == 65_000
    assert sent.identifiers.take() > 65_000


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_packet_larger_than_the_broker_takes(qos: int) -> None:
    """It is refused here, headers included: the broker would end the connection for it (MQTT 5, 3.2.2.3.6)."""
    properties = PropertyWriter()
    properties.pair("hop", "x" * 50)
    sizes = Sent()
    sizes.publish(bytes(30), qos, properties=properties.encode())
    (packet,) = sizes.packets
    sent = Sent(packet_size=len(packet))
    sent.publish(bytes(30), qos, properties=properties.encode())
    with pytest.raises(InvalidError, match=f"{len(packet) + 1} bytes"):
        sent.publish(bytes(31), qos, properties=properties.encode())
    assert len(sent.packets) == 1


async def test_nobody_subscribed_with_quality_two() -> None:
    """PUBREC says so, and PUBCOMP ends it."""
    sent = Sent()
    alone = sent.publish(qos=2)
    sent.outgoing.on_answer(PUBREC, 1, 0x10)
    sent.outgoing.on_answer(PUBCOMP, 1, 0)
    assert alone.result() == {"receivers": 0}


async def test_a_kept_session_of_an_earlier_process() -> None:
    """The broker may have any identifier: it releases each one before its first message, and never again."""
    unfinished = UnfinishedMessages()
    sent = Sent(unfinished=unfinished, present=True)
    for _ in range(2):
        promise = sent.publish(qos=2)
        sent.outgoing.on_answer(PUBCOMP, 1, 0x92)  # answers the release, not the message
        assert not promise.done()
        sent.outgoing.on_answer(PUBREC, 1, 0)
        sent.outgoing.on_answer(PUBCOMP, 1, 0)
        assert promise.result() == {}
        sent.identifiers._last = 0
    assert [packet[0] for packet in sent.packets] == [0x62, 0x34, 0x62, 0x34, 0x62]
    again = Sent(unfinished=unfinished, present=True)
    again.publish(qos=2)
    again.publish(qos=1)
    assert [packet[0] for packet in again.packets] == [0x34, 0x32]
    other = Sent(unfinished=UnfinishedMessages(), present=False)
    other.publish(qos=2)
    assert [packet[0] for packet in other.packets] == [0x34]


@pytest.mark.parametrize("qos", [0, 1])
async def test_messages_wait_while_the_connection_has_no_room(qos: int) -> None:
    """In order, without those that were given up, and those are forgotten."""
    sent = Sent()
    sent.room = False
    promises = [sent.publish(bytes([n]), qos) for n in range(4)]
    promises[0].cancel()
    promises[2].cancel()
    promises.append(sent.publish(b"\x04", qos))
    assert sent.packets == []
    sent.room = True
    sent.outgoing.send_waiting()
    assert [payload for _, payload in sent.seen()] == [b"\x01", b"\x03", b"\x04"]
    assert [promise.done() for promise in promises] == [True, qos == 0, True, qos == 0, qos == 0]


async def test_the_size_of_a_packet_counts_everything() -> None:
    """Topic, properties and the packet's own head: a broker hangs up on one byte too many."""
    properties = PropertyWriter()
    properties.pair("idempotency_key", "k" * 120)
    sent = Sent()
    sent.publish(b"x" * 1_800, properties=properties.encode())
    size = len(sent.packets[0])
    assert size > 1_940
    exact = Sent(packet_size=size)
    exact.publish(b"x" * 1_800, properties=properties.encode())
    with pytest.raises(InvalidError, match=f"{size + 1} bytes with topic and headers; the broker takes {size}"):
        exact.publish(b"x" * 1_801, properties=properties.encode())
    assert len(exact.packets) == 1


async def test_a_broker_that_does_not_release_what_an_earlier_connection_left() -> None:
    """Messages wait while no packet identifier is left for them; each one that is released lets one go."""
    unfinished = UnfinishedMessages()
    unfinished.open = set(range(1, 65_000))
    sent = Sent(unfinished=unfinished, present=True)
    promises = [sent.publish(b"%d" % number) for number in range(1_000)]
    assert [payload for _, payload in sent.seen()] == [b"0"]
    sent.outgoing.send_waiting()
    assert len(sent.seen()) == 1
    sent.outgoing.on_answer(PUBCOMP, 7, 0)
    assert [payload for _, payload in sent.seen()] == [b"0", b"1"]
    sent.outgoing.fail(lambda: ConnectionLostError("gone"))
    assert all(isinstance(one.exception(), ConnectionLostError) for one in promises)
