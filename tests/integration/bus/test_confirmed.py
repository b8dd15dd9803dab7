"""What is put on the bus to be confirmed is so when it has left for those who listen, whoever hosts the bus."""

import asyncio
from pathlib import Path

from bridge.bus import Bus
from bridge.core.clock import RealClock
from bridge.core.model import Event
from tests.support.bus.bus import Peer
from tests.support.bus.bus_host import bus_host
from tests.support.bus.closed_bus import closed
from tests.support.wait import until


def _bus(mode: str, publish: str, subscribe: str, seen: list[Event] | None = None) -> Bus:
    """A bus; `seen` gets what comes, also from itself."""
    return Bus(
        mode=mode,  # type: ignore[arg-type]
        publish=publish,
        subscribe=subscribe,
        max_message=4096,
        source=f"bridge/{mode}",
        clock=RealClock(),
        on_event=[].append if seen is None else seen.append,
        own=lambda _: seen is not None,
    )


def _ends(directory: Path) -> tuple[str, str]:
    return f"ipc://{directory}/pub", f"ipc://{directory}/sub"


async def _is_confirmed(bus: Bus, number: int) -> None:
    """Put an event on the bus, and wait for its confirmation: well before the time after which one is given up."""
    assert bus.offer("data.new", number, headers={}, confirmed=True)
    done = asyncio.Event()
    bus.when_confirmed(done.set)
    assert not done.is_set()
    async with asyncio.timeout(1.5):
        await done.wait()


async def test_hosted(tmp_path: Path) -> None:
    """By the bridge itself, in whose memory the broker is."""
    bus = _bus("host", *_ends(tmp_path))
    await bus.start()
    with Peer(*_ends(tmp_path), "data."):
        for number in range(3):
            await _is_confirmed(bus, number)
    await bus.stop()


async def test_closed(tmp_path: Path) -> None:
    """With keys, where another thread forwards."""
    async with closed(tmp_path) as it:
        await it.works()
        for number in range(3):
            await _is_confirmed(it.bus, number)


async def test_joined(tmp_path: Path) -> None:
    """By another process."""
    with bus_host(*_ends(tmp_path)) as (_, publish, subscribe):
        bus = _bus("connect", publish, subscribe)
        await bus.start()
        for number in range(3):
            await _is_confirmed(bus, number)
        await bus.stop()


async def test_a_broker_that_is_killed(tmp_path: Path) -> None:
    """What it may have lost is sent again to the next one, and confirmed only then."""
    confirmed, seen = asyncio.Event(), list[Event]()
    with bus_host(*_ends(tmp_path)) as (process, publish, subscribe):
        bus = _bus("connect", publish, subscribe, seen)
        await bus.start()
        await _is_confirmed(bus, 0)
        process.kill()
        process.wait()
        assert bus.offer("data.new", 1, headers={}, confirmed=True)
        bus.when_confirmed(confirmed.set)
        await asyncio.sleep(2.5)  # longer than what has not come back is waited for on a bus that is there
        assert not confirmed.is_set()
    before = len(seen)
    with bus_host(*_ends(tmp_path)):
        await until(lambda: len(seen) > before)
        async with asyncio.timeout(1.5):
            await confirmed.wait()
        await bus.stop()
    assert {event.payload for event in seen[before:]} == {1}
