"""Show which event types are valid, and which may be emitted."""

import pytest

from bridge.core.errors import InvalidError
from bridge.core.event_type import to_emitted_type, to_event_type


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("a", "a"), ("a.b", "a.b"), ("metrics/a/b", "metrics.a.b"), ("a-1_B.é", "a-1_B.é")],
)
def test_values_become_event_types(value, wanted):
    """A slash in a value becomes a dot."""
    assert to_event_type(value) == wanted


@pytest.mark.parametrize("value", ["", ".", "a..b", "/a", "a/", "a b", "a\n", "a\x00b", "a\u2028b", None, 5, ["a"]])
def test_what_cannot_be_an_event_type(value):
    """Spaces, control characters, empty segments and anything but strings are invalid."""
    with pytest.raises(InvalidError, match="event type"):
        to_event_type(value)


@pytest.mark.parametrize("head", ["integration", "bridge", "health", "resilience", "response", "receipt"])
def test_reserved_types_cannot_be_emitted(head):
    """Types of commands, answers and the bridge's own events cannot be emitted; similar ones can."""
    for value in (f"{head}.api", f"{head}/api/x"):
        with pytest.raises(InvalidError, match=f"`{head}.` is reserved"):
            to_emitted_type(value)
    for value in (head, f"{head}s.x", f"my.{head}.x", "message.api"):
        assert to_emitted_type(value) == value
