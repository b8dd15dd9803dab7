"""Which events somebody wants: Nemo's filter rules.

By exact type, by prefix (`data.`), by glob over dot-separated segments (`*` is exactly one, `**` is zero or more, at
any position), by source, and these combined with and (`&`), or (`|`), not (`~`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from bridge.core.event_type import check_event_type


class Filter:
    """The base: combine filters with `&`, `|` and `~`."""

    __slots__ = ()

    def matches(self, event_type: str, source: str | None = None) -> bool:
        """Whether an event of this type and source is wanted."""
        raise NotImplementedError

    def __and__(self, other: "Filter") -> "Filter":
        return AllOf((self, other))

    def __or__(self, other: "Filter") -> "Filter":
        return AnyOf((self, other))

    def __invert__(self) -> "Filter":
        return Not(self)


@dataclass(frozen=True, slots=True)
class Exact(Filter):
    """This very type."""

    event_type: str

    def __post_init__(self) -> None:
        check_event_type(self.event_type)

    def matches(self, event_type: str, source: str | None = None) -> bool:  # noqa: ARG002
        """See `Filter.matches`."""
        return event_type == self.event_type


@dataclass(frozen=True, slots=True)
class Prefix(Filter):
    """Every type that begins like this; the empty prefix is every type."""

    prefix: str

    def matches(self, event_type: str, source: str | None = None) -> bool:  # noqa: ARG002
        """See `Filter.matches`."""
        return event_type.startswith(self.prefix)


@dataclass(frozen=True, slots=True)
class Source(Filter):
    """Every event of one source."""

    source: str

    def matches(self, event_type: str, source: str | None = None) -> bool:  # noqa: ARG002
        """See `Filter.matches`."""
        return source == self.source


@dataclass(frozen=True, slots=True)
class Glob(Filter):
    """Segments, where `*` is exactly one and `**` zero or more."""

    pattern: str
    _match: Callable[[str], object] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_pattern(self.pattern)
        object.__setattr__(self, "_match", _compile(self.pattern.split(".")).fullmatch)

    def matches(self, event_type: str, source: str | None = None) -> bool:  # noqa: ARG002
        """See `Filter.matches`."""
        return self._match(f"{event_type}.") is not None


@dataclass(frozen=True, slots=True)
class AllOf(Filter):
    """Every one of these; none at all matches everything."""

    filters: tuple[Filter, ...]

    def matches(self, event_type: str, source: str | None = None) -> bool:
        """See `Filter.matches`."""
        return all(one.matches(event_type, source) for one in self.filters)


@dataclass(frozen=True, slots=True)
class AnyOf(Filter):
    """At least one of these; none at all matches nothing."""

    filters: tuple[Filter, ...]

    def matches(self, event_type: str, source: str | None = None) -> bool:
        """See `Filter.matches`."""
        return any(one.matches(event_type, source) for one in self.filters)


@dataclass(frozen=True, slots=True)
class Not(Filter):
    """Whatever the other does not match."""

    other: Filter

    def matches(self, event_type: str, source: str | None = None) -> bool:
        """See `Filter.matches`."""
        return not self.other.matches(event_type, source)


def parse_pattern(text: str) -> Filter:
    """The filter that a person means: with `*` a glob, with a dot at the end a prefix, else an exact type.

    Raises:
        ValueError: It can match no event; the message says why.
    """
    if "*" in text:
        return Glob(text)
    if text.endswith("."):
        check_pattern(text[:-1])
        return Prefix(text)
    return Exact(text)


def check_pattern(pattern: str) -> None:
    """Raise ValueError, saying why, unless each segment is `*`, `**` or one that an event type may have."""
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
    """The longest prefix that every match of a pattern has: what to subscribe to in ZeroMQ.

    `data.*` gives `data.`; `data.**` gives `data`, which it matches, too.
    """
    literal: list[str] = []
    for segment in pattern.split("."):
        if segment == "**":
            return ".".join(literal)
        if segment == "*":
            return "".join(f"{one}." for one in literal)
        literal.append(segment)
    return pattern


def _compile(segments: list[str]) -> re.Pattern[str]:
    """A regular expression over the type with a dot after each segment.

    What stands between two `**` is looked for at its first place and never again (an atomic group): for globs the
    first place is always as good as any later one, and it keeps hostile patterns from taking exponential time.
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
