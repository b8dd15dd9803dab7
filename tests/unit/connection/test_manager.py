"""All integrations: what a new configuration adds, changes, removes and leaves unchanged."""

import asyncio
import random
from dataclasses import dataclass, field, replace
from typing import Any, Self

import msgspec
import pytest

from bridge.connection import ConnectionManager, SubscriptionSpec
from bridge.core.endpoint import NO_AUTH, Strict, Tls
from bridge.core.errors import ConfigError
from bridge.core.model import Operation, Outcome, Request
from bridge.core.ports import (
    NO_OPTIONS,
    AdapterBase,
    AdapterSetup,
    AdapterSpec,
    Context,
    Subscription,
    SubscriptionOptions,
)
from bridge.core.settings import HealthSettings, LimitSettings, ResilienceSettings
from tests.support.clock import FakeClock
from tests.support.guard.operations import operation


class Bus:
    """Records last values."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.gone: list[tuple[str, str]] = []

    def publish(self, event_type: str, payload: Any, **_: Any) -> None:
        pass

    def keep(self, event_type: str, payload: Any) -> None:
        self.kept[event_type] = msgspec.to_builtins(payload)

    def forget(self, event_type: str) -> None:
        self.gone.append((event_type, self.kept.pop(event_type)["status"]))

    def reject_loop(self, event_type: str) -> None:
        raise AssertionError(event_type)

    def offer(self, event_type: str, payload: Any, *, headers: Any) -> bool:
        raise AssertionError(event_type)

    async def room(self) -> None:
        raise AssertionError

    publish_or_report = publish


class Adapter(AdapterBase):
    """Answers every method but `hang`."""

    def __init__(self, setup: AdapterSetup) -> None:
        self.setup = setup
        self.closed = False

    async def disconnect(self) -> None:
        self.closed = True

    async def request(self, command: Request, context: Context) -> Any:
        if command.method == "hang":
            await asyncio.Event().wait()
        return command.method

    async def subscribe(self, topic: str, deliver: Any, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        return Subscription(topic)


@dataclass(frozen=True)
class Settings:
    """The settings of one integration."""

    id: str
    spec: AdapterSpec
    resilience: ResilienceSettings = field(default_factory=ResilienceSettings)
    endpoint: None = None
    auth: Any = NO_AUTH
    tls: Tls = field(default_factory=Tls)
    config: Any = None
    health: HealthSettings = field(default_factory=HealthSettings)


class RunningManager:
    """A manager that runs, on a fake clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.bus = Bus()
        self.made: list[Adapter] = []
        self.outcomes: list[tuple[str, Outcome]] = []
        self.manager = ConnectionManager(bus=self.bus, clock=self.clock, rng=random.Random(1))
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
        if setup.integration.startswith("impossible"):
            raise ValueError("that cannot work")
        self.made.append(Adapter(setup))
        return self.made[-1]

    def wanted(self, *names: str, **changes: Any) -> dict[str, Settings]:
        """Return the settings of these integrations."""
        return {name: Settings(name, self.spec, **changes) for name in names}

    def submit(self, name: str, method: str) -> None:
        """Call a method of one integration."""

        def done(asked: Operation, outcome: Outcome) -> None:
            assert isinstance(asked.command, Request)
            self.outcomes.append((asked.command.method, outcome))

        connection = self.manager.get(name)
        assert connection is not None
        connection.submit(operation(command=Request(method=method)), done)

    def sessions(self) -> dict[str, list[bool]]:
        """Return for each integration which of its sessions are closed."""
        found: dict[str, list[bool]] = {}
        for one in self.made:
            found.setdefault(one.setup.integration, []).append(one.closed)
        return found

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self.manager.run())
        await self.clock.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.manager.close()
        await self._running


