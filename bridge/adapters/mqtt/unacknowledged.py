"""Messages that the application has not acknowledged yet (`ack = "consumer"`).

MQTT delivers nothing again within a connection, and does not count deliveries. So unacknowledged messages are delivered
again from here, and counted here. The broker keeps each one until its acknowledgement is sent, for the case that the
sidecar dies.
"""

import heapq
import math
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from itertools import count

import msgspec

from bridge.adapters.mqtt.acks import Acks
from bridge.adapters.mqtt.packets.message import IncomingMessage
from bridge.core.errors import InvalidError
from bridge.core.model import Inbound
from bridge.core.ports import AckDecision, Clock, Deliver
from bridge.core.settings import Hold
from bridge.core.timer import Timer


class Unacknowledged(msgspec.Struct, eq=False):
    """One message for one subscription.

    Attributes:
        inbound: What is delivered; its id stays the same.
        message: The message as the broker sent it last; None where the broker no longer has it.
        queue: The subscription's.
        attempts: How often it was delivered.
        due: When it is to be delivered again, on the clock's `monotonic`.
        done: It was acknowledged, or given up.
    """

    inbound: Inbound
    message: IncomingMessage | None
    queue: "SubscriptionQueue"
    attempts: int = 0
    due: float = 0.0
    done: bool = False


class SubscriptionQueue:
    """The messages of one subscription.

    At most `hold.limit` are delivered and unacknowledged at a time; the others wait, in order.

    Attributes:
        topic: The filter of the subscription.
        wake: To be set; called when something can be delivered.
    """

    def __init__(self, messages: "UnacknowledgedMessages", topic: str, deliver: Deliver, hold: Hold) -> None:
        """`deliver` and `hold` are those of the subscription in this connection."""
        self.topic = topic
        self.deliver, self.hold = deliver, hold
        self.wake: Callable[[], None] = _nothing
        self._messages = messages
        self._new: deque[tuple[IncomingMessage, Inbound]] = deque()
        # By id; the one that was delivered first comes first.
        self._delivered: OrderedDict[str, Unacknowledged] = OrderedDict()
        # Those that are to be delivered again, by time; one that was put in twice counts only with its own `due`.
        self._again: list[tuple[float, int, Unacknowledged]] = []
        self._clock = messages.clock
        self._timer = Timer(messages.clock)

    def add(self, message: IncomingMessage, inbound: Inbound) -> None:
        """Add a new message, which `deliver_due` delivers."""
        self._new.append((message, inbound))

    async def deliver_due(self) -> None:
        """Deliver what there is room for, first what is to be delivered again.

        If it is cancelled, the message that is being delivered is delivered again.
        """
        now = self._clock.monotonic()
        while (oldest := next(iter(self._delivered.values()), None)) is not None and oldest.due <= now:
            self.deliver_again(oldest, oldest.due)
        while len(self._delivered) < self.hold.limit:
            one = self._next(now)
            if one is None:
                break
            await self._deliver(one)
        self._set_timer()

    def _next(self, now: float) -> Unacknowledged | None:
        while self._again and self._again[0][0] <= now:
            due, _, one = heapq.heappop(self._again)
            if not one.done and one.due == due:
                return one
        return self._messages.add(self, *self._new.popleft()) if self._new else None

    async def _deliver(self, one: Unacknowledged) -> None:
        most = self.hold.max_deliveries
        if most is not None and one.attempts >= most:
            self._messages.settle(one)
            self.hold.on_dead(_as_delivered(one), f"delivered {one.attempts} times and never acknowledged")
            return
        one.attempts += 1
        try:
            decision = await self.deliver(_as_delivered(one))
        except BaseException:
            one.attempts -= 1
            self.deliver_again(one, one.due)
            raise
        if decision is not AckDecision.HOLD:
            self._messages.settle(one)
        elif not one.done:
            one.due = self._clock.monotonic() + self.hold.visibility
            self._delivered[one.inbound.message_id or ""] = one

    def deliver_again(self, one: Unacknowledged, when: float) -> None:
        """Deliver a message again, not before the time `when`."""
        self.make_room(one)
        one.due = when
        heapq.heappush(self._again, (when, self._messages.number(), one))

    def make_room(self, one: Unacknowledged) -> None:
        """Count a message no longer as delivered and unacknowledged."""
        self._delivered.pop(one.inbound.message_id or "", None)

    def _set_timer(self) -> None:
        """Set the timer to when the next one is due; one that there is no room for is not waited for."""
        oldest = next(iter(self._delivered.values()), None)
        due = math.inf if oldest is None else oldest.due
        if self._again and len(self._delivered) < self.hold.limit:
            due = min(due, self._again[0][0])
        if due == math.inf:
            self._timer.cancel()
        elif due < self._timer.due:
            self._timer.set(due - self._clock.monotonic(), self._on_timer)

    def _on_timer(self) -> None:
        self.wake()

    def messages(self) -> list[IncomingMessage]:
        """Return all that the broker has no acknowledgement of because of this subscription."""
        return [message for message, _ in self._new] + self._messages.of(self)

    def end(self) -> list[IncomingMessage]:
        """Stop at the end of a connection; return what was not delivered, which the broker sends again."""
        self._timer.cancel()
        left = [message for message, _ in self._new]
        self._new.clear()
        return left


