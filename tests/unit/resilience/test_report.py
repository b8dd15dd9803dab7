"""At most one report a second for each reason, and nothing lost."""

from bridge.core.model import Operation
from bridge.core.payloads import Shed
from bridge.resilience.report import shed_reports
from tests.support.clock import FakeClock
from tests.support.guard.operations import operation


class Reports:
    """Shed reports with a record."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.seen: list[tuple[str, int, int]] = []
        self.shed = shed_reports(self._report, self.clock)

    def _report(self, what: str, payload: Shed, cause: Operation) -> None:
        assert what == "shed"
        self.seen.append((payload.reason, payload.count, cause.cause.id))


async def test_first_at_once_then_one_a_second() -> None:
    """The first is reported at once, the rest as counts, and the last count is reported, too."""
    reports = Reports()
    for number in range(5):
        reports.shed.add("overloaded", operation(number))
    assert reports.seen == [("overloaded", 1, 0)]
    await reports.clock.advance(1)
    assert reports.seen[1:] == [("overloaded", 4, 4)]
    reports.shed.add("overloaded", operation(7))
    await reports.clock.advance(0.9)
    assert len(reports.seen) == 2
    await reports.clock.advance(0.1)
    assert reports.seen[2:] == [("overloaded", 1, 7)]
    await reports.clock.advance(10)
    assert len(reports.seen) == 3
    assert reports.clock.timers == 0


async def test_reasons_are_apart() -> None:
    """Each reason has its own limit of one report a second."""
    reports = Reports()
    reports.shed.add("overloaded", operation(1))
    reports.shed.add("deadline", operation(2))
    assert reports.seen == [("overloaded", 1, 1), ("deadline", 1, 2)]


async def test_close_says_the_rest() -> None:
    """Closing reports what was counted, and leaves no timer."""
    reports = Reports()
    for number in range(3):
        reports.shed.add("stopping", operation(number))
    reports.shed.flush()
    assert reports.seen == [("stopping", 1, 0), ("stopping", 2, 2)]
    assert reports.clock.timers == 0
