"""Acknowledgements to an MQTT broker: their order, and what is known again after a reconnection."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from bridge.adapters.mqtt.acks import Acks
from bridge.adapters.mqtt.packets.message import IncomingMessage
from bridge.adapters.mqtt.unacknowledged import Desk, Place
from bridge.core.errors import InvalidError
from bridge.core.model import Inbound
from bridge.core.ports import Verdict
from bridge.core.settings import Hold


class Broker:
    """What was acknowledged, as long as there is a connection."""

    def __init__(self) -> None:
        self.acks: list[int] = []
        self.there = True

    def __call__(self, message: IncomingMessage) -> bool:
        if self.there:
            self.acks.append(message.identifier)
        return self.there


def message(identifier: int, qos: int = 1, payload: bytes = b"") -> IncomingMessage:
    """A PUBLISH."""
    return IncomingMessage("t", payload, qos, retain=False, identifier=identifier)


def begun(acks: Acks, *, present: bool = True) -> Broker:
    """A new connection."""
    broker = Broker()
    acks.begin(broker, present=present)
    return broker


def test_acknowledgements_keep_the_order_of_the_messages():
    """For each QoS by itself; QoS 0 has none."""
    acks = Acks()
    broker = begun(acks)
    first, other, third, loose = message(1), message(7, qos=2), message(3), message(0, qos=0)
    for one in (first, other, third, loose):
        assert acks.came(one) is None
    acks.settle(third)
    acks.settle(loose)
    assert broker.acks == []
    acks.settle(other)
    assert broker.acks == [7]
    acks.settle(first)
    assert broker.acks == [7, 1, 3]


def test_what_is_set_aside_holds_nobody_up():
    """And comes before the others when it is taken back."""
    acks = Acks()
    broker = begun(acks)
    aside, second, third = message(1), message(2), message(3)
    for one in (aside, second, third):
        acks.came(one)
    acks.set_aside(aside)
    acks.settle(second)
    acks.take_back((aside,))
    acks.settle(third)
    assert broker.acks == [2]
    acks.settle(aside)
    assert broker.acks == [2, 1, 3]


def test_what_could_not_be_acknowledged_is_known_again():
    """It is acknowledged at once, where the broker has kept the session and the message is the same."""
    acks = Acks()
    begun(acks)
    for mid in (1, 2, 3):
        acks.came(one := message(mid))
        if mid > 1:
            acks.settle(one)
    broker = begun(acks)
    before = acks.came(first := message(1))
    assert before is not None
    assert not before.settled
    assert (acks.came(again := message(2)) or again).settled
    assert acks.came(message(3, payload=b"another")) is None
    acks.settle(first)
    assert broker.acks == [1, 2]
    begun(acks, present=False)
    assert acks.came(message(3, payload=b"another")) is None


def test_a_lost_connection_takes_no_acknowledgement():
    """What is settled afterwards is told on the next one."""
    acks = Acks()
    broker = begun(acks)
    acks.came(one := message(1))
    broker.there = False
    acks.settle(one)
    broker = begun(acks)
    acks.came(message(1))
    assert broker.acks == [1]


def test_an_answered_message_of_qos_2_is_taken_once():
    """Until its identifier is released, also over a reconnection; then another message may have it."""
    acks = Acks()
    begun(acks)
    acks.came(one := message(5, qos=2))
    acks.settle(one)
    broker = begun(acks)
    again = message(5, qos=2)
    assert acks.came(again) is again
    assert again.settled
    assert broker.acks == [5]
    acks.released(5)
    assert acks.came(message(5, qos=2)) is None


class Room:
    """A desk with one place, and everything around it."""

    def __init__(self, **hold: Any) -> None:
        self.acks = Acks()
        self.desk = Desk(self.acks)
        self.said: list[tuple[Any, int | None]] = []
        self.ids: dict[Any, str] = {}
        self.dead: list[Inbound] = []
        self.verdict: Verdict | None = Verdict.HOLD
        self.hold = Hold(on_dead=lambda inbound, _: self.dead.append(inbound), **hold)
        self.place = self.connect(present=True)

    def connect(self, *, present: bool) -> Place:
        """A new connection, and its subscription."""
        self.desk.end()
        self.broker = begun(self.acks, present=present)
        self.desk.begin(present=present)
        return self.desk.open("t", self.deliver, self.hold)

    def deliver(self, inbound: Inbound) -> Awaitable[Verdict]:
        """See `ports.Deliver`; without a verdict the bus never has room."""
        if self.verdict is None:
            return asyncio.get_running_loop().create_future()
        self.said.append((inbound.message, inbound.attempts))
        self.ids[inbound.message] = inbound.message_id or ""
        return self.verdict

    async def come(self, *mids: int, qos: int = 1) -> None:
        """Messages come; their content is their identifier."""
        for mid in mids:
            one = message(mid, qos)
            before = self.acks.came(one)
            if before is not None and (before.settled or self.desk.adopt(before, one)):
                continue
            one.holders = 1
            self.place.take(one, Inbound(topic="t", message=mid))
        await self.place.go_on()


async def test_a_message_of_two_subscriptions_is_acknowledged_when_both_are_done():
    """Each of them has an id of its own."""
    room = Room()
    acks, desk = room.acks, room.desk
    other = desk.open("t/#", room.deliver, room.hold)
    acks.came(one := message(1))
    one.holders = 2
    ids = []
    for place in (room.place, other):
        place.take(one, Inbound(topic="t", message=1))
        await place.go_on()
        ids.append(room.ids[1])
    desk.answer(ids[0])
    assert room.broker.acks == []
    desk.answer(ids[1])
    assert room.broker.acks == [1]
    with pytest.raises(InvalidError):
        desk.answer(ids[1])


async def test_answers_out_of_turn():
    """Room is made at once; the broker hears of them in its order."""
    room = Room(limit=2)
    await room.come(1, 2, 3, 4)
    assert room.said == [(1, 1), (2, 1)]
    room.desk.answer(room.ids[2])
    await room.place.go_on()
    assert room.said[2:] == [(3, 1)]
    assert room.broker.acks == []
    room.desk.answer(room.ids[1])
    assert room.broker.acks == [1, 2]


async def test_given_back_twice_it_comes_again_once():
    """The last word holds; an acknowledgement ends it, also while it waits."""
    room = Room(limit=1)
    await room.come(1, 2)
    room.desk.answer(room.ids[1], again_in=1000.0)
    room.desk.answer(room.ids[1], again_in=0.0)
    await room.place.go_on()
    assert room.said == [(1, 1), (1, 2)]
    room.desk.answer(room.ids[1], again_in=1000.0)
    await room.place.go_on()
    assert room.said[2:] == [(2, 1)]
    room.desk.answer(room.ids[1])
    assert room.broker.acks == [1]
    room.desk.end()


async def test_too_many_deliveries_are_the_last():
    """It is acknowledged, told, and makes room."""
    room = Room(limit=1, max_deliveries=1)
    await room.come(1, 2)
    room.desk.answer(room.ids[1], again_in=0.0)
    await room.place.go_on()
    assert [(one.message, one.attempts) for one in room.dead] == [(1, 1)]
    assert room.broker.acks == [1]
    assert room.said == [(1, 1), (2, 1)]


async def test_what_no_event_is_made_of_is_not_held():
    """It is acknowledged at once."""
    room = Room()
    room.verdict = Verdict.SETTLE
    await room.come(1)
    assert room.broker.acks == [1]


@pytest.mark.parametrize("qos", [1, 2])
async def test_held_over_a_reconnection(qos):
    """The broker's repetition is no delivery; what was answered meanwhile is acknowledged when it comes."""
    room = Room(limit=2)
    await room.come(1, 2, 3, qos=qos)
    ids = dict(room.ids)
    room.place = room.connect(present=True)
    room.desk.answer(ids[2])
    assert room.broker.acks == []
    await room.come(1, 2, 3, qos=qos)
    assert room.said == [(1, 1), (2, 1), (3, 1)]
    room.desk.answer(ids[1])
    assert room.broker.acks == [1, 2]


