"""All integrations: what a new configuration adds, changes, removes and leaves unchanged."""

import asyncio
import dataclasses
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec
import pytest

from bridge.connection import ConnectionManager, SubscriptionSpec
from bridge.core.endpoint import NO_AUTH, Strict, Tls
from bridge.core.errors import AuthError, BridgeError, ConfigError, ConnectionLostError, UnavailableError
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
from bridge.core.settings import (
    CircuitBreakerSettings,
    HealthSettings,
    LimitSettings,
    ResilienceSettings,
    RetrySettings,
)
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

    def forget_last(self, owner: object) -> None:
        pass

    def look_again(self) -> None:
        pass

    def offer(self, event_type: str, payload: Any, *, headers: Any) -> bool:
        raise AssertionError(event_type)

    def when_confirmed(self, then: Callable[[], None]) -> None:
        raise AssertionError(then)

    async def room(self) -> None:
        raise AssertionError

    publish_or_report = publish


class Adapter(AdapterBase):
    """Answers every method; `hang` when it is released, or with an error when it is disconnected.

    Attributes:
        refuses: What connecting raises.
        topics: What it is subscribed to.
        keeps: Topics that it does not unsubscribe from.
    """

    refuses: BridgeError | None = None
    keeps: frozenset[str] = frozenset()

    def __init__(self, setup: AdapterSetup) -> None:
        self.setup = setup
        self.opened = False
        self.closed = False
        self.release = asyncio.Event()
        self.topics: list[str] = []

    async def connect(self) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.opened = True

    async def disconnect(self) -> None:
        self.closed = True
        self.release.set()

    async def request(self, command: Request, context: Context) -> Any:
        if command.method == "hang":
            await self.release.wait()
            if self.closed:
                raise ConnectionLostError("closed")
        return command.method

    async def subscribe(self, topic: str, deliver: Any, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        self.topics.append(topic)
        return Subscription(topic)

    async def unsubscribe(self, subscription: Subscription) -> None:
        if subscription.topic in self.keeps:
            raise UnavailableError("not now")
        self.topics.remove(subscription.topic)


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

    def __init__(self, *, side_by_side: bool = False) -> None:
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
            side_by_side=side_by_side,
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

        connection = self.manager.connections.get(name)
        assert connection is not None
        connection.submit(operation(command=Request(method=method)), done)

    def sessions(self) -> dict[str, list[bool]]:
        """Return for each integration which of its sessions are closed that were opened."""
        found: dict[str, list[bool]] = {}
        for one in self.made:
            if one.opened:
                found.setdefault(one.setup.integration, []).append(one.closed)
        return found

    def answers(self) -> dict[str, str]:
        """Return for each method the kind of its error, or `ok`."""
        return {method: "ok" if one.error is None else one.error.kind for method, one in self.outcomes}

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self.manager.run())
        await self.clock.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.manager.close()
        await self._running


async def test_the_plan():
    """What is added, changed, removed and unchanged; all of it is connected then."""
    running = RunningManager()
    await running.manager.apply(running.wanted("b", "a", "c"), {})
    async with running:
        wanted = running.wanted("d", "a") | running.wanted("b", tls=Tls(verify=False))
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


@pytest.mark.parametrize(
    "change",
    [
        {"resilience": ResilienceSettings(timeout=1.0, limit=LimitSettings(max_in_flight=1, queue=2, rate=5.0))},
        {"resilience": ResilienceSettings(retry=RetrySettings(max_attempts=9))},
        {"resilience": ResilienceSettings(circuit_breaker=CircuitBreakerSettings(failure_threshold=9))},
        {"health": HealthSettings(interval=1.0, timeout=0.5)},
    ],
)
async def test_a_change_that_needs_no_new_connection_makes_none(change: dict[str, Any]):
    """Limits, retries, breaker and checks change while calls are in flight and wait."""
    running = RunningManager()
    await running.manager.apply(running.wanted("a"), {})
    async with running:
        running.submit("a", "hang")
        await running.clock.settle()
        assert (await running.manager.apply(running.wanted("a", **change), {}))["changed"] == ["a"]
        running.submit("a", "echo")
        await running.clock.settle()
        running.made[0].release.set()
        await running.clock.advance(2.0)
        assert running.answers() == {"hang": "ok", "echo": "ok"}
        assert running.sessions() == {"a": [False]}
        assert running.bus.kept["health.a"]["accounting"]["succeeded"] in (0, 2)
        assert running.manager.connections.get("a").health().accounting.succeeded == 2
        assert (await running.manager.apply(running.wanted("a", **change), {}))["unchanged"] == ["a"]


async def test_the_interval_of_checks_changes_at_once():
    """A check that was due in an hour comes as soon as the new settings say."""
    running = RunningManager()
    await running.manager.apply(running.wanted("a", health=HealthSettings(interval=3600.0)), {})
    async with running:
        checks: list[float] = []

        async def check() -> None:
            checks.append(running.clock.monotonic())

        running.made[0].check = check
        await running.clock.advance(10.0)
        await running.manager.apply(running.wanted("a", health=HealthSettings(interval=5.0)), {})
        await running.clock.advance(11.0)
        assert len(checks) == 3


