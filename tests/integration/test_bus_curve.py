"""A closed bus: who comes in, who may say what. Intruders are plain pyzmq programs; a good client works all along."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from bridge.bus import Bus, CurveClient, forwarder
from bridge.clock import RealClock
from bridge.errors import BusError
from bridge.keys import own_types, read_pair
from bridge.model import Event
from tests.support.bus import Keys, Peer, until
from tests.support.curve import KeyRing, print_of


@dataclass
class Closed:
    """A closed bus, and a listed client that hears everything and may say everything that an application may."""

    bus: Bus
    ring: KeyRing
    seen: list[Event]
    good: Peer
    heard: list[dict[str, Any]]

    def peer(self, keys: Keys | None, *prefixes: str) -> Peer:
        """Another program on it."""
        return Peer(self.bus.publish_endpoint, self.bus.subscribe_endpoint, *prefixes, keys=keys)

    async def works(self) -> None:
        """The good client is heard, and hears the bridge."""
        number = self.good.last_id
        self.good.send("order.proof", number)
        await until(lambda: any((e.event_type, e.payload) == ("order.proof", number) for e in self.seen))
        self.bus.publish("response.proof", number)
        await self.hears("response.proof", lambda payload: payload == number)

    def saw(self, event_type: str) -> bool:
        """Whether the bus has taken such an event."""
        return any(event.event_type == event_type for event in self.seen)

    async def hears(self, event_type: str, fits: Callable[[Any], bool]) -> Any:
        """Wait until the good client has heard this, now or before; its payload."""
        found: list[Any] = []

        def look() -> bool:
            self.heard += self.good.received()
            found.extend(e["payload"] for e in self.heard if e["event_type"] == event_type and fits(e["payload"]))
            return bool(found)

        await until(look)
        return found[0]

    async def refused(self, key: str | None, about: str = "") -> dict[str, Any]:
        """Wait until a refusal of this key is told."""

        def fits(told: dict[str, Any]) -> bool:
            return (told["reason"], told.get("key")) == ("refused", key) and about in told["detail"]

        return await self.hears("resilience.bus.rejected", fits)


def make(ring: KeyRing, seen: list[Event], **more: Any) -> Bus:
    """A bus that is hosted on loopback TCP and closed with this ring."""
    settings: dict[str, Any] = {
        "mode": "host",
        "publish": "tcp://127.0.0.1:*",
        "subscribe": "tcp://127.0.0.1:*",
        "max_message": 1 << 20,
        "source": "bridge",
        "clock": RealClock(),
        "on_event": seen.append,
        "curve": ring.curve,
    }
    return Bus(**{**settings, **more})


@contextlib.asynccontextmanager
async def closed(directory: Path) -> AsyncIterator[Closed]:
    """A closed bus with its good client."""
    ring = KeyRing(directory)
    keys = ring.listed("good")
    seen: list[Event] = []
    bus = make(ring, seen)
    await bus.start()
    try:
        with Peer(bus.publish_endpoint, bus.subscribe_endpoint, "", keys=keys) as good:
            await good.say_until(lambda: bool(seen))
            await until(lambda: good.last_id == seen[-1].id)
            here = Closed(bus, ring, seen, good, [])
            await here.works()
            yield here
            await here.works()
    finally:
        await bus.stop()


async def test_there_and_back(tmp_path: Path) -> None:
    """A listed client says and hears what it may; what it says comes as it is, in order."""
    async with closed(tmp_path) as here:
        here.seen.clear()
        for number in range(2000):
            here.good.send("order.created", number)
        await until(lambda: len(here.seen) == 2000)
        assert [event.payload for event in here.seen] == list(range(2000))
        assert here.bus.stats.rejected == 0


async def test_without_keys(tmp_path: Path) -> None:
    """A client without CURVE neither says nor hears anything, at either port, and is told of."""
    async with closed(tmp_path) as here:
        with here.peer(None, "") as intruder:
            for _ in range(10):
                intruder.send("order.forged")
                await asyncio.sleep(0.01)
            told = await here.refused(None)
            assert "without CURVE keys" in told["detail"]
            await here.works()
            assert intruder.received() == []
        assert not here.saw("order.forged")


async def test_unlisted_key(tmp_path: Path) -> None:
    """A key that is not listed is turned away at the door, and told of by its fingerprint."""
    async with closed(tmp_path) as here:
        keys = here.ring.new("stranger")
        with here.peer(keys, "") as intruder:
            told = await here.refused(print_of(keys), "not listed")
            intruder.send("order.forged")
            await here.works()
            assert intruder.received() == []
        assert "127.0.0.1" in told["detail"]
        assert not here.saw("order.forged")


async def test_wrong_server_key(tmp_path: Path) -> None:
    """Who takes another server for ours does not come in, and is told of."""
    async with closed(tmp_path) as here:
        public, secret, _ = here.ring.listed("lost")
        await _renewed(here)
        with here.peer((public, secret, zmq.curve_keypair()[0]), "") as intruder:
            await here.refused(None, "server key")
            assert intruder.received() == []


@pytest.mark.parametrize(
    "event_type",
    ["health.bridge", "health.api", "resilience.api.failed", "response.x", "receipt.api.delivered", "message.api"],
)
async def test_what_only_the_bridge_says(tmp_path: Path, event_type: str) -> None:
    """No application says what is the bridge's to say, whatever its rights."""
    async with closed(tmp_path) as here:
        keys = here.ring.listed("app")
        await _renewed(here)
        with here.peer(keys, event_type) as app:
            heard = len(here.seen)
            await app.say_until(lambda: len(here.seen) > heard)
            app.send(event_type, "forged")
            told = await here.refused(print_of(keys))
            assert told["detail"] == f"app may not publish '{event_type}'"
            await here.works()
            assert app.received() == []


