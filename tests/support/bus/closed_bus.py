"""Host a closed bus in this process, with a listed client that shows whether it works."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.bus import Bus
from bridge.core.clock import RealClock
from bridge.core.model import Event
from tests.support.bus.bus import CurveKeys, Peer
from tests.support.bus.curve import KeyRing
from tests.support.wait import until


@dataclass
class Closed:
    """A closed bus, and a listed client that may publish and receive all that an application may."""

    bus: Bus
    ring: KeyRing
    seen: list[Event]
    good: Peer
    heard: list[dict[str, Any]]

    def peer(self, keys: CurveKeys | None, *prefixes: str) -> Peer:
        """Connect another program to it."""
        return Peer(self.bus.publish_endpoint, self.bus.subscribe_endpoint, *prefixes, keys=keys)

    async def works(self) -> None:
        """Show that the listed client is heard by the bridge, and hears it."""
        number = self.good.last_id
        self.good.send("order.proof", number)
        await until(lambda: any((e.event_type, e.payload) == ("order.proof", number) for e in self.seen))
        self.bus.publish("response.proof", number)
        await self.hears("response.proof", lambda payload: payload == number)

    async def renewed(self) -> None:
        """Read the access list again; the forwarder has it when a message has passed."""
        await self.bus.renew_keys()
        await self.works()

    def saw(self, event_type: str) -> bool:
        """Return whether the bus has accepted such an event."""
        return any(event.event_type == event_type for event in self.seen)

    async def hears(self, event_type: str, fits: Callable[[Any], bool]) -> Any:
        """Wait until the listed client has received this event, now or before; return its payload."""
        found: list[Any] = []

        def look() -> bool:
            self.heard += self.good.received()
            found.extend(e["payload"] for e in self.heard if e["event_type"] == event_type and fits(e["payload"]))
            return bool(found)

        await until(look)
        return found[0]

    async def refused(self, key: str | None, about: str = "") -> dict[str, Any]:
        """Wait until a refusal of this key is reported."""

        def fits(told: dict[str, Any]) -> bool:
            return (told["reason"], told.get("key")) == ("refused", key) and about in told["detail"]

        return await self.hears("resilience.bus.rejected", fits)


def closed_bus(ring: KeyRing, seen: list[Event], **more: Any) -> Bus:
    """Host a bus on loopback TCP that is closed with this ring."""
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
    """A closed bus with its listed client."""
    ring = KeyRing(directory)
    keys = ring.listed("good")
    seen: list[Event] = []
    bus = closed_bus(ring, seen)
    await bus.start()
    try:
        with Peer(bus.publish_endpoint, bus.subscribe_endpoint, "", keys=keys) as good:
            await good.send_until(lambda: bool(seen))
            await until(lambda: good.last_id == seen[-1].id)
            here = Closed(bus, ring, seen, good, [])
            await here.works()
            yield here
            await here.works()
    finally:
        await bus.stop()