@pytest.mark.parametrize("side_by_side", [True, False])
async def test_what_is_in_flight_ends_on_the_old_connection(side_by_side: bool):
    """A change of the connection cuts no call; calls that come meanwhile go to the new one, and none fails."""
    running = RunningManager(side_by_side=side_by_side)
    specs = {"a": [SubscriptionSpec("w", "topic")]}
    await running.manager.apply(running.wanted("a"), specs)
    async with running:
        running.submit("a", "hang")
        await running.clock.settle()
        await running.manager.apply(running.wanted("a", tls=Tls(verify=False)), specs)
        running.submit("a", "echo")
        await running.clock.advance(1.0)
        first = running.made[0]
        assert not first.closed
        assert running.answers() == ({"echo": "ok"} if side_by_side else {})
        first.release.set()
        await running.clock.advance(0.1)
        assert running.answers() == {"hang": "ok", "echo": "ok"}
        assert running.sessions() == {"a": [True, False]}
        assert running.made[-1].setup.tls == Tls(verify=False)
        assert running.made[-1].topics == ["topic"]
        assert running.bus.kept["health.a"]["status"] == "connected"


async def test_a_resume_while_the_session_is_replaced():
    """No operation starts on the session that is about to end; a pause that came meanwhile lasts."""
    running = RunningManager()
    await running.manager.apply(running.wanted("a"), {})
    async with running:
        connection = running.manager.connections.get("a")
        assert connection is not None
        for ends_paused in (False, True):
            running.submit("a", "hang")
            await running.clock.settle()
            await running.manager.apply(running.wanted("a", tls=Tls(verify=ends_paused)), {})
            await running.clock.settle()
            if ends_paused:
                connection.pause()
            else:
                connection.resume()
            running.submit("a", f"echo {ends_paused}")
            await running.clock.settle()
            assert f"echo {ends_paused}" not in running.answers()
            next(one for one in reversed(running.made) if one.opened).release.set()
            await running.clock.settle()
            assert running.answers().get(f"echo {ends_paused}") == (None if ends_paused else "ok")


@pytest.mark.parametrize("side_by_side", [True, False])
async def test_what_does_not_end_has_a_time_limit(side_by_side: bool):
    """After `drain_timeout` the old connection is closed, whatever is in flight there."""
    running = RunningManager(side_by_side=side_by_side)
    await running.manager.apply(running.wanted("a", resilience=ResilienceSettings(timeout=60.0)), {})
    async with running:
        running.submit("a", "hang")
        await running.clock.settle()
        changed = running.wanted("a", resilience=ResilienceSettings(timeout=60.0), tls=Tls(verify=False))
        await running.manager.apply(changed, {})
        await running.clock.advance(9.9)
        assert running.sessions()["a"][0] is False
        await running.clock.advance(0.2)
        assert running.sessions() == {"a": [True, False]}
        assert running.answers() == {"hang": "connection_lost"}


async def test_settings_that_do_not_connect():
    """The old connection ends when its calls have, and health says what is wrong with the new settings."""
    running = RunningManager(side_by_side=True)
    await running.manager.apply(running.wanted("a"), {})
    async with running:
        running.submit("a", "hang")
        await running.clock.settle()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Adapter, "refuses", AuthError("wrong password", permanent=True))
            await running.manager.apply(running.wanted("a", tls=Tls(verify=False)), {})
            await running.clock.advance(1.0)
            assert running.bus.kept["health.a"]["status"] == "failed"
            assert running.bus.kept["health.a"]["error"]["message"] == "wrong password"
            running.made[0].release.set()
            await running.clock.advance(0.1)
            assert running.answers() == {"hang": "ok"}
            assert running.made[0].closed
        # Other settings again: nobody waits for the minute that a wrong password has.
        await running.manager.apply(running.wanted("a"), {})
        await running.clock.advance(0.1)
        assert running.bus.kept["health.a"]["status"] == "connected"


async def test_a_file_that_has_changed_renews_the_session():
    """Settings that are the same with other files are a change, and make a new connection once."""
    running = RunningManager(side_by_side=True)
    before, after = {"a": (("ca.pem", (1, 2)),)}, {"a": (("ca.pem", (1, 3)),)}
    await running.manager.apply(running.wanted("a", "b"), {}, before)
    async with running:
        assert (await running.manager.apply(running.wanted("a", "b"), {}, before))["unchanged"] == ["a", "b"]
        assert (await running.manager.apply(running.wanted("a", "b"), {}, after))["changed"] == ["a"]
        await running.clock.settle()
        assert running.sessions() == {"a": [True, False], "b": [False]}
        assert (await running.manager.apply(running.wanted("a", "b"), {}, after))["changed"] == []