async def test_the_plan():
    """An unchanged integration keeps its session; a changed one gets a new session."""
    running = RunningManager()
    await running.manager.apply(running.wanted("b", "a", "c"), {})
    async with running:
        slow = ResilienceSettings(timeout=1.0)
        wanted = running.wanted("d", "a") | running.wanted("b", resilience=slow)
        plan = await running.manager.apply(wanted, {})
        await running.clock.settle()
        assert plan == {"added": ["d"], "changed": ["b"], "removed": ["c"], "unchanged": ["a"]}
        assert running.sessions() == {"a": [False], "b": [True, False], "c": [True], "d": [False]}
        assert sorted(one.id for one in running.manager) == ["a", "b", "d"]
        assert {one.status.value for one in running.manager} == {"connected"}
        # The last that is said of what is gone is its end, and a late subscriber hears nothing of it.
        assert running.bus.gone == [("health.c", "stopped")]
        assert set(running.bus.kept) == {"health.a", "health.b", "health.d"}
        again = await running.manager.apply(wanted, {})
        assert again == {"added": [], "changed": [], "removed": [], "unchanged": ["a", "b", "d"]}
    assert all(closed for sessions in running.sessions().values() for closed in sessions[-1:])


async def test_every_part_of_the_settings_counts():
    """Any difference in settings or subscriptions makes a new connection."""
    running = RunningManager()
    await running.manager.apply(running.wanted("a"), {})
    async with running:
        one = running.wanted("a")["a"]
        for changed in (
            replace(one, tls=Tls(verify=False)),
            replace(one, config=Strict()),
            replace(one, health=HealthSettings(interval=1.0)),
            replace(one, spec=replace(one.spec, summary="another")),
        ):
            assert (await running.manager.apply({"a": changed}, {}))["changed"] == ["a"]
        specs = {"a": [SubscriptionSpec("w", "topic")]}
        assert (await running.manager.apply({"a": changed}, specs))["changed"] == ["a"]
        assert (await running.manager.apply({"a": changed}, {"a": [SubscriptionSpec("w", "topic")]}))["unchanged"] == [
            "a"
        ]
        assert (await running.manager.apply({"a": changed}, {"a": [SubscriptionSpec("w", "other")]}))["changed"] == [
            "a"
        ]


async def test_what_cannot_be_made_changes_nothing():
    """All errors are reported at once, and running integrations stay unchanged."""
    running = RunningManager()
    await running.manager.apply(running.wanted("a", "b"), {})
    async with running:
        with pytest.raises(ConfigError) as caught:
            await running.manager.apply(running.wanted("impossible", "b", "impossible2"), {})
        assert caught.value.diagnostics == (
            'integration "impossible": that cannot work',
            'integration "impossible2": that cannot work',
        )
        assert running.sessions() == {"a": [False], "b": [False]}
        running.submit("a", "echo")
        await running.clock.settle()
        assert [(method, outcome.ok) for method, outcome in running.outcomes] == [("echo", True)]


async def test_calls_of_what_goes_are_answered():
    """Waiting operations and those in flight get `stopping`, once; the new connection accepts calls at once."""
    running = RunningManager()
    one_at_a_time = ResilienceSettings(limit=LimitSettings(max_in_flight=1))
    await running.manager.apply(running.wanted("a", resilience=one_at_a_time), {})
    async with running:
        running.submit("a", "hang")
        await running.clock.settle()
        running.submit("a", "waits")
        await running.clock.settle()
        await running.manager.apply(running.wanted("a"), {})
        await running.clock.settle()
        kinds = {method: outcome.error.kind for method, outcome in running.outcomes if outcome.error is not None}
        assert kinds == {"hang": "stopping", "waits": "stopping"}
        assert len(running.outcomes) == 2
        running.submit("a", "echo")
        await running.clock.settle()
        assert running.outcomes[-1][1].result == "echo"


async def test_the_end_closes_everything():
    """At the end calls in flight are answered; afterwards no operation starts."""
    running = RunningManager()
    await running.manager.apply(running.wanted("a", "b"), {})
    async with running:
        running.submit("a", "hang")
        await running.clock.settle()
    assert running.sessions() == {"a": [True], "b": [True]}
    assert [outcome.error.kind for _, outcome in running.outcomes if outcome.error] == ["stopping"]
    await running.manager.apply(running.wanted("a", "b", "late"), {})
    await running.clock.settle()
    running.submit("late", "echo")
    assert running.outcomes[-1][1].error is not None
    assert running.outcomes[-1][1].error.kind == "not_connected"


async def test_iterating_while_connections_change():
    """A loop over the connections that awaits something is not disturbed by a reload."""
    running = RunningManager()
    await running.manager.apply(running.wanted("a", "b"), {})
    async with running:
        seen = []
        for connection in running.manager:
            seen.append(connection.id)
            await running.manager.apply(running.wanted("c"), {})
        assert seen == ["a", "b"]
