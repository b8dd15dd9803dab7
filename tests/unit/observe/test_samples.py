"""Samples of sums: rates, the last 15 minutes, durations of the last five, and what happens to integrations that go."""

import asyncio
import random
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from bridge.bus.stats import BusStats
from bridge.core.payloads import Rates, Series
from bridge.observe.samples import EVERY, STEPS, Samples, quantile
from bridge.resilience import Accounting, Stage
from bridge.resilience.measurements import BUCKETS, Measurements
from tests.support.clock import FakeClock


class _Subscriptions:
    def __init__(self) -> None:
        self.of: dict[str, int] = {}
        self.silent: list[str] = []

    @property
    def messages(self) -> int:
        return sum(self.of.values())

    def counts(self) -> Any:
        return self.of.items()

    def unheard(self) -> list[str]:
        return self.silent


@dataclass
class _Connection:
    """What samples read of a connection."""

    id: str = "shop"
    dropped: int = 0
    guard: Any = field(default_factory=lambda: SimpleNamespace(accounting=Accounting(), measured=Measurements()))
    subscriptions: _Subscriptions = field(default_factory=_Subscriptions)

    def do(self, good: int = 0, bad: int = 0, *, seconds: float = 0.0, route: str = "orders") -> None:
        """End operations, with a result or without."""
        for stage, count in ((Stage.SUCCEEDED, good), (Stage.FAILED, bad)):
            for _ in range(count):
                self.guard.accounting.accept(Stage.QUEUED)
                self.guard.accounting.move(Stage.QUEUED, stage)
        if seconds:
            for _ in range(good):
                self.guard.measured._durations_of("request").add(seconds)
        self.guard.measured._sums_of(route).succeeded += good
        self.guard.measured._sums_of(route).failed += bad


@dataclass
class _World:
    """Samples of some connections, on a fake clock; each `pass_time` samples every five seconds."""

    connections: list[_Connection] = field(default_factory=lambda: [_Connection()])
    clock: FakeClock = field(default_factory=FakeClock)
    bus: BusStats = field(default_factory=BusStats)
    outbox: Any = field(default_factory=lambda: SimpleNamespace(problem=None, orphans={}))

    def __post_init__(self) -> None:
        self.samples = Samples(lambda: self.connections, bus=self.bus, outbox=self.outbox, clock=self.clock)  # type: ignore[arg-type, return-value]

    def pass_time(self, seconds: float) -> None:
        """Let time pass, by whole samples."""
        for _ in range(round(seconds / EVERY)):
            self.clock._now += EVERY
            self.samples.take()

    @property
    def rates(self) -> Rates:
        """The rates of the first integration."""
        return self.samples.of("shop")[0]

    @property
    def series(self) -> Series:
        """The series of the first integration, which has one."""
        found = self.samples.of("shop")[1]
        assert found is not None
        return found


@pytest.fixture
def world() -> _World:
    """One connection with which nothing has happened."""
    return _World()


def _durations(*seconds: float) -> list[int]:
    measured = Measurements()
    for one in seconds:
        measured._durations_of("request").add(one)
    return measured.durations["request"].counts if seconds else [0] * (len(BUCKETS) + 1)


@pytest.mark.parametrize(
    ("seconds", "share", "wanted"),
    [
        ((), 0.5, None),
        ((0.0004,), 0.5, 0.25),
        ((0.0004,), 1.0, 0.5),
        ((0.002,) * 10, 0.5, 1.75),
        ((0.002,) * 90 + (0.7,) * 10, 0.9, 2.5),
        ((0.002,) * 90 + (0.7,) * 10, 0.95, 750),
        ((3600.0,), 0.5, 60_000),
        ((0.002, 3600.0), 0.5, 2.5),
    ],
)
def test_quantile(seconds: tuple[float, ...], share: float, wanted: float | None) -> None:
    """A quantile lies within its bucket, in proportion; beyond the last limit it is that limit."""
    assert quantile(_durations(*seconds), share) == pytest.approx(wanted)


