"""Messages that the bridge publishes, from PUBLISH to the broker's last answer (section 4.3 of MQTT 5 and 3.1.1)."""

from collections import deque
from collections.abc import Callable
from typing import Final

from paho.mqtt.packettypes import PacketTypes

from bridge.adapters.mqtt.errors import refused
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
#: Packet identifiers that messages have at most, those of earlier connections among them; the others are left for
#: subscriptions.
_MOST: Final = 65_000


class UnfinishedMessages:
    """The packet identifiers by which the broker may still know messages of QoS 2; they outlive a connection.

    A broker that has an identifier takes the next message with it for the same one, answers as usual, and publishes
    nothing. So it has to release each of them (PUBREL) before another message gets it ([MQTT-4.3.3-4], 4.4).

    Attributes:
        open: Identifiers of messages that the broker has not answered in full.
    """

    def __init__(self) -> None:
        self.open: set[int] = set()
        self._past_is_known = False
        self._checked: set[int] = set()

    def begin(self, *, present: bool) -> None:
        """Begin a connection; `present` is whether the broker had kept the session."""
        if not present:
            self.open.clear()
            self._past_is_known = True

    def may_be_taken(self, identifier: int) -> bool:
        """Return whether a message of an earlier process may have this identifier; True only once for each."""
        if self._past_is_known or identifier in self._checked:
            return False
        self._checked.add(identifier)
        return True


