"""Check and make event types, the dotted names of events."""

import re
from typing import Final

from bridge.core.errors import InvalidError

# No empty segment, no white space, no control character (C0, DEL, C1).
_EVENT_TYPE: Final = re.compile(r"[^\s\x00-\x1f\x7f-\x9f.]+(?:\.[^\s\x00-\x1f\x7f-\x9f.]+)*")

#: First segments of types that only a bridge publishes (bus contract, "Topics, by who speaks").
BRIDGE_ONLY: Final = frozenset({"health", "resilience", "response", "receipt", "message"})
#: First segments that a configuration or command may not let the bridge emit, and that stay on their bus: those of
#: commands, and of the bridge's own events. The type of a message is chosen by the configuration.
RESERVED: Final = BRIDGE_ONLY - {"message"} | {"integration", "bridge"}

#: The most bytes of an event type, and of one that can be answered: `response.` and the type is an event type, too.
MOST_BYTES: Final = 255
MOST_ANSWERABLE: Final = MOST_BYTES - len("response.")


def check_answerable(name: str) -> None:
    """Raise ValueError, with the limit, where the type of a response to an event of this type would be too long."""
    size = len(name.encode())
    if size > MOST_ANSWERABLE:
        msg = f"it has {size} bytes; with more than {MOST_ANSWERABLE} there is no room for `response.` before it"
        raise ValueError(msg)


def check_event_type(name: str, max_bytes: int = MOST_BYTES) -> None:
    """Raise ValueError, with the reason, unless `name` is dotted segments without spaces and control characters."""
    if not name:
        raise ValueError("an event type is never empty")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError("an event type is UTF-8") from None
    if size > max_bytes:
        msg = f"an event type has {max_bytes} bytes at most, this one has {size}"
        raise ValueError(msg)
    if _EVENT_TYPE.fullmatch(name) is None:
        if "" in name.split("."):
            msg = f"{name!r} has an empty segment"
            raise ValueError(msg)
        msg = f"{name!r} holds a space or control character"
        raise ValueError(msg)


def to_event_type(value: object) -> str:
    """Return the event type for a computed value: `/` becomes `.` (bus contract).

    Raises:
        InvalidError: The value is not a string, is empty, or has spaces, control characters or empty segments.
    """
    if not isinstance(value, str):
        raise InvalidError("an event type is a string")
    name = value.replace("/", ".")
    try:
        check_event_type(name)
    except ValueError as error:
        raise InvalidError(f"not an event type: {error}") from None
    return name


def to_emitted_type(value: object) -> str:
    """Return the event type that a route or subscription lets the bridge emit; like `to_event_type`, with more checks.

    Raises:
        InvalidError: As `to_event_type`; or the type is one of commands, answers or the bridge's own events, or is too
            long for a response.
    """
    name = to_event_type(value)
    try:
        check_answerable(name)
    except ValueError as error:
        raise InvalidError(f"not an event type to emit: {error}") from None
    head, dot, _ = name.partition(".")
    if dot and head in RESERVED:
        raise InvalidError(f"not an event type to emit: {name!r}; what begins with `{head}.` is reserved")
    return name
