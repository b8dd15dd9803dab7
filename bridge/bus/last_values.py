"""The last value of each kept event type, said again to whoever subscribes later."""

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
    """Keeps them, and publishes them again when they are asked for, each once in a turn of the loop."""

    def __init__(self, bus: Publisher) -> None:
        self._bus = bus
        self._kept: dict[str, _Kept] = {}
        self._due: dict[str, None] = {}

    def keep(
        self, event_type: str, payload: Any, *, correlation_id: str | None, headers: Mapping[str, str] | None
    ) -> None:
        """Remember what was just published; the last one of a type counts."""
        # A copy: the caller may change what it gave.
        raw = msgspec.Raw(msgspec.msgpack.encode(payload))
        self._kept[event_type] = _Kept(raw, correlation_id, headers)

    def forget(self, event_type: str) -> None:
        """Do not say this type again."""
        self._kept.pop(event_type, None)

    def asked(self, prefix: str) -> None:
        """Somebody has subscribed to what begins like this."""
        if not self._kept:
            return
        if not self._due:
            asyncio.get_running_loop().call_soon(self._say)
        for event_type in self._kept:
            if event_type.startswith(prefix):
                self._due[event_type] = None

    def _say(self) -> None:
        due, self._due = self._due, {}
        for event_type in due:
            kept = self._kept.get(event_type)
            if kept is not None:
                self._bus.publish(event_type, kept.payload, correlation_id=kept.correlation_id, headers=kept.headers)
