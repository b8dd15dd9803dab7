"""Messages from outside become events; subscriptions outlive sessions."""

import asyncio
import dataclasses
import random
from functools import partial
from typing import Any

import msgspec
import pytest

from bridge.connection.subscriptions import Subscriptions, SubscriptionSpec
from bridge.core.cancel import BoundedTasks
from bridge.core.errors import (
    AuthError,
    BridgeError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    RejectedError,
    ThrottledError,
    UnavailableError,
)
from bridge.core.model import Inbound, Subscribe, Unsubscribe
from bridge.core.ports import NO_OPTIONS, AckDecision, AdapterBase, Subscription, SubscriptionOptions
from bridge.core.settings import Hold
from tests.support.clock import FakeClock
from tests.support.guard.tracer import RecordingTracer


class Sink:
    """The bus: records published events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any, Any]] = []
        self.loops: list[str] = []
        self.has_room = asyncio.Event()
        self.has_room.set()
        self.unheard: set[str] = set()
        self.heard = asyncio.Event()
        self.kept: dict[tuple[str, str], tuple[Any, Any]] = {}

    def offer(self, event_type: str, payload: Any, *, headers: Any, keep: Any, confirmed: bool) -> bool:
        payload = msgspec.to_builtins(payload)
        if payload["message"] == "too large":
            raise InvalidError("too large")
        if self.has_room.is_set():
            self.events.append((event_type, payload, headers))
            if keep is not None:
                self.kept[event_type, keep[0]] = (payload["message"], keep[1])
        return self.has_room.is_set()

    def listens(self, event_type: str) -> bool:
        return event_type not in self.unheard

    async def listeners_changed(self) -> None:
        self.heard.clear()
        await self.heard.wait()

    def look_again(self) -> None:
        self.heard.set()

    def hear(self, event_type: str) -> None:
        self.unheard.remove(event_type)
        self.heard.set()

    def keeps_last(self, event_type: str, topic: str) -> bool:
        return (event_type, topic) in self.kept

    def forget_last(self, owner: object) -> None:
        self.kept = {key: value for key, value in self.kept.items() if value[1] is not owner}

    async def room(self) -> None:
        await self.has_room.wait()

    def reject_loop(self, event_type: str) -> None:
        self.loops.append(event_type)


class Session(AdapterBase):
    """A session that records its subscriptions.

    Attributes:
        refuses_topics: What subscribing to a topic raises.
        hangs: Topics that are never confirmed.
        heard: When data came last.
    """

    def __init__(self) -> None:
        self.refuses_topics: dict[str, BridgeError] = {}
        self.hangs: set[str] = set()
        self.heard: float | None = None
        self.tries: list[str] = []
        self.live: dict[str, Subscription] = {}
        self.restored: list[int] = []
        self.topics: dict[str, Any] = {}
        self.holds: dict[str, Any] = {}
        self.prefetch: dict[str, int] = {}
        self.refuses = False
        self.aligned: list[bool] = []

    async def subscribe(self, topic: str, deliver: Any, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        self.tries.append(topic)
        if self.refuses:
            raise NotConnectedError("no")
        if topic in self.refuses_topics:
            raise self.refuses_topics[topic]
        if topic in self.hangs:
            await asyncio.Event().wait()
        assert topic not in self.topics
        self.topics[topic] = deliver
        self.holds[topic] = options.hold
        self.aligned.append(options.aligned)
        self.live[topic] = Subscription(topic)
        return self.live[topic]

    @property
    def last_heard(self) -> float | None:
        return self.heard

    def subscriptions_restored(self) -> None:
        self.restored.append(len(self.tries))

    async def consume(self, queue: str, deliver: Any, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        self.holds[queue] = options.hold
        self.prefetch[queue] = options.prefetch
        self.topics[f"queue {queue}"] = deliver
        return Subscription(f"queue {queue}")

    async def unsubscribe(self, subscription: Subscription) -> None:
        del self.topics[subscription.topic]

    async def say(self, topic: str, message: Any, **fields: Any) -> AckDecision | None:
        return await self.topics[topic](Inbound(topic=topic.replace("#", "x"), message=message, **fields))


class ScriptedLease:
    """A lease that does what the test says, and records what it was asked.

    Attributes:
        term: The term of this bridge.
        open: Cleared while claims wait.
        grants: Whether a claim is granted.
        calls: `campaign`, `resign`, and the ticks that were claimed.
    """

    def __init__(self) -> None:
        self.term: int | None = 5
        self.open = asyncio.Event()
        self.open.set()
        self.grants = True
        self.calls: list[Any] = []

    def campaign(self) -> None:
        self._note("campaign")

    def resign(self) -> None:
        self._note("resign")

    def _note(self, call: str) -> None:
        if self.calls[-1:] != [call]:
            self.calls.append(call)

    async def claim(self, tick: int | None = None) -> bool:
        self.calls.append(tick)
        await self.open.wait()
        return self.grants


class Fixture:
    """Subscriptions with a sink and a session, and what they reported."""

    def __init__(
        self,
        *specs: SubscriptionSpec,
        has_qos: bool = False,
        acknowledged: bool = False,
        tracer: RecordingTracer | None = None,
    ) -> None:
        self.sink = Sink()
        self.bad: list[BridgeError] = []
        self.dead: list[tuple[Inbound, str]] = []
        self.stuck: list[tuple[Any, str]] = []
        self.clock = FakeClock()
        self.subscriptions = Subscriptions(
            "api",
            specs,
            sink=self.sink,
            clock=self.clock,
            rng=random.Random(1),
            tasks=BoundedTasks(clock=self.clock),
            limit=10.0,
            on_bad=lambda error, _: self.bad.append(error),
            on_dead=lambda message, why: self.dead.append((message, why)),
            on_change=self._changed,
            on_stuck=lambda session, error: self.stuck.append((session, error.message)),
            has_qos=has_qos,
            acknowledged=lambda _: acknowledged,
            trace=None if tracer is None else partial(tracer.message, "api", "fake"),
            lease=self._lease,
        )
        self.leases: dict[tuple[str, str], ScriptedLease] = {}
        self.session = Session()
        self.changes = 0

    def _changed(self) -> None:
        self.changes += 1

    def _lease(self, fabric: str, subscription: str) -> ScriptedLease:
        return self.leases.setdefault((fabric, subscription), ScriptedLease())

    @property
    def unwell(self) -> dict[str, tuple[str, str | None]]:
        """Those that are not live: status, and kind of error."""
        return {
            name: (one.status, None if one.error is None else one.error.kind)
            for name, one in self.subscriptions.unwell().items()
        }


async def test_a_message_becomes_an_event():
    """The event has topic, message and headers, with `hop` plus one, and id and attempts if there are any."""
    fixture = Fixture(SubscriptionSpec("w", "t"))
    await fixture.subscriptions.restore(fixture.session)
    await fixture.session.say("t", 1, headers={"a": "b"})
    await fixture.session.say("t", 2, headers={"hop": "3"}, message_id="m", attempts=2)
    assert fixture.sink.events == [
        ("message.api", {"topic": "t", "message": 1, "headers": {"a": "b"}}, {"hop": "1"}),
        (
            "message.api",
            {"topic": "t", "message": 2, "headers": {"hop": "3"}, "message_id": "m", "attempts": 2},
            {"hop": "4"},
        ),
    ]


async def test_the_context_of_a_trace_becomes_headers_of_the_event():
    """W3C's three headers, in any case of letters, are the event's own and not in its payload; others stay there."""
    fixture = Fixture(SubscriptionSpec("w", "t"))
    await fixture.subscriptions.restore(fixture.session)
    trace = {"traceparent": "00-1-2-01", "Tracestate": "a=1", "BAGGAGE": "k=v"}
    await fixture.session.say("t", 1, headers={**trace, "mine": "x"})
    await fixture.session.say("t", 2, headers={**trace, "hop": "3"})
    said = {"traceparent": "00-1-2-01", "tracestate": "a=1", "baggage": "k=v"}
    assert [(payload["headers"], headers) for _, payload, headers in fixture.sink.events] == [
        ({"mine": "x"}, {"hop": "1", **said}),
        ({"hop": "3"}, {"hop": "4", **said}),
    ]


async def test_an_event_continues_the_trace_from_its_message():
    """All events of a message name the span of the message, which ends once it is on the bus, also after a wait."""
    tracer = RecordingTracer()
    fixture = Fixture(SubscriptionSpec("w", "t/#"), SubscriptionSpec("v", "t/#", emit="v", text="v"), tracer=tracer)
    await fixture.subscriptions.restore(fixture.session)
    await fixture.session.say("t/#", 1, headers={"traceparent": "sender", "tracestate": "a=1", "baggage": "b"})
    own = {"hop": "1", "traceparent": "api fake t/# t/x"}
    assert [headers for _, _, headers in fixture.sink.events] == [{**own, "baggage": "b"}] * 2
    fixture.sink.has_room.clear()
    waiting = asyncio.ensure_future(fixture.session.say("t/#", 2))
    await fixture.clock.settle()
    assert [span.ends for span in tracer.spans] == [[None], []]
    fixture.sink.has_room.set()
    await waiting
    assert [headers for _, _, headers in fixture.sink.events[2:]] == [own] * 2
    await fixture.session.say("t/#", "too large")
    assert [span.ends for span in tracer.spans] == [[None], [None], ["invalid"]]


async def test_a_message_that_goes_in_circles_stops():
    """A message with more than eight hops is counted and makes no event."""
    fixture = Fixture(SubscriptionSpec("w", "t"))
    await fixture.subscriptions.restore(fixture.session)
    await fixture.session.say("t", 1, headers={"hop": "7"})
    await fixture.session.say("t", 1, headers={"hop": "8"})
    assert len(fixture.sink.events) == 1
    assert fixture.sink.loops == ["message.api"]


async def test_specs_for_one_topic_share_a_subscription_and_each_has_its_event():
    """Two specs for one topic make one subscription at the remote, and two events for each message."""
    fixture = Fixture(
        SubscriptionSpec("a", "t"), SubscriptionSpec("b", "t", lambda message: f"data.{message.topic}", "data")
    )
    await fixture.subscriptions.restore(fixture.session)
    await fixture.session.say("t", 1)
    assert [event for event, _, _ in fixture.sink.events] == ["message.api", "data.t"]


async def test_a_queue_is_consumed():
    """Messages of a queue become events like those of a topic."""
    fixture = Fixture(SubscriptionSpec("w", "jobs", queue=True))
    await fixture.subscriptions.restore(fixture.session)
    await fixture.session.say("queue jobs", 1, message_id="7", attempts=1)
    assert [event for event, _, _ in fixture.sink.events] == ["message.api"]


async def test_a_message_that_makes_no_event_is_reported_and_acknowledged():
    """A message from which no event can be made is reported; the next one makes an event."""

    def refuse(_: Inbound) -> str:
        raise InvalidError("not an event type")

    fixture = Fixture(SubscriptionSpec("a", "t", refuse, "x"), SubscriptionSpec("b", "u"))
    await fixture.subscriptions.restore(fixture.session)
    await fixture.session.say("t", 1)
    await fixture.session.say("u", "too large")
    await fixture.session.say("u", 1)
    assert [error.kind for error in fixture.bad] == ["invalid", "invalid"]
    assert len(fixture.sink.events) == 1


async def test_a_new_session_has_all_of_them_again():
    """A new session restores the subscriptions of the configuration and those by command."""
    fixture = Fixture(SubscriptionSpec("w", "t"))
    await fixture.subscriptions.restore(fixture.session)
    await fixture.subscriptions.add(fixture.session, Subscribe(topic="u"))
    fresh = Session()
    await fixture.subscriptions.restore(fresh)
    assert set(fresh.topics) == {"t", "u"}


async def test_subscribing_twice_is_one_subscription():
    """The same spec has the same name; another event type is another spec."""
    fixture = Fixture()
    first = await fixture.subscriptions.add(fixture.session, Subscribe(topic="t", emit="a.b"))
    assert await fixture.subscriptions.add(fixture.session, Subscribe(topic="t", emit="a.b")) == first
    assert await fixture.subscriptions.add(fixture.session, Subscribe(topic="t")) != first
    await fixture.session.say("t", 1)
    assert sorted(event for event, _, _ in fixture.sink.events) == ["a.b", "message.api"]


async def test_one_topic_has_one_quality_of_service():
    """The existing `qos` holds for a topic: a command may leave it out, but not change it; the default is 1."""
    fixture = Fixture(SubscriptionSpec("w", "t", qos=2), has_qos=True)
    await fixture.subscriptions.restore(fixture.session)
    assert await fixture.subscriptions.add(fixture.session, Subscribe(topic="t")) == "w"
    assert await fixture.subscriptions.add(fixture.session, Subscribe(topic="t", qos=2)) == "w"
    for qos, emit in ((0, None), (1, None), (1, "other")):
        with pytest.raises(InvalidError, match="qos: 'w' subscribes to this topic with 2"):
            await fixture.subscriptions.add(fixture.session, Subscribe(topic="t", qos=qos, emit=emit))
    plain = await fixture.subscriptions.add(fixture.session, Subscribe(topic="u"))
    assert await fixture.subscriptions.add(fixture.session, Subscribe(topic="u", qos=1)) == plain
    with pytest.raises(InvalidError, match="with 1"):
        await fixture.subscriptions.add(fixture.session, Subscribe(topic="u", qos=2))
    assert set(fixture.session.topics) == {"t", "u"}


async def test_a_quality_of_service_that_the_protocol_lacks():
    """If the protocol has no `qos`, a value above 0 is refused, not ignored."""
    fixture = Fixture()
    with pytest.raises(InvalidError, match="qos: this protocol has none"):
        await fixture.subscriptions.add(fixture.session, Subscribe(topic="t", qos=1))
    await fixture.subscriptions.add(fixture.session, Subscribe(topic="t", qos=0))


async def test_subscriptions_are_listed():
    """The list begins with the latest by command, with who asked; long names and lists are cut."""
    fixture = Fixture(SubscriptionSpec("w", "jobs", queue=True))
    await fixture.subscriptions.restore(fixture.session)
    await fixture.subscriptions.add(fixture.session, Subscribe(topic="t", emit="a.b"), "shop")
    await fixture.session.say("t", 1)
    first, last = msgspec.to_builtins(fixture.subscriptions.listed())
    assert first.pop("asked") == {"source": "shop", "timestamp": fixture.clock.wall_ms()}
    assert first == {"subscription": "subscription-1", "topic": "t", "queue": False, "emit": "a.b", "messages": 1}
    assert last == {
        "subscription": "w",
        "topic": "jobs",
        "queue": True,
        "emit": None,
        "messages": 0,
        "asked": None,
    }
    for n in range(150):
        await fixture.subscriptions.add(fixture.session, Subscribe(topic=f"{n}" * 500))
    listed = fixture.subscriptions.listed()
    assert len(listed) == 100
    assert {len(one.topic) for one in listed} == {200}


async def test_a_refused_subscription_is_forgotten():
    """A subscription that the remote refused is not restored by the next session."""
    fixture = Fixture()
    fixture.session.refuses = True
    with pytest.raises(NotConnectedError):
        await fixture.subscriptions.add(fixture.session, Subscribe(topic="t"))
    fresh = Session()
    await fixture.subscriptions.restore(fresh)
    assert fresh.topics == {}


async def test_unsubscribing_by_name_and_by_topic():
    """The remote gets `unsubscribe` when no spec is left for the topic."""
    fixture = Fixture()
    name = await fixture.subscriptions.add(fixture.session, Subscribe(topic="t"))
    await fixture.subscriptions.add(fixture.session, Subscribe(topic="t", emit="a"))
    await fixture.subscriptions.remove(fixture.session, Unsubscribe(subscription=name))
    assert set(fixture.session.topics) == {"t"}
    await fixture.subscriptions.remove(fixture.session, Unsubscribe(topic="t"))
    assert fixture.session.topics == {}


@pytest.mark.parametrize(
    "command",
    [Unsubscribe(), Unsubscribe(topic="t", subscription="s"), Unsubscribe(topic="t"), Unsubscribe(subscription="s")],
)
async def test_unsubscribing_from_nothing_is_invalid(command):
    """An unknown subscription is invalid; so is a command with both or neither of the two fields."""
    fixture = Fixture()
    with pytest.raises(InvalidError, match="unsubscribe"):
        await fixture.subscriptions.remove(fixture.session, command)


async def test_an_event_type_from_a_command_is_checked():
    """An event type with spaces is invalid, and so is a reserved one."""
    fixture = Fixture()
    for emit in ("a b", "health.bridge", "integration.api.request"):
        with pytest.raises(InvalidError, match="not an event type"):
            await fixture.subscriptions.add(fixture.session, Subscribe(topic="t", emit=emit))
    assert not fixture.session.topics


async def test_a_queue_may_have_the_name_of_a_topic():
    """A queue and a topic of one name have separate subscriptions, events and ends."""
    fixture = Fixture(SubscriptionSpec("q", "orders", queue=True, emit=lambda _: "from.queue", text="from.queue"))
    await fixture.subscriptions.restore(fixture.session)
    name = await fixture.subscriptions.add(fixture.session, Subscribe(topic="orders", emit="from.queue"))
    assert name != "q"
    assert set(fixture.session.topics) == {"queue orders", "orders"}
    await fixture.session.say("orders", 1)
    await fixture.session.say("queue orders", 2)
    assert [(kind, payload["message"]) for kind, payload, _ in fixture.sink.events] == [
        ("from.queue", 1),
        ("from.queue", 2),
    ]
    await fixture.subscriptions.remove(fixture.session, Unsubscribe(subscription=name))
    assert set(fixture.session.topics) == {"queue orders"}


class Slow(Session):
    """A session that confirms late."""

    async def subscribe(self, topic: str, deliver: Any, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        await asyncio.sleep(0)
        return await super().subscribe(topic, deliver, options)


async def test_two_at_once_share_one_subscription():
    """Two commands at the same time make one subscription at the remote, and one event each per message."""
    fixture = Fixture()
    fixture.session = Slow()
    add = fixture.subscriptions.add
    names = await asyncio.gather(
        *[add(fixture.session, Subscribe(topic="t", emit=emit)) for emit in ("a", "b", "a", "b")],
    )
    assert len(set(names)) == 2
    await fixture.session.say("t", 1)
    assert [kind for kind, _, _ in fixture.sink.events] == ["a", "b"]


async def test_who_asks_for_the_same_waits_for_the_same():
    """If the remote refuses the first of two equal commands, the second does not succeed."""
    fixture = Fixture()
    fixture.session = Slow()
    fixture.session.refuses = True
    found = await asyncio.gather(
        *[fixture.subscriptions.add(fixture.session, Subscribe(topic="t")) for _ in range(2)], return_exceptions=True
    )
    assert [type(one) for one in found] == [NotConnectedError, NotConnectedError]
    with pytest.raises(InvalidError):
        await fixture.subscriptions.remove(fixture.session, Unsubscribe(topic="t"))


async def test_a_full_bus_holds_the_message_up():
    """While the bus is full, the message is not acknowledged; then each of its events is published once."""
    fixture = Fixture(SubscriptionSpec("a", "t", "a.a", "a.a"), SubscriptionSpec("b", "t", "b.b", "b.b"))
    await fixture.subscriptions.restore(fixture.session)
    fixture.sink.has_room.clear()
    saying = asyncio.create_task(fixture.session.say("t", 1, message_id="1"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not saying.done()
    fixture.sink.has_room.set()
    assert await saying is AckDecision.ACK
    assert [kind for kind, _, _ in fixture.sink.events] == ["a.a", "b.b"]


async def test_what_the_broker_delivers_twice_is_one_event():
    """A redelivery and a repeated key are acknowledged and make no event, until the message is forgotten."""
    fixture = Fixture(SubscriptionSpec("w", "t"), SubscriptionSpec("v", "u"))
    await fixture.subscriptions.restore(fixture.session)
    key = {"idempotency_key": "k"}
    for attempts in (1, 2, None):
        assert await fixture.session.say("t", 1, message_id="1", attempts=attempts) is AckDecision.ACK
        assert await fixture.session.say("t", 2, headers=key) is AckDecision.ACK
        assert await fixture.session.say("t", 3, unique="u") is AckDecision.ACK
        assert await fixture.session.say("t", 4) is AckDecision.ACK
    assert [payload["message"] for _, payload, _ in fixture.sink.events] == [1, 2, 3, 4, 4, 4]
    assert await fixture.session.say("u", 2, headers=key) is AckDecision.ACK
    assert len(fixture.sink.events) == 7, "another subscription's messages are others"
    await fixture.clock.advance(601)
    await fixture.session.say("t", 2, headers=key)
    assert len(fixture.sink.events) == 8


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param({"unique": "7"}, {"unique": "7", "message": "another"}, id="a key with another content"),
        pytest.param({"unique": "7"}, {"unique": "7", "topic": "other"}, id="a key on another topic"),
        pytest.param(
            {"headers": {"idempotency_key": "7"}},
            {"headers": {"idempotency_key": "7"}, "message": {"b": 1, "a": 2}},
            id="a header with another content",
        ),
        pytest.param(
            {"message_id": "s/1", "attempts": 1},
            {"message_id": "s/1", "attempts": 1},
            id="a position that a new stream gives again, with an equal content",
        ),
        pytest.param(
            {"message_id": "s/1", "attempts": 1},
            {"message_id": "s/1", "attempts": 2, "message": "another"},
            id="a redelivered position with another content",
        ),
        pytest.param({"message_id": "7", "attempts": 1}, {"unique": "7"}, id="a key that is another's position"),
    ],
)
async def test_a_message_is_not_lost_as_a_duplicate(first: dict[str, Any], second: dict[str, Any]):
    """The same key or position on another topic, with another content or in a new stream is another message."""
    fixture = Fixture(SubscriptionSpec("w", "t"))
    await fixture.subscriptions.restore(fixture.session)
    for fields in (first, second):
        await fixture.session.topics["t"](Inbound(**{"topic": "t", "message": "one", **fields}))
    assert len(fixture.sink.events) == 2


async def test_a_key_with_a_content_that_no_event_can_have():
    """A message that the bus cannot carry is reported, also where its key has come before."""
    fixture = Fixture(SubscriptionSpec("w", "t"))
    await fixture.subscriptions.restore(fixture.session)
    await fixture.session.say("t", 1, unique="7")
    for value in (1 << 70, {1: {2}}, "\ud800"):
        assert not fixture.subscriptions._duplicates.has(1, Inbound(topic="t", message=value, unique="7"), held=False)


async def test_a_message_waits_until_somebody_listens():
    """Where a listener is needed, a message is neither published nor acknowledged before there is one; health tells."""
    fixture = Fixture(SubscriptionSpec("w", "t", needs_listener=True), SubscriptionSpec("v", "u"))
    await fixture.subscriptions.restore(fixture.session)
    fixture.sink.unheard = {"message.api"}
    waiting = asyncio.create_task(fixture.session.say("t", 1))
    await fixture.clock.advance(3600)
    changes = fixture.changes
    assert (waiting.done(), fixture.sink.events) == (False, [])
    assert fixture.subscriptions.unheard() == [
        "messages of 't' wait, because nobody on the bus listens to 'message.api'"
    ]
    await fixture.session.say("u", 2)
    assert [payload["message"] for _, payload, _ in fixture.sink.events] == [2], "the others do not need a listener"
    fixture.sink.hear("message.api")
    assert await waiting is AckDecision.ACK
    assert [payload["message"] for _, payload, _ in fixture.sink.events] == [2, 1]
    assert (fixture.subscriptions.unheard(), fixture.changes) == ([], changes + 1)


async def test_a_message_that_nobody_acknowledges_waits_for_no_listener():
    """A message of QoS 0 that comes by a subscription of QoS 1 is news or nothing."""
    fixture = Fixture(SubscriptionSpec("w", "t", needs_listener=True))
    await fixture.subscriptions.restore(fixture.session)
    fixture.sink.unheard = {"message.api"}
    assert await fixture.session.say("t", 1, at_most_once=True) is AckDecision.ACK
    assert len(fixture.sink.events) == 1
    assert fixture.subscriptions.unheard() == []


async def test_a_message_that_waits_is_given_up_with_its_session():
    """A wait that is cancelled leaves no warning, and the redelivery is no duplicate."""
    fixture = Fixture(SubscriptionSpec("w", "t", needs_listener=True))
    await fixture.subscriptions.restore(fixture.session)
    fixture.sink.unheard = {"message.api"}
    waiting = asyncio.create_task(fixture.session.say("t", 1, message_id="1", attempts=1))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert fixture.subscriptions.unheard() == []
    fixture.sink.hear("message.api")
    assert await fixture.session.say("t", 1, message_id="1", attempts=2) is AckDecision.ACK
    assert len(fixture.sink.events) == 1


async def test_a_message_that_waits_follows_a_change_of_its_subscription():
    """Where another configuration needs no listener, or has another event, the message that waits goes on by that."""
    spec = SubscriptionSpec("w", "t", "a", "a", needs_listener=True)
    fixture = Fixture(spec)
    await fixture.subscriptions.restore(fixture.session)
    fixture.sink.unheard = {"a", "b"}
    for other, event_type in [
        (dataclasses.replace(spec, needs_listener=False), "a"),
        (SubscriptionSpec("w", "t", "c", "c", needs_listener=True), "c"),
    ]:
        waiting = asyncio.create_task(fixture.session.say("t", 1))
        await fixture.clock.advance(1)
        assert (waiting.done(), len(fixture.subscriptions.unheard())) == (False, 1)
        await fixture.subscriptions.change([other])
        assert await waiting is AckDecision.ACK
        assert fixture.sink.events.pop()[0] == event_type
        await fixture.subscriptions.change([spec])


async def test_what_comes_while_a_subscription_ends_is_not_acknowledged():
    """A message without any event to make waits for the end of its session, and is not acknowledged."""
    fixture = Fixture(SubscriptionSpec("w", "t"))
    await fixture.subscriptions.restore(fixture.session)
    deliver = fixture.session.topics["t"]
    await fixture.subscriptions.remove(fixture.session, Unsubscribe(topic="t"))
    late = asyncio.ensure_future(deliver(Inbound(topic="t", message=1)))
    await fixture.clock.advance(3600)
    assert (late.done(), fixture.sink.events) == (False, [])
    late.cancel()


async def test_a_reload_does_not_repeat_the_events_of_a_message_that_waits():
    """What was made before is not made again by the `emit` of the new configuration, and equal ones make one each."""

    def specs() -> list[SubscriptionSpec]:
        return [
            SubscriptionSpec("one", "t", emit=lambda message: f"a.{message.topic}", text="a", needs_listener=True),
            SubscriptionSpec("two", "t", emit=lambda message: f"a.{message.topic}", text="a", needs_listener=True),
            SubscriptionSpec("three", "t", emit="b", text="b", needs_listener=True),
        ]

    fixture = Fixture(*specs())
    await fixture.subscriptions.restore(fixture.session)
    fixture.sink.unheard = {"b"}
    waiting = asyncio.create_task(fixture.session.say("t", 1))
    await fixture.clock.settle()
    await fixture.subscriptions.change(specs())
    await fixture.clock.settle()
    fixture.sink.hear("b")
    assert await waiting is AckDecision.ACK
    assert [event_type for event_type, _, _ in fixture.sink.events] == ["a.t", "a.t", "b"]

    fixture.sink.events.clear()
    fixture.sink.has_room.clear()
    waiting = asyncio.create_task(fixture.session.say("t", 2))
    await fixture.clock.settle()
    fixture.sink.has_room.set()
    assert await waiting is AckDecision.ACK
    assert [event_type for event_type, _, _ in fixture.sink.events] == ["a.t", "a.t", "b"]


async def test_each_event_of_a_message_waits_for_its_own_listener():
    """Of two events of one message, the second one waits alone; the message is acknowledged after both, each once."""
    fixture = Fixture(
        SubscriptionSpec("w", "t", "a", "a", needs_listener=True),
        SubscriptionSpec("v", "t", lambda message: f"b.{message.topic}", "b", needs_listener=True),
    )
    await fixture.subscriptions.restore(fixture.session)
    fixture.sink.unheard = {"b.t"}
    waiting = asyncio.create_task(fixture.session.say("t", 1))
    await fixture.clock.advance(1)
    assert ([kind for kind, _, _ in fixture.sink.events], waiting.done()) == (["a"], False)
    fixture.sink.has_room.clear()
    fixture.sink.hear("b.t")
    await fixture.clock.advance(1)
    assert not waiting.done()
    fixture.sink.has_room.set()
    assert await waiting is AckDecision.ACK
    assert [kind for kind, _, _ in fixture.sink.events] == ["a", "b.t"]


async def test_few_warnings_for_many_topics():
    """At most 20 topics that wait are named, and the others counted."""
    specs = [SubscriptionSpec(f"s{number}", f"t{number}", needs_listener=True) for number in range(30)]
    fixture = Fixture(*specs)
    await fixture.subscriptions.restore(fixture.session)
    fixture.sink.unheard = {"message.api"}
    waiting = [asyncio.create_task(fixture.session.say(spec.topic, 1)) for spec in specs]
    await asyncio.sleep(0)
    found = fixture.subscriptions.unheard()
    assert (len(found), found[-1]) == (21, "messages of 10 more topics wait likewise")
    fixture.sink.hear("message.api")
    await asyncio.gather(*waiting)


@pytest.mark.parametrize(("emit", "waits"), [("data.x", True), (None, True), ("client.a1.message.1", False)])
async def test_a_subscription_by_command_waits_for_a_listener(emit: str | None, waits: bool):
    """It waits where messages are acknowledged, but not for a type of one program, which may be gone for ever."""
    fixture = Fixture(acknowledged=True)
    await fixture.subscriptions.restore(fixture.session)
    await fixture.subscriptions.add(fixture.session, Subscribe(topic="t", emit=emit))
    fixture.sink.unheard = {"data.x", "message.api", "client.a1.message.1"}
    saying = asyncio.create_task(fixture.session.say("t", 1))
    await fixture.clock.advance(1)
    assert saying.done() is not waits
    saying.cancel()
    await asyncio.wait([saying])


async def test_patience():
    """A message with patience waits so long for a listener; then its event is published all the same."""
    fixture = Fixture(SubscriptionSpec("w", "t"))
    await fixture.subscriptions.restore(fixture.session)
    fixture.sink.unheard = {"message.api"}
    first = asyncio.create_task(fixture.session.say("t", 1, patience=10.0))
    await fixture.clock.advance(9.9)
    assert (first.done(), fixture.sink.events, fixture.subscriptions.unheard()) == (False, [], [])
    await fixture.clock.advance(0.2)
    assert await first is AckDecision.ACK
    second = asyncio.create_task(fixture.session.say("t", 2, patience=10.0))
    await fixture.clock.advance(1)
    fixture.sink.hear("message.api")
    await second
    assert [payload["message"] for _, payload, _ in fixture.sink.events] == [1, 2]
    await fixture.session.say("t", 3, patience=10.0)
    assert len(fixture.sink.events) == 3


async def test_last_values():
    """By default what the remote retains is kept, and updated by what comes later to its topic; or all, or nothing."""
    fixture = Fixture(
        SubscriptionSpec("w", "a/#"),
        SubscriptionSpec("all", "b/#", "all", "all", last_value=True),
        SubscriptionSpec("none", "c/#", "none", "none", last_value=False),
    )
    await fixture.subscriptions.restore(fixture.session)
    for topic, message, retained in [
        ("a/#", 1, True),
        ("a/#", 2, False),
        ("b/#", 3, False),
        ("c/#", 4, True),
    ]:
        await fixture.session.say(topic, message, retained=retained)
    other = Inbound(topic="a/other", message=5)
    await fixture.session.topics["a/#"](other)
    assert {key: value for key, (value, _) in fixture.sink.kept.items()} == {
        ("message.api", "a/x"): 2,
        ("all", "b/x"): 3,
    }
    await fixture.subscriptions.remove(fixture.session, Unsubscribe(subscription="all"))
    assert list(fixture.sink.kept) == [("message.api", "a/x")], "a subscription takes its values with it"
    fixture.subscriptions.forget_last_values()
    assert fixture.sink.kept == {}


async def test_what_the_application_acknowledges_comes_again():
    """A redelivery makes an event again; another message with the same key makes none until the first is given up."""
    fixture = Fixture(SubscriptionSpec("w", "jobs", queue=True, hold=Hold(limit=7)))
    await fixture.subscriptions.restore(fixture.session)
    hold = fixture.session.holds["jobs"]
    assert hold.limit == 7
    key = {"idempotency_key": "k"}
    for attempts in (1, 2):
        decision = await fixture.session.say("queue jobs", 1, message_id="1", headers=key, attempts=attempts)
        assert decision is AckDecision.HOLD
    assert await fixture.session.say("queue jobs", 1, message_id="2", headers=key) is AckDecision.ACK
    assert [payload["attempts"] for _, payload, _ in fixture.sink.events] == [1, 2]
    hold.on_dead(Inbound(topic="queue jobs", message=1, headers=key, message_id="1", attempts=2), "too often")
    assert [why for _, why in fixture.dead] == ["too often"]
    assert await fixture.session.say("queue jobs", 1, message_id="3", headers=key) is AckDecision.HOLD


async def test_prefetch():
    """It is passed to the adapter; a reload that changes it makes the subscription again, with the new one."""
    fixture = Fixture(SubscriptionSpec("w", "jobs", queue=True, prefetch=7))
    await fixture.subscriptions.restore(fixture.session)
    assert fixture.session.prefetch == {"jobs": 7}
    await fixture.subscriptions.change([SubscriptionSpec("w", "jobs", queue=True, prefetch=9)])
    await fixture.clock.settle()
    assert fixture.session.prefetch == {"jobs": 9}


async def test_a_command_cannot_subscribe_to_what_the_application_acknowledges():
    """A command for a topic with `ack = "consumer"` is refused, unless it is the same subscription."""
    fixture = Fixture(SubscriptionSpec("w", "t", hold=Hold()))
    await fixture.subscriptions.restore(fixture.session)
    with pytest.raises(InvalidError, match="'w' subscribes to it"):
        await fixture.subscriptions.add(fixture.session, Subscribe(topic="t", emit="other"))
    assert await fixture.subscriptions.add(fixture.session, Subscribe(topic="t")) == "w"
    assert await fixture.subscriptions.add(fixture.session, Subscribe(topic="u", emit="other")) != "w"


async def test_a_message_without_an_event_is_acknowledged():
    """A message that makes no event is acknowledged, because the application cannot do it."""
    fixture = Fixture(SubscriptionSpec("w", "jobs", queue=True, hold=Hold()))
    await fixture.subscriptions.restore(fixture.session)
    assert await fixture.session.say("queue jobs", "too large", message_id="1") is AckDecision.ACK
    assert await fixture.session.say("queue jobs", 1) is AckDecision.ACK, "it has no id"


# --- one failure is one failure

FORBIDDEN = RejectedError("not permitted", code=135)


@pytest.mark.parametrize(
    ("error", "status", "seconds"),
    [
        (FORBIDDEN, "failed", 60.0),
        (InvalidError("a..b is no subject"), "failed", 60.0),
        (AuthError("no"), "failed", 60.0),
        (UnavailableError("no leader", permanent=True), "failed", 60.0),
        (UnavailableError("no leader"), "disconnected", 0.1),
        (ThrottledError("slowly", retry_after_ms=7_000), "disconnected", 7.0),
    ],
)
async def test_a_refused_subscription_is_its_own_failure(error: BridgeError, status: str, seconds: float):
    """The others are made, the refused one is named with the reason, and tried again until it is made."""
    fixture = Fixture(SubscriptionSpec("bad", "b"), SubscriptionSpec("good", "g"))
    fixture.session.refuses_topics["b"] = error
    assert await fixture.subscriptions.restore(fixture.session), "the session works"
    assert set(fixture.session.topics) == {"g"}
    assert fixture.unwell == {"bad": (status, error.kind)}
    fixture.session.refuses_topics.clear()
    await fixture.clock.advance(seconds * 0.49)
    assert not fixture.subscriptions.well
    before = fixture.changes
    await fixture.clock.advance(seconds * 0.52)
    assert fixture.subscriptions.well
    assert fixture.unwell == {}
    assert fixture.changes == before + 1


async def test_a_subscription_that_is_refused_again_and_again_waits_longer():
    """Ten tries in ten seconds at most, and at last one in five seconds."""
    fixture = Fixture(SubscriptionSpec("bad", "b"))
    fixture.session.refuses_topics["b"] = UnavailableError("no leader")
    await fixture.subscriptions.restore(fixture.session)
    await fixture.clock.advance(10.0)
    assert 5 <= len(fixture.session.tries) <= 10
    await fixture.clock.advance(60.0)
    assert len(fixture.session.tries) <= 10 + 60 / 2.5


async def test_a_subscription_that_ends_is_made_again():
    """What the remote ends later is told and made again; one that never lasts waits longer each time."""
    fixture = Fixture(SubscriptionSpec("w", "t"))
    await fixture.subscriptions.restore(fixture.session)
    for _ in range(2):
        before = len(fixture.session.tries)
        del fixture.session.topics["t"]
        fixture.subscriptions.ended(fixture.session.live["t"], UnavailableError("deleted"))
        assert fixture.unwell == {"w": ("disconnected", "unavailable")}
        await fixture.clock.advance(1.0)
        assert fixture.subscriptions.well
        assert len(fixture.session.tries) == before + 1
    del fixture.session.topics["t"]
    fixture.subscriptions.ended(fixture.session.live["t"], UnavailableError("deleted"))
    await fixture.clock.advance(0.5)
    assert not fixture.subscriptions.well
    fixture.subscriptions.ended(Subscription("t"), UnavailableError("of an earlier session"))
    await fixture.clock.advance(2.0)
    assert fixture.subscriptions.well


async def test_one_made_by_command_is_made_again_too():
    """A command that is refused fails and leaves nothing; a live one that ends later is tried again."""
    fixture = Fixture()
    await fixture.subscriptions.restore(fixture.session)
    fixture.session.refuses_topics["t"] = FORBIDDEN
    with pytest.raises(RejectedError):
        await fixture.subscriptions.add(fixture.session, Subscribe(topic="t"))
    assert fixture.subscriptions.well
    await fixture.clock.advance(61.0)
    assert fixture.session.tries == ["t"]
    fixture.session.refuses_topics.clear()
    name = await fixture.subscriptions.add(fixture.session, Subscribe(topic="t"))
    del fixture.session.topics["t"]
    fixture.subscriptions.ended(fixture.session.live["t"], FORBIDDEN)
    assert fixture.unwell == {name: ("failed", "rejected")}
    await fixture.clock.advance(60.1)
    assert fixture.subscriptions.well
    fixture.subscriptions.ended(fixture.session.live["t"], FORBIDDEN)
    await fixture.subscriptions.remove(fixture.session, Unsubscribe(subscription=name))
    await fixture.clock.advance(61.0)
    assert fixture.session.tries == ["t", "t", "t"], "a removed one is not tried again"
    assert fixture.clock.timers == 0


async def test_a_command_for_one_that_is_refused_tries_it_at_once():
    """A command does not say that a subscription is made which is not; if it succeeds, so has the block's."""
    fixture = Fixture(SubscriptionSpec("w", "t"))
    fixture.session.refuses_topics["t"] = FORBIDDEN
    await fixture.subscriptions.restore(fixture.session)
    with pytest.raises(RejectedError):
        await fixture.subscriptions.add(fixture.session, Subscribe(topic="t"))
    assert fixture.unwell == {"w": ("failed", "rejected")}
    fixture.session.refuses_topics.clear()
    assert await fixture.subscriptions.add(fixture.session, Subscribe(topic="t")) == "w"
    assert fixture.subscriptions.well
    await fixture.clock.advance(120.0)
    assert len(fixture.session.tries) == 3


