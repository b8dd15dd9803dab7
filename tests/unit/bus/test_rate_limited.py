"""Counting that is reported at once and then once a second."""

from bridge.bus.rate_limited import Tally
from tests.support.clock import FakeClock


async def test_first_at_once_then_together() -> None:
    """The first is reported at once, the others of its second together, with the last example; then it is quiet."""
    clock = FakeClock()
    said: list[tuple[str, int, str | None]] = []
    tally = Tally(clock, lambda *report: said.append(report))
    for number in range(5):
        tally.add("size", example=str(number))
    tally.add("depth")
    assert said == [("size", 1, "0"), ("depth", 1, None)]
    await clock.advance(0.9)
    assert len(said) == 2
    await clock.advance(0.2)
    assert said[2:] == [("size", 4, "4")]
    tally.add("size")
    await clock.advance(1)
    assert said[3:] == [("size", 1, None)]
    await clock.advance(10)
    assert (len(said), clock.timers) == (4, 0)


async def test_flush() -> None:
    """What waits is reported on flush, and no timer is left."""
    clock = FakeClock()
    said: list[tuple[str, int, str | None]] = []
    tally = Tally(clock, lambda *report: said.append(report))
    tally.add("a", 2)
    tally.add("a", 3)
    tally.add("b")
    tally.flush()
    assert said == [("a", 2, None), ("b", 1, None), ("a", 3, None)]
    assert clock.timers == 0


async def test_not_more_than_so_many_keys() -> None:
    """Within a second; what is reported already goes on."""
    clock = FakeClock()
    said: list[tuple[str, int, str | None]] = []
    tally = Tally(clock, lambda *report: said.append(report), most=2)
    for key in ("a", "b", "c", "a"):
        tally.add(key)
    assert [key for key, _, _ in said] == ["a", "b"]
    assert len(tally) == 2
    await clock.advance(1)
    assert said[2:] == [("a", 1, None)]
    tally.add("c")
    assert said[3:] == [("c", 1, None)]
    tally.flush()
    assert clock.timers == 0
