"""`RpcClient`, `PubSubClient` and `QueueClient` on a real bus, before a stand-in for the bridge."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.client import BusClient, CallFailedError, ClosedError, PubSubClient, QueueClient, RpcClient
from bridge.core.errors import InvalidError
from bridge.core.model import Event
from tests.support.bus.stand_in import answering, bus_place
from tests.support.wait import until


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[str, str]]:
    """The endpoints of a bus on which no bridge is."""
    with bus_place() as place:
        yield place


def good(result: Any = None) -> dict[str, Any]:
    """A good answer."""
    return {"ok": True, "result": result, "attempts": 1}


def bad(kind: str, *, retryable: bool = True) -> dict[str, Any]:
    """A bad answer."""
    return {"ok": False, "error": {"kind": kind, "message": "no", "retryable": retryable}, "attempts": 0}


async def test_commands(place: tuple[str, str]):
    """Each method says its command with what it was given; keys are fresh unless given."""
    results = {
        "publish": {"receivers": 2},
        "enqueue": {"message_id": "jobs/1"},
        "dequeue": {"message_id": "jobs/1", "message": {"n": 1}, "attempts": 3, "headers": {"a": "b"}},
    }
    async with (
        answering(place, lambda event: good(results.get(event.event_type.rpartition(".")[2], {}))) as seen,
        BusClient(*place) as bus,
    ):
        events, jobs = PubSubClient(bus, "events"), QueueClient(bus, "jobs")
        assert await events.publish("t", 1, qos=1, retain=True, headers={"x": "y"}, key="k1") == {"receivers": 2}
        assert await events.publish("t", None) == {"receivers": 2}
        await events.ack("m1")
        assert await jobs.enqueue("q", [1], headers={"x": "y"}, key="k2") == "jobs/1"
        message = await jobs.dequeue("q", wait=0.5, visibility=2.0)
        assert message is not None
        assert (message.message_id, message.message, message.attempts) == ("jobs/1", {"n": 1}, 3)
        assert (message.queue, message.headers) == ("q", {"a": "b"})
        await message.nack(0.25)
        await jobs.ack("jobs/1")
    assert [(one.event_type.removeprefix("integration."), one.payload) for one in seen] == [
        ("events.publish", {"topic": "t", "message": 1, "qos": 1, "retain": True, "headers": {"x": "y"}}),
        ("events.publish", {"topic": "t", "message": None}),
        ("events.ack", {"message_id": "m1"}),
        ("jobs.enqueue", {"queue": "q", "message": [1], "headers": {"x": "y"}}),
        ("jobs.dequeue", {"queue": "q", "wait_ms": 500, "visibility_ms": 2000}),
        ("jobs.nack", {"message_id": "jobs/1", "delay_ms": 250}),
        ("jobs.ack", {"message_id": "jobs/1"}),
    ]
    keys = [one.header("idempotency_key") for one in seen]
    assert (keys[0], keys[3]) == ("k1", "k2")
    assert all(keys)
    assert len(set(keys)) == len(keys)


async def test_a_call_has_a_key_only_where_it_is_given(place: tuple[str, str]):
    """Without one the bridge must not repeat it at the remote."""
    async with answering(place, lambda _: good()) as seen, BusClient(*place) as bus:
        api = RpcClient(bus, "api")
        await api.call("m")
        await api.call("m", key="k")
    assert [one.header("idempotency_key") for one in seen] == [None, "k"]


async def test_the_bridge_is_told_when_the_caller_gives_up(place: tuple[str, str]):
    """`deadline_ms` is the caller's time on the wall clock, in what is said again, too."""
    answered = 0

    def second_time(_: Event) -> dict[str, Any] | None:
        nonlocal answered
        answered += 1
        return good() if answered == 2 else None

    async with answering(place, second_time) as seen, BusClient(*place) as bus:
        began = time.time()
        await RpcClient(bus, "api").call("m", timeout=7.0, key="k")
    assert len(seen) == 2
    for event in seen:
        assert began + 6.9 < int(event.header("deadline_ms") or "") / 1000 < time.time() + 7.1


