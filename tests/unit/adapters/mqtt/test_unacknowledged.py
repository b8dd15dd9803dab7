"""Messages that the application has not acknowledged: delivered again, counted, and kept over reconnections."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from bridge.adapters.mqtt.acks import Acks
from bridge.adapters.mqtt.unacknowledged import SubscriptionQueue, UnacknowledgedMessages
from bridge.core.errors import InvalidError
from bridge.core.model import Inbound
from bridge.core.ports import AckDecision
from bridge.core.settings import Hold
from tests.support.adapters.mqtt import begun, message
from tests.support.clock import FakeClock


class Session:
    """Unacknowledged messages with one subscription, and everything around them."""

    def __init__(self, **hold: Any) -> None:
        self.acks = Acks()
        self.clock = FakeClock()
        self.messages = UnacknowledgedMessages(self.acks, self.clock)
        self.delivered: list[tuple[Any, int | None]] = []
        self.ids: dict[Any, str] = {}
        self.dead: list[Inbound] = []
        self.decision: AckDecision | None = AckDecision.HOLD
        self.hold = Hold(on_dead=lambda inbound, _: self.dead.append(inbound), **hold)
        self.queue = self.connect(present=True)

    def connect(self, *, present: bool) -> SubscriptionQueue:
        """A new connection, and its subscription."""
        self.messages.end()
        self.broker = begun(self.acks, present=present)
        self.messages.begin(present=present)
        return self.messages.open("t", self.deliver, self.hold)

    def deliver(self, inbound: Inbound) -> Awaitable[AckDecision]:
        """See `ports.Deliver`; without a decision the bus never has room."""
        if self.decision is None:
            return asyncio.get_running_loop().create_future()
        self.delivered.append((inbound.message, inbound.attempts))
        self.ids[inbound.message] = inbound.message_id or ""
        return self.decision

    async def come(self, *identifiers: int, qos: int = 1) -> None:
        """Messages come; their content is their identifier."""
        for identifier in identifiers:
            one = message(identifier, qos)
            before = self.acks.came(one)
            if before is not None and (before.settled or self.messages.adopt(before, one)):
                continue
            one.holders = 1
            self.queue.add(one, Inbound(topic="t", message=identifier))
        await self.queue.deliver_due()


async def test_a_message_of_two_subscriptions_is_acknowledged_when_both_are_done():
    """Each of them has an id of its own, and the broker gets one acknowledgement."""
    session = Session()
    acks, messages = session.acks, session.messages
    other = messages.open("t/#", session.deliver, session.hold)
    acks.came(one := message(1))
    one.holders = 2
    ids = []
    for queue in (session.queue, other):
        queue.add(one, Inbound(topic="t", message=1))
        await queue.deliver_due()
        ids.append(session.ids[1])
    messages.answer(ids[0])
    assert session.broker.acks == []
    messages.answer(ids[1])
    assert session.broker.acks == [1]
    with pytest.raises(InvalidError):
        messages.answer(ids[1])


async def test_acknowledged_out_of_order():
    """Each acknowledgement makes room at once; the broker gets them in the order of its messages."""
    session = Session(limit=2)
    await session.come(1, 2, 3, 4)
    assert session.delivered == [(1, 1), (2, 1)]
    session.messages.answer(session.ids[2])
    await session.queue.deliver_due()
    assert session.delivered[2:] == [(3, 1)]
    assert session.broker.acks == []
    session.messages.answer(session.ids[1])
    assert session.broker.acks == [1, 2]


async def test_a_message_without_an_answer_is_delivered_again():
    """When its `visibility` has passed on the bridge's clock, and on no other."""
    session = Session(limit=2, visibility=30.0)
    woken: list[float] = []
    session.queue.wake = lambda: woken.append(session.clock.monotonic())
    begin = session.clock.monotonic()
    await session.come(1)
    await session.clock.advance(10.0)
    await session.come(2)
    await session.clock.advance(19.9)
    await session.queue.deliver_due()
    assert session.delivered == [(1, 1), (2, 1)]
    assert woken == []
    await session.clock.advance(0.1)
    assert woken == [begin + 30.0]
    await session.queue.deliver_due()
    assert session.delivered[2:] == [(1, 2)]
    session.messages.end()
    assert session.clock.timers == 0


