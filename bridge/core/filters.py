"""Select events by Nemo's filter rules.

By exact type, by prefix (`data.`), by glob over dot-separated segments (`*` is exactly one, `**` is zero or more, at
any position), by source; and these combined with and (`&`), or (`|`), not (`~`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import msgspec

from bridge.core.event_type import check_event_type

#: Segments of an event type at most: it has at most 255 bytes.
_MOST_SEGMENTS: Final = 128


class Filter:
    """The base: combine filters with `&`, `|` and `~`."""

    __slots__ = ()

    def matches(self, event_type: str, source: str | None = None) -> bool:
        """Return whether the filter selects an event of this type and source."""
        raise NotImplementedError

    def __and__(self, other: "Filter") -> "Filter":
        return AllOf((self, other))

    def __or__(self, other: "Filter") -> "Filter":
        return AnyOf((self, other))

    def __invert__(self) -> "Filter":
        return Not(self)


class Exact(Filter, msgspec.Struct, frozen=True):
    """Select one event type."""

    event_type: str

    def __post_init__(self) -> None:
        check_event_type(self.event_type)

    def matches(self, event_type: str, source: str | None = None) -> bool:  # noqa: ARG002
        """See `Filter.matches`."""
        return event_type == self.event_type


class Prefix(Filter, msgspec.Struct, frozen=True):
    """Select every type that begins with the prefix; the empty prefix selects all."""

    prefix: str

    def matches(self, event_type: str, source: str | None = None) -> bool:  # noqa: ARG002
        """See `Filter.matches`."""
        return event_type.startswith(self.prefix)


class Source(Filter, msgspec.Struct, frozen=True):
    """Select every event of one source."""

    source: str

    def matches(self, event_type: str, source: str | None = None) -> bool:  # noqa: ARG002
        """See `Filter.matches`."""
        return source == self.source


@dataclass(frozen=True, slots=True)
class Glob(Filter):
    """Select types by segments, where `*` is exactly one and `**` zero or more."""

    pattern: str
    _match: Callable[[str], object] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_pattern(self.pattern)
        object.__setattr__(self, "_match", _compile(self.pattern.split(".")).fullmatch)

    def matches(self, event_type: str, source: str | None = None) -> bool:  # noqa: ARG002
        """See `Filter.matches`."""
        return self._match(f"{event_type}.") is not None


#: The first segments of the types by which the bridge reports.
_REPORTS: Final = ("health.", "resilience.", "response.", "receipt.")


@dataclass(frozen=True, slots=True)
class Trigger(Filter):
    """Select the types that set off a route with this pattern in its `on`.

    What the bridge reports has to be named: a pattern whose first segment is `*` or `**` does not select it.
    """

    pattern: str
    _glob: Glob = field(init=False, repr=False, compare=False)
    _open: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_glob", Glob(self.pattern))
        object.__setattr__(self, "_open", self.pattern.startswith("*"))

    def matches(self, event_type: str, source: str | None = None) -> bool:
        """See `Filter.matches`."""
        if self._open and event_type.startswith(_REPORTS):
            return False
        return self._glob.matches(event_type, source)


class AllOf(Filter, msgspec.Struct, frozen=True):
    """Select what all of the filters select; without filters, everything."""

    filters: tuple[Filter, ...]

    def matches(self, event_type: str, source: str | None = None) -> bool:
        """See `Filter.matches`."""
        return all(one.matches(event_type, source) for one in self.filters)


class AnyOf(Filter, msgspec.Struct, frozen=True):
    """Select what at least one of the filters selects; without filters, nothing."""

    filters: tuple[Filter, ...]

    def matches(self, event_type: str, source: str | None = None) -> bool:
        """See `Filter.matches`."""
        return any(one.matches(event_type, source) for one in self.filters)


class Not(Filter, msgspec.Struct, frozen=True):
    """Select what the other filter does not select."""

    other: Filter

    def matches(self, event_type: str, source: str | None = None) -> bool:
        """See `Filter.matches`."""
        return not self.other.matches(event_type, source)


def parse_pattern(text: str) -> Filter:
    """Return the filter for a text: with `*` a glob, with a dot at the end a prefix, else an exact type.

    Raises:
        ValueError: It cannot match any event; the message has the reason.
    """
    if "*" in text:
        return Glob(text)
    if text.endswith("."):
        check_pattern(text[:-1])
        return Prefix(text)
    return Exact(text)


def check_pattern(pattern: str) -> None:
    """Raise ValueError, with the reason, unless each segment is `*`, `**` or one that an event type may have."""
    for segment in pattern.split("."):
        if "*" in segment and segment not in ("*", "**"):
            msg = f"{pattern!r}: `*` and `**` stand for whole segments, not for a part as in {segment!r}"
            raise ValueError(msg)
    try:
        check_event_type(pattern)
    except ValueError as error:
        msg = f"pattern {pattern!r}: {error}"
        raise ValueError(msg) from None


def subscription_prefix(pattern: str) -> str:
    """Return the longest prefix that every match of a pattern has, for a subscription in ZeroMQ.

    `data.*` gives `data.`; `data.**` gives `data`, because it also matches `data` itself.
    """
    literal: list[str] = []
    for segment in pattern.split("."):
        if segment == "**":
            return ".".join(literal)
        if segment == "*":
            return "".join(f"{one}." for one in literal)
        literal.append(segment)
    return pattern


def overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Return whether two globs, as segments, have a type in common."""
    if len(one) > _MOST_SEGMENTS or len(other) > _MOST_SEGMENTS:
        return False

    @cache
    def common(i: int, j: int) -> bool:
        if i < len(one) and one[i] == "**":
            return common(i + 1, j) or (j < len(other) and common(i, j + 1))
        if j < len(other) and other[j] == "**":
            return common(i, j + 1) or (i < len(one) and common(i + 1, j))
        if i == len(one) or j == len(other):
            return i == len(one) and j == len(other)
        return ("*" in (one[i], other[j]) or one[i] == other[j]) and common(i + 1, j + 1)

    return common(0, 0)


def _compile(segments: list[str]) -> re.Pattern[str]:
    """Return a regular expression for the type with a dot after each segment.

    The segments between two `**` are matched at their first position and not tried at a later one (an atomic group).
    For globs the first position is always as good as a later one, and so a hostile pattern cannot take exponential
    time.
    """
    runs: list[list[str]] = [[]]
    for segment in segments:
        if segment == "**":
            runs.append([])
        else:
            runs[-1].append(r"[^.]+\." if segment == "*" else re.escape(segment) + r"\.")
    first, *others = ("".join(run) for run in runs)
    if not others:
        return re.compile(first)
    between = "".join(rf"(?>(?:[^.]+\.)*?{run})" for run in others[:-1] if run)
    return re.compile(rf"{first}{between}(?:[^.]+\.)*{others[-1]}")
