"""Topic names and topic filters (MQTT 5, section 4.7).

They are checked before they are sent: a broker ends the connection for a bad one, or does not answer at all.
"""

import re
from typing import Any, Final
from zlib import crc32

from bridge.core.errors import InvalidError, NotSupportedError

_MAX_BYTES: Final = 65_535
#: A broker may close the connection for these (MQTT 5, 1.5.4): NUL must not be there, the others should not.
_FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")
_SHARE: Final = "$share/"
#: Subscription identifiers are 1 to this (MQTT 5, 3.8.2.1.2).
_MAX_IDENTIFIER: Final = 268_435_455
#: First levels that belong to the broker itself (4.7.2); other topics that begin with $ belong to some service.
_INTERNAL: Final = ("$SYS/", "$CONTROL/", _SHARE)


def check_text(text: str, name: str) -> str:
    """Check that a string can be an MQTT string, and return it; `name` is its name in the error's message.

    Raises:
        InvalidError: It is too long, no Unicode, or holds control characters.
    """
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise InvalidError(f"{name}: half of a surrogate pair has no UTF-8") from None
    if size > _MAX_BYTES:
        raise InvalidError(f"{name}: {size} bytes, MQTT has room for {_MAX_BYTES}")
    if _FORBIDDEN.search(text):
        raise InvalidError(f"{name}: MQTT has no control characters")
    return text


def check_topic(topic: str, name: str = "topic") -> str:
    """Check that a message can be published to a topic, and return it; raises InvalidError with the reason."""
    if not topic:
        raise InvalidError(f"{name}: a topic is never empty")
    if "+" in topic or "#" in topic:
        raise InvalidError(f"{name}: one publishes to one topic, so it has no wildcards (+, #)")
    if topic.startswith(_INTERNAL):
        raise InvalidError(f'{name}: "{topic.partition("/")[0]}" is for the broker itself')
    return check_text(topic, name)


def check_filter(topic: str) -> str:
    """Check that a filter can be subscribed to, and return it; raises InvalidError with the reason."""
    if not topic:
        raise InvalidError("topic: a filter is never empty")
    check_text(topic, "topic")
    levels = plain(topic).split("/")
    for position, level in enumerate(levels):
        if level != "+" and "+" in level:
            raise InvalidError("topic: + stands for a whole level, as in a/+/c")
        if "#" in level and (level != "#" or position != len(levels) - 1):
            raise InvalidError("topic: # stands alone at the end, as in a/#")
    return topic


def shared(topic: str, group: str) -> str:
    """Return the filter by which the members of a group share messages (MQTT 5, 4.8.2); raises InvalidError."""
    if not group or any(sign in group for sign in "/+#"):
        raise InvalidError("group: the name of a group is never empty and has no /, + or #")
    return check_text(f"{_SHARE}{check_text(group, 'group')}/{topic}", "topic with its group")


def group_of(topic: str) -> str | None:
    """Return the group in a filter with `$share/<group>/`; None where there is none."""
    return topic.split("/", 2)[1] if plain(topic) != topic else None


def identifier_of(topic: str) -> int:
    """Return the subscription identifier of a filter: the same in every session, because the broker keeps both."""
    return crc32(topic.encode()) % _MAX_IDENTIFIER + 1


def check_names(operation: str, name: str, group: str | None, config: Any) -> None:
    """Check the topic or filter of an operation, and its group; see `ports.NameCheck`."""
    if operation == "subscribe":
        shared_filter(name, group, version5=config.version == "5")
    elif operation == "request" and config.version != "5":
        raise no_requests()
    else:
        check_topic(name, "method" if operation == "request" else "topic")


def comes_back(topic: str, topic_filter: str) -> bool:
    """Return whether a message to a topic comes to a subscription; see `AdapterSpec.comes_back`."""
    return matches(plain(topic_filter), topic)


def no_requests() -> NotSupportedError:
    """Return the error of a request over MQTT 3.1.1."""
    return NotSupportedError('MQTT 3.1.1 has no request/response; version = "5" has')


def shared_filter(topic: str, group: str | None, *, version5: bool) -> str:
    """Check a filter and its group, and return the filter to subscribe to.

    Raises:
        InvalidError: The filter or the group is not possible.
        NotSupportedError: MQTT 3.1.1 has no groups.
    """
    check_filter(topic)
    if group is None:
        return topic
    if not version5:
        raise NotSupportedError('group: MQTT 3.1.1 has no shared subscriptions; version = "5" has')
    return shared(topic, group)


def plain(topic: str) -> str:
    """Return a filter without its `$share/<group>/`."""
    return topic.split("/", 2)[2] if topic.startswith(_SHARE) and topic.count("/") >= 2 else topic


def matches(topic_filter: str, topic: str) -> bool:
    """Return whether a topic matches a filter without a group.

    Wildcards at the beginning of a filter do not match topics that begin with `$` (MQTT 5, 4.7.2).
    """
    if topic_filter == topic:
        return True
    if topic.startswith("$") and topic_filter[:1] in {"+", "#"}:
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for position, level in enumerate(wanted):
        if level == "#":
            return True
        if position >= len(levels) or level not in {"+", levels[position]}:
            return False
    return len(wanted) == len(levels)
