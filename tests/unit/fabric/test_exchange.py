"""Events from bus to bus: what they keep, what stays where it is, loops, faults and garbage; on a cluster in memory."""

from collections import Counter
from pathlib import Path
from typing import Any

import msgpack
import pytest

from bridge.core.errors import UnavailableError
from bridge.fabric.imports import MOST_WAITING, PREFETCH
from bridge.fabric.names import subject_of
from tests.support.fabric.exchange import Program, world

DELIVERIES = ["at_most_once", "at_least_once"]
both = pytest.mark.parametrize("delivery", DELIVERIES)


@both
async def test_an_event_keeps_what_it_is(tmp_path: Path, delivery: str) -> None:
    """Type, payload with bytes, id, timestamp, correlation id and unknown headers are the same."""
    async with world(tmp_path) as it:
        a, b = await it.node("a", delivery=delivery), await it.node("b", delivery=delivery)
        here, there = Program(a.broker, "order", "till"), Program(b.broker, "order")
        payload = {"n": 1, "raw": {"$bytes": "AAE="}, "deep": [{"x": None}], "big": 2**63}
        headers = {"traceparent": "00-1-2-01", "own": "x", "seq": "7", "deadline_ms": "99"}
        here.say("order.new", payload, id=2**64 - 1, timestamp=77, correlation_id="c1", headers=headers)
        await it.settle()
        (event,) = there.heard
        wanted = {
            "event_type": "order.new",
            "payload": payload,
            "id": 2**64 - 1,
            "timestamp": 77,
            "correlation_id": "c1",
        }
        assert {name: event[name] for name in wanted} == wanted
        assert event["source"] == "a/till"
        added = {"hop": "1", "origin": "a", "fabric": "plant"}
        if delivery == "at_least_once":
            added["idempotency_key"] = event["headers"]["idempotency_key"]
            assert added["idempotency_key"].startswith("a.")
        assert event["headers"] == {"traceparent": "00-1-2-01", "own": "x", "deadline_ms": "99", **added}
        assert len(here.heard) == 1, "it does not come back"
        assert (a.context.counts.exported, b.context.counts.imported) == (1, 1)


async def test_bytes_are_as_each_bus_wants_them(tmp_path: Path) -> None:
    """A bus with `bytes = "bin"` and one with objects: each has bytes in its own form."""
    async with world(tmp_path) as it:
        a, b = await it.node("a", bytes_as="bin"), await it.node("b")
        on_a, on_b = Program(a.broker, "order"), Program(b.broker, "order")
        on_a.say("order.1", b"\x00\x01")
        on_b.say("order.2", {"$bytes": "AAE="})
        await it.settle()
        assert on_b.payloads("order.1") == [{"$bytes": "AAE="}]
        assert on_a.payloads("order.2") == [b"\x00\x01"]


@both
async def test_an_event_without_a_source_has_the_node_as_its_source(tmp_path: Path, delivery: str) -> None:
    """Its source is the node alone; an own idempotency key stays."""
    async with world(tmp_path) as it:
        a, b = await it.node("a", delivery=delivery), await it.node("b", delivery=delivery)
        there = Program(b.broker, "order")
        Program(a.broker, "order", None).say("order.new", headers={"idempotency_key": "k"})
        await it.settle()
        assert [(one["source"], one["headers"]["idempotency_key"]) for one in there.heard] == [("a", "k")]


@both
async def test_three_nodes_have_each_event_once(tmp_path: Path, delivery: str) -> None:
    """All export and import the same types: each event is once on each bus."""
    async with world(tmp_path) as it:
        nodes = [await it.node(name, delivery=delivery) for name in "abc"]
        programs = [Program(node.broker, "order", f"app-{node.name}") for node in nodes]
        for number in range(20):
            for program in programs:
                program.say("order.new", (program.source, number))
        await it.settle()
        for program in programs:
            assert Counter(map(tuple, program.payloads())) == {
                (one.source, number): 1 for one in programs for number in range(20)
            }


