"""From an event to its answer: commands and routes are checked, handed to a connection, and responded to.

Everything here happens on the bus reader's turn and returns at once; what takes time runs in a connection's guard, or
as a task of the gateway (`Controls.later`).
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from bridge.config import Route, Scope
from bridge.connection import Connection, ConnectionManager, Done
from bridge.core.errors import (
    BridgeError,
    InvalidError,
    ProtocolError,
    StoppingError,
    UnknownIntegrationError,
    UnknownOperationError,
)
from bridge.core.event_type import to_emitted_type
from bridge.core.model import (
    CONTROLS,
    LETTERS,
    MAX_HOP,
    Command,
    Empty,
    Event,
    Letters,
    Operation,
    Outcome,
    Request,
    travelling,
)
from bridge.core.ports import Clock
from bridge.outbox import receipt as receipt_of
from bridge.outbox import verdict_of
from bridge.routing.idempotency import Key, Replies
from bridge.routing.peers import Neighbours
from bridge.routing.plan import RoutePlan
from bridge.routing.ports import Controls, EventBus, Outbox
from bridge.routing.router import (
    Router,
    Target,
    cause_of,
    check_empty,
    deadline_of,
    operation_of,
    parse_command,
    parse_letters,
)

_DONE: Final = Outcome(result={})


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
        self._neighbours = Neighbours(source, clock)

    def on_event(self, event: Event) -> None:
        """Act on one event."""
        decision = self.router.decide(event.event_type)
        if decision.health:
            self._neighbours.learn(event)
        own = event.source == self._source
        if decision.target is not None:
            if not own and self._crosses(event):
                self._command(event, decision.target)
            return
        plans = decision.routes
        if own:
            plans = tuple(plan for plan in plans if plan.route.own)
        if plans and self._crosses(event):
            for plan in plans:
                self._route(event, plan)

    def _crosses(self, event: Event) -> bool:
        if event.headers is None or event.hop < MAX_HOP:
            return True
        self._bus.reject_loop(event.event_type)
        return False

    # --- commands

    def _command(self, event: Event, target: Target) -> None:
        if isinstance(target.problem, UnknownIntegrationError) and self._neighbours.have(target.integration or ""):
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
            command = parse_command(operation, event)
            deadline = self._deadline(event, command)
            connection.submit(operation_of(event, operation, name, command, deadline=deadline), answer.done)

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
            operation = operation_of(event, name, connection.id, Empty())
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
        elif operation == "subscriptions":
            check_empty(event, operation)
            answer(Outcome(result=self._controls.subscriptions()))
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

    def _route(self, event: Event, plan: RoutePlan) -> None:
        route = plan.route
        answer: _Answer | None = None
        done: Done = _unheard
        try:
            scope = {"event": event}
            if not plan.applies(scope):
                return
            if route.durable:
                self._accept(event, plan, scope)
                return
            if plan.heard or event.correlation_id is not None or event.headers is not None:
                answer = self._begin(event, route)
                if answer is None:
                    return
                done = answer.done
            connection = self._connection(route.integration)
            connection.submit(self._planned(event, plan, scope), done)
        except BridgeError as error:
            answer = answer or _Answer(self, event, route, None)
            self._refuse(event, route.integration, route.operation, error, answer)

    def _accept(self, event: Event, plan: RoutePlan, scope: Scope) -> None:
        """Give an event to the outbox, which answers a repeated key, and everything that comes after."""
        if self.stopping:
            raise StoppingError("the bridge is stopping")
        operation, route = self._planned(event, plan, scope), plan.route
        emit = None if route.emit is None else to_emitted_type(route.emit.evaluate(scope))
        self._outbox.accept(event, operation, emit=emit, receipts=route.receipts)

    def _planned(self, event: Event, plan: RoutePlan, scope: Scope) -> Operation:
        route, command, key = plan.route, plan.command(scope), plan.key(scope)
        deadline = self._deadline(event, command)
        return operation_of(event, route.operation, route.integration, command, deadline=deadline, route=route, key=key)

    # --- both

    def _connection(self, name: str) -> Connection:
        if self.stopping:
            raise StoppingError("the bridge is stopping")
        connection = self._manager.get(name)
        if connection is None:
            raise StoppingError(f"integration {name!r} is being replaced")
        return connection

    def _deadline(self, event: Event, command: Command) -> float | None:
        timeout_ms = command.timeout_ms if type(command) is Request else None
        if timeout_ms is None and event.headers is None:
            return None
        return deadline_of(event, timeout_ms, now=self._clock.monotonic(), wall_ms=self._clock.wall_ms())

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
            event_type = to_emitted_type(route.emit.evaluate({"event": event}))
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


def _unheard(_operation: Operation, _outcome: Outcome) -> None:
    """Nobody wants to hear of it."""


def _silent(_: Outcome) -> None:
    """The answer was given already."""


def _unfit(outcome: Outcome, route: Route | None, error: InvalidError) -> dict[str, Any]:
    """The payload for an answer that the bus cannot carry."""
    why = ProtocolError(f"the answer does not fit on the bus: {error.message}")
    return _response(msgspec.structs.replace(outcome, result=None, error=why), route)


def _response(outcome: Outcome, route: Route | None) -> dict[str, Any]:
    return outcome.response(None if route is None else route.name)
