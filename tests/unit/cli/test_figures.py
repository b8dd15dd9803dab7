"""Numbers and times in few characters."""

import pytest
from msgspec import UNSET

from bridge.cli.figures import age, bars, count, counted, duration, percent, rate
from bridge.core.payloads import Series


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (0.04, "<0.1"), (3.21, "3.2"), (9.96, "10"), (1234.4, "1,234"), (12_345, "12.3 k")]
)
def test_rate(number: float, text: str) -> None:
    """Something that happens is never told as 0."""
    assert rate(number) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 0, "0 %"), (0, 9, "0 %"), (9, 9, "100 %"), (999, 1000, "99 %"), (1, 5000, "<0.1 %"), (1, 80, "1.2 %")],
)
def test_percent(part: float, whole: float, text: str) -> None:
    """Only none is 0 %, and only all is 100 %."""
    assert percent(part, whole) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(None, "-"), (0.84, "0.8 ms"), (3, "3 ms"), (42.4, "42 ms"), (1200, "1.2 s"), (59_000, "59 s"), (61_000, "1 min")],
)
def test_duration(milliseconds: float | None, text: str) -> None:
    """The unit fits the size."""
    assert duration(milliseconds) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(-5, "0 s"), (999, "0 s"), (61_000, "1 min"), (7_260_000, "2 h"), (9e7, "1 d")]
)
def test_age(milliseconds: float, text: str) -> None:
    """One unit suffices; a clock that was set back gives no negative age."""
    assert age(milliseconds) == text


def test_counts() -> None:
    """Large ones are short, and one is singular."""
    assert [count(number) for number in (7, 1234, 2_500_000, 3_100_000_000)] == ["7", "1,234", "2.5 M", "3.1 G"]
    assert (counted(1, "event"), counted(2, "event"), counted(2, "fits", "fit")) == ("1 event", "2 events", "2 fit")


def test_bars() -> None:
    """Bars are as high as the rate in their time, red where an operation failed, and empty where nothing happened."""
    series = Series(at=45_000, step_ms=15_000, succeeded=[0, 40, 80, 8], failed=[0, 0, 0, 2], messages=[0, 0, 0, 0])
    # The last step has lasted two seconds of 15: ten operations in it are nearly as many a second as 80 in 15.
    assert bars(series, 47_000, 20, ascii_only=False) == [(" ", False), ("▄", False), ("█", False), ("█", True)]
    assert bars(series, 60_000, 2, ascii_only=True) == [("=", False), ("@", True)]
    assert bars(UNSET, 47_000, 20, ascii_only=False) == []
