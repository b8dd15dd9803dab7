"""Show `RpcClient`, `PubSubClient` and `QueueClient` on a real bus with a stand-in for the bridge."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.client import BusClient, CallFailedError, ClosedError, PubSubClient, QueueClient, RpcClient
from bridge.core.errors import InvalidError
from bridge.core.model import Event
from tests.support.bus.stand_in import answering, bus_endpoints
from tests.support.wait import until


@pytest.fixture(scope="module")
def endpoints() -> Iterator[tuple[str, str]]:
    """The endpoints of a bus without a bridge."""
    with bus_endpoints() as endpoints:
        yield endpoints


def good(result: Any = None) -> dict[str, Any]:
    """Make an answer with a result."""
    return {"ok": True, "result": result, "attempts": 1}


def bad(kind: str, *, retryable: bool = True) -> dict[str, Any]:
    """Make an answer with an error."""
    return {"ok": False, "error": {"kind": kind, "message": "no", "retryable": retryable}, "attempts": 0}


async def test_commands(endpoints: tuple[str, str]):
    """Each method sends its command with its arguments, and with a new key unless one is given."""
    results = {
        "publish": {"receivers": 2},
        "enqueue": {"message_id": "jobs/1"},
        "dequeue": {"message_id": "jobs/1", "message": {"n": 1}, "attempts": 3, "headers": {"a": "b"}},
    }
    async with (
        answering(endpoints, lambda event: good(results.get(event.event_type.rpartition(".")[2], {}))) as seen,
        BusClient(*endpoints) as bus,
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


async def test_a_call_has_a_key_only_where_it_is_given(endpoints: tuple[str, str]):
    """A call without a key has none, so that the bridge does not repeat it at the remote."""
    async with answering(endpoints, lambda _: good()) as seen, BusClient(*endpoints) as bus:
        api = RpcClient(bus, "api")
        await api.call("m")
        await api.call("m", key="k")
    assert [one.header("idempotency_key") for one in seen] == [None, "k"]


async def test_the_bridge_is_told_when_the_caller_gives_up(endpoints: tuple[str, str]):
    """`deadline_ms` is the caller's time limit on the wall clock, also in repetitions."""
    answered = 0

    def second_time(_: Event) -> dict[str, Any] | None:
        nonlocal answered
        answered += 1
        return good() if answered == 2 else None

    async with answering(endpoints, second_time) as seen, BusClient(*endpoints) as bus:
        began = time.time()
        await RpcClient(bus, "api").call("m", timeout=7.0, key="k")
    assert len(seen) == 2
    for event in seen:
        assert began + 6.9 < int(event.header("deadline_ms") or "") / 1000 < time.time() + 7.1


async def test_what_it_emits_is_numbered(endpoints: tuple[str, str]):
    """`headers.seq` counts all that this program has put on the bus, by one."""
    listener = BusClient(*endpoints, prefixes=("",))
    with listener.listen() as events:
        async with listener, BusClient(*endpoints) as bus:
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


async def test_responses_arrive_with_any_prefixes(endpoints: tuple[str, str]):
    """A client with other prefixes gets its responses, and its listeners get only their prefixes."""
    async with answering(endpoints, lambda event: good(event.payload["params"])):
        bus = BusClient(*endpoints, prefixes=("note.",))
        with bus.listen() as events:
            async with bus:
                api = RpcClient(bus, "api")
                assert await asyncio.gather(*[api.call("m", [n], key=f"k{n}") for n in range(5)]) == [
                    [n] for n in range(5)
                ]
                bus.emit("note.taken")
                assert (await asyncio.wait_for(events.get(), 10)).event_type == "note.taken"
        assert events.empty()


async def test_a_bridge_that_is_stopping_is_asked_again(endpoints: tuple[str, str]):
    """`stopping` makes it send again with a key while there is time; otherwise the error is raised."""
    left = 2

    def stopping(_: Event) -> dict[str, Any]:
        nonlocal left
        left -= 1
        return bad("stopping") if left >= 0 else good(7)

    async with answering(endpoints, stopping) as seen, BusClient(*endpoints) as bus:
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
async def test_other_errors_are_the_callers(endpoints: tuple[str, str], kind: str):
    """Every other error is raised at once; whether to try again is the program's decision."""
    async with answering(endpoints, lambda _: bad(kind)) as seen, BusClient(*endpoints) as bus:
        with pytest.raises(CallFailedError, match=kind):
            await QueueClient(bus, "jobs").enqueue("q", 1)
    assert len(seen) == 1


