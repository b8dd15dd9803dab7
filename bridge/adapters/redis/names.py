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
    """Return a pattern of Redis (`stringmatchlen` in its `util.c`) as a regular expression.

    What stands between two stars matches where it first can, once and for all: else many stars would take for ever.
    """
    parts = [""]
    for escaped, group, sign in re.findall(r"\\(.)|\[((?:\\.|[^\]])*)\]?|(.)", pattern, re.DOTALL):
        if escaped:
            parts[-1] += re.escape(escaped)
        elif sign == "*":
            parts.append("")
        elif sign:
            parts[-1] += "." if sign == "?" else re.escape(sign)
        else:
            negated, signs = ("^", group[1:]) if group.startswith("^") else ("", group)
            # A backslash and a range mean the same in both languages.
            inside = re.sub(r"[\[&~|^]", lambda found: f"\\{found[0]}", signs)
            parts[-1] += f"[{negated}{inside}]" if inside else "."
    first, *others = parts
    middle = "".join(f"(?>.*?{part})" for part in others[:-1] if part)
    last = f".*{others[-1]}" if others else ""
    return re.compile(f"{first}{middle}{last}", re.DOTALL)


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
