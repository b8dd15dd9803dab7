"""SUBSCRIBE and UNSUBSCRIBE are written, and their answers read, as the specification wants them."""

import pytest

from bridge.adapters.mqtt.packets.subscriptions import decode_answer, subscribe, unsubscribe
from bridge.adapters.mqtt.packets.wire_format import MalformedPacketError


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (subscribe(10, "a/b", 1, version5=False), b"\x82\x08\x00\x0a\x00\x03a/b\x01"),
        (subscribe(10, "a/b", 2, version5=True), b"\x82\x09\x00\x0a\x00\x00\x03a/b\x02"),
        (
            subscribe(10, "ä", 0, version5=True, subscription=300),
            b"\x82\x0b\x00\x0a\x03\x0b\xac\x02\x00\x02\xc3\xa4\x00",
        ),
        (unsubscribe(0x1234, ["a/b"], version5=False), b"\xa2\x07\x12\x34\x00\x03a/b"),
        (unsubscribe(0x1234, ["a/b", "c"], version5=True), b"\xa2\x0b\x12\x34\x00\x00\x03a/b\x00\x01c"),
    ],
)
def test_requests(packet: bytes, expected: bytes) -> None:
    """Figures 3.20 and 3.28 of MQTT 3.1.1, and the same with properties."""
    assert packet == expected


def test_a_long_filter() -> None:
    """Its length takes more than one byte, and so does the packet's."""
    packet = subscribe(1, "x" * 60_000, 1, version5=True)
    assert packet[:8] == b"\x82\xe6\xd4\x03\x00\x01\x00\xea"
    assert len(packet) == 60_000 + 10


def test_answers() -> None:
    """Properties are skipped; UNSUBACK of MQTT 3.1.1 has no reason code."""
    assert decode_answer(b"\x00\x0a\x01", version5=False) == (10, b"\x01")
    assert decode_answer(b"\x00\x0a", version5=False) == (10, b"")
    assert decode_answer(b"\x00\x0a\x04\x1f\x00\x01x\x87", version5=True) == (10, b"\x87")


@pytest.mark.parametrize("body", [b"", b"\x01", b"\x00\x0a", b"\x00\x0a\x05x", b"\x00\x0a\xff\xff\xff\xff\x01"])
def test_what_is_no_answer(body: bytes) -> None:
    """It ends the connection by an error of its own."""
    with pytest.raises(MalformedPacketError):
        decode_answer(body, version5=True)
