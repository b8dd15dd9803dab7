"""An outbox on a fake clock; the test ends each operation by hand."""

import queue
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from bridge.bus.codec import Codec
from bridge.core.errors import BridgeError, InvalidError
from bridge.core.model import Cause, Command, Event, Operation, Outcome, Publish, Request
from bridge.core.responder import Responder
from bridge.core.settings import OutboxSettings
from bridge.outbox import Folder, Outbox
from bridge.outbox.commit_queue import CommitQueue, Committer
from bridge.outbox.store import Store
from bridge.resilience import Accounting, Stage
from tests.support.clock import FakeClock
from tests.support.guard.tracer import RecordingTracer

Done = Callable[[Operation, Outcome], None]


class InlineCommitQueue(CommitQueue):
    """A commit queue without a thread: it commits at the end of each turn of the loop."""

    store: Store

    async def open(self) -> dict[str, int]:
        """See `CommitQueue.open`."""
        self.store = Store(self._storage, max_bytes=self._max_bytes)
        self._committer = Committer(self.store, queue.SimpleQueue(), self.returned)
        self.totals, self.condition = self.store.totals, self._committer.condition
        self.missing = self.store.missing
        return self.store.lanes()

    async def close(self) -> None:
        """See `CommitQueue.close`."""
        self._send()
        self.store.close()

    async def watch(self) -> None:
        """Return at once: there is no thread."""

    def _send(self) -> None:
        if self._turn is not None:
            turn, self._turn = self._turn, None
            self._committer.do(turn)


class FakeConnection:
    """A connection whose operations a test ends; it counts them as the guard does.

    Attributes:
        running: What was submitted and has not ended, in order.
        submitted: Everything that was ever submitted: (number of the event, key), in order.
        tracer: Writes traces; None: there are none.
    """

    def __init__(self, log: list[Any] | None = None) -> None:
        """Create it; what is submitted is also appended to `log`."""
        self.log = [] if log is None else log
        self.accounting = Accounting()
        self.usable = self.well = True
        self.capacity = 4
        self.safe = False
        self.running: list[tuple[Operation, Done]] = []
        self.submitted: list[tuple[int, str | None]] = []
        self.tracer: RecordingTracer | None = None

    def may_repeat(self, operation: Operation) -> bool:
        """Return whether it has a key, or the adapter allows it."""
        return bool(operation.repeatable) or self.safe

    def submit(self, operation: Operation, done: Done) -> None:
        """See `Connection.submit`."""
        self.accounting.move(Stage.PENDING, Stage.IN_FLIGHT)
        self.submitted.append((operation.cause.id, operation.idempotency_key))
        self.log.append(self.submitted[-1])
        if self.tracer is not None:
            operation, _ = self.tracer.operation(operation, f"call {len(self.submitted)}, event")
        self.running.append((operation, done))

    def end(self, number: int, error: BridgeError | None = None, *, attempts: int = 1) -> None:
        """End the operation of one event as the guard does."""
        place = next(at for at, (operation, _) in enumerate(self.running) if operation.cause.id == number)
        operation, done = self.running.pop(place)
        self.accounting.move(Stage.IN_FLIGHT, Stage.PENDING if error else Stage.SUCCEEDED)
        if error is None:
            done(operation, Outcome(result={}, attempts=attempts))
            return
        done(operation, Outcome(error=error, attempts=attempts))


class RecordingBus:
    """A bus that records what is published."""

    def __init__(self, log: list[Any]) -> None:
        """Create it; what is published is also appended to `log`."""
        self.log = log
        self.events: list[tuple[str, Any, str | None]] = []
        self.headers: list[Any] = []
        self.room = 1 << 20

    def encode(self, payload: Any) -> bytes:
        """See `responder.ResultBus`."""
        return Codec(bytes_as="bin").encode_payload(payload)

    def publish(self, event_type: str, payload: Any, *, correlation_id: str | None = None, headers: Any = None) -> None:
        """See `ports.Publisher`."""
        encoded = msgspec.msgpack.encode(payload)
        if len(encoded) > self.room:
            raise InvalidError("too large")
        self.events.append((event_type, msgspec.msgpack.decode(encoded), correlation_id))
        self.headers.append(headers)
        self.log.append(self.events[-1])

    def publish_or_report(self, event_type: str, payload: Any, **more: Any) -> None:
        """Publish; all that the tests publish fits."""
        self.publish(event_type, payload, **more)

    def of(self, prefix: str) -> list[tuple[str, Any, str | None]]:
        """Return the events whose type starts with a prefix."""
        return [event for event in self.events if event[0].startswith(prefix)]


