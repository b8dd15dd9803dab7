"""Who may connect to a closed bus. Intruders are plain pyzmq programs; a listed client works all the time."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import zmq

from bridge.bus import Bus, CurveClient
from bridge.bus.broker import forwarder
from bridge.core.curve_keys import read_pair
from bridge.core.errors import BusError
from tests.support.bus.bus import Peer
from tests.support.bus.closed_bus import closed, closed_bus
from tests.support.bus.curve import KeyRing, print_of
from tests.support.wait import until


async def test_there_and_back(tmp_path: Path) -> None:
    """A listed client publishes and hears what it has the right to; its events arrive unchanged and in order."""
    async with closed(tmp_path) as here:
        here.seen.clear()
        for number in range(2000):
            here.good.send("order.created", number)
        await until(lambda: len(here.seen) == 2000)
        assert [event.payload for event in here.seen] == list(range(2000))
        assert here.bus.stats.rejected == 0


async def test_without_keys(tmp_path: Path) -> None:
    """A client without CURVE can neither publish nor hear anything, at either port, and is reported."""
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
    """A key that is not listed is refused, and reported by its fingerprint."""
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
    """A client with another server key is refused, and reported."""
    async with closed(tmp_path) as here:
        public, secret, _ = here.ring.listed("lost")
        await here.renewed()
        with here.peer((public, secret, zmq.curve_keypair()[0]), "") as intruder:
            await here.refused(None, "server key")
            assert intruder.received() == []


async def test_zap_that_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While ZAP requests cannot be checked, no new client is accepted; afterwards all is as before."""
    async with closed(tmp_path) as here:
        keys = here.ring.listed("app")
        await here.renewed()

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
            await lucky.send_until(lambda: len(here.seen) > heard)


async def test_strangers_on_the_ports(tmp_path: Path) -> None:
    """HTTP, silence and noise on both ports do no harm, and are reported or forgotten."""
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
    """Messages of one or of many frames are not forwarded, and are reported with the sender's key."""
    async with closed(tmp_path) as here:
        here.good.raw(b"order.x")
        here.good.raw(b"order.x", *[b"y" * 100] * 5000)
        await here.works()
        told = await here.hears("resilience.bus.rejected", lambda told: told["reason"] == "frames")
        assert len(told["key"]) == 16
        assert here.bus.stats.rejected == 2


async def test_a_bug_in_the_forwarder_surfaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in the forwarder ends the bus with its exception; nothing is forwarded without a check."""
    ring = KeyRing(tmp_path)
    keys = ring.listed("app")
    bus = closed_bus(ring, [])
    await bus.start()

    def raises(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(forwarder.Forwarder, "_look_up", raises)
    with Peer(bus.publish_endpoint, bus.subscribe_endpoint, keys=keys) as app:
        running = asyncio.ensure_future(bus.run())
        await app.send_until(running.done)
        with pytest.raises(ZeroDivisionError, match="a bug"):
            await running
    await bus.stop()


async def test_a_bridge_joins(tmp_path: Path) -> None:
    """A bus client joins a closed bus: as an application, or, where its key has that role, as a bridge."""
    async with closed(tmp_path) as here:
        here.ring.listed("other", role="bridge")
        here.ring.new("stranger")
        await here.renewed()

        def joining(name: str) -> Bus:
            endpoints = {"publish": here.bus.publish_endpoint, "subscribe": here.bus.subscribe_endpoint}
            client = CurveClient(read_pair(tmp_path / f"{name}.key_secret"), here.ring.server.public)
            return closed_bus(
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
    """A missing list and a port in use are clear errors, and leave nothing open."""
    ring = KeyRing(tmp_path)
    async with _hosted(closed_bus(ring, [])) as bus:
        with pytest.raises(BusError, match="something else listens"):
            await closed_bus(ring, [], publish=bus.publish_endpoint).start()
    ring.authorized.rmdir()
    with pytest.raises(BusError, match="no such folder"):
        await closed_bus(ring, []).start()


@contextlib.asynccontextmanager
async def _hosted(bus: Bus) -> AsyncIterator[Bus]:
    await bus.start()
    try:
        yield bus
    finally:
        await bus.stop()