async def test_subscriptions_change_without_a_new_connection():
    """What stays goes on, what is gone is ended, what is new is made; one with another event type is not touched."""
    running = RunningManager()
    specs = [SubscriptionSpec("stays", "s"), SubscriptionSpec("goes", "g"), SubscriptionSpec("emits", "e")]
    await running.manager.apply(running.wanted("a"), {"a": specs})
    async with running:
        other = SubscriptionSpec("emits", "e", emit="b.c", text="b.c")
        await running.manager.apply(
            running.wanted("a"),
            {"a": [specs[0], other, SubscriptionSpec("new", "n"), SubscriptionSpec("more", "s", text="x")]},
        )
        await running.clock.settle()
        assert sorted(running.made[0].topics) == ["e", "n", "s"]
        assert running.sessions() == {"a": [False]}
        listed = running.manager.connections.get("a").subscriptions.listed()
        assert [(one.subscription, one.emit) for one in listed] == [
            ("stays", None),
            ("emits", "b.c"),
            ("new", None),
            ("more", "x"),
        ]


async def test_a_subscription_that_cannot_be_ended():
    """The session is replaced, since its messages would be taken for nobody."""
    running = RunningManager()
    specs = {"a": [SubscriptionSpec("goes", "g"), SubscriptionSpec("stays", "s")]}
    await running.manager.apply(running.wanted("a"), specs)
    async with running:
        running.made[0].keeps = frozenset({"g"})
        await running.manager.apply(running.wanted("a"), {"a": specs["a"][1:]})
        await running.clock.advance(1.0)
        assert running.sessions() == {"a": [True, False]}
        assert running.made[-1].topics == ["s"]


async def test_another_protocol_under_the_same_name():
    """The new connection is there at once, and the old one ends what is in flight in silence."""
    running = RunningManager()
    await running.manager.apply(running.wanted("a"), {})
    async with running:
        running.submit("a", "hang")
        await running.clock.settle()
        one = running.wanted("a")["a"]
        other = {"a": dataclasses.replace(one, spec=msgspec.structs.replace(one.spec, summary="another"))}
        applying = asyncio.create_task(running.manager.apply(other, {}))
        await running.clock.settle()
        running.submit("a", "echo")
        await running.clock.settle()
        running.made[0].release.set()
        await running.clock.settle()
        assert (await applying)["changed"] == ["a"]
        assert running.answers() == {"hang": "ok", "echo": "ok"}
        assert running.sessions() == {"a": [True, False]}
        assert running.bus.kept["health.a"]["status"] == "connected"
        assert running.bus.gone == []


async def test_every_part_of_the_settings_counts():
    """Any difference in settings or subscriptions makes a new connection."""
    running = RunningManager()
    await running.manager.apply(running.wanted("a"), {})
    async with running:
        one = running.wanted("a")["a"]
        for changed in (
            dataclasses.replace(one, tls=Tls(verify=False)),
            dataclasses.replace(one, config=Strict()),
            dataclasses.replace(one, health=HealthSettings(interval=1.0)),
            dataclasses.replace(one, spec=msgspec.structs.replace(one.spec, summary="another")),
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
        assert tuple(map(str, caught.value.diagnostics)) == (
            'integration "impossible": that cannot work',
            'integration "impossible2": that cannot work',
        )
        assert running.sessions() == {"a": [False], "b": [False]}
        running.submit("a", "echo")
        await running.clock.settle()
        assert [(method, outcome.ok) for method, outcome in running.outcomes] == [("echo", True)]


async def test_calls_of_what_goes_are_answered():
    """What waits gets `stopping`; what is in flight ends, or fails when its time is over."""
    running = RunningManager()
    one_at_a_time = ResilienceSettings(timeout=60.0, limit=LimitSettings(max_in_flight=1))
    await running.manager.apply(running.wanted("a", "b", resilience=one_at_a_time), {})
    async with running:
        for name in ("a", "b"):
            running.submit(name, "hang")
            await running.clock.settle()
        running.submit("a", "waits")
        await running.clock.settle()
        applying = asyncio.create_task(running.manager.apply({}, {}))
        await running.clock.advance(1.0)
        assert running.answers() == {"waits": "stopping"}
        assert running.manager.connections.get("a") is None
        running.made[0].release.set()
        await running.clock.advance(10.0)
        assert (await applying)["removed"] == ["a", "b"]
        ends = [outcome.error and outcome.error.kind for method, outcome in running.outcomes if method == "hang"]
        assert ends == [None, "connection_lost"], "its connection was closed"
        assert running.bus.gone == [("health.a", "stopped"), ("health.b", "stopped")]


async def test_the_end_closes_everything():
    """At the end calls in flight are answered; afterwards no operation starts, and none waits for ever."""
    running = RunningManager()
    await running.manager.apply(running.wanted("a", "b"), {})
    async with running:
        running.submit("a", "hang")
        await running.clock.settle()
    assert running.sessions() == {"a": [True], "b": [True]}
    assert running.answers() == {"hang": "connection_lost"}
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
