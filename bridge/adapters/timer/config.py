"""The settings in the `config { … }` block of a timer integration: its schedules."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field, model_validator

from bridge.core.endpoint import Strict
from bridge.core.units import Duration, PositiveDuration

#: The topic that means every schedule.
ALL: Final = "*"
#: The name of the schedule that is written in `config` itself.
DEFAULT: Final = "default"


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f'there is no time zone {name!r}; write "Europe/Berlin" or "UTC"') from None
    return name


def _cron(expression: str) -> str:
    try:
        next(CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC)))  # any day will do
    except CronSimError as error:
        hint = 'write "minute hour day month weekday", as in "0 9 * * MON"'
        raise ValueError(f"{expression!r} is not a cron expression ({error}); {hint}") from None
    except StopIteration:
        raise ValueError(f"{expression!r} never takes place") from None
    return expression


class _Times(Strict):
    """When a schedule ticks."""

    every: Annotated[
        Annotated[PositiveDuration, Field(ge=0.01)] | None,
        Field(description="The time between two ticks, 10 ms or more. Give either `every` or `cron`."),
    ] = None
    cron: Annotated[
        Annotated[str, AfterValidator(_cron)] | None,
        Field(
            description='When it ticks, as `"minute hour day month weekday"`, or with a field for seconds before them.'
        ),
    ] = None
    time_zone: Annotated[
        Annotated[str, AfterValidator(_zone)] | None,
        Field(description='The time zone of `cron`, by its IANA name, as in `"Europe/Berlin"`. Default: UTC.'),
    ] = None
    jitter: Annotated[
        Duration, Field(description="Each tick comes up to so much later, at random. It must be shorter than `every`.")
    ] = 0.0
    immediately: Annotated[
        bool,
        Field(
            description="Whether it also ticks once when the subscription begins. That event waits up to 10 s for a "
            "subscriber."
        ),
    ] = False

    def _check_times(self) -> None:
        if (self.every is None) == (self.cron is None):
            raise ValueError("give either `every` or `cron`")
        if self.cron is None and self.time_zone is not None:
            raise ValueError("`time_zone` goes with `cron` only")
        if self.every is not None and self.jitter >= self.every:
            raise ValueError("`jitter` must be shorter than `every`")


class Schedule(_Times):
    """`schedule "name" { … }`: one schedule, with `every` or `cron`."""

    @model_validator(mode="after")
    def _whole(self) -> "Schedule":
        self._check_times()
        return self


class TimerConfig(_Times):
    """`config { … }` of a timer: one schedule with the name `default`, or several in blocks of their own, or both."""

    schedule: Annotated[
        dict[str, Schedule],
        Field(
            default_factory=dict, description="More schedules, each in a block of its own, whose label is its topic."
        ),
    ]

    @model_validator(mode="after")
    def _whole(self) -> "TimerConfig":
        alone = self.model_fields_set & _Times.model_fields.keys()
        if alone or not self.schedule:
            self._check_times()
        if ALL in self.schedule:
            raise ValueError(f"`{ALL}` means all schedules, so no schedule can have this name")
        if alone and DEFAULT in self.schedule:
            raise ValueError(f"`{DEFAULT}` is the name of the schedule that is written outside of a block")
        return self

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """Return all schedules by name."""
        own = {name: getattr(self, name) for name in _Times.model_fields}
        alone = {DEFAULT: Schedule(**own)} if self.every is not None or self.cron is not None else {}
        return {**alone, **self.schedule}
