"""Passes what is to be written from the event loop to the store's thread, and returns to the loop what was committed.

All writes of one turn of the loop go to the thread together. The thread, when it is free, commits all that is there:
one event alone is committed at once, and under load hundreds share a commit. Nothing waits for a timer, and not every
event costs a switch between threads.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from bridge.core.log import structlog
from bridge.core.ports import Clock
from bridge.outbox.entry import Entry
from bridge.outbox.ports import Storage
from bridge.outbox.sqlite import sqlite3
from bridge.outbox.store import LetterCount, Missing, Store, Totals
from bridge.outbox.write_batch import Acceptance, Settlement, WriteBatch

#: Rows that one transaction takes at most, about.
_MOST: Final = 1024
#: Seconds between two tries to write to a disk that has failed.
AGAIN: Final = 1.0
#: Bytes that must be written to a disk that has failed before it counts as good again.
_PROBE: Final = 64 << 10
#: Rows that are written at a time to a disk that has failed.
_PART: Final = 64

log = structlog.get_logger(__name__)


class StoreTask(msgspec.Struct, eq=False):
    """A function that the store's thread runs, beside writing batches.

    Attributes:
        act: The function; it runs on the thread.
        back: Called on the loop with what `act` returned.
        writes: Whether `act` needs a transaction.
        result: What `act` returned.
    """

    act: Callable[[Store], Any]
    back: Callable[[Any], None]
    writes: bool = False
    result: Any = None


class Turn(msgspec.Struct, eq=False):
    """The work of one turn of the loop, or the part of it that is done: a batch, and then tasks."""

    batch: WriteBatch = msgspec.field(default_factory=WriteBatch)
    tasks: list[StoreTask] = msgspec.field(default_factory=list)

    def add(self, other: "Turn") -> None:
        """Append another turn to this one."""
        self.batch.add(other.batch)
        self.tasks += other.tasks

    @property
    def size(self) -> int:
        """About how many rows it writes."""
        return self.batch.rows + len(self.tasks)


class Condition(msgspec.Struct, frozen=True):
    """How the disk and the store are.

    Attributes:
        problem: Why nothing is accepted; None where the outbox works.
        stuck: Whether something waits that could not be written.
    """

    problem: str | None = None
    stuck: bool = False


class CommitQueue:
    """Owns the store and its thread, and gives it work in the order in which it is asked for.

    While the disk fails, new events are refused. What must not be lost (an entry's end, its progress, its mark as
    begun) is kept until it can be written. What is asked for meanwhile can be read; see `Committer`.

    Attributes:
        waiting: Bytes of new events that are not committed yet.
        totals: The store's totals after the last commit that has come back to the loop.
        condition: How the disk and the store were by then.
        missing: What an earlier run had committed and the store does not have; None where nothing is missing.
        letters: The dead letters of each integration when it was opened.
    """

    def __init__(self, storage: Storage, *, max_bytes: int, back: Callable[[Turn], None], clock: Clock) -> None:
        """Create it; nothing runs before `open`.

        Args:
            storage: Where the database is.
            max_bytes: The most bytes that entries and dead letters may have.
            back: Called on the loop with what is done, in the order in which it was committed.
            clock: For how long `close` waits for a disk that fails.
        """
        self._storage = storage
        self._max_bytes = max_bytes
        self._back = back
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._turns: queue.SimpleQueue[Turn | None] = queue.SimpleQueue()
        self._turn: Turn | None = None
        self._thread: threading.Thread | None = None
        self._over: asyncio.Future[None] = self._loop.create_future()
        self.waiting = 0
        self.totals = Totals()
        self.condition = Condition()
        self.missing: Missing | None = None
        self.letters: dict[str, LetterCount] = {}

    async def open(self) -> dict[str, int]:
        """Open the store, and return how many entries wait in each lane.

        Raises:
            OutboxError: It cannot be opened.
        """
        store = await asyncio.to_thread(Store, self._storage, max_bytes=self._max_bytes)
        self.totals, self.missing, self.letters = store.totals, store.missing, store.letters()
        found = store.lanes()
        self._thread = threading.Thread(target=self._run, args=(store,), name="outbox", daemon=True)
        self._thread.start()
        return found

    async def close(self) -> None:
        """Commit what was asked for, as far as it can be written, and end the thread.

        What is asked for while it waits is committed, too: for example that a call is not begun after all.
        """
        if self._thread is not None:
            if not self._over.done():
                await self._catch_up()
            self._send()
            self._turns.put(None)
            await asyncio.wait({self._over})
            self._thread.join()
            self._thread = None

    async def _catch_up(self) -> None:
        """Wait until all that was asked for is done; for a limited time, as the disk may fail."""
        back = asyncio.Event()
        self.on_thread(lambda _: None, lambda _: back.set())
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(AGAIN):
                await back.wait()

    async def watch(self) -> None:
        """Wait until the thread has ended; raise the exception that ended it, which is a bug."""
        await asyncio.shield(self._over)

    # --- on the loop

    def accept(self, acceptance: Acceptance) -> None:
        """Store a new entry at the next commit."""
        self.waiting += acceptance.entry.size
        (self._turn or self._new_turn()).batch.acceptances.append(acceptance)

    def settle(self, settlement: Settlement) -> None:
        """Store an entry's end at the next commit."""
        (self._turn or self._new_turn()).batch.settlements.append(settlement)

    def remove(self, delivered: Entry) -> None:
        """Remove an entry at the next commit: it was delivered, and nobody is told."""
        (self._turn or self._new_turn()).batch.delivered.append(delivered)

    def mark_begun(self, entry: Entry) -> None:
        """Store at the next commit that a call is about to be made, which must not be made twice."""
        (self._turn or self._new_turn()).batch.begun.append(entry)

    def store_progress(self, entry: Entry) -> None:
        """Store an entry's progress at the next commit, and that its call is not begun."""
        (self._turn or self._new_turn()).batch.progress.append(entry)

    def on_thread(self, act: Callable[[Store], Any], back: Callable[[Any], None], *, writes: bool = False) -> None:
        """Run a function on the thread, after all that was asked for before; see `StoreTask`."""
        (self._turn or self._new_turn()).tasks.append(StoreTask(act, back, writes))

    def _new_turn(self) -> Turn:
        self._turn = Turn()
        self._loop.call_soon(self._send)
        return self._turn

    def _send(self) -> None:
        if self._turn is not None:
            self._turns.put(self._turn)
            self._turn = None

    def returned(self, done: Turn, totals: Totals, condition: Condition) -> None:
        """Note what was done, and pass it on; called on the loop for each turn or part of one."""
        self.totals, self.condition = totals, condition
        self.waiting -= sum([one.entry.size for one in done.batch.acceptances])
        self._back(done)

    # --- on the thread

    def _run(self, store: Store) -> None:
        try:
            Committer(store, self._turns, self._tell).run()
        except BaseException as bug:  # noqa: BLE001 - goes to whoever watches
            self._loop.call_soon_threadsafe(self._over.set_exception, bug)
        else:
            self._loop.call_soon_threadsafe(self._over.set_result, None)
        finally:
            store.close()

    def _tell(self, done: Turn, totals: Totals, condition: Condition) -> None:
        self._loop.call_soon_threadsafe(self.returned, done, totals, condition)


