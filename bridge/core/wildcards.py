"""Recognise wildcards of another protocol in a pattern, and write the pattern in the language that was meant."""

import re
from typing import Final, NamedTuple


class Wildcards(NamedTuple):
    """How a language of patterns writes wildcards.

    Attributes:
        separator: What stands between two segments; empty where the language has no segments.
        one: The wildcard for one segment.
        rest: The wildcard for all further segments.
    """

    separator: str
    one: str
    rest: str


#: Patterns of event types.
EVENT_TYPES: Final = Wildcards(".", "*", "**")

_ONE: Final = frozenset({"+", "*"})
_REST: Final = frozenset({"#", ">", "**"})


def translated(pattern: str, own: Wildcards) -> str | None:
    """Return a pattern with wildcards of another language in the own one; None where it has no such wildcards.

    `orders/#` of MQTT and `orders.>` of NATS are `orders.**` for event types.
    """
    if own.separator:
        known = {own.one, own.rest}.intersection(pattern.split(own.separator))
        splits = [re.escape(own.separator), "[./]"]
    else:
        known, splits = {"*", "**"}, ["[./]"]
    for separators in splits:
        parts = re.split(f"({separators})", pattern)
        if any(part in _ONE | _REST and part not in known for part in parts):
            return "".join(_in_own(part, own) for part in parts)
    return None


def _in_own(part: str, own: Wildcards) -> str:
    if part in {".", "/"}:
        return own.separator or part
    if part in _ONE:
        return own.one
    return own.rest if part in _REST else part
