"""PUBLISH packets: what paho writes is read as it was meant, and nothing that a broker sends does harm."""

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge.adapters.mqtt.packets.message import decode

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
    assert message.mid == (0x0102 if qos else 0)
    assert message.headers == dict(pairs)
    assert (message.content_type, message.response_topic, message.correlation) == (content_type, topic, payload)
    assert list(message.identifiers) == identifiers[:3]
    older = decode(0x30 | qos << 1 | retain, head + payload, version5=False)
    assert (older.topic, older.payload, older.mid, older.headers) == (topic, payload, message.mid, {})


@given(st.integers(0, 255), st.binary(max_size=60), st.booleans())
def test_arbitrary_bytes(command: int, packet: bytes, version5: bool) -> None:
    """They are a message, or one of the errors by which the connection ends."""
    with contextlib.suppress(ValueError, IndexError):
        decode(command, packet, version5=version5)