async def test_what_an_event_says_of_itself(tmp_path: Path) -> None:
    """No application speaks as a bridge or under another type, whatever its rights; nobody hears it."""
    async with closed(tmp_path) as here:
        keys, others = here.ring.listed("app"), here.ring.listed("other")
        await _renewed(here)
        own = own_types(keys[0].decode())
        with here.peer(keys, own, "order.forged") as app, here.peer(others) as other:
            await app.say_until(lambda: here.saw("order.mine"), "order.mine")
            await other.say_until(lambda: here.saw("order.theirs"), "order.theirs")
            for source in ("bridge", "bridge/two"):
                app.send("order.forged", source=source)
                app.raw(b"order.forged", msgpack.packb((1, "order.forged", None, 1, source, None)))
            await here.refused(print_of(keys), "app may not speak as a bridge")
            app.raw(b"order.forged", app.event("health.bridge"))
            app.raw(b"order.forged", app.event("order.forged") + b"\xc0")
            for reason in ("type_mismatch", "not_an_event"):
                await here.hears("resilience.bus.rejected", lambda told, reason=reason: told["reason"] == reason)
            other.send(f"{own}.message.1", "forged")
            await here.refused(print_of(others), f"may not publish '{own}")
            app.send(f"{own}.proof")
            await app.receive(f"{own}.proof")
            here.bus.publish(f"{own}.message.1", "good")
            assert (await app.receive(f"{own}.message.1"))["payload"] == "good"
            assert app.received() == []
        assert not here.saw("order.forged")
        assert here.bus.stats.rejected == 7


