"""From an event to its answer: commands and routes are checked, handed to a connection, and responded to.

Everything here happens on the bus reader's turn and returns at once; what takes time runs in a connection's guard, or
as a task of the gateway (`Controls.later`).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from bridge.config import Route
from bridge.connection import Connection, ConnectionManager
from bridge.controls import Controls, EventBus, Outbox
from bridge.errors import (
    BridgeError,
    InvalidError,
    ProtocolError,
    StoppingError,
    UnknownIntegrationError,
    UnknownOperationError,
)
from bridge.event_type import to_event_type
from bridge.model import (
    CONTROLS,
    LETTERS,
    MAX_HOP,
    Command,
    ConnectionStatus,
    Empty,
    Event,
    Letters,
    Operation,
    Outcome,
    travelling,
)
from bridge.outbox import receipt as receipt_of
from bridge.outbox import verdict_of
from bridge.ports import Clock
from bridge.replies import Key, Replies
from bridge.router import (
    Router,
    Target,
    applies,
    cause_of,
    check_empty,
    operation_of,
    ordering_key,
    parse_command,
    parse_letters,
    route_command,
)

_DONE: Final = Outcome(result={})
#: Integrations of other bridges that are remembered; names can be invented, memory cannot.
_MOST_ELSEWHERE: Final = 10_000
#: Seconds without a heartbeat after which another bridge is taken for dead, and its commands are answered again.
_NEIGHBOUR_SILENCE: Final = 60.0


class Dispatcher:
    """Takes every event that the bus read; answers commands; sets off routes."""

    def __init__(
        self,
        router: Router,
        manager: ConnectionManager,
        controls: Controls,
        *,
        outbox: Outbox,
        bus: EventBus,
        source: str,
        clock: Clock,
    ) -> None:
        self.router = router
        self.stopping = False
        self._manager = manager
        self._controls = controls
        self._outbox = outbox
        self._bus = bus
        self._source = source
        self._clock = clock
        self._replies = Replies(clock)
        self._elsewhere: dict[str, float] = {}

    def on_event(self, event: Event) -> None:
        """Act on one event."""
        decision = self.router.decide(event.event_type)
        if decision.health:
            self._learn(event)
        own = event.source == self._source
        if decision.target is not None:
            if not own and self._crosses(event):
                self._command(event, decision.target)
            return
        routes = decision.routes
        if own:
            routes = tuple(route for route in routes if route.own)
        if routes and self._crosses(event):
            for route in routes:
                self._route(event, route)

    def _crosses(self, event: Event) -> bool:
        if event.headers is None or event.hop < MAX_HOP:
            return True
        self._bus.reject_loop(event.event_type)
        return False

    def _learn(self, event: Event) -> None:
        """Note which integrations another bridge on this bus has, so that its commands are left to it."""
        name, source = event.event_type.removeprefix("health."), event.source or ""
        if source == self._source or source.partition("/")[0] != "bridge":
            return
        payload = event.payload
        if isinstance(payload, dict) and payload.get("status") != ConnectionStatus.STOPPED:
            if len(self._elsewhere) < _MOST_ELSEWHERE or name in self._elsewhere:
                self._elsewhere[name] = self._clock.monotonic() + _NEIGHBOUR_SILENCE
        else:
            self._elsewhere.pop(name, None)

    # --- commands

    def _command(self, event: Event, target: Target) -> None:
        if isinstance(target.problem, UnknownIntegrationError) and (
            self._elsewhere.get(target.integration or "", 0.0) > self._clock.monotonic()
        ):
            return
        answer = self._begin(event, None)
        if answer is None:
            return
        try:
            if target.problem is not None:
                raise target.problem
            if target.integration is None:
                self._bridge_command(event, target.operation, answer)
            else:
                self._integration_command(event, target.integration, target.operation, answer)
        except BridgeError as error:
            self._refuse(event, target.integration or "bridge", target.operation, error, answer)

    def _integration_command(self, event: Event, name: str, operation: str, answer: "_Answer") -> None:
        connection = self._connection(name)
        if operation in CONTROLS:
            check_empty(event, operation)
            self._control(event, connection, operation, answer)
        else:
            self._submit(event, connection, operation, parse_command(operation, event), answer=answer)

    def _control(self, event: Event, connection: Connection, name: str, answer: "_Answer") -> None:
        if name == "drain":
            connection.guard.stop_accepting()  # at once, for what comes right behind
            self._controls.later(self._drain(connection, answer))
        elif name == "pause":
            connection.pause()
            answer(_DONE)
        elif name == "resume":
            connection.resume()
            answer(_DONE)
        else:
            breaker = connection.guard.breaker
            # What changes is told with who asked for it.
            operation = operation_of(event, name, connection.id, Empty(), now=0.0, wall_ms=0)
            change = breaker.force_open if name == "circuit.force_open" else breaker.reset
            change(operation)
            answer(Outcome(result={"state": breaker.state.value}))

    async def _drain(self, connection: Connection, answer: "_Answer") -> None:
        await connection.drain()
        answer(_DONE)

    def _bridge_command(self, event: Event, operation: str, answer: "_Answer") -> None:
        if operation == "ping":
            answer(Outcome(result=event.raw))
        elif operation == "status":
            check_empty(event, operation)
            answer(Outcome(result=self._controls.status()))
        elif operation in LETTERS:
            wanted = parse_letters(operation, event)
            self._controls.later(self._letters(event, operation, wanted, answer))
        elif operation == "reload":
            if self.stopping:
                raise StoppingError("the bridge is stopping")
            check_empty(event, operation)
            self._controls.later(self._reload(event, answer))
        else:
            raise UnknownOperationError(f"the bridge has no operation {operation!r}")

    async def _letters(self, event: Event, operation: str, wanted: Letters, answer: "_Answer") -> None:
        try:
            result = await self._controls.letters(operation, wanted)
        except BridgeError as error:
            self._refuse(event, "bridge", operation, error, answer)
        else:
            answer(Outcome(result=result))

    async def _reload(self, event: Event, answer: "_Answer") -> None:
        try:
            plan = await self._controls.reload()
        except BridgeError as error:
            self._refuse(event, "bridge", "reload", error, answer)
        else:
            answer(Outcome(result=plan))

    # --- routes

    def _route(self, event: Event, route: Route) -> None:
        answer: _Answer | None = None
        try:
            scope: Mapping[str, Any] = {"event": event}
            if not applies(route, scope):
                return
            if route.durable:
                self._accept(event, route, scope)
                return
            answer = self._begin(event, route)
            if answer is None:
                return
            connection = self._connection(route.integration)
            command, key = route_command(route, scope), ordering_key(route, scope)
            self._submit(event, connection, route.operation, command, answer=answer, route=route, key=key)
        except BridgeError as error:
            answer = answer or _Answer(self, event, route, None)
            self._refuse(event, route.integration, route.operation, error, answer)

    def _accept(self, event: Event, route: Route, scope: Mapping[str, Any]) -> None:
        """Give an event to the outbox, which answers a repeated key, and everything that comes after."""
        if self.stopping:
            raise StoppingError("the bridge is stopping")
        operation = operation_of(
            event,
            route.operation,
            route.integration,
            route_command(route, scope),
            now=self._clock.monotonic(),
            wall_ms=self._clock.wall_ms(),
            route=route,
            key=ordering_key(route, scope),
        )
        emit = None if route.emit is None else to_event_type(route.emit.evaluate(scope))
        self._outbox.accept(event, operation, emit=emit, receipts=route.receipts)

    # --- both

    def _connection(self, name: str) -> Connection:
        if self.stopping:
            raise StoppingError("the bridge is stopping")
        connection = self._manager.get(name)
        if connection is None:
            raise StoppingError(f"integration {name!r} is being replaced")
        return connection

    def _submit(
        self,
        event: Event,
        connection: Connection,
        name: str,
        command: Command,
        *,
        answer: "_Answer",
        route: Route | None = None,
        key: str | None = None,
    ) -> None:
        now, wall_ms = self._clock.monotonic(), self._clock.wall_ms()
        operation = operation_of(event, name, connection.id, command, now=now, wall_ms=wall_ms, route=route, key=key)
        connection.submit(operation, answer.done)

    def _begin(self, event: Event, route: Route | None) -> "_Answer | None":
        """The answer to be given, or None where a repeated key is answered from memory."""
        key = Replies.key_of(event, None if route is None else route.name)
        if key is None:
            return _Answer(self, event, route, None)
        fresh, payload = self._replies.begin(key, event.correlation_id)
        if fresh:
            return _Answer(self, event, route, key)
        receipt = self._replies.receipt(key)
        if receipt is not None:
            self._tell(event, *receipt, event.correlation_id)
        if payload is not None and event.correlation_id is not None:
            try:
                self._say(event, payload, [event.correlation_id])
            except InvalidError as error:
                answer = _unfit(Outcome(), route, error)
                self._tell(event, f"response.{event.event_type}", answer, event.correlation_id)
        return None

    def _refuse(
        self, event: Event, integration: str, operation: str, error: BridgeError, answer: Callable[[Outcome], None]
    ) -> None:
        """Answer what never reached a guard; its failure is told as the guard tells its own."""
        self._tell(
            event,
            f"resilience.{integration}.failed",
            {
                "integration": integration,
                "operation": operation,
                "cause": msgspec.structs.asdict(cause_of(event)),
                "attempts": 0,
                "error": error.to_wire(),
            },
            event.correlation_id,
        )
        answer(Outcome(error=error))

    def finish(
        self, event: Event, route: Route | None, key: Key | None, outcome: Outcome, operation: Operation | None = None
    ) -> None:
        """Say the answer to all who asked, and the receipt, and emit a route's result."""
        if (
            key is None
            and event.correlation_id is None
            and (route is None or (route.emit is None and not route.receipts))
        ):
            return  # nobody wants to hear of it
        askers = [] if event.correlation_id is None else [event.correlation_id]
        receipt = None
        if operation is not None and route is not None and route.receipts and _is_final(outcome):
            name = f"receipt.{route.integration}.{verdict_of(outcome)}"
            receipt = name, msgspec.Raw(msgspec.msgpack.encode(receipt_of(operation, outcome.attempts)))
            self._tell(event, *receipt, event.correlation_id)
        if key is not None or askers:
            payload, remember = _response(outcome, route), outcome.attempts > 0 or receipt is not None
            if key is not None:
                askers = self._replies.askers(key)
            try:
                self._say(event, payload, askers)
                if key is not None:
                    self._replies.finish(key, payload, remember=remember, receipt=receipt)
            except InvalidError as error:
                payload = _unfit(outcome, route, error)
                for asker in askers:
                    self._tell(event, f"response.{event.event_type}", payload, asker)
                if key is not None:
                    self._replies.finish(key, payload, remember=remember, receipt=receipt)
        if route is not None and route.emit is not None and outcome.ok:
            self._emit(event, route, outcome)

    def _tell(self, event: Event, event_type: str, payload: Any, correlation_id: str | None) -> None:
        """Say something that must not fail; an event's own names may leave no room even for an error."""
        try:
            self._bus.publish(
                event_type, payload, correlation_id=correlation_id, headers=travelling(event.headers, event.hop)
            )
        except InvalidError as error:
            self._bus.unsaid(event_type, error.message)

    def _say(self, event: Event, payload: Any, askers: list[str]) -> None:
        for correlation_id in askers:
            self._bus.publish(
                f"response.{event.event_type}",
                payload,
                correlation_id=correlation_id,
                headers=travelling(event.headers, event.hop),
            )

    def _emit(self, event: Event, route: Route, outcome: Outcome) -> None:
        assert route.emit is not None  # noqa: S101 - the caller looked
        try:
            event_type = to_event_type(route.emit.evaluate({"event": event}))
            headers = travelling(event.headers, event.hop)
            self._bus.publish(event_type, outcome.result, correlation_id=event.correlation_id, headers=headers)
        except InvalidError as error:
            self._refuse(event, route.integration, route.operation, error, _silent)


