"""Reports at a limited rate: nothing comes too often, and nothing is lost from the counts."""

from bridge.core.rate_limited import RateLimited
from tests.support.clock import FakeClock

Report = tuple[str, int, str]


def limited(clock: FakeClock) -> tuple[RateLimited[str, str], list[Report]]:
    """One report a second for each key, and the list to which they go."""
    reports: list[Report] = []
    return RateLimited(clock, lambda *report: reports.append(report)), reports


async def test_first_at_once_then_together() -> None:
    """The first is reported at once, the others of its second together, about the last of them; then it is quiet."""
    clock = FakeClock()
    reporting, reports = limited(clock)
    counts = [reporting.add("size", str(number)) for number in range(5)]
    assert counts == [1, None, None, None, None]
    assert reports == [("size", 1, "0")]
    await clock.advance(0.9)
    assert len(reports) == 1
    await clock.advance(0.2)
    assert reports[1:] == [("size", 4, "4")]
    reporting.add("size", "5")
    assert len(reports) == 2
    await clock.advance(1)
    assert reports[2:] == [("size", 1, "5")]
    await clock.advance(10)
    assert (len(reports), len(reporting), clock.timers) == (3, 0, 0)


async def test_keys_are_apart() -> None:
    """One key holds no other back; those of the last second are known."""
    clock = FakeClock()
    reporting, reports = limited(clock)
    reporting.add("a", "one")
    reporting.add("b", "two")
    assert reports == [("a", 1, "one"), ("b", 1, "two")]
    assert ("a" in reporting, "c" in reporting, len(reporting)) == (True, False, 2)
    await clock.advance(1)
    assert ("a" in reporting, len(reporting)) == (False, 0)


async def test_each_counts_as_many_as_it_stands_for() -> None:
    """What is held back is added up."""
    clock = FakeClock()
    reporting, reports = limited(clock)
    for count in (2, 3, 4):
        reporting.add("a", str(count), count)
    await clock.advance(1)
    assert reports == [("a", 2, "2"), ("a", 7, "4")]


async def test_flush() -> None:
    """What is held back is reported on flush, and no timer is left."""
    clock = FakeClock()
    reporting, reports = limited(clock)
    for key, count in (("a", 2), ("a", 3), ("b", 1)):
        reporting.add(key, "", count)
    reporting.flush()
    assert reports == [("a", 2, ""), ("b", 1, ""), ("a", 3, "")]
    assert (clock.timers, len(reporting)) == (0, 0)
    reporting.add("a", "")
    assert reports[3:] == [("a", 1, "")]


def test_a_late_timer_loses_nothing() -> None:
    """A report that comes after the interval, and before its timer, stands for what was held back."""
    clock = FakeClock()
    reporting, reports = limited(clock)
    for _ in range(4):
        reporting.add("a", "early")
    clock._now += 1.5  # no timer runs meanwhile
    assert reporting.add("a", "late") == 4
    assert reports == [("a", 1, "early"), ("a", 4, "late")]
    assert clock.timers == 1


def test_a_burst_passes() -> None:
    """So many reports pass in an interval; the next one after it tells how many did not. No timer is set."""
    clock = FakeClock()
    reporting: RateLimited[str, None] = RateLimited(clock, interval=60, burst=3)
    assert [reporting.add("a", None) for _ in range(5)] == [1, 1, 1, None, None]
    clock._now += 59
    assert reporting.add("a", None) is None
    clock._now += 1
    assert [reporting.add("a", None) for _ in range(4)] == [4, 1, 1, None]
    assert clock.timers == 0


async def test_not_more_than_so_many_keys() -> None:
    """With one key more, the one whose interval began first ends, and what it held back is reported."""
    clock = FakeClock()
    reports: list[Report] = []
    reporting: RateLimited[str, str] = RateLimited(clock, lambda *report: reports.append(report), max_keys=2)
    for key in ("a", "b", "a", "c"):
        reporting.add(key, key)
    assert reports == [("a", 1, "a"), ("b", 1, "b"), ("a", 1, "a"), ("c", 1, "c")]
    assert (len(reporting), "a" in reporting, clock.timers) == (2, False, 2)
