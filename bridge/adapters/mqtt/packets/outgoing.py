"""What is published, from its packet to the broker's last word on it (section 4.3 of MQTT 5 and 3.1.1).

Packets are made by hand and written together; paho's way of one message costs more than all the rest of the bridge's.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from bridge.adapters.mqtt.errors import translate
from bridge.adapters.mqtt.packets.headers import Packed, variable_integer
from bridge.core.errors import BridgeError
from bridge.core.ports import Promise

PUBACK: Final = 0x40
PUBREC: Final = 0x50
PUBCOMP: Final = 0x70
_PUBLISH: Final = 0x30
_PUBREL: Final = b"\x62\x02"
#: Reason codes (MQTT 5, 2.4).
_NO_SUBSCRIBERS: Final = 0x10
_FAILURE: Final = 0x80
_KINDS: Final = {PUBACK: PacketTypes.PUBACK, PUBREC: PacketTypes.PUBREC, PUBCOMP: PacketTypes.PUBCOMP}


class Outgoing:
    """Messages under way. No more than the broker takes are unanswered at a time; the others wait, in order.

    Attributes:
        window: How many messages with QoS 1 and 2 the broker takes at a time (MQTT 5, 4.9).
    """

    def __init__(self, write: Callable[[bytes], None], new_identifier: Callable[[], int], *, version5: bool) -> None:
        """Nothing is sent yet.

        Args:
            write: Takes the bytes of a packet, in order.
            new_identifier: Makes packet identifiers; other packets that wait for an answer have theirs from it, too.
            version5: MQTT 5; else 3.1.1.
        """
        self.window = 65_535
        self._write = write
        self._new_identifier = new_identifier
        self._version5 = version5
        self._unanswered: dict[int, Promise] = {}
        self._waiting: deque[tuple[bytes, bytes, Promise]] = deque()

    def publish(
        self, topic: str, payload: bytes, qos: int, *, retain: bool, properties: Packed | None, promise: Promise
    ) -> None:
        """Send a message, or let it wait for room; with QoS 0 nobody answers and the promise is not used."""
        name = topic.encode()
        head = b"%c%c" % (len(name) >> 8, len(name) & 0xFF) + name
        body = payload
        if self._version5:
            body = (b"\x00" if properties is None else properties.pack()) + payload
        first = _PUBLISH | qos << 1 | retain
        if qos == 0:
            self._write(b"%c%b%b%b" % (first, variable_integer(len(head) + len(body)), head, body))
            return
        start = b"%c%b%b" % (first, variable_integer(len(head) + 2 + len(body)), head)
        if len(self._unanswered) < self.window:
            self._send(start, body, promise)
        else:
            self._waiting.append((start, body, promise))

    def _send(self, start: bytes, body: bytes, promise: Promise) -> None:
        identifier = self._new_identifier()
        while identifier in self._unanswered:
            identifier = self._new_identifier()
        self._unanswered[identifier] = promise
        self._write(b"%b%c%c%b" % (start, identifier >> 8, identifier & 0xFF, body))

    def take(self, kind: int, identifier: int, code: int) -> None:
        """The broker has answered with PUBACK, PUBREC or PUBCOMP; an answer to nothing is no matter."""
        if identifier not in self._unanswered:
            return
        if kind == PUBREC and code < _FAILURE:
            self._write(b"%b%c%c" % (_PUBREL, identifier >> 8, identifier & 0xFF))
            return
        promise = self._unanswered.pop(identifier)
        self._go_on()
        if promise.done():
            return
        if code == 0:
            promise.set_result({})
        elif code < _FAILURE:
            promise.set_result({"receivers": 0} if code == _NO_SUBSCRIBERS else {})
        else:
            promise.set_exception(translate(aiomqtt.MqttCodeError(ReasonCode(_KINDS[kind], identifier=code))))

    def _go_on(self) -> None:
        """Send what waits for the room that there is now; what was given up meanwhile is not sent."""
        while self._waiting and len(self._unanswered) < self.window:
            start, body, promise = self._waiting.popleft()
            if not promise.done():
                self._send(start, body, promise)

    def fail(self, error: Callable[[], BridgeError]) -> None:
        """The connection is gone; nobody will answer."""
        unanswered, self._unanswered = self._unanswered, {}
        waiting, self._waiting = self._waiting, deque()
        for promise in (*unanswered.values(), *(one[-1] for one in waiting)):
            if not promise.done():
                promise.set_exception(error())
