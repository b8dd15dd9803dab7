"""Answers by idempotency key: a repeated command is answered from memory and runs once.

The bus is lossy, so `bridge.client` sends a command again, with the same key, until its response comes. The scope of a
key is `(source, key)`, and of a route `(source, key, route)`; an answer is remembered for ten minutes (bus contract,
"receipts" and "Delivery"). What was rejected without an attempt (circuit open, overloaded, stopping) is not remembered:
a caller who tries later, as told, wants it tried.
"""

from collections import OrderedDict
from typing import Any, Final

import msgspec

from bridge.core.errors import InvalidError
from bridge.core.model import Event
from bridge.core.ports import Clock

_KEPT_FOR: Final = 600.0
#: Bounds of the memory, so that keys cannot fill it: entries, and bytes of encoded answers.
_MOST_ENTRIES: Final = 50_000
_MOST_BYTES: Final = 64 << 20

Key = tuple[str | None, str, str | None]
Receipt = tuple[str, msgspec.Raw]
"""A receipt's event type and payload."""


class Replies:
    """What was answered to which key, and who waits for an answer that is still to come."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: dict[Key, list[str]] = {}
        self._answered: OrderedDict[Key, tuple[msgspec.Raw, float, Receipt | None]] = OrderedDict()
        self._bytes = 0

    @staticmethod
    def key_of(event: Event, route: str | None) -> Key | None:
        """The key's scope, None where the event has no key."""
        key = event.header("idempotency_key")
        return None if key is None else (event.source, key, route)

    def begin(self, key: Key, correlation_id: str | None) -> tuple[bool, msgspec.Raw | None]:
        """Take note of a command.

        Returns:
            `(True, None)`: it is new, run it. `(False, payload)`: it was answered already, with this payload.
            `(False, None)`: it is running; the asker gets the answer when it comes.
        """
        self._expire()
        answered = self._answered.get(key)
        if answered is not None:
            return False, answered[0]
        askers = self._running.get(key)
        if askers is None:
            self._running[key] = [] if correlation_id is None else [correlation_id]
            return True, None
        if correlation_id is not None and correlation_id not in askers:
            askers.append(correlation_id)
        return False, None

    def askers(self, key: Key) -> list[str]:
        """The correlation ids of all who have asked so far."""
        return list(self._running[key])

    def receipt(self, key: Key) -> Receipt | None:
        """The receipt that belongs to an answer, where one was asked for."""
        answered = self._answered.get(key)
        return None if answered is None else answered[2]

    def finish(self, key: Key, payload: Any, *, remember: bool, receipt: Receipt | None = None) -> list[str]:
        """Note the answer; returns the correlation ids of all who asked.

        Raises:
            InvalidError: The answer is nothing that MessagePack can hold; nothing was noted.
        """
        try:
            encoded = msgspec.Raw(msgspec.msgpack.encode(payload)) if remember else None
        except (OverflowError, ValueError) as error:
            raise InvalidError(str(error)) from None
        askers = self._running.pop(key)
        if encoded is not None:
            self._answered[key] = (encoded, self._clock.monotonic() + _KEPT_FOR, receipt)
            self._bytes += len(encoded)
        return askers

    def _expire(self) -> None:
        now = self._clock.monotonic()
        while self._answered:
            key, (payload, until, _) = next(iter(self._answered.items()))
            if until > now and len(self._answered) <= _MOST_ENTRIES and self._bytes <= _MOST_BYTES:
                return
            self._bytes -= len(payload)
            del self._answered[key]
