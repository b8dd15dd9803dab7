"""`bridge.client`: a program's place on a bus that another process hosts."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.client import BusClient, CallFailedError, RpcClient
from bridge.core.errors import BusError
from bridge.core.model import Event
from tests.support.bus.stand_in import answering, bus_place
from tests.support.wait import until


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[str, str]]:
    """The endpoints of a bus on which no bridge is."""
    with bus_place() as place:
        yield place


def descriptors() -> int:
    """How many files and sockets this process has open."""
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0  # noqa: PTH208


async def test_a_call(place: tuple[str, str]):
    """Method, parameters and the caller's time go out; the result comes back."""
    async with answering(place, lambda event: {"ok": True, "result": event.payload}) as seen, BusClient(*place) as bus:
        api = RpcClient(bus, "api")
        assert await api.call("m", [1], timeout=2) == {"method": "m", "timeout_ms": 2000, "params": [1]}
        assert await api.call("m", timeout=0.0001) == {"method": "m", "timeout_ms": 1}
        assert {event.event_type for event in seen} == {"integration.api.request"}


async def test_a_call_that_fails(place: tuple[str, str]):
    """The error is the contract's, with the number of attempts."""
    error = {"kind": "rejected", "message": "sold out", "retryable": False, "code": 7}
    answer = {"ok": False, "error": error, "attempts": 3}
    async with answering(place, lambda _: answer), BusClient(*place) as bus:
        with pytest.raises(CallFailedError, match="rejected: sold out") as caught:
            await RpcClient(bus, "api").call("m")
    assert (caught.value.error, caught.value.attempts) == (error, 3)


async def test_many_at_once_are_told_apart(place: tuple[str, str]):
    """Each gets its own answer, whatever the order."""
    async with (
        answering(place, lambda event: {"ok": True, "result": event.payload["params"]}),
        BusClient(*place) as bus,
    ):
        api = RpcClient(bus, "api")
        assert await asyncio.gather(*[api.call("m", [n]) for n in range(50)]) == [[n] for n in range(50)]


async def test_nobody_answers(place: tuple[str, str]):
    """A time limit, and a late answer harms nothing; without a key the event was sent once."""
    async with answering(place, lambda _: None) as seen, BusClient(*place) as bus:
        with pytest.raises(TimeoutError):
            await bus.ask("integration.api.request", {}, timeout=0.4)
        assert len(seen) == 1
        bus.emit("response.integration.api.request", {}, correlation_id=seen[0].correlation_id)
        with pytest.raises(TimeoutError):
            await bus.ask("integration.api.request", {}, timeout=0.01)


async def test_with_a_key_it_is_sent_again(place: tuple[str, str]):
    """Until it is answered: same key, same correlation id; a second answer is not waited for, and harms nothing."""
    counted: list[Event] = []

    def third_time(event: Event) -> dict[str, Any] | None:
        counted.append(event)
        return {"n": len(counted)} if len(counted) >= 3 else None

    async with answering(place, third_time) as seen, BusClient(*place) as bus:
        answer = await bus.ask("integration.api.request", {}, timeout=10, key="order-7")
    assert answer.payload == {"n": 3}
    assert {(event.header("idempotency_key"), event.correlation_id) for event in seen} == {
        ("order-7", answer.correlation_id)
    }


async def test_what_was_emitted_has_left(place: tuple[str, str]):
    """Leaving waits for it, and what arrives keeps its order."""
    count = 500
    listener = BusClient(*place, prefixes=("note.",))
    with listener.listen() as events:
        async with listener:
            async with BusClient(*place) as bus:
                for n in range(count):
                    bus.emit("note.taken", n)
            async with asyncio.timeout(10):
                assert [(await events.get()).payload for _ in range(count)] == list(range(count))
    assert events.empty()


async def test_nobody_hosts_a_bus(tmp_path: Path):
    """It says where, and leaves nothing open."""
    before = descriptors()
    bus = BusClient(f"ipc://{tmp_path}/p", f"ipc://{tmp_path}/s", patience=0.2)
    with pytest.raises(BusError, match=str(tmp_path)):
        async with bus:
            pass
    await until(lambda: descriptors() <= before)


class Deaf(BusClient):
    """Is connected, and never learns that the bus carries."""

    heard = 0

    def _on_event(self, event: Event) -> None:
        self.heard += 1


async def test_a_bus_that_does_not_carry(place: tuple[str, str]):
    """Being connected is not enough; patience ends, and nothing is left open."""
    before = descriptors()
    with pytest.raises(BusError):
        async with Deaf(*place, patience=0.3):
            pass
    await until(lambda: descriptors() <= before)


async def test_cancelled_at_the_door(place: tuple[str, str]):
    """Who gives up entering leaves nothing open, either."""
    before = descriptors()
    bus = Deaf(*place, patience=60)
    entering = asyncio.create_task(bus.__aenter__())
    await until(lambda: bus.heard)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    await until(lambda: descriptors() <= before)


async def test_cancelled_at_the_end(place: tuple[str, str]):
    """Who is cancelled while leaving has left all the same."""
    before = descriptors()
    bus = BusClient(*place)
    await bus.__aenter__()
    leaving = asyncio.create_task(bus.__aexit__(None, None, None))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await until(lambda: descriptors() <= before)
