"""Show Nemo's filter rules."""

import time

import pytest

from bridge.core.filters import (
    AllOf,
    AnyOf,
    Exact,
    Glob,
    Prefix,
    Source,
    Trigger,
    parse_pattern,
    subscription_prefix,
)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("data.updated", ["data.updated"], ["data", "data.updated.x", "data.update"]),
        ("data.", ["data.updated", "data.a.b"], ["data", "database.x"]),
        ("data.*", ["data.updated"], ["data", "data.a.b", "database"]),
        ("data.**", ["data", "data.a", "data.a.b"], ["database", "x.data"]),
        ("*", ["data"], ["data.a"]),
        ("**", ["data", "a.b.c"], []),
        ("**.updated", ["updated", "data.updated", "a.b.updated"], ["updated.x", "xupdated"]),
        ("a.**.z", ["a.z", "a.b.z", "a.b.c.z"], ["a", "z", "a.b"]),
        ("a.*.**.z", ["a.b.z", "a.b.c.z"], ["a.z"]),
        ("**.**", ["a", "a.b"], []),
        ("**.b.**.c", ["b.c", "a.b.x.c", "b.b.c.c"], ["b", "c", "c.b"]),
        ("a+.*", ["a+.x"], ["aa.x"]),
    ],
)
def test_pattern(pattern: str, yes: list[str], no: list[str]) -> None:
    """Each pattern matches what Nemo's does, and nothing else."""
    wanted = parse_pattern(pattern)
    assert [name for name in yes if not wanted.matches(name)] == []
    assert [name for name in no if wanted.matches(name)] == []


@pytest.mark.parametrize("pattern", ["", ".", "a..b", ".a", "a..", "a b", "a.*x", "a***", "da*", "a.\n", "*."])
def test_bad_pattern(pattern: str) -> None:
    """A pattern that cannot match anything is refused with a reason."""
    with pytest.raises(ValueError, match=r"empty|space|whole segments"):
        parse_pattern(pattern)


def test_combinators() -> None:
    """Filters can be combined by and, or, not, and with a source."""
    wanted = (Prefix("data.") | Exact("x")) & ~Source("bridge")
    assert wanted.matches("data.a", "app")
    assert wanted.matches("x", None)
    assert not wanted.matches("data.a", "bridge")
    assert not wanted.matches("y", "app")
    assert AllOf(()).matches("a")
    assert not AnyOf(()).matches("a")


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [("a.b", "a.b"), ("a.", "a."), ("a.*", "a."), ("a.**", "a"), ("*", ""), ("**.a", ""), ("a.b.*.c", "a.b.")],
)
def test_subscription_prefix(pattern: str, prefix: str) -> None:
    """The ZeroMQ prefix covers each match, and is as long as possible."""
    assert subscription_prefix(pattern) == prefix


def test_hostile_pattern_is_fast() -> None:
    """Matching a pattern with many `**` takes no exponential time."""
    wanted = Glob(".".join(["**", "a", "*"] * 12) + ".z")
    started = time.perf_counter()
    assert not wanted.matches(".".join(["a"] * 120))
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (
            "**",
            ["order", "message.api", "health", "healthy.x"],
            ["health.api", "response.a.b", "receipt.api.delivered"],
        ),
        ("*.*", ["order.new"], ["health.api", "resilience.api"]),
        ("**.failed", ["order.failed"], ["resilience.api.failed"]),
        ("resilience.**", ["resilience.api.failed"], ["order"]),
        ("health.*", ["health.api"], ["health"]),
    ],
)
def test_trigger(pattern: str, yes: list[str], no: list[str]) -> None:
    """A pattern that begins with `*` or `**` selects nothing of what the bridge reports; a named family is selected."""
    wanted = Trigger(pattern)
    assert [name for name in yes if not wanted.matches(name)] == []
    assert [name for name in no if wanted.matches(name)] == []
