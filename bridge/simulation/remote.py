"""Stand-ins for remotes: what an integration talks to in a simulation, below the adapters' port."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import UNSET

from bridge.core.endpoint import NO_AUTH, Tls
from bridge.core.errors import (
    ERRORS,
    BridgeError,
    ConnectionLostError,
    ErrorKind,
    InvalidError,
    NotConnectedError,
    NotSupportedError,
    RejectedError,
)
from bridge.core.model import Ack, Command, Dequeue, Enqueue, Export, Inbound, Nack, Publish, Request
from bridge.core.ports import (
    NO_OPTIONS,
    AckDecision,
    AdapterSetup,
    AdapterSpec,
    Clock,
    Context,
    Deliver,
    Promise,
    ProtocolAdapter,
    Subscription,
    SubscriptionOptions,
)
from bridge.core.timer import Timer
from bridge.simulation.cluster import MemoryCluster, MemorySession
from bridge.simulation.record import Attempt, Delivered, Record, SessionChange, Step


class Answer(msgspec.Struct, frozen=True):
    """How a stand-in answers one attempt.

    Attributes:
        result: The result, where there is no error.
        error: The kind of the error; `timeout` means that no answer ever comes. `connection_lost` ends the session,
            where the protocol has sessions.
        after: Seconds until the answer comes.
        code: The remote's own error code.
        message: The error's text.
        data: The remote's own error data.
        retry_after_ms: Milliseconds that the remote asks to wait.
        executed: Whether the stand-in does what is asked for; None: if it answers with a result.
    """

    result: Any = None
    error: ErrorKind | None = None
    after: float = 0.0
    code: int | str | None = None
    message: str | None = None
    data: Any = None
    retry_after_ms: int | None = None
    executed: bool | None = None

    def to_error(self) -> BridgeError:
        """Return the error that the adapter raises."""
        assert self.error is not None  # noqa: S101 - asked for errors only
        message = self.message or f"the stand-in answers with `{self.error}`"
        return ERRORS[self.error](message, code=self.code, data=self.data, retry_after_ms=self.retry_after_ms)


OK: Final = Answer()

Key = tuple[str, bool, str | None]
"""What identifies a subscription at a remote: topic or queue, whether it is a queue, group."""


class _Message(msgspec.Struct, eq=False):
    """A message that a stand-in has for a subscription.

    Attributes:
        number: Its number at this remote.
        attempts: How often it was delivered.
        entry: Its last delivery.
    """

    number: int
    topic: str
    content: Any
    headers: dict[str, str]
    retained: bool
    attempts: int = 0
    entry: Delivered | None = None


class _Mailbox(msgspec.Struct, eq=False):
    """What a stand-in has for one subscription.

    Attributes:
        key: The subscription.
        waiting: Messages that are to be delivered, in order.
        held: Messages that wait for the application, by their ids, with the timers of their visibility.
        live: The session's subscription; None while there is none.
    """

    key: Key
    waiting: deque[_Message] = msgspec.field(default_factory=deque)
    held: dict[str, tuple[_Message, Timer]] = msgspec.field(default_factory=dict)
    live: "_Live | None" = None


class _Live(msgspec.Struct, eq=False):
    """A subscription of a session.

    Attributes:
        acknowledged: Whether its messages are acknowledged.
        task: Delivers messages; None while there are none.
        now: The message that is being delivered.
        unconfirmed: Messages that were delivered and are not acknowledged, since their events are not on the bus yet.
        is_ending: Whether nothing more is delivered.
    """

    session: "ScriptedSession"
    deliver: Deliver
    options: SubscriptionOptions
    acknowledged: bool
    task: asyncio.Task[None] | None = None
    now: _Message | None = None
    unconfirmed: list[_Message] = msgspec.field(default_factory=list)
    is_ending: bool = False


class ScriptedRemote:
    """The outside world of one integration. It outlives sessions and processes.

    Attributes:
        name: The integration.
        answers: How calls are answered, in order; the last one repeats. Empty: each with null.
        answer: Returns the answer to an attempt; replace it for answers that follow another rule than `answers`.
        instead: How all calls are answered while it is set, whatever `answer` says.
        latency: Seconds that each answer, and the opening of a session, takes in addition.
        frozen: Whether it takes connections and calls, and answers nothing.
        refuses: Why it refuses new sessions, and each call where there are no sessions; None: it does not.
        refuses_topics: Whether it refuses to subscribe to anything.
        dies_opening: How many of the next sessions end right after they were opened.
        sessions: The sessions that are open.
    """

    def __init__(
        self,
        name: str,
        spec: AdapterSpec,
        *,
        clock: Clock,
        record: Record,
        now_ms: Callable[[], int],
        broker: MemoryCluster | None = None,
        node: str = "node",
    ) -> None:
        """Create one that is up.

        Args:
            name: The integration.
            spec: Its protocol.
            clock: The world's clock, which goes on while the bridge's process stands still.
            record: Where it notes what happens.
            now_ms: Returns the virtual milliseconds since the beginning.
            broker: What carries fabrics, where the protocol can; None: nothing does.
            node: Who the bridge is there.
        """
        self.name = name
        self.spec = spec
        self.clock = clock
        self.record = record
        self.now_ms = now_ms
        self.answers: Sequence[Answer] = ()
        self.answer: Callable[[Attempt], Answer] = self._next_answer
        self.instead: Answer | None = None
        self.latency = 0.0
        self.frozen = False
        self.refuses: BridgeError | None = None
        self.refuses_topics = False
        self.dies_opening = 0
        self.sessions: dict[ScriptedSession, None] = {}
        self._answered = 0
        self._attempts = 0
        self._messages = 0
        self._ids = 0
        self._mailboxes: dict[Key, _Mailbox] = {}
        self._queues: dict[str, deque[_Message]] = {}
        self._taken: dict[str, tuple[str, _Message]] = {}
        self._broker = broker
        self._node = node

    def join(self, on_lost: Callable[[BridgeError], None]) -> MemorySession | None:
        """Return a session with the broker behind the stand-in; None where there is none, or the protocol has none.

        `on_lost` is called where the broker ends it.
        """
        if self._broker is None or not self.spec.carries_fabrics:
            return None
        return self._broker.session(self._node, on_lost)

    def spec_for(self) -> AdapterSpec:
        """Return the protocol's spec whose sessions talk to this stand-in."""
        return msgspec.structs.replace(self.spec, create=partial(ScriptedSession, self, self.spec), transports=())

    # --- what a script does to it

    @property
    def is_down(self) -> bool:
        """Whether it refuses connections."""
        return self.refuses is not None

    def down(self, is_down: bool) -> None:
        """Refuse connections and end all sessions; or, with False, take connections again."""
        if is_down:
            self.refuses = NotConnectedError(f"{self.name} refuses connections")
            self.end_sessions("the remote went down")
        else:
            self.refuses = None

    def end_sessions(self, why: str) -> None:
        """End all sessions that are open, as where the connection breaks."""
        for session in tuple(self.sessions):
            session.lose(ConnectionLostError(why))

    def half_open(self) -> None:
        """Let all open sessions be dead without a word: what they send arrives nowhere."""
        for session in self.sessions:
            if self.spec.has_session:
                session.half_open = True
            else:  # a connection for each call: those that run now
                session.in_flight.clear()

    def deliver(
        self, key: Key, topic: str, content: Any, headers: Mapping[str, str] | None = None, *, retained: bool = False
    ) -> None:
        """Publish a message for a subscription.

        One that is not acknowledged reaches only who is subscribed now; others wait until they are acknowledged.

        Args:
            key: The subscription.
            topic: The message's own topic.
            content: The content.
            headers: The headers.
            retained: Whether the remote keeps it as the last value of its topic.
        """
        self._messages += 1
        message = _Message(self._messages, topic, content, dict(headers or {}), retained)
        mailbox = self._mailbox(key)
        if mailbox.live is None and not self.acknowledges(key):
            self.record.add(Step(self.now_ms(), f"{self.name}: a message to {topic!r} is lost, nobody is subscribed"))
            return
        mailbox.waiting.append(message)
        self._pump(mailbox)

    def acknowledges(self, key: Key, qos: int | None = None) -> bool:
        """Return whether messages of a subscription are acknowledged."""
        return self.spec.acknowledged("consume" if key[1] else "subscribe", qos)

    @property
    def is_busy(self) -> bool:
        """Whether a message can be delivered that was not yet."""
        return any(one.waiting and (one.live is None or one.live.now is None) for one in self._mailboxes.values())

    def unacknowledged(self) -> list[Any]:
        """Return the contents of messages that are not acknowledged, but for those that wait for the application."""
        found: list[_Message] = []
        for one in self._mailboxes.values():
            if one.live is not None:
                found += one.live.unconfirmed
                found += () if one.live.now is None else (one.live.now,)
            found += one.waiting
        return [one.content for one in found]

    # --- attempts

    def _next_answer(self, attempt: Attempt) -> Answer:  # noqa: ARG002 - the same for each
        if not self.answers:
            return OK
        answer = self.answers[min(self._answered, len(self.answers) - 1)]
        self._answered += 1
        return answer

    def take(self, session: "ScriptedSession", command: Command, context: Context, promise: Promise) -> None:
        """Take one attempt, and answer it to `promise` later.

        Raises:
            BridgeError: It fails at once.
        """
        self._attempts += 1
        attempt = _attempt(self, self._attempts, command, context)
        self.record.add(attempt)
        if session.is_over or (self.refuses is not None and not self.spec.has_session):
            error = self.refuses or NotConnectedError("the session is over")
            self._end(attempt, type(error)(error.message))
            raise type(error)(error.message, permanent=error.permanent)
        session.in_flight[attempt] = promise
        if session.half_open:
            return
        answer = self.instead or self.answer(attempt)
        attempt.executed = answer.error is None if answer.executed is None else answer.executed
        if attempt.executed:
            self._execute(command, context)
        if self.frozen or answer.error == "timeout":
            return
        self.later(answer.after + self.latency, partial(self._reply, session, attempt, answer))

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back after so many seconds, at the end of this turn of the loop where that is 0."""
        if seconds > 0:
            Timer(self.clock).set(seconds, callback)
        else:
            asyncio.get_running_loop().call_soon(callback)

    def _reply(self, session: "ScriptedSession", attempt: Attempt, answer: Answer) -> None:
        promise = session.in_flight.get(attempt)
        if promise is None or session.half_open or self.frozen:
            return
        if answer.error == "connection_lost" and self.spec.has_session:
            session.lose(answer.to_error())
            return
        del session.in_flight[attempt]
        session.heard()
        attempt.given_up = promise.done()
        if answer.error is not None:
            error = answer.to_error()
            self._end(attempt, error)
            if not promise.done():
                promise.set_exception(error)
            return
        attempt.result = self._result(attempt, answer.result)
        self._end(attempt, None)
        if not promise.done():
            promise.set_result(attempt.result)

    def _end(self, attempt: Attempt, error: BridgeError | None) -> None:
        attempt.ended_ms = self.now_ms()
        attempt.outcome = "ok" if error is None else error.kind

    def _result(self, attempt: Attempt, result: Any) -> Any:
        """Return the result in the shape that the command has on the bus."""
        if attempt.operation == "publish":
            return {} if result is None else result
        if attempt.operation == "enqueue":
            return {"message_id": f"{self.name}-{attempt.number}"} if result is None else result
        return result

    def fail(self, session: "ScriptedSession", error: BridgeError) -> None:
        """End all that is in flight on a session that has ended."""
        running, session.in_flight = session.in_flight, {}
        for attempt, promise in running.items():
            lost = ConnectionLostError(error.message)
            attempt.given_up = promise.done()
            self._end(attempt, lost)
            if not promise.done():
                promise.set_exception(lost)

    # --- queues of commands

    def _execute(self, command: Command, context: Context) -> None:
        if isinstance(command, Enqueue):
            self._messages += 1
            headers = dict(context.joined(command.headers))
            message = _Message(self._messages, command.queue, command.message, headers, retained=False)
            self._queues.setdefault(command.queue, deque()).append(message)

    def dequeue(self, command: Dequeue) -> dict[str, Any] | None:
        """Take one message from a queue; None where there is none."""
        waiting = self._queues.get(command.queue)
        if not waiting:
            return None
        message = waiting.popleft()
        message.attempts += 1
        self._ids += 1
        message_id = f"{self.name}-taken-{self._ids}"
        self._taken[message_id] = (command.queue, message)
        if command.visibility_ms is not None:
            self.later(command.visibility_ms / 1000, partial(self._return, message_id))
        return {
            "message_id": message_id,
            "message": message.content,
            "attempts": message.attempts,
            "headers": message.headers,
        }

    def _return(self, message_id: str) -> None:
        if message_id in self._taken:
            queue, message = self._taken.pop(message_id)
            self._queues.setdefault(queue, deque()).appendleft(message)

    def settle(self, command: Ack | Nack) -> None:
        """Acknowledge a message, or return it.

        Raises:
            InvalidError: There is no such message.
        """
        delay = 0.0 if command.delay_ms is None else command.delay_ms / 1000
        if command.message_id in self._taken:
            if isinstance(command, Ack):
                del self._taken[command.message_id]
            else:
                self.later(delay, partial(self._return, command.message_id))
            return
        for mailbox in self._mailboxes.values():
            if command.message_id in mailbox.held:
                message, timer = mailbox.held[command.message_id]
                if isinstance(command, Nack):
                    timer.set(delay, partial(self._again, mailbox, command.message_id))
                    return
                timer.cancel()
                del mailbox.held[command.message_id]
                self._settled(message, "acknowledged")
                self._pump(mailbox)
                return
        raise InvalidError(f"message_id: there is no message {command.message_id!r}")

    # --- subscriptions

    def _mailbox(self, key: Key) -> _Mailbox:
        return self._mailboxes.setdefault(key, _Mailbox(key))

    def subscribe(
        self, session: "ScriptedSession", key: Key, deliver: Deliver, options: SubscriptionOptions
    ) -> Subscription:
        """Begin to deliver what there is for a subscription."""
        mailbox = self._mailbox(key)
        live = _Live(session, deliver, options, self.acknowledges(key, options.qos))
        mailbox.live = live
        session.live[mailbox] = live
        self._pump(mailbox)
        return Subscription(key[0], mailbox)

    def unsubscribe(self, session: "ScriptedSession", subscription: Subscription) -> None:
        """End a subscription of a session."""
        mailbox: _Mailbox = subscription.handle
        live = session.live.pop(mailbox, None)
        if live is not None:
            self._stop(mailbox, live)

    def quiet(self, live: dict[_Mailbox, _Live]) -> None:
        """Deliver nothing more to some subscriptions; what is being delivered is for the next ones."""
        for mailbox, one in live.items():
            one.is_ending = True
            if one.task is not None:
                one.task.cancel()
                one.task = None
            if one.now is not None and one.acknowledged:
                self._settled(one.now, "not acknowledged")
                mailbox.waiting.appendleft(one.now)
                one.now = None

    def over(self, session: "ScriptedSession") -> None:
        """End all subscriptions of a session that has ended."""
        self.sessions.pop(session, None)
        live, session.live = session.live, {}
        for mailbox, one in live.items():
            self._stop(mailbox, one)

    def _stop(self, mailbox: _Mailbox, live: _Live) -> None:
        """Stop delivering; what was not acknowledged is delivered again to the next one."""
        if mailbox.live is live:
            mailbox.live = None
        if live.task is not None:
            live.task.cancel()
            live.task = None
        back = []
        for message, timer in mailbox.held.values():
            timer.cancel()
            back.append(message)
        mailbox.held.clear()
        back += live.unconfirmed
        live.unconfirmed.clear()
        if live.now is not None:
            back.append(live.now)
            live.now = None
        for message in back:
            self._settled(message, "not acknowledged" if live.acknowledged else "no ack")
        if live.acknowledged:
            mailbox.waiting.extendleft(reversed(back))
        else:
            mailbox.waiting.clear()

    def _pump(self, mailbox: _Mailbox) -> None:
        live = mailbox.live
        if live is None or live.task is not None or not mailbox.waiting or self.frozen or live.session.half_open:
            return
        if live.is_ending:
            return
        live.task = asyncio.get_running_loop().create_task(self._deliver_all(mailbox, live))

    def thaw(self) -> None:
        """Answer again after having been `frozen`; calls of that time stay without an answer."""
        self.frozen = False
        for mailbox in self._mailboxes.values():
            self._pump(mailbox)

    async def _deliver_all(self, mailbox: _Mailbox, live: _Live) -> None:
        hold = live.options.hold
        limit = live.options.prefetch if hold is None else hold.limit
        while mailbox.waiting and len(mailbox.held) < limit and mailbox.live is live and not live.session.half_open:
            message = live.now = mailbox.waiting.popleft()
            message.attempts += 1
            message.entry = Delivered(
                self.now_ms(), self.name, message.topic, message.content, message.number, message.attempts
            )
            self.record.add(message.entry)
            live.session.heard()
            inbound = self._inbound(message, live)
            decision = live.deliver(inbound)
            decided = decision if isinstance(decision, AckDecision) else await decision
            if live.now is not message:  # the session has ended meanwhile
                return
            live.now = None
            if decided is AckDecision.HOLD and hold is not None and inbound.message_id is not None:
                self._hold(mailbox, live, message, inbound.message_id)
            elif live.acknowledged:
                live.unconfirmed.append(message)
                live.session.when_on_bus(partial(self._confirm, live, message))
            else:
                self._settled(message, "no ack")
        live.task = None

    def _confirm(self, live: _Live, message: _Message) -> None:
        """Take the acknowledgement of a message, unless its session has ended meanwhile, or is dead."""
        if message in live.unconfirmed and not live.session.half_open:
            live.unconfirmed.remove(message)
            self._settled(message, "acknowledged")

    def _inbound(self, message: _Message, live: _Live) -> Inbound:
        return Inbound(
            topic=message.topic,
            message=message.content,
            headers=message.headers,
            message_id=f"{self.name}-{message.number}" if live.options.hold is not None else None,
            attempts=message.attempts if live.acknowledged else None,
            retained=message.retained,
            at_most_once=not live.acknowledged,
            unique=f"{self.name}-{message.number}" if live.acknowledged and live.options.hold is None else None,
        )

    def _hold(self, mailbox: _Mailbox, live: _Live, message: _Message, message_id: str) -> None:
        hold = live.options.hold
        assert hold is not None  # noqa: S101 - only such messages are held
        if message.entry is not None:
            message.entry.outcome = "held"
        timer = Timer(self.clock)
        timer.set(hold.visibility, partial(self._again, mailbox, message_id))
        mailbox.held[message_id] = (message, timer)

    def _again(self, mailbox: _Mailbox, message_id: str) -> None:
        """Deliver a message again that the application has not acknowledged, or give it up."""
        message, timer = mailbox.held.pop(message_id)
        timer.cancel()
        live = mailbox.live
        hold = None if live is None else live.options.hold
        most = None if hold is None else hold.max_deliveries
        if live is not None and hold is not None and most is not None and message.attempts >= most:
            self._settled(message, "given up")
            hold.on_dead(self._inbound(message, live), f"not acknowledged in {message.attempts} deliveries")
            self._pump(mailbox)
            return
        self._settled(message, "not acknowledged")
        mailbox.waiting.appendleft(message)
        self._pump(mailbox)

    def _settled(self, message: _Message, outcome: str) -> None:
        if message.entry is not None:
            message.entry.ended_ms, message.entry.outcome = self.now_ms(), outcome


class ScriptedSession:
    """One session with a stand-in; implements `ports.ProtocolAdapter`.

    Attributes:
        half_open: Whether it is dead without a word.
        in_flight: The attempts that have no answer yet.
        live: Its subscriptions.
        is_over: Whether it was lost or closed.
        when_on_bus: See `AdapterSetup`.
    """

    def __init__(self, remote: ScriptedRemote, spec: AdapterSpec, setup: AdapterSetup) -> None:
        self._remote = remote
        self._spec = spec
        self._setup = setup
        self._real = _unconnected(spec, setup)
        self._last_heard: float | None = None
        self._broken = asyncio.Event()
        self._is_cut = False
        self._cluster: MemorySession | None = None
        self.half_open = False
        self.in_flight: dict[Attempt, Promise] = {}
        self.live: dict[_Mailbox, _Live] = {}
        self.is_over = False
        self._is_open = False
        self.when_on_bus = setup.when_on_bus

    @property
    def protocol(self) -> str:
        """See `ProtocolAdapter.protocol`."""
        return self._spec.protocol

    @property
    def last_heard(self) -> float | None:
        """See `ProtocolAdapter.last_heard`."""
        return self._last_heard

    def heard(self) -> None:
        """Note that something came from the remote."""
        self._last_heard = self._setup.clock.monotonic()

    # --- what the remote does to it

    def lose(self, error: BridgeError) -> None:
        """Lose the connection."""
        if self.is_over or not self._is_open:
            return
        remote = self._remote
        if self._spec.has_session:
            self._finish()
            remote.record.add(SessionChange(remote.now_ms(), remote.name, "lost", error.message))
            self._setup.on_lost(error)
        remote.fail(self, error)

    def cut(self) -> None:
        """End without a word to the bridge, whose process was killed."""
        self._is_cut = True
        self._finish()
        self.in_flight.clear()

    def _finish(self) -> None:
        self.is_over = True
        self._is_open = False
        self._broken.set()
        if self._cluster is not None:
            cluster, self._cluster = self._cluster, None
            cluster.close()
        self._remote.over(self)

    async def _pass(self) -> None:
        """Wait as long as the remote takes to answer; for ever where it does not."""
        if self._is_silent:
            await self._never()
        if self._remote.latency:
            await self._remote.clock.sleep(self._remote.latency)
        else:
            await asyncio.sleep(0)
        if self.is_over:
            raise ConnectionLostError("the session is over")
        if self._is_silent:
            await self._never()
        self.heard()

    @property
    def _is_silent(self) -> bool:
        return self.half_open or self._remote.frozen or self._is_cut

    async def _never(self) -> None:
        await self._broken.wait()
        raise ConnectionLostError("the session is over")

    # --- the port

    async def connect(self) -> None:
        """See `ProtocolAdapter.connect`."""
        remote = self._remote
        if self._is_cut:
            await self._broken.wait()
        if not remote.frozen:
            await self._pass()
        refusal = remote.refuses
        if refusal is not None:
            remote.record.add(SessionChange(remote.now_ms(), remote.name, "refused", refusal.message))
            raise type(refusal)(refusal.message, permanent=refusal.permanent)
        self._cluster = remote.join(self.lose)
        if self._spec.has_session:
            remote.record.add(SessionChange(remote.now_ms(), remote.name, "opened"))
        self._is_open = True
        remote.sessions[self] = None
        if remote.dies_opening > 0:
            remote.dies_opening -= 1
            self.lose(ConnectionLostError("it ended right after it was opened"))

    async def disconnect(self) -> None:
        """See `ProtocolAdapter.disconnect`."""
        if not self._is_silent:
            await self._acknowledge(self.live)
        if not self.is_over:
            was_open = self._is_open
            self._finish()
            if was_open and self._spec.has_session:
                self._remote.record.add(SessionChange(self._remote.now_ms(), self._remote.name, "closed"))
        self._remote.fail(self, ConnectionLostError("the session was closed"))

    async def check(self) -> None:
        """See `ProtocolAdapter.check`."""
        if not self._is_open:
            raise NotConnectedError("there is no session")
        await self._pass()
        refusal = self._remote.refuses
        if refusal is not None and not self._spec.has_session:
            raise type(refusal)(refusal.message, permanent=refusal.permanent)

    @property
    def cluster(self) -> MemorySession:
        """The part of the session that carries a fabric; see `core.cluster.cluster_of`."""
        if self._cluster is None:
            raise NotConnectedError("there is no session")
        return self._cluster

    def subscriptions_restored(self) -> None:
        """See `ProtocolAdapter.subscriptions_restored`."""

    def is_idempotent(self, command: Command) -> bool:
        """See `ProtocolAdapter.is_idempotent`."""
        return self._real is not None and self._real.is_idempotent(command)

    def begin(self, command: Command, context: Context, promise: Promise) -> Coroutine[Any, Any, Any] | None:
        """See `ProtocolAdapter.begin`."""
        if isinstance(command, Request | Publish | Enqueue):
            operation, name, _ = parts_of(command)
            self._spec.check_names(operation, name, None, self._setup.config)
            if not self._is_cut:
                self._remote.take(self, command, context, promise)
            return None
        if isinstance(command, Export):
            return self.cluster.begin(command, context, promise)
        if isinstance(command, Dequeue):
            return self._dequeue(command)
        if isinstance(command, Ack | Nack):
            return self._settle(command)
        raise AssertionError(f"{type(command).__name__} reaches no adapter")

    async def _dequeue(self, command: Dequeue) -> dict[str, Any] | None:
        await self._pass()
        taken = self._remote.dequeue(command)
        if taken is None and command.wait_ms:
            await self._remote.clock.sleep(command.wait_ms / 1000)
            taken = self._remote.dequeue(command)
        return taken

    async def _settle(self, command: Ack | Nack) -> dict[str, Any]:
        await self._pass()
        self._remote.settle(command)
        return {}

    async def subscribe(self, topic: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """See `ProtocolAdapter.subscribe`."""
        return await self._listen((topic, False, options.group), "subscribe", deliver, options)

    async def consume(self, queue: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """See `ProtocolAdapter.consume`."""
        return await self._listen((queue, True, options.group), "consume", deliver, options)

    async def _listen(self, key: Key, operation: str, deliver: Deliver, options: SubscriptionOptions) -> Subscription:
        if operation not in self._spec.operations and operation == "subscribe":
            raise NotSupportedError(f"{self.protocol} has no topics")
        self._spec.check_names(operation, key[0], key[2], self._setup.config)
        if not self._is_open:
            raise NotConnectedError("there is no session")
        await self._pass()
        if self._remote.refuses_topics:
            raise RejectedError(f"{key[0]!r} is refused")
        return self._remote.subscribe(self, key, deliver, options)

    async def unsubscribe(self, subscription: Subscription) -> None:
        """See `ProtocolAdapter.unsubscribe`."""
        await self._pass()
        mailbox: _Mailbox = subscription.handle
        if mailbox in self.live:
            await self._acknowledge({mailbox: self.live[mailbox]})
        self._remote.unsubscribe(self, subscription)

    async def _acknowledge(self, live: dict[_Mailbox, _Live]) -> None:
        """End deliveries, and wait until what was delivered is acknowledged, so that it does not come again."""
        self._remote.quiet(live)
        if any(one.unconfirmed for one in live.values()):
            await self._setup.on_bus()


def parts_of(command: Request | Publish | Enqueue) -> tuple[str, str, Any]:
    """Return the operation's name, its method, topic or queue, and its params or message."""
    if isinstance(command, Request):
        return "request", command.method, None if command.params is UNSET else command.params
    if isinstance(command, Publish):
        return "publish", command.topic, command.message
    return "enqueue", command.queue, command.message


def _attempt(remote: ScriptedRemote, number: int, command: Command, context: Context) -> Attempt:
    assert isinstance(command, Request | Publish | Enqueue)  # noqa: S101 - others are no attempts at an answer
    operation, name, content = parts_of(command)
    own = None if isinstance(command, Request) else command.headers
    headers = dict(context.joined(own))
    return Attempt(remote.now_ms(), remote.name, operation, name, content, headers, context.idempotency_key, number)


def _unconnected(spec: AdapterSpec, setup: AdapterSetup) -> ProtocolAdapter | None:
    """Return the protocol's own adapter, which knows what may be repeated; None where its settings cannot work.

    It gets no credentials: it is never connected, and a test of a configuration has none.
    """
    try:
        return spec.create(replace(setup, auth=NO_AUTH, tls=Tls(), on_lost=lambda _: None))
    except ValueError:
        return None