class OutgoingMessages:
    """Sends messages and settles their promises.

    No more messages than the broker takes are unanswered at a time; the others wait, in order. All wait while more is
    to be written than `has_room` allows, so a broker that reads slowly fills no memory.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        identifiers: Identifiers,
        *,
        version5: bool,
        unfinished: UnfinishedMessages,
        has_room: Callable[[], bool] = lambda: True,
        on_written: Callable[[Promise], None] = lambda promise: promise.set_result({}),
    ) -> None:
        """Nothing is sent yet.

        Args:
            write: Takes the bytes of a packet, in order.
            identifiers: Gives out packet identifiers.
            version5: MQTT 5; else 3.1.1.
            unfinished: What the connections of one session have in common.
            has_room: Whether `write` should be given more; where it says no, call `send_waiting` once it says yes.
            on_written: Takes the promise of a message with QoS 0, right after `write` took the message.
        """
        self._window = _MOST
        self._packet_size = LARGEST
        self._write = write
        self._identifiers = identifiers
        self._version5 = version5
        self._unfinished = unfinished
        self._has_room = has_room
        self._on_written = on_written
        self._unanswered: dict[int, Promise] = {}
        # PUBREC has come with this reason code; PUBCOMP is still to come.
        self._received: dict[int, int] = {}
        self._waiting: deque[tuple[bytes, bytes, Promise]] = deque()
        self._waiting_unanswered: deque[tuple[bytes, Promise]] = deque()

    def limit(self, *, window: int, packet_size: int) -> None:
        """Set what the broker takes.

        Args:
            window: Messages with QoS 1 and 2 that may be unanswered at a time (MQTT 5, 4.9: Receive Maximum).
            packet_size: Bytes of the largest packet (MQTT 5, 3.2.2.3.6: Maximum Packet Size).
        """
        self._window = min(window, _MOST)
        self._packet_size = packet_size

    def begin(self, *, present: bool) -> None:
        """Begin a connection: release what the broker still has of an earlier one, where it had kept the session."""
        self._unfinished.begin(present=present)
        self._identifiers.reserve(self._unfinished.open)
        for identifier in self._unfinished.open:
            self._write(acknowledgement(PUBREL, identifier))

    def publish(
        self, topic: str, payload: bytes, qos: int, *, retain: bool, properties: bytes | None, promise: Promise
    ) -> None:
        """Send a message, or keep it until there is room.

        The promise gets `{}` when the broker has taken the message over, `{"receivers": 0}` where the broker found no
        subscriber, or the error by which the broker refused it. The broker does not answer a message with QoS 0; see
        `on_written`. With MQTT 5 the message has the `properties` that `PropertyWriter.encode` returns.

        Raises:
            InvalidError: The packet is larger than the broker takes.
        """
        head = with_length(topic.encode())
        body = payload
        if self._version5:
            body = (properties or b"\x00") + payload
        first = PUBLISH | qos << 1 | retain
        length = len(head) + len(body) + (2 if qos else 0)
        start = b"%c%b%b" % (first, variable_integer(length), head)
        if (size := len(start) - len(head) + length) > self._packet_size:
            raise InvalidError(f"message: {size} bytes with topic and headers; the broker takes {self._packet_size}")
        if qos == 0:
            if self._waiting_unanswered or not self._has_room():
                while self._waiting_unanswered and self._waiting_unanswered[0][1].done():
                    self._waiting_unanswered.popleft()
                self._waiting_unanswered.append((start + body, promise))
                return
            self._write(start + body)
            self._on_written(promise)
        elif self._may_send():
            self._send(start, body, promise)
        else:
            # Those that were given up go first, so that a broker that answers nothing any more fills no memory.
            while self._waiting and self._waiting[0][2].done():
                self._waiting.popleft()
            self._waiting.append((start, body, promise))

    def _may_send(self) -> bool:
        """Return whether the broker, the packet identifiers and the socket have room for a message of QoS 1 or 2."""
        return len(self._unanswered) < self._window and len(self._identifiers.used) < _MOST and self._has_room()

    def _send(self, start: bytes, body: bytes, promise: Promise) -> None:
        identifier = self._identifiers.take()
        self._unanswered[identifier] = promise
        if start[0] & 0x04:  # QoS 2
            if self._unfinished.may_be_taken(identifier):
                self._write(acknowledgement(PUBREL, identifier))
            self._unfinished.open.add(identifier)
        self._write(b"%b%c%c%b" % (start, identifier >> 8, identifier & 0xFF, body))

    def on_answer(self, kind: int, identifier: int, code: int) -> None:
        """Take PUBACK, PUBREC or PUBCOMP, with its reason code; one that answers no message is ignored."""
        if identifier not in self._unanswered:
            if kind == PUBCOMP and identifier in self._unfinished.open:  # of an earlier connection
                self._unfinished.open.remove(identifier)
                self._identifiers.release(identifier)
                self.send_waiting()
            return
        if kind != PUBACK:
            if kind == PUBREC and code < FAILURE:
                self._received[identifier] = code
                self._write(acknowledgement(PUBREL, identifier))
                return
            if kind == PUBCOMP and identifier not in self._received:
                return  # it answers the PUBREL that went before the message, see `may_be_taken`
            received = self._received.pop(identifier, 0)
            code = code or received
            self._unfinished.open.discard(identifier)
        promise = self._unanswered.pop(identifier)
        self._identifiers.release(identifier)
        if self._waiting:
            self.send_waiting()
        if promise.done():
            return
        if code == 0:
            promise.set_result({})
        elif code < FAILURE:
            promise.set_result({"receivers": 0} if code == _NO_SUBSCRIBERS else {})
        else:
            promise.set_exception(refused(_KINDS[kind], code))

    def send_waiting(self) -> None:
        """Send what waits as far as there is room; messages whose caller has given up are not sent."""
        while self._waiting_unanswered and self._has_room():
            packet, promise = self._waiting_unanswered.popleft()
            if not promise.done():
                self._write(packet)
                self._on_written(promise)
        while self._waiting and self._may_send():
            start, body, promise = self._waiting.popleft()
            if not promise.done():
                self._send(start, body, promise)

    def fail(self, error: Callable[[], BridgeError]) -> None:
        """Fail all messages that are unanswered or wait: the connection is gone."""
        unanswered, self._unanswered = self._unanswered, {}
        waiting, self._waiting = self._waiting, deque()
        loose, self._waiting_unanswered = self._waiting_unanswered, deque()
        for promise in (*unanswered.values(), *(one[-1] for one in waiting), *(one[-1] for one in loose)):
            if not promise.done():
                promise.set_exception(error())
