"""Cron schedules for any moment: ticks go forward, are at times that the expression names, and none is left out."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.timer.ticks import CronTicks
from tests.support.clock import FakeClock

ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"])
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # bounds
HOURS, MINUTES = st.integers(0, 23), st.integers(0, 59)


@given(ZONES, MOMENTS, HOURS, MINUTES)
def test_a_fixed_time_comes_once_a_day(zone: str, moment: datetime, hour: int, minute: int) -> None:
    """After any moment the next tick is later, at most two days away, and at its time unless that does not exist."""
    ticks = CronTicks(f"{minute} {hour} * * *", ZoneInfo(zone), FakeClock())
    start = round(moment.timestamp() * 1000)
    found = ticks.after(start)
    assert start < found <= start + 49 * 3_600_000
    shown = datetime.fromtimestamp(found / 1000, ZoneInfo(zone))
    wanted = shown.replace(hour=hour, minute=minute, fold=0)
    exists = wanted.astimezone(UTC).astimezone(wanted.tzinfo).replace(tzinfo=None) == wanted.replace(tzinfo=None)
    assert not exists or shown == wanted


@given(ZONES, MOMENTS)
def test_every_minute_is_every_minute(zone: str, moment: datetime) -> None:
    """A schedule of every minute ticks every minute, also in the night of a clock change."""
    ticks = CronTicks("* * * * *", ZoneInfo(zone), FakeClock())
    start = round(moment.timestamp() * 1000)
    assert ticks.after(start) == (start // 60_000 + 1) * 60_000