@both
@pytest.mark.parametrize("repeats", ["as it is", "without headers"])
async def test_a_program_that_repeats_what_it_hears_makes_no_storm(tmp_path: Path, delivery: str, repeats: str) -> None:
    """On the bus of the repeater an event comes again, and again; the others have it once."""
    async with world(tmp_path) as it:
        nodes = [await it.node(name, delivery=delivery) for name in "abc"]
        programs = [Program(node.broker, "order", f"app-{node.name}") for node in nodes]
        repeater = Program(nodes[1].broker, "order")

        def again(event: dict[str, Any]) -> dict[str, Any]:
            return event if repeats == "as it is" else {**event, "headers": {}}

        repeater.repeats = again
        programs[0].say("order.new", 1)
        await it.settle()
        assert len(programs[1].heard) > 100, "the repeater repeats itself, too"
        assert [len(program.heard) for program in (programs[0], programs[2])] == [1, 1]


@both
async def test_what_stays_on_its_bus(tmp_path: Path, delivery: str) -> None:
    """The families of the bridge, its stop event and what is not in `export` are not sent, whatever the patterns."""
    async with world(tmp_path) as it:
        a = await it.node("a", delivery=delivery, exports=("**",))
        b = await it.node("b", delivery=delivery, imports=("**",))
        here, there = Program(a.broker, "x"), Program(b.broker, "")
        for event_type in ("integration.erp.request", "bridge.ping", "response.x", "health.x", "resilience.x.y"):
            here.say(event_type)
        for event_type in ("receipt.x.y", "health", "quit", "mine", "quit.not"):
            here.say(event_type)
        await it.settle()
        assert sorted(event["event_type"] for event in there.heard) == ["mine", "quit.not"]
        assert a.exporter.takes("mine")
        assert not a.exporter.takes("bridge.reload")


@both
async def test_last_values_are_not_sent_again(tmp_path: Path, delivery: str) -> None:
    """What the bridge itself says is exported once; its repetition for a later subscriber is not."""
    async with world(tmp_path) as it:
        a, b = await it.node("a", delivery=delivery), await it.node("b", delivery=delivery)
        there = Program(b.broker, "order")
        a.bus.keep_last("order.state", 5, owner="x")
        await it.settle()
        late = Program(a.broker, "order.state")
        await it.settle()
        assert late.payloads() == [5], "it was said again here"
        assert [(one["payload"], one["source"]) for one in there.heard] == [(5, "a/bridge")]


@both
async def test_hop_ends(tmp_path: Path, delivery: str) -> None:
    """An event that has crossed eight bridges is not exported, and that is told; one that has crossed seven is."""
    async with world(tmp_path) as it:
        a, b = await it.node("a", delivery=delivery), await it.node("b", delivery=delivery)
        here, there, told = Program(a.broker, "order"), Program(b.broker, "order"), Program(a.broker, "resilience.bus")
        here.say("order.far", headers={"hop": "8"})
        here.say("order.near", headers={"hop": "7"})
        await it.settle()
        assert [(one["event_type"], one["headers"]["hop"]) for one in there.heard] == [("order.near", "8")]
        assert told.heard[0]["payload"]["reason"] == "hop"


@both
async def test_types_that_are_no_subjects(tmp_path: Path, delivery: str) -> None:
    """Types with other letters, wildcards and 255 bytes come as they are; a stranger's digest is garbage."""
    async with world(tmp_path) as it:
        a = await it.node("a", delivery=delivery, exports=("**",))
        b = await it.node("b", delivery=delivery, imports=("**",))
        here, there = Program(a.broker, "x"), Program(b.broker, "")
        names = ["größe.größer", "a.>", "a.*.b", "~tilde", "x" * 255, "ü" * 127]
        for name in names:
            here.say(name)
        await it.settle()
        assert [event["event_type"] for event in there.heard] == names
        kind = "event" if delivery == "at_least_once" else "live"
        it.cluster.publish(f"nemo.plant.{kind}.a.{subject_of('ä')}", event("ö"), message_id="m")
        await it.settle()
        assert b.context.counts.garbage == 1


def event(event_type: str, **changes: Any) -> bytes:
    """An event as another node sends it."""
    whole = {"id": 1, "event_type": event_type, "payload": 1, "timestamp": 1, "source": "s", "correlation_id": None}
    return msgpack.packb({**whole, **changes})