class _Answer:
    """The one answer to one command or route."""

    __slots__ = ("_dispatcher", "_event", "_key", "_route")

    def __init__(self, dispatcher: Dispatcher, event: Event, route: Route | None, key: Key | None) -> None:
        self._dispatcher = dispatcher
        self._event = event
        self._route = route
        self._key = key

    def __call__(self, outcome: Outcome) -> None:
        self._dispatcher.finish(self._event, self._route, self._key, outcome)

    def done(self, operation: Operation, outcome: Outcome) -> None:
        """As a connection calls it."""
        self._dispatcher.finish(self._event, self._route, self._key, outcome, operation)


def _is_final(outcome: Outcome) -> bool:
    """Whether the outcome of an accepted event is decided; what was shed before an attempt was not accepted."""
    return outcome.attempts > 0 or (outcome.error is not None and outcome.error.kind == "deadline")


def _silent(_: Outcome) -> None:
    """The answer was given already."""


def _unfit(outcome: Outcome, route: Route | None, error: InvalidError) -> dict[str, Any]:
    """The payload for an answer that the bus cannot carry."""
    why = ProtocolError(f"the answer does not fit on the bus: {error.message}")
    return _response(msgspec.structs.replace(outcome, result=None, error=why), route)


def _response(outcome: Outcome, route: Route | None) -> dict[str, Any]:
    return outcome.response(None if route is None else route.name)