async def test_rights_by_key(tmp_path: Path) -> None:
    """Each key says and hears what its own patterns name, and nothing else."""
    async with closed(tmp_path) as here:
        tills = here.ring.listed("till", "order.*, cart.**", "health.**, response.till")
        mutes = here.ring.listed("mute", "", "order.**")
        await _renewed(here)
        with here.peer(tills, "health.", "order.") as till, here.peer(mutes, "order.") as mute:
            await here.refused(print_of(tills), "subscribe to 'order.'")
            await till.say_until(lambda: here.saw("order.hello"), "order.hello")
            for event_type in ("cart.a.b", "order.a.b", "orders.x", "integration.api.request", "bridge.reload"):
                till.send(event_type)
            mute.send("order.quiet")
            await until(lambda: here.saw("cart.a.b"))
            await here.works()
            await here.refused(print_of(tills), "may not publish 'bridge.reload'")
            here.bus.publish("health.x", 1)
            await till.receive("health.x")
            await mute.receive("order.proof")
            types = {event.event_type for event in here.seen} - {"hello", "order.hello", "order.proof"}
            assert types == {"cart.a.b"}
            assert not any(event["event_type"].startswith("order.") for event in till.received())


async def test_refused_subscription_ends_for_itself(tmp_path: Path) -> None:
    """When a refused subscriber leaves, those who may hear the same go on hearing it."""
    async with closed(tmp_path) as here:
        deaf, hears = here.ring.listed("deaf", "**", ""), here.ring.listed("hears", "", "secret.**")
        await _renewed(here)
        with here.peer(hears, "secret.") as listener:
            with here.peer(deaf, "secret.") as refused:
                await here.refused(print_of(deaf), "subscribe")
                refused.sub.unsubscribe("secret.")
                refused.sub.subscribe("secret.")
                await here.refused(print_of(deaf), "subscribe")
            await here.works()
            here.good.send("secret.word")
            await listener.receive("secret.word")
            assert refused.sub.closed


async def test_last_value(tmp_path: Path) -> None:
    """Late subscribers get the kept health at once on a closed bus, too, each time."""
    async with closed(tmp_path) as here:
        here.bus.keep("health.x", {"status": "connected"})
        keys = here.ring.listed("late", "", "health.**")
        await _renewed(here)
        for _ in range(3):
            with here.peer(keys, "health.") as late:
                assert (await late.receive("health.x"))["payload"] == {"status": "connected"}


async def test_key_taken_away(tmp_path: Path) -> None:
    """A key that is taken off the list neither says nor hears anything from then on, and cannot come back."""
    async with closed(tmp_path) as here:
        keys = here.ring.listed("former")
        await _renewed(here)
        with here.peer(keys, "order.") as former:
            await former.say_until(lambda: here.saw("order.mine"), "order.mine")
            await former.receive("order.mine")
            here.ring.strike("former")
            assert await here.bus.renew_keys() == 1
            former.send("order.forged")
            await here.refused(print_of(keys), "not listed")
            await here.works()
            former.received()
            await here.works()
            assert former.received() == []
        with here.peer(keys, "") as again:
            await here.refused(print_of(keys), "not listed")
            assert again.received() == []
        assert not here.saw("order.forged")


async def test_rights_taken_away(tmp_path: Path) -> None:
    """Rights change with the list, too, on a connection that stays; a list at fault leaves the old one in place."""
    async with closed(tmp_path) as here:
        keys = here.ring.listed("app")
        await _renewed(here)
        with here.peer(keys) as app:
            await app.say_until(lambda: here.saw("order.mine"), "order.mine")
            here.ring.list("app", keys, "cart.**")
            await _renewed(here)
            app.send("order.forged")
            app.send("cart.good")
            await until(lambda: here.saw("cart.good"))
            (here.ring.authorized / "broken.key").write_text("nonsense")
            with pytest.raises(BusError, match=r"broken\.key"):
                await here.bus.renew_keys()
            app.send("cart.still")
            await until(lambda: here.saw("cart.still"))
            assert not here.saw("order.forged")