async def test_two_nacks_are_one_delivery():
    """The last `nack` counts; an acknowledgement ends it, also while the message waits for its next delivery."""
    session = Session(limit=1)
    await session.come(1, 2)
    session.messages.answer(session.ids[1], again_in=1000.0)
    session.messages.answer(session.ids[1], again_in=0.0)
    await session.queue.deliver_due()
    assert session.delivered == [(1, 1), (1, 2)]
    session.messages.answer(session.ids[1], again_in=1000.0)
    await session.queue.deliver_due()
    assert session.delivered[2:] == [(2, 1)]
    session.messages.answer(session.ids[1])
    assert session.broker.acks == [1]
    session.messages.end()


async def test_a_message_is_given_up_after_too_many_deliveries():
    """It is acknowledged to the broker, reported, and makes room."""
    session = Session(limit=1, max_deliveries=1)
    await session.come(1, 2)
    session.messages.answer(session.ids[1], again_in=0.0)
    await session.queue.deliver_due()
    assert [(one.message, one.attempts) for one in session.dead] == [(1, 1)]
    assert session.broker.acks == [1]
    assert session.delivered == [(1, 1), (2, 1)]


async def test_a_message_that_becomes_no_event_is_acknowledged_at_once():
    """The application never sees it, and so cannot acknowledge it."""
    session = Session()
    session.decision = AckDecision.ACK
    await session.come(1)
    assert session.broker.acks == [1]


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_reconnection_delivers_nothing_twice(qos):
    """A message that the broker sends again is not delivered again; an acknowledgement that was due is then sent."""
    session = Session(limit=2)
    await session.come(1, 2, 3, qos=qos)
    ids = dict(session.ids)
    session.queue = session.connect(present=True)
    session.messages.answer(ids[2])
    assert session.broker.acks == []
    await session.come(1, 2, 3, qos=qos)
    assert session.delivered == [(1, 1), (2, 1), (3, 1)]
    session.messages.answer(ids[1])
    assert session.broker.acks == [1, 2]


async def test_a_broker_that_has_forgotten_the_session():
    """Old messages can be acknowledged, and nothing is sent for them: their identifiers belong to new messages."""
    session = Session()
    await session.come(1)
    old = session.ids[1]
    session.queue = session.connect(present=False)
    await session.come(1)
    assert session.delivered == [(1, 1), (1, 1)]
    session.messages.answer(old)
    assert session.broker.acks == []
    session.messages.answer(session.ids[1])
    assert session.broker.acks == [1]


@pytest.mark.parametrize("delivered", [False, True])
async def test_cancelled_while_the_bus_has_no_room(delivered):
    """A delivery that was cancelled does not count, and the message is delivered on the next connection."""
    session = Session(limit=1)
    if delivered:
        await session.come(1)
        session.messages.answer(session.ids[1], again_in=0.0)
    session.decision = None
    coming = asyncio.ensure_future(session.queue.deliver_due() if delivered else session.come(1))
    await asyncio.sleep(0)
    coming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await coming
    session.decision = AckDecision.HOLD
    session.queue = session.connect(present=True)
    await session.come(1)
    assert session.delivered == ([(1, 1), (1, 2)] if delivered else [(1, 1)])


async def test_an_ended_subscription():
    """All its messages are to be settled; the application cannot acknowledge them any more."""
    session = Session(limit=1)
    await session.come(1, 2)
    assert [one.identifier for one in session.messages.close("t")] == [2, 1]
    with pytest.raises(InvalidError):
        session.messages.answer(session.ids[1])


async def test_a_subscription_that_is_not_made_again():
    """Its messages are given back once all subscriptions are there, unless it will be tried again."""
    session = Session()
    await session.come(1)
    session.messages.end()
    broker = begun(session.acks)
    session.messages.begin(present=True)
    before = session.acks.came(one := message(1))
    assert before is not None
    assert session.messages.adopt(before, one)
    assert broker.acks == []
    assert session.messages.close_others(["t"]) == []
    assert session.messages.close_others() == [one]
    with pytest.raises(InvalidError):
        session.messages.answer(session.ids[1])
    assert broker.acks == []


async def test_a_subscription_that_the_broker_does_not_confirm():
    """What is unacknowledged stays for the next try; the broker hears of it when the application acknowledges."""
    session = Session(visibility=30.0)
    await session.come(7)
    session.connect(present=True)
    session.messages.withdraw("t")
    assert session.broker.acks == []
    session.queue = session.connect(present=True)
    await session.come(7)
    assert session.broker.acks == []
    session.messages.answer(session.ids[7])
    assert session.broker.acks == [7]
