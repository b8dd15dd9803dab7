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
from bridge.adapters.mqtt.unacknowledged import Desk, Place
from bridge.core.model import Inbound
from bridge.core.ports import Deliver, Verdict
from bridge.core.settings import Hold

#: Messages that wait at most before no more are read.
MAX_WAITING: Final = 2_000
#: Subscription identifiers are 1 to this (MQTT 5, 3.8.2.1.2).
_MAX_IDENTIFIER: Final = 268_435_455

log = structlog.get_logger(__name__)


def identifier_of(topic: str) -> int:
    """The subscription identifier of a filter: the same in every session, since the broker keeps both."""
    return crc32(topic.encode()) % _MAX_IDENTIFIER + 1


@dataclass(eq=False, slots=True)
class Route:
    """One subscription: its filter as it was sent, where its messages go, and where they wait for the application."""

    topic: str
    deliver: Deliver
    filter: str
    identifier: int
    place: Place | None = None


class Inbox:
    """Delivers one message after the other, in the order of their arrival.

    A broker that had kept the session sends at once what was published meanwhile, before anybody has subscribed again.
    Such messages wait until their subscription comes, or until `settle`: then nobody wants them any more.
    """

    def __init__(self, codec: Codec, *, acks: Acks, desk: Desk) -> None:
        """`acks` and `desk` may be those of an earlier connection."""
        self._codec = codec
        self._acks = acks
        self._desk = desk
        self._keep = False
        self._routes: list[Route] = []
        self._waiting: deque[IncomingMessage] = deque()
        self._unclaimed: list[IncomingMessage] = []
        self._settled = False
        self._arrived = asyncio.Event()
        self.on_full: Callable[[], None] = lambda: None
        self.on_room: Callable[[], None] = lambda: None

    def begin(self, ack: Callable[[IncomingMessage], bool], *, present: bool) -> None:
        """The connection is there; `ack` confirms a message, and `present` says whether the broker had kept some."""
        self._keep = present
        self._acks.begin(ack, present=present)
        self._desk.begin(present=present)
        self._desk.wake = self._arrived.set

    def put(self, message: IncomingMessage) -> None:
        """Take one message over."""
        before = self._acks.came(message)
        if before is not None and (before.settled or self._desk.adopt(before, message)):
            return
        self._waiting.append(message)
        self._arrived.set()
        if len(self._waiting) >= MAX_WAITING:
            self.on_full()

    def open(self, topic: str, deliver: Deliver, hold: Hold | None = None) -> Route:
        """Begin to deliver what fits a filter, first of all what was kept for it."""
        place = None if hold is None else self._desk.open(topic, deliver, hold)
        route = Route(topic, deliver, plain(topic), identifier_of(topic), place)
        self._routes.append(route)
        claimed = [message for message in self._unclaimed if self._fits(route, message)]
        if claimed:
            self._unclaimed = [message for message in self._unclaimed if message not in claimed]
            self._waiting.extendleft(reversed(claimed))
            self._acks.take_back(claimed)
            self._arrived.set()
        return route

    def close(self, route: Route) -> None:
        """Deliver no more to this subscription."""
        if route in self._routes:
            self._routes.remove(route)
            if route.place is not None:
                self._desk.close(route.topic)

    def others(self, route: Route) -> bool:
        """Whether another subscription has the same filter."""
        return any(one.topic == route.topic for one in self._routes if one is not route)

    def settle(self) -> None:
        """All subscriptions are there: let go of what none of them wants, lest it block the broker's window."""
        self._settled = True
        self._desk.close_others()
        unclaimed, self._unclaimed = self._unclaimed, []
        for message in unclaimed:
            self._refuse(message)

    def _refuse(self, message: IncomingMessage) -> None:
        log.warning("message of a subscription that is no more", topic=message.topic)
        self._acks.take_back((message,))
        self._acks.settle(message)

    async def run(self) -> None:
        """Deliver until cancelled. A message that is being delivered then stays unacknowledged and comes again."""
        while True:
            self._arrived.clear()
            while self._waiting:
                await self._hand_over(self._waiting.popleft())
            for place in self._desk.places():
                await place.go_on()
            self.on_room()
            await self._arrived.wait()

    async def _hand_over(self, message: IncomingMessage) -> None:
        routes = [route for route in self._routes if self._fits(route, message)]
        if not routes:
            if message.qos > 0 and not self._settled and self._keep:
                self._acks.set_aside(message)
                self._unclaimed.append(message)
            else:
                self._acks.settle(message)
            return
        inbound = self._inbound(message)
        places: list[Place] = []
        for route in routes:
            if route.place is not None and message.qos > 0:
                places.append(route.place)
                continue
            verdict = route.deliver(inbound)
            if verdict.__class__ is not Verdict:
                await verdict
        if not places:
            self._acks.settle(message)
            return
        message.holders = len(places)
        for place in places:
            place.take(message, inbound)
        for place in places:
            await place.go_on()

    def end(self) -> None:
        """The connection is over."""
        self._desk.end()

    @staticmethod
    def _fits(route: Route, message: IncomingMessage) -> bool:
        if message.subscriptions and route.identifier not in message.subscriptions:
            return False
        return matches(route.filter, message.topic)

    def _inbound(self, message: IncomingMessage) -> Inbound:
        headers = inbound_headers(message)
        content, more = self._codec.decode_or_keep(message.payload, message.content_type)
        headers |= more
        return Inbound(topic=message.topic, message=content, headers=headers)
