"""The outbox: accepts, delivers, and says how it ended."""

import asyncio
import itertools
import random
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from bridge.core.errors import BridgeError, OverloadedError, StoppingError
from bridge.core.model import Event, Operation, Outcome
from bridge.core.ports import Clock
from bridge.core.settings import OutboxSettings
from bridge.core.timer import Timer
from bridge.outbox.commit_queue import Desk
from bridge.outbox.dead_letters import CHUNK, Wanted, discarded, listed, replayed
from bridge.outbox.delivery_queue import Lane
from bridge.outbox.disposition import Fate, wait
from bridge.outbox.entry import Body, Entry, digest, encode
from bridge.outbox.folder import Folder
from bridge.outbox.remote import Remote
from bridge.outbox.responder import Speaker, Voice, ending_of
from bridge.outbox.store import OVERHEAD, Store
from bridge.outbox.write_batch import Acceptance, Death, Errand, Settlement, Verdict, Work

#: Bytes of events that wait for their commit.
_MOST_WAITING: Final = 64 << 20
#: Seconds between two looks for what is too old.
_SWEEP: Final = 1.0
#: Operations that may be done twice whoever made the key: that is what `at_least_once` promises of them.
_REPEATABLE: Final = frozenset({"publish", "enqueue"})

log = structlog.get_logger(__name__)


