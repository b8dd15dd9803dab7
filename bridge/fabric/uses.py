"""Use integrations of other nodes: send each command to one node that offers its integration, and take the answer."""

import asyncio
from typing import Final, Protocol

import msgspec

from bridge.core.backoff import backoff
from bridge.core.cluster import ClusterSession
from bridge.core.errors import AttemptTimeoutError, BridgeError, DeadlineError, ProtocolError, UnavailableError
from bridge.core.fabric import USUAL_LIMIT
from bridge.core.model import Executed, Operation, Request
from bridge.core.ports import Context
from bridge.fabric.context import FabricContext
from bridge.fabric.requests import LONGEST, UseRequest, encode_payload, encode_request, read_answer

#: Seconds on the way that are added to what a node says.
_ON_THE_WAY: Final = 5.0
#: Seconds for which a command is sent again that no node has taken, although one offers its integration: it may be
#: about to serve it, or another one to take over. And the waits between: the first, and the longest.
_UNTIL_SERVED: Final = 1.0
_WAITS: Final = (0.02, 0.2)


class Offering(Protocol):
    """What is known of the nodes that offer an integration; see `membership.Membership`."""

    def offering(self, integration: str) -> list[str]:
        """Return the nodes that can be asked for an integration now."""
        ...

    def longest(self, integration: str) -> float | None:
        """Return the seconds that a command may take at the slowest of them; None where none of them says it."""
        ...


class Uses:
    """The integrations of other nodes that this bridge uses, in one fabric."""

    def __init__(self, context: FabricContext, nodes: Offering) -> None:
        """Create it; nothing is sent before `run`.

        Args:
            context: What all parts of the fabric share.
            nodes: Who offers what.
        """
        self._context = context
        self._nodes = nodes
        self._session: ClusterSession | None = None
        self._waiting: asyncio.Event | None = None
        self._closed = False

    def of(self, integration: str) -> "Used":
        """Return an integration of other nodes. It may be asked for before `run`."""
        return Used(self, integration)

    async def run(self, session: ClusterSession) -> None:
        """Send commands on this session until it is cancelled. What was sent before that still gets its answer."""
        self._session = session
        self.touch()
        try:
            await asyncio.Event().wait()
        finally:
            self._session = None
            self.touch()

    def touch(self) -> None:
        """Note that other nodes may offer something now, or no more."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.set()

    def close(self) -> None:
        """Note that this bridge leaves the fabric; nothing can be used any more."""
        self._closed = True
        self.touch()

    async def changed(self) -> None:
        """See `UsedIntegration.changed`."""
        if self._closed:
            return
        if self._waiting is None:
            self._waiting = asyncio.Event()
        await self._waiting.wait()

    def unavailable(self, integration: str) -> BridgeError | None:
        """See `UsedIntegration.unavailable`."""
        if self._session is None:
            return UnavailableError(f"this bridge is not in the fabric {self._fabric!r} now", maybe_sent=False)
        return None if self._nodes.offering(integration) else self._nobody(integration)

    async def perform(self, integration: str, operation: Operation, context: Context) -> Executed:
        """See `UsedIntegration.perform`."""
        session, unavailable = self._session, self.unavailable(integration)
        # The broker knows of a node that stands still only much later, and would hand it the command.
        if session is None or unavailable is not None:
            raise unavailable or self._nobody(integration)
        clock = self._context.clock
        limit = self._limit(integration, operation)
        if limit <= 0:
            raise DeadlineError("the caller's time was up before it was sent", maybe_sent=False)
        until = clock.monotonic() + limit
        request = self._request(operation, context)
        late = f"no node of the fabric {self._fabric!r} that offers {integration!r} has answered within {limit:.1f} s"
        try:
            async with clock.timeout(limit):
                answer = await self._ask(session, integration, request, until)
        except TimeoutError:
            if operation.deadline is not None:
                raise DeadlineError(f"the caller's time was up: {late}") from None
            raise AttemptTimeoutError(late) from None
        try:
            return read_answer(answer)
        except DeadlineError as error:
            if operation.deadline is not None:
                raise
            # The limit is our own. A caller without one may try it again.
            timeout = AttemptTimeoutError(late, maybe_sent=error.maybe_sent)
            timeout.attempts = error.attempts
            raise timeout from None
        except ValueError as unfit:
            self._context.garbage(f"an answer from those who offer {integration}: {unfit}")
            raise ProtocolError(f"the answer of a node that offers {integration!r} makes no sense: {unfit}") from None

    async def _ask(self, session: ClusterSession, integration: str, request: UseRequest, until: float) -> bytes:
        """Send a request until a node has taken it, and return its answer."""
        clock, subject = self._context.clock, self._context.names.use(integration)
        give_up = min(clock.monotonic() + _UNTIL_SERVED, until)
        attempt = 0
        while True:
            left_ms = max(0.0, (until - clock.monotonic()) * 1000)
            try:
                return await session.ask(subject, encode_request(msgspec.structs.replace(request, left_ms=left_ms)))
            except UnavailableError as unserved:
                if unserved.maybe_sent:
                    raise
                attempt += 1
                wait = backoff(*_WAITS, attempt, rng=self._context.rng)
                if not self._nodes.offering(integration) or clock.monotonic() + wait >= give_up:
                    raise self._nobody(integration) from None
                await clock.sleep(wait)

    def _limit(self, integration: str, operation: Operation) -> float:
        """Return the seconds that the answer may take."""
        if operation.deadline is not None:
            return min(operation.deadline - self._context.clock.monotonic(), LONGEST)
        longest = self._nodes.longest(integration)
        return USUAL_LIMIT if longest is None else min(longest + _ON_THE_WAY, LONGEST)

    def _request(self, operation: Operation, context: Context) -> UseRequest:
        command = operation.command
        if isinstance(command, Request) and command.timeout_ms is not None:
            command = msgspec.structs.replace(command, timeout_ms=None)  # the time that is left says it
        headers = dict(context.headers)
        if context.idempotency_key is not None:
            headers["idempotency_key"] = context.idempotency_key
        return UseRequest(
            node=self._context.names.node,
            operation=operation.name,  # type: ignore[arg-type]
            payload=encode_payload(command),
            source=operation.cause.source,
            id=operation.cause.id,
            correlation_id=operation.correlation_id,
            route=operation.route,
            headers=headers,
            left_ms=0.0,
        )

    @property
    def _fabric(self) -> str:
        return self._context.settings.name

    def _nobody(self, integration: str) -> UnavailableError:
        return UnavailableError(
            f"no connected node of the fabric {self._fabric!r} offers {integration!r} now", maybe_sent=False
        )


class Used:
    """An integration of other nodes; see `core.fabric.UsedIntegration`."""

    def __init__(self, uses: Uses, integration: str) -> None:
        self._uses = uses
        self._integration = integration

    def unavailable(self) -> BridgeError | None:
        """See `UsedIntegration.unavailable`."""
        return self._uses.unavailable(self._integration)

    async def changed(self) -> None:
        """See `UsedIntegration.changed`."""
        await self._uses.changed()

    async def perform(self, operation: Operation, context: Context) -> Executed:
        """See `UsedIntegration.perform`."""
        return await self._uses.perform(self._integration, operation, context)
