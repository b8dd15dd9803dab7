"""Show when a subscription is made again, on a fake clock and with a fake bus client."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec
import pytest

from bridge.client import CallFailedError, ClosedError, PubSubClient, Subscription
from bridge.client.pending_request import PendingRequest
from bridge.core.model import Event
from tests.support.clock import FakeClock


class FakeBusClient:
    """The part of `BusClient` that subscriptions use, with answers that a test sets.

    Attributes:
        commands: The commands that were sent: operation and payload.
        answers: The bridge's answers to the next ones; without one it does not answer.
    """

    source = "me"

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.commands: list[tuple[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self.pending: dict[str, PendingRequest] = {}
        self._watchers: list[Callable[[Event], None]] = []

    def own_type(self, what: str) -> str:
        return f"client.x.{what}.1"

    async def add_prefix(self, prefix: str) -> None:
        pass

    @contextlib.contextmanager
    def watch(self, watcher: Callable[[Event], None], on_close: Callable[[], None]) -> Iterator[None]:
        self._watchers.append(watcher)
        self.leave = on_close
        yield
        self._watchers.remove(watcher)

    def _emit(self, correlation_id: str, event_type: str, payload: Any) -> None:
        self.commands.append((event_type.removeprefix("integration.events."), payload))

    async def ask(self, event_type: str, payload: Any, *, key: str | None = None, **_: Any) -> Event:
        try:
            return await self.start_request("ask", event_type, payload, key=key).answer
        finally:
            self.end_request("ask")

    def start_request(self, correlation_id: str, event_type: str, payload: Any, *, key: str | None) -> PendingRequest:
        assert key
        pending = PendingRequest(lambda: self._emit(correlation_id, event_type, payload), self.clock, repeat=False)
        self.pending[correlation_id] = pending
        if self.answers:
            self.answer(self.answers.pop(0))
        return pending

    def end_request(self, correlation_id: str) -> None:
        pending = self.pending.pop(correlation_id, None)
        if pending is not None:
            pending.end()

    def answer(self, payload: dict[str, Any]) -> None:
        (pending,) = self.pending.values()
        pending.answered(event("response", payload))

    def arrive(self, event_type: str, payload: Any, source: str = "bridge") -> None:
        for watcher in self._watchers:
            watcher(event(event_type, payload, source))

    def health(self, pid: int, status: str = "connected", **more: Any) -> None:
        self.arrive("health.bridge", {"status": "ready", "pid": pid, "integrations": {"events": status}} | more)


def event(event_type: str, payload: Any, source: str = "bridge") -> Event:
    """Make an event with this payload."""
    raw = msgspec.Raw(msgspec.msgpack.encode(payload))
    return Event(id=1, event_type=event_type, raw=raw, timestamp=0, source=source, correlation_id=None)


def good(name: str = "subscription-1") -> dict[str, Any]:
    """The bridge's answer that it has subscribed."""
    return {"ok": True, "result": {"subscription": name}, "attempts": 1}


def bad(kind: str, *, retryable: bool) -> dict[str, Any]:
    """The bridge's answer with an error."""
    return {"ok": False, "error": {"kind": kind, "message": "no", "retryable": retryable}, "attempts": 1}


SUBSCRIBE = ("subscribe", {"topic": "t", "emit": "client.x.message.1"})


@contextlib.asynccontextmanager
async def subscribed(bus: FakeBusClient) -> AsyncIterator[Subscription]:
    """Subscribe at a bridge whose process is 1."""
    bus.health(1)
    bus.answers = [good()]
    async with PubSubClient(bus, "events").subscribe("t") as messages:  # type: ignore[arg-type]
        bus.health(1)
        bus.answers = []
        bus.pending.clear()
        bus.commands.clear()
        await bus.clock.advance(1.0)
        try:
            yield messages
        finally:
            bus.pending.clear()
            bus.answers = [good("subscription-7"), {"ok": True, "result": {}, "attempts": 1}]


async def test_from_beginning_to_end():
    """A subscription has an event type of its own, and unsubscribes by the name that is valid at the end."""
    bus = FakeBusClient()
    async with subscribed(bus):
        assert bus.commands == []
    assert bus.commands == [SUBSCRIBE, ("unsubscribe", {"subscription": "subscription-7"})]
    assert bus.clock.timers == 0


