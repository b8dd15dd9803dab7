"""The application: it sends each event with a key, and sends it again until a receipt with its outcome comes."""

import asyncio
import time
from collections import Counter
from typing import Final

from tests.support.bus.program import Program

EVENT: Final = "chaos.event"
#: Seconds without a receipt after which an event is sent again.
_AGAIN: Final = 1.5
#: Events without an outcome, at most, before the next one waits.
_WINDOW: Final = 1500
#: Events with the same ordering key follow one another; so many keys there are.
_KEYS: Final = 50


class Sender:
    """Sends numbers as events and takes receipts.

    Attributes:
        outcomes: Number → the outcomes of all its receipts, in order.
        attempts: Number → how often it was sent.
        refused: Kinds of errors by which an event was not accepted; it is sent again.
        last: When the last receipt for an event that had none came, on the monotonic clock.
    """

    def __init__(self, bus: Program, seed: int) -> None:
        self._bus = bus
        self._seed = seed
        self._open: dict[int, float] = {}
        self.outcomes: dict[int, list[str]] = {}
        self.attempts: Counter[int] = Counter()
        self.refused: Counter[str] = Counter()
        self.last = time.monotonic()

    def key(self, number: int) -> str:
        """Return the idempotency key of an event."""
        return f"{self._seed}-{number}"

    async def send_all(self, events: int, rate: float) -> None:
        """Send all events, and wait until each has an outcome."""
        began, sent = time.monotonic(), 0
        while len(self.outcomes) < events:
            now = time.monotonic()
            while sent < events and sent < (now - began) * rate and len(self._open) < _WINDOW:
                self._send(sent)
                sent += 1
            for number, sent_at in tuple(self._open.items()):
                if now - sent_at < _AGAIN:
                    break  # the dictionary is in the order of sending
                self._send(number)
            self.take()
            await asyncio.sleep(0.01)

    def _send(self, number: int) -> None:
        self._open.pop(number, None)
        self._open[number] = time.monotonic()
        self.attempts[number] += 1
        payload = {"number": number, "lane": f"lane-{number % _KEYS}"}
        headers = {"idempotency_key": self.key(number)}
        self._bus.emit(EVENT, payload, f"event/{number}", headers, source="chaos")

    def take(self) -> None:
        """Read the receipts that have come."""
        self._bus.pump()
        for event in self._bus.log:
            name, _, number = (event["correlation_id"] or "").partition("/")
            if name != "event":
                continue
            if event["event_type"].startswith("receipt."):
                self._receipt(int(number), event["event_type"].rpartition(".")[2])
            elif event["event_type"].startswith("response.") and not event["payload"]["ok"]:
                self.refused[event["payload"]["error"]["kind"]] += 1
        self._bus.log.clear()

    def _receipt(self, number: int, outcome: str) -> None:
        if number not in self.outcomes:
            self.last = time.monotonic()
        self.outcomes.setdefault(number, []).append(outcome)
        self._open.pop(number, None)
