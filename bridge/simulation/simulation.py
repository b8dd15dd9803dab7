"""Run a whole gateway on virtual time, with a bus in memory and stand-ins for its remotes.

Nothing of the gateway is a model: routing, guard, breaker, outbox, session keeper, subscriptions and health are those
that `nemo-bridge run` runs. Two things are replaced: the transport of the bus, and the adapters of integrations that
have a remote. `timer` and `static` have none, so their own adapters run.

The same configuration, seed and steps give the same record, byte for byte, on each machine.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from bridge.bus import Codec, Limits, Rejected
from bridge.config import Configuration, Integration, SubscriptionSettings
from bridge.core.fabric import USUAL_LIMIT
from bridge.core.log import structlog
from bridge.core.model import CircuitState, ConnectionStatus
from bridge.core.payloads import BridgeHealth, IntegrationHealth, Overview
from bridge.core.ports import AdapterSpec
from bridge.gateway import IntegrationGateway, Surroundings
from bridge.outbox.commit_queue import Turn
from bridge.outbox.entry import Entry as StoredEntry
from bridge.simulation.bus import MemoryBroker, MemoryListener, MemoryTransport
from bridge.simulation.cluster import MemoryCluster
from bridge.simulation.loop import START, VirtualClock, VirtualLoop, inline
from bridge.simulation.record import (
    Configured,
    Discarded,
    Ended,
    Garbage,
    Listening,
    LogLine,
    Record,
    Said,
    Step,
    Stored,
)
from bridge.simulation.remote import Answer, ScriptedRemote
from bridge.simulation.storage import InlineCommitQueue, MemoryDisk, MemoryStorage

#: Protocols whose own adapters run, because they have no remote.
LOCAL: Final = frozenset({"timer", "static"})
#: Seconds for which nothing may be left to do before a run ends early. What is reported once a second comes in it.
SETTLED: Final = 2.0
#: Seconds that the orderly end may take beyond `drain_timeout`.
_LONGEST_STOP: Final = 60.0
#: What health shows as the process of the first run; each start has the next number.
_FIRST_PID: Final = 1000
_STEADY: Final = frozenset(
    {
        ConnectionStatus.CONNECTED,
        ConnectionStatus.DEGRADED,
        ConnectionStatus.PAUSED,
        ConnectionStatus.STOPPED,
        ConnectionStatus.FAILED,
    }
)


class Simulation:
    """One run of a gateway, or of several processes of it one after the other, on virtual time.

    Use it as a context manager, and outside of any event loop: it has its own.

    Attributes:
        record: All that happened.
        remotes: The stand-ins by integration.
        disk: What the outbox has on disk.
        broker: The bus.
        gateway: The gateway of the process that runs now; None while there is none.
        crash: The exception with which a process has ended.
        on_said: Called with each event on the bus, after it was recorded.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        seed: int = 0,
        answers: Mapping[str, Sequence[Answer]] | None = None,
        local: Collection[str] = LOCAL,
        listens: bool = True,
        steady: bool = False,
        loop: VirtualLoop | None = None,
        broker: MemoryCluster | None = None,
        node: str = "node",
    ) -> None:
        """Make the world; no process runs before `start`.

        Args:
            configuration: What to run. Where the bus and the console are does not matter.
            seed: Of the random numbers.
            answers: How the stand-ins answer, by integration; see `ScriptedRemote.answers`.
            local: Protocols whose own adapters run.
            listens: Whether a program on the bus listens to everything, so that no message waits for a listener.
            steady: Whether the process notices that it stood still, as `nemo-bridge run` does; for `stand_still`.
            loop: Where time passes, for several bridges in one world; default: one of its own. Whoever runs one of
                them runs all, and the first that is closed closes the loop.
            broker: What carries fabrics, for several bridges in one world; default: there are no fabrics.
            node: Who this bridge is at `broker`.
        """
        self._loop = loop or VirtualLoop()
        self._seed = seed
        self._broker = broker
        self._node = node
        self._steady = steady
        self._clock = VirtualClock(self._loop)
        self.record = Record()
        self.disk = MemoryDisk()
        self.disk.on_turn = self._on_turn
        limits = Limits(max_message=configuration.bus.max_message)
        self._codec = Codec(limits, bytes_as=configuration.bus.bytes)
        self.broker = MemoryBroker(self._on_message)
        self.remotes: dict[str, ScriptedRemote] = {}
        self._local = local
        self._specs: dict[str, AdapterSpec] = {}
        self._subscriptions: dict[str, SubscriptionSettings] = {}
        self._configuration = self._simulated(configuration)
        for name, remote in self.remotes.items():
            remote.answers = (answers or {}).get(name, ())
        self._listeners: dict[str, MemoryListener] = {}
        self.listen(listens)
        self._ids: dict[str | None, int] = {}
        self._steps = 0
        self._early: list[tuple[float, Callable[[], object]]] | None = []
        self._settled_since: float | None = None
        self._starts = 0
        self._task: asyncio.Task[None] | None = None
        self._transport: MemoryTransport | None = None
        self._storage: MemoryStorage | None = None
        self.gateway: IntegrationGateway | None = None
        self.crash: BaseException | None = None
        self.on_said: Callable[[Said], object] = lambda _: None
        self._wall_offset_ms = 0
        self._process_clock = self._clock

    def _simulated(self, configuration: Configuration) -> Configuration:
        """Return a configuration whose integrations talk to the stand-ins, which are made where they are new.

        Without a `broker` there is no other node, so fabrics are left out: a stand-in answers for what others offer,
        and this bridge emits for a `singleton`. A stand-in knows no time limit of other nodes; it has the one that is
        used where none is known.
        """
        for name, one in configuration.integrations.items():
            if one.type not in self._local and name not in self.remotes:
                self.remotes[name] = ScriptedRemote(
                    name,
                    one.spec,
                    clock=self._clock,
                    record=self.record,
                    now_ms=lambda: self.now_ms,
                    broker=self._broker,
                    node=self._node,
                )
                self._specs[name] = self.remotes[name].spec_for()
        self._subscriptions |= {one.name: one for one in configuration.subscriptions}
        if self._broker is None:
            alone = tuple(msgspec.structs.replace(one, singleton=None) for one in configuration.subscriptions)
            configuration = replace(configuration, subscriptions=alone, fabrics={})
        return replace(
            configuration,
            bridge=configuration.bridge.model_copy(update={"status": None, "tracing": False}),
            bus=configuration.bus.model_copy(update={"mode": "host", "curve": None}),
            integrations={
                name: msgspec.structs.replace(_limited(one), spec=self._specs[name]) if name in self._specs else one
                for name, one in configuration.integrations.items()
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- time

    @property
    def now_ms(self) -> int:
        """The virtual milliseconds since the beginning."""
        return self._loop.elapsed_ms

    @property
    def loop(self) -> VirtualLoop:
        """The event loop."""
        return self._loop

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Do something later.

        Args:
            seconds: Seconds since the beginning; what is past is done at once, in the order of the calls. Nothing is
                done before the first process has started.
            action: What to do.
        """
        if self._early is not None:
            self._early.append((seconds, action))
            return
        self._steps += 1

        def act() -> None:
            self._steps -= 1
            self._settled_since = None
            action()

        self._loop.call_at(max(START + seconds, self._loop.time()), act)

    # --- the process

    def start(self) -> None:
        """Start a process, and let it come as far as it does in no time: without latency it is ready and connected.

        Raises:
            BusError, ConfigError, OutboxError: As `IntegrationGateway.run`.
        """
        self.start_soon()
        self._loop.on_wait = self._loop.halt
        with self._logs():
            self._loop.run_until(None)
        self._raise_crash()
        early, self._early = self._early or (), None
        for seconds, action in early:
            self.at(seconds, action)

    def start_soon(self) -> None:
        """Start a process; it runs as soon as the simulation does. Does nothing where one runs already."""
        if self._task is not None:
            return
        self._starts += 1
        self._transport = MemoryTransport(self.broker, max_message=self._configuration.bus.max_message)
        self._storage = MemoryStorage(self.disk)
        self._process_clock = VirtualClock(self._loop)
        self._process_clock.wall_offset_ms = self._wall_offset_ms
        work = self._run(self._process_clock, self._transport, self._storage, _FIRST_PID + self._starts)
        self._task = self._loop.create_task(work)
        if self._starts > 1:
            self.record.add(Step(self.now_ms, "the bridge starts again", "started"))

    async def _run(self, clock: VirtualClock, transport: MemoryTransport, storage: MemoryStorage, pid: int) -> None:
        gateway = self.gateway = IntegrationGateway(
            self._configuration,
            load=lambda: self._configuration,
            clock=clock,
            rng=random.Random(f"{self._seed} {self._starts}"),  # noqa: S311 - must be the same each time
            surroundings=Surroundings(transport, storage, InlineCommitQueue, {}, pid, inline),
        )
        try:
            with clock.steady() if self._steady else contextlib.nullcontext():
                await gateway.run()
        except BaseException as error:
            if not storage.is_cut:
                self.crash = error
                self._loop.halt()
            raise
        finally:
            if self.gateway is gateway:
                self.gateway = self._task = None

    def kill(self) -> None:
        """End the process at once, as `kill -9` does: it says and writes nothing any more, and cleans nothing up."""
        if self._task is None or self._transport is None or self._storage is None:
            return
        self.record.add(Step(self.now_ms, "the bridge is killed", "killed"))
        self._transport.cut()
        self._storage.cut()
        for remote in self.remotes.values():
            for session in tuple(remote.sessions):
                session.cut()
        task, self._task, self.gateway = self._task, None, None
        task.add_done_callback(lambda dead: None if dead.cancelled() else dead.exception())
        task.cancel()

    def stop(self) -> None:
        """Ask the process to stop in order, as SIGTERM does."""
        if self.gateway is not None:
            self.gateway.stop("the simulation")

    def restart(self) -> None:
        """Stop the process in order, and start another one when it has ended. Does nothing where none runs yet."""
        if self._task is not None and self.gateway is not None:
            self.note("the bridge is stopped, to be started again")
            self._task.add_done_callback(lambda _: self.start_soon())
            self.stop()

    def reload(self, configuration: Configuration) -> None:
        """Let the process use another configuration, as SIGHUP does.

        An integration that is new gets a stand-in. One of which there was a stand-in before keeps it, and its protocol.

        Args:
            configuration: What files hold now. Later processes start with it, too.
        """
        routes = frozenset(route.name for route in configuration.routes)
        self.record.add(Configured(self.now_ms, frozenset(configuration.integrations), routes))
        self._configuration = self._simulated(configuration)
        if self.gateway is not None:
            self.gateway.reload_soon()

    def stand_still(self, seconds: float) -> None:
        """Let the process stand still, as SIGSTOP does; the remotes go on."""
        self.note(f"the bridge stands still for {seconds:g} s")
        self._loop.jump(seconds)

    def set_wall_clock(self, seconds: float) -> None:
        """Set the machine's time of day forward, or back, by so many seconds."""
        self.note(f"the wall clock is set by {seconds:+g} s")
        self._wall_offset_ms += round(seconds * 1000)
        self._process_clock.wall_offset_ms = self._wall_offset_ms

    def note(self, what: str) -> None:
        """Note in the record what the simulation does."""
        self.record.add(Step(self.now_ms, what))

    def listen(self, listens: bool, prefix: str = "") -> None:
        """Let a program on the bus listen to events whose types begin with a prefix from now on, or no more."""
        if listens == (prefix in self._listeners):
            return
        self.record.add(Listening(self.now_ms, prefix, listens))
        if listens:
            self._listeners[prefix] = MemoryListener(self.broker, prefix)
        else:
            self._listeners.pop(prefix).leave()

    # --- what comes from outside

    def emit(
        self,
        event_type: str,
        payload: Any,
        *,
        source: str | None = "app",
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        event_id: int | None = None,
        timestamp: int | None = None,
    ) -> int:
        """Put an event of a program on the bus; return its id.

        Args:
            event_type: Its type.
            payload: Its payload.
            source: The program.
            correlation_id: Where a response is wanted.
            headers: Its headers.
            event_id: Default: the next number of its source.
            timestamp: Unix milliseconds; default: now.

        Raises:
            InvalidError: The bus cannot carry it.
        """
        self._ids[source] = self._ids.get(source, 0) + 1
        number = self._ids[source] if event_id is None else event_id
        frame, body = self._codec.encode(
            event_type,
            payload,
            event_id=number,
            timestamp=self._process_clock.wall_ms() if timestamp is None else timestamp,
            source=source,
            correlation_id=correlation_id,
            headers=headers,
        )
        self._send(frame, body)
        return number

    def emit_raw(self, frame: bytes, body: bytes) -> None:
        """Put the two frames of a message on the bus, whatever they hold."""
        self._send(frame, body)

    def _send(self, frame: bytes, body: bytes) -> None:
        # `at` calls this on the loop; a caller between two runs does not.
        self._loop.call_soon(self.broker.send, frame, body)

    def deliver(
        self,
        subscription: str,
        topic: str | None,
        content: Any,
        headers: Mapping[str, str] | None = None,
        *,
        retained: bool = False,
    ) -> None:
        """Let a message come from outside to a subscription of the configuration.

        Args:
            subscription: Its name; its integration must have a stand-in.
            topic: The message's own topic; None for the subscription's.
            content: The message.
            headers: Its headers.
            retained: Whether the remote keeps it as its topic's last value.
        """
        spec = self._subscriptions[subscription]
        place = spec.topic or spec.queue or ""
        key = (place, spec.queue is not None, spec.group)
        self.remotes[spec.integration].deliver(key, topic or place, content, headers, retained=retained)

    def _on_message(self, frame: bytes, body: bytes) -> None:
        try:
            said = Said(self.now_ms, self._codec.decode(frame, body))
        except Rejected as rejected:
            self.record.add(Garbage(self.now_ms, rejected.reason))
        else:
            self.record.add(said)
            self.on_said(said)

    def _on_turn(self, done: Turn) -> None:
        """Note what the outbox has committed."""
        for one in done.batch.acceptances:
            if one.taken:
                self._note_stored(one.entry)
        for end in done.batch.settlements:
            if end.outcome.error is None:
                outcome = "delivered"
            else:
                outcome = "expired" if end.dead_letter is None else "dead_lettered"
            self.record.add(Ended(self.now_ms, end.entry.seq, outcome, end.outcome.attempts))
        for entry in done.batch.delivered:
            self.record.add(Ended(self.now_ms, entry.seq, "delivered", entry.progress.attempts))
        for task in done.tasks:
            if not task.writes:
                continue
            replayed = [one for one in task.result if isinstance(one, StoredEntry)]
            for entry in replayed:
                self._note_stored(entry)
            if len(replayed) < len(task.result):  # of what is discarded it has the integrations
                self.record.add(Discarded(self.now_ms, len(task.result) - len(replayed)))

    def _note_stored(self, entry: StoredEntry) -> None:
        body, event = entry.body, entry.event
        self.record.add(
            Stored(
                self.now_ms,
                entry.seq,
                body.integration,
                body.route,
                body.key,
                body.idempotency_key,
                (event.source, event.id, event.event_type),
                body.receipts,
                body.scope is not None,
                event.correlation_id,
                body.replayed,
            )
        )

    # --- running

    def run(self, until: float, *, settle: bool = True) -> Record:
        """Let time pass; return the record.

        Args:
            until: Seconds since the beginning at which it ends.
            settle: Whether it ends earlier where no step is planned and nothing has been left to do for two seconds.

        Raises:
            EndlessLoopError: Something goes round for ever.
            BaseException: What has ended the process; nothing but a bug does.
        """
        self._settled_since = None
        self._loop.on_wait = self._look if settle else _ignore
        with self._logs():
            self._loop.run_until(START + until)
        self._raise_crash()
        return self.record

    def _look(self) -> None:
        if self._steps or not self.is_settled:
            self._settled_since = None
        elif self._settled_since is None:
            self._settled_since = self._loop.time()
        elif self._loop.time() - self._settled_since >= SETTLED:
            self._loop.halt()

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do but what is repeated for ever: ticks, checks, heartbeats, vain connecting."""
        status = self.status()
        return all(
            self._is_idle(name, one) for name, one in status.items() if isinstance(one, IntegrationHealth)
        ) and not any(remote.is_busy and not self._is_away(remote) for remote in self.remotes.values())

    def _is_idle(self, name: str, health: IntegrationHealth) -> bool:
        if health.in_flight or health.queued or health.circuit is CircuitState.OPEN:
            return False
        remote = self.remotes.get(name)
        if remote is None:
            return health.status in _STEADY
        is_refused = health.status is ConnectionStatus.FAILED or (health.subscriptions and not remote.refuses_topics)
        if is_refused and not self._is_away(remote):
            return False  # it is tried again
        return health.status in _STEADY or self._is_away(remote)

    @staticmethod
    def _is_away(remote: ScriptedRemote) -> bool:
        return remote.is_down or remote.frozen

    def status(self) -> dict[str, BridgeHealth | IntegrationHealth]:
        """Return what `bridge.status` answers now; empty while no process runs."""
        return {} if self.gateway is None else self.gateway.status()

    def overview(self) -> Overview | None:
        """Return what `bridge.overview` answers now; None while no process runs."""
        return None if self.gateway is None else self.gateway.overview()

    def finish(self) -> list[str]:
        """Stop the process in order; return the names of tasks that are left, which should be none.

        Raises:
            EndlessLoopError: Something goes round for ever.
            BaseException: What has ended the process; nothing but a bug does.
        """
        limit = self._loop.time() + self._configuration.bridge.drain_timeout + _LONGEST_STOP
        self._loop.on_wait = self._halt_at_end
        with self._logs():
            self.stop()
            self._loop.run_until(limit)
        self._raise_crash()
        return sorted(_name(task) for task in asyncio.all_tasks(self._loop) if not task.done())

    def _halt_at_end(self) -> None:
        if not asyncio.all_tasks(self._loop):
            self._loop.halt()

    def close(self) -> None:
        """Drop everything; idempotent."""
        if self._loop.is_closed():
            return
        if self._transport is not None and self._storage is not None:
            self._transport.cut()
            self._storage.cut()
        self.gateway = self._task = None
        self._loop.on_wait = _ignore
        with self._logs():
            for _ in range(3):  # what is cancelled may wait once more, for example for another task's end
                tasks = asyncio.all_tasks(self._loop)
                for task in tasks:
                    task.cancel()
                if tasks:
                    self._loop.run_until(self._loop.time() + 1.0)
        self._loop.close()
        self.disk.close()

    def _raise_crash(self) -> None:
        if self.crash is not None:
            raise self.crash
        if self._loop.bugs:
            context = self._loop.bugs[0]
            raise context.get("exception") or RuntimeError(str(context.get("message")))

    @contextlib.contextmanager
    def _logs(self) -> Iterator[None]:
        """Note what is logged in the record, in place of writing it."""

        def note(_: Any, level: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
            fields = dict(line)
            self.record.add(LogLine(self.now_ms, level, str(fields.pop("event", "")), fields))
            raise structlog.DropEvent

        # In place: loggers that were used before keep this very list.
        processors = structlog.get_config()["processors"]
        before = processors.copy()
        processors[:] = [note]
        try:
            yield
        finally:
            processors[:] = before


def _name(task: "asyncio.Task[Any]") -> str:
    """Return the name of what a task runs; its own name has a number that differs from run to run."""
    return getattr(task.get_coro(), "__qualname__", "?")


def _ignore() -> None:
    pass


def _limited(integration: Integration) -> Integration:
    """Return an integration that other nodes offer with the time limit of its adapter, which a stand-in has not."""
    if not integration.is_used:
        return integration
    return msgspec.structs.replace(
        integration, resilience=integration.resilience.model_copy(update={"timeout": USUAL_LIMIT})
    )
