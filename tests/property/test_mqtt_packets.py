"""MQTT packets: what paho writes is read correctly, and any bytes of a broker give a packet or a known error."""

import contextlib
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge.adapters.mqtt.packets.message import decode
from bridge.adapters.mqtt.packets.reader import PacketReader
from bridge.adapters.mqtt.packets.subscriptions import decode_answer
from bridge.adapters.mqtt.packets.wire_format import MalformedPacketError, variable_integer

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=5, unique_by=lambda pair: pair[0])


def _text(value: str) -> bytes:
    return len(value.encode()).to_bytes(2, "big") + value.encode()


@given(
    topic=TEXT,
    payload=st.binary(max_size=300),
    qos=st.integers(0, 2),
    retain=st.booleans(),
    pairs=PAIRS,
    content_type=TEXT,
    identifiers=st.lists(st.integers(1, 268_435_455)),
)
def test_what_paho_writes_is_read(
    *,
    topic: str,
    payload: bytes,
    qos: int,
    retain: bool,
    pairs: list[tuple[str, str]],
    content_type: str,
    identifiers: list[int],
) -> None:
    """With every property that matters, and some that do not."""
    properties: Any = Properties(PacketTypes.PUBLISH)
    if pairs:
        properties.UserProperty = pairs
    for identifier in identifiers[:3]:
        properties.SubscriptionIdentifier = identifier
    properties.ContentType, properties.ResponseTopic, properties.CorrelationData = content_type, topic, payload
    properties.MessageExpiryInterval, properties.TopicAlias, properties.PayloadFormatIndicator = 7, 8, 1
    head = _text(topic) + (b"\x01\x02" if qos else b"")
    message = decode(0x30 | qos << 1 | retain, head + properties.pack() + payload, version5=True)
    assert (message.topic, message.payload, message.qos, message.retain) == (topic, payload, qos, retain)
    assert message.identifier == (0x0102 if qos else 0)
    assert message.headers == dict(pairs)
    assert (message.content_type, message.response_topic, message.correlation) == (content_type, topic, payload)
    assert list(message.subscriptions) == identifiers[:3]
    older = decode(0x30 | qos << 1 | retain, head + payload, version5=False)
    assert (older.topic, older.payload, older.identifier, older.headers) == (topic, payload, message.identifier, {})


@given(st.integers(0, 255), st.binary(max_size=60), st.booleans())
def test_arbitrary_bytes(command: int, packet: bytes, version5: bool) -> None:
    """Any bytes give a message, or the error that ends the connection."""
    with contextlib.suppress(MalformedPacketError):
        decode(command, packet, version5=version5)


@given(st.binary(max_size=30), st.booleans())
def test_arbitrary_answers_to_subscribe(body: bytes, version5: bool) -> None:
    """Any bytes of an answer give an identifier and reason codes, or the error that ends the connection."""
    with contextlib.suppress(MalformedPacketError):
        identifier, codes = decode_answer(body, version5=version5)
        assert 0 <= identifier <= 65_535
        assert body.endswith(codes)


PACKETS = st.lists(
    st.tuples(st.integers(0, 255), st.integers(0, 20_000).map(bytes) | st.binary(max_size=40)), max_size=8
)


@given(packets=PACKETS, cuts=st.lists(st.integers(0, 30_000), max_size=12), stop=st.integers(0, 9))
def test_packets_are_found_however_they_are_cut(packets: list[tuple[int, bytes]], cuts: list[int], stop: int) -> None:
    """Packets are found in pieces of any size, also where the reader stopped in the middle of a piece."""
    stream = b"".join(b"%c%b%b" % (first, variable_integer(len(body)), body) for first, body in packets)
    reader, found = PacketReader(lambda *_: None), []
    for start, end in pairwise([0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]):
        reader.feed(stream[start:end])
        for number, packet in enumerate(reader.packets()):
            found.append(packet)
            if number == stop:
                break
    assert found == packets[: len(found)]
    assert found + list(reader.packets()) == packets


@given(st.binary(max_size=40))
def test_arbitrary_bytes_are_split_or_refused(data: bytes) -> None:
    """Each packet that is returned is part of the bytes that came; others give the error that ends the connection."""
    reader = PacketReader(lambda *_: None)
    reader.feed(data)
    with contextlib.suppress(MalformedPacketError):
        for _, body in reader.packets():
            assert body in data
