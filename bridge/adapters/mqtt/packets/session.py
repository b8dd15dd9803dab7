"""The packets by which a broker accepts and ends a session: CONNACK and DISCONNECT (sections 3.2 and 3.14)."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from bridge.adapters.mqtt.packets.properties import REASON_STRING, SERVER_REFERENCE, read_properties
from bridge.adapters.mqtt.packets.wire_format import MalformedPacketError

#: Return codes of CONNACK in MQTT 3.1.1 (3.2.2.3), and the reason codes of MQTT 5 that mean the same.
_OLDER_CODES: Final = {0: 0, 1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87}
#: Characters of a broker's own text that an error shows at most.
_MOST_TEXT: Final = 200


class Verdict(msgspec.Struct, frozen=True):
    """What a broker says about a session, at its beginning or at its end.

    Attributes:
        code: The reason code of MQTT 5, also where the broker speaks 3.1.1.
        present: It has kept the session of an earlier connection.
        properties: See `properties.read_properties`.
    """

    code: int
    present: bool = False
    properties: Mapping[int, Any] = msgspec.field(default_factory=dict)

    @property
    def details(self) -> str:
        """The broker's own words and the server that it names instead, for the end of a message; empty without."""
        words, server = self.properties.get(REASON_STRING), self.properties.get(SERVER_REFERENCE)
        said = f" ({_shown(words)})" if words else ""
        return f"{said}; it names another server: {_shown(server)}" if server else said


def _shown(text: str) -> str:
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text[:_MOST_TEXT])


def decode_connack(body: bytes, *, version5: bool) -> Verdict:
    """Decode the body of CONNACK; raises MalformedPacketError where it is none."""
    if len(body) < 2:
        raise MalformedPacketError("the packet ends too early")
    present, code = bool(body[0] & 1), body[1]
    if version5:
        return Verdict(code, present, read_properties(body, 2))
    return Verdict(_OLDER_CODES.get(code, 0x80), present)


def decode_disconnect(body: bytes) -> Verdict:
    """Decode the body of DISCONNECT; raises MalformedPacketError where it is none."""
    return Verdict(body[0] if body else 0, properties=read_properties(body, 1))