class OutboxHarness:
    """An outbox with a fake clock, a recording bus and a fake connection; `restart` is a crash.

    Attributes:
        log: What was submitted (number, key) and published (type, payload, correlation id), in order, over all runs.
    """

    def __init__(
        self,
        folder: Path,
        *,
        commit_queue: type[CommitQueue] = InlineCommitQueue,
        tracer: RecordingTracer | None = None,
        **settings: Any,
    ) -> None:
        self.folder = folder
        self.tracer = tracer
        self.commit_queue = commit_queue
        self.settings = OutboxSettings.model_validate(settings)
        self.clock = FakeClock()
        self.log: list[Any] = []
        self.bus = RecordingBus(self.log)
        self.responder = Responder(self.bus, most=1 << 20, clock=self.clock)
        self.connections: dict[str, FakeConnection] = {"api": FakeConnection(self.log)}
        self.connections["api"].tracer = tracer
        self.outbox = self._make()

    def _make(self) -> Outbox:
        return Outbox(
            Folder(self.folder),
            self.settings,
            responder=self.responder,
            connection=self.connections.get,
            clock=self.clock,
            rng=random.Random(1),
            commit_queue=self.commit_queue,
            tracer=self.tracer,
        )

    @property
    def api(self) -> FakeConnection:
        """The connection of the integration `api`."""
        return self.connections["api"]

    @property
    def store(self) -> Store:
        """The store of the open outbox."""
        commits = self.outbox._commits
        assert isinstance(commits, InlineCommitQueue)
        return commits.store

    async def open(self) -> None:
        """Open the outbox, and let everything happen that needs no time."""
        await self.outbox.open()
        await self.settle()

    async def restart(self) -> None:
        """Crash, then open again: what was not committed is lost, and what ran never ends."""
        commits, self.outbox._commits = self.outbox._commits, None
        assert isinstance(commits, InlineCommitQueue)
        commits._turn = None
        commits.store.close()
        await self.outbox.close()
        self.outbox._storage.release()
        self.connections["api"] = FakeConnection(self.log)
        self.outbox = self._make()
        await self.open()

    async def settle(self) -> None:
        """Let everything happen that needs no time."""
        for _ in range(3):
            await self.clock.settle()

    def accept(
        self,
        number: int,
        *,
        key: str | None = "k",
        idempotency_key: str | None = None,
        deadline: float | None = None,
        call: bool = False,
        receipts: bool = True,
        emit: str | None = None,
        payload: Any = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Accept an event; with `call` its operation is a request, otherwise a publish."""
        command: Command = Request(method="m") if call else Publish(topic="t", message=number)
        event = Event(
            id=number,
            event_type="order",
            raw=msgspec.Raw(msgspec.msgpack.encode(payload)),
            timestamp=1,
            source="app",
            correlation_id=f"c{number}",
            headers=headers if idempotency_key is None else {"idempotency_key": idempotency_key},
        )
        operation = Operation(
            integration="api",
            name="request" if call else "publish",
            command=command,
            cause=Cause("app", number, "order"),
            correlation_id=event.correlation_id,
            deadline=None if deadline is None else self.clock.monotonic() + deadline,
            idempotency_key=idempotency_key,
            headers=event.headers,
            route="orders",
            key=key,
        )
        self.outbox.accept(event, operation, emit=emit, receipts=receipts)

    @property
    def pending(self) -> int:
        """How many entries are on disk."""
        return self.store.totals.pending


def numbers(connection: FakeConnection) -> list[int]:
    """Return the numbers of the events whose operations run."""
    return [operation.cause.id for operation, _ in connection.running]