async def test_zap_that_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the question who may come in cannot be answered, nobody new does; after it, all is as before."""
    async with closed(tmp_path) as here:
        keys = here.ring.listed("app")
        await _renewed(here)

        def raises(*_: object) -> None:
            raise ZeroDivisionError("a bug")

        with monkeypatch.context() as broken:
            broken.setattr(forwarder, "answer_zap", raises)
            with here.peer(keys, "") as unlucky:
                await here.refused(None, "could not be found out")
                await here.works()
                assert unlucky.received() == []
        heard = len(here.seen)
        with here.peer(keys) as lucky:
            await lucky.say_until(lambda: len(here.seen) > heard)


async def test_strangers_on_the_ports(tmp_path: Path) -> None:
    """HTTP, silence and noise on both ports: told of, or forgotten, and harmless."""
    async with closed(tmp_path) as here:
        for endpoint in (here.bus.publish_endpoint, here.bus.subscribe_endpoint):
            port = int(endpoint.rpartition(":")[2])
            before = here.bus.stats.rejected
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n" + b"x" * 256)
                await until(lambda before=before: here.bus.stats.rejected > before)
            with socket.create_connection(("127.0.0.1", port)):
                await here.works()


async def test_frames(tmp_path: Path) -> None:
    """Messages of one or of many frames go to nobody and are told of, with the key of who sent them."""
    async with closed(tmp_path) as here:
        here.good.raw(b"order.x")
        here.good.raw(b"order.x", *[b"y" * 100] * 5000)
        await here.works()
        told = await here.hears("resilience.bus.rejected", lambda told: told["reason"] == "frames")
        assert len(told["key"]) == 16
        assert here.bus.stats.rejected == 2


async def test_a_bug_in_the_forwarder_surfaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the bus, loudly; nothing is forwarded unguarded."""
    ring = KeyRing(tmp_path)
    keys = ring.listed("app")
    bus = make(ring, [])
    await bus.start()

    def raises(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(forwarder.Forwarder, "_learn", raises)
    with Peer(bus.publish_endpoint, bus.subscribe_endpoint, keys=keys) as app:
        running = asyncio.ensure_future(bus.run())
        await app.say_until(running.done)
        with pytest.raises(ZeroDivisionError, match="a bug"):
            await running
    await bus.stop()


async def test_a_bridge_joins(tmp_path: Path) -> None:
    """A bus of ours joins a closed one: as an application, or, where its key has that role, as a bridge."""
    async with closed(tmp_path) as here:
        here.ring.listed("other", role="bridge")
        here.ring.new("stranger")
        await _renewed(here)

        def joining(name: str) -> Bus:
            endpoints = {"publish": here.bus.publish_endpoint, "subscribe": here.bus.subscribe_endpoint}
            client = CurveClient(read_pair(tmp_path / f"{name}.key_secret"), here.ring.server.public)
            return make(
                here.ring, [], mode="connect", source="bridge/other", curve=client, join_timeout=1.0, **endpoints
            )

        other = joining("other")
        await other.start()
        other.publish("response.theirs", 1)
        await here.hears("response.theirs", lambda payload: payload == 1)
        await other.stop()
        with pytest.raises(BusError, match="our key is not listed"):
            await joining("stranger").start()


async def test_hosting_fails(tmp_path: Path) -> None:
    """A list that is missing, and a port that is taken, are errors in words, and leave nothing open."""
    ring = KeyRing(tmp_path)
    async with _hosted(make(ring, [])) as bus:
        with pytest.raises(BusError, match="something else listens"):
            await make(ring, [], publish=bus.publish_endpoint).start()
    ring.authorized.rmdir()
    with pytest.raises(BusError, match="no such folder"):
        await make(ring, []).start()


@contextlib.asynccontextmanager
async def _hosted(bus: Bus) -> AsyncIterator[Bus]:
    await bus.start()
    try:
        yield bus
    finally:
        await bus.stop()


async def _renewed(here: Closed) -> None:
    """Read the list again; the forwarder has it when a message has passed."""
    await here.bus.renew_keys()
    await here.works()
