"""Gaps in the numbers of events are found."""

import msgspec
import pytest

from bridge.bus.gaps import MAX_SOURCES, GapDetector
from bridge.core.model import Event


def event(seq: str | None, source: str | None = "app") -> Event:
    """An event with a number."""
    return Event(
        id=1,
        event_type="a",
        raw=msgspec.Raw(b"\xc0"),
        timestamp=1,
        source=source,
        correlation_id=None,
        headers=None if seq is None else {"seq": seq},
    )


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [
        (["1", "2", "3"], [0, 0, 0]),
        (["7", "8"], [0, 0]),
        (["1", "4", "5"], [0, 2, 0]),
        (["5", "1", "2"], [0, 0, 0]),
        (["5", "5", "7"], [0, 0, 1]),
        (["1", None, "3"], [0, 0, 1]),
        (["1", "x", "-2", "²", "9" * 40, "", "2"], [0] * 7),
    ],
)
def test_missing(numbers: list[str | None], missing: list[int]) -> None:
    """Only a number that rises by more than one is a gap; a restart and nonsense are not."""
    gaps = GapDetector()
    assert [gaps.missing(event(number)) for number in numbers] == missing


def test_sources_are_apart() -> None:
    """Each source has its own numbers; events without a source have none."""
    gaps = GapDetector()
    assert [gaps.missing(event("1", "a")), gaps.missing(event("5", "b")), gaps.missing(event("3", "a"))] == [0, 0, 1]
    assert [gaps.missing(event("1", None)), gaps.missing(event("5", None))] == [0, 0]


def test_long_names_are_not_followed() -> None:
    """Sources with very long names are not remembered."""
    gaps = GapDetector()
    assert [gaps.missing(event(number, "s" * 256)) for number in ("1", "9")] == [0, 0]
    assert [gaps.missing(event(number, "s" * 255)) for number in ("1", "9")] == [0, 7]


def test_table_is_bounded() -> None:
    """Invented sources replace the source whose last event is oldest, not one that still publishes."""
    gaps = GapDetector()
    gaps.missing(event("1", "quiet"))
    gaps.missing(event("1", "loud"))
    for number in range(2 * MAX_SOURCES):
        gaps.missing(event("1", f"s{number}"))
        assert gaps.missing(event(str(number + 2), "loud")) == 0
    assert len(gaps._last) == MAX_SOURCES
    assert gaps.missing(event("9", "quiet")) == 0
    assert gaps.missing(event("9999", "loud")) > 0