async def test_the_broker_has_forgotten_what_is_held():
    """Nothing is owed to it for that any more, whatever comes under the same identifier; the application goes on."""
    room = Room()
    await room.come(1)
    old = room.ids[1]
    room.place = room.connect(present=False)
    await room.come(1)
    assert room.said == [(1, 1), (1, 1)]
    room.desk.answer(old)
    assert room.broker.acks == []
    room.desk.answer(room.ids[1])
    assert room.broker.acks == [1]


@pytest.mark.parametrize("delivered", [False, True])
async def test_cancelled_while_the_bus_has_no_room(delivered):
    """The connection ends meanwhile: a delivery that was none does not count, and nothing is lost."""
    room = Room(limit=1)
    if delivered:
        await room.come(1)
        room.desk.answer(room.ids[1], again_in=0.0)
    room.verdict = None
    coming = asyncio.ensure_future(room.place.go_on() if delivered else room.come(1))
    await asyncio.sleep(0)
    coming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await coming
    room.verdict = Verdict.HOLD
    room.place = room.connect(present=True)
    await room.come(1)
    assert room.said == ([(1, 1), (1, 2)] if delivered else [(1, 1)])


async def test_an_ended_subscription_owes_nothing():
    """What is held and what waits is acknowledged; an answer to it is refused."""
    room = Room(limit=1)
    await room.come(1, 2)
    room.desk.close("t")
    assert room.broker.acks == [1, 2]
    with pytest.raises(InvalidError):
        room.desk.answer(room.ids[1])
    assert room.desk.places() == ()


async def test_a_subscription_that_does_not_return_owes_nothing_either():
    """Where a connection begins without it."""
    room = Room()
    await room.come(1)
    room.desk.end()
    broker = begun(room.acks)
    room.desk.begin(present=True)
    before = room.acks.came(one := message(1))
    assert before is not None
    assert room.desk.adopt(before, one)
    assert broker.acks == []
    room.desk.close_others()
    with pytest.raises(InvalidError):
        room.desk.answer(room.ids[1])
    assert broker.acks == [1]
