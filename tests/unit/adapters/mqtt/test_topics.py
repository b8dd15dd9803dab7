"""MQTT topics and filters, by the rules of the specification's section 4.7."""

import pytest

from bridge.adapters.mqtt.inbox import identifier_of
from bridge.adapters.mqtt.topics import check_filter, check_topic, matches, plain, shared
from bridge.core.errors import InvalidError


@pytest.mark.parametrize(
    ("topic_filter", "topic", "fits"),
    [
        ("a", "a", True),
        ("a", "a/", False),
        ("a/+", "a/b", True),
        ("a/+", "a", False),
        ("a/+", "a/", True),
        ("a/+", "a/b/c", False),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("#", "a/b", True),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
        ("a/+/c/#", "a/b/c", True),
        ("A", "a", False),
    ],
)
def test_matching(topic_filter: str, topic: str, fits: bool) -> None:  # a table
    """The specification's own examples among them."""
    assert matches(topic_filter, topic) is fits


@pytest.mark.parametrize("topic", ["a", "/", "a//b", "$aws/x", "ä/ b", "a" * 65_535])
def test_good_topics_and_filters(topic: str) -> None:
    """Each topic is a filter as well."""
    assert check_topic(topic) == topic
    assert check_filter(topic) == topic


@pytest.mark.parametrize("topic", ["+", "#", "a/+/b", "a/#", "$share/g/a/#", "$SYS/x", "$CONTROL/x"])
def test_good_filters_only(topic: str) -> None:
    """One does not publish to a pattern, nor to what the broker says of itself."""
    assert check_filter(topic) == topic
    with pytest.raises(InvalidError):
        check_topic(topic)


@pytest.mark.parametrize(
    "topic", ["", "a\x00", "a\x1f", "a\x7f", "a\ufffe", "\ud800", "ä" * 40_000, "a/#/b", "a#", "+a", "$share/g/+a"]
)
def test_bad_filters(topic: str) -> None:
    """Each would make a broker hang up."""
    with pytest.raises(InvalidError):
        check_filter(topic)


def test_shared_filters() -> None:
    """A group's filter, and the way back."""
    assert shared("a/#", "nemo") == "$share/nemo/a/#"
    assert plain("$share/nemo/a/#") == "a/#"
    assert plain("$share") == "$share"
    for group in ("", "a/b", "+", "#", "\x00"):
        with pytest.raises(InvalidError):
            shared("a", group)


def test_identifiers_are_the_same_in_each_life() -> None:
    """The broker keeps them with the session, so they may never change."""
    assert identifier_of("metrics/#") == 111_040_197
