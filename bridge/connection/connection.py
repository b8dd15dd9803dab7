"""Run one integration: send its operations through the guard to its session, and publish its health."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from bridge.connection.files import FileStates
from bridge.connection.inbound import MessageSink, payload_of
from bridge.connection.session import SUSPICIOUS, Session, SessionEvents, SessionKeeper
from bridge.connection.state_log import StateLog
from bridge.connection.subscriptions import Subscriptions, SubscriptionSpec
from bridge.core.cancel import BoundedTasks
from bridge.core.errors import BridgeError, NotConnectedError, RejectedError, StoppingError
from bridge.core.fabric import Fabrics
from bridge.core.log import structlog
from bridge.core.log_fields import error_fields
from bridge.core.model import (
    CircuitState,
    ConnectionStatus,
    Inbound,
    Operation,
    Outcome,
    Subscribe,
    Unsubscribe,
    forwarded_headers,
    in_trace,
)
from bridge.core.payloads import (
    CircuitChange,
    Degraded,
    Failed,
    GivenUp,
    IntegrationHealth,
    Nothing,
    Payload,
    Subscribed,
    SubscriptionHealth,
)
from bridge.core.ports import (
    AdapterSetup,
    Clock,
    Context,
    Promise,
    ProtocolAdapter,
    Publisher,
    Tracer,
)
from bridge.core.rate_limited import RateLimited
from bridge.core.redaction import Redactor
from bridge.core.setup import IntegrationSettings, setup_of
from bridge.resilience import Accounting, Guard, GuardedCall

_NOT_CONNECTED: Final = frozenset({ConnectionStatus.DISCONNECTED, ConnectionStatus.FAILED})
#: Kinds of errors that, where they are `permanent`, concern the whole integration and not one operation.
_OF_ALL: Final = frozenset({"auth", "not_connected"})
#: How many messages from outside that cannot become events are reported one by one in a second, for each kind of error.
_REPORTED: Final = 5
#: How much of a topic such a report has, and how much of a warning health has, in characters.
_MOST_TOPIC: Final = 200
_MOST_WARNING: Final = 500
#: How many warnings are remembered as told.
_MOST_TOLD: Final = 50
#: The context of operations whose event has no headers: not idempotent, idempotent.
_FIRST_HOP: Final = Context(forwarded_headers(None, 0))

Done = Callable[[Operation, Outcome], None]
"""Called once with an operation and its outcome."""

SessionListener = Callable[[str, ProtocolAdapter | None], None]
"""Called with an integration's label and each session of it that is in order, and with None when that is over."""

log = structlog.get_logger(__name__)


class IntegrationBus(Publisher, MessageSink, Protocol):
    """The part of the bus that an integration uses."""

    def keep(self, event_type: str, payload: Any) -> None:
        """Publish, and publish it again for each later subscriber."""
        ...

    def forget(self, event_type: str) -> None:
        """Stop repeating the event of this type."""
        ...


class Change(msgspec.Struct, frozen=True):
    """Other settings of an integration, which can work; see `Connection.prepare`."""

    settings: IntegrationSettings
    specs: tuple[SubscriptionSpec, ...]
    files: FileStates
    session: Session | None


