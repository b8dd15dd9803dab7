"""Send numbered commands to one remote, and check what became of each."""

import asyncio
import time
from collections import Counter
from typing import Any

from tests.support.bus.program import Program
from tests.support.servers.remotes import Stand

#: Seconds without an answer after which a command may have been lost on its way.
_UNHEARD = 0.5


class Numbered:
    """Send numbers at a steady rate and record what becomes of each.

    Attributes:
        kind: The remote's.
        sent: How many commands.
        outcomes: Number → how each of its answers ended: `ok`, or the error's kind.
    """

    def __init__(self, bus: Program, stand: Stand, *, keyed: bool = False) -> None:
        self.bus = bus
        self._stand = stand
        self.kind = stand.kind
        self._keyed = keyed
        self._name = f"{stand.kind}+key" if keyed else stand.kind
        self._seen = bus.mark()
        self.sent = 0
        self.outcomes: dict[int, list[str]] = {}

    def send(self) -> int:
        """Send the next number."""
        number, self.sent = self.sent, self.sent + 1
        headers = {"idempotency_key": self.key(number)} if self._keyed else None
        self.bus.emit(self._stand.topic, self._stand.command(number), f"{self._name}/{number}", headers)
        return number

    def key(self, number: int) -> str:
        """Return the idempotency key of a number."""
        return f"{self._name}/{number}" if self._keyed else "-"

    def take(self) -> None:
        """Record the answers that have arrived."""
        self.bus.pump()
        for event in self.bus.log[self._seen :]:
            name, _, number = (event["correlation_id"] or "").partition("/")
            if name == self._name and event["event_type"].startswith("response."):
                payload: Any = event["payload"]
                how = "ok" if payload["ok"] else payload["error"]["kind"]
                self.outcomes.setdefault(int(number), []).append(how)
        self._seen = len(self.bus.log)

    async def flow(self, seconds: float, rate: float = 200.0) -> None:
        """Send for some seconds at this rate, in commands a second, without waiting for answers."""
        began, first = time.monotonic(), self.sent
        while (passed := time.monotonic() - began) < seconds:
            while self.sent - first < passed * rate:
                self.send()
            self.take()
            await asyncio.sleep(0.005)

    async def settle(self, seconds: float = 15.0) -> None:
        """Wait until each command has its answer."""
        end = time.monotonic() + seconds
        while len(self.outcomes) < self.sent:
            assert time.monotonic() < end, f"{self.sent - len(self.outcomes)} of {self.sent} have no answer"
            self.take()
            await asyncio.sleep(0.005)
        await self.bus.ask("bridge.ping")  # a second answer would have come before this one
        self.take()

    async def recovers(self, seconds: float = 10.0) -> float:
        """Send until one succeeds; return the seconds that it took. What is sent while there is no bus is lost."""
        began, numbers = time.monotonic(), [self.send()]
        sent = began
        while True:
            self.take()
            now = time.monotonic()
            if any(self.outcomes.get(number) == ["ok"] for number in numbers):
                return now - began
            assert now - began < seconds, f"{self._name}: not well again, {self.outcomes.get(numbers[-1])}"
            if numbers[-1] in self.outcomes or now - sent > _UNHEARD:
                numbers.append(self.send())
                sent = now
            await asyncio.sleep(0.005)

    @property
    def succeeded(self) -> set[int]:
        """Return the numbers that were acknowledged."""
        return {number for number, how in self.outcomes.items() if "ok" in how}

    @property
    def kinds(self) -> Counter[str]:
        """Return how many ended in which way."""
        return Counter(one for how in self.outcomes.values() for one in how)

    def check(self, *, gone: bool = False) -> None:
        """Each is answered once; acknowledged ⊆ delivered; delivered twice is only what has a key, and by that key.

        Args:
            gone: The bridge ended amid them, so that some have no answer.

        Raises:
            AssertionError: One of these is not so; the message has the numbers.
        """
        unanswered = set(range(self.sent)) - self.outcomes.keys()
        assert gone or not unanswered, f"no answer: {sorted(unanswered)[:5]}"
        twice = [number for number, how in self.outcomes.items() if len(how) > 1]
        assert not twice, f"answered more than once: {twice[:5]}"
        ledger = [(key, number) for key, number in self._stand.ledger() if (key != "-") is self._keyed]
        lost = self.succeeded - {number for _, number in ledger}
        assert not lost, f"{len(lost)} acknowledged and never delivered: {sorted(lost)[:5]}"
        wrong = [(key, number) for key, number in ledger if key != self.key(number)]
        assert not wrong, f"delivered with another key: {wrong[:5]}"
        again = [number for number, count in Counter(number for _, number in ledger).items() if count > 1]
        if not self._keyed or self._stand.dedupes:
            assert not again, f"{len(again)} delivered twice: {again[:5]}"
