"""Sends commands to every integration at a steady rate, and counts their answers."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from tests.support.bus.program import Program
from tests.support.servers.remotes import Stand

#: Every so many-th command carries an idempotency key.
_KEYED: Final = 4


class Load:
    """Sends commands and pings, and reads answers and events.

    Attributes:
        sent: How many commands.
        succeeded: Numbers of the commands that ended well, by protocol.
        errors: Kinds of errors of the others.
        inbound: How often each number came back from outside, by protocol.
        trips: Round trips of pings since somebody last emptied it, in seconds.
    """

    def __init__(self, bus: Program, stands: Sequence[Stand]) -> None:
        self._bus = bus
        self._stands = stands
        self._answered: Counter[int] = Counter()
        self._pings: dict[str, float] = {}
        self.sent = 0
        self.succeeded: dict[str, set[int]] = {one.kind: set() for one in stands}
        self.errors: Counter[str] = Counter()
        self.inbound: dict[str, Counter[int]] = {one.kind: Counter() for one in stands}
        self.trips: list[float] = []

    def send(self) -> None:
        """Send the next command."""
        number, self.sent = self.sent, self.sent + 1
        one = self._stands[number % len(self._stands)]
        headers = {"idempotency_key": f"soak-{number}"} if number // len(self._stands) % _KEYED == 0 else None
        self._bus.emit(one.topic, one.command(number), f"{one.kind}/{number}", headers)

    def ping(self) -> None:
        """Send a ping to the sidecar."""
        name = f"ping/{len(self._pings)}/{time.monotonic()}"
        self._pings[name] = time.monotonic()
        self._bus.emit("bridge.ping", None, name)

    def take(self) -> None:
        """Read what has come."""
        self._bus.pump()
        now = time.monotonic()
        for event in self._bus.log:
            kind, _, rest = (event["correlation_id"] or "").partition("/")
            if event["event_type"].startswith("seen."):
                self.inbound[event["event_type"].removeprefix("seen.")][event["payload"]["message"]["number"]] += 1
            elif not event["event_type"].startswith("response."):
                continue
            elif kind == "ping":
                self.trips.append(now - self._pings.pop(event["correlation_id"]))
            elif kind in self.succeeded:
                self._note(kind, int(rest), event["payload"])
        self._bus.log.clear()

    def _note(self, kind: str, number: int, payload: dict[str, object]) -> None:
        self._answered[number] += 1
        if payload["ok"]:
            self.succeeded[kind].add(number)
        else:
            error = payload["error"]
            assert isinstance(error, dict)
            self.errors[error["kind"]] += 1

    @property
    def pinging(self) -> bool:
        """Whether a ping waits for its answer."""
        return bool(self._pings)

    @property
    def open(self) -> int:
        """How many commands wait for their answer."""
        return self.sent - len(self._answered)

    @property
    def twice(self) -> int:
        """How many commands were answered more than once."""
        return sum(1 for count in self._answered.values() if count > 1)
