"""Event types and patterns."""

import pytest

from bridge.errors import InvalidError
from bridge.event_type import to_event_type


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("a", "a"), ("a.b", "a.b"), ("metrics/a/b", "metrics.a.b"), ("a-1_B.é", "a-1_B.é")],
)
def test_values_become_event_types(value, wanted):
    """A slash separates segments as a dot does."""
    assert to_event_type(value) == wanted


@pytest.mark.parametrize("value", ["", ".", "a..b", "/a", "a/", "a b", "a\n", "a\x00b", "a\u2028b", None, 5, ["a"]])
def test_what_cannot_be_an_event_type(value):
    """Spaces, control characters, empty segments and anything but strings are invalid."""
    with pytest.raises(InvalidError, match="event type"):
        to_event_type(value)