class UnacknowledgedMessages:
    """The unacknowledged messages of one client; like `Acks` they outlive its connections."""

    def __init__(self, acks: Acks, clock: Clock) -> None:
        """`acks` are told which messages are settled; `clock` measures how long the application may take."""
        self.clock = clock
        self._acks = acks
        self._queues: dict[str, SubscriptionQueue] = {}
        self._open: set[str] = set()
        self._by_id: dict[str, Unacknowledged] = {}
        self._by_message: dict[IncomingMessage, list[Unacknowledged]] = {}
        # So that no id is the same as one of an earlier process, which the application may still acknowledge.
        self._prefix = secrets.token_hex(6)
        self.number: Callable[[], int] = count(1).__next__

    def begin(self, *, present: bool) -> None:
        """Begin a connection; `present` is whether the broker had kept the session.

        What the broker has forgotten stays here until it is acknowledged.
        """
        self._open.clear()
        if not present:
            self._by_message.clear()
            for one in self._by_id.values():
                one.message = None

    def open(self, topic: str, deliver: Deliver, hold: Hold) -> SubscriptionQueue:
        """Return the queue of a subscription, which may be that of an earlier connection."""
        queue = self._queues.get(topic)
        if queue is None:
            queue = self._queues[topic] = SubscriptionQueue(self, topic, deliver, hold)
        queue.deliver, queue.hold = deliver, hold
        self._open.add(topic)
        return queue

    def close(self, topic: str) -> list[IncomingMessage]:
        """End a subscription; return the messages that nobody waits for any more, which are to be settled."""
        self._open.discard(topic)
        queue = self._queues.pop(topic, None)
        if queue is None:
            return []
        messages = queue.end()
        for one in [one for one in self._by_id.values() if one.queue is queue]:
            message = one.message
            self.forget(one)
            if message is not None:
                messages.append(message)
        return [message for message in messages if self._is_last(message)]

    def withdraw(self, topic: str) -> list[IncomingMessage]:
        """Deliver no more in this connection; return what was not delivered yet. The rest stays until `open`."""
        self._open.discard(topic)
        queue = self._queues.get(topic)
        return [] if queue is None else queue.end()

    def close_others(self, but: Collection[str] = ()) -> list[IncomingMessage]:
        """End the subscriptions that this connection does not have; see `close`.

        Args:
            but: Filters that will be subscribed to again.
        """
        others = self._queues.keys() - self._open - set(but)
        return [message for topic in others for message in self.close(topic)]

    def end(self) -> None:
        """End the connection."""
        for queue in self._queues.values():
            queue.wake = _nothing
            queue.end()

    def of(self, queue: SubscriptionQueue) -> list[IncomingMessage]:
        """Return the messages that a queue has delivered, or delivers."""
        return [one.message for one in self._by_id.values() if one.queue is queue and one.message is not None]

    def adopt(self, before: IncomingMessage, message: IncomingMessage) -> bool:
        """Let `message`, which the broker has sent again, take the place of `before`.

        Returns:
            Whether it is still unacknowledged here, and so needs no new delivery.
        """
        found = self._by_message.pop(before, None)
        if found is None:
            return False
        self._by_message[message] = found
        message.holders = before.holders
        for one in found:
            one.message = message
        return True

    def add(self, queue: SubscriptionQueue, message: IncomingMessage, inbound: Inbound) -> Unacknowledged:
        """Give a message of a subscription its id."""
        message_id = f"{self._prefix}-{self.number()}"
        one = Unacknowledged(msgspec.structs.replace(inbound, message_id=message_id), message, queue)
        self._by_id[message_id] = one
        self._by_message.setdefault(message, []).append(one)
        if message.owed is not None:
            message.owed.discard(queue.topic)
        return one

    def answer(self, message_id: str, *, again_in: float | None = None) -> None:
        """Take the application's answer: acknowledged, or to be delivered again in `again_in` seconds.

        Raises:
            InvalidError: There is no unacknowledged message of this id.
        """
        one = self._by_id.get(message_id)
        if one is None:
            raise InvalidError(f"message_id: no message {message_id[:100]} is held; it is done, or not of this process")
        if again_in is None:
            self.settle(one)
        else:
            one.queue.deliver_again(one, self.clock.monotonic() + again_in)
        one.queue.wake()

    def settle(self, one: Unacknowledged) -> None:
        """Forget a message that is done; it is acknowledged to the broker once all subscriptions are done with it."""
        if one.done:
            return
        message = one.message
        self.forget(one)
        if message is not None and self._is_last(message):
            self._acks.settle(message)

    def forget(self, one: Unacknowledged) -> None:
        """Forget a message without acknowledging it."""
        one.done = True
        one.queue.make_room(one)
        self._by_id.pop(one.inbound.message_id or "", None)
        if one.message is not None:
            others = self._by_message[one.message]
            others.remove(one)
            if not others:
                del self._by_message[one.message]

    @staticmethod
    def _is_last(message: IncomingMessage) -> bool:
        """Count a subscription as done with a message; return whether no other has to be."""
        message.holders -= 1
        return message.holders <= 0


def _nothing() -> None:
    """Nothing is delivered any more."""


def _as_delivered(one: Unacknowledged) -> Inbound:
    return msgspec.structs.replace(one.inbound, attempts=one.attempts)
