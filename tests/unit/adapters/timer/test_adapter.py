"""Timers on a fake clock: no drift, missed ticks, daylight saving time, jitter, and clocks that are set."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from bridge.adapters.timer.adapter import SPEC, TimerAdapter
from bridge.adapters.timer.config import TimerConfig
from bridge.config import load
from bridge.core.errors import BridgeError, ConfigError, InvalidError, NotConnectedError
from bridge.core.model import Inbound
from bridge.core.ports import SubscriptionOptions
from bridge.registry import AdapterRegistry
from tests.support.adapters.setup import adapter_setup
from tests.support.clock import FakeClock

BERLIN = ZoneInfo("Europe/Berlin")
START = 1_700_000_000_000  # 2023-11-14 22:13:20 UTC


class Ticking:
    """A connected timer, and the ticks that it has delivered: (topic, scheduled_at, missed)."""

    def __init__(self, clock: FakeClock, config: TimerConfig, seed: int = 0) -> None:
        self.clock = clock
        self.lost: list[BridgeError] = []
        setup = adapter_setup("timer", None, config=config, on_lost=self.lost.append, clock=clock, seed=seed)
        self.adapter = TimerAdapter(setup)
        self.said: list[tuple[str, int, int]] = []
        self.when: list[float] = []

    async def deliver(self, message: Inbound) -> None:
        self.said.append((message.topic, message.message["scheduled_at"], message.message["missed"]))
        self.when.append(self.clock.monotonic())

    @property
    def times(self) -> list[int]:
        """Return when it ticked, in ms since the start."""
        return [at - START for _, at, _ in self.said]


@asynccontextmanager
async def ticking(topic: str = "default", *, clock: FakeClock | None = None, **config: Any) -> AsyncIterator[Ticking]:
    """Connect a timer with one subscription."""
    timer = Ticking(clock or FakeClock(), TimerConfig(**config))
    await timer.adapter.connect()
    await timer.adapter.subscribe(topic, timer.deliver)
    await timer.clock.settle()
    yield timer
    await timer.adapter.disconnect()
    assert timer.clock.timers == 0
    assert not timer.lost


def at(text: str, fold: int = 0) -> int:
    """Return Berlin's local time as Unix ms."""
    return round(datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp() * 1000)


def clock_at(text: str, fold: int = 0) -> FakeClock:
    """Make a clock that shows Berlin's local time."""
    return FakeClock(wall_ms=at(text, fold))


def local(timer: Ticking) -> list[str]:
    """Return when it ticked, in Berlin's local time."""
    return [datetime.fromtimestamp(when / 1000, BERLIN).isoformat(" ", "minutes") for _, when, _ in timer.said]


async def test_an_interval_ticks_on_its_grid() -> None:
    """An interval ticks first after one interval, and then at its multiples."""
    async with ticking(every="1.5s") as timer:
        await timer.clock.advance(4.6)
        assert timer.said == [("default", START + n * 1500, 0) for n in (1, 2, 3)]


