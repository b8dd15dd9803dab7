"""A hosted bus, and a program beside it that speaks only ZeroMQ and MessagePack."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgpack
import pytest
import uvloop
import zmq

from bridge.bus import Bus, Reason
from bridge.core.clock import RealClock
from bridge.core.model import Event
from tests.support.bus.bus import Peer
from tests.support.wait import until

MAX_MESSAGE = 4096


def make(directory: Path | str, on_event: Callable[[Event], None], **more: Any) -> Bus:
    """A bus in a directory, or on loopback TCP for `tcp`."""
    publish, subscribe = (
        ("tcp://127.0.0.1:*",) * 2 if directory == "tcp" else (f"ipc://{directory}/pub", f"ipc://{directory}/sub")
    )
    settings: dict[str, Any] = {
        "mode": "host",
        "publish": publish,
        "subscribe": subscribe,
        "max_message": MAX_MESSAGE,
        "source": "bridge",
        "clock": RealClock(),
        "on_event": on_event,
    }
    return Bus(**{**settings, **more})


@contextlib.asynccontextmanager
async def hosted(directory: Path | str, **more: Any) -> AsyncIterator[tuple[Bus, list[Event], Peer]]:
    """A bus, the events that it passed on, and a peer that hears everything and is heard."""
    seen: list[Event] = []
    bus = make(directory, seen.append, **more)
    await bus.start()
    try:
        with Peer(bus.publish_endpoint, bus.subscribe_endpoint, "") as peer:
            await peer.send_until(lambda: bool(seen))
            await until(lambda: peer.last_id == seen[-1].id)
            seen.clear()
            peer.received()
            yield bus, seen, peer
    finally:
        await bus.stop()


@pytest.mark.parametrize("place", ["ipc", "tcp"])
@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_there_and_back(tmp_path: Path, place: str, runner: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """Both forms of an event come in; what is published goes out in the contract's form; on both loops, ipc and TCP."""

    async def main() -> None:
        async with hosted("tcp" if place == "tcp" else tmp_path) as (bus, seen, peer):
            peer.send("data.updated", {"n": 1}, correlation_id="c", headers={"seq": "1"})
            peer.raw(b"data.updated", msgpack.packb([9, "data.updated", [1, b"\0"], 5, None, None]))
            await until(lambda: len(seen) == 2)
            assert (seen[0].payload, seen[0].correlation_id, seen[0].headers) == ({"n": 1}, "c", {"seq": "1"})
            assert (seen[1].id, seen[1].payload, seen[1].source) == (9, [1, b"\0"], None)
            before = bus.stats.published
            bus.publish("response.x", {"ok": True}, correlation_id="c", headers={"hop": "3", "seq": "77", "k": "v"})
            event = await peer.receive("response.x")
            assert event.keys() == {
                "id",
                "event_type",
                "payload",
                "timestamp",
                "source",
                "correlation_id",
                "headers",
            }
            assert (event["payload"], event["source"], event["correlation_id"]) == ({"ok": True}, "bridge", "c")
            assert event["headers"] == {"hop": "3", "seq": str(before + 1), "k": "v"}
            assert bus.stats.published == before + 1

    runner(main())


async def test_own_events_stay_out(tmp_path: Path) -> None:
    """Own events come back from the broker, but are not passed on."""
    async with hosted(tmp_path) as (bus, seen, peer):
        bus.publish("data.mine", None)
        await peer.receive("data.mine")
        peer.send("data.other")
        await until(lambda: seen)
        assert [event.event_type for event in seen] == ["data.other"]
        assert seen[0].header("hop") is None


async def test_own_events_on_request(tmp_path: Path) -> None:
    """With `own`, own events are passed on, with ids and numbers from 1."""
    seen: list[Event] = []
    bus = make(tmp_path, seen.append, own=lambda _: True)
    await bus.start()
    for number in range(3):
        bus.publish("data.mine", number)
    await until(lambda: len(seen) == 3)
    await bus.stop()
    assert [(event.id, event.payload, event.headers) for event in seen] == [
        (number, number - 1, {"hop": "1", "seq": str(number)}) for number in (1, 2, 3)
    ]


