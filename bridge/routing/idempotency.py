"""Remembers answers by idempotency key, so that a repeated command is answered from memory and runs once.

The bus is lossy, so `bridge.client` sends a command again, with the same key, until its response comes. The scope of a
key is `(source, key)`, and of a route `(source, key, route)`; an answer is remembered for ten minutes (bus contract,
"receipts" and "Delivery"). What was rejected without an attempt (circuit open, overloaded, stopping) is not remembered,
so that a caller can try it again later.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from bridge.core.model import Event, Outcome
from bridge.core.ports import Clock
from bridge.core.responder import Answer

_KEPT_FOR: Final = 600.0
#: Bounds of the memory, so that keys cannot fill it: entries, and bytes of encoded answers.
_MOST_ENTRIES: Final = 50_000
_MOST_BYTES: Final = 64 << 20

Key = tuple[str | None, str, str | None]
"""The scope of an idempotency key: source, key, route."""

Asker = str | Callable[[Outcome], None]
"""Who waits for an outcome: a correlation id on the bus, or what takes it elsewhere."""


def key_of(event: Event, route: str | None) -> Key | None:
    """Return the scope of an event's idempotency key; None where the event has no key."""
    key = event.header("idempotency_key")
    return None if key is None else (event.source, key, route)


class AnswerMemory:
    """Remembers which answer each key got, and who waits for an answer that is still to come."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: dict[Key, list[Asker]] = {}
        self._answered: OrderedDict[Key, tuple[Answer, float]] = OrderedDict()
        self._bytes = 0

    def begin(self, key: Key, asker: Asker | None) -> tuple[bool, Answer | None]:
        """Register a command; `asker` is None where nobody waits for its answer.

        Returns:
            `(True, None)`: it is new; run it. `(False, answer)`: it was answered already, with this.
            `(False, None)`: it is running; the answer will go to this asker, too.
        """
        self._expire()
        answered = self._answered.get(key)
        if answered is not None:
            return False, answered[0]
        askers = self._running.get(key)
        if askers is None:
            self._running[key] = [] if asker is None else [asker]
            return True, None
        if asker is not None and asker not in askers:
            askers.append(asker)
        return False, None

    def finish(self, key: Key, answer: Answer, *, remember: bool) -> list[Asker]:
        """Store the answer of a running command; return all who asked."""
        if remember:
            self._answered[key] = (answer, self._clock.monotonic() + _KEPT_FOR)
            self._bytes += len(answer.response)
        return self._running.pop(key)

    def _expire(self) -> None:
        now = self._clock.monotonic()
        while self._answered:
            key, (answer, until) = next(iter(self._answered.items()))
            if until > now and len(self._answered) <= _MOST_ENTRIES and self._bytes <= _MOST_BYTES:
                return
            self._bytes -= len(answer.response)
            del self._answered[key]
