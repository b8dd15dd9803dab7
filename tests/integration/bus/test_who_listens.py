"""A bus client sees who subscribes, whether it hosts the bus or joins it, and says last values to late subscribers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.bus import Broker, Bus, CurveClient
from bridge.core.clock import RealClock
from bridge.core.curve_keys import read_pair
from bridge.core.model import Event
from tests.support.bus.bus import Peer
from tests.support.bus.closed_bus import closed_bus
from tests.support.bus.curve import KeyRing
from tests.support.wait import until

Start = Callable[..., contextlib.AbstractAsyncContextManager[Bus]]


def _bus(publish: str, subscribe: str, **more: Any) -> Bus:
    settings = {"mode": "host", "source": "bridge", "max_message": 4096, "on_event": lambda _: None, "listens": False}
    return Bus(publish=publish, subscribe=subscribe, clock=RealClock(), **{**settings, **more})


@pytest.fixture(params=["hosting", "joining"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """Return a context manager that runs a bridge's bus client, which hosts the bus or joins it."""

    @contextlib.asynccontextmanager
    async def started(**more: Any) -> AsyncIterator[Bus]:
        async with contextlib.AsyncExitStack() as stack:
            ends = f"ipc://{tmp_path}/p", f"ipc://{tmp_path}/s"
            mode = "host"
            if request.param == "joining":
                broker = Broker(*ends, 4096, RealClock())
                await broker.start()
                stack.push_async_callback(broker.stop)
                mode = "connect"
            bus = _bus(*ends, mode=mode, **more)
            await bus.start()
            stack.push_async_callback(bus.stop)
            yield bus

    return started


async def test_a_listener_comes_and_goes(start: Start) -> None:
    """The first subscriber makes a listener; when the last one with its prefix is gone, there is none any more."""
    async with start() as bus:
        assert not bus.listens("order.new")
        with Peer(bus.publish_endpoint, bus.subscribe_endpoint, "order.") as one:
            await until(lambda: bus.listens("order.new"))
            assert not bus.listens("data.x")
            with Peer(bus.publish_endpoint, bus.subscribe_endpoint, "order.", ""):
                await until(lambda: bus.listens("data.x"))
            await until(lambda: not bus.listens("data.x"))
            assert bus.listens("order.new")
            one.sub.unsubscribe("order.")
            await until(lambda: not bus.listens("order.new"))


@pytest.mark.parametrize("_round", range(5))
async def test_who_listened_to_everything_before(tmp_path: Path, _round: int) -> None:
    """A bridge that joins sees who subscribed to everything before, however early the broker tells it."""
    ends = f"ipc://{tmp_path}/p", f"ipc://{tmp_path}/s"
    async with contextlib.AsyncExitStack() as stack:
        broker = Broker(*ends, 4096, RealClock())
        await broker.start()
        stack.push_async_callback(broker.stop)
        everything = stack.enter_context(Peer(*ends, ""))
        await everything.send_until(lambda: bool(everything.received()))
        bus = _bus(*ends, mode="connect")
        await bus.start()
        stack.push_async_callback(bus.stop)
        assert bus.listens("order.new")


async def test_listeners_of_a_closed_bus(tmp_path: Path) -> None:
    """On a closed bus they come and go, too, and a bridge that joins it hears every type and is none."""
    ring = KeyRing(tmp_path)
    keys = ring.listed("app")
    ring.listed("two", role="bridge")
    heard: list[str] = []
    bus = closed_bus(ring, [], listens=False)
    await bus.start()
    other = _bus(
        bus.publish_endpoint,
        bus.subscribe_endpoint,
        mode="connect",
        source="bridge/two",
        on_event=lambda event: heard.append(event.event_type),
        curve=CurveClient(read_pair(tmp_path / "two.key_secret"), ring.server.public),
    )
    await other.start()
    bus.publish("ümlaut.x", None)
    await until(lambda: "ümlaut.x" in heard)
    assert not bus.listens("order.new")
    for _ in range(2):
        with Peer(bus.publish_endpoint, bus.subscribe_endpoint, "order.", keys=keys):
            await until(lambda: bus.listens("order.new") and other.listens("order.new"))
        await until(lambda: not bus.listens("order.new") and not other.listens("order.new"))
    other.take(["cart.*"])
    await until(lambda: bus.listens("cart.full"))
    await other.stop()
    await bus.stop()
    assert bus.stats.rejected == 0


