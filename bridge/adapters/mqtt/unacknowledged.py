"""Messages that wait for the application's acknowledgement (`ack = "consumer"`).

MQTT sends nothing again within a connection, and does not count. So what is unanswered is said again from here, and
counted here; the broker keeps it until its acknowledgement is sent, for the case that the sidecar dies.
"""

import asyncio
import heapq
import math
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import msgspec

from bridge.adapters.mqtt.acks import Acks
from bridge.adapters.mqtt.packets.message import IncomingMessage
from bridge.core.errors import InvalidError
from bridge.core.model import Inbound
from bridge.core.ports import Deliver, Verdict
from bridge.core.settings import Hold


@dataclass(eq=False, slots=True)
class Held:
    """One message of one subscription.

    Attributes:
        inbound: What is said; its id stays the same.
        message: As the broker sent it last; None where the broker has lost it.
        place: Its subscription's.
        attempts: How often it was delivered.
        due: When it is to be said again, in the loop's time.
        done: It was answered, or given up.
    """

    inbound: Inbound
    message: IncomingMessage | None
    place: "Place"
    attempts: int = 0
    due: float = 0.0
    done: bool = False


class Place:
    """Those of one subscription: at most `hold.limit` are delivered and unanswered; the others wait, in order."""

    def __init__(self, desk: "Desk", deliver: Deliver, hold: Hold) -> None:
        """`deliver` and `hold` are those of the subscription in this connection."""
        self.deliver, self.hold = deliver, hold
        self._desk = desk
        self._fresh: deque[tuple[IncomingMessage, Inbound]] = deque()
        # By id, the one that was delivered first comes first; then those to be said again, by time.
        self._unanswered: OrderedDict[str, Held] = OrderedDict()
        self._again: list[tuple[float, int, Held]] = []
        self._timer: asyncio.TimerHandle | None = None

    def take(self, message: IncomingMessage, inbound: Inbound) -> None:
        """Take a new message over; `go_on` delivers it."""
        self._fresh.append((message, inbound))

    async def go_on(self) -> None:
        """Deliver what there is room for: first what is to be said again. Cancelled, the one at hand comes again."""
        now = asyncio.get_running_loop().time()
        while (oldest := next(iter(self._unanswered.values()), None)) is not None and oldest.due <= now:
            self.come_again(oldest, oldest.due)
        while len(self._unanswered) < self.hold.limit:
            held = self._next(now)
            if held is None:
                break
            await self._say(held)
        self._set_timer()

    def _next(self, now: float) -> Held | None:
        while self._again and self._again[0][0] <= now:
            due, _, held = heapq.heappop(self._again)
            if not held.done and held.due == due:
                return held
        return self._desk.hold(self, *self._fresh.popleft()) if self._fresh else None

    async def _say(self, held: Held) -> None:
        most = self.hold.max_deliveries
        if most is not None and held.attempts >= most:
            self._desk.settle(held)
            self.hold.on_dead(_as_delivered(held), f"delivered {held.attempts} times and never acknowledged")
            return
        held.attempts += 1
        try:
            verdict = await self.deliver(_as_delivered(held))
        except BaseException:
            held.attempts -= 1
            if held.attempts:
                self.come_again(held, held.due)
            else:
                self._desk.forget(held)
            raise
        if verdict is not Verdict.HOLD:
            self._desk.settle(held)
        elif not held.done:
            held.due = asyncio.get_running_loop().time() + self.hold.visibility
            self._unanswered[held.inbound.message_id or ""] = held

    def come_again(self, held: Held, when: float) -> None:
        """Say it again, not before this time."""
        self.answered(held)
        held.due = when
        heapq.heappush(self._again, (when, self._desk.number(), held))

    def answered(self, held: Held) -> None:
        """There is room for another one."""
        self._unanswered.pop(held.inbound.message_id or "", None)

    def _set_timer(self) -> None:
        """Wake up when the next one is due; one that there is no room for is not waited for."""
        oldest = next(iter(self._unanswered.values()), None)
        due = math.inf if oldest is None else oldest.due
        if self._again and len(self._unanswered) < self.hold.limit:
            due = min(due, self._again[0][0])
        if self._timer is not None and (due < self._timer.when() or due == math.inf):
            self._timer.cancel()
            self._timer = None
        if self._timer is None and due < math.inf:
            self._timer = asyncio.get_running_loop().call_at(due, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._desk.wake()

    def end(self) -> list[IncomingMessage]:
        """The connection is over; what was not delivered, which the broker sends again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        left = [message for message, _ in self._fresh]
        self._fresh.clear()
        return left


class Desk:
    """What is held of one client; like `Acks` it outlives connections.

    Attributes:
        wake: To be set: called when something can be delivered.
    """

    def __init__(self, acks: Acks) -> None:
        """`acks` are told of what is settled."""
        self.wake: Callable[[], None] = lambda: None
        self._acks = acks
        self._places: dict[str, Place] = {}
        self._open: set[str] = set()
        self._held: dict[str, Held] = {}
        self._of: dict[IncomingMessage, list[Held]] = {}
        # Ids of an earlier process, of which the application may still hold some, are none of ours.
        self._prefix = secrets.token_hex(6)
        self.number: Callable[[], int] = count(1).__next__

    def begin(self, *, present: bool) -> None:
        """A new connection. What the broker has forgotten stays held, and goes when it is answered."""
        self._open.clear()
        if not present:
            self._of.clear()
            for held in self._held.values():
                held.message = None

    def open(self, topic: str, deliver: Deliver, hold: Hold) -> Place:
        """The place of a subscription."""
        place = self._places.get(topic)
        if place is None:
            place = self._places[topic] = Place(self, deliver, hold)
        place.deliver, place.hold = deliver, hold
        self._open.add(topic)
        self.wake()
        return place

    def close(self, topic: str) -> None:
        """The subscription is over: nobody waits for its messages any more."""
        self._open.discard(topic)
        place = self._places.pop(topic, None)
        if place is None:
            return
        for message in place.end():
            self._less(message)
        for held in [one for one in self._held.values() if one.place is place]:
            self.settle(held)

    def close_others(self) -> None:
        """All subscriptions of this connection are there."""
        for topic in self._places.keys() - self._open:
            self.close(topic)

    def end(self) -> None:
        """The connection is over."""
        self.wake = lambda: None
        for place in self._places.values():
            place.end()

    def places(self) -> tuple[Place, ...]:
        """Those of this connection's subscriptions."""
        return tuple(self._places[topic] for topic in self._open)

    def adopt(self, before: IncomingMessage, message: IncomingMessage) -> bool:
        """The broker has sent a message again; whether it is held here, and needs no delivering now."""
        held = self._of.pop(before, None)
        if held is None:
            return False
        self._of[message] = held
        message.holders = before.holders
        for one in held:
            one.message = message
        return True

    def hold(self, place: Place, message: IncomingMessage, inbound: Inbound) -> Held:
        """Give a message its id."""
        message_id = f"{self._prefix}-{self.number()}"
        held = Held(msgspec.structs.replace(inbound, message_id=message_id), message, place)
        self._held[message_id] = held
        self._of.setdefault(message, []).append(held)
        return held

    def answer(self, message_id: str, *, again_in: float | None = None) -> None:
        """The application has answered: done, or to come again in so many seconds.

        Raises:
            InvalidError: There is none of this id.
        """
        held = self._held.get(message_id)
        if held is None:
            raise InvalidError(f"message_id: no message {message_id[:100]} is held; it is done, or not of this process")
        if again_in is None:
            self.settle(held)
        else:
            held.place.come_again(held, asyncio.get_running_loop().time() + again_in)
        self.wake()

    def settle(self, held: Held) -> None:
        """It is done, and may be acknowledged to the broker."""
        if held.done:
            return
        message = held.message
        self.forget(held)
        if message is not None:
            self._less(message)

    def forget(self, held: Held) -> None:
        """It is held no more; without an acknowledgement it comes again with the next connection."""
        held.done = True
        held.place.answered(held)
        self._held.pop(held.inbound.message_id or "", None)
        if held.message is not None:
            others = self._of[held.message]
            others.remove(held)
            if not others:
                del self._of[held.message]

    def _less(self, message: IncomingMessage) -> None:
        message.holders -= 1
        if message.holders == 0:
            self._acks.settle(message)


def _as_delivered(held: Held) -> Inbound:
    return msgspec.structs.replace(held.inbound, attempts=held.attempts)
