"""Counts what was sent to each integration, and what came back."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.load.storm.integrations import LoadedIntegration
from tests.support.bus.program import Program


@dataclass(slots=True)
class Account:
    """The counts of one integration.

    Attributes:
        sent: Number → when (monotonic seconds).
        succeeded: Numbers whose response was good.
        errors: Kinds of the others.
        failed_at: When each failed response came.
        waits: When each response came, and how long its command had waited, in seconds.
        seen: How often each number came in from outside; of the timer only how many.
        strange: What came in and is no message of ours.
        twice: Commands that were answered twice.
        status: The last `health.<id>`, and when it last became `connected`.
    """

    sent: dict[int, float] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)
    succeeded: set[int] = field(default_factory=set)
    errors: Counter[str] = field(default_factory=Counter)
    failed_at: list[float] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)
    seen: Counter[int] = field(default_factory=Counter)
    strange: list[str] = field(default_factory=list)
    twice: int = 0
    status: str = ""
    connected_at: float = 0.0


#: Every so many-th command of those that can carry an idempotency key does. Answers by key are kept for minutes.
_KEYED: Final = 4


class Accounts:
    """Sends commands to all integrations, and counts what comes back on the bus."""

    def __init__(self, bus: Program, integrations: Sequence[LoadedIntegration]) -> None:
        self._bus = bus
        self._integrations = [one for one in integrations if one.operation is not None]
        self._number = 0
        self.of = {one.name: Account() for one in integrations}

    def send(self) -> None:
        """Send the next command, to the next integration."""
        one = self._integrations[self._number % len(self._integrations)]
        number, self._number = self._number, self._number + 1
        keyed = one.keyed and number // len(self._integrations) % _KEYED == 0
        headers = {"idempotency_key": f"storm-{number}"} if keyed else None
        account = self.of[one.name]
        account.sent[number] = time.monotonic()
        account.open.add(number)
        topic = f"integration.{one.name}.{one.operation}"
        self._bus.emit(topic, one.command(number), f"{one.name}/{number}", headers)

    @property
    def sent(self) -> int:
        """How many commands were sent in all."""
        return self._number

    @property
    def open(self) -> int:
        """How many commands have no answer yet."""
        return sum(len(one.open) for one in self.of.values())

    def take(self) -> None:
        """Read what has come."""
        self._bus.pump()
        now = time.monotonic()
        for event in self._bus.log:
            family, _, rest = event["event_type"].partition(".")
            if family == "response":
                self._answered(event, now)
            elif family == "seen":
                self._seen(rest, event["payload"])
            elif family == "health" and rest in self.of:
                account, status = self.of[rest], event["payload"]["status"]
                if status == "connected" and account.status != "connected":
                    account.connected_at = now
                account.status = status
        self._bus.log.clear()

    def _seen(self, name: str, payload: dict[str, Any]) -> None:
        account, message = self.of[name], payload["message"]
        match message:
            case {"number": int() as number}:
                account.seen[number] += 1
            case int() if name == "file":
                account.seen[message] += 1
            case {"scheduled_at": int()}:
                account.seen[0] += 1
            case {"$bytes": _} if name == "mqtt":
                pass  # by which the broker's ledger knows that it has read everything
            case _:
                account.strange.append(str(payload)[:300])

    def _answered(self, event: dict[str, Any], now: float) -> None:
        name, _, number = (event["correlation_id"] or "").partition("/")
        if name not in self.of:
            return
        account, payload = self.of[name], event["payload"]
        if int(number) not in account.open:
            account.twice += 1
            return
        account.open.discard(int(number))
        account.waits.append((now, now - account.sent[int(number)]))
        if payload["ok"]:
            account.succeeded.add(int(number))
        else:
            account.errors[payload["error"]["kind"]] += 1
            account.failed_at.append(now)
