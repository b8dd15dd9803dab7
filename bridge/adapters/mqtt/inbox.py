"""Messages from the broker on their way to those who subscribed, acknowledged only after they were delivered."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from zlib import crc32

import structlog

from bridge.adapters._common.content import Codec
from bridge.adapters.mqtt.acks import Acks
from bridge.adapters.mqtt.packets.headers import inbound_headers
from bridge.adapters.mqtt.packets.message import IncomingMessage
from bridge.adapters.mqtt.topics import matches, plain
from bridge.adapters.mqtt.unacknowledged import SubscriptionQueue, UnacknowledgedMessages
from bridge.core.model import Inbound
from bridge.core.ports import AckDecision, Deliver
from bridge.core.settings import Hold

#: Messages that wait at most before no more are read.
MAX_WAITING: Final = 2_000
#: Subscription identifiers are 1 to this (MQTT 5, 3.8.2.1.2).
_MAX_IDENTIFIER: Final = 268_435_455

log = structlog.get_logger(__name__)


def identifier_of(topic: str) -> int:
    """Return the subscription identifier of a filter: the same in every session, because the broker keeps both."""
    return crc32(topic.encode()) % _MAX_IDENTIFIER + 1


@dataclass(eq=False, slots=True)
class TopicSubscription:
    """One subscription of this connection.

    Attributes:
        topic: The filter as it was sent, with `$share/<group>/` in front where there is a group.
        deliver: Takes its messages.
        filter: The filter that topics are compared with.
        identifier: The subscription identifier.
        queue: Where messages wait for the application's acknowledgement; None where it gives none.
    """

    topic: str
    deliver: Deliver
    filter: str
    identifier: int
    queue: SubscriptionQueue | None = None


class Inbox:
    """Delivers one message after the other, in the order of their arrival.

    A broker that had kept the session sends at once what was published meanwhile, before the subscriptions are made
    again. Such messages wait until their subscription comes, or until `settle`, after which none will come.

    Attributes:
        on_full: Called when so many messages wait that no more should be read.
        on_room: Called when none waits any more.
    """

    def __init__(self, codec: Codec, *, acks: Acks, unacknowledged: UnacknowledgedMessages) -> None:
        """`acks` and `unacknowledged` may be those of an earlier connection."""
        self._codec = codec
        self._acks = acks
        self._unacknowledged = unacknowledged
        self._session_is_kept = False
        self._subscriptions: list[TopicSubscription] = []
        self._waiting: deque[IncomingMessage] = deque()
        self._unclaimed: list[IncomingMessage] = []
        self._settled = False
        self._arrived = asyncio.Event()
        self.on_full: Callable[[], None] = lambda: None
        self.on_room: Callable[[], None] = lambda: None

    def begin(self, acknowledge: Callable[[IncomingMessage], bool], *, present: bool) -> None:
        """Begin a connection.

        Args:
            acknowledge: Sends the acknowledgement of a message; returns False where there is no connection any more.
            present: Whether the broker had kept the session.
        """
        self._session_is_kept = present
        self._acks.begin(acknowledge, present=present)
        self._unacknowledged.begin(present=present)
        self._unacknowledged.wake = self._arrived.set

    def put(self, message: IncomingMessage) -> None:
        """Add a message, which `run` delivers."""
        before = self._acks.came(message)
        if before is not None and (before.settled or self._unacknowledged.adopt(before, message)):
            return
        self._waiting.append(message)
        self._arrived.set()
        if len(self._waiting) >= MAX_WAITING:
            self.on_full()

    def open(self, topic: str, deliver: Deliver, hold: Hold | None = None) -> TopicSubscription:
        """Begin to deliver what matches a filter, first of all what has waited for it."""
        queue = None if hold is None else self._unacknowledged.open(topic, deliver, hold)
        subscription = TopicSubscription(topic, deliver, plain(topic), identifier_of(topic), queue)
        self._subscriptions.append(subscription)
        claimed = [message for message in self._unclaimed if self._fits(subscription, message)]
        if claimed:
            self._unclaimed = [message for message in self._unclaimed if message not in claimed]
            self._waiting.extendleft(reversed(claimed))
            self._acks.put_first(claimed)
            self._arrived.set()
        return subscription

    def close(self, subscription: TopicSubscription) -> None:
        """Deliver no more to this subscription."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
            if subscription.queue is not None:
                self._unacknowledged.close(subscription.topic)

    def withdraw(self, subscription: TopicSubscription) -> None:
        """Undo `open`, because the broker has not confirmed: what is unacknowledged is kept for the next try."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
            if subscription.queue is not None:
                self._unacknowledged.withdraw(subscription.topic)

    def has_others(self, subscription: TopicSubscription) -> bool:
        """Return whether another subscription has the same filter."""
        return any(one.topic == subscription.topic for one in self._subscriptions if one is not subscription)

    def settle(self) -> None:
        """Acknowledge what no subscription wants, now that all of them are made: it would fill the broker's window."""
        self._settled = True
        self._unacknowledged.close_others()
        unclaimed, self._unclaimed = self._unclaimed, []
        for message in unclaimed:
            self._discard(message)

    def _discard(self, message: IncomingMessage) -> None:
        log.warning("message of a subscription that is no more", topic=message.topic)
        self._acks.put_first((message,))
        self._acks.settle(message)

    async def run(self) -> None:
        """Deliver until cancelled. A message that is being delivered then stays unacknowledged and comes again."""
        while True:
            self._arrived.clear()
            while self._waiting:
                await self._deliver(self._waiting.popleft())
            for queue in self._unacknowledged.queues():
                await queue.deliver_due()
            self.on_room()
            await self._arrived.wait()

    async def _deliver(self, message: IncomingMessage) -> None:
        subscriptions = [one for one in self._subscriptions if self._fits(one, message)]
        if not subscriptions:
            if message.qos > 0 and not self._settled and self._session_is_kept:
                self._acks.set_aside(message)
                self._unclaimed.append(message)
            else:
                self._acks.settle(message)
            return
        inbound = self._inbound(message)
        queues: list[SubscriptionQueue] = []
        for subscription in subscriptions:
            if subscription.queue is not None and message.qos > 0:
                queues.append(subscription.queue)
                continue
            decision = subscription.deliver(inbound)
            if decision.__class__ is not AckDecision:
                await decision
        if not queues:
            self._acks.settle(message)
            return
        message.holders = len(queues)
        for queue in queues:
            queue.add(message, inbound)
        for queue in queues:
            await queue.deliver_due()

    def end(self) -> None:
        """End the connection."""
        self._unacknowledged.end()

    @staticmethod
    def _fits(subscription: TopicSubscription, message: IncomingMessage) -> bool:
        if message.subscriptions and subscription.identifier not in message.subscriptions:
            return False
        return matches(subscription.filter, message.topic)

    def _inbound(self, message: IncomingMessage) -> Inbound:
        headers = inbound_headers(message)
        content, more = self._codec.decode_or_keep(message.payload, message.content_type)
        headers |= more
        return Inbound(topic=message.topic, message=content, headers=headers)
