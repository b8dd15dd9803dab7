"""The order of acknowledgements to the broker.

PUBACK and PUBREC go out in the order of their PUBLISH (MQTT 5 and 3.1.1, [MQTT-4.6.0-2] and [MQTT-4.6.0-3]): a message
that is settled early waits for those that came before it with the same QoS. Only messages that may have to wait for
long are set aside, so that they do not hold up those of other subscriptions.
"""

import itertools
import operator
from collections import deque
from collections.abc import Callable, Collection, Sequence

from bridge.adapters.mqtt.packets.message import IncomingMessage

_is_settled = operator.attrgetter("settled")


class Acks:
    """The messages of one session that are not acknowledged yet; they outlive the session's connections.

    After a reconnection the broker sends again, under the same packet identifier, each message that it has no
    acknowledgement of ([MQTT-4.4.0-1]). Such a message is recognised here; and a message of QoS 2 that was acknowledged
    is not taken a second time until the broker has released its identifier ([MQTT-4.3.3-10]).

    Attributes:
        held_bytes: Bytes of all messages of this connection that are neither delivered nor acknowledged.
        on_room: Called once when these have become fewer than `room`.
        room: See `on_room`.
    """

    def __init__(self) -> None:
        self.held_bytes = 0
        self.room = 0
        self.on_room: Callable[[], None] | None = None
        self._send: Callable[[Sequence[IncomingMessage]], bool] = lambda _: False
        self._queues: tuple[deque[IncomingMessage], deque[IncomingMessage]] = (deque(), deque())
        self._aside: set[IncomingMessage] = set()
        self._before: dict[tuple[int, int], IncomingMessage] = {}
        self._answered: set[int] = set()

    def begin(self, send: Callable[[Sequence[IncomingMessage]], bool], *, present: bool) -> None:
        """Begin a connection.

        Args:
            send: Writes the acknowledgements of messages; returns False where there is no connection any more.
            present: Whether the broker had kept the session.
        """
        self._send = send
        self.held_bytes, self.on_room = 0, None
        left = [*self._aside, *self._queues[0], *self._queues[1]]
        self._aside.clear()
        for queue in self._queues:
            queue.clear()
        if present:
            self._before |= {(message.qos, message.identifier): message for message in left}
        else:
            self._before.clear()
            self._answered.clear()

    def came(self, message: IncomingMessage) -> IncomingMessage | None:
        """Add a message that has come; return what it was on an earlier connection, where it is known.

        Where what it was, or the message itself, is `settled`, there is nothing more to do for it; where it was
        `delivered`, it is only to be acknowledged.
        """
        if message.qos == 0:
            return None
        self._queues[message.qos - 1].append(message)
        self.held_bytes += message.size
        if message.qos == 2 and message.identifier in self._answered:
            self.settle(message)
            return message
        if not self._before:
            return None
        before = self._before.pop((message.qos, message.identifier), None)
        if before is None or (before.topic, before.payload) != (message.topic, message.payload):
            return None
        if before.settled:
            self.settle(message)
        return before

    def delivered(self, message: IncomingMessage) -> None:
        """Take note that a message is delivered, and is acknowledged soon: it fills the memory no more."""
        if not message.delivered:
            message.delivered = True
            self.held_bytes -= message.size
            if self.on_room is not None:
                self._tell_of_room()

    def settle(self, *messages: IncomingMessage) -> None:
        """Acknowledge each message as soon as all that came before it are settled, or set aside."""
        for message in messages:
            message.settled = True
            if message.aside and message in self._aside and self._send((message,)):  # else of an earlier connection
                self._aside.discard(message)
                self._acknowledged(message)
        for queue in self._queues:
            if queue and queue[0].settled:
                self._acknowledge_settled(queue)

    def _acknowledge_settled(self, queue: deque[IncomingMessage]) -> None:
        settled = list(itertools.takewhile(_is_settled, queue))
        if settled and self._send(settled):
            for message in settled:
                queue.popleft()
                if message.qos == 2 or not message.delivered:
                    self._acknowledged(message)

    def leave(self, message: IncomingMessage) -> None:
        """Forget a message without acknowledging it: the broker sends it again with the next connection."""
        self._queues[message.qos - 1].remove(message)
        self.held_bytes -= message.size

    def _acknowledged(self, message: IncomingMessage) -> None:
        if not message.delivered:
            self.held_bytes -= message.size
            self._tell_of_room()
        if message.qos == 2:
            self._answered.add(message.identifier)

    def _tell_of_room(self) -> None:
        if self.on_room is not None and self.held_bytes < self.room:
            on_room, self.on_room = self.on_room, None
            on_room()

    def released(self, identifier: int) -> None:
        """Take note of PUBREL: the broker may use this identifier for another message of QoS 2 from now on."""
        self._answered.discard(identifier)

    def set_aside(self, messages: Collection[IncomingMessage]) -> None:
        """Let other messages be acknowledged before these, which may have to wait for long."""
        waiting = {message for message in messages if message.qos and not message.aside and not message.settled}
        for message in waiting:
            message.aside = True
        self._aside |= waiting
        for queue in self._queues:
            if queue and queue[-1] in waiting and len(waiting) == 1:
                queue.pop()
            elif not waiting.isdisjoint(queue):
                kept = [message for message in queue if message not in waiting]
                queue.clear()
                queue.extend(kept)
            self._acknowledge_settled(queue)
