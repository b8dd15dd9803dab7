"""The outbox: accepts events, delivers them, and reports how they ended."""

import asyncio
import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import msgspec

from bridge.core.errors import OverloadedError, StoppingError
from bridge.core.event_type import to_event_type
from bridge.core.log import structlog
from bridge.core.model import Event, Operation, Outcome
from bridge.core.payloads import LetterList, OutboxCounts, OutboxLoss
from bridge.core.ports import Clock, Tracer
from bridge.core.responder import Responder
from bridge.core.settings import OutboxSettings
from bridge.core.timer import Timer
from bridge.outbox.commit_queue import CommitQueue, Turn
from bridge.outbox.dead_letters import (
    CHUNK,
    Selection,
    discard_letters,
    event_payload,
    found_seqs,
    list_letters,
    replay_letters,
)
from bridge.outbox.delivery_queue import DeliveryQueue
from bridge.outbox.entry import Body, Entry, digest, encode, lane_of
from bridge.outbox.ports import DeliveryConnection, Storage
from bridge.outbox.steady_time import SteadyTime
from bridge.outbox.store import OVERHEAD, LetterCount, Store
from bridge.outbox.write_batch import Acceptance, Settlement

#: Bytes of events that wait for their commit.
_MOST_WAITING: Final = 64 << 20
#: Seconds between two looks for what is too old.
_SWEEP: Final = 1.0
#: Operations that may be repeated also with a key that the bridge made: that is what `at_least_once` means for them.
_REPEATABLE: Final = frozenset({"publish", "enqueue", "export"})

log = structlog.get_logger(__name__)


