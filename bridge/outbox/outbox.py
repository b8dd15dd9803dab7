"""The outbox: accepts events, delivers them, and has it told how they ended."""

import asyncio
import itertools
import random
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from bridge.core.errors import OverloadedError, StoppingError
from bridge.core.event_type import to_event_type
from bridge.core.model import Event, Operation, Outcome
from bridge.core.payloads import LetterList, OutboxCounts
from bridge.core.ports import Clock
from bridge.core.responder import Responder
from bridge.core.settings import OutboxSettings
from bridge.core.timer import Timer
from bridge.outbox.commit_queue import CommitQueue, Turn
from bridge.outbox.dead_letters import CHUNK, Selection, announced, discarded, listed, replayed
from bridge.outbox.delivery_queue import DeliveryQueue
from bridge.outbox.entry import Body, Entry, digest, encode
from bridge.outbox.folder import Folder
from bridge.outbox.ports import Remote
from bridge.outbox.steady_time import SteadyTime
from bridge.outbox.store import OVERHEAD, Store
from bridge.outbox.write_batch import Acceptance, Settlement

#: Bytes of events that wait for their commit.
_MOST_WAITING: Final = 64 << 20
#: Seconds between two looks for what is too old.
_SWEEP: Final = 1.0
#: Operations that may be done twice whoever made the key: that is what `at_least_once` promises of them.
_REPEATABLE: Final = frozenset({"publish", "enqueue"})

log = structlog.get_logger(__name__)


