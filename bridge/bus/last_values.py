"""Keeps the last event of some types and topics, and publishes it again for later subscribers."""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

import msgspec

from bridge.core.model import REPEATED
from bridge.core.ports import Publisher

#: About how many bytes a value costs beyond its texts.
_OVERHEAD: Final = 512
#: Values that are published again in one turn of the event loop, at most.
_BATCH: Final = 200

_Key = tuple[str, str]
"""The event type and the topic."""


class _Value(msgspec.Struct, frozen=True):
    frame: bytes
    payload: msgspec.Raw
    correlation_id: str | None
    headers: Mapping[str, str]
    owner: Hashable
    size: int
    kept_at: int


class LastValues:
    """The last values; of each, later subscribers get one copy, however many there are in a turn of the event loop."""

    def __init__(
        self,
        bus: Publisher,
        *,
        most: float = math.inf,
        most_bytes: float = math.inf,
        on_dropped: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Create it empty.

        Args:
            bus: Where they are published again.
            most: How many values are kept at most.
            most_bytes: How many bytes they may have, with their types, topics and headers.
            on_dropped: Called with the type of each value for which there was no room: one that is too large alone,
                else the oldest.
        """
        self._bus = bus
        self._most = most
        self._most_bytes = most_bytes
        self._on_dropped = on_dropped
        self._kept: OrderedDict[_Key, _Value] = OrderedDict()
        self._bytes = 0
        # What happens is numbered, so that a subscriber does not get a copy of what was published after it came.
        self._number = 0
        self._prefixes: dict[bytes, int] = {}
        self._unpublished: set[_Key] = set()
        self._due: OrderedDict[_Key, None] = OrderedDict()
        self._scheduled = False

    def __len__(self) -> int:
        return len(self._kept)

    def keep(
        self,
        event_type: str,
        payload: Any,
        *,
        owner: Hashable,
        topic: str = "",
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        published: bool = True,
    ) -> None:
        """Remember an event that was just published, in place of the one before of its type and topic.

        Args:
            event_type: Its type.
            payload: Its payload; it is copied, since the caller may change it later.
            owner: Who keeps it, for `forget`.
            topic: Its topic, where it comes from outside.
            correlation_id: Its correlation id.
            headers: Its headers.
            published: False where it was not published yet: the first later subscriber gets the event itself.
        """
        raw = msgspec.Raw(msgspec.msgpack.encode(payload))
        repeated = {**(headers or {}), REPEATED: "true"}
        size = len(raw) + sum(len(name) + len(value) for name, value in repeated.items()) + _OVERHEAD
        size += 2 * len(event_type) + len(topic)
        self._remove((event_type, topic))
        if size > self._most_bytes:
            self._on_dropped(event_type)
            return
        self._number += 1
        value = _Value(event_type.encode(), raw, correlation_id, repeated, owner, size, self._number)
        self._kept[event_type, topic] = value
        if not published:
            self._unpublished.add((event_type, topic))
        self._bytes += size
        while self._kept and (len(self._kept) > self._most or self._bytes > self._most_bytes):
            oldest = next(iter(self._kept))
            self._remove(oldest)
            self._on_dropped(oldest[0])

    def has(self, event_type: str, topic: str) -> bool:
        """Return whether there is a value of this type and topic."""
        return (event_type, topic) in self._kept

    def forget(self, owner: Hashable) -> None:
        """Do not publish the values of this owner again."""
        for key in [key for key, value in self._kept.items() if value.owner == owner]:
            self._remove(key)

    def regard_as_published(self, is_meant: Callable[[str], bool]) -> None:
        """Let later subscribers get a copy of the values of these types, as if each was published when it was kept."""
        self._unpublished = {key for key in self._unpublished if not is_meant(key[0])}

    def publish_again(self, prefix: bytes) -> None:
        """Publish the values whose types start with `prefix` again, from the end of this turn of the loop on."""
        if self._kept:
            self._number += 1
            self._prefixes[prefix] = self._number
            self._schedule()

    def _remove(self, key: _Key) -> None:
        self._due.pop(key, None)
        self._unpublished.discard(key)
        value = self._kept.pop(key, None)
        if value is not None:
            self._bytes -= value.size

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._publish_due)

    def _publish_due(self) -> None:
        """Publish some of the values that are due; the loop goes on in between, since there may be many."""
        self._scheduled = False
        if self._prefixes:
            self._select()
        for _ in range(min(_BATCH, len(self._due))):
            key, _ = self._due.popitem(last=False)
            value = self._kept[key]
            headers = value.headers
            if key in self._unpublished:
                self._unpublished.remove(key)
                headers = {name: text for name, text in headers.items() if name != REPEATED}
            self._bus.publish_or_report(key[0], value.payload, correlation_id=value.correlation_id, headers=headers)
        if self._due:
            self._schedule()

    def _select(self) -> None:
        """Note which values are due. A program that reads everything may have made a subscription for each byte."""
        subscribed, self._prefixes = self._prefixes, {}
        first = {prefix[0] for prefix in subscribed if len(prefix) == 1}
        longer = tuple(prefix for prefix in subscribed if len(prefix) != 1)
        earliest = min(subscribed.values())
        for key, value in self._kept.items():
            matches = value.frame[0] in first or value.frame.startswith(longer)
            if matches and (value.kept_at < earliest or _is_later(subscribed, value)):
                self._due[key] = None


def _is_later(subscribed: Mapping[bytes, int], value: _Value) -> bool:
    """Return whether somebody subscribed to a value after it was kept."""
    return any(number > value.kept_at for prefix, number in subscribed.items() if value.frame.startswith(prefix))
