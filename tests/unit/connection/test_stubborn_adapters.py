"""An adapter that ignores its cancellation delays neither the end, nor a reload, nor the next try."""

import asyncio
import math
import random
from typing import Any, Self

import msgspec
import pytest
from structlog.testing import capture_logs

from bridge.connection import ConnectionManager, SubscriptionSpec
from bridge.core.cancel import PATIENCE
from bridge.core.endpoint import Strict
from bridge.core.errors import BridgeError
from bridge.core.model import Operation, Outcome, Request, Subscribe
from bridge.core.ports import (
    NO_OPTIONS,
    AdapterBase,
    AdapterSetup,
    AdapterSpec,
    Context,
    Subscription,
    SubscriptionOptions,
)
from tests.support.clock import FakeClock
from tests.support.guard.operations import operation
from tests.support.stubborn import Stubborn
from tests.unit.connection.test_manager import Bus, Settings

#: Seconds: an attempt to connect, the closing of the session and the calls may all have to be cut, one after the other.
_LONGEST_END = 1.0 + 6 * PATIENCE
_TIMES = pytest.mark.parametrize("times", [1, 2, math.inf])


class Adapter(AdapterBase):
    """An adapter whose methods in `stubborn` ignore their first cancellations."""

    def __init__(self, running: "RunningManager", setup: AdapterSetup) -> None:
        self._running = running
        self._setup = setup
        self.closed = False

    async def _go_through(self, method: str) -> None:
        if method in self._running.stubborn:
            work = Stubborn(self._running.times)
            self._running.works.append(work)
            await work()

    async def connect(self) -> None:
        await self._go_through("connect")

    async def check(self) -> None:
        await self._go_through("check")

    async def disconnect(self) -> None:
        self.closed = True
        await self._go_through("disconnect")

    async def request(self, command: Request, context: Context) -> Any:
        await self._go_through("request")
        return command.method

    async def subscribe(self, topic: str, deliver: Any, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        await self._go_through("subscribe")
        return Subscription(topic)


class RunningManager:
    """A manager that runs with one integration."""

    def __init__(self, times: float, *stubborn: str, drain_timeout: float = 10.0) -> None:
        self.times = times
        self.stubborn = set(stubborn)
        self.works: list[Stubborn] = []
        self.adapters: list[Adapter] = []
        self.outcomes: list[Outcome] = []
        self.clock = FakeClock()
        self.bus = Bus()
        self.manager = ConnectionManager(
            bus=self.bus, clock=self.clock, rng=random.Random(1), drain_timeout=drain_timeout
        )
        self.spec = AdapterSpec(
            protocol="fake",
            summary="",
            operations=frozenset({"request", "subscribe"}),
            auth=frozenset(),
            config=Strict,
            schemes={},
            create=self._create,
        )

    def _create(self, setup: AdapterSetup) -> Adapter:
        self.adapters.append(Adapter(self, setup))
        return self.adapters[-1]

    async def __aenter__(self) -> Self:
        """Run it with the integration `api`, which has one subscription."""
        await self.manager.apply({"api": Settings("api", self.spec)}, {"api": [SubscriptionSpec("w", "topic")]})
        self.task = asyncio.create_task(self.manager.run())
        await self.clock.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the manager and everything that was abandoned."""
        self.manager.close()
        self.stubborn.clear()
        for work in self.works:
            work.released.set()
        await self.clock.advance(10.0)
        await self.task

    async def submit(self, command: Any, name: str = "request") -> None:
        """Submit an operation."""

        def done(_: Operation, outcome: Outcome) -> None:
            self.outcomes.append(outcome)

        connection = self.manager.connections.get("api")
        assert connection is not None
        connection.submit(operation(command=command, name=name), done)
        await self.clock.settle()

    @property
    def health(self) -> dict[str, Any]:
        """Return the last `health.api`."""
        found: dict[str, Any] = msgspec.to_builtins(self.bus.kept["health.api"])
        return found

    async def within(self, seconds: float, task: asyncio.Task[Any]) -> None:
        """Check that a task ends within the time limit."""
        await self.clock.advance(seconds + 0.01)
        assert task.done()


@_TIMES
@pytest.mark.parametrize("where", ["connect", "check", "subscribe", "request", "disconnect"])
async def test_the_end_comes_in_bounded_time(where: str, times: float):
    """Whichever method ignores the cancellation, the session is closed and the call is answered."""
    async with RunningManager(times, where) as running:
        await running.submit(Request(method="m"))
        if where == "check":
            await running.clock.advance(30.0)
        assert bool(running.works) == (where != "disconnect")
        running.manager.close()
        await running.within(_LONGEST_END, running.task)
        assert all(adapter.closed for adapter in running.adapters)
        assert len(running.outcomes) == 1


async def test_the_end_comes_in_bounded_time_where_everything_hangs():
    """If everything hangs, each task is abandoned in turn, and the log names it."""
    async with RunningManager(math.inf, "check", "request", "disconnect") as running:
        await running.clock.advance(29.0)
        await running.submit(Request(method="m"))
        await running.clock.advance(1.0)
        with capture_logs() as logs:
            running.manager.close()
            await running.within(_LONGEST_END, running.task)
        assert [(line["integration"], line["what"]) for line in logs if line["event"].startswith("cut")] == [
            ("api", "check"),
            ("api", "disconnect"),
            ("api", "request"),
        ]


@_TIMES
async def test_a_reload_takes_a_stubborn_integration_away(times: float):
    """A reload removes the integration, and operations in flight are answered when their time to end is over."""
    async with RunningManager(times, "request", "disconnect", drain_timeout=3.0) as running:
        await running.submit(Request(method="m"))
        applying = asyncio.create_task(running.manager.apply({}, {}))
        await running.clock.advance(2.9)
        assert not applying.done()
        await running.within(0.1 + _LONGEST_END, applying)
        assert [outcome.error.kind for outcome in running.outcomes if outcome.error is not None] == ["stopping"]
        assert running.manager.connections.get("api") is None


@_TIMES
async def test_a_call_has_its_time_limit(times: float):
    """A call ends as a timeout and frees its slot, even if its task must be abandoned."""
    async with RunningManager(times, "request") as running:
        connection = running.manager.connections.get("api")
        assert connection is not None
        limit = connection.settings.resilience.timeout
        await running.submit(Request(method="m"))
        await running.clock.advance(limit + 2 * PATIENCE + 0.01)
        running.stubborn.clear()
        await running.clock.advance(60.0)
        errors: list[BridgeError | None] = [outcome.error for outcome in running.outcomes]
        assert errors[0] is None or errors[0].kind == "timeout"
        assert len(running.works) == 1
        assert connection.accounting.in_flight == 0


@_TIMES
@pytest.mark.parametrize("where", ["connect", "subscribe", "check", "disconnect"])
async def test_the_next_try_comes(where: str, times: float):
    """A session that hangs is closed, and the next one is tried."""
    async with RunningManager(times, where, *(["check"] if where == "disconnect" else [])) as running:
        await running.clock.advance(60.0)
        running.stubborn.clear()
        await running.clock.advance(20.0)
        assert running.health["status"] == "connected"
        assert all(adapter.closed for adapter in running.adapters[:-1])


@_TIMES
async def test_a_subscription_that_hangs_does_not_hold_up_the_others(times: float):
    """A `subscribe` command whose remote never answers ends in time, and the next one is carried out."""
    async with RunningManager(times) as running:
        running.stubborn.add("subscribe")
        await running.submit(Subscribe(topic="a"), "subscribe")
        connection = running.manager.connections.get("api")
        assert connection is not None
        running.stubborn.clear()
        await running.submit(Subscribe(topic="b"), "subscribe")
        await running.clock.advance(connection.settings.resilience.timeout + 2 * PATIENCE + 0.01)
        topics = [one.topic for one in connection.subscriptions.listed()]
    assert "b" in topics
    assert None in [outcome.error for outcome in running.outcomes]


async def test_a_client_library_that_cancels_its_own_close():
    """The session counts as closed, and the next one is tried."""
    async with RunningManager(1, "check") as running:

        async def cancelled() -> None:
            raise asyncio.CancelledError

        running.adapters[0].disconnect = cancelled  # type: ignore[method-assign]
        await running.clock.advance(60.0)
        running.stubborn.clear()
        await running.clock.advance(20.0)
        assert running.health["status"] == "connected"
        assert len(running.adapters) > 1
