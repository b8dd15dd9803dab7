"""Which channels a pattern takes, for finding configurations that feed themselves."""

import pytest

from bridge.adapters.redis.names import comes_back


@pytest.mark.parametrize(
    ("pattern", "channel", "comes"),
    [
        ("a*c", "abc", True),
        ("a*c", "ac", True),
        ("a*c", "acb", False),
        ("*", "", True),
        ("**a**", "bab", True),
        ("a*b*c", "a-b-c-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("*ab*ab", "ab-ab", True),
        ("*ab*ab", "ab", False),
        ("*b", "abb", True),
        ("h?llo", "hello", True),
        ("h?llo", "hllo", False),
        ("h[ae]*o", "hallo", True),
        ("h[^e]llo", "hello", False),
        ("h[a-c]llo", "hbllo", True),
        (r"a\*", "a*", True),
        (r"a\*", "ab", False),
        ("*.[0-9]?.*", "x.12.y", True),
        ("*.[0-9]?.*", "x.a2.y", False),
    ],
)
def test_as_redis_compares_them(pattern: str, channel: str, comes: bool) -> None:
    """A star is any text, a question mark one character, brackets one of several; a backslash takes the meaning off."""
    assert comes_back(channel, pattern) is comes


def test_a_pattern_with_many_stars() -> None:
    """It takes no time: looking for it at every place again would take years."""
    assert not comes_back("a" * 1_000, "*a" * 50 + "*b")
