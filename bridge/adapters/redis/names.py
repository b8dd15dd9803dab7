"""Check the names of channels, patterns, streams and groups, so that the server is not asked for what cannot be."""

import re
from typing import Any, Final

from bridge.adapters.redis.streams.entries import check_name
from bridge.core.errors import InvalidError

_WILDCARDS: Final = frozenset("*?[\\")


def check_names(operation: str, name: str, group: str | None, config: Any) -> None:  # noqa: ARG001
    """Check the channel, pattern or stream of an operation, and its group; see `ports.NameCheck`."""
    match operation:
        case "publish":
            check_channel(name)
        case "subscribe":
            check_pattern(name, group)
        case "consume":
            check_stream(name, group)
        case _:
            check_name(name, "queue")


def comes_back(channel: str, pattern: str) -> bool:
    """Return whether a message to a channel comes to a subscription; see `AdapterSpec.comes_back`."""
    if not is_pattern(pattern):
        return channel == pattern
    try:
        return _expression(pattern).fullmatch(channel) is not None
    except re.error:  # an empty group, or a range that ends before it begins
        return False


def _expression(pattern: str) -> re.Pattern[str]:
    """Return a pattern of Redis (`stringmatchlen` in its `util.c`) as a regular expression."""
    written = ""
    for escaped, group, sign in re.findall(r"\\(.)|\[((?:\\.|[^\]])*)\]?|(.)", pattern, re.DOTALL):
        if escaped:
            written += re.escape(escaped)
        elif sign:
            written += {"*": ".*", "?": "."}.get(sign) or re.escape(sign)
        else:
            negated, signs = ("^", group[1:]) if group.startswith("^") else ("", group)
            # A backslash and a range mean the same in both languages.
            inside = re.sub(r"[\[&~|^]", lambda found: f"\\{found[0]}", signs)
            written += f"[{negated}{inside}]" if inside else "."
    return re.compile(written, re.DOTALL)


def is_pattern(topic: str) -> bool:
    """Return whether a topic needs PSUBSCRIBE, for its wildcards or for the backslash that escapes them."""
    return not _WILDCARDS.isdisjoint(topic)


def check_channel(topic: str) -> str:
    """Check that a message can be published to a channel, and return it; raises InvalidError."""
    if is_pattern(check_name(topic, "topic")):
        raise InvalidError("topic: one publishes to one channel; `*`, `?`, `[` and `\\` are for subscribing")
    return topic


def check_pattern(topic: str, group: str | None) -> str:
    """Check that a channel or pattern can be subscribed to, and return it; raises InvalidError."""
    if group is not None:
        raise InvalidError("group: Redis Pub/Sub has no groups; read a stream, with `queue`, to share messages")
    return check_name(topic, "topic")


def check_stream(queue: str, group: str | None) -> str:
    """Check that a stream can be read, and return it; raises InvalidError."""
    if group is not None and "/" in group:
        raise InvalidError("group: a slash cannot be part of it")
    return check_name(queue, "queue")
