"""Who may publish and hear what on a closed bus. A listed client works all the time."""

from pathlib import Path

import msgpack
import pytest

from bridge.bus.broker import curve
from bridge.bus.listeners import EVERY_FIRST_BYTE
from bridge.core.curve_keys import own_type_prefix
from bridge.core.errors import BusError
from bridge.core.model import Event
from tests.support.bus.bus import Peer
from tests.support.bus.closed_bus import closed, closed_bus
from tests.support.bus.curve import KeyRing, print_of
from tests.support.wait import until


@pytest.mark.parametrize(
    "event_type",
    ["health.bridge", "health.api", "resilience.api.failed", "response.x", "receipt.api.delivered", "message.api"],
)
async def test_what_only_the_bridge_says(tmp_path: Path, event_type: str) -> None:
    """No application can publish the types that belong to bridges, whatever its rights."""
    async with closed(tmp_path) as here:
        keys = here.ring.listed("app")
        await here.renewed()
        with here.peer(keys, event_type) as app:
            heard = len(here.seen)
            await app.send_until(lambda: len(here.seen) > heard)
            app.send(event_type, "forged")
            told = await here.refused(print_of(keys))
            assert told["detail"] == f"app may not publish '{event_type}'"
            await here.works()
            assert app.received() == []


async def test_what_an_event_says_of_itself(tmp_path: Path) -> None:
    """No application can use a bridge's source, or another type than in the first frame, whatever its rights."""
    async with closed(tmp_path) as here:
        keys, others = here.ring.listed("app"), here.ring.listed("other")
        await here.renewed()
        own = own_type_prefix(keys[0].decode())
        with here.peer(keys, own, "order.forged") as app, here.peer(others) as other:
            await app.send_until(lambda: here.saw("order.mine"), "order.mine")
            await other.send_until(lambda: here.saw("order.theirs"), "order.theirs")
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
    """Each key publishes and hears what its own patterns name, and nothing else."""
    async with closed(tmp_path) as here:
        tills = here.ring.listed("till", "order.*, cart.**", "health.**, response.till")
        mutes = here.ring.listed("mute", "", "order.**")
        await here.renewed()
        with here.peer(tills, "health.", "order.") as till, here.peer(mutes, "order.") as mute:
            await here.refused(print_of(tills), "subscribe to 'order.'")
            await till.send_until(lambda: here.saw("order.hello"), "order.hello")
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
        await here.renewed()
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


async def test_an_observer_hears_what_its_key_may_read(tmp_path: Path) -> None:
    """Who asks for every first byte gets the types that the key may subscribe to, and counts as no listener."""
    ring = KeyRing(tmp_path)
    keys, deaf = ring.listed("eye", "order.hello", "order.**, ümlaut.x"), ring.listed("deaf", "", "")
    seen: list[Event] = []
    bus = closed_bus(ring, seen, listens=False)
    await bus.start()
    try:
        for _ in range(2):
            with Peer(bus.publish_endpoint, bus.subscribe_endpoint, *EVERY_FIRST_BYTE, keys=keys) as eye:
                await eye.send_until(lambda eye=eye: bool(eye.received()), "order.hello")
                for event_type in ("cart.x", "other.x", "ümlaut.y", "ümlaut.x", "order", "order.last"):
                    bus.publish(event_type, None)
                heard: set[str] = set()
                await until(lambda eye=eye, heard=heard: heard.update(_types(eye)) or "order.last" in heard)
                assert heard - {"order.hello"} == {"ümlaut.x", "order", "order.last"}
                assert not bus.listens("order.x")
        with Peer(bus.publish_endpoint, bus.subscribe_endpoint, *EVERY_FIRST_BYTE, keys=deaf):
            await until(lambda: bus.stats.rejected == len(EVERY_FIRST_BYTE))
    finally:
        await bus.stop()


async def test_last_value(tmp_path: Path) -> None:
    """Late subscribers get the last health at once on a closed bus, too, each time."""
    async with closed(tmp_path) as here:
        here.bus.keep("health.x", {"status": "connected"})
        keys = here.ring.listed("late", "", "health.**")
        await here.renewed()
        for _ in range(3):
            with here.peer(keys, "health.") as late:
                assert (await late.receive("health.x"))["payload"] == {"status": "connected"}


async def test_key_taken_away(tmp_path: Path) -> None:
    """A key that is taken off the list publishes and hears nothing from then on, and cannot connect again."""
    async with closed(tmp_path) as here:
        keys = here.ring.listed("former")
        await here.renewed()
        with here.peer(keys, "order.") as former:
            await former.send_until(lambda: here.saw("order.mine"), "order.mine")
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


async def test_a_key_that_is_listed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain socket whose key was removed comes back by itself when the key is listed again."""
    monkeypatch.setattr(curve, "HANDSHAKE_TIME", 300)
    async with closed(tmp_path) as here:
        keys = here.ring.listed("former")
        await here.renewed()
        with here.peer(keys, "order.") as former:
            await former.send_until(lambda: here.saw("order.mine"), "order.mine")
            here.ring.strike("former")
            await here.renewed()
            await here.refused(print_of(keys), "not listed")
            here.ring.list("former", keys, "order.**")
            await here.renewed()
            # Each of its two sockets comes back in its own time.
            await former.send_until(
                lambda: any(event["event_type"] == "order.again" for event in former.received()), "order.again"
            )


async def test_rights_taken_away(tmp_path: Path) -> None:
    """Rights change with the list on open connections, too; a list that is not valid leaves the old one in force."""
    async with closed(tmp_path) as here:
        keys = here.ring.listed("app")
        await here.renewed()
        with here.peer(keys) as app:
            await app.send_until(lambda: here.saw("order.mine"), "order.mine")
            here.ring.list("app", keys, "cart.**")
            await here.renewed()
            app.send("order.forged")
            app.send("cart.good")
            await until(lambda: here.saw("cart.good"))
            (here.ring.authorized / "broken.key").write_text("nonsense")
            with pytest.raises(BusError, match=r"broken\.key"):
                await here.bus.renew_keys()
            app.send("cart.still")
            await until(lambda: here.saw("cart.still"))
            assert not here.saw("order.forged")


def _types(peer: Peer) -> set[str]:
    return {event["event_type"] for event in peer.received()}