async def test_aligned_ticks_come_at_multiples_since_the_epoch() -> None:
    """Two timers that began at different times tick for the same moments, which the messages have as `tick`."""
    clock = FakeClock(wall_ms=START + 123)
    ticks: list[list[int | None]] = [[], []]
    for said in ticks:
        timer = Ticking(clock, TimerConfig(every="1.5s", immediately=True))

        async def deliver(message: Inbound, said: list[int | None] = said) -> None:
            assert message.message["scheduled_at"] == message.tick
            said.append(message.tick)

        await timer.adapter.connect()
        await timer.adapter.subscribe("default", deliver, SubscriptionOptions(aligned=True))
        await clock.advance(0.4)
    await clock.advance(4.2)
    first = -(-START // 1500) * 1500
    assert ticks[0] == ticks[1] == [first, first + 1500, first + 3000]


async def test_aligned_ticks_of_a_fraction_of_a_millisecond_round_alike() -> None:
    """An interval that is no whole number of milliseconds has each tick once, and at one time on all machines."""
    clock = FakeClock(wall_ms=START)
    timer = Ticking(clock, TimerConfig(every=1 / 30))
    await timer.adapter.connect()
    await timer.adapter.subscribe("default", timer.deliver, SubscriptionOptions(aligned=True))
    await clock.advance(10)
    first = START * 1000 // 33_333 + 1
    assert timer.times == [(first + n) * 33_333 // 1000 - START for n in range(len(timer.times))]
    assert len(timer.times) == 300


async def test_aligned_ticks_follow_a_clock_that_is_set() -> None:
    """Set forward: the latest tick, with the number of the missed. Back a little: none twice; by hours: it goes on."""
    clock = FakeClock(wall_ms=START)
    timer = Ticking(clock, TimerConfig(every="10s"))
    await timer.adapter.connect()
    await timer.adapter.subscribe("default", timer.deliver, SubscriptionOptions(aligned=True))
    await clock.advance(10)
    clock.set_wall(65)
    await clock.advance(10)
    assert timer.said[1:] == [("default", START + 80_000, 6)]
    clock.set_wall(-30)
    await clock.advance(30)
    assert len(timer.said) == 2
    await clock.advance(10)
    assert timer.times[2:] == [90_000]
    clock.set_wall(-4 * 3600)
    await clock.advance(70)
    assert timer.times[3] == 110_000 - 4 * 3_600_000


async def test_aligned_ticks_are_of_one_schedule() -> None:
    """All schedules at once cannot be told apart by the time of their ticks."""
    schedules = {"a": {"every": 1}, "b": {"every": 2}}
    timer = Ticking(FakeClock(), TimerConfig(schedule=schedules))
    await timer.adapter.connect()
    with pytest.raises(InvalidError, match="singleton"):
        await timer.adapter.subscribe("*", timer.deliver, SubscriptionOptions(aligned=True))
    await timer.adapter.disconnect()


async def test_an_interval_does_not_drift() -> None:
    """A slow subscriber does not move later ticks."""
    timer = Ticking(FakeClock(), TimerConfig(every=1))

    async def slow(message: Inbound) -> None:
        await timer.deliver(message)
        await timer.clock.sleep(0.4)

    await timer.adapter.connect()
    await timer.adapter.subscribe("default", slow)
    await timer.clock.advance(1000)
    assert timer.times == [n * 1000 for n in range(1, 1001)]
    await timer.adapter.disconnect()


async def test_missed_ticks_are_said() -> None:
    """One late tick stands for all that were due, with the time of the latest and the number of the missed."""
    timer = Ticking(FakeClock(), TimerConfig(every=1))
    naps = itertools.chain([3.5], itertools.repeat(0.0))

    async def slow(message: Inbound) -> None:
        await timer.deliver(message)
        await timer.clock.sleep(next(naps))

    await timer.adapter.connect()
    await timer.adapter.subscribe("default", slow)
    await timer.clock.advance(6)
    assert [(when - START, missed) for _, when, missed in timer.said[:3]] == [(1000, 0), (4000, 2), (5000, 0)]
    await timer.adapter.disconnect()


async def test_immediately_ticks_at_once_too() -> None:
    """`immediately` ticks once at the subscription, and then as without it."""
    async with ticking(every="10s", immediately=True) as timer:
        assert timer.said == [("default", START, 0)]
        await timer.clock.advance(10)
        assert timer.times == [0, 10_000]


@pytest.mark.parametrize(("every", "patience"), [("1h", 10.0), ("2s", 2.0)])
async def test_only_the_immediate_tick_waits_for_a_subscriber(every: str, patience: float) -> None:
    """Its event waits at most 10 s for a subscriber, and never beyond the next tick; later ticks do not wait."""
    patiences: list[float] = []

    async def deliver(message: Inbound) -> None:
        patiences.append(message.patience)

    async with ticking(every=every, immediately=True) as timer:
        await timer.adapter.subscribe("default", deliver)
        await timer.clock.advance(3600)
        assert patiences[0] == patience
        assert set(patiences[1:]) == {0.0}


async def test_jitter_delays_each_tick_and_moves_none() -> None:
    """Jitter is within its bounds and different each time; the scheduled time stays the same."""
    async with ticking(every="10s", jitter="4s") as timer:
        await timer.clock.advance(204)
        assert timer.times == [n * 10_000 for n in range(1, 21)]
        late = [when - 1000 - n * 10 for n, when in enumerate(timer.when, 1)]
        assert all(0 <= delay <= 4 for delay in late)
        assert len(set(late)) == 20


async def test_schedules_by_name() -> None:
    """Each schedule has its topic, `*` delivers all, and `unsubscribe` ends the ticks."""
    schedules = {"fast": {"every": 2}, "slow": {"every": 3}}
    async with ticking("slow", every=5, schedule=schedules) as timer:
        await timer.clock.advance(3)
        assert [(name, when - START) for name, when, _ in timer.said] == [("slow", 3000)]
        timer.said.clear()
        everything = await timer.adapter.subscribe("*", timer.deliver)
        await timer.clock.advance(2)
        assert sorted((name, when - START) for name, when, _ in timer.said) == [("default", 5000), ("fast", 4000)]
        timer.said.clear()
        await timer.adapter.unsubscribe(everything)
        await timer.clock.advance(4)
        assert {name for name, _, _ in timer.said} == {"slow"}
        with pytest.raises(InvalidError, match="no schedule 'x'; there are default, fast, slow"):
            await timer.adapter.subscribe("x", timer.deliver)


async def test_cron_in_utc() -> None:
    """A cron expression ticks at the minute, whatever the seconds at the start."""
    async with ticking(cron="*/15 * * * *") as timer:
        await timer.clock.advance(3600)
        assert [when % 900_000 for _, when, _ in timer.said] == [0] * 4
        assert timer.said[0] == ("default", START + 100_000, 0)
        assert timer.when[0] == 1100


async def test_cron_with_seconds() -> None:
    """A cron expression of six fields begins with the seconds."""
    async with ticking(cron="*/20 * * * * *") as timer:
        await timer.clock.advance(60)
        assert timer.times == [20_000, 40_000, 60_000]


async def test_spring_forward() -> None:
    """02:30 does not exist on that day: it ticks right after the change, once."""
    async with ticking(cron="30 2 * * *", time_zone="Europe/Berlin", clock=clock_at("2024-03-30T12:00")) as timer:
        await timer.clock.advance(2 * 86_400)
        assert local(timer) == ["2024-03-31 03:00+02:00", "2024-04-01 02:30+02:00"]


async def test_fall_back() -> None:
    """02:30 comes twice on that day: it ticks the first time only."""
    async with ticking(cron="30 2 * * *", time_zone="Europe/Berlin", clock=clock_at("2024-10-26T12:00")) as timer:
        await timer.clock.advance(2 * 86_400)
        assert local(timer) == ["2024-10-27 02:30+02:00", "2024-10-28 02:30+01:00"]


async def test_a_start_within_the_second_pass() -> None:
    """A start within the hour that comes twice does not tick for its first pass."""
    clock = clock_at("2024-10-27T02:10", fold=1)
    async with ticking(cron="30 2 * * *", time_zone="Europe/Berlin", clock=clock) as timer:
        await timer.clock.advance(2 * 86_400 + 3600)
        assert local(timer) == ["2024-10-28 02:30+01:00", "2024-10-29 02:30+01:00"]


@pytest.mark.parametrize(("day", "hours"), [("2024-03-31", 23), ("2024-06-01", 24), ("2024-10-27", 25)])
async def test_what_ticks_all_hours_follows_real_time(day: str, hours: int) -> None:
    """A schedule for all half hours ticks every 30 minutes of real time, on a day of a change, too."""
    async with ticking(cron="*/30 * * * *", time_zone="Europe/Berlin", clock=clock_at(f"{day}T00:00")) as timer:
        await timer.clock.advance(hours * 3600)
        whens = [when for _, when, _ in timer.said]
        assert [late - early for early, late in itertools.pairwise(whens)] == [1_800_000] * (2 * hours - 1)
        assert local(timer)[-1][11:16] == "00:00"


async def test_a_clock_set_forward_is_noticed_within_a_minute() -> None:
    """A clock that is set forward gives one tick within a minute, with the number of the missed."""
    async with ticking(cron="0 * * * *") as timer:
        timer.clock._wall_offset += 8 * 3_600_000
        await timer.clock.advance(60)
        (tick,) = timer.said
        assert tick[2] == 7
        assert tick[1] <= timer.clock.wall_ms() < tick[1] + 3_600_000
        await timer.clock.advance(3600)
        assert [missed for _, _, missed in timer.said] == [7, 0]


async def test_a_clock_set_back_a_little_repeats_nothing() -> None:
    """A clock that is set back by an hour repeats no tick."""
    async with ticking(cron="0 * * * *") as timer:
        await timer.clock.advance(3600)
        timer.clock._wall_offset -= 3_600_000
        await timer.clock.advance(7200)
        assert [when for _, when, _ in timer.said] == sorted({when for _, when, _ in timer.said})
        assert len(timer.said) == 2


async def test_a_clock_that_was_far_ahead_is_believed_again() -> None:
    """A clock that is set back by a year does not stop the ticks for a year."""
    async with ticking(cron="0 * * * *") as timer:
        await timer.clock.advance(3600)
        timer.clock._wall_offset -= 365 * 86_400_000
        await timer.clock.advance(7200)
        assert len(timer.said) == 3


async def test_counting_missed_ticks_has_an_end() -> None:
    """A year of missed seconds counts as 10,000, and the next tick is on time."""
    async with ticking(cron="* * * * * *") as timer:
        timer.clock._wall_offset += 365 * 86_400_000
        await timer.clock.advance(1)
        await timer.clock.advance(1)
        assert [missed for _, _, missed in timer.said] == [10_000, 0]
        assert timer.said[1][1] == timer.clock.wall_ms()


async def test_a_bug_of_a_subscriber_ends_the_session_loudly() -> None:
    """An exception of a subscriber is a loss of the session, and closing raises it."""
    timer = Ticking(FakeClock(), TimerConfig(every=1))

    async def broken(message: Inbound) -> None:
        raise ZeroDivisionError

    await timer.adapter.connect()
    await timer.adapter.subscribe("default", broken)
    await timer.clock.advance(1)
    assert [error.kind for error in timer.lost] == ["connection_lost"]
    with pytest.raises(NotConnectedError):
        await timer.adapter.check()
    with pytest.raises(ExceptionGroup) as caught:
        await timer.adapter.disconnect()
    assert caught.group_contains(ZeroDivisionError)
    await timer.adapter.disconnect()


async def test_closing_leaves_no_task() -> None:
    """Closing leaves no task, not even one that is delivering."""
    before = asyncio.all_tasks()
    timer = Ticking(FakeClock(), TimerConfig(every=1))

    async def stuck(message: Inbound) -> None:
        await asyncio.Event().wait()

    await timer.adapter.connect()
    await timer.adapter.subscribe("*", stuck)
    await timer.clock.advance(1)
    await timer.adapter.disconnect()
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({}, "give either `every` or `cron`"),
        ({"every": 1, "cron": "* * * * *"}, "give either `every` or `cron`"),
        ({"every": 1, "time_zone": "UTC"}, "`time_zone` goes with `cron` only"),
        ({"every": 1, "jitter": 1}, "`jitter` must be shorter than `every`"),
        ({"every": "1ms"}, "greater than or equal to 0.01"),
        ({"cron": "every day"}, "not a cron expression"),
        ({"cron": "61 * * * *"}, "Bad minute"),
        ({"cron": "0 0 30 2 *"}, "Bad day-of-month"),
        ({"cron": "* * * * *", "time_zone": "Europe/Berlim"}, "no time zone 'Europe/Berlim'"),
        ({"cron": "* * * * *", "time_zone": "/etc/localtime"}, "no time zone"),
        ({"cron": "* * * * *", "time_zone": "Europe"}, "no time zone"),
        ({"schedule": {"a": {}}}, "give either `every` or `cron`"),
        ({"schedule": {"*": {"every": 1}}}, "means all schedules"),
        ({"every": 1, "schedule": {"default": {"every": 1}}}, "written outside of a block"),
        ({"immediately": True, "schedule": {"a": {"every": 1}}}, "give either `every` or `cron`"),
    ],
)
def test_what_cannot_work_is_said(config: dict[str, Any], complaint: str) -> None:
    """Settings that cannot work are errors of the configuration."""
    with pytest.raises(ValidationError, match=complaint):
        TimerConfig(**config)


def test_schedule_blocks_in_a_file(tmp_path: Path) -> None:
    """`schedule` blocks are read by label, and an error in one has its line."""
    text = (
        'integration "clock" {\n  type = "timer"\n  config {\n    every = "1m"\n'
        '    schedule "nightly" {\n      cron      = "0 3 * * *"\n      time_zone = "Europe/Berlin"\n    }\n  }\n}\n'
    )
    file = tmp_path / "bridge.hcl"
    file.write_text(text)
    config = load([file], adapters=AdapterRegistry(), environ={}).integrations["clock"].config
    assert isinstance(config, TimerConfig)
    assert config.schedules.keys() == {"default", "nightly"}
    file.write_text(text.replace("0 3", "0 33"))
    with pytest.raises(ConfigError, match=r"bridge.hcl:6: .*cron: .*Bad hour"):
        load([file], adapters=AdapterRegistry(), environ={})


def test_without_a_config_block_there_is_nothing() -> None:
    """A timer without a `config` block is refused."""
    with pytest.raises(ValueError, match="needs a `config` block"):
        SPEC.create(adapter_setup("timer", None))