async def test_another_bridge_is_no_listener_and_hears_everything(start: Start) -> None:
    """Two bridges on one bus read each other's events; one is a listener for the other only of what its routes take."""
    heard: list[str] = []
    async with start(source="bridge/one") as bus:
        bus.keep("health.x", 1)
        other = _bus(
            bus.publish_endpoint,
            bus.subscribe_endpoint,
            mode="connect",
            source="bridge/two",
            on_event=lambda event: heard.append(event.event_type),
        )
        await other.start()
        bus.publish("ümlaut.x", None)
        bus.publish("data.x", None)
        await until(lambda: {"ümlaut.x", "data.x", "health.x"} <= set(heard))
        assert not bus.listens("data.x")
        assert not other.listens("data.x")
        other.take(["order.*.created", "data.**"])
        await until(lambda: bus.listens("order.5.created") and bus.listens("data.x"))
        assert not bus.listens("order.5.cancelled")
        other.take(["order.*.created"])
        await until(lambda: not bus.listens("data.x"))
        assert bus.listens("order.5.created")
        await other.stop()
        await until(lambda: not bus.listens("order.5.created"))


async def test_own_events_that_are_passed_on_have_a_listener(start: Start) -> None:
    """A type that sets off a route needs no subscriber; whoever waits is woken when that changes."""
    async with start(own=lambda event_type: event_type == "mine") as bus:
        assert (bus.listens("mine"), bus.listens("other")) == (True, False)
        waiting = asyncio.create_task(bus.listeners_changed())
        await asyncio.sleep(0)
        bus.pass_own(lambda _: True)
        await waiting
        assert bus.listens("other")


async def test_a_late_subscriber_gets_last_values(start: Start) -> None:
    """An event that was offered to be kept is said again, with a header, to who subscribes later."""
    async with start() as bus:
        with Peer(bus.publish_endpoint, bus.subscribe_endpoint, "data.") as early:
            await until(lambda: bus.listens("data.x"))
            assert bus.offer("data.x", {"v": 1}, headers={"hop": "1"}, keep=("cpu", "owner"))
            assert "repeated" not in (await early.receive("data.x"))["headers"]
        assert bus.keeps_last("data.x", "cpu")
        for _ in range(2):
            with Peer(bus.publish_endpoint, bus.subscribe_endpoint, "data.") as late:
                event = await late.receive("data.x")
                assert event["payload"] == {"v": 1}
                assert event["headers"] == {"hop": "1", "repeated": "true", "seq": event["headers"]["seq"]}
        bus.forget_last("owner")
        assert not bus.keeps_last("data.x", "cpu")


async def test_what_falls_out_is_told(start: Start) -> None:
    """Where there are more last values than the bound, an event tells which was dropped."""
    async with start(last_values=(1, 1 << 20)) as bus:
        with Peer(bus.publish_endpoint, bus.subscribe_endpoint, "") as peer:
            await until(lambda: bus.listens("data.x"))
            for topic in ("a", "b"):
                bus.offer("data.x", topic, headers={}, keep=(topic, 1))
            payload = (await peer.receive("resilience.bus.rejected"))["payload"]
            assert (payload["reason"], payload["count"]) == ("forgotten", 1)
            assert "data.x" in payload["detail"]


