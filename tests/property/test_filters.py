"""Globs against a plain recursive definition."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.core.filters import Glob, parse_pattern, subscription_prefix

segments = st.sampled_from(["a", "b", "ab", "c"])
names = st.lists(segments, min_size=1, max_size=7)
patterns = st.lists(segments | st.sampled_from(["*", "**"]), min_size=1, max_size=6)


def matches(pattern: list[str], name: list[str]) -> bool:
    """Return whether a glob matches, by the plain rule."""
    if not pattern:
        return not name
    if pattern[0] == "**":
        return matches(pattern[1:], name) or (bool(name) and matches(pattern, name[1:]))
    return bool(name) and pattern[0] in ("*", name[0]) and matches(pattern[1:], name[1:])


@given(patterns, names)
def test_glob(pattern: list[str], name: list[str]) -> None:
    """A compiled glob matches exactly what the rule does."""
    assert Glob(".".join(pattern)).matches(".".join(name)) == matches(pattern, name)


@given(patterns, names)
def test_subscription_covers(pattern: list[str], name: list[str]) -> None:
    """No match lies outside the prefix that is subscribed to."""
    text, event_type = ".".join(pattern), ".".join(name)
    if parse_pattern(text).matches(event_type):
        assert event_type.startswith(subscription_prefix(text))