@both
async def test_garbage_is_counted_and_harmless(tmp_path: Path, delivery: str) -> None:
    """Whatever a stranger writes to the subjects is counted, nothing of it is on the bus, and what follows comes."""
    async with world(tmp_path) as it:
        b = await it.node("b", delivery=delivery, imports=("**",))
        there = Program(b.broker, "")
        kind = "event" if delivery == "at_least_once" else "live"
        commands = (
            "bridge.reload",
            "integration.erp.request",
            "response.x",
            "health.erp",
            "receipt.x.y",
            "resilience.a.b",
        )
        garbage = [
            *((f"x.{one}", event(one)) for one in commands),
            *((f"x.{subject_of(f'{one}.ü')}", event(f"{one}.ü")) for one in commands),
            ("x", event("x")),
            ("x.order", b""),
            ("x.order", b"\xff" * 100),
            ("x.order", event("order")[:-3]),
            ("x.order", event("other")),
            ("x.order", msgpack.packb([1, 2, 3])),
            ("x.order", event("order", id="1")),
            ("x.order", event("order", headers={"hop": 1})),
            ("x.order", event("order", payload={"$bytes": "!"})),
            ("x.order", event("order", payload=msgpack.ExtType(5, b"x"))),
            ("x.order", b"\x91" * 5000),
            ("x.~0", b"\x91" * 5000),
            ("x.~0", event("order")),
            ("x.~0", b"\x81\xaaevent_type\xa2\xff\xff"),
            ("bridge.order", event("order")),
            ("b!.order", event("order")),
            ("x.order", event("order", headers={"fabric": "other,plant"})),
        ]
        for number, (tail, body) in enumerate(garbage):
            it.cluster.publish(f"nemo.plant.{kind}.{tail}", body, message_id=f"m{number}")
        await it.settle()
        assert b.context.counts.garbage == len(garbage)
        assert not there.heard
        it.cluster.publish(f"nemo.plant.{kind}.x.quit", event("quit"), message_id="q")
        it.cluster.publish(f"nemo.plant.{kind}.b.order", event("order"), message_id="own")
        it.cluster.publish(f"nemo.plant.{kind}.x.order.good", event("order.good"), message_id="good")
        await it.settle()
        assert [one["event_type"] for one in there.heard] == ["order.good"]
        assert b.context.counts.garbage == len(garbage)
        assert not b.errors


async def test_a_message_without_an_id_is_garbage_in_the_stream(tmp_path: Path) -> None:
    """Nothing tells it from its repetition, and each node sends an id."""
    async with world(tmp_path) as it:
        b = await it.node("b", delivery="at_least_once")
        there = Program(b.broker, "order")
        it.cluster.publish("nemo.plant.event.x.order.1", event("order.1"))
        await it.settle()
        assert (len(there.heard), b.context.counts.garbage) == (0, 1)


async def test_events_wait_for_a_listener(tmp_path: Path) -> None:
    """Each waits, in order, until somebody listens to its type; others go on; health says for which."""
    async with world(tmp_path) as it:
        a, b = await it.node("a", delivery="at_least_once"), await it.node("b", delivery="at_least_once")
        here, news = Program(a.broker, "none"), Program(b.broker, "order.news")
        for number in range(3):
            here.say("order.old", number)
            here.say("order.news", number)
        await it.settle()
        assert news.payloads() == [0, 1, 2]
        (line,) = b.importer.waiting()
        assert "'order.old'" in line
        here.say("order.old", 3)
        late = Program(b.broker, "order.old")
        await it.settle()
        assert late.payloads() == [0, 1, 2, 3]
        assert b.importer.waiting() == []
        consumer = await b.carrier.session.consumer("NEMO_plant", "node_b", "nemo.plant.event.>")
        assert consumer.acknowledged == 7, "all are acknowledged"


async def test_what_nobody_hears_comes_again_on_the_next_session(tmp_path: Path) -> None:
    """What waits is not acknowledged: after a lost session it comes again, once."""
    async with world(tmp_path) as it:
        a, b = await it.node("a", delivery="at_least_once"), await it.node("b", delivery="at_least_once")
        Program(a.broker, "none").say("order.1", 1)
        await it.settle()
        await b.disconnect()
        assert b.importer.waiting() == []
        await b.connect()
        await it.advance(30)
        there = Program(b.broker, "order")
        await it.settle()
        assert there.payloads() == [1]


