"""Show that reports come at a limited rate, and that none is lost from the counts."""

from bridge.core.rate_limited import RateLimited
from tests.support.clock import FakeClock

Report = tuple[str, int, str]


def limited(clock: FakeClock) -> tuple[RateLimited[str, str], list[Report]]:
    """A limit of one report a second for each key, and the list that receives them."""
    reports: list[Report] = []
    return RateLimited(clock, lambda *report: reports.append(report)), reports


async def test_first_at_once_then_together() -> None:
    """The first report comes at once, the others of its second as one, with the last item."""
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
    """One key does not limit another; keys of the last second are remembered."""
    clock = FakeClock()
    reporting, reports = limited(clock)
    reporting.add("a", "one")
    reporting.add("b", "two")
    assert reports == [("a", 1, "one"), ("b", 1, "two")]
    assert ("a" in reporting, "c" in reporting, len(reporting)) == (True, False, 2)
    await clock.advance(1)
    assert ("a" in reporting, len(reporting)) == (False, 0)


async def test_each_counts_as_many_as_it_stands_for() -> None:
    """The counts of held back reports are added up."""
    clock = FakeClock()
    reporting, reports = limited(clock)
    for count in (2, 3, 4):
        reporting.add("a", str(count), count)
    await clock.advance(1)
    assert reports == [("a", 2, "2"), ("a", 7, "4")]


async def test_flush() -> None:
    """`flush` reports what is held back and leaves no timer."""
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
    """A report after the interval and before its timer stands for those that were held back, too."""
    clock = FakeClock()
    reporting, reports = limited(clock)
    for _ in range(4):
        reporting.add("a", "early")
    clock._now += 1.5  # no timer runs meanwhile
    assert reporting.add("a", "late") == 4
    assert reports == [("a", 1, "early"), ("a", 4, "late")]
    assert clock.timers == 1


def test_a_burst_passes() -> None:
    """A number of reports pass in an interval without a timer; the next one after it counts the others."""
    clock = FakeClock()
    reporting: RateLimited[str, None] = RateLimited(clock, interval=60, burst=3)
    assert [reporting.add("a", None) for _ in range(5)] == [1, 1, 1, None, None]
    clock._now += 59
    assert reporting.add("a", None) is None
    clock._now += 1
    assert [reporting.add("a", None) for _ in range(4)] == [4, 1, 1, None]
    assert clock.timers == 0


async def test_not_more_than_so_many_keys() -> None:
    """One key too many ends the interval that began first, and reports what it held back."""
    clock = FakeClock()
    reports: list[Report] = []
    reporting: RateLimited[str, str] = RateLimited(clock, lambda *report: reports.append(report), max_keys=2)
    for key in ("a", "b", "a", "c"):
        reporting.add(key, key)
    assert reports == [("a", 1, "a"), ("b", 1, "b"), ("a", 1, "a"), ("c", 1, "c")]
    assert (len(reporting), "a" in reporting, clock.timers) == (2, False, 2)
