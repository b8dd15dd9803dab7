"""Time as a source: `type = "timer"`, intervals and cron schedules.

A subscription to a schedule's name brings `{"scheduled_at": <Unix ms>, "missed": <n>}` at each tick. Schedules live as
long as the session: intervals count from its beginning, and what was due while the bridge was not running is not made
up for.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field, model_validator

from bridge.adapters._common.background import Background
from bridge.adapters.timer.ticks import CronTicks, IntervalTicks, Tick, Ticks
from bridge.core.endpoint import Strict
from bridge.core.errors import InvalidError, NotConnectedError
from bridge.core.model import Inbound
from bridge.core.ports import (
    NO_OPTIONS,
    AdapterBase,
    AdapterSetup,
    AdapterSpec,
    Deliver,
    Subscription,
    SubscriptionOptions,
)
from bridge.core.units import Duration, PositiveDuration

PROTOCOL: Final = "timer"
#: The topic that stands for every schedule.
ALL: Final = "*"
#: The name of the schedule that stands in `config` itself.
DEFAULT: Final = "default"


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f'there is no time zone {name!r}; write "Europe/Berlin" or "UTC"') from None
    return name


def _cron(expression: str) -> str:
    try:
        next(CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC)))  # any day serves
    except CronSimError as error:
        hint = 'write "minute hour day month weekday", as in "0 9 * * MON"'
        raise ValueError(f"{expression!r} is no cron expression ({error}); {hint}") from None
    except StopIteration:
        raise ValueError(f"{expression!r} never comes about") from None
    return expression


class _Times(Strict):
    every: Annotated[
        Annotated[PositiveDuration, Field(ge=0.01)] | None,
        Field(description="the time between two ticks, 10 ms or more"),
    ] = None
    cron: Annotated[
        Annotated[str, AfterValidator(_cron)] | None,
        Field(description='"minute hour day month weekday", or with a field for seconds before them'),
    ] = None
    time_zone: Annotated[
        Annotated[str, AfterValidator(_zone)] | None,
        Field(description="the zone of `cron`, by its IANA name; default: UTC"),
    ] = None
    jitter: Annotated[Duration, Field(description="each tick comes up to so much later, at random")] = 0.0
    immediately: Annotated[bool, Field(description="also tick once when the subscription begins")] = False

    def _check_times(self) -> None:
        if (self.every is None) == (self.cron is None):
            raise ValueError("give either `every` or `cron`")
        if self.cron is None and self.time_zone is not None:
            raise ValueError("`time_zone` goes with `cron` only")
        if self.every is not None and self.jitter >= self.every:
            raise ValueError("`jitter` must be shorter than `every`")


class Schedule(_Times):
    """`schedule "name" { … }`: `every` or `cron`."""

    @model_validator(mode="after")
    def _whole(self) -> "Schedule":
        self._check_times()
        return self


class TimerConfig(_Times):
    """`config { … }` of a timer: one schedule with the name `default`, or several in blocks of their own, or both."""

    schedule: Annotated[
        dict[str, Schedule], Field(default_factory=dict, description="more schedules, by name, which is their topic")
    ]

    @model_validator(mode="after")
    def _whole(self) -> "TimerConfig":
        alone = self.model_fields_set & _Times.model_fields.keys()
        if alone or not self.schedule:
            self._check_times()
        if ALL in self.schedule:
            raise ValueError(f"`{ALL}` stands for all schedules, so none can be named that")
        if alone and DEFAULT in self.schedule:
            raise ValueError(f"`{DEFAULT}` is the name of the schedule that stands in no block")
        return self

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """All of them by name."""
        own = {name: getattr(self, name) for name in _Times.model_fields}
        alone = {DEFAULT: Schedule(**own)} if self.every is not None or self.cron is not None else {}
        return {**alone, **self.schedule}


class TimerAdapter(AdapterBase):
    """One integration's schedules; see `ports.ProtocolAdapter`."""

    protocol = PROTOCOL

    def __init__(self, setup: AdapterSetup) -> None:
        """Raises ValueError where there is no schedule."""
        if not isinstance(setup.config, TimerConfig):
            raise ValueError("`timer` needs a `config` block with `every`, `cron` or `schedule` blocks")  # noqa: TRY004  # the port's error
        self._schedules = setup.config.schedules
        self._clock = setup.clock
        self._rng = setup.random
        self._background = Background(setup.on_lost)
        self._start = 0.0

    async def connect(self) -> None:
        """Intervals count from here."""
        self._start = self._clock.monotonic()
        await self._background.open()

    async def disconnect(self) -> None:
        """No tick comes after this."""
        await self._background.close()

    async def check(self) -> None:
        """Nothing that could be dead."""
        if not self._background.is_open:
            raise NotConnectedError("there is no session")

    async def subscribe(
        self,
        topic: str,
        deliver: Deliver,
        options: SubscriptionOptions = NO_OPTIONS,  # noqa: ARG002
    ) -> Subscription:
        """`topic` is a schedule's name, or `*` for all of them.

        Raises:
            InvalidError: There is no such schedule.
        """
        await self.check()
        if topic != ALL and topic not in self._schedules:
            raise InvalidError(f"there is no schedule {topic!r}; there are {', '.join(sorted(self._schedules))}")
        names = list(self._schedules) if topic == ALL else [topic]
        return Subscription(topic, [self._background.start(self._run(name, deliver)) for name in names])

    async def unsubscribe(self, subscription: Subscription) -> None:
        """No tick comes after this."""
        for task in subscription.handle or ():
            task.cancel()

    def _ticks(self, schedule: Schedule) -> Ticks:
        if schedule.every is not None:
            return IntervalTicks(schedule.every, self._start, self._clock)
        return CronTicks(schedule.cron or "", ZoneInfo(schedule.time_zone or "UTC"), self._clock)

    async def _run(self, name: str, deliver: Deliver) -> None:
        schedule = self._schedules[name]
        ticks = self._ticks(schedule)
        if schedule.immediately:
            await deliver(_message(name, Tick(self._clock.wall_ms(), 0)))
        while True:
            tick = await ticks.next()
            if schedule.jitter:
                await self._clock.sleep(self._rng.uniform(0.0, schedule.jitter))
            await deliver(_message(name, tick))


def _message(name: str, tick: Tick) -> Inbound:
    return Inbound(topic=name, message={"scheduled_at": tick.scheduled_at, "missed": tick.missed})


SPEC: Final = AdapterSpec(
    protocol=PROTOCOL,
    summary="ticks at intervals and at the times of cron expressions",
    operations=frozenset({"subscribe", "unsubscribe"}),
    auth=frozenset({"none"}),
    config=TimerConfig,
    schemes={},
    create=TimerAdapter,
    needs_endpoint=False,
)