async def test_an_acknowledgement_that_is_lost_makes_no_second_event(tmp_path: Path) -> None:
    """The link is silent towards the cluster when an event comes: it is delivered again, and known."""
    async with world(tmp_path) as it:
        a, b = await it.node("a", delivery="at_least_once"), await it.node("b", delivery="at_least_once")
        here, there = Program(a.broker, "none"), Program(b.broker, "order")
        it.cluster.silence("b", direction="to")
        here.say("order.1", 1)
        await it.settle()
        assert there.payloads() == [1]
        await b.disconnect()
        it.cluster.heal("b")
        await b.connect()
        await it.advance(30)
        assert there.payloads() == [1]
        assert b.context.counts.duplicates == 1


async def test_a_message_that_is_stored_twice_is_one_event(tmp_path: Path) -> None:
    """An exporter that sends again after the stream's window of two minutes is known by its id."""
    async with world(tmp_path) as it:
        b = await it.node("b", delivery="at_least_once")
        there = Program(b.broker, "order")
        for body in (event("order.1"), event("order.1"), event("order.1", payload=2)):
            it.cluster.publish("nemo.plant.event.x.order.1", body, message_id="same")
            await it.advance(200)
        assert there.payloads() == [1, 2]
        assert b.context.counts.duplicates == 1


async def test_an_importer_that_was_away_misses_nothing(tmp_path: Path) -> None:
    """It has its place in the stream; a new node begins with what comes from then on."""
    async with world(tmp_path) as it:
        a, b = await it.node("a", delivery="at_least_once"), await it.node("b", delivery="at_least_once")
        here = Program(a.broker, "none")
        there = Program(b.broker, "order")
        here.say("order.1", 1)
        await it.settle()
        await b.kill()
        here.say("order.1", 2)
        await it.settle()
        await it.node("b", b.broker, delivery="at_least_once")
        new = await it.node("c", delivery="at_least_once")
        of_new = Program(new.broker, "order")
        here.say("order.1", 3)
        await it.settle()
        assert there.payloads() == [1, 2, 3]
        assert of_new.payloads() == [3]


async def test_an_exporter_sends_what_its_outbox_has(tmp_path: Path) -> None:
    """Without a session, and after a restart, everything waits on disk, and is sent in order; failures are not told."""
    async with world(tmp_path) as it:
        a, b = await it.node("a", delivery="at_least_once"), await it.node("b", delivery="at_least_once")
        here, there, told = Program(a.broker, "none"), Program(b.broker, "order"), Program(a.broker, "resilience")
        await a.disconnect()
        for number in range(500):
            here.say("order.1", number)
        await it.settle()
        assert a.outbox.pending == {"cluster": 500}
        await a.kill()
        again = await it.node("a", a.broker, delivery="at_least_once")
        await it.advance(10)
        assert there.payloads() == list(range(500))
        assert again.outbox.pending == {}
        assert (again.context.counts.exported, told.heard) == (500, [])


async def test_nothing_is_sent_while_the_name_is_taken(tmp_path: Path) -> None:
    """Durable events wait until this bridge is a node; others are refused, and that is told."""
    async with world(tmp_path) as it:
        a, live = await it.node("a", delivery="at_least_once"), await it.node("c")
        b = await it.node("b", delivery="at_least_once")
        here, there = Program(a.broker, "none"), Program(b.broker, "order")
        other, told = Program(live.broker, "none"), Program(live.broker, "resilience.cluster.failed")
        a.joined = live.joined = False
        here.say("order.1", 1)
        other.say("order.1", 2)
        await it.advance(10)
        assert (there.payloads(), a.carrier.sent, live.carrier.sent) == ([], [], [])
        (failed,) = told.payloads()
        assert (failed["operation"], failed["error"]["kind"], failed["cause"]["source"]) == (
            "export",
            "not_connected",
            "app",
        )
        a.joined = True
        a.outbox.wake()
        await it.settle()
        assert there.payloads() == [1]