class Outbox:
    """What `at_least_once` routes accept, until it is delivered, expired or a dead letter.

    Nothing is sent or answered before it is on disk. Everything here but the desk's thread runs on the event loop.
    """

    def __init__(
        self,
        folder: Path,
        settings: OutboxSettings,
        *,
        bus: Voice,
        max_message: int,
        remote: Callable[[str], Remote | None],
        clock: Clock,
        rng: random.Random,
        on_change: Callable[[], None] = lambda: None,
        desk: Callable[..., Desk] = Desk,
    ) -> None:
        """Nothing is made or opened before `open`.

        Args:
            folder: Where it lies.
            settings: Its caps.
            bus: Where responses, receipts and dead letters are said.
            max_message: Bytes of the largest message that the bus carries.
            remote: Integrations by label.
            clock: For all waiting.
            rng: For jitter.
            on_change: Called when it stops to accept, or accepts again.
            desk: The way to the disk; tests pass one without a thread.
        """
        self._folder = Folder(folder)
        self._settings = settings
        self._speaker = Speaker(bus)
        self._carries = max_message - 4096
        self.remote = remote
        self._clock = clock
        self._rng = rng
        self._on_change = on_change
        self._make_desk = desk
        self._desk: Desk | None = None
        self._lanes: dict[str, Lane] = {}
        self._soon: set[Lane] = set()
        self._timers: dict[Lane, Timer] = {}
        self._sweeping = Timer(clock)
        self._said: str | None = None
        self._asked: set[asyncio.Future[Any]] = set()
        self._keys = itertools.count(1)
        self._born = uuid.uuid4().hex[:16]
        self._wall_offset = 0.0
        self.stopping = False
        self.max_age_ms = round(settings.max_age * 1000)

    # --- life

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._desk is not None

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
        desk = self._make_desk(
            self._folder.file, max_bytes=self._settings.max_bytes, back=self._returned, clock=self._clock
        )
        self._wall_offset = self._clock.wall_ms() - self._clock.monotonic() * 1000
        try:
            found = await desk.open()
        except BaseException:
            self._folder.release()
            raise
        self._desk = desk
        for integration, pending in found.items():
            self._lanes[integration] = Lane(integration, self, pending=pending)
        if found:
            log.info("outbox", file=str(self._folder.file), pending=sum(found.values()), letters=desk.totals.letters)
        self.wake()
        self._sweep()

    async def watch(self) -> None:
        """Return when it is closed; a bug on its thread comes out here."""
        if self._desk is not None:
            await self._desk.watch()

    def stop(self) -> None:
        """Begin nothing any more; what is under way still comes to its end."""
        self.stopping = True

    async def close(self) -> None:
        """Commit what is left to commit, and let go of the file."""
        self.stopping = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._sweeping.cancel()
        if self._desk is not None:
            await self._desk.close()
            self._desk = None
            for answer in tuple(self._asked):
                if not answer.done():  # whoever asked may have been cancelled in this very turn
                    answer.set_exception(StoppingError("the bridge stopped before the disk took it"))
            self._folder.release()

    def wake(self) -> None:
        """Look at all integrations again: one changed its state, or was added or removed."""
        for lane in self._lanes.values():
            lane.wake()

    @property
    def orphans(self) -> dict[str, int]:
        """Entries of integrations that there are not."""
        return {name: lane.pending for name, lane in self._lanes.items() if lane.pending and self.remote(name) is None}

    def counts(self) -> dict[str, Any]:
        """The `outbox` of `health.bridge`."""
        if self._desk is None:
            return {"pending": 0, "bytes": 0, "oldest_ms": 0, "dead_letters": 0, "problem": None}
        totals = self._desk.totals
        oldest = 0 if totals.oldest_ms is None else max(0, self.now_ms() - totals.oldest_ms)
        return {
            "pending": totals.pending,
            "bytes": totals.bytes,
            "oldest_ms": oldest,
            "dead_letters": totals.letters,
            "problem": self._desk.problem,
        }

    @property
    def problem(self) -> str | None:
        """Why it does not accept; None where all is well."""
        return None if self._desk is None else self._desk.problem

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
        assert self._desk is not None  # noqa: S101 - routes that need it exist only while it is open
        if self._desk.problem is not None:
            raise OverloadedError(self._desk.problem)
        if self._desk.waiting > _MOST_WAITING:
            raise OverloadedError("events come faster than the disk takes them")
        own, now_ms = operation.idempotency_key, self.now_ms()
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
        self._desk.accept(Acceptance(Entry(body, len(encoded) + OVERHEAD, event, operation), encoded))

    def _returned(self, work: Work) -> None:
        touched: set[Lane] = set()
        for one in work.acceptances:
            if one.taken:
                lane = self._lane(one.entry.body.integration)
                lane.accepted(one.entry)
                touched.add(lane)
            elif one.refusal is not None:
                self._speaker.refused(one.entry, OverloadedError(one.refusal))
            elif one.ending is not None:
                self._speaker.again(one.entry, one.ending)
        for settlement in work.settlements:
            lane = self._lane(settlement.entry.body.integration)
            lane.settled(settlement.entry)
            touched.add(lane)
            self._speaker.ended(settlement)
        for entry in work.begun:
            entry.begun = True
        for lane in {self._lane(entry.body.integration) for entry in work.begun}:
            lane.begun()
        for errand in work.errands:
            errand.back(errand.result)
        for lane in touched:
            self.soon(lane)
        if self._desk is not None and self._desk.problem != self._said:
            self._said = self._desk.problem
            self._on_change()

    def _lane(self, integration: str) -> Lane:
        lane = self._lanes.get(integration)
        if lane is None:
            lane = self._lanes[integration] = Lane(integration, self)
        return lane

    # --- what a lane needs (`remote.House`)

    def now_ms(self) -> int:
        """Unix time in milliseconds as it was at the start, and grown by what really passed: no jumps."""
        return round(self._wall_offset + self._clock.monotonic() * 1000)

    def monotonic(self) -> float:
        """Seconds."""
        return self._clock.monotonic()

    def jittered(self, what: Fate, round_: int, error: BridgeError) -> float:
        """Seconds until the next try."""
        return wait(what, round_, error, self._rng)

    @property
    def turn(self) -> Work:
        """Work for the store."""
        assert self._desk is not None  # noqa: S101 - lanes live while it is open
        return self._desk.turn

    def at(self, lane: Lane, when: float) -> None:
        """Pump a lane at a time, or earlier."""
        timer = self._timers.get(lane)
        if timer is None:
            timer = self._timers[lane] = Timer(self._clock)
        if when < timer.due:
            timer.set(when - self._clock.monotonic(), lane.pump)

    def soon(self, lane: Lane) -> None:
        """Pump a lane in this turn of the loop, once."""
        if self._desk is None:
            return
        if not self._soon:
            asyncio.get_running_loop().call_soon(self._pump)
        self._soon.add(lane)

    def _pump(self) -> None:
        lanes, self._soon = self._soon, set()
        if self._desk is not None:
            for lane in lanes:
                lane.pump()

    def end(self, entry: Entry, verdict: Verdict, outcome: Outcome, *, unknown: bool) -> None:
        """Settle an entry."""
        assert self._desk is not None  # noqa: S101 - lanes live while it is open
        entry.progress = before = entry.progress.after(outcome.attempts, outcome.history)
        now_ms = self.now_ms()
        duration_ms = float(max(0, now_ms - entry.body.accepted_ms))
        death = None
        if verdict is Verdict.DEAD_LETTERED:
            assert outcome.error is not None  # noqa: S101 - that is why
            death = Death(outcome.error.to_wire(), unknown, before.attempts, before.history)
        ending = None
        if entry.event.correlation_id is not None or entry.body.scope is not None or entry.body.receipts:
            ending = ending_of(entry, verdict, outcome, duration_ms=duration_ms, carries=self._carries)
        self._desk.settle(Settlement(entry, verdict, ending, now_ms, outcome.error, outcome.result, duration_ms, death))

    def _sweep(self) -> None:
        self._sweeping.set(_SWEEP, self._sweep)
        for lane in self._lanes.values():
            lane.sweep()

    # --- dead letters

    async def _ask(
        self, act: Callable[[Store], Any], *, writes: bool = False, first: Callable[[Any], None] = lambda _: None
    ) -> Any:
        """What `act` returns on the thread; `first` is given it in the order in which things were committed."""
        if self._desk is None:
            raise StoppingError("the outbox is closed")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def back(result: Any) -> None:
            first(result)
            if not answer.done():
                answer.set_result(result)

        self._asked.add(answer)
        answer.add_done_callback(self._asked.discard)
        self.turn.errands.append(Errand(act, back, writes=writes))
        return await answer

    async def letters(self, wanted: Wanted, limit: int) -> dict[str, Any]:
        """Dead letters, oldest first, as many as fit into an answer; and how many there are."""
        found: dict[str, Any] = await self._ask(lambda store: listed(store, wanted, limit, self._carries))
        return found

    async def replay(self, wanted: Wanted, limit: int | None) -> int:
        """Deliver dead letters once more; returns how many."""
        now_ms = self.now_ms()

        def take(entries: list[Entry]) -> None:
            for entry in entries:
                lane = self._lane(entry.body.integration)
                lane.accepted(entry)
                self.soon(lane)

        async def move(most: int) -> int:
            def act(store: Store) -> list[Entry]:
                return replayed(store, wanted, most, now_ms)

            return len(await self._ask(act, writes=True, first=take))

        return await _in_chunks(move, limit)

    async def discard(self, wanted: Wanted, limit: int | None) -> int:
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
