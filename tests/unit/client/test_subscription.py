"""When a subscription is said again; the bus is played by hand, on a fake clock."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec
import pytest

from bridge.client import CallFailedError, ClosedError, PubSubClient, Subscription
from bridge.client.asking import Asking
from bridge.core.model import Event
from tests.support.clock import FakeClock


class ByHand:
    """`BusClient`, as far as subscriptions need it.

    Attributes:
        commands: What was asked: the operation, and its payload.
        answers: What the bridge says to the next ones; when there is nothing, it says nothing.
    """

    source = "me"

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.commands: list[tuple[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self.asking: dict[str, Asking] = {}
        self._watchers: list[Callable[[Event], None]] = []

    def own_type(self, what: str) -> str:
        return f"client.x.{what}.1"

    async def hear(self, prefix: str) -> None:
        pass

    @contextlib.contextmanager
    def watch(self, watcher: Callable[[Event], None], left: Callable[[], None]) -> Iterator[None]:
        self._watchers.append(watcher)
        self.leave = left
        yield
        self._watchers.remove(watcher)

    def _say(self, correlation_id: str, event_type: str, payload: Any) -> None:
        self.commands.append((event_type.removeprefix("integration.events."), payload))

    async def ask(self, event_type: str, payload: Any, *, key: str | None = None, **_: Any) -> Event:
        try:
            return await self.begin("ask", event_type, payload, key=key).answer
        finally:
            self.end("ask")

    def begin(self, correlation_id: str, event_type: str, payload: Any, *, key: str | None) -> Asking:
        assert key
        asking = Asking(lambda: self._say(correlation_id, event_type, payload), self.clock, again=False)
        self.asking[correlation_id] = asking
        if self.answers:
            self.answer(self.answers.pop(0))
        return asking

    def end(self, correlation_id: str) -> None:
        asking = self.asking.pop(correlation_id, None)
        if asking is not None:
            asking.end()

    def answer(self, payload: dict[str, Any]) -> None:
        (asking,) = self.asking.values()
        asking.answered(event("response", payload))

    def arrive(self, event_type: str, payload: Any, source: str = "bridge") -> None:
        for watcher in self._watchers:
            watcher(event(event_type, payload, source))

    def health(self, pid: int, status: str = "connected", **more: Any) -> None:
        self.arrive("health.bridge", {"status": "ready", "pid": pid, "integrations": {"events": status}} | more)


def event(event_type: str, payload: Any, source: str = "bridge") -> Event:
    """An event with this payload."""
    raw = msgspec.Raw(msgspec.msgpack.encode(payload))
    return Event(id=1, event_type=event_type, raw=raw, timestamp=0, source=source, correlation_id=None)


def good(name: str = "subscription-1") -> dict[str, Any]:
    """The bridge has subscribed."""
    return {"ok": True, "result": {"subscription": name}, "attempts": 1}


def bad(kind: str, *, retryable: bool) -> dict[str, Any]:
    """The bridge has not."""
    return {"ok": False, "error": {"kind": kind, "message": "no", "retryable": retryable}, "attempts": 1}


WISH = ("subscribe", {"topic": "t", "emit": "client.x.message.1"})


@contextlib.asynccontextmanager
async def subscribed(bus: ByHand) -> AsyncIterator[Subscription]:
    """Inside a subscription whose bridge is process 1."""
    bus.health(1)
    bus.answers = [good()]
    async with PubSubClient(bus, "events").subscribe("t") as messages:  # type: ignore[arg-type]
        bus.health(1)
        bus.answers = []
        bus.asking.clear()
        bus.commands.clear()
        await bus.clock.advance(1.0)
        try:
            yield messages
        finally:
            bus.asking.clear()
            bus.answers = [good("subscription-7"), {"ok": True, "result": {}, "attempts": 1}]


async def test_from_beginning_to_end():
    """It subscribes by a type of its own, and unsubscribes by the name that is valid at the end."""
    bus = ByHand()
    async with subscribed(bus):
        assert bus.commands == []
    assert bus.commands == [WISH, ("unsubscribe", {"subscription": "subscription-7"})]
    assert bus.clock.timers == 0


async def test_another_process_speaks_for_the_integration():
    """A new process of the bridge, or another bridge: said again, once for each."""
    bus = ByHand()
    async with subscribed(bus):
        for _ in range(3):
            bus.health(2)
        assert bus.commands == [WISH]
        bus.answer(good())
        await bus.clock.advance(1.0)
        bus.health(2)
        assert bus.commands == [WISH]
        bus.arrive("health.bridge", {"status": "ready", "pid": 2, "integrations": {"events": "connected"}}, "bridge/b")
        assert bus.commands == [WISH, WISH]


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
    """Bridges without this integration, those that stop, and nonsense change nothing."""
    bus = ByHand()
    async with subscribed(bus):
        bus.arrive("health.bridge", payload)
        assert bus.commands == []


async def test_the_integration_comes_back():
    """A reload makes an integration anew, and its subscriptions are gone: said again when it is connected."""
    bus = ByHand()
    async with subscribed(bus):
        bus.health(1, "connecting")
        assert bus.commands == []
        bus.health(1, "connected")
        assert bus.commands == [WISH]


async def test_silence():
    """Without a heartbeat it is said again, and again after the next silence; with one it is not."""
    bus = ByHand()
    async with subscribed(bus):
        for _ in range(10):
            await bus.clock.advance(13.0)
            bus.health(1)
        assert bus.commands == []
        await bus.clock.advance(15.1)
        assert bus.commands == [WISH]
        await bus.clock.advance(15.1)
        assert bus.commands == [WISH, WISH]


async def test_refused_at_first():
    """A restarted bridge whose integration is not connected yet is asked again after a second."""
    bus = ByHand()
    async with subscribed(bus):
        bus.health(2, "connecting")
        bus.answer(bad("not_connected", retryable=True))
        await bus.clock.advance(0.9)
        assert bus.commands == [WISH]
        await bus.clock.advance(0.2)
        assert bus.commands == [WISH, WISH]


async def test_an_error_that_will_not_pass():
    """It is the caller's, and nothing is left of the subscription."""
    bus = ByHand()
    bus.answers = [bad("invalid", retryable=False)]
    with pytest.raises(CallFailedError, match="invalid"):
        async with PubSubClient(bus, "events").subscribe("t"):  # type: ignore[arg-type]
            pass
    assert bus.commands == [WISH]
    assert bus.clock.timers == 0


async def test_messages():
    """They have what the bridge says; what fits no message, or comes from this program itself, is passed over."""
    bus = ByHand()
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


async def test_the_client_is_left():
    """What waits is still read, and then the iteration ends."""
    bus = ByHand()
    async with subscribed(bus) as messages:
        bus.arrive("client.x.message.1", {"topic": "t", "message": 1, "headers": {}})
        bus.leave()
        assert [one.message async for one in messages] == [1]
        with pytest.raises(ClosedError):
            await messages.get()