async def test_receipts_and_no_responses(tmp_path: Path) -> None:
    """With `receipts` each event that the stream has is told once; nobody is answered, a correlation id or not."""
    async with world(tmp_path) as it:
        a = await it.node("a", delivery="at_least_once", receipts=True)
        b = await it.node("b", delivery="at_least_once")
        here, there = Program(a.broker, ""), Program(b.broker, "order")
        headers = {"idempotency_key": "k1"}
        here.say("order.1", 1, correlation_id="c1", headers=headers)
        await it.settle()
        (receipt,) = here.of("receipt.cluster.delivered")
        assert receipt["correlation_id"] == "c1"
        assert receipt["payload"]["operation"] == "export"
        assert receipt["payload"]["idempotency_key"] == "k1"
        here.say("order.1", 1, correlation_id="c2", headers=headers)
        await it.settle()
        assert len(there.heard) == 1, "the same key again is the same event"
        assert here.of("response") == []


@both
async def test_an_event_that_is_too_large_for_the_server(tmp_path: Path, delivery: str) -> None:
    """It is a dead letter, which can be replayed when the server takes more; at most once it is told as failed."""
    async with world(tmp_path) as it:
        it.cluster.max_payload = 2000
        a, b = await it.node("a", delivery=delivery), await it.node("b", delivery=delivery)
        here, there = Program(a.broker, "resilience"), Program(b.broker, "order")
        here.say("order.1", "x" * 3000, correlation_id="c")
        here.say("order.1", "small")
        await it.settle()
        assert there.payloads() == ["small"]
        assert here.of("resilience.cluster.failed")[0]["payload"]["error"]["kind"] == "invalid"
        if delivery == "at_least_once":
            (letter,) = here.of("resilience.cluster.dead_letter")
            assert letter["payload"]["integration"] == "cluster"
            it.cluster.max_payload = 10_000
            assert await replayed(a) == 1
            await it.settle()
            assert there.payloads() == ["small", "x" * 3000]
            assert a.outbox.dead_letters == {}


async def replayed(node: Any) -> int:
    """Replay the dead letters of the integration that carries the fabric."""
    from bridge.outbox import Selection

    moved: int = await node.outbox.replay(Selection("cluster"), None)
    return moved


@both
async def test_an_event_that_is_too_large_for_the_importing_bus(tmp_path: Path, delivery: str) -> None:
    """It is told there, and what follows comes."""
    async with world(tmp_path) as it:
        a, b = await it.node("a", delivery=delivery), await it.node("b", delivery=delivery, max_message=2000)
        here, there, told = Program(a.broker, "none"), Program(b.broker, "order"), Program(b.broker, "resilience.bus")
        here.say("order.1", "x" * 3000)
        here.say("order.1", "y" * 1900)
        here.say("order.1", "small")
        await it.advance(2)
        assert there.payloads() == ["small"]
        assert sum(one["count"] for one in told.payloads()) == 2
        assert {one["reason"] for one in told.payloads()} == {"size"}
        assert b.context.counts.garbage == 0


@both
async def test_a_full_bus_holds_events_back_in_order(tmp_path: Path, delivery: str) -> None:
    """While the pipe to the broker is full, events wait, and then come in the order in which they were sent."""
    async with world(tmp_path) as it:
        a, b = await it.node("a", delivery=delivery), await it.node("b", delivery=delivery)
        here, there = Program(a.broker, "none"), Program(b.broker, "order")
        b.broker.has_room = False
        for number in range(300):
            here.say(f"order.{number % 3}", number)
        await it.settle()
        assert there.heard == []
        b.broker.has_room = True
        await it.settle()
        assert there.payloads() == list(range(300))


async def test_a_bus_that_stays_full_is_told(tmp_path: Path) -> None:
    """At most once, what has no room to wait is dropped and told; at least once, `prefetch` bounds what is taken."""
    async with world(tmp_path) as it:
        a, b = await it.node("a", exports=("order.**",)), await it.node("b")
        c = await it.node("c", delivery="at_least_once", exports=())
        told = Program(b.broker, "resilience.bus")
        b.broker.has_room = c.broker.has_room = False
        for number in range(MOST_WAITING + 5):
            it.cluster.publish("nemo.plant.live.x.order.1", event("order.1", id=number))
        for number in range(PREFETCH + 5):
            it.cluster.publish("nemo.plant.event.x.order.1", event("order.1"), message_id=f"m{number}")
        await it.settle()
        consumer = await c.carrier.session.consumer("NEMO_plant", "node_c", "nemo.plant.event.>")
        assert (consumer.pending, consumer.acknowledged) == (5, 0)
        b.broker.has_room = c.broker.has_room = True
        of_b, of_c = Program(b.broker, "order"), Program(c.broker, "order")
        await it.advance(2)
        assert (len(of_b.heard), len(of_c.heard)) == (MOST_WAITING, PREFETCH + 5)
        assert sum(one["count"] for one in told.payloads() if one["reason"] == "overflow") == 5
        assert a.context.counts.garbage == 0