class Outbox:
    """What `at_least_once` routes accept, until it is delivered, expired or a dead letter.

    Nothing is sent or answered before it is on disk. Everything here but the store's thread runs on the event loop.
    """

    def __init__(
        self,
        folder: Path,
        settings: OutboxSettings,
        *,
        responder: Responder,
        remote: Callable[[str], Remote | None],
        clock: Clock,
        rng: random.Random,
        on_change: Callable[[], None] = lambda: None,
        commit_queue: type[CommitQueue] = CommitQueue,
    ) -> None:
        """Nothing is made or opened before `open`.

        Args:
            folder: Where it lies.
            settings: Its caps.
            responder: Emits responses, receipts and dead letters.
            remote: Integrations by label.
            clock: For all waiting.
            rng: For jitter.
            on_change: Called when it stops to accept, or accepts again.
            commit_queue: Writes to the disk; tests pass one without a thread.
        """
        self._folder = Folder(folder)
        self._settings = settings
        self._responder = responder
        self._remote = remote
        self._clock = clock
        self._rng = rng
        self._on_change = on_change
        self._make_commit_queue = commit_queue
        self._commits: CommitQueue | None = None
        self._queues: dict[str, DeliveryQueue] = {}
        self._sweeping = Timer(clock)
        self._told_problem: str | None = None
        self._asked: set[asyncio.Future[Any]] = set()
        self._keys = itertools.count(1)
        self._born = uuid.uuid4().hex[:16]
        self._time = SteadyTime(clock)
        self._stopping = False

    # --- life

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._commits is not None

    @property
    def exists(self) -> bool:
        """Whether an earlier life has left something."""
        return self._folder.file.exists()

    async def open(self) -> None:
        """Open it, and go on with what an earlier life has left.

        Raises:
            OutboxError: Its folder or file cannot be used, or another sidecar uses it.
        """
        await asyncio.to_thread(self._folder.take)
        commits = self._make_commit_queue(
            self._folder.file, max_bytes=self._settings.max_bytes, back=self._returned, clock=self._clock
        )
        self._time = SteadyTime(self._clock)
        try:
            found = await commits.open()
        except BaseException:
            self._folder.release()
            raise
        self._commits = commits
        for integration, pending in found.items():
            self._queue(integration, pending=pending)
        if found:
            log.info("outbox", file=str(self._folder.file), pending=sum(found.values()), letters=commits.totals.letters)
        self.wake()
        self._sweep()

    async def watch(self) -> None:
        """Return when it is closed; a bug on its thread comes out here."""
        if self._commits is not None:
            await self._commits.watch()

    def stop(self) -> None:
        """Begin nothing any more; what is under way still comes to its end."""
        self._stopping = True
        for queue in self._queues.values():
            queue.stop()

    async def close(self) -> None:
        """Commit what is left to commit, and let go of the file."""
        self.stop()
        self._sweeping.cancel()
        if self._commits is not None:
            await self._commits.close()
            self._commits = None
            for answer in tuple(self._asked):
                if not answer.done():  # whoever asked may have been cancelled in this very turn
                    answer.set_exception(StoppingError("the bridge stopped before the disk took it"))
            self._folder.release()
        for queue in self._queues.values():
            queue.close()

    def wake(self) -> None:
        """Look at all integrations again: one changed its state, or was added or removed."""
        for queue in self._queues.values():
            queue.wake()

    @property
    def orphans(self) -> dict[str, int]:
        """Entries of integrations that there are not."""
        return {name: one.pending for name, one in self._queues.items() if one.pending and self._remote(name) is None}

    def counts(self) -> OutboxCounts:
        """Return the `outbox` of `health.bridge`."""
        if self._commits is None:
            return OutboxCounts(pending=0, bytes=0, oldest_ms=0, dead_letters=0, problem=None)
        totals = self._commits.totals
        return OutboxCounts(
            pending=totals.pending,
            bytes=totals.bytes,
            oldest_ms=0 if totals.oldest_ms is None else max(0, self._time.now_ms() - totals.oldest_ms),
            dead_letters=totals.letters,
            problem=self._commits.problem,
        )

    @property
    def problem(self) -> str | None:
        """Why it does not accept; None where all is well."""
        return None if self._commits is None else self._commits.problem

    # --- accepting

    def accept(self, event: Event, operation: Operation, *, emit: str | None, receipts: bool) -> None:
        """Take an event over with the operation that a route made of it; the rest is said on the bus.

        Args:
            event: The event.
            operation: What is to be done; its deadline is kept as a time of day.
            emit: The type of the event that follows a good answer.
            receipts: Whether the outcome is told as a receipt.

        Raises:
            OverloadedError: There is no room for it now.
        """
        assert self._commits is not None  # noqa: S101 - routes that need it exist only while it is open
        if self._commits.problem is not None:
            raise OverloadedError(self._commits.problem)
        if self._commits.waiting > _MOST_WAITING:
            raise OverloadedError("events come faster than the disk takes them")
        own, now_ms = operation.idempotency_key, self._time.now_ms()
        deadline_ms = None
        if operation.deadline is not None:
            deadline_ms = now_ms + round((operation.deadline - self._clock.monotonic()) * 1000)
        operation = msgspec.structs.replace(
            operation,
            deadline=None,
            idempotency_key=own or f"{self._born}-{next(self._keys)}",
            repeatable=own is not None or operation.name in _REPEATABLE,
            durable=True,
        )
        body = Body(
            integration=operation.integration,
            name=operation.name,
            route=operation.route or "",
            command=msgspec.Raw(encode(operation.command)),
            event=msgspec.Raw(encode(event)),
            key=operation.key,
            idempotency_key=operation.idempotency_key or "",
            repeatable=bool(operation.repeatable),
            deadline_ms=deadline_ms,
            emit=emit,
            receipts=receipts,
            accepted_ms=now_ms,
            scope=None if own is None else digest((event.source, own, operation.route)),
        )
        encoded = encode(body)
        self._commits.accept(Acceptance(Entry(body, len(encoded) + OVERHEAD, event, operation), encoded))

    def _returned(self, done: Turn) -> None:
        """Go on with what was committed."""
        touched: set[DeliveryQueue] = set()
        for one in done.batch.acceptances:
            operation = one.entry.operation
            if one.taken:
                queue = self._queue(operation.integration)
                queue.accepted(one.entry)
                touched.add(queue)
            elif one.refusal is not None:
                outcome = Outcome(error=OverloadedError(one.refusal))
                self._responder.finish(operation, outcome, _askers(operation))
            elif one.answer is not None:
                self._responder.repeat(operation, one.answer)
        for settlement in done.batch.settlements:
            queue = self._queue(settlement.entry.body.integration)
            queue.settled(settlement.entry)
            touched.add(queue)
            self._tell(settlement)
        for entry in done.batch.begun:
            entry.begun = True
        for queue in {self._queue(entry.body.integration) for entry in done.batch.begun}:
            queue.begun()
        for task in done.tasks:
            task.back(task.result)
        for queue in touched:
            queue.schedule_pump()
        if self._commits is not None and self._commits.problem != self._told_problem:
            self._told_problem = self._commits.problem
            self._on_change()

    def _tell(self, one: Settlement) -> None:
        """Answer all who asked, now that the end is committed."""
        entry = one.entry
        emit = entry.body.emit
        self._responder.finish(
            entry.operation,
            one.outcome,
            _askers(entry.operation, *one.askers),
            answer=one.answer,
            letter=None if one.death is None else announced(entry, one.death),
            emit=None if emit is None else partial(to_event_type, emit),
        )

    def _queue(self, integration: str, *, pending: int = 0) -> DeliveryQueue:
        """Return the queue of an integration; a new one where there is none, of which `pending` entries are on disk."""
        queue = self._queues.get(integration)
        if queue is None:
            assert self._commits is not None  # noqa: S101 - queues live while it is open
            queue = self._queues[integration] = DeliveryQueue(
                integration,
                remote=self._remote,
                commits=self._commits,
                responder=self._responder,
                clock=self._clock,
                time=self._time,
                rng=self._rng,
                max_age_ms=round(self._settings.max_age * 1000),
                pending=pending,
            )
            if self._stopping:
                queue.stop()
        return queue

    def _sweep(self) -> None:
        self._sweeping.set(_SWEEP, self._sweep)
        for queue in self._queues.values():
            queue.sweep()

    # --- dead letters

    async def _ask(
        self, act: Callable[[Store], Any], *, writes: bool = False, first: Callable[[Any], None] = lambda _: None
    ) -> Any:
        """What `act` returns on the thread; `first` is given it in the order in which things were committed."""
        if self._commits is None:
            raise StoppingError("the outbox is closed")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def back(result: Any) -> None:
            first(result)
            if not answer.done():
                answer.set_result(result)

        self._asked.add(answer)
        answer.add_done_callback(self._asked.discard)
        self._commits.on_thread(act, back, writes=writes)
        return await answer

    async def letters(self, wanted: Selection, limit: int) -> LetterList:
        """Return dead letters, oldest first, as many as fit into an answer; and how many there are."""
        found: LetterList = await self._ask(lambda store: listed(store, wanted, limit, self._responder.most))
        return found

    async def replay(self, wanted: Selection, limit: int | None) -> int:
        """Deliver dead letters once more; returns how many."""
        now_ms = self._time.now_ms()

        def take(entries: list[Entry]) -> None:
            for entry in entries:
                queue = self._queue(entry.body.integration)
                queue.accepted(entry)
                queue.schedule_pump()

        async def move(most: int) -> int:
            def act(store: Store) -> list[Entry]:
                return replayed(store, wanted, most, now_ms)

            return len(await self._ask(act, writes=True, first=take))

        return await _in_chunks(move, limit)

    async def discard(self, wanted: Selection, limit: int | None) -> int:
        """Throw dead letters away; returns how many."""

        async def move(most: int) -> int:
            gone: int = await self._ask(lambda store: discarded(store, wanted, most), writes=True)
            return gone

        return await _in_chunks(move, limit)


async def _in_chunks(move: Callable[[int], Any], limit: int | None) -> int:
    moved = 0
    while limit is None or moved < limit:
        most = CHUNK if limit is None else min(CHUNK, limit - moved)
        done = await move(most)
        moved += done
        if done < most:
            break
    return moved


def _askers(operation: Operation, *others: str) -> list[str]:
    """Return the correlation ids to answer to, each once: the operation's own, and others."""
    own = [] if operation.correlation_id is None else [operation.correlation_id]
    return list(dict.fromkeys([*own, *others]))
