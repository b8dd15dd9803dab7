"""Take one operation through the guard to the adapter, and its outcome back."""

from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from bridge.connection.subscriptions import Subscriptions
from bridge.core.errors import StoppingError
from bridge.core.model import Operation, Outcome, Subscribe, Unsubscribe, forwarded_headers
from bridge.core.payloads import Nothing, Subscribed
from bridge.core.ports import Context, Promise, ProtocolAdapter
from bridge.resilience import Call

#: The context of operations whose event has no headers: not idempotent, idempotent.
_FIRST_HOP: Final = tuple(Context(forwarded_headers(None, 0), idempotent=idempotent) for idempotent in (False, True))

Done = Callable[[Operation, Outcome], None]


class CallTarget(Protocol):
    """The part of a connection that one operation uses."""

    @property
    def subscriptions(self) -> Subscriptions:
        """The subscriptions, which `subscribe` and `unsubscribe` change."""
        ...

    def session(self) -> ProtocolAdapter:
        """Return the session for an attempt; raise NotConnectedError where there is none."""
        ...

    def learn(self, outcome: Outcome) -> None:
        """Conclude from the outcome of a call how the connection is."""
        ...


class GuardedCall(Call):
    """One operation that the guard runs on the current session."""

    __slots__ = ("_connection", "_context", "_done")

    def __init__(self, connection: CallTarget, operation: Operation, done: Done, *, idempotent: bool) -> None:
        super().__init__(operation, idempotent=idempotent)
        self._connection = connection
        self._done = done
        self._context: Context | None = None

    @property
    def context(self) -> Context:
        """What the adapter may know beside the arguments. Made at the first attempt: a waiting call stays small."""
        if self._context is None:
            operation = self.operation
            if operation.headers is None and operation.idempotency_key is None and not operation.hop:
                self._context = _FIRST_HOP[self.idempotent]
            else:
                headers = forwarded_headers(operation.headers, operation.hop)
                self._context = Context(headers, operation.idempotency_key, self.idempotent)
        return self._context

    def begin(self, promise: Promise) -> Coroutine[Any, Any, Any] | None:
        """Begin one attempt on the session; see `Call.begin`."""
        session = self._connection.session()
        command = self.operation.command
        if isinstance(command, Subscribe):
            return self._subscribe(session, command)
        if isinstance(command, Unsubscribe):
            return self._unsubscribe(session, command)
        return session.begin(command, self.context, promise)

    async def _subscribe(self, session: ProtocolAdapter, command: Subscribe) -> Subscribed:
        source = self.operation.cause.source
        return Subscribed(subscription=await self._connection.subscriptions.add(session, command, source))

    async def _unsubscribe(self, session: ProtocolAdapter, command: Unsubscribe) -> Nothing:
        await self._connection.subscriptions.remove(session, command)
        return Nothing()

    def end(self, outcome: Outcome | None) -> None:
        """See `Call.end`."""
        if outcome is None:
            stopped = StoppingError("the bridge stopped before the answer came", maybe_sent=True)
            outcome = Outcome(error=stopped)
            self._done(self.operation, outcome)
        else:
            self._done(self.operation, outcome)
            self._connection.learn(outcome)