async def test_what_was_removed_before_it_was_read_is_told_once(tmp_path: Path) -> None:
    """An absent node hears how many events it has missed at most; the rest of them come."""
    async with world(tmp_path) as it:
        a, b = await it.node("a", delivery="at_least_once"), await it.node("b", delivery="at_least_once")
        here, told = Program(a.broker, "none"), Program(b.broker, "resilience.fabric")
        there = Program(b.broker, "order")
        here.say("order.1", 0)
        await it.settle()
        await b.disconnect()
        for number in range(1, 6):
            here.say("order.1", number)
        await it.settle()
        await it.advance(3700)
        for number in range(6, 9):
            here.say("order.1", number)
        await it.settle()
        await b.connect()
        await it.advance(60)
        assert there.payloads() == [0, 6, 7, 8]
        assert [one["payload"] for one in told.heard] == [{"fabric": "plant", "node": "b", "count": 5}]
        assert told.heard[0]["event_type"] == "resilience.fabric.plant.missed"
        assert b.context.counts.missed == 5


async def test_what_waits_here_is_not_missed(tmp_path: Path) -> None:
    """The stream has removed what this node has in hand for somebody who listens: it comes, and nothing is told."""
    async with world(tmp_path) as it:
        a, b = await it.node("a", delivery="at_least_once"), await it.node("b", delivery="at_least_once")
        Program(a.broker, "none").say("order.1", 1)
        told = Program(b.broker, "resilience.fabric")
        await it.advance(3700)
        there = Program(b.broker, "order")
        await it.settle()
        assert (there.payloads(), told.heard) == ([1], [])


async def test_an_error_of_the_broker_ends_the_part(tmp_path: Path) -> None:
    """Where the consumer cannot be read, `run` raises why, and can be run again."""
    async with world(tmp_path) as it:
        a, b = await it.node("a", delivery="at_least_once"), await it.node("b", delivery="at_least_once")
        here, there = Program(a.broker, "none"), Program(b.broker, "order")
        it.cluster.refuse("stream_state", UnavailableError("no leader"), "b")
        await it.advance(11)
        assert [error.message for error in b.errors] == ["no leader"]
        await b.disconnect()
        await b.connect()
        here.say("order.1", 1)
        await it.advance(30)
        assert there.payloads() == [1]


async def test_a_silent_broker_ends_the_part_in_time(tmp_path: Path) -> None:
    """A broker that does not answer is an error after ten seconds, not a wait without an end."""
    async with world(tmp_path) as it:
        b = await it.node("b", delivery="at_least_once")
        it.cluster.silence("b")
        await it.advance(25)
        assert [error.kind for error in b.errors] == ["timeout"]


async def test_two_fabrics_make_no_loop(tmp_path: Path) -> None:
    """What came through two fabrics has both in its header; it goes back into neither."""
    async with world(tmp_path) as it:
        a = await it.node("a")
        here, there = Program(a.broker, "order"), Program((await it.node("b")).broker, "order")
        here.say("order.1", 1, headers={"fabric": "other", "origin": "z"})
        here.say("order.2", 2, headers={"fabric": "other,plant", "origin": "z"})
        await it.settle()
        assert [(one["payload"], one["headers"]["fabric"], one["headers"]["origin"]) for one in there.heard] == [
            (1, "other,plant", "a")
        ]


async def test_the_order_of_patterns_at_the_server(tmp_path: Path) -> None:
    """One type without wildcards is filtered at the server; with others, the node filters."""
    async with world(tmp_path) as it:
        names = (await it.node("a")).context.names
        assert names.imported(["order.new"]) == "nemo.plant.event.*.order.new"
        assert names.imported(["größe"]) == f"nemo.plant.event.*.{subject_of('größe')}"
        for patterns in (["order.*"], ["order.**"], ["a", "b"]):
            assert names.imported(patterns) == "nemo.plant.event.>"