def test_nothing_happens(world: _World) -> None:
    """An integration with which nothing happens has rates of zero, no series, and takes no memory."""
    world.pass_time(60)
    assert world.samples.of("shop") == (Rates(0.0, 0.0, 0.0, None, None), None)
    assert world.samples._tracks == {}
    assert world.samples.series_of_all().succeeded == [0] * STEPS


def test_a_rate_is_that_of_the_last_fifteen_seconds(world: _World) -> None:
    """It rises with the first sample, holds while the same goes on, and is gone two steps after the end at most."""
    (shop,) = world.connections
    found = []
    for number in range(12):
        if number < 7:
            shop.do(50, 10)
        world.pass_time(5)
        found.append(world.rates.succeeded)
    assert found[:7] == [10] * 7
    assert found[7:] == [6.67, 3.33, 2.22, 1.11, 0]
    assert world.rates.failed == 0


def test_what_happens_between_two_samples_counts_for_the_step_between_them(world: _World) -> None:
    """What the sample at the end of a step finds belongs to that step, not to the next one."""
    for count in (1, 2, 3, 4):
        world.connections[0].do(count)
        world.pass_time(5)
    assert world.series.succeeded[-2:] == [6, 4]
    began = world.clock.wall_ms() - 5000
    assert (world.series.at, world.series.step_ms) == (began, 15_000)
    world.clock._now += 3
    assert world.series.at == began, "the same until the next sample, so that nothing seems to have changed"


def test_fifteen_minutes_are_remembered(world: _World) -> None:
    """What happened moves to the left, is there for 15 minutes, and then the integration costs no memory any more."""
    shop = world.connections[0]
    shop.do(7, 2, seconds=0.003)
    shop.subscriptions.of = {"news": 4}
    world.pass_time(15)
    world.pass_time(15 * (STEPS - 1))
    assert (world.series.succeeded[0], world.series.failed[0], world.series.messages[0]) == (7, 2, 4)
    assert sum(world.series.succeeded) == 7
    world.pass_time(15)
    assert world.samples.of("shop")[1] is None
    assert world.samples._tracks["shop"].activity is None
    assert sum(world.samples.series_of_all().succeeded) == 0
    shop.do(1)
    world.pass_time(5)
    assert sum(world.series.succeeded) == 1, "only what is new"


def test_durations_are_those_of_the_last_five_minutes(world: _World) -> None:
    """Slow operations are gone from the quantiles five minutes later, and fast ones count at once."""
    shop = world.connections[0]
    shop.do(100, seconds=0.7)
    world.pass_time(30)
    assert world.rates.p50_ms == 750
    shop.do(300, seconds=0.002)
    world.pass_time(120)
    assert (world.rates.p50_ms, world.rates.p95_ms) == (2, 900)
    world.pass_time(150)
    assert world.rates.p95_ms == 900
    world.pass_time(15)
    assert world.rates.p95_ms == pytest.approx(2.425)
    assert world.samples.rates_of_all().p95_ms == pytest.approx(2.425)
    world.pass_time(30)
    assert world.rates.p95_ms is None


def test_another_connection_of_the_same_label(world: _World) -> None:
    """Where a reload replaces a connection, its sums begin anew, and the last 15 minutes go on."""
    world.connections[0].do(10, seconds=0.002)
    world.pass_time(15)
    world.connections[:] = [_Connection()]
    world.connections[0].do(4, seconds=0.7)
    world.pass_time(15)
    assert world.series.succeeded[-2:] == [10, 4]
    assert world.samples.route_rate("shop", "orders") == pytest.approx(4 / 15, abs=0.01)
    assert sum(world.samples._all._recent) == 14