async def test_an_end_that_is_told_before_the_confirmation_is_taken():
    """An adapter may report the end in the moment in which it confirms."""
    fixture = Fixture(SubscriptionSpec("w", "t"))

    class Hasty(Session):
        async def subscribe(self, topic: str, deliver: Any, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
            made = await super().subscribe(topic, deliver, options)
            del self.topics[topic]
            fixture.subscriptions.ended(made, UnavailableError("and gone"))
            return made

    hasty = Hasty()
    await fixture.subscriptions.restore(hasty)
    assert fixture.unwell == {"w": ("disconnected", "unavailable")}
    await fixture.clock.advance(10.0)
    assert 2 <= len(hasty.tries) <= 10


@pytest.mark.parametrize("kind", [NotConnectedError, ConnectionLostError])
async def test_what_may_be_the_end_of_the_session(kind: type[BridgeError]):
    """After an error as of a dead connection the session must show that it works; the others are made all the same."""
    fixture = Fixture(SubscriptionSpec("bad", "b"), SubscriptionSpec("good", "g"))
    fixture.session.refuses_topics["b"] = kind("closed")
    assert not await fixture.subscriptions.restore(fixture.session)
    assert set(fixture.session.topics) == {"g"}


async def test_a_subscription_without_an_answer():
    """One that hangs holds up no other; after the time limit the session must show that it works, and it is retried."""
    fixture = Fixture(SubscriptionSpec("bad", "b"), SubscriptionSpec("good", "g"))
    fixture.session.hangs.add("b")
    restoring = asyncio.create_task(fixture.subscriptions.restore(fixture.session))
    await fixture.clock.advance(9.9)
    assert set(fixture.session.topics) == {"g"}
    assert not restoring.done()
    await fixture.clock.advance(0.11)
    assert not await restoring
    await fixture.clock.settle()
    assert fixture.unwell == {"bad": ("disconnected", "timeout")}
    fixture.session.hangs.clear()
    await fixture.clock.advance(1.0)
    assert fixture.subscriptions.well


async def test_arriving_data_is_a_sign_of_life():
    """A confirmation that waits behind a flood has not failed: it is not cancelled, and the session works."""
    fixture = Fixture(SubscriptionSpec("w", "t"))
    confirmed = asyncio.Event()

    class Flooded(Session):
        async def subscribe(self, topic: str, deliver: Any, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
            await confirmed.wait()
            return await super().subscribe(topic, deliver, options)

    session = Flooded()
    restoring = asyncio.create_task(fixture.subscriptions.restore(session))
    for _ in range(70):
        await fixture.clock.advance(0.5)
        session.heard = fixture.clock.monotonic()
    assert await restoring
    assert fixture.unwell == {"w": ("connecting", None)}
    confirmed.set()
    await fixture.clock.settle()
    assert fixture.subscriptions.well
    assert session.tries == ["t"]


async def test_nothing_is_tried_on_a_session_that_is_over():
    """Retries end with their session; the next one makes all of them, and remembers how often they failed."""
    fixture = Fixture(SubscriptionSpec("w", "t"))
    fixture.session.refuses_topics["t"] = UnavailableError("no leader")
    await fixture.subscriptions.restore(fixture.session)
    await fixture.clock.advance(20.0)
    tries = len(fixture.session.tries)
    fixture.subscriptions.session_over(Session())
    assert fixture.clock.timers == 1, "another session's end is another's"
    fixture.subscriptions.session_over(fixture.session)
    await fixture.clock.advance(60.0)
    assert len(fixture.session.tries) == tries
    assert fixture.clock.timers == 0
    fresh = Session()
    fresh.refuses_topics["t"] = UnavailableError("no leader")
    await fixture.subscriptions.restore(fresh)
    await fixture.clock.advance(2.4)
    assert len(fresh.tries) == 1


async def test_many_that_are_not_well_are_counted():
    """Twenty are named, those that need a person first, and with texts of bounded length."""
    fixture = Fixture(*(SubscriptionSpec(f"s{n}", f"t{n}") for n in range(50)))
    for n in range(50):
        error = RejectedError if n == 49 else UnavailableError
        fixture.session.refuses_topics[f"t{n}"] = error("x" * 2000, data={"a": "b"})
    await fixture.subscriptions.restore(fixture.session)
    unwell = fixture.subscriptions.unwell()
    assert len(unwell) == 20
    assert next(iter(unwell)) == "s49"
    assert fixture.subscriptions.unwell_and_not_named == 30
    assert all(len(msgspec.json.encode(one)) < 500 for one in unwell.values())


async def test_those_that_are_too_many_for_the_list_are_counted():
    """A hundred are listed; how many more there are is known, too."""
    fixture = Fixture(*(SubscriptionSpec(f"s{n}", f"t{n}") for n in range(120)))
    assert (len(fixture.subscriptions.listed()), fixture.subscriptions.not_listed) == (100, 20)
    assert Fixture(SubscriptionSpec("s", "t")).subscriptions.not_listed == 0


async def test_a_session_is_left_without_its_subscriptions():
    """A session that goes on for its operations has no subscriptions any more, even if one cannot be ended."""
    fixture = Fixture(SubscriptionSpec("a", "t"), SubscriptionSpec("b", "u"))
    await fixture.subscriptions.restore(fixture.session)
    unsubscribe = fixture.session.unsubscribe

    async def refuse(subscription: Subscription) -> None:
        if subscription.topic == "t":
            raise ConnectionLostError("closed")
        await unsubscribe(subscription)

    fixture.session.unsubscribe = refuse  # type: ignore[method-assign]
    await fixture.subscriptions.leave(fixture.session)
    assert set(fixture.session.topics) == {"t"}
    fresh = Session()
    await fixture.subscriptions.restore(fresh)
    assert set(fresh.topics) == {"t", "u"}


async def test_another_quality_of_service_for_a_topic_that_a_command_has_asked_for_too():
    """The remote's subscription cannot end for the change, so the session does, and the next one has it."""
    fixture = Fixture(SubscriptionSpec("w", "t", qos=0), has_qos=True)
    await fixture.subscriptions.restore(fixture.session)
    await fixture.subscriptions.add(fixture.session, Subscribe(topic="t", emit="a.b"))
    await fixture.subscriptions.change([SubscriptionSpec("w", "t", qos=0)])
    assert fixture.stuck == []
    await fixture.subscriptions.change([SubscriptionSpec("w", "t", qos=1)])
    assert fixture.stuck == [(fixture.session, "w: it has another quality of service from now on")]
    fresh = Session()
    await fixture.subscriptions.restore(fresh)
    await fixture.subscriptions.change([SubscriptionSpec("w", "t", qos=1)])
    assert len(fixture.stuck) == 1


async def test_a_name_that_a_command_has_taken_is_not_for_the_configuration():
    """One of the two would be lost without a word."""
    fixture = Fixture(SubscriptionSpec("w", "t"))
    await fixture.subscriptions.restore(fixture.session)
    name = await fixture.subscriptions.add(fixture.session, Subscribe(topic="u"))
    fixture.subscriptions.check([SubscriptionSpec("w", "t"), SubscriptionSpec("v", "v")])
    with pytest.raises(ValueError, match=f"{name}.*choose another"):
        fixture.subscriptions.check([SubscriptionSpec(name, "v")])


async def test_what_is_being_made_is_made_once():
    """A change meanwhile begins no second try beside the first one, which would hold up its removal."""
    fixture = Fixture(SubscriptionSpec("w", "t"))
    fixture.session.hangs = {"t"}
    restoring = asyncio.create_task(fixture.subscriptions.restore(fixture.session))
    await fixture.clock.settle()
    await fixture.subscriptions.change([SubscriptionSpec("w", "t"), SubscriptionSpec("v", "u")])
    await fixture.clock.settle()
    removing = asyncio.create_task(fixture.subscriptions.change([SubscriptionSpec("v", "u")]))
    await fixture.clock.settle()
    assert removing.done()
    assert restoring.done()
    assert fixture.session.tries == ["t", "u"]


async def test_a_session_that_ends_no_subscription_is_left_all_the_same():
    """However many there are, the next session does not wait long for those that the last one does not end."""
    fixture = Fixture(*(SubscriptionSpec(f"s{n}", f"t{n}") for n in range(100)))
    await fixture.subscriptions.restore(fixture.session)

    async def hang(_: Subscription) -> None:
        await asyncio.Event().wait()

    fixture.session.unsubscribe = hang  # type: ignore[method-assign]
    leaving = asyncio.create_task(fixture.subscriptions.leave(fixture.session))
    await fixture.clock.advance(2.01)
    assert leaving.done()
    await fixture.clock.advance(1.0)
    assert fixture.clock.timers == 0, "nothing goes on"


async def test_those_that_are_not_confirmed_hold_up_no_others():
    """Where other data comes instead of their confirmation, the others are asked for after the time limit."""
    fixture = Fixture(*(SubscriptionSpec(f"s{n}", f"t{n}") for n in range(20)))
    fixture.session.hangs = {f"t{n}" for n in range(16)}
    restoring = asyncio.create_task(fixture.subscriptions.restore(fixture.session))
    for _ in range(12):
        await fixture.clock.advance(1.0)
        fixture.session.heard = fixture.clock.monotonic()
    assert restoring.done()
    assert set(fixture.session.live) == {"t16", "t17", "t18", "t19"}
    assert len(fixture.session.tries) == 20


@pytest.mark.parametrize("hanging", [0, 3, 40])
async def test_a_session_is_told_when_all_were_asked_for(hanging: int):
    """Once, after the last one was asked for: until then, what the remote sends may still be wanted."""
    fixture = Fixture(*(SubscriptionSpec(f"s{n}", f"t{n}") for n in range(50)))
    fixture.session.hangs = {f"t{n}" for n in range(hanging)}
    restoring = asyncio.create_task(fixture.subscriptions.restore(fixture.session))
    await fixture.clock.settle()
    assert fixture.session.restored == ([] if hanging else [50])
    await fixture.clock.advance(10.0)
    await restoring
    assert fixture.session.restored == ([] if hanging == 40 else [50])


async def test_many_subscriptions_are_restored_together(monkeypatch: pytest.MonkeyPatch):
    """The work rises with their number, not with its square; the change is told once, for all of them."""
    compared, told = 0, []

    def count(spec: SubscriptionSpec) -> Any:
        nonlocal compared
        compared += 1
        return spec.topic, spec.queue, spec.group

    monkeypatch.setattr(SubscriptionSpec, "key", property(count))
    fixture = Fixture(*[SubscriptionSpec(f"s{number}", f"t{number}") for number in range(200)])
    monkeypatch.setattr(fixture.subscriptions, "_on_change", lambda: told.append(fixture.subscriptions.well))
    assert await fixture.subscriptions.restore(fixture.session)
    assert told == [True]
    assert compared < 200 * 10


SINGLETON = SubscriptionSpec("w", "t", emit="one", text="one", singleton="plant")


async def test_a_singleton_asks_for_its_lease_before_each_event():
    """What it is granted is put on the bus; what it is not, is acknowledged and dropped, and counted all the same."""
    fixture = Fixture(SINGLETON)
    await fixture.subscriptions.restore(fixture.session)
    lease = fixture.leases["plant", "w"]
    assert await fixture.session.say("t", 1, tick=1000) is AckDecision.ACK
    lease.grants = False
    assert await fixture.session.say("t", 2, tick=2000) is AckDecision.ACK
    assert [payload["message"] for _, payload, _ in fixture.sink.events] == [1]
    assert lease.calls == ["resign", "campaign", 1000, 2000]
    assert fixture.subscriptions.messages == 2


async def test_a_singleton_competes_while_its_subscription_is_live():
    """A subscription that is refused, ends or loses its session leaves the lease to the others."""
    fixture = Fixture(SINGLETON)
    fixture.session.refuses = True
    await fixture.subscriptions.restore(fixture.session)
    lease = fixture.leases["plant", "w"]
    assert lease.calls == ["resign"]
    fixture.session.refuses = False
    await fixture.clock.advance(10)
    assert lease.calls == ["resign", "campaign"]
    fixture.subscriptions.ended(fixture.session.live["t"], ConnectionLostError("gone"))
    assert lease.calls[2:] == ["resign"]
    fixture.session.topics.clear()
    await fixture.clock.advance(10)
    fixture.subscriptions.session_over(fixture.session)
    assert lease.calls[3:] == ["campaign", "resign"]


async def test_a_reload_changes_whether_a_subscription_has_a_lease():
    """It is made anew, as its ticks are others, and the lease is given up where it has none any more."""
    fixture = Fixture(SubscriptionSpec("w", "t", emit="one", text="one"))
    await fixture.subscriptions.restore(fixture.session)
    assert fixture.leases == {}
    await fixture.subscriptions.change([SINGLETON])
    await fixture.clock.settle()
    assert (fixture.session.tries, fixture.session.aligned) == (["t", "t"], [False, True])
    lease = fixture.leases["plant", "w"]
    assert lease.calls[-1] == "campaign"
    await fixture.subscriptions.change([])
    assert lease.calls[-1] == "resign"


async def test_a_singleton_begins_anew_what_a_command_has_subscribed_to():
    """A command keeps a subscription whose ticks are not aligned: the session ends, so that it is made anew."""
    fixture = Fixture()
    await fixture.subscriptions.restore(fixture.session)
    await fixture.subscriptions.add(fixture.session, Subscribe(topic="t"))
    await fixture.subscriptions.change([SINGLETON])
    assert fixture.stuck == [(fixture.session, "w: one node of a fabric emits it from now on")]
    assert fixture.leases["plant", "w"].calls[-1] == "resign", "it claims no tick that others do not mean"
    fixture.subscriptions.session_over(fixture.session)
    fixture.session.topics.clear()
    await fixture.subscriptions.restore(fixture.session)
    assert fixture.session.aligned[-1]
    assert fixture.leases["plant", "w"].calls[-1] == "campaign"
    await fixture.subscriptions.change([SINGLETON])
    assert len(fixture.stuck) == 1


async def test_an_event_that_waits_is_dropped_when_its_term_is_over():
    """The bus has no room for an event that was granted: it is put there later only in the same term."""
    fixture = Fixture(SINGLETON)
    await fixture.subscriptions.restore(fixture.session)
    lease = fixture.leases["plant", "w"]
    for term in (5, 6, None):
        lease.term = 5
        fixture.sink.has_room.clear()
        waiting = asyncio.create_task(fixture.session.say("t", term, tick=1000))
        await fixture.clock.settle()
        lease.term = term
        fixture.sink.has_room.set()
        assert await waiting is AckDecision.ACK
    assert [payload["message"] for _, payload, _ in fixture.sink.events] == [5]
    assert lease.calls.count(1000) == 3, "a tick is claimed once"


async def test_what_needs_no_lease_does_not_wait_for_one():
    """An ordinary subscription to the same topic has its event although the lease is not decided yet."""
    fixture = Fixture(SINGLETON, SubscriptionSpec("v", "t", emit="all", text="all"))
    await fixture.subscriptions.restore(fixture.session)
    lease = fixture.leases["plant", "w"]
    lease.open.clear()
    waiting = asyncio.create_task(fixture.session.say("t", 1))
    await fixture.clock.settle()
    assert [event for event, _, _ in fixture.sink.events] == ["all"]
    lease.open.set()
    await waiting
    assert [event for event, _, _ in fixture.sink.events] == ["all", "one"]