class Committer:
    """Runs on the thread: takes the work that is there, commits it, and reports to the loop.

    When the disk fails, new events are refused until it works again, and the reserve is given back. What must not be
    lost is written as far as that goes, in small parts, and the log is emptied after each: to delete entries, SQLite
    has to write. What cannot be written is kept and tried every second, and reading goes on, so that delivery does. The
    disk works again when all is written and the reserve is whole.
    """

    def __init__(
        self,
        store: Store,
        turns: "queue.SimpleQueue[Turn | None]",
        tell: "Callable[[Turn, Totals, Condition], None]",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the reserve. `now` returns the seconds of a clock that never goes back; the thread has no loop's."""
        self._store = store
        self._turns = turns
        self._tell = tell
        self._now = now
        self._backlog = Turn()
        self._trouble: str | None = None
        self._next_try = 0.0
        self._next_reserve = 0.0
        self._closing = False
        if not store.reserve.take():
            self._trouble = "the disk is full: it has no room for a reserve"

    @property
    def condition(self) -> "Condition":
        """Whether events are accepted, and anything can be written."""
        if self._trouble is None:
            return Condition("the outbox is full (`max_bytes`)" if self._store.full else None)
        return Condition(self._trouble, stuck=bool(self._backlog.size))

    def run(self) -> None:
        """Take and commit work until the queue is closed."""
        if self._trouble is not None:
            self._report(Turn())
        while True:
            self.do(self._take())
            if self._closing and (self._trouble is not None or self._turns.empty()):
                return

    def do(self, turn: Turn) -> None:
        """Commit a turn; while the disk fails keep what must not be lost, and read what is asked for."""
        if self._trouble is None:
            self._commit(turn)
        else:
            self._keep(turn)
        if self._trouble is not None and (self._closing or self._now() >= self._next_try):
            self._recover()

    def _take(self) -> Turn:
        """Return the work that is there; wait where there is none."""
        taken = Turn()
        try:
            turn = self._turns.get(timeout=None if self._trouble is None and not self._store.full else AGAIN)
            while turn is not None:
                taken.add(turn)
                if taken.size >= _MOST:
                    return taken
                turn = self._turns.get_nowait()
            self._closing = True
        except queue.Empty:
            pass
        return taken

    def _commit(self, turn: Turn) -> None:
        try:
            self._store.check_room()
            if turn.batch.rows:
                self._apply(turn.batch)
        except sqlite3.Error as error:
            self._fail(turn, error)
            return
        self._report(Turn(turn.batch))
        self._do(turn.tasks)

    def _apply(self, batch: WriteBatch) -> None:
        try:
            self._store.apply(batch)
        except sqlite3.Error:
            self._store.rollback()
            if not self._shorten_log():
                raise
            self._store.apply(batch)  # there may be room in the log now

    def _do(self, tasks: list[StoreTask]) -> bool:
        """Run tasks in order; where one fails, return False: it and those after it remain to be done."""
        for number, task in enumerate(tasks):
            try:
                self._run_task(task)
            except sqlite3.Error as error:
                self._fail(Turn(tasks=tasks[number:]), error)
                return False
        return True

    def _run_task(self, task: StoreTask) -> None:
        if task.writes:
            self._store.begin()
        task.result = task.act(self._store)
        if task.writes:
            self._store.commit()
        self._report(Turn(tasks=[task]))

    def _fail(self, turn: Turn, error: "sqlite3.Error") -> None:
        self._store.rollback()
        if self._trouble is None:
            self._trouble = f"the disk does not take it: {error}"
            log.error("outbox accepts nothing", problem=self._trouble)
            self._store.reserve.give_back()
            self._next_try = 0.0
            self._next_reserve = self._now() + AGAIN
        else:
            self._next_try = self._now() + AGAIN
        self._keep(turn)

    def _keep(self, turn: Turn) -> None:
        """Keep what must not be lost of a turn, and do what needs no writing."""
        self._refuse(turn)
        self._backlog.batch.add(turn.batch)
        self._store.pretend(self._backlog.batch.progress)
        self._backlog.tasks += self._read(turn.tasks)

    def _refuse(self, turn: Turn) -> None:
        """Refuse new events; the rest of the turn remains to be done."""
        for one in turn.batch.acceptances:
            one.taken, one.answer, one.refusal = False, None, self._trouble
        self._report(Turn(WriteBatch(acceptances=turn.batch.acceptances)))
        turn.batch.acceptances = []

    def _read(self, tasks: list[StoreTask]) -> list[StoreTask]:
        """Run the tasks that only read; return the others, and those that cannot even be read."""
        rest = []
        for task in tasks:
            try:
                if task.writes:
                    rest.append(task)
                else:
                    self._run_task(task)
            except sqlite3.Error:
                rest.append(task)
        return rest

    def _recover(self) -> None:
        """Write what was kept; if all is written, test whether the disk works again."""
        if not self._write_backlog():
            return
        tasks, self._backlog.tasks = self._backlog.tasks, []
        if not self._do(tasks):
            return
        now = self._now()
        if self._closing or now < self._next_reserve:
            return
        self._next_reserve = now + AGAIN
        if self._store.reserve.take() and self._works():
            self._trouble = None
            log.info("outbox accepts again")
        else:
            self._store.reserve.give_back()
        self._report(Turn())

    def _works(self) -> bool:
        """Test whether log and database can grow."""
        store = self._store
        try:
            store.begin()
            store.execute("INSERT OR REPLACE INTO meta VALUES ('probe', zeroblob(?))", (_PROBE,))
            store.commit()
            store.shorten_log()
            store.begin()
            store.execute("DELETE FROM meta WHERE name='probe'")
            store.commit()
        except sqlite3.Error:
            store.rollback()
            return False
        return True

    def _write_backlog(self) -> bool:
        """Write what was kept, in parts; return False where the disk does not take it, which is then tried later."""
        kept, self._backlog.batch = self._backlog.batch, WriteBatch()
        parts = kept.parts(_PART)
        if parts:
            self._shorten_log()
        for number, part in enumerate(parts):
            try:
                self._store.apply(part)
            except sqlite3.Error as error:
                rest = WriteBatch()
                for one in parts[number:]:
                    rest.add(one)
                self._fail(Turn(rest), error)
                self._report(Turn())
                return False
            self._shorten_log()
            self._report(Turn(part))
        self._store.pretend(self._backlog.batch.progress)
        return True

    def _shorten_log(self) -> bool:
        try:
            self._store.shorten_log()
        except sqlite3.Error:
            return False
        return True

    def _report(self, done: Turn) -> None:
        """Report to the loop what was done; each task is reported by itself."""
        self._tell(done, replace(self._store.totals), self.condition)