async def test_another_process():
    """Another process or another bridge makes it subscribe again, once for each."""
    bus = FakeBusClient()
    async with subscribed(bus):
        for _ in range(3):
            bus.health(2)
        assert bus.commands == [SUBSCRIBE]
        bus.answer(good())
        await bus.clock.advance(1.0)
        bus.health(2)
        assert bus.commands == [SUBSCRIBE]
        bus.arrive("health.bridge", {"status": "ready", "pid": 2, "integrations": {"events": "connected"}}, "bridge/b")
        assert bus.commands == [SUBSCRIBE, SUBSCRIBE]


@pytest.mark.parametrize(
    "payload",
    [
        {"status": "ready", "pid": 9, "integrations": {"others": "connected"}},
        {"status": "stopped", "pid": 9, "integrations": {"events": "stopped"}},
        {"status": "ready", "pid": 9},
        "nonsense",
    ],
)
async def test_what_concerns_others(payload):
    """Bridges without this integration, stopping ones and invalid payloads change nothing."""
    bus = FakeBusClient()
    async with subscribed(bus):
        bus.arrive("health.bridge", payload)
        assert bus.commands == []


async def test_the_integration_comes_back():
    """After a reload the integration's subscriptions are gone; it subscribes again when that is connected."""
    bus = FakeBusClient()
    async with subscribed(bus):
        bus.health(1, "connecting")
        assert bus.commands == []
        bus.health(1, "connected")
        assert bus.commands == [SUBSCRIBE]


async def test_silence():
    """Without a heartbeat it subscribes again, and again after the next silence; with one it does not."""
    bus = FakeBusClient()
    async with subscribed(bus):
        for _ in range(10):
            await bus.clock.advance(13.0)
            bus.health(1)
        assert bus.commands == []
        await bus.clock.advance(15.1)
        assert bus.commands == [SUBSCRIBE]
        await bus.clock.advance(15.1)
        assert bus.commands == [SUBSCRIBE, SUBSCRIBE]


async def test_refused_at_first():
    """If a restarted bridge is not connected to the remote yet, it tries again after a second."""
    bus = FakeBusClient()
    async with subscribed(bus):
        bus.health(2, "connecting")
        bus.answer(bad("not_connected", retryable=True))
        await bus.clock.advance(0.9)
        assert bus.commands == [SUBSCRIBE]
        await bus.clock.advance(0.2)
        assert bus.commands == [SUBSCRIBE, SUBSCRIBE]


async def test_an_error_that_will_not_pass():
    """A permanent error is raised for the caller, and nothing is left of the subscription."""
    bus = FakeBusClient()
    bus.answers = [bad("invalid", retryable=False)]
    with pytest.raises(CallFailedError, match="invalid"):
        async with PubSubClient(bus, "events").subscribe("t"):  # type: ignore[arg-type]
            pass
    assert bus.commands == [SUBSCRIBE]
    assert bus.clock.timers == 0


async def test_messages():
    """Messages have what the bridge sent; other events and the program's own are skipped."""
    bus = FakeBusClient()
    async with subscribed(bus) as messages:
        bus.arrive("client.x.message.1", 7)
        bus.arrive("client.x.message.1", {"topic": "t", "message": 0}, source="me")
        bus.arrive("client.x.message.2", {"topic": "t", "message": 0})
        whole = {"topic": "t/1", "message": {"a": [1]}, "headers": {"hop": "1"}, "message_id": "m", "attempts": 2}
        bus.arrive("client.x.message.1", whole)
        bus.arrive("client.x.message.1", {"topic": "t/2", "message": None, "headers": {}})
        first, second = await messages.get(), await messages.get()
        assert msgspec.structs.asdict(first) == whole | {"missed": 0}
        assert (second.topic, second.message, second.message_id, second.attempts) == ("t/2", None, None, None)


async def test_the_client_is_closed():
    """When the client is closed, waiting messages can be read, then the iteration ends."""
    bus = FakeBusClient()
    async with subscribed(bus) as messages:
        bus.arrive("client.x.message.1", {"topic": "t", "message": 1, "headers": {}})
        bus.leave()
        assert [one.message async for one in messages] == [1]
        with pytest.raises(ClosedError):
            await messages.get()