async def test_last_value(tmp_path: Path) -> None:
    """Each new subscriber gets the last value at once, with a new id."""
    async with hosted(tmp_path) as (bus, _, peer):
        state = {"status": "connected"}
        bus.keep("health.x", state)
        bus.keep("health.gone", 1)
        bus.forget("health.gone")
        state["status"] = "changed by the caller later"
        first = await peer.receive("health.x")
        for _ in range(2):
            with Peer(bus.publish_endpoint, bus.subscribe_endpoint, "health.") as late:
                event = await late.receive("health.x")
                assert event["payload"] == {"status": "connected"}
                assert event["id"] > first["id"]
        with Peer(bus.publish_endpoint, bus.subscribe_endpoint, "health.gone") as other:

            def say() -> int:
                bus.publish("health.gone", "news")
                return other.sub.poll(0)

            await until(say)
            assert {event["payload"] for event in other.received()} == {"news"}


async def test_last_value_while_publishing(tmp_path: Path) -> None:
    """A subscription that arrives while the bus publishes all the time is seen, too."""
    async with hosted(tmp_path) as (bus, _, _):
        bus.keep("health.x", 1)
        stop = asyncio.Event()

        async def chatter() -> None:
            while not stop.is_set():
                for _ in range(50):
                    bus.publish("data.noise", None)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            group.create_task(chatter())
            for _ in range(20):
                with Peer(bus.publish_endpoint, bus.subscribe_endpoint, "health.") as late:
                    assert (await late.receive("health.x", 3))["payload"] == 1
            stop.set()


async def test_garbage_between_good_events(tmp_path: Path) -> None:
    """Whatever is malformed is counted and reported by reason, and each good event in between is handled, in order."""
    async with hosted(tmp_path) as (bus, seen, peer):
        good = 0
        garbage: list[tuple[bytes, ...]] = [
            (b"data.x",),
            (b"",),
            (b"data.x", peer.event("data.x"), b"third"),
            (b"pre", b"data.x", peer.event("data.x")),
            (b"data.x", peer.event("data.x"), b"data.x", peer.event("data.x")),
            (b"data.x",) * 100,
            (b"data.x", b"\xc1"),
            (b"data.x", peer.event("data.y")),
            (b"data.x", peer.event("data.x", id="x")),
            (b"data.x", peer.event("data.x", "x" * 5000)),
            (b"data.x", b"\x91" * 3000),
            (b"\xff", peer.event("data.x")),
        ]
        for frames in garbage * 3:
            peer.raw(*frames)
            good += 1
            peer.send("data.good", good)
        await until(lambda: len(seen) == good)
        assert [event.payload for event in seen] == list(range(1, good + 1))
        assert bus.stats.rejected == 3 * len(garbage)
        totals: dict[str, int] = {}
        while sum(totals.values()) < bus.stats.rejected:
            event = await peer.receive("resilience.bus.rejected")
            reason = event["payload"]["reason"]
            totals[reason] = totals.get(reason, 0) + event["payload"]["count"]
            assert "xxx" not in event["payload"]["detail"]
        assert totals == {
            "frames": 18,
            "msgpack": 3,
            "type_mismatch": 3,
            "mistyped_key": 3,
            "size": 3,
            "not_an_event": 3,
            "type_frame": 3,
        }


async def test_trailing_count_is_said_on_stop(tmp_path: Path) -> None:
    """Rejections right before the end are still reported, and the last event is sent."""
    async with hosted(tmp_path) as (bus, _, peer):
        for _ in range(100):
            bus.reject(Reason.HOP, "too many crossings")
        bus.publish("health.bridge", "stopped")
        await bus.stop()
        counts = [
            event["payload"]["count"] for event in peer.received() if event["event_type"] == "resilience.bus.rejected"
        ]
        assert counts == [1, 99]
        bus.publish("data.late", None)
        assert bus.stats.dropped == 1


async def test_gap(tmp_path: Path) -> None:
    """Missing numbers are reported with source and count; a restart of the source is no gap."""
    async with hosted(tmp_path) as (bus, _, peer):
        for number in (1, 2, 5, 6, 1, 2):
            peer.send("data.x", headers={"seq": str(number)})
        event = await peer.receive("resilience.bus.gap")
        assert event["payload"] == {"source": "app", "missing": 2}
        assert (bus.stats.gaps, bus.stats.missing) == (1, 2)


