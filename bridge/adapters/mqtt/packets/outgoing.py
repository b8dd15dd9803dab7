"""Messages that the bridge publishes, from PUBLISH to the broker's last answer (section 4.3 of MQTT 5 and 3.1.1)."""

from collections import deque
from collections.abc import Callable
from typing import Final

from paho.mqtt.packettypes import PacketTypes

from bridge.adapters.mqtt.errors import refused
from bridge.adapters.mqtt.packets.headers import PropertyWriter
from bridge.adapters.mqtt.packets.identifiers import Identifiers
from bridge.adapters.mqtt.packets.wire_format import (
    FAILURE,
    LARGEST,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    acknowledgement,
    variable_integer,
    with_length,
)
from bridge.core.errors import BridgeError, InvalidError
from bridge.core.ports import Promise

#: A reason code (MQTT 5, 2.4): nobody has subscribed to the topic.
_NO_SUBSCRIBERS: Final = 0x10
_KINDS: Final = {PUBACK: PacketTypes.PUBACK, PUBREC: PacketTypes.PUBREC, PUBCOMP: PacketTypes.PUBCOMP}
#: Messages that are unanswered at most; the other packet identifiers are left for subscriptions.
_MOST: Final = 65_000


class OutgoingMessages:
    """Sends messages and settles their promises.

    No more messages than the broker takes are unanswered at a time; the others wait, in order.
    """

    def __init__(self, write: Callable[[bytes], None], identifiers: Identifiers, *, version5: bool) -> None:
        """Nothing is sent yet.

        Args:
            write: Takes the bytes of a packet, in order.
            identifiers: Gives out packet identifiers.
            version5: MQTT 5; else 3.1.1.
        """
        self._window = _MOST
        self._packet_size = LARGEST
        self._write = write
        self._identifiers = identifiers
        self._version5 = version5
        self._unanswered: dict[int, Promise] = {}
        self._waiting: deque[tuple[bytes, bytes, Promise]] = deque()

    def limit(self, *, window: int, packet_size: int) -> None:
        """Set what the broker takes.

        Args:
            window: Messages with QoS 1 and 2 that may be unanswered at a time (MQTT 5, 4.9: Receive Maximum).
            packet_size: Bytes of the largest packet (MQTT 5, 3.2.2.3.6: Maximum Packet Size).
        """
        self._window = min(window, _MOST)
        self._packet_size = packet_size

    def publish(
        self, topic: str, payload: bytes, qos: int, *, retain: bool, properties: PropertyWriter | None, promise: Promise
    ) -> None:
        """Send a message, or keep it until there is room in the window.

        The promise gets `{}` when the broker has taken the message over, `{"receivers": 0}` where the broker found no
        subscriber, or the error by which the broker refused it. With QoS 0 the broker does not answer, and the promise
        is not used.

        Raises:
            InvalidError: The packet is larger than the broker takes.
        """
        head = with_length(topic.encode())
        body = payload
        if self._version5:
            body = (b"\x00" if properties is None else properties.encode()) + payload
        first = PUBLISH | qos << 1 | retain
        length = len(head) + len(body) + (2 if qos else 0)
        start = b"%c%b%b" % (first, variable_integer(length), head)
        if (size := len(start) - len(head) + length) > self._packet_size:
            raise InvalidError(f"message: {size} bytes with topic and headers; the broker takes {self._packet_size}")
        if qos == 0:
            self._write(start + body)
            return
        if len(self._unanswered) < self._window:
            self._send(start, body, promise)
        else:
            self._waiting.append((start, body, promise))

    def _send(self, start: bytes, body: bytes, promise: Promise) -> None:
        identifier = self._identifiers.take()
        self._unanswered[identifier] = promise
        self._write(b"%b%c%c%b" % (start, identifier >> 8, identifier & 0xFF, body))

    def on_answer(self, kind: int, identifier: int, code: int) -> None:
        """Take PUBACK, PUBREC or PUBCOMP, with its reason code; one that answers no message is ignored."""
        if identifier not in self._unanswered:
            return
        if kind == PUBREC and code < FAILURE:
            self._write(acknowledgement(PUBREL, identifier))
            return
        promise = self._unanswered.pop(identifier)
        self._identifiers.release(identifier)
        self._send_waiting()
        if promise.done():
            return
        if code == 0:
            promise.set_result({})
        elif code < FAILURE:
            promise.set_result({"receivers": 0} if code == _NO_SUBSCRIBERS else {})
        else:
            promise.set_exception(refused(_KINDS[kind], code))

    def _send_waiting(self) -> None:
        """Send what waits as far as there is room; messages whose caller has given up are not sent."""
        while self._waiting and len(self._unanswered) < self._window:
            start, body, promise = self._waiting.popleft()
            if not promise.done():
                self._send(start, body, promise)

    def fail(self, error: Callable[[], BridgeError]) -> None:
        """Fail all messages that are unanswered or wait: the connection is gone."""
        unanswered, self._unanswered = self._unanswered, {}
        waiting, self._waiting = self._waiting, deque()
        for promise in (*unanswered.values(), *(one[-1] for one in waiting)):
            if not promise.done():
                promise.set_exception(error())
