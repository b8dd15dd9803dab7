"""A remote on a fake clock, with the real guard before it: it answers, and its connections end."""

import random
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from bridge.core.cancel import BoundedTasks
from bridge.core.errors import BridgeError, ConnectionLostError, NotConnectedError
from bridge.core.model import CircuitState, Operation, Outcome
from bridge.core.ports import Promise
from bridge.core.settings import ResilienceSettings
from bridge.resilience import Accounting, Guard, GuardedCall
from tests.support.clock import FakeClock

Done = Callable[[Operation, Outcome], None]


class CuttingRemote:
    """What an outbox sees of an integration (`DeliveryConnection`): a guard, and a remote that may end its connections.

    Attributes:
        answered: The numbers of the events that were answered, in order.
        tried: The numbers of the events of which an attempt reached the remote, in order.
        cuts: How many connections have ended.
        cuts_all: Whether every operation ends its connection now: an outage of a remote that still passes its checks.
    """

    def __init__(
        self,
        clock: FakeClock,
        *,
        poison: frozenset[int] = frozenset(),
        shared: bool = True,
        seed: int = 1,
        on_change: Callable[[], None] = lambda: None,
        **blocks: Any,
    ) -> None:
        """Create it, connected.

        Args:
            clock: For all waiting.
            poison: Numbers of the events whose operations end their connection.
            shared: One connection for all operations; otherwise one for each, as with HTTP.
            seed: For latencies.
            on_change: Called when it is connected again.
            blocks: Settings of the guard.
        """
        self._clock = clock
        self._rng = random.Random(seed)
        self._poison = poison
        self._shared = shared
        self._on_change = on_change
        self._in_flight: dict[Promise, int] = {}
        self._connected = True
        self._losses_in_a_row = 0
        self.cuts_all = False
        self.answered: list[int] = []
        self.tried: list[int] = []
        self.cuts = 0
        self.capacity = 100
        self.bugs: list[BaseException] = []
        self.guard = Guard(
            ResilienceSettings.model_validate(blocks),
            clock=clock,
            rng=self._rng,
            report=lambda *_: None,
            tasks=BoundedTasks(clock=clock),
            on_bug=self.bugs.append,
        )

    @property
    def accounting(self) -> Accounting:
        """See `DeliveryConnection`."""
        return self.guard.accounting

    @property
    def usable(self) -> bool:
        """See `DeliveryConnection`."""
        return self._connected

    @property
    def well(self) -> bool:
        """See `DeliveryConnection`."""
        return self._connected and self.guard.breaker.state is CircuitState.CLOSED

    def may_repeat(self, _: Operation) -> bool:
        """See `DeliveryConnection`."""
        return True

    def submit(self, operation: Operation, done: Done) -> None:
        """See `DeliveryConnection`."""
        self.guard.submit(_Call(remote=self, operation=operation, done=done))

    def begin(self, number: int, promise: Promise) -> None:
        """Take one attempt; it is answered a little later, or ends its connection."""
        if not self._connected:
            raise NotConnectedError("not connected")
        self.tried.append(number)
        self._in_flight[promise] = number
        self._clock.call_later(self._rng.uniform(0.001, 0.02), partial(self._end, promise))

    def _end(self, promise: Promise) -> None:
        number = self._in_flight.get(promise)
        if number is None:
            return
        if number in self._poison or self.cuts_all:
            self.cut(promise)
            return
        del self._in_flight[promise]
        self._losses_in_a_row = 0
        self.answered.append(number)
        promise.set_result({})

    def cut(self, promise: Promise | None = None) -> None:
        """End the connection of an attempt; None: every connection, as when the remote is killed."""
        if not self._connected:
            return
        self.cuts += 1
        self._losses_in_a_row += 1
        if self._shared or promise is None:
            self._connected = False
            self._clock.call_later(min(5.0, 0.1 * 2**self._losses_in_a_row), self._reconnect)
            lost, self._in_flight = list(self._in_flight), {}
        else:
            lost = [promise]
            del self._in_flight[promise]
            self._clock.call_later(1.0, self.guard.note_check)
        for one in lost:
            one.set_exception(ConnectionLostError("the connection ended"))

    def _reconnect(self) -> None:
        self._connected = True
        self.guard.note_check()
        self._on_change()


class _Call(GuardedCall, kw_only=True):
    remote: CuttingRemote
    done: Done
    idempotent: bool = True

    def begin(self, promise: Promise) -> Coroutine[Any, Any, Any] | None:
        """See `GuardedCall.begin`."""
        self.remote.begin(self.operation.cause.id, promise)
        return None

    def away(self) -> BridgeError | None:
        """See `GuardedCall.away`."""
        return None if self.remote.usable else NotConnectedError("not connected")

    def end(self, outcome: Outcome | None) -> None:
        """See `GuardedCall.end`."""
        assert outcome is not None, "nothing is cancelled here"
        self.done(self.operation, outcome)