class Connection:
    """One integration with its guard, its session, its sums and its health.

    `run` owns all that it starts. Operations are given to `submit` and answered through a callback.
    """

    def __init__(
        self,
        settings: IntegrationSettings,
        specs: Sequence[SubscriptionSpec],
        *,
        bus: IntegrationBus,
        clock: Clock,
        rng: random.Random,
        files: FileStates = (),
        drain_timeout: float = 10.0,
        state_dir: Path | None = None,
        on_change: Callable[[], None] = lambda: None,
        redactor: Redactor | None = None,
        tracer: Tracer | None = None,
        on_session: SessionListener = lambda _id, _session: None,
        fabrics: Fabrics | None = None,
    ) -> None:
        """Nothing is opened before `run`; `on_change` is called after each change of the status.

        `files` is the state of the files that the settings name. What is in flight on a session that is replaced has
        `drain_timeout` seconds to end. In `state_dir` an adapter may keep what the next process needs. What a session's
        errors say goes through `redactor` before anybody else sees them. `tracer` writes traces; None: there are none.
        `on_session` hears of each session that is in order, and when it is over. `fabrics` are the bridge's.

        Raises:
            ValueError: A setting cannot work with this adapter.
        """
        self.settings = settings
        self.subscription_specs = tuple(specs)
        self.id = settings.id
        self._bus = bus
        self._clock = clock
        self._on_change = on_change
        self._redactor = redactor or Redactor()
        self._drain_timeout = drain_timeout
        self._state_dir = state_dir
        self._tracer = tracer
        self._on_session = on_session
        self._announced: ProtocolAdapter | None = None
        self._fabrics = fabrics
        self._files = files
        self._warnings = self._unsafe()
        self._told_warnings: dict[str, str] = {}
        self._new_warnings: RateLimited[str, str] = RateLimited(clock, self._report_warning, max_keys=100)
        self._dropped = 0
        self._drops: RateLimited[str, tuple[BridgeError, str]] = RateLimited(
            clock, self._report_drop, burst=_REPORTED, max_keys=100
        )
        self._base = ConnectionStatus.CONNECTING
        self._paused = False
        self._quiet = False
        self._stopped = False
        self._silent = False
        self._error: BridgeError | None = None
        self._said: tuple[Any, ...] = ()
        self._said_details: tuple[Any, ...] = ()
        self._status = ConnectionStatus.CONNECTING
        self._previous: ConnectionStatus | None = None
        self._since = clock.wall_ms()
        self._connects = 0
        self._bugs: asyncio.TaskGroup | None = None
        self._ended = False
        self._tasks = BoundedTasks(clock=clock, integration=self.id, on_bug=self._on_bug)
        self.guard = Guard(
            settings.resilience,
            clock=clock,
            rng=rng,
            report=self._report,
            tasks=self._tasks,
            on_bug=self._on_bug,
            redact=self._redactor.error,
        )
        self.guard.pause()  # what comes before `run` begins waits for it
        self._log = StateLog(self.id, clock=clock, accounting=self.guard.accounting)
        self.subscriptions = Subscriptions(
            self.id,
            self.subscription_specs,
            sink=bus,
            clock=clock,
            rng=rng,
            tasks=self._tasks,
            limit=settings.resilience.timeout,
            on_bad=lambda error, message: self._on_dropped(error, message.topic),
            on_dead=self._on_dead,
            on_change=self.publish_health,
            on_stuck=self._on_stuck,
            redact=self._redactor.error,
            has_qos=settings.spec.has_qos,
            acknowledged=partial(settings.spec.acknowledged, "subscribe"),
            trace=None if tracer is None else partial(tracer.message, self.id, settings.spec.protocol),
            lease=None if fabrics is None else fabrics.lease,
        )
        self._rng = rng
        self._session_state: dict[str, Any] = {}
        self._keeper = SessionKeeper(
            settings.spec,
            self,
            settings.health,
            connect_timeout=settings.resilience.timeout,
            clock=clock,
            rng=rng,
            tasks=self._tasks,
        )

    def _unsafe(self) -> list[str]:
        """Return what the settings allow that is not safe."""
        have = self.settings
        return [self._shown(text) for text in have.spec.warnings(have.endpoint, have.auth, have.tls, have.config)]

    # --- other settings

    def is_like(self, settings: IntegrationSettings, specs: Sequence[SubscriptionSpec], files: FileStates) -> bool:
        """Whether it has these settings and subscriptions already, and its files have not changed."""
        have = self.settings
        return (
            self.subscription_specs == tuple(specs)
            and (have.id, have.spec) == (settings.id, settings.spec)
            and (have.resilience, have.health) == (settings.resilience, settings.health)
            and not self._needs_session(settings, files)
        )

    def _needs_session(self, settings: IntegrationSettings, files: FileStates) -> bool:
        """Whether other settings, or files that have changed, need another session."""
        have = self.settings
        pool = (have.resilience.limit.max_in_flight, settings.resilience.limit.max_in_flight)
        return (
            (have.endpoint, have.auth, have.tls, have.config)
            != (settings.endpoint, settings.auth, settings.tls, settings.config)
            or self._files != files
            # Without a session there is a pool of connections, of a size that is fixed.
            or (not have.spec.has_session and pool[0] != pool[1])
        )

    def prepare(
        self, settings: IntegrationSettings, specs: Sequence[SubscriptionSpec], files: FileStates = ()
    ) -> Change:
        """Check other settings of the same protocol, for `change`; nothing changes yet.

        Raises:
            ValueError: A setting cannot work with this adapter, or a subscription's name is taken.
        """
        self.subscriptions.check(specs)
        session = None
        if self._needs_session(settings, files):
            session = self._keeper.prepare(partial(self._setup_from, settings))
        return Change(settings, tuple(specs), files, session)

    async def change(self, change: Change) -> None:
        """Use other settings. Nothing ends by that: what is in flight on a session that is replaced ends there."""
        if (self.settings.config, self.settings.endpoint) != (change.settings.config, change.settings.endpoint):
            self.subscriptions.forget_last_values()  # what the other remote, or the other values, do not say is not so
        self.settings, self.subscription_specs, self._files = change.settings, change.specs, change.files
        self._warnings = self._unsafe()
        resilience = change.settings.resilience
        self.guard.change(resilience)
        self.subscriptions.limit = resilience.timeout
        await self.subscriptions.change(change.specs)
        self._keeper.change(change.settings.health, resilience.timeout, change.session)
        self.publish_health()

    # --- life

    async def run(self) -> None:
        """Stay connected and execute what is submitted, until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._bugs:
                self._start_waiting()
                try:
                    await self._keeper.run()
                finally:
                    self.guard.cancel_all()
                    await self._tasks.close()
        finally:
            self._bugs, self._ended = None, True
            self._take_back(self._announced)
            self.guard.close()
            self.subscriptions.forget_last_values()
            self._drops.flush()
            self._new_warnings.flush()
            self._log.close()

    def close(self) -> None:
        """Accept nothing any more, and answer what waits for a `run` that never comes."""
        if not self._ended:
            self._ended = True
            self.guard.cancel_all()

    def pause(self) -> None:
        """Start no operation until `resume`; what is submitted waits in the queue."""
        self._paused = True
        self.guard.pause()
        self.publish_health()

    def resume(self) -> None:
        """Start operations again after `pause` or `drain`."""
        self._paused = self._stopped = False
        self.guard.accept()
        self._start_waiting()
        self.publish_health()

    def _start_waiting(self) -> None:
        """Start what waits in the queue, unless something still stands against that."""
        if self._bugs is not None and not self._paused and not self._quiet:
            self.guard.resume_starting()

    def drain(self) -> None:
        """Accept nothing more until `resume`; what was accepted goes on to its end."""
        self.guard.stop_accepting()

    async def drained(self) -> None:
        """Return when all that was accepted has ended; then it is `stopped`, unless it was resumed since `drain`."""
        await self.guard.idle()
        if not self.guard.accepting:
            self._stopped = True
            self.publish_health()

    async def stop_queued(self) -> None:
        """Accept nothing more and answer what waits with `stopping`; what is in flight goes on."""
        await self.guard.stop_queued()

    async def leave(self, *, silent: bool) -> None:
        """Accept nothing more, answer what waits with `stopping`, and return when what is in flight has ended.

        It returns after `drain_timeout` at the latest.

        Args:
            silent: Publish no health any more, because another connection has the same label.
        """
        self._silent = silent
        if silent:
            self._log.close()
        await self.stop_queued()
        with suppress(TimeoutError):
            async with self._clock.timeout(self._drain_timeout):
                await self.guard.idle()

    def stopped(self) -> None:
        """Set the status to `stopped` and publish it."""
        self._stopped = True
        self.publish_health()

    # --- as the outbox sees it

    @property
    def accounting(self) -> Accounting:
        """The sums of operations, as they are now."""
        return self.guard.accounting

    @property
    def usable(self) -> bool:
        """Whether an operation can start: it runs, is neither paused nor draining, and has a session."""
        return (
            self._bugs is not None
            and not self._paused
            and not self._stopped
            and self.guard.accepting
            and self._keeper.current is not None
        )

    @property
    def well(self) -> bool:
        """Whether it is usable and connected, and its circuit is closed."""
        return self.usable and self._base is ConnectionStatus.CONNECTED and self._circuit_is_closed()

    @property
    def capacity(self) -> int:
        """How many operations of the outbox it has use for at the same time: one for each slot.

        For those that wait, be it for another try, others may have the slots meanwhile.
        """
        limit = self.settings.resilience.limit
        return limit.max_in_flight + min(limit.queue, self.guard.accounting.queued)

    # --- operations

    def submit(self, operation: Operation, done: Done) -> None:
        """Execute an operation, and call `done` once with its outcome, unless the process dies before.

        Operations start in the order in which they are submitted; none before `run` has begun.
        """
        if self._ended:
            done(operation, Outcome(error=NotConnectedError(f"{self.id} has ended")))
            return
        span = None
        if self._tracer is not None:
            operation, span = self._tracer.operation(operation, self.settings.spec.protocol)
        self.guard.submit(AdapterCall(connection=self, operation=operation, done=done, span=span))

    def may_repeat(self, operation: Operation, session: ProtocolAdapter | None = None) -> bool:
        """Whether an operation may be repeated: it has an idempotency key, or the adapter knows it as idempotent.

        Args:
            operation: The operation.
            session: The session on which it was tried; None: the one that there is now.
        """
        repeatable = operation.repeatable
        if repeatable or (repeatable is None and operation.idempotency_key is not None):
            return True
        if isinstance(operation.command, Subscribe | Unsubscribe):
            return True
        session = session or self._keeper.current
        return session is not None and session.is_idempotent(operation.command)

    def _on_bug(self, bug: BaseException) -> None:
        """Raise a bug from `run`, so that the process ends with its traceback."""
        work = _raise(bug)
        try:
            if self._bugs is not None:
                self._bugs.create_task(work)
                return
        except RuntimeError:  # an earlier bug has ended the group; there is no other way to know
            pass
        work.close()
        log.error("bug", integration=self.id, exc_info=bug)

    def session(self) -> ProtocolAdapter:
        """Return the session for an attempt.

        Raises:
            NotConnectedError: There is none.
        """
        session = self._keeper.current
        if session is None:
            reason = "connecting" if self._error is None else self._error.message
            raise NotConnectedError(f"{self.id} is not connected: {reason}")
        return session

    def learn(self, outcome: Outcome) -> None:
        """Conclude from the outcome of a call how the connection is: dead, alive, or only a person can help."""
        if outcome.error is not None:
            self._note(outcome.error)
        elif self._base in _NOT_CONNECTED:
            self._keeper.alive()

    def _note(self, error: BridgeError) -> None:
        if error.permanent and error.kind in _OF_ALL:
            self.on_status(ConnectionStatus.FAILED, error)
        elif error.kind in SUSPICIOUS:
            self._keeper.suspect()

    # --- reports and health

    def _on_dropped(self, error: BridgeError, topic: str) -> None:
        """Count and report a message from outside that cannot become an event."""
        self._dropped += 1
        self._drops.add(error.kind, (error, topic[:_MOST_TOPIC]))

    def _report_drop(self, _: str, count: int, last: tuple[BridgeError, str]) -> None:
        error, topic = last
        self._redactor.error(error)
        log.warning("message not put on the bus", integration=self.id, topic=topic, **error_fields(error), count=count)
        failed = Failed(
            integration=self.id,
            operation="subscribe",
            cause=None,
            attempts=0,
            error=error.to_wire(),
            topic=topic,
            count=count,
        )
        self._report("failed", failed)

    def on_warning(self, name: str, text: str | None) -> None:
        """See `SessionOwner.on_warning`."""
        if text is None:
            self._told_warnings.pop(name, None)
            self.publish_health()
        else:
            self._new_warnings.add(name, self._shown(text))

    def _shown(self, warning: str) -> str:
        return self._redactor.text(warning)[:_MOST_WARNING]

    def _report_warning(self, name: str, _: int, text: str) -> None:
        self.publish_health()
        if self._told_warnings.get(name) == text:  # the session before this one has said it
            return
        self._told_warnings[name] = text
        if len(self._told_warnings) > _MOST_TOLD:
            del self._told_warnings[next(iter(self._told_warnings))]
        log.warning("degraded", integration=self.id, warning=name, why=text)
        self._report("degraded", Degraded(integration=self.id, operation=None, cause=None, warning=name, text=text))

    def _on_stuck(self, session: ProtocolAdapter, error: BridgeError) -> None:
        self._keeper.outdated(session, error)

    def _on_dead(self, message: Inbound, why: str) -> None:
        log.warning("message given up", integration=self.id, message_id=message.message_id, attempts=message.attempts)
        given_up = GivenUp(
            integration=self.id,
            operation="subscribe",
            cause=None,
            message=payload_of(message),
            error=RejectedError(why).to_wire(),
        )
        self._report("given_up", given_up)

    def _report(self, what: str, payload: Payload, operation: Operation | None = None) -> None:
        self._bus.publish_or_report(
            f"resilience.{self.id}.{what}",
            payload,
            correlation_id=None if operation is None else operation.correlation_id,
            headers=None if operation is None else {"hop": str(operation.hop + 1)},
        )
        if isinstance(payload, CircuitChange):
            if not self._silent and operation is not None:
                self._log.circuit(payload, operation)
            self.publish_health()

    # --- as its session sees it (`SessionOwner`)

    def setup(self, events: SessionEvents) -> AdapterSetup:
        """See `SessionOwner.setup`."""
        return self._setup_from(self.settings, events)

    def _setup_from(self, settings: IntegrationSettings, events: SessionEvents) -> AdapterSetup:
        return replace(
            setup_of(settings, clock=self._clock, random=self._rng, on_lost=events.on_lost, redactor=self._redactor),
            on_outdated=events.on_outdated,
            on_subscription_ended=self.subscriptions.ended,
            on_dropped=self._on_dropped,
            on_warning=events.on_warning,
            when_on_bus=self._bus.when_confirmed,
            session_state=self._session_state,
            state_dir=self._state_dir,
            fabrics=self._fabrics,
        )

    async def on_session(self, session: ProtocolAdapter) -> bool:
        """See `SessionOwner.on_session`."""
        works = await self.subscriptions.restore(session)
        self._announced = session
        self._on_session(self.id, session)
        return works

    def on_session_over(self, session: ProtocolAdapter) -> None:
        """See `SessionOwner.on_session_over`."""
        self._take_back(session)
        self.subscriptions.session_over(session)

    def _take_back(self, session: ProtocolAdapter | None) -> None:
        """Tell who uses the session beside the operations that it is over."""
        if session is not None and session is self._announced:
            self._announced = None
            self._on_session(self.id, None)

    async def before_replacing(self, session: ProtocolAdapter) -> None:
        """See `SessionOwner.before_replacing`."""
        self._take_back(session)
        await self.subscriptions.leave(session)

    async def operations_ended(self) -> None:
        """See `SessionOwner.operations_ended`."""
        try:
            async with self._clock.timeout(self._drain_timeout):
                await self.guard.attempts_ended()
        except TimeoutError:
            log.warning("operations in flight on the connection that was replaced", integration=self.id)

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """See `SessionOwner.quiet`."""
        self._quiet = True
        self.guard.pause()
        try:
            await self.operations_ended()
            yield
        finally:
            self._quiet = False
            self._start_waiting()

    def on_status(self, status: ConnectionStatus, error: BridgeError | None) -> None:
        """See `SessionOwner.on_status`."""
        if status is ConnectionStatus.CONNECTED:
            self.guard.note_check()
        if status is ConnectionStatus.CONNECTED and self._base is not status:
            self._connects += 1
        if error is not None:
            self._redactor.error(error)
        self._base, self._error = status, error
        self.publish_health()

    @property
    def status(self) -> ConnectionStatus:
        """The status as `health.<id>` has told it, so that `health.bridge` says the same."""
        return self._status

    def _status_now(self) -> ConnectionStatus:
        if self._stopped:
            return ConnectionStatus.STOPPED
        if self._paused:
            return ConnectionStatus.PAUSED
        if self._base is ConnectionStatus.CONNECTED and (
            not self._circuit_is_closed() or not self.subscriptions.well or self._checks_are_slow()
        ):
            return ConnectionStatus.DEGRADED
        return self._base

    def warnings(self) -> list[str]:
        """Return what a person should know although all goes on; one line each."""
        found = [*self._warnings, *map(self._shown, self._keeper.warnings)]
        # While a new session is put in order, this is asked for each of its subscriptions.
        if self._base is ConnectionStatus.CONNECTED and (more := self.subscriptions.unwell_and_not_named):
            found.append(f"{more} more subscriptions are not live; the log has all of them")
        if unlisted := self.subscriptions.not_listed:
            found.append(
                f"`bridge.subscriptions` leaves out {unlisted} subscriptions, since a list must fit on the bus"
            )
        return [*found, *self.subscriptions.unheard()]

    @property
    def dropped(self) -> int:
        """How many messages from outside could not become an event."""
        return self._dropped

    @property
    def unwell(self) -> int:
        """How many subscriptions are not live while it is connected."""
        return self.subscriptions.not_live if self._base is ConnectionStatus.CONNECTED else 0

    def _unwell(self) -> dict[str, SubscriptionHealth]:
        return self.subscriptions.unwell() if self._base is ConnectionStatus.CONNECTED else {}

    def _circuit_is_closed(self) -> bool:
        return self.guard.breaker.state is CircuitState.CLOSED

    def _checks_are_slow(self) -> bool:
        """Whether the last check took more than half of its time limit."""
        latency = self._keeper.latency
        return latency is not None and latency > self.settings.health.timeout / 2

    def health(self) -> IntegrationHealth:
        """Return the payload of `health.<id>`."""
        latency = self._keeper.latency
        sums = self.guard.accounting.sums()
        return IntegrationHealth(
            integration=self.id,
            type=self.settings.spec.protocol,
            status=self._status,
            previous=self._previous,
            since=self._since,
            circuit=self.guard.breaker.state,
            latency_ms=None if latency is None else round(latency * 1000, 3),
            in_flight=sums.in_flight,
            queued=sums.queued,
            error=None if self._error is None else self._error.to_wire(),
            accounting=sums,
            messages=self.subscriptions.messages,
            dropped=self._dropped,
            reconnects=max(0, self._connects - 1),
            warnings=self.warnings(),
            subscriptions=self._unwell(),
        )

    def publish_health(self, *, heartbeat: bool = False) -> None:
        """Publish `health.<id>` if what it says about the state has changed, or as a heartbeat."""
        if self._silent:
            return
        status, circuit, error = self._status_now(), self.guard.breaker.state, self._error
        changed = status is not self._status
        if changed:
            self._previous, self._status, self._since = self._status, status, self._clock.wall_ms()
        facts = (status, circuit, None if error is None else (error.kind, error.message))
        news = facts != self._said
        health = self.health()
        details = (health.warnings, health.subscriptions)
        if news or heartbeat or details != self._said_details:
            self._said, self._said_details = facts, details
            self._bus.keep(f"health.{self.id}", health)
        self._log_state(status)
        if changed:
            self._on_change()

    def _log_state(self, status: ConnectionStatus) -> None:
        connected = self._base is ConnectionStatus.CONNECTED
        self._log.connection(self._base, self._error)
        self._log.state(status)
        self._log.subscribed(well=not connected or self.subscriptions.well)
        if connected:
            self._log.checks(slow=self._checks_are_slow(), seconds=self._keeper.latency)


class AdapterCall(GuardedCall, kw_only=True):
    """An operation that the guard runs on the current session of a connection.

    Attributes:
        connection: The connection.
        done: Called with the operation and its outcome.
        session: The session of the last attempt; None before.
    """

    connection: Connection
    done: Done
    session: ProtocolAdapter | None = None

    @property
    def idempotent(self) -> bool:
        """See `GuardedCall.idempotent`. The session of the failed attempt tells, though it may have ended."""
        return self.connection.may_repeat(self.operation, self.session)

    def begin(self, promise: Promise) -> Coroutine[Any, Any, Any] | None:
        """Begin one attempt on the session; see `GuardedCall.begin`."""
        session = self.session = self.connection.session()
        operation = self.operation
        command = operation.command
        if type(command) is Subscribe:
            return self._subscribe(session, command)
        if type(command) is Unsubscribe:
            return self._unsubscribe(session, command)
        if (
            operation.headers is None
            and operation.idempotency_key is None
            and not operation.hop
            and self.span is None
            and not self.connection.settings.spec.sees_operations
        ):
            return session.begin(command, _FIRST_HOP, promise)
        return session.begin(command, self._context(), promise)

    def _context(self) -> Context:
        """Return what the adapter may know beside the arguments.

        In a trace, each attempt has its own: what the remote does belongs to that attempt.
        """
        operation, attempt = self.operation, self.attempt
        headers = forwarded_headers(operation.headers, operation.hop)
        if attempt is not None and attempt.span is not None:
            headers = in_trace(headers, attempt.span.context)
        seen = operation if self.connection.settings.spec.sees_operations else None
        return Context(headers, operation.idempotency_key, seen)

    @property
    def needs_session(self) -> bool:
        """Whether its protocol has sessions; see `GuardedCall.needs_session`."""
        return self.connection.settings.spec.has_session

    def away(self) -> BridgeError | None:
        """Return why there is no session; see `GuardedCall.away`."""
        try:
            self.connection.session()
        except NotConnectedError as error:
            return error
        return None

    async def _subscribe(self, session: ProtocolAdapter, command: Subscribe) -> Subscribed:
        source = self.operation.cause.source
        return Subscribed(subscription=await self.connection.subscriptions.add(session, command, source))

    async def _unsubscribe(self, session: ProtocolAdapter, command: Unsubscribe) -> Nothing:
        await self.connection.subscriptions.remove(session, command)
        return Nothing()

    def end(self, outcome: Outcome | None) -> None:
        """Answer the operation; see `GuardedCall.end`."""
        if outcome is None:
            stopped = StoppingError("the bridge stopped before the answer came", maybe_sent=True)
            outcome = Outcome(error=stopped)
            self.done(self.operation, outcome)
        else:
            self.done(self.operation, outcome)
            self.connection.learn(outcome)


async def _raise(bug: BaseException) -> None:
    raise bug