async def test_listeners_of_a_bus_that_was_restarted(tmp_path: Path) -> None:
    """After the broker was replaced, only those count who are there again, and they hear what is published."""
    ends = f"ipc://{tmp_path}/p", f"ipc://{tmp_path}/s"
    broker = Broker(*ends, 4096, RealClock())
    await broker.start()
    bus = _bus(*ends, mode="connect")
    await bus.start()
    with Peer(*ends, "data.") as stays:
        with Peer(*ends, "order."):
            await until(lambda: bus.listens("order.x") and bus.listens("data.x"))
            await broker.stop()
            await until(lambda: not bus.listens("order.x") and not bus.listens("data.x"))
        broker = Broker(*ends, 4096, RealClock())
        await broker.start()
        # A SUB socket subscribes again only when its program uses it.
        await until(lambda: (stays.sub.poll(0), bus.listens("data.x"))[1])
        assert not bus.listens("order.x")
        bus.publish("data.again", 1)
        await stays.receive("data.again")
    await bus.stop()
    await broker.stop()


async def test_thousands_of_subscriptions(start: Start) -> None:
    """None is lost on its way to a publisher, and the bridge still reads everything."""
    heard: set[str] = set()
    async with start(on_event=lambda event: heard.add(event.event_type)) as bus:
        prefixes = [f"topic.{number}." for number in range(5000)]
        with Peer(bus.publish_endpoint, bus.subscribe_endpoint, *prefixes) as many:
            await until(lambda: all(bus.listens(f"{prefix}x") for prefix in prefixes))
            # Its publisher connects when all subscriptions are there.
            with Peer(bus.publish_endpoint, bus.subscribe_endpoint) as late:
                await late.send_until(lambda: bool(many.received()), "topic.2500.x")
                await late.send_until(lambda: "order.new" in heard, "order.new")


async def test_an_observer_that_waits_for_the_bus(tmp_path: Path) -> None:
    """Who reads everything without being a listener, and was there before the host, gets each value once."""
    ends, seen = (f"ipc://{tmp_path}/p", f"ipc://{tmp_path}/s"), []
    observer = _bus(*ends, mode="connect", source="observer", on_event=seen.append)
    opening = asyncio.create_task(observer.start())
    bus = _bus(*ends)
    await bus.start()
    await opening
    bus.keep_last("static.a", 1, owner=0)
    bus.publish("end", None)
    await until(lambda: seen and seen[-1].event_type == "end")
    assert [event.event_type for event in seen] == ["static.a", "end"]
    assert not bus.listens("static.a")
    await observer.stop()
    await bus.stop()


async def test_a_value_from_before_sets_off_no_new_route(tmp_path: Path) -> None:
    """A value that waits for its first subscriber is a copy where a route takes its type only since then."""
    seen: list[Event] = []
    bus = _bus(f"ipc://{tmp_path}/p", f"ipc://{tmp_path}/s", on_event=seen.append)
    await bus.start()
    bus.keep_last("static.a", 1, owner=0)
    bus.keep_last("static.b", 2, owner=0)
    bus.pass_own(lambda event_type: event_type == "static.a")
    with Peer(bus.publish_endpoint, bus.subscribe_endpoint, "static.") as peer:
        found = [await peer.receive(event_type) for event_type in ("static.a", "static.b")]
    assert ["repeated" in one["headers"] for one in found] == [True, False]
    await until(lambda: len(seen) > 0)
    await bus.stop()  # all that is ours has come back then
    assert ["repeated" in (one.headers or {}) for one in seen] == [True]


async def test_who_watches_sees_everything(start: Start) -> None:
    """A watcher gets our own events and those of others, also last values that nobody else reads; then no more."""
    async with start() as bus:
        seen: list[str] = []

        def watcher(frame: bytes, body: bytes) -> None:
            event = bus.read(frame, body)
            seen.append("none" if event is None else event.event_type)

        bus.watch(watcher)
        bus.publish("ours", 1)
        bus.keep_last("kept", 1, owner="o")
        with Peer(bus.publish_endpoint, bus.subscribe_endpoint, "theirs") as peer:
            await peer.send_until(lambda: bool(peer.received()), "theirs")
            await until(lambda: "theirs" in seen)
            assert [one for one in seen if one != "theirs"] == ["ours", "kept"]
            bus.watch(None)
            seen.clear()
            received = bus.stats.received
            await peer.send_until(lambda: bus.stats.received > received + 1, "theirs")
            assert seen == []