async def test_what_it_emits_is_numbered(place: tuple[str, str]):
    """`headers.seq` counts all that this program has put on the bus, by one."""
    listener = BusClient(*place, prefixes=("",))
    with listener.listen() as events:
        async with listener, BusClient(*place) as bus:
            for n in range(20):
                bus.emit("note.taken", n)
            with pytest.raises(InvalidError):
                bus.emit("note.taken", 1 << 70)  # takes no number
            bus.emit("note.taken", 20)
            numbers: list[int] = []
            async with asyncio.timeout(10):
                while len(numbers) < 21:
                    event = await events.get()
                    if event.source == bus.source:
                        numbers.append(int(event.header("seq") or ""))
    assert numbers == list(range(numbers[0], numbers[0] + 21))


async def test_answers_are_heard_whatever_is_listened_to(place: tuple[str, str]):
    """A client that listens to something else can ask all the same, and its listeners get only what they want."""
    async with answering(place, lambda event: good(event.payload["params"])):
        bus = BusClient(*place, prefixes=("note.",))
        with bus.listen() as events:
            async with bus:
                api = RpcClient(bus, "api")
                assert await asyncio.gather(*[api.call("m", [n], key=f"k{n}") for n in range(5)]) == [
                    [n] for n in range(5)
                ]
                bus.emit("note.taken")
                assert (await asyncio.wait_for(events.get(), 10)).event_type == "note.taken"
        assert events.empty()


async def test_a_bridge_that_is_stopping_is_asked_again(place: tuple[str, str]):
    """With a key, while there is time; without one, and when the time is up, it is the caller's error."""
    left = 2

    def stopping(_: Event) -> dict[str, Any]:
        nonlocal left
        left -= 1
        return bad("stopping") if left >= 0 else good(7)

    async with answering(place, stopping) as seen, BusClient(*place) as bus:
        api = RpcClient(bus, "api")
        assert await api.call("m", key="k") == 7
        assert len(seen) == 3
        left = 1
        with pytest.raises(CallFailedError, match="stopping"):
            await api.call("m")
        left = 1000
        with pytest.raises(CallFailedError, match="stopping"):
            await api.call("m", key="k2", timeout=0.6)


@pytest.mark.parametrize("kind", ["not_connected", "circuit_open", "overloaded"])
async def test_other_errors_are_the_callers(place: tuple[str, str], kind: str):
    """What may pass by itself is said at once; whether to try again is the program's decision."""
    async with answering(place, lambda _: bad(kind)) as seen, BusClient(*place) as bus:
        with pytest.raises(CallFailedError, match=kind):
            await QueueClient(bus, "jobs").enqueue("q", 1)
    assert len(seen) == 1


async def test_a_dequeue_waits_in_pieces(place: tuple[str, str]):
    """Each has its own key, and none waits longer than an attempt may take."""
    async with answering(place, lambda _: good(None)) as seen, BusClient(*place) as bus:
        jobs = QueueClient(bus, "jobs")
        assert await jobs.dequeue("q") is None
        assert [one.payload["wait_ms"] for one in seen] == [0]
        taking = asyncio.create_task(jobs.dequeue("q", wait=60.0))
        await until(lambda: len(seen) >= 4)
        taking.cancel()
        await asyncio.wait({taking})
    assert {one.payload["wait_ms"] for one in seen[1:]} == {1000}
    assert len({one.header("idempotency_key") for one in seen}) == len(seen)


async def test_messages_are_settled(place: tuple[str, str]):
    """Good work is acknowledged, an exception gives back, a cancellation leaves it to its time."""
    number = 0

    def numbered(event: Event) -> dict[str, Any]:
        nonlocal number
        if not event.event_type.endswith("dequeue"):
            return good({})
        number += 1
        return good({"message_id": f"m{number}", "message": number, "attempts": 1, "headers": {}})

    async with answering(place, numbered) as seen, BusClient(*place) as bus:
        jobs = QueueClient(bus, "jobs")

        async def work() -> None:
            async for message in jobs.messages("q"):
                async with message:
                    if message.message == 2:
                        raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await work()
        third = await jobs.dequeue("q")
        assert third is not None
        with pytest.raises(asyncio.CancelledError):
            async with third:
                raise asyncio.CancelledError
    settled = [(one.event_type.rpartition(".")[2], one.payload.get("message_id")) for one in seen]
    assert [one for one in settled if one[1]] == [("ack", "m1"), ("nack", "m2")]


