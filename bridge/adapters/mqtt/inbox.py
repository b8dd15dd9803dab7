"""Messages from the broker on their way to those who subscribed, acknowledged only when their events are on the bus."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from bridge.adapters._common.content import Codec
from bridge.adapters._common.delivered import Delivered
from bridge.adapters.mqtt.acks import Acks
from bridge.adapters.mqtt.packets.headers import inbound_headers
from bridge.adapters.mqtt.packets.message import IncomingMessage
from bridge.adapters.mqtt.stale import StaleMessages
from bridge.adapters.mqtt.topics import identifier_of, matches, plain
from bridge.adapters.mqtt.unacknowledged import SubscriptionQueue, UnacknowledgedMessages
from bridge.core.errors import BridgeError, ConnectionLostError, OverloadedError, ProtocolError
from bridge.core.model import Inbound
from bridge.core.ports import AckDecision, Clock, Deliver
from bridge.core.settings import Hold
from bridge.core.timer import Timer

#: Bytes of messages of QoS 1 and 2 that wait at most; their number is bounded by `receive_maximum`, and with MQTT 3.1.1
#: by the broker's own rule.
MOST_HELD_BYTES: Final = 64 << 20
#: Messages of QoS 0, and their bytes, that wait at most for one subscription.
MOST_LOOSE: Final = 2_000
MOST_LOOSE_BYTES: Final = 16 << 20
#: Seconds that messages of a kept session wait for a program that subscribes by command, again after a restart.
GRACE: Final = 10.0
#: Seconds that messages wait for a subscription that the broker did not confirm. Where it is still wanted, it is tried
#: again within about a minute; that of a command that has failed is not.
RETRIED: Final = 120.0
#: Seconds that reading stops, so that the flood waits at its source, before messages of QoS 0 are dropped.
LONGEST_PAUSE: Final = 1.0
#: Seconds after which a delivery that waits holds up the acknowledgements of other subscriptions no longer.
PATIENCE: Final = 1.0
#: Messages that one subscription delivers before all others have their turn.
MOST_IN_A_TURN: Final = 200

_Result = TypeVar("_Result")


class TopicSubscription(msgspec.Struct, eq=False):
    """One subscription of this connection. It delivers its messages one after the other.

    Each is delivered while it is read from the socket, as long as nothing has to be waited for; else by a task.

    Attributes:
        topic: The filter as it was sent, with `$share/<group>/` in front where there is a group.
        deliver: Takes its messages.
        filter: The filter that topics are compared with.
        identifier: The subscription identifier.
        queue: Where messages wait for the application's acknowledgement; None where it gives none.
        waiting: Messages that are not delivered; the first one may be on its way.
        delivery: Of the first one that waits, where it was begun and the task has not seen it yet.
        arrived: Set when there is something to deliver.
        is_idle: Whether the task waits for something to deliver.
        task: Delivers; None once it is over.
        loose: How many messages of QoS 0 wait.
        loose_bytes: Their bytes.
        overflows: So many messages of QoS 0 wait, and for so long, that more are dropped.
        stalled: A delivery waits for long: acknowledgements of others need not wait for this subscription.
    """

    topic: str
    deliver: Deliver
    filter: str
    identifier: int
    queue: SubscriptionQueue | None = None
    waiting: deque[IncomingMessage] = msgspec.field(default_factory=deque)
    delivery: Awaitable[AckDecision | None] | None = None
    arrived: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    is_idle: bool = False
    task: asyncio.Task[None] | None = None
    loose: int = 0
    loose_bytes: int = 0
    overflows: bool = False
    stalled: bool = False

    def fits(self, message: IncomingMessage) -> bool:
        """Return whether this subscription is to deliver a message."""
        if message.subscriptions and self.identifier not in message.subscriptions:
            return False
        if message.owed is not None and self.topic not in message.owed:
            return False
        return matches(self.filter, message.topic)


class Inbox:
    """Delivers messages: for each subscription in the order of their arrival, and each by itself.

    A broker that had kept the session sends at once what was published meanwhile, before the subscriptions are made
    again. Such messages wait until their subscription comes, or until some time after `restored`.
    """

    def __init__(
        self,
        codec: Codec,
        *,
        acks: Acks,
        unacknowledged: UnacknowledgedMessages,
        stale: StaleMessages,
        clock: Clock,
        when_on_bus: Callable[[Callable[[], None]], None],
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        is_kept: bool,
        on_dropped: Callable[[BridgeError, str], None],
        on_outdated: Callable[[BridgeError], None],
        on_warning: Callable[[str, str | None], None],
    ) -> None:
        """Deliver nothing before `begin`.

        Args:
            codec: Decodes the contents.
            acks: Of the session; maybe with messages of an earlier connection.
            unacknowledged: The same.
            stale: Takes the messages that no subscription wants.
            clock: For how long deliveries wait.
            when_on_bus: See `AdapterSetup`.
            start: Starts a task of the session.
            is_kept: Whether the broker keeps the session, with all that is unacknowledged, for the next connection.
            on_dropped: Told of each message that is not delivered; see `AdapterSetup`.
            on_outdated: Told that only another connection brings what was left at the broker; see `AdapterSetup`.
            on_warning: See `AdapterSetup`.
        """
        self._codec = codec
        self._acks = acks
        self._unacknowledged = unacknowledged
        self._stale = stale
        self._clock = clock
        # Messages that were delivered and are not acknowledged.
        self._delivered: Delivered[IncomingMessage] = Delivered(when_on_bus, lambda messages: acks.settle(*messages))
        self._start = start
        self._is_kept = is_kept
        self._on_dropped = on_dropped
        self._on_outdated = on_outdated
        self._on_warning = on_warning
        self._leaves = False
        self._session_is_kept = False
        self._subscriptions: list[TopicSubscription] = []
        self._unclaimed: list[IncomingMessage] = []
        # Bytes of those of QoS 0 among them.
        self._unclaimed_bytes = 0
        self._restored = False
        self._settled = False
        self._over = False
        self._grace = Timer(clock)
        # Filters that the broker did not confirm, and that may be tried again; each with the timer that ends this.
        self._withdrawn: dict[str, Timer] = {}
        self._flood = Timer(clock)
        self._pause: Callable[[], None] = lambda: None
        self._resume: Callable[[], None] = lambda: None

    def begin(
        self,
        acknowledge: Callable[[Sequence[IncomingMessage]], bool],
        *,
        present: bool,
        pause: Callable[[], None] = lambda: None,
        resume: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin a connection.

        Args:
            acknowledge: Sends the acknowledgements of messages; returns False where there is no connection any more.
            present: Whether the broker had kept the session.
            pause: Stops reading from the broker.
            resume: Goes on reading.
        """
        self._session_is_kept = present
        self._pause, self._resume = pause, resume
        self._acks.begin(acknowledge, present=present)
        self._unacknowledged.begin(present=present)

    # --- what comes

    def put(self, message: IncomingMessage) -> None:
        """Take a message, and deliver it to each subscription that it fits."""
        before = self._acks.came(message)
        if message.fault is not None:
            self._on_dropped(ProtocolError(f"the broker sent {message.fault}"), message.topic)
            self._acks.settle(message)
            return
        if before is not None:
            if before.settled:
                return
            if before.delivered:
                self._acknowledge(message)
                return
            if self._unacknowledged.adopt(before, message):
                message.owed = before.owed
                if not message.owed:
                    return
        if message.qos and (self._leaves or self._acks.held_bytes - message.size >= MOST_HELD_BYTES):
            self._leave(message)
            return
        subscriptions = [one for one in self._subscriptions if one.fits(message)]
        if subscriptions:
            self._hand_out(message, subscriptions)
        else:
            self._nobody_wants(message)

    def _leave(self, message: IncomingMessage) -> None:
        """Do not take a message, since those that wait fill the memory: the next connection brings it again."""
        if not self._is_kept:
            why = "too much waits for the bus, and the broker does not keep this session"
            self._on_dropped(OverloadedError(why), message.topic)
            self._acks.settle(message)
            return
        self._acks.leave(message)
        if not self._leaves:  # all that comes later is left, too, so that the order is kept
            self._leaves = True
            self._acks.room, self._acks.on_room = MOST_HELD_BYTES // 2, self._ask_again
            size = MOST_HELD_BYTES >> 20
            self._on_warning("memory", f"{size} MiB of messages wait for the bus; the others stay with the broker")

    def _ask_again(self) -> None:
        self._on_outdated(ConnectionLostError("messages that found no room have stayed with the broker"))

    def _hand_out(self, message: IncomingMessage, subscriptions: list[TopicSubscription]) -> None:
        if message.owed is None:
            message.holders = len(subscriptions)
            if len(subscriptions) > 1:
                message.owed = {one.topic for one in subscriptions}
        for one in subscriptions:
            if message.qos == 0 and not self._has_room(one, message):
                continue
            if one.is_idle and (one.queue is None or message.qos == 0) and self._deliver(one, message):
                continue
            one.waiting.append(message)
            if one.is_idle:
                one.is_idle = False
                one.arrived.set()
            if one.stalled and message.qos:
                self._acks.set_aside((message,))

    def _nobody_wants(self, message: IncomingMessage) -> None:
        wanted_later = self._session_is_kept and not self._settled
        if wanted_later and self._restored and self._stale.is_of_group(message):
            wanted_later = False
        if not wanted_later and not self._withdrawn_fits(message):
            self._give_up(message)
        elif message.qos == 0 and not self._has_room_unclaimed(message):
            self._on_dropped(OverloadedError("too many messages wait for their subscription"), message.topic)
        else:
            self._acks.set_aside((message,))
            self._unclaimed.append(message)
            self._unclaimed_bytes += _loose_bytes((message,))

    def _has_room_unclaimed(self, message: IncomingMessage) -> bool:
        size = self._unclaimed_bytes + message.size
        return len(self._unclaimed) < MOST_LOOSE and size <= MOST_LOOSE_BYTES

    def _set_unclaimed(self, messages: list[IncomingMessage]) -> None:
        self._unclaimed, self._unclaimed_bytes = messages, _loose_bytes(messages)

    def _give_up(self, message: IncomingMessage) -> None:
        if message.owed is None:
            self._stale.add(message)
            return
        message.holders -= len(message.owed)  # the other subscriptions that it fitted have it
        message.owed = None
        if message.holders <= 0:
            self._acks.settle(message)

    def _withdrawn_fits(self, message: IncomingMessage) -> bool:
        return any(matches(plain(topic), message.topic) for topic in self._withdrawn)

    # --- subscriptions

    def open(self, topic: str, deliver: Deliver, hold: Hold | None = None) -> TopicSubscription:
        """Begin to deliver what matches a filter, first of all what has waited for it."""
        queue = None if hold is None else self._unacknowledged.open(topic, deliver, hold)
        subscription = TopicSubscription(topic, deliver, plain(topic), identifier_of(topic), queue)
        if queue is not None:
            queue.wake = subscription.arrived.set
        retried = self._withdrawn.pop(topic, None)
        if retried is not None:
            retried.cancel()
        self._stale.subscribed(topic)
        self._subscriptions.append(subscription)
        claimed = [message for message in self._unclaimed if subscription.fits(message)]
        self._set_unclaimed([message for message in self._unclaimed if not subscription.fits(message)])
        for message in claimed:
            self._hand_out(message, [subscription])
        subscription.arrived.set()  # what an earlier connection left may be due
        subscription.task = self._start(self._run(subscription))
        return subscription

    def close(self, subscription: TopicSubscription) -> None:
        """Deliver no more to this subscription. What waits for it is acknowledged: nobody wants it any more.

        So is what the application has not acknowledged yet.
        """
        left = self._take_away(subscription)
        if subscription.queue is not None:
            for message in self._unacknowledged.close(subscription.topic):
                self._stale.drop(message)
                self._acks.settle(message)
        for message in left:
            self._stale.drop(message)
            self._done(subscription, message)
        if not self.has_others(subscription):
            self._stale.ended(subscription.topic)

    def withdraw(self, subscription: TopicSubscription) -> None:
        """Undo `open`, because the broker has not confirmed: what is unacknowledged is kept for the next try."""
        left = self._take_away(subscription)
        if subscription.queue is not None:
            left += self._unacknowledged.withdraw(subscription.topic)
        retried = self._withdrawn.setdefault(subscription.topic, Timer(self._clock))
        if not self._over:  # the end of the connection may be why the broker has not confirmed
            retried.set(RETRIED, lambda: self._not_retried(subscription.topic))
        self._acks.set_aside(left)
        self._set_unclaimed([*self._unclaimed, *left])

    def _not_retried(self, topic: str) -> None:
        """Wait no longer for a subscription that was withdrawn and not opened again."""
        del self._withdrawn[topic]
        if self._settled:
            self._settle()

    def _take_away(self, subscription: TopicSubscription) -> list[IncomingMessage]:
        """End a subscription's deliveries; return the messages that were not delivered."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
        task, subscription.task = subscription.task, None
        if task is not None:
            task.cancel()
        left = [*subscription.waiting]
        subscription.waiting.clear()
        self._end_flood(subscription)
        return left

    def has_others(self, subscription: TopicSubscription) -> bool:
        """Return whether another subscription has the same filter."""
        return any(one.topic == subscription.topic for one in self._subscriptions if one is not subscription)

    def topics(self) -> set[str]:
        """Return the filters that are subscribed to, or that may be tried again."""
        return self._withdrawn.keys() | {one.topic for one in self._subscriptions}

    def restored(self) -> None:
        """Take note that all subscriptions that are known were asked for; give programs a moment for theirs.

        None of these has a group, so what comes by one is given up at once: it is some other member's job.
        """
        self._restored = True
        if not self._session_is_kept:
            self._settle()
            return
        unclaimed = self._unclaimed
        self._set_unclaimed([])
        for message in unclaimed:
            self._nobody_wants(message)
        self._grace.set(GRACE, self._settle)

    def _settle(self) -> None:
        """Let go of what no subscription wants: it would fill the broker's window."""
        self._settled = True
        for message in self._unacknowledged.close_others(self._withdrawn):
            self._stale.add(message)
        unclaimed = self._unclaimed
        self._set_unclaimed([message for message in unclaimed if self._withdrawn_fits(message)])
        for message in unclaimed:
            if not self._withdrawn_fits(message):
                self._give_up(message)

    def end(self) -> None:
        """End the connection."""
        self._over = True
        self._flood.cancel()
        self._grace.cancel()
        for retried in self._withdrawn.values():
            retried.cancel()
        self._unacknowledged.end()

    # --- delivery

    def _deliver(self, subscription: TopicSubscription, message: IncomingMessage) -> bool:
        """Deliver a message at once; return False where its delivery has begun and has to be waited for."""
        try:
            decision = subscription.deliver(message.inbound or self._inbound(message))
        except Exception as error:  # noqa: BLE001 - a bug of ours: it is raised in the task that somebody awaits
            decision = _raise(error)
        if isinstance(decision, AckDecision):
            self._done(subscription, message)
            return True
        subscription.delivery = decision
        return False

    async def _run(self, subscription: TopicSubscription) -> None:
        """Deliver until cancelled. A message that is being delivered then stays unacknowledged and comes again."""
        try:
            await self._deliver_waiting(subscription)
        finally:
            delivery, subscription.delivery = subscription.delivery, None
            if isinstance(delivery, Coroutine):  # else Python warns of a coroutine that nobody awaited
                delivery.close()

    async def _deliver_waiting(self, subscription: TopicSubscription) -> None:
        waiting, deliver, queue = subscription.waiting, subscription.deliver, subscription.queue
        turn = 0
        while True:
            subscription.arrived.clear()
            while waiting:
                turn += 1
                if turn % MOST_IN_A_TURN == 0:
                    await asyncio.sleep(0)
                message = waiting[0]
                if queue is not None and message.qos > 0:
                    queue.add(waiting.popleft(), self._inbound(message))
                    continue
                delivery, subscription.delivery = subscription.delivery, None
                if delivery is None:
                    decision = deliver(message.inbound or self._inbound(message))
                    delivery = None if decision.__class__ is AckDecision else decision
                if delivery is not None:
                    await self._patiently(subscription, delivery)
                waiting.popleft()
                self._done(subscription, message)
            if queue is not None:
                await self._patiently(subscription, queue.deliver_due())
            subscription.is_idle = not subscription.arrived.is_set()
            await subscription.arrived.wait()
            subscription.is_idle = False

    async def _patiently(self, subscription: TopicSubscription, delivery: Awaitable[_Result]) -> _Result:
        """Wait for a delivery; while that takes long, let other subscriptions' acknowledgements go before."""
        timer = Timer(self._clock)
        timer.set(PATIENCE, lambda: self._stall(subscription))
        try:
            return await delivery
        finally:
            timer.cancel()
            subscription.stalled = False

    def _stall(self, subscription: TopicSubscription) -> None:
        subscription.stalled = True
        self._acks.set_aside(subscription.waiting)
        if subscription.queue is not None:
            self._acks.set_aside(subscription.queue.messages())

    def _done(self, subscription: TopicSubscription, message: IncomingMessage) -> None:
        """Acknowledge a message soon, if this was the last subscription that had to be done with it."""
        if message.qos == 0:
            subscription.loose -= 1
            subscription.loose_bytes -= message.size
            if (subscription.overflows or self._flood.is_set) and self._is_half_empty(subscription):
                self._end_flood(subscription)
            return
        message.holders -= 1
        if message.owed is not None:
            message.owed.discard(subscription.topic)
        if message.holders <= 0:
            self._acknowledge(message)

    def _acknowledge(self, message: IncomingMessage) -> None:
        """Acknowledge a message that was delivered once its events are on the bus."""
        self._acks.delivered(message)
        self._delivered.add(message)

    @property
    def is_unconfirmed(self) -> bool:
        """Whether messages wait for their acknowledgement since their events are on the bus only just."""
        return self._delivered.count > 0

    def _inbound(self, message: IncomingMessage) -> Inbound:
        headers = inbound_headers(message)
        content, more = self._codec.decode_or_keep(message.payload, message.content_type)
        if more:
            headers |= more
        elif message.unreadable is not None:
            headers["codec_error"] = message.unreadable
        inbound = Inbound(
            topic=message.topic,
            message=content,
            headers=headers,
            retained=message.retain,
            at_most_once=message.qos == 0,
        )
        if message.holders > 1:
            message.inbound = inbound
        return inbound

    # --- floods of QoS 0

    def _has_room(self, subscription: TopicSubscription, message: IncomingMessage) -> bool:
        """Count a message of QoS 0 as waiting; return False, and tell of it, where it is dropped."""
        if subscription.overflows:
            why = f"{subscription.loose} messages wait for the bus, and QoS 0 waits nowhere else"
            self._on_dropped(OverloadedError(why), message.topic)
            return False
        count = subscription.loose = subscription.loose + 1
        size = subscription.loose_bytes = subscription.loose_bytes + message.size
        if (count >= MOST_LOOSE or size >= MOST_LOOSE_BYTES) and not self._flood.is_set:
            self._pause()
            self._flood.set(LONGEST_PAUSE, self._overflow)
        return True

    @staticmethod
    def _is_full(subscription: TopicSubscription) -> bool:
        return subscription.loose >= MOST_LOOSE or subscription.loose_bytes >= MOST_LOOSE_BYTES

    def _overflow(self) -> None:
        """Read on after a pause that has not helped: the connection's answers and other subscriptions need it."""
        for one in self._subscriptions:
            one.overflows = self._is_full(one)
        self._resume()

    @staticmethod
    def _is_half_empty(subscription: TopicSubscription) -> bool:
        return subscription.loose <= MOST_LOOSE // 2 and subscription.loose_bytes <= MOST_LOOSE_BYTES // 2

    def _end_flood(self, subscription: TopicSubscription) -> None:
        subscription.overflows = False
        if self._flood.is_set and not any(self._is_full(one) for one in self._subscriptions):
            self._flood.cancel()
            self._resume()


async def _raise(error: Exception) -> AckDecision:
    raise error


def _loose_bytes(messages: Iterable[IncomingMessage]) -> int:
    return sum(message.size for message in messages if message.qos == 0)