async def test_burst_is_not_lost(tmp_path: Path) -> None:
    """50,000 events while the loop is busy all arrive, and the loop stays responsive while they are read."""
    async with hosted(tmp_path) as (bus, seen, peer):
        body = peer.event("data.x", {"a": 1})
        for _ in range(50_000):
            peer.raw(b"data.x", body)
        await until(lambda: len(seen) == 50_000)
        assert bus.stats.rejected == 0


async def test_own_burst_is_not_lost(tmp_path: Path) -> None:
    """50,000 own events in one go: nothing is dropped on the way to the broker, order kept."""
    seen: list[int] = []
    bus = make(tmp_path, lambda event: seen.append(event.payload), own=lambda _: True)
    await bus.start()
    for number in range(50_000):
        bus.publish("data.x", number)
    await until(lambda: len(seen) == 50_000)
    await bus.stop()
    assert seen == list(range(50_000))
    assert bus.stats.dropped == 0


async def test_oversized_sender_is_cut(tmp_path: Path) -> None:
    """A frame beyond 16 times the limit ends its sender's connection, an event says so, and others go on."""
    async with hosted(tmp_path) as (bus, seen, peer):
        with Peer(bus.publish_endpoint, bus.subscribe_endpoint, "none") as bad:
            await bad.send_until(lambda: bool(seen))
            bad.raw(b"data.x", b"x" * (17 * MAX_MESSAGE))
            event = await peer.receive("resilience.bus.rejected")
            assert event["payload"]["reason"] == "cut"
        seen.clear()
        peer.send("data.good")
        await until(lambda: any(event.event_type == "data.good" for event in seen))


async def test_leaving_is_no_cut(tmp_path: Path) -> None:
    """Senders that come and go in the normal way are not reported."""
    async with hosted(tmp_path) as (bus, seen, peer):
        for _ in range(10):
            seen.clear()
            with Peer(bus.publish_endpoint, bus.subscribe_endpoint) as guest:
                await guest.send_until(lambda: bool(seen))
        peer.send("data.last")
        await until(lambda: seen[-1].event_type == "data.last")
        assert bus.stats.rejected == 0


async def test_stranger_on_the_port() -> None:
    """A client that does not speak ZeroMQ is refused and reported; the bus works on."""
    async with hosted("tcp") as (bus, seen, peer):
        port = int(bus.publish_endpoint.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            # A ZMTP signature, then nonsense where the mechanism should be.
            stranger.sendall(b"\xff" + b"\0" * 8 + b"\x7f\x03\x00" + b"NONSENSE" + b"\0" * 64)
            await until(lambda: bus.stats.rejected)
        assert (await peer.receive("resilience.bus.rejected"))["payload"]["reason"] in ("handshake", "cut")
        with socket.create_connection(("127.0.0.1", port)) as http:
            http.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        seen.clear()
        peer.send("data.good")
        await until(lambda: any(event.event_type == "data.good" for event in seen))


async def test_bug_in_on_event_surfaces(tmp_path: Path) -> None:
    """What `on_event` raises comes out of `run`, and nothing is read after it."""
    calls: list[Event] = []

    def bad(event: Event) -> None:
        calls.append(event)
        raise ZeroDivisionError("a bug")

    bus = make(tmp_path, bad)
    await bus.start()
    with Peer(bus.publish_endpoint, bus.subscribe_endpoint) as peer:
        running = asyncio.ensure_future(bus.run())
        await peer.send_until(running.done)
        with pytest.raises(ZeroDivisionError, match="a bug"):
            await running
        assert len(calls) == 1
    await bus.stop()


async def test_run_ends_with_stop(tmp_path: Path) -> None:
    """`run` returns when the bus is stopped, and stopping twice is fine."""
    bus = make(tmp_path, lambda _: None)
    await bus.start()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(bus.run())
        await bus.stop()
        await running
    await bus.stop()


async def test_stuck_subscriber_harms_nobody(tmp_path: Path) -> None:
    """A subscriber that never reads loses its events; the others and the bus do not wait for it."""
    async with hosted(tmp_path) as (bus, _, peer):
        with Peer(bus.publish_endpoint, bus.subscribe_endpoint) as stuck:
            stuck.sub.set(zmq.RCVHWM, 1)
            stuck.sub.subscribe("data.")
            for number in range(20_000):
                bus.publish("data.x", number)
                if number % 500 == 0:
                    await asyncio.sleep(0.001)
            bus.publish("mark", None)
            await peer.receive("mark")
            assert bus.stats.dropped == 0