async def test_messages_outlast_what_passes(place: tuple[str, str]):
    """A bridge that is silent, a remote that is away; what will not pass is raised."""
    answers = [None, bad("not_connected"), good(None), good({"message_id": "m", "message": 1, "attempts": 1})]
    keys: list[str | None] = []

    def in_turn(event: Event) -> dict[str, Any] | None:
        key = event.header("idempotency_key")
        if keys and key == keys[-1]:
            return None  # said again, and as silent as before
        keys.append(key)
        return answers[len(keys) - 1] if len(keys) <= len(answers) else bad("not_supported", retryable=False)

    async with answering(place, in_turn), BusClient(*place) as bus:
        messages = QueueClient(bus, "jobs").messages("q", timeout=0.1)
        assert (await anext(messages)).message == 1
        with pytest.raises(CallFailedError, match="not_supported"):
            await anext(messages)
    assert len(keys) == 5


async def test_a_slow_listener_is_told(place: tuple[str, str]):
    """The number of events that wait is bounded; the others are counted, not kept."""
    bus = BusClient(*place, prefixes=("note.",))
    with bus.listen(most=5) as events:
        async with bus:
            for n in range(50):
                bus.emit("note.taken", n)
    assert ((await events.get()).payload, events.missed) == (45, 45)
    assert [one.payload async for one in events] == [46, 47, 48, 49]


async def test_outside_of_its_context(place: tuple[str, str]):
    """Before it is entered and after it is left, it says so, and so do the clients on it."""
    bus = BusClient(*place)
    calls = (
        lambda: bus.ask("x"),
        lambda: RpcClient(bus, "api").call("m"),
        lambda: QueueClient(bus, "jobs").enqueue("q", 1),
        lambda: PubSubClient(bus, "events").subscribe("t").__aenter__(),
    )

    async def refused() -> None:
        with pytest.raises(ClosedError, match="async with"):
            bus.emit("x")
        for call in calls:
            with pytest.raises(ClosedError, match="async with"):
                await call()

    await refused()
    async with bus:
        pass
    await refused()


async def test_left_while_others_ask(place: tuple[str, str]):
    """They get an error instead of waiting for ever; nothing is left running."""
    async with BusClient(*place) as bus:
        asking = asyncio.create_task(RpcClient(bus, "api").call("m", key="k"))
        subscribing = asyncio.create_task(PubSubClient(bus, "events").subscribe("t").__aenter__())
        await until(lambda: len(bus._asking) == 2)
    done = await asyncio.gather(asking, subscribing, return_exceptions=True)
    assert [type(one) for one in done] == [ClosedError, ClosedError]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_two_programs_with_one_topic(place: tuple[str, str]):
    """Each has its own event type and ends its own subscription only; with `emit` nobody ends it."""
    names: dict[str, str] = {}

    def bridge(event: Event) -> dict[str, Any]:
        if event.event_type.endswith(".unsubscribe"):
            return good({})
        emit = event.payload["emit"]
        return good({"subscription": names.setdefault(emit, f"subscription-{len(names) + 1}")})

    async with (
        answering(place, bridge) as seen,
        BusClient(*place, source="bridge") as speaker,
        BusClient(*place) as one,
        BusClient(*place) as two,
        PubSubClient(one, "events").subscribe("t/#") as first,
    ):
        async with (
            PubSubClient(two, "events").subscribe("t/#") as second,
            PubSubClient(two, "events").subscribe("t/#", emit="data.t") as third,
        ):
            assert third.event_type == "data.t"
            for subscription in (first, second, third):
                message = {"topic": "t/1", "message": subscription.event_type, "headers": {}}
                speaker.emit(subscription.event_type, message)
            for subscription in (first, second, third):
                got = await asyncio.wait_for(subscription.get(), 10)
                assert got.message == subscription.event_type
        gone = [event.payload for event in seen if event.event_type.endswith(".unsubscribe")]
        assert gone == [{"subscription": names[second.event_type]}]
