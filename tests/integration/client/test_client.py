"""Show `bridge.client` on a bus that another process hosts."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.client import BusClient, CallFailedError, RpcClient
from bridge.core.errors import BusError
from bridge.core.model import Event
from tests.support.bus.bus_host import bus_host
from tests.support.bus.stand_in import answering, bus_endpoints
from tests.support.wait import until


@pytest.fixture(scope="module")
def endpoints() -> Iterator[tuple[str, str]]:
    """The endpoints of a bus without a bridge."""
    with bus_endpoints() as endpoints:
        yield endpoints


def descriptors() -> int:
    """Return how many files and sockets this process has open."""
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0  # noqa: PTH208


async def test_a_call(endpoints: tuple[str, str]):
    """A call sends method, parameters and the caller's time, and returns the result."""
    async with (
        answering(endpoints, lambda event: {"ok": True, "result": event.payload}) as seen,
        BusClient(*endpoints) as bus,
    ):
        api = RpcClient(bus, "api")
        assert await api.call("m", [1], timeout=2) == {"method": "m", "timeout_ms": 2000, "params": [1]}
        assert await api.call("m", timeout=0.0001) == {"method": "m", "timeout_ms": 1}
        assert {event.event_type for event in seen} == {"integration.api.request"}


async def test_a_call_that_fails(endpoints: tuple[str, str]):
    """A failed call raises the contract's error with the number of attempts."""
    error = {"kind": "rejected", "message": "sold out", "retryable": False, "code": 7}
    answer = {"ok": False, "error": error, "attempts": 3}
    async with answering(endpoints, lambda _: answer), BusClient(*endpoints) as bus:
        with pytest.raises(CallFailedError, match="rejected: sold out") as caught:
            await RpcClient(bus, "api").call("m")
    assert (caught.value.error, caught.value.attempts) == (error, 3)


async def test_many_at_once_are_told_apart(endpoints: tuple[str, str]):
    """Each of many calls gets its own answer, in whatever order they come."""
    async with (
        answering(endpoints, lambda event: {"ok": True, "result": event.payload["params"]}),
        BusClient(*endpoints) as bus,
    ):
        api = RpcClient(bus, "api")
        assert await asyncio.gather(*[api.call("m", [n]) for n in range(50)]) == [[n] for n in range(50)]


async def test_nobody_answers(endpoints: tuple[str, str]):
    """A call without an answer ends by its time limit; without a key it was sent once, and a late answer is ignored."""
    async with answering(endpoints, lambda _: None) as seen, BusClient(*endpoints) as bus:
        with pytest.raises(TimeoutError):
            await bus.ask("integration.api.request", {}, timeout=0.4)
        assert len(seen) == 1
        bus.emit("response.integration.api.request", {}, correlation_id=seen[0].correlation_id)
        with pytest.raises(TimeoutError):
            await bus.ask("integration.api.request", {}, timeout=0.01)


async def test_with_a_key_it_is_sent_again(endpoints: tuple[str, str]):
    """A call with a key is sent again with the same key and correlation id until it is answered."""
    counted: list[Event] = []

    def third_time(event: Event) -> dict[str, Any] | None:
        counted.append(event)
        return {"n": len(counted)} if len(counted) >= 3 else None

    async with answering(endpoints, third_time) as seen, BusClient(*endpoints) as bus:
        answer = await bus.ask("integration.api.request", {}, timeout=10, key="order-7")
    assert answer.payload == {"n": 3}
    assert {(event.header("idempotency_key"), event.correlation_id) for event in seen} == {
        ("order-7", answer.correlation_id)
    }


async def test_what_was_emitted_has_left(endpoints: tuple[str, str]):
    """Leaving the client waits until the broker has all events, in order."""
    count = 500
    listener = BusClient(*endpoints, prefixes=("note.",))
    with listener.listen() as events:
        async with listener:
            async with BusClient(*endpoints) as bus:
                for n in range(count):
                    bus.emit("note.taken", n)
            async with asyncio.timeout(10):
                assert [(await events.get()).payload for _ in range(count)] == list(range(count))
    assert events.empty()


async def test_nobody_hosts_a_bus(tmp_path: Path):
    """Without a bus the error names the endpoints, and nothing stays open."""
    before = descriptors()
    bus = BusClient(f"ipc://{tmp_path}/p", f"ipc://{tmp_path}/s", patience=0.2)
    with pytest.raises(BusError, match=str(tmp_path)):
        async with bus:
            pass
    await until(lambda: descriptors() <= before)


async def test_a_bus_that_comes_late(tmp_path: Path):
    """The client waits for the bus as long as it was told, and not only as long as a sidecar would."""
    places = (f"ipc://{tmp_path}/p", f"ipc://{tmp_path}/s")
    entering = asyncio.create_task(BusClient(*places, patience=30.0).__aenter__())
    await asyncio.sleep(5.2)
    with bus_host(*places):
        client = await entering
        await client.__aexit__(None, None, None)


class NeverForwards(BusClient):
    """A bus that is connected, and never forwards."""

    heard = 0

    def _on_event(self, event: Event) -> None:
        self.heard += 1


async def test_a_bus_that_does_not_forward(endpoints: tuple[str, str]):
    """A connected bus that forwards nothing is an error after `patience`; nothing stays open."""
    before = descriptors()
    with pytest.raises(BusError):
        async with NeverForwards(*endpoints, patience=0.3):
            pass
    await until(lambda: descriptors() <= before)


async def test_cancelled_while_entering(endpoints: tuple[str, str]):
    """A cancelled `__aenter__` leaves nothing open."""
    before = descriptors()
    bus = NeverForwards(*endpoints, patience=60)
    entering = asyncio.create_task(bus.__aenter__())
    await until(lambda: bus.heard)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    await until(lambda: descriptors() <= before)


async def test_cancelled_while_leaving(endpoints: tuple[str, str]):
    """A cancelled `__aexit__` closes the client all the same."""
    before = descriptors()
    bus = BusClient(*endpoints)
    await bus.__aenter__()
    leaving = asyncio.create_task(bus.__aexit__(None, None, None))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await until(lambda: descriptors() <= before)
