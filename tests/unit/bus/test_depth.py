"""Depth is measured without recursion."""

from typing import Any

import pytest

from bridge.bus.depth import deeper_than


@pytest.mark.parametrize(
    ("value", "depth"),
    [
        (1, 0),
        ("x", 0),
        ([], 1),
        ({}, 1),
        ([1, [2, [3]]], 3),
        ({"a": {"b": []}}, 3),
        ({((),): 1}, 3),
        ([[], {}, [{}]], 3),
    ],
)
def test_depth(value: Any, depth: int) -> None:
    """A value of depth n is deeper than n - 1 and not deeper than n; empty containers and keys count."""
    assert not deeper_than(value, depth)
    assert depth == 0 or deeper_than(value, depth - 1)