async def test_a_dequeue_waits_in_pieces(endpoints: tuple[str, str]):
    """A long `dequeue` is several commands with keys of their own, none longer than an attempt may take."""
    async with answering(endpoints, lambda _: good(None)) as seen, BusClient(*endpoints) as bus:
        jobs = QueueClient(bus, "jobs")
        assert await jobs.dequeue("q") is None
        assert [one.payload["wait_ms"] for one in seen] == [0]
        taking = asyncio.create_task(jobs.dequeue("q", wait=60.0))
        await until(lambda: len(seen) >= 4)
        taking.cancel()
        await asyncio.wait({taking})
    assert {one.payload["wait_ms"] for one in seen[1:]} == {1000}
    assert len({one.header("idempotency_key") for one in seen}) == len(seen)


async def test_messages_are_settled(endpoints: tuple[str, str]):
    """A message is acknowledged after its block, returned after an exception, and left after a cancellation."""
    number = 0

    def numbered(event: Event) -> dict[str, Any]:
        nonlocal number
        if not event.event_type.endswith("dequeue"):
            return good({})
        number += 1
        return good({"message_id": f"m{number}", "message": number, "attempts": 1, "headers": {}})

    async with answering(endpoints, numbered) as seen, BusClient(*endpoints) as bus:
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


async def test_messages_outlast_what_passes(endpoints: tuple[str, str]):
    """`messages` continues after silence of the bridge and errors that pass, and raises others."""
    answers = [None, bad("not_connected"), good(None), good({"message_id": "m", "message": 1, "attempts": 1})]
    keys: list[str | None] = []

    def in_turn(event: Event) -> dict[str, Any] | None:
        key = event.header("idempotency_key")
        if keys and key == keys[-1]:
            return None  # said again, and as silent as before
        keys.append(key)
        return answers[len(keys) - 1] if len(keys) <= len(answers) else bad("not_supported", retryable=False)

    async with answering(endpoints, in_turn), BusClient(*endpoints) as bus:
        messages = QueueClient(bus, "jobs").messages("q", timeout=0.1)
        assert (await anext(messages)).message == 1
        with pytest.raises(CallFailedError, match="not_supported"):
            await anext(messages)
    assert len(keys) == 5


async def test_a_slow_listener_is_told(endpoints: tuple[str, str]):
    """The number of waiting events has a limit; the dropped ones are counted."""
    bus = BusClient(*endpoints, prefixes=("note.",))
    with bus.listen(most=5) as events:
        async with bus:
            for n in range(50):
                bus.emit("note.taken", n)
    assert ((await events.get()).payload, events.missed) == (45, 45)
    assert [one.payload async for one in events] == [46, 47, 48, 49]


async def test_outside_of_its_context(endpoints: tuple[str, str]):
    """Before and after its context, a client and all that use it raise `ClosedError`."""
    bus = BusClient(*endpoints)
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


async def test_closed_with_pending_calls(endpoints: tuple[str, str]):
    """Closing the client ends pending calls with an error; nothing stays running."""
    async with BusClient(*endpoints) as bus:
        asking = asyncio.create_task(RpcClient(bus, "api").call("m", key="k"))
        subscribing = asyncio.create_task(PubSubClient(bus, "events").subscribe("t").__aenter__())
        await until(lambda: len(bus._pending) == 2)
    done = await asyncio.gather(asking, subscribing, return_exceptions=True)
    assert [type(one) for one in done] == [ClosedError, ClosedError]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_two_programs_with_one_topic(endpoints: tuple[str, str]):
    """Two programs have their own event types and end only their own subscription; with `emit` neither ends it."""
    names: dict[str, str] = {}

    def bridge(event: Event) -> dict[str, Any]:
        if event.event_type.endswith(".unsubscribe"):
            return good({})
        emit = event.payload["emit"]
        return good({"subscription": names.setdefault(emit, f"subscription-{len(names) + 1}")})

    async with (
        answering(endpoints, bridge) as seen,
        BusClient(*endpoints, source="bridge") as speaker,
        BusClient(*endpoints) as one,
        BusClient(*endpoints) as two,
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
