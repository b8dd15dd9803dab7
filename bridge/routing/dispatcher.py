"""Takes events from the bus: checks commands and routes, submits their operations to connections, and answers.

Everything here runs in the bus' callback and returns at once; what takes time runs in a connection's guard, or as a
task of the gateway (`Controls.later`).
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from bridge.config import Scope
from bridge.connection import Connection, Done
from bridge.core.errors import (
    BridgeError,
    InvalidError,
    RejectedError,
    StoppingError,
    UnknownIntegrationError,
)
from bridge.core.model import (
    CONTROLS,
    DEAD_LETTER_OPERATIONS,
    MAX_HOP,
    Empty,
    Event,
    Match,
    Operation,
    Outcome,
    Request,
)
from bridge.core.payloads import Circuit, Matched, Nothing, RouteMatch
from bridge.core.ports import Clock
from bridge.core.responder import Answer, Responder, outcome_of
from bridge.outbox import Outbox
from bridge.routing.idempotency import AnswerMemory, Asker, Key, key_of
from bridge.routing.operations import operation_of
from bridge.routing.peers import Peers
from bridge.routing.plan import RoutePlan
from bridge.routing.ports import Controls, EventBus
from bridge.routing.router import (
    Addressee,
    Decision,
    Router,
    check_empty,
    deadline_of,
    parse_command,
    parse_forget_node,
    parse_inspect,
    parse_letters,
    parse_match,
    parse_reload,
)

_DONE: Final = Outcome(result=Nothing())
_NOTHING: Final = Empty()


class Dispatcher:
    """Takes every event from the bus, executes commands, and starts the routes that match.

    Attributes:
        router: Decides what an event leads to; replaced when the configuration is reloaded.
        stopping: Whether new operations are rejected with `stopping`.
    """

    def __init__(
        self,
        router: Router,
        connections: Mapping[str, Connection],
        controls: Controls,
        *,
        outbox: Outbox,
        bus: EventBus,
        responder: Responder,
        source: str,
        clock: Clock,
    ) -> None:
        self.router = router
        self.stopping = False
        self._connections = connections
        self._controls = controls
        self._outbox = outbox
        self._bus = bus
        self._responder = responder
        self._source = source
        self._clock = clock
        self._memory = AnswerMemory(clock)
        self._peers = Peers(source, clock)

    def on_event(self, event: Event, decision: Decision | None = None) -> None:
        """Execute the command that the event is, or the routes that it matches. Raises nothing: errors are answered.

        Args:
            event: The event.
            decision: What its type leads to, where the caller has looked that up.
        """
        if decision is None:
            decision = self.router.decide(event.event_type)
        if decision.health:
            self._peers.learn(event)
        if not decision.sets_off:
            return
        if event.correlation_id is not None and decision.unanswerable:
            self._bus.reject_unanswerable(event.event_type)
        elif decision.addressee is not None:
            if event.source != self._source and (event.headers is None or self._crosses(event)):
                self._command(event, decision.addressee)
        elif event.headers is None or (not event.is_repeated(self._source) and self._crosses(event)):
            for plan in decision.routes:
                self._route(event, plan)

    def _crosses(self, event: Event) -> bool:
        if event.hop < MAX_HOP:
            return True
        self._bus.reject_loop(event.event_type)
        return False

    # --- commands

    def _command(self, event: Event, addressee: Addressee) -> None:
        if isinstance(addressee.problem, UnknownIntegrationError) and self._peers.have(addressee.integration or ""):
            return
        if addressee.integration is None and addressee.operation == "inspect" and self._is_for_a_peer(event):
            return
        name = addressee.integration or "bridge"
        caller = self._begin(event, name, addressee.operation)
        if caller is not None:
            self._execute(event, addressee, caller)

    def execute(self, event: Event, done: Callable[[Outcome], None]) -> None:
        """Execute a command that did not come from the bus as if it had; nobody on the bus is answered.

        Args:
            event: The command; its type is `integration.<id>.<operation>` or `bridge.<operation>`.
            done: Called once with the outcome; it may be called before this returns.
        """
        addressee = self.router.decide(event.event_type).addressee
        assert addressee is not None  # noqa: S101 - the caller gives commands only
        self._execute(event, addressee, _Outsider(done))

    def execute_for_node(self, event: Event, scope: str, done: Callable[[Outcome], None]) -> None:
        """Execute a command of another bridge as if it had come from the bus, and tell its outcome there.

        A repeated idempotency key runs once. On this bus the failure is emitted, and no response.

        Args:
            event: The command; its type is `integration.<id>.<operation>`.
            scope: What tells keys of this source that mean something else from this one.
            done: Called once with the outcome; it may be called before this returns.
        """
        addressee = self.router.decide(event.event_type).addressee
        assert addressee is not None  # noqa: S101 - the caller gives commands only
        if not self._crosses(event):
            done(Outcome(error=RejectedError(f"it has crossed more than {MAX_HOP} bridges (`hop`)")))
            return
        key = key_of(event, scope)
        if key is not None:
            fresh, answer = self._memory.begin(key, done)
            if not fresh:
                if answer is not None:
                    done(outcome_of(answer))
                return
        self._execute(event, addressee, _Node(self, key, done))

    def _execute(self, event: Event, addressee: Addressee, caller: "_Asker") -> None:
        name = addressee.integration or "bridge"
        try:
            if addressee.problem is not None:
                raise addressee.problem
            event.check()
            if addressee.integration is None:
                self._bridge_command(event, addressee.operation, caller)
            else:
                self._integration_command(event, addressee.integration, addressee.operation, caller)
        except BridgeError as error:
            caller.done(operation_of(event, addressee.operation, name, _NOTHING), Outcome(error=error))

    def _is_for_a_peer(self, event: Event) -> bool:
        """Return whether `bridge.inspect` asks about an integration that another bridge has, and this one has not."""
        try:
            name = parse_inspect(event).integration
        except InvalidError:
            return False
        return self._connections.get(name) is None and self._peers.have(name)

    def _integration_command(self, event: Event, name: str, operation: str, caller: "_Asker") -> None:
        connection = self._connection(name)
        if operation in CONTROLS:
            check_empty(event, operation)
            self._control(operation_of(event, operation, name, _NOTHING), connection, caller)
        else:
            command = parse_command(operation, event)
            timeout_ms = command.timeout_ms if type(command) is Request else None
            deadline = self._deadline(event, timeout_ms)
            connection.submit(operation_of(event, operation, name, command, deadline=deadline), caller.done)

    def _control(self, operation: Operation, connection: Connection, caller: "_Asker") -> None:
        if operation.name == "drain":
            connection.drain()  # at once, for what comes right behind
            self._controls.later(self._drain(operation, connection, caller))
            return
        outcome = _DONE
        if operation.name == "pause":
            connection.pause()
        elif operation.name == "resume":
            connection.resume()
        else:
            breaker = connection.guard.breaker
            # The event about the change names this command as its cause.
            change = breaker.force_open if operation.name == "circuit.force_open" else breaker.reset
            change(operation)
            outcome = Outcome(result=Circuit(state=breaker.state))
        caller.done(operation, outcome)

    async def _drain(self, operation: Operation, connection: Connection, caller: "_Asker") -> None:
        await connection.drained()
        caller.done(operation, _DONE)

    def _bridge_command(self, event: Event, name: str, caller: "_Asker") -> None:
        operation = operation_of(event, name, "bridge", _NOTHING)
        if name == "ping":
            caller.done(operation, Outcome(result=event.payload))
        elif name == "status":
            check_empty(event, name)
            caller.done(operation, Outcome(result=self._controls.status()))
        elif name == "subscriptions":
            check_empty(event, name)
            caller.done(operation, Outcome(result=self._controls.subscriptions()))
        elif name == "overview":
            check_empty(event, name)
            caller.done(operation, Outcome(result=self._controls.overview()))
        elif name == "inspect":
            work = self._controls.inspect(parse_inspect(event).integration)
            self._controls.later(self._answer_later(operation, work, caller))
        elif name == "match":
            caller.done(operation, Outcome(result=self._match(event, parse_match(event))))
        elif name in DEAD_LETTER_OPERATIONS:
            self._controls.later(
                self._answer_later(operation, self._controls.letters(name, parse_letters(name, event)), caller)
            )
        elif name == "configuration":
            check_empty(event, name)
            self._controls.later(self._answer_later(operation, self._controls.configuration(), caller))
        elif name == "fleet":
            check_empty(event, name)
            caller.done(operation, Outcome(result=self._controls.fleet()))
        elif name == "forget_node":
            gone = parse_forget_node(event)
            forgetting = self._controls.forget_node(gone.node, gone.fabric)
            self._controls.later(self._answer_later(operation, forgetting, caller))
        elif name == "reload":
            if self.stopping:
                raise StoppingError("the bridge is stopping")
            dry_run = parse_reload(name, event).dry_run
            self._controls.later(self._answer_later(operation, self._controls.reload(dry_run=dry_run), caller))

    def _match(self, event: Event, wanted: Match) -> Matched:
        if self._controls.stops(wanted.event_type):
            return Matched(command=False, stops=True, error=None, routes=[])
        decision = self.router.decide(wanted.event_type)
        addressee = decision.addressee
        if addressee is not None:
            problem = addressee.problem
            if isinstance(problem, UnknownIntegrationError) and self._peers.have(addressee.integration or ""):
                return Matched(command=False, stops=False, error=None, routes=[])
            error = None if problem is None else problem.to_wire()
            return Matched(command=problem is None, stops=False, error=error, routes=[])
        known = wanted.payload is not msgspec.UNSET
        raw = msgspec.Raw(msgspec.msgpack.encode(wanted.payload if known else None))
        scope = {"event": msgspec.structs.replace(event, event_type=wanted.event_type, raw=raw)}
        routes = [
            RouteMatch(
                route=plan.route.name,
                integration=plan.route.integration,
                operation=plan.route.operation,
                where=plan.condition(scope) if known or plan.route.where is None else None,
            )
            for plan in decision.routes
        ]
        return Matched(command=False, stops=False, error=None, routes=routes)

    async def _answer_later(self, operation: Operation, work: Coroutine[Any, Any, Any], caller: "_Asker") -> None:
        try:
            outcome = Outcome(result=await work)
        except BridgeError as error:
            outcome = Outcome(error=error)
        caller.done(operation, outcome)

    # --- routes

    def _route(self, event: Event, plan: RoutePlan) -> None:
        route, scope = plan.route, {"event": event}
        caller: _Caller | None = None
        try:
            event.check()
            if route.where is not None and not plan.applies(scope):
                return
            if plan.needs_outcome:
                self._bus.hurry()
            if plan.durable:
                self._accept(event, plan, scope)
                return
            if plan.needs_outcome or event.correlation_id is not None or event.headers is not None:
                caller = self._begin(event, route.integration, route.operation, plan)
                if caller is None:
                    return
            connection = self._connection(route.integration)
            done: Done = self._report_failure if caller is None else caller.done
            deadline = None if event.headers is None else self._deadline(event)
            connection.submit(plan.operation(event, scope, deadline), done)
        except BridgeError as error:
            operation = operation_of(event, route.operation, route.integration, _NOTHING, route=route)
            (caller or _Caller(self, event, plan, None)).done(operation, Outcome(error=error))

    def _accept(self, event: Event, plan: RoutePlan, scope: Scope) -> None:
        """Give an event to the outbox, which then does all the rest; it also answers repeated idempotency keys."""
        if self.stopping:
            raise StoppingError("the bridge is stopping")
        emit = plan.emitted_type(scope) if plan.emits else None
        operation = plan.operation(event, scope, self._deadline(event))
        self._outbox.accept(event, operation, emit=emit, receipts=plan.route.receipts)

    def _report_failure(self, operation: Operation, outcome: Outcome) -> None:
        """Report the failure of an operation whose outcome nobody waits for."""
        if outcome.error is not None:
            self._responder.failed(operation, outcome.error, outcome.attempts)

    # --- both

    def _connection(self, name: str) -> Connection:
        if self.stopping:
            raise StoppingError("the bridge is stopping")
        connection = self._connections.get(name)
        if connection is None:
            raise StoppingError(f"integration {name!r} is being replaced")
        return connection

    def _deadline(self, event: Event, timeout_ms: int | None = None) -> float | None:
        if timeout_ms is None and event.headers is None:
            return None
        return deadline_of(event, timeout_ms, now=self._clock.monotonic(), wall_ms=self._clock.wall_ms())

    def _begin(self, event: Event, integration: str, name: str, plan: RoutePlan | None = None) -> "_Caller | None":
        """Return who gets the outcome; None for a repeated key, which is answered from memory or with the first one."""
        route = None if plan is None else plan.route
        key = None if event.headers is None else key_of(event, None if route is None else route.name)
        if key is not None:
            fresh, answer = self._memory.begin(key, event.correlation_id)
            if not fresh:
                if answer is not None:
                    self._responder.repeat(operation_of(event, name, integration, _NOTHING, route=route), answer)
                return None
        return _Caller(self, event, plan, key)

    def finish(
        self, event: Event, plan: RoutePlan | None, key: Key | None, operation: Operation, outcome: Outcome
    ) -> None:
        """Answer all who asked for an operation, and remember the answer where it has an idempotency key."""
        ids = [] if event.correlation_id is None else [event.correlation_id]
        if plan is None and key is None:
            self._responder.finish(operation, outcome, ids)
            return
        receipt = plan is not None and plan.route.receipts and _is_final(outcome)
        answer = None
        if key is not None or receipt:
            answer = self._responder.answer(operation, outcome, receipt=receipt)
        askers: list[Asker] = [*ids]
        if key is not None and answer is not None:
            askers = self._memory.finish(key, answer, remember=outcome.attempts > 0 or receipt)
        emit = None if plan is None or not plan.emits else partial(plan.emitted_type, {"event": event})
        self._tell(operation, outcome, askers, answer=answer, emit=emit)

    def finish_for_node(
        self, key: Key | None, done: Callable[[Outcome], None], operation: Operation, outcome: Outcome
    ) -> None:
        """Tell the outcome of a command of another bridge to all who asked, and remember it where it has a key."""
        askers: list[Asker] = [done]
        answer = None
        if key is not None:
            answer = self._responder.answer(operation, outcome, receipt=False)
            askers = self._memory.finish(key, answer, remember=outcome.attempts > 0)
        self._tell(operation, outcome, askers, answer=answer)

    def _tell(
        self,
        operation: Operation,
        outcome: Outcome,
        askers: Iterable[Asker],
        *,
        answer: Answer | None,
        emit: Callable[[], str] | None = None,
    ) -> None:
        """Emit what the end of an operation causes, and answer all who asked, on the bus and elsewhere."""
        ids, others = [], []
        for asker in askers:
            if isinstance(asker, str):
                ids.append(asker)
            else:
                others.append(asker)
        self._responder.finish(operation, outcome, ids, answer=answer, emit=emit)
        for done in others:
            done(outcome)


class _Asker(Protocol):
    """Who asked for an operation."""

    def done(self, operation: Operation, outcome: Outcome) -> None:
        """Take the outcome; it is called once."""
        ...


class _Outsider:
    """Somebody who is not on the bus: gets the outcome, and nothing is emitted."""

    __slots__ = ("_told",)

    def __init__(self, told: Callable[[Outcome], None]) -> None:
        self._told = told

    def done(self, operation: Operation, outcome: Outcome) -> None:  # noqa: ARG002
        """See `_Asker.done`."""
        self._told(outcome)


class _Node:
    """Another bridge: it gets the outcome, and on the bus only a failure is emitted."""

    __slots__ = ("_dispatcher", "_key", "_told")

    def __init__(self, dispatcher: Dispatcher, key: Key | None, told: Callable[[Outcome], None]) -> None:
        self._dispatcher = dispatcher
        self._key = key
        self._told = told

    def done(self, operation: Operation, outcome: Outcome) -> None:
        """See `_Asker.done`."""
        self._dispatcher.finish_for_node(self._key, self._told, operation, outcome)


class _Caller(msgspec.Struct, eq=False):
    """Who asked for an operation, by command or route: passes its outcome to the dispatcher with that."""

    dispatcher: Dispatcher
    event: Event
    plan: RoutePlan | None
    key: Key | None

    __repr__ = object.__repr__  # payloads must not be there

    def done(self, operation: Operation, outcome: Outcome) -> None:
        """See `_Asker.done`."""
        self.dispatcher.finish(self.event, self.plan, self.key, operation, outcome)


def _is_final(outcome: Outcome) -> bool:
    """Return whether the outcome of an accepted event is final; what was shed before an attempt was not accepted."""
    return outcome.attempts > 0 or (outcome.error is not None and outcome.error.kind == "deadline")
