"""Deliver a message at intervals and at the times of cron expressions: `type = "timer"`.

A subscription to a schedule's name gets `{"scheduled_at": <Unix ms>, "missed": <n>}` at each tick. Intervals count from
the beginning of the session, or, for a subscription of which one bridge of several emits (`options.aligned`), since
the beginning of 1970. What was due while the bridge was not running is not delivered later.
"""

from collections.abc import Collection
from typing import Any, Final
from zoneinfo import ZoneInfo

from bridge.adapters._common.background import Background
from bridge.adapters.timer.config import ALL, Schedule, TimerConfig
from bridge.adapters.timer.ticks import AlignedTicks, CronTicks, IntervalTicks, Tick, Ticks
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
    refuse_group,
)

PROTOCOL: Final = "timer"
#: Seconds that the tick of `immediately` waits for the first subscriber to its event.
_PATIENCE: Final = 10.0


class TimerAdapter(AdapterBase):
    """Run the schedules of one integration; see `ports.ProtocolAdapter`."""

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
        """Begin the session; intervals count from now."""
        self._start = self._clock.monotonic()
        await self._background.open()

    async def disconnect(self) -> None:
        """Stop all ticks."""
        await self._background.close()

    async def check(self) -> None:
        """Check that there is a session; there is no remote to ask. Raises NotConnectedError."""
        if not self._background.is_open:
            raise NotConnectedError("there is no session")

    async def subscribe(
        self,
        topic: str,
        deliver: Deliver,
        options: SubscriptionOptions = NO_OPTIONS,
    ) -> Subscription:
        """Deliver the ticks of a schedule, or of all (`*`).

        Raises:
            InvalidError: There is no such schedule; or it is all of them, and they are aligned: ticks of two schedules
                at the same moment could not be told apart.
        """
        await self.check()
        _check_schedule(topic, self._schedules)
        if options.aligned and topic == ALL and len(self._schedules) > 1:
            raise InvalidError(
                f"topic: `singleton` needs one schedule; write a subscription for each of {', '.join(self._schedules)}"
            )
        names = list(self._schedules) if topic == ALL else [topic]
        work = [self._run(name, deliver, aligned=options.aligned) for name in names]
        return Subscription(topic, [self._background.start(one) for one in work])

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Stop the ticks of this subscription."""
        for task in subscription.handle or ():
            task.cancel()

    def _ticks(self, schedule: Schedule, *, aligned: bool) -> Ticks:
        if schedule.every is not None:
            if aligned:
                return AlignedTicks(schedule.every, self._clock)
            return IntervalTicks(schedule.every, self._start, self._clock)
        return CronTicks(schedule.cron or "", ZoneInfo(schedule.time_zone or "UTC"), self._clock)

    async def _run(self, name: str, deliver: Deliver, *, aligned: bool) -> None:
        schedule = self._schedules[name]
        ticks = self._ticks(schedule, aligned=aligned)
        if schedule.immediately and not aligned:  # each bridge begins at another moment, which is no common tick
            # Not beyond the next tick, which would be missed.
            patience = min(_PATIENCE, schedule.every or _PATIENCE)
            await deliver(_message(name, Tick(self._clock.wall_ms(), 0), patience))
        while True:
            tick = await ticks.next()
            if schedule.jitter:
                await self._clock.sleep(self._rng.uniform(0.0, schedule.jitter))
            await deliver(_message(name, tick))


def check_names(operation: str, name: str, group: str | None, config: Any) -> None:  # noqa: ARG001
    """Check that there is a schedule of that name; see `ports.NameCheck`."""
    refuse_group(PROTOCOL, group)
    _check_schedule(name, config.schedules)


def unfit_for_lease(topic: str, config: Any) -> str | None:
    """Return why nodes of a fabric cannot mean the same ticks; see `ports.AdapterSpec.unfit_for_lease`."""
    schedules = config.schedules
    if topic == ALL and len(schedules) > 1:
        return f"each needs a subscription of its own; there are the topics {', '.join(sorted(schedules))}"
    for name, schedule in schedules.items():
        if topic in {ALL, name} and schedule.immediately:
            return f"the schedule {name!r} has `immediately`, a tick that each node has at another time; leave that out"
    return None


def _check_schedule(name: str, schedules: Collection[str]) -> None:
    if name != ALL and name not in schedules:
        raise InvalidError(f"topic: there is no schedule {name!r}; there are {', '.join(sorted(schedules))}")


def _message(name: str, tick: Tick, patience: float = 0.0) -> Inbound:
    content = {"scheduled_at": tick.scheduled_at, "missed": tick.missed}
    return Inbound(topic=name, message=content, patience=patience, tick=tick.scheduled_at)


SPEC: Final = AdapterSpec(
    protocol=PROTOCOL,
    summary="ticks at intervals and at the times of cron expressions",
    operations=frozenset({"subscribe", "unsubscribe"}),
    auth=frozenset({"none"}),
    config=TimerConfig,
    schemes={},
    create=TimerAdapter,
    needs_endpoint=False,
    check_names=check_names,
    unfit_for_lease=unfit_for_lease,
)
