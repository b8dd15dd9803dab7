"""Find the name that was probably meant by a wrong one."""

import difflib
from collections.abc import Iterable
from typing import Final

#: The most names that are compared, and the most characters of one: 15 us for a name.
_COMPARED_NAMES: Final = 100
_LONGEST_NAME: Final = 64


def near_name(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known name that is closest to `name`; None if none is close, or too many would have to be compared.

    Args:
        name: The wrong name.
        known: The right ones.
        cutoff: How alike two names must be, from 0 to 1; see `difflib.SequenceMatcher.ratio`.
    """
    known = [one for one in known if len(one) <= _LONGEST_NAME]
    if len(known) > _COMPARED_NAMES or len(name) > _LONGEST_NAME:
        return None
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=cutoff)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the end of a message, or the empty string; see `near_name`."""
    found = near_name(name, known)
    return "" if found is None else f"; did you mean {found!r}?"


def near_event_type(event_type: str, patterns: Iterable[str]) -> str | None:
    """Return the event type that was probably meant by one that matches no pattern; None if none is close.

    Of a pattern the segments before its first `*` are compared: `ordr.new` is close to `order.new` by `order.*`.
    """
    segments = event_type.split(".")
    candidates: set[str] = set()
    for pattern in patterns:
        literal: list[str] = []
        for segment in pattern.split("."):
            if "*" in segment:
                candidates.add(".".join(literal + segments[len(literal) :]))
                break
            literal.append(segment)
        else:
            candidates.add(pattern)
    return near_name(event_type, candidates - {event_type}, cutoff=0.75)