class Outbox:
    """Accepts the events of `at_least_once` routes, and delivers each until it succeeds, expires or is a dead letter.

    Nothing is sent or answered before it is on disk. All methods run on the event loop.
    """

    def __init__(
        self,
        storage: Storage,
        settings: OutboxSettings,
        *,
        responder: Responder,
        connection: Callable[[str], DeliveryConnection | None],
        clock: Clock,
        rng: random.Random,
        on_change: Callable[[], None] = lambda: None,
        commit_queue: type[CommitQueue] = CommitQueue,
        tracer: Tracer | None = None,
        exports: Callable[[str, str], DeliveryConnection | None] = lambda _integration, _route: None,
    ) -> None:
        """Create it; nothing is made or opened before `open`.

        Args:
            storage: Where its database is.
            settings: Its limits.
            responder: Emits responses, receipts and dead letters.
            connection: Returns the connection of an integration by its label; None where there is none.
            clock: For all waiting.
            rng: For jitter, and for the keys of events that have none.
            on_change: Called when it stops accepting events, or accepts them again.
            commit_queue: Writes to the disk; tests pass one without a thread.
            tracer: Writes traces; None: there are none.
            exports: Returns what sends the events of a fabric, by the label of the integration that carries it and the
                route of its operations; None where there is no such fabric. These events have a queue of their own.
        """
        self._storage = storage
        self._settings = settings
        self._responder = responder
        self._connection = connection
        self._exports = exports
        self._clock = clock
        self._rng = rng
        self._on_change = on_change
        self._make_commit_queue = commit_queue
        self._tracer = tracer
        self._commits: CommitQueue | None = None
        self._queues: dict[str, DeliveryQueue] = {}
        self._letters: dict[str, LetterCount] = {}
        self._sweeping = Timer(clock)
        self._told_problem: str | None = None
        self._was_stuck = False
        self._asked: set[asyncio.Future[Any]] = set()
        self._keys = itertools.count(1)
        self._run_id = f"{rng.getrandbits(64):016x}"
        self._time = SteadyTime(clock)
        self._stopping = False

    # --- life

    @property
    def is_open(self) -> bool:
        """Whether it is open."""
        return self._commits is not None

    @property
    def exists(self) -> bool:
        """Whether there is a database from an earlier run."""
        return self._storage.exists

    async def open(self) -> None:
        """Open it, and begin to deliver what is left from an earlier run.

        Raises:
            OutboxError: Its folder or file cannot be used, or another sidecar uses it.
            StoppingError: It was stopped meanwhile; it is not open.
        """
        await asyncio.to_thread(self._storage.take)
        commits = self._make_commit_queue(
            self._storage, max_bytes=self._settings.max_bytes, back=self._returned, clock=self._clock
        )
        self._time = SteadyTime(self._clock)
        try:
            found = await commits.open()
        except BaseException:
            self._storage.release()
            raise
        if self._stopping:  # whoever closes it may have done so already
            await commits.close()
            self._storage.release()
            raise StoppingError("the bridge is stopping")
        self._commits = commits
        self._letters = commits.letters
        if commits.missing is not None:
            log.warning("outbox lost events", file=self._storage.name, missing=str(commits.missing))
        for lane, pending in found.items():
            self._queue(lane, pending=pending)
        if found:
            log.info(
                "outbox has events",
                file=self._storage.name,
                pending=sum(found.values()),
                letters=commits.totals.letters,
            )
        self.wake()
        self._sweep()

    async def watch(self) -> None:
        """Wait until it is closed; raise a bug of its thread."""
        if self._commits is not None:
            await self._commits.watch()

    def stop(self) -> None:
        """Start no more operations; those that run still come to their end."""
        self._stopping = True
        for queue in self._queues.values():
            queue.stop()

    async def close(self) -> None:
        """Commit what is not committed yet, and close and unlock the database."""
        self.stop()
        self._sweeping.cancel()
        if self._commits is not None:
            await self._commits.close()
            self._commits = None
            for answer in tuple(self._asked):
                if not answer.done():  # whoever asked may have been cancelled in this very turn
                    answer.set_exception(StoppingError("the bridge stopped before the disk took it"))
            self._storage.release()
        for queue in self._queues.values():
            queue.close()

    def wake(self) -> None:
        """Look at all integrations again: one has changed its state, or was added or removed."""
        for queue in self._queues.values():
            queue.wake()

    @property
    def orphans(self) -> dict[str, int]:
        """How many entries there are that nothing would send, as their integration does not exist; by its label.

        Those of a fabric that does not exist are under `<integration>/fabric.<fabric>`.
        """
        return {lane: one.pending for lane, one in self._queues.items() if one.pending and self._sender(lane) is None}

    @property
    def pending(self) -> dict[str, int]:
        """How many entries there are by integration, of those that have any."""
        found: dict[str, int] = {}
        for lane, one in self._queues.items():
            if one.pending:
                integration = lane.partition("/")[0]
                found[integration] = found.get(integration, 0) + one.pending
        return found

    def _sender(self, lane: str) -> DeliveryConnection | None:
        """Return what sends the entries of a lane; see `lane_of`."""
        integration, slash, route = lane.partition("/")
        return self._exports(integration, route) if slash else self._connection(integration)

    @property
    def dead_letters(self) -> Mapping[str, LetterCount]:
        """The dead letters of each integration that has any, by its label."""
        return self._letters

    def counts(self) -> OutboxCounts:
        """Return the `outbox` of `health.bridge`."""
        if self._commits is None:
            return OutboxCounts(pending=0, bytes=0, oldest_ms=0, dead_letters=0, problem=None, missing=None)
        totals = self._commits.totals
        return OutboxCounts(
            pending=totals.pending,
            bytes=totals.bytes,
            oldest_ms=0 if totals.oldest_ms is None else max(0, self._time.now_ms() - totals.oldest_ms),
            dead_letters=totals.letters,
            problem=self._commits.condition.problem,
            missing=None if self._commits.missing is None else str(self._commits.missing),
        )

    @property
    def loss(self) -> OutboxLoss | None:
        """What an earlier run had committed and is not there any more, as an event tells it; None for nothing."""
        missing = None if self._commits is None else self._commits.missing
        if missing is None:
            return None
        return OutboxLoss(commits=missing.commits, entries=missing.entries, replaced=missing.replaced)

    @property
    def problem(self) -> str | None:
        """Why it accepts no events; None where it does."""
        return None if self._commits is None else self._commits.condition.problem

    # --- accepting

    def accept(self, event: Event, operation: Operation, *, emit: str | None, receipts: bool) -> None:
        """Accept an event with the operation that a route made of it. What happens with it is emitted on the bus.

        Args:
            event: The event.
            operation: The operation; its deadline is stored as Unix time.
            emit: The type of the event that carries the result; None for none.
            receipts: Whether to emit a receipt.

        Raises:
            OverloadedError: There is no room for it now, or the disk does not work.
        """
        assert self._commits is not None  # noqa: S101 - routes that need it exist only while it is open
        if self._commits.condition.problem is not None:
            raise OverloadedError(self._commits.condition.problem)
        if self._commits.waiting > _MOST_WAITING:
            raise OverloadedError("events come faster than the disk takes them")
        own, now_ms = operation.idempotency_key, self._time.now_ms()
        deadline_ms = None
        if operation.deadline is not None:
            deadline_ms = now_ms + round((operation.deadline - self._clock.monotonic()) * 1000)
        operation = msgspec.structs.replace(
            operation,
            deadline=None,
            idempotency_key=own or f"{self._run_id}-{next(self._keys)}",
            repeatable=own is not None or operation.name in _REPEATABLE,
            durable=True,
        )
        route = operation.route or ""
        body = Body(
            integration=operation.integration,
            name=operation.name,
            route=route,
            command=operation.command,
            event=event,
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
        lane = lane_of(operation.integration, operation.name, route)
        self._commits.accept(Acceptance(Entry(body, lane, len(encoded) + OVERHEAD, event, operation), encoded))

    def _returned(self, done: Turn) -> None:
        """Continue with what was committed."""
        # Dictionaries keep the order of the commit, so that runs can be repeated.
        accepted: defaultdict[str, list[Entry]] = defaultdict(list)
        ended: defaultdict[str, list[Entry]] = defaultdict(list)
        for one in done.batch.acceptances:
            if one.taken:
                accepted[one.entry.lane].append(one.entry)
            elif one.refusal is not None:
                operation = one.entry.operation
                outcome = Outcome(error=OverloadedError(one.refusal))
                self._responder.finish(operation, outcome, _askers(operation))
            elif one.answer is not None:
                self._responder.repeat(one.entry.operation, one.answer)
        for settlement in done.batch.settlements:
            ended[settlement.entry.lane].append(settlement.entry)
        for entry in done.batch.delivered:
            ended[entry.lane].append(entry)
        for lane, entries in accepted.items():
            self._queue(lane).on_accepted(entries)
        for lane, entries in ended.items():
            self._queue(lane).on_settled(entries)
        for settlement in done.batch.settlements:
            if settlement.dead_letter is not None:
                self._count_letters(settlement.entry.body.integration, 1, settlement.ended_ms)
            self._tell(settlement)
        for entry in done.batch.begun:
            entry.begun = True
        for queue in {self._queue(entry.lane): None for entry in done.batch.begun}:
            queue.on_marked()
        for task in done.tasks:
            task.back(task.result)
        for lane in accepted | ended:
            self._queue(lane).schedule_pump()
        if self._commits is not None and self._commits.condition.stuck and not self._was_stuck:
            for queue in self._queues.values():
                queue.on_stuck()
        self._was_stuck = self._commits is not None and self._commits.condition.stuck
        if self._commits is not None and self._commits.condition.problem != self._told_problem:
            self._told_problem = self._commits.condition.problem
            self._on_change()

    def _count_letters(self, integration: str, more: int, at: int = 0) -> None:
        """Count dead letters of an integration that have come, at this Unix time in milliseconds, or are gone."""
        before = self._letters.get(integration, LetterCount(0, at))
        if before.count + more > 0:
            self._letters[integration] = LetterCount(before.count + more, before.since)
        else:
            self._letters.pop(integration, None)

    def _tell(self, one: Settlement) -> None:
        """Answer all who asked for an entry, now that its end is committed."""
        entry = one.entry
        operation, outcome = entry.operation, one.outcome
        if self._tracer is not None and outcome.error is not None:
            operation = self._tracer.given_up(operation, outcome.error, outcome.attempts)
        emit = entry.body.emit
        self._responder.finish(
            operation,
            outcome,
            _askers(operation, *one.askers),
            answer=one.answer,
            letter=None if one.dead_letter is None else event_payload(entry, one.dead_letter),
            emit=None if emit is None else partial(to_event_type, emit),
        )

    def _queue(self, lane: str, *, pending: int = 0) -> DeliveryQueue:
        """Return the queue of a lane; a new one where there is none, of which `pending` entries are on disk."""
        queue = self._queues.get(lane)
        if queue is None:
            assert self._commits is not None  # noqa: S101 - queues live while it is open
            queue = self._queues[lane] = DeliveryQueue(
                lane,
                connection=self._sender,
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
        """Run `act` on the thread and return its result; `first` gets it before, in the order of commits."""
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

    async def letters(self, wanted: Selection, limit: int, room: int | None = None) -> LetterList:
        """Return dead letters, oldest first, as many as fit into an answer, and how many match in all.

        Args:
            wanted: Which ones.
            limit: How many at most.
            room: Bytes that they may have, where that is less than an answer has.

        Raises:
            StoppingError: The outbox is closed, or was closed meanwhile.
        """
        responder = self._responder
        found: LetterList = await self._ask(
            lambda store: list_letters(store, wanted, limit, room or responder.most, responder.fits)
        )
        return found

    async def replay(self, wanted: Selection, limit: int | None) -> int:
        """Deliver dead letters again, at most `limit`; return how many.

        Raises:
            RejectedError: An id is named of which there is no dead letter; nothing was done.
            StoppingError: The outbox is closed, or was closed meanwhile.
        """
        now_ms = self._time.now_ms()

        def take(entries: list[Entry]) -> None:
            for entry in entries:
                queue = self._queue(entry.lane)
                queue.on_accepted([entry])
                queue.schedule_pump()
                self._count_letters(entry.body.integration, -1)

        async def move(most: int) -> int:
            def act(store: Store) -> list[Entry]:
                return replay_letters(store, wanted, most, now_ms)

            return len(await self._ask(act, writes=True, first=take))

        await self._check_all_found(wanted)
        return await _in_chunks(move, limit)

    async def discard(self, wanted: Selection, limit: int | None) -> int:
        """Remove dead letters, at most `limit`; return how many.

        Raises:
            RejectedError: An id is named of which there is no dead letter; nothing was done.
            StoppingError: The outbox is closed, or was closed meanwhile.
        """

        def forget(gone: list[str]) -> None:
            for integration in gone:
                self._count_letters(integration, -1)

        async def move(most: int) -> int:
            return len(await self._ask(lambda store: discard_letters(store, wanted, most), writes=True, first=forget))

        await self._check_all_found(wanted)
        return await _in_chunks(move, limit)

    async def _check_all_found(self, wanted: Selection) -> None:
        if wanted.seqs is not None:
            wanted.check_all_found(await self._ask(lambda store: found_seqs(store, wanted)))


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
