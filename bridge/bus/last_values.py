"""Keeps the last value of some event types, and publishes it again for later subscribers."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from bridge.core.ports import Publisher


@dataclass(frozen=True, slots=True)
class _Kept:
    payload: msgspec.Raw
    correlation_id: str | None
    headers: Mapping[str, str] | None


class LastValues:
    """The last values; each is published again at most once in a turn of the event loop."""

    def __init__(self, bus: Publisher) -> None:
        """Create it; `bus` is where they are published."""
        self._bus = bus
        self._kept: dict[str, _Kept] = {}
        self._due: dict[str, None] = {}

    def keep(
        self, event_type: str, payload: Any, *, correlation_id: str | None, headers: Mapping[str, str] | None
    ) -> None:
        """Remember an event that was just published, in place of the one before of its type."""
        # A copy: the caller may change the payload later.
        raw = msgspec.Raw(msgspec.msgpack.encode(payload))
        self._kept[event_type] = _Kept(raw, correlation_id, headers)

    def forget(self, event_type: str) -> None:
        """Do not publish this type again."""
        self._kept.pop(event_type, None)

    def publish_again(self, prefix: str) -> None:
        """Publish the values whose types start with `prefix` again, at the end of this turn of the event loop."""
        if not self._kept:
            return
        if not self._due:
            asyncio.get_running_loop().call_soon(self._publish_due)
        for event_type in self._kept:
            if event_type.startswith(prefix):
                self._due[event_type] = None

    def _publish_due(self) -> None:
        due, self._due = self._due, {}
        for event_type in due:
            kept = self._kept.get(event_type)
            if kept is not None:
                self._bus.publish(event_type, kept.payload, correlation_id=kept.correlation_id, headers=kept.headers)
