"""A scripted MQTT 5 broker: it takes every client and every message, and sends one message to each subscription."""

from typing import Final

from tests.support.servers.scripted.server import NO_TEXT, Peer, endless, rewritten, table


def packet(kind: int, body: bytes) -> bytes:
    """Return a control packet: its first byte, the length as a variable byte integer, and the rest."""
    length, size = b"", len(body)
    while True:
        size, byte = divmod(size, 128)
        length += bytes([byte | (0x80 if size else 0)])
        if not size:
            return bytes([kind]) + length + body


def text(value: bytes) -> bytes:
    """Return a string with its length before it."""
    return len(value).to_bytes(2, "big") + value


def message(topic: bytes = b"in/x", payload: bytes = b"1", properties: bytes = b"", first: int = 0x32) -> bytes:
    """Return a PUBLISH with QoS 1 and packet identifier 7."""
    identifier = b"\x00\x07" if first & 0x06 else b""
    return packet(first, text(topic) + identifier + bytes([len(properties)]) + properties + payload)


async def converse(peer: Peer) -> None:
    """Answer a client; after SUBSCRIBE a message comes, PUBLISH and the rest are acknowledged."""
    while True:
        first = (await peer.read(1))[0]
        size, shift = 0, 0
        while True:
            byte = (await peer.read(1))[0]
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        body = await peer.read(size)
        match first >> 4:
            case 1:
                await peer.say("connack", packet(0x20, b"\x00\x00\x00"))
            case 3 if first & 0x06:
                at = 2 + int.from_bytes(body[:2], "big")
                await peer.say("puback", packet(0x40, body[at : at + 2]))
            case 8:
                await peer.say("suback", packet(0x90, body[:2] + b"\x00\x01"))
                await peer.say("message", message())
            case 10:
                await peer.say("unsuback", packet(0xB0, body[:2] + b"\x00\x11"))
            case 12:
                await peer.say("pingresp", b"\xd0\x00")
            case 14:
                return


_USER: Final = b"\x26"

FAULTS: Final = table(
    ("connack", "suback", "message", "puback", "unsuback"),
    {
        ("connack", "huge_length"): b"\x20\xff\xff\xff\x7f",
        ("connack", "bad_length"): b"\x20\xff\xff\xff\xff\x01",
        ("connack", "unknown_code"): packet(0x20, b"\x00\xee\x00"),
        ("connack", "busy"): packet(0x20, b"\x00\x89\x00"),
        ("connack", "use_another_server"): packet(0x20, b"\x00\x9c\x00"),
        ("connack", "not_authorized"): packet(0x20, b"\x00\x87\x00"),
        ("connack", "no_receive_maximum"): packet(0x20, b"\x00\x00\x03\x21\x00\x00"),
        ("connack", "reason_no_text"): packet(0x20, b"\x00\x87" + bytes([3 + 4]) + b"\x1f" + text(b"\xff\xfe\xfd\xfc")),
        ("suback", "refused"): packet(0x90, b"\x00\x01\x00\x87"),
        ("suback", "no_codes"): packet(0x90, b"\x00\x01\x00"),
        ("suback", "of_nobody"): packet(0x90, b"\x77\x77\x00\x01"),
        ("message", "topic_no_text"): message(topic=b"in/\xff\xfe"),
        ("message", "topic_wildcard"): message(topic=b"in/#"),
        ("message", "unknown_alias"): message(topic=b"", properties=b"\x23\x00\x05"),
        ("message", "unknown_alias_qos0"): message(topic=b"", properties=b"\x23\x00\x05", first=0x30),
        ("message", "property_no_text"): message(properties=_USER + text(b"\xff") + text(b"\xfe")),
        ("message", "property_unknown"): message(properties=b"\x7e\x01"),
        ("message", "property_cut"): message(properties=_USER + b"\x00\xff"),
        ("message", "qos3"): message(first=0x36),
        ("message", "huge_length"): b"\x32\xff\xff\xff\x7f\x00",
        ("message", "endless"): endless(message() * 100, most=200_000),
        ("message", "payload_no_text"): message(payload=NO_TEXT),
        ("message", "disconnect_taken_over"): packet(0xE0, b"\x8e\x00"),
        ("message", "disconnect_moved"): packet(0xE0, b"\x9d\x00"),
        ("puback", "of_nobody"): packet(0x40, b"\x77\x77"),
        ("puback", "not_authorized"): rewritten(lambda data: packet(0x40, data[2:4] + b"\x87\x00")),
    },
)