def test_an_integration_that_is_removed(world: _World) -> None:
    """It is forgotten; what it did stays in the sums of all."""
    world.connections[0].do(10)
    world.pass_time(15)
    del world.connections[0]
    world.pass_time(5)
    assert world.samples.of("shop") == (Rates(0.0, 0.0, 0.0, None, None), None)
    assert world.samples._tracks == {}
    assert sum(world.samples.series_of_all().succeeded) == 10


def test_routes_and_subscriptions_have_rates(world: _World) -> None:
    """Each has its own; one that was subscribed anew counts from there; one that is gone has none."""
    shop = world.connections[0]
    for _ in range(3):
        shop.do(50, 25, route="orders")
        shop.do(5, route="prices")
        shop.subscriptions.of = {"news": shop.subscriptions.of.get("news", 0) + 100, "rare": 1}
        world.pass_time(5)
    samples = world.samples
    assert (samples.route_rate("shop", "orders"), samples.route_rate("shop", "prices")) == (15, 1)
    assert samples.route_rate("shop", "none") == samples.route_rate("nobody", "orders") == 0
    assert samples.subscription_rate("shop", "news") == 20
    world.pass_time(15)
    assert (samples.route_rate("shop", "orders"), samples.subscription_rate("shop", "news")) == (0, 0)
    shop.subscriptions.of = {"news": 30, "other": 500}
    world.pass_time(5)
    assert samples.subscription_rate("shop", "news") == 2
    assert samples.subscription_rate("shop", "rare") == 0


def test_the_bus_has_rates(world: _World) -> None:
    """Events received and published, in a second."""
    for _ in range(3):
        world.bus.received += 5000
        world.bus.published += 50
        world.pass_time(5)
    assert world.samples.bus_rates() == (1000, 10)


def test_a_long_pause_between_two_samples(world: _World) -> None:
    """After an hour without samples what is older is forgotten, and the rest counts for the last step."""
    shop = world.connections[0]
    shop.do(10, seconds=0.002)
    world.pass_time(5)
    shop.do(3, seconds=0.7)
    world.clock._now += 3600
    world.samples.take()
    assert sum(world.series.succeeded) == 3
    assert world.rates.p50_ms == 750
    world.pass_time(15)
    assert world.series.succeeded[-2:] == [3, 0]


@pytest.mark.parametrize("seed", range(5))
def test_sums_of_random_histories(seed: int) -> None:
    """Whatever happens when, a series has exactly what happened in its steps, and all together the sum of these."""
    rng = random.Random(seed)
    world = _World(connections=[_Connection("shop"), _Connection("depot")])
    done: dict[str, list[tuple[int, int]]] = {"shop": [], "depot": []}
    for sample in range(400):
        for one in world.connections:
            if rng.random() < 0.3:
                count = rng.randint(1, 300)
                one.do(count, seconds=rng.choice([0.001, 0.03, 90.0]))
                done[one.id].append((sample * 5 // 15, count))
        world.pass_time(5)
        if rng.random() < 0.1:
            step = sample * 5 // 15
            total = [0] * STEPS
            for label, history in done.items():
                series = world.samples.of(label)[1]
                wanted = [sum(n for at, n in history if at == step - STEPS + 1 + place) for place in range(STEPS)]
                assert (series.succeeded if series else [0] * STEPS) == wanted
                total = [a + b for a, b in zip(total, wanted, strict=True)]
            assert world.samples.series_of_all().succeeded == total


async def test_samples_are_taken_every_five_seconds(world: _World) -> None:
    """`run` samples at the same times of each step, also where it is late once."""
    at: list[float] = []
    take = world.samples.take
    world.samples.take = lambda: (at.append(world.clock.monotonic() - 1000), take())[1]  # type: ignore[method-assign]
    running = asyncio.ensure_future(world.samples.run())
    await world.clock.advance(12)
    world.clock._now += 5
    await world.clock.advance(4)
    running.cancel()
    assert at == [5, 10, 17, 20]
