"""Durations, sizes and rates as a file writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.units import duration_text, parse_duration, parse_rate, parse_size, rate_text, size_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.25, "250ms"),
        (0.0005, "0.5ms"),
        (1.5, "1.5s"),
        (30.0, "30s"),
        (60.0, "60s"),
        (90.0, "90s"),
        (120.0, "2m"),
        (3600.0, "1h"),
        (86400.0, "24h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    """The unit is the one that a person would take."""
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(1, "1B"), (1000, "1kB"), (1024, "1KiB"), (1536, "1536B"), (1 << 20, "1MiB"), (3 << 30, "3GiB")]
)
def test_sizes(size: int, text: str) -> None:
    """The unit is the largest in which the size is whole."""
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(100.0, "100/s"), (0.5, "30/m"), (1 / 60, "1/m"), (1 / 3600, "1/h"), (2.5, "150/m")]
)
def test_rates(rate: float, text: str) -> None:
    """The unit is the first in which the rate is whole."""
    assert rate_text(rate) == text


@given(st.floats(1e-6, 1e9))
def test_a_file_reads_what_was_written(number: float) -> None:
    """Durations and rates keep their value but for rounding."""
    assert parse_duration(duration_text(number)) == pytest.approx(number, rel=1e-9, abs=1e-12)
    assert parse_rate(rate_text(number)) == pytest.approx(number, rel=1e-4)


@given(st.integers(1, 1 << 60))
def test_a_file_reads_the_size_that_was_written(size: int) -> None:
    """Sizes keep their value exactly."""
    assert parse_size(size_text(size)) == size
