"""The name that was meant by a wrong one."""

import pytest

from bridge.core.near import did_you_mean, near_event_type, near_name


@pytest.mark.parametrize(
    ("name", "found"), [("shpo", "shop"), ("hsop", "shop"), ("stor", "store"), ("x", None), ("", None)]
)
def test_the_closest_name(name: str, found: str | None) -> None:
    """One that is close enough, else none."""
    assert near_name(name, ["shop", "store", "bank"]) == found


def test_the_end_of_a_message() -> None:
    """It names what was meant, or adds nothing."""
    assert did_you_mean("requst", ["request", "publish"]) == "; did you mean 'request'?"
    assert did_you_mean("dance", ["request", "publish"]) == ""


def test_what_would_cost_too_much_is_not_compared() -> None:
    """Neither very long names nor very many."""
    assert near_name("a" * 65, ["a" * 64]) is None
    assert near_name("shpo", ["shop", *(f"x{number}" for number in range(100))]) is None


@pytest.mark.parametrize(
    ("event_type", "found"),
    [
        ("order.craeted", "order.created"),
        ("ordr.created", "order.created"),
        ("shp.opened.today", "shop.opened.today"),
        ("order.created", None),
        ("lamp.on", None),
        ("x", None),
    ],
)
def test_the_closest_event_type(event_type: str, found: str | None) -> None:
    """The type of a pattern without `*`, or its first segments and the others of the type that was given."""
    assert near_event_type(event_type, ["order.created", "shop.**", "**", "*.x"]) == found
