"""Passes what is to be written from the event loop to the store's thread, and returns to the loop what was committed.

All writes of one turn of the loop go to the thread together. The thread, when it is free, commits all that is there:
one event alone is committed at once, and under load hundreds share a commit. Nothing waits for a timer, and not every
event costs a switch between threads.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog
from msgspec.structs import replace

from bridge.core.ports import Clock
from bridge.outbox.entry import Entry
from bridge.outbox.store import Store, Totals
from bridge.outbox.write_batch import Acceptance, Settlement, WriteBatch

#: Rows that one transaction takes at most, about.
_MOST: Final = 1024
#: Seconds between two tries to write to a disk that has failed.
_AGAIN: Final = 1.0
#: Bytes that must be written to a disk that has failed before it counts as good again.
_PROBE: Final = 64 << 10

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class StoreTask:
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


@dataclass(slots=True, eq=False)
class Turn:
    """The work of one turn of the loop, or the part of it that is done: a batch, and then tasks."""

    batch: WriteBatch = field(default_factory=WriteBatch)
    tasks: list[StoreTask] = field(default_factory=list)

    def add(self, other: "Turn") -> None:
        """Append another turn to this one."""
        self.batch.add(other.batch)
        self.tasks += other.tasks

    @property
    def size(self) -> int:
        """About how many rows it writes."""
        return self.batch.rows + len(self.tasks)


class CommitQueue:
    """Owns the store and its thread, and gives it work in the order in which it is asked for.

    While the disk fails, new events are refused. What must not be lost (an entry's end, its progress, its mark as
    begun) is kept until it can be written, and all work after it waits.

    Attributes:
        waiting: Bytes of new events that are not committed yet.
        totals: The store's totals after the last commit that has come back to the loop.
        problem: Why nothing is accepted; None where the outbox works.
    """

    def __init__(self, file: Path, *, max_bytes: int, back: Callable[[Turn], None], clock: Clock) -> None:
        """Create it; nothing runs before `open`.

        Args:
            file: The database.
            max_bytes: The most bytes that entries and dead letters may have.
            back: Called on the loop with what is done, in the order in which it was committed.
            clock: For how long `close` waits for a disk that fails.
        """
        self._file = file
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
        self.problem: str | None = None

    async def open(self) -> dict[str, int]:
        """Open the store, and return how many entries wait for each integration.

        Raises:
            OutboxError: It cannot be opened.
        """
        store = await asyncio.to_thread(Store, self._file, max_bytes=self._max_bytes)
        self.totals = store.totals
        found = store.integrations()
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
            async with self._clock.timeout(_AGAIN):
                await back.wait()

    async def watch(self) -> None:
        """Wait until the thread has ended; raise the exception that ended it, which is a bug."""
        await asyncio.shield(self._over)

    # --- on the loop

    def accept(self, acceptance: Acceptance) -> None:
        """Store a new entry at the next commit."""
        self.waiting += acceptance.entry.size
        self._current.batch.acceptances.append(acceptance)

    def settle(self, settlement: Settlement) -> None:
        """Store an entry's end at the next commit."""
        self._current.batch.settlements.append(settlement)

    def mark_begun(self, entry: Entry) -> None:
        """Store at the next commit that a call is about to be made, which must not be made twice."""
        self._current.batch.begun.append(entry)

    def store_progress(self, entry: Entry) -> None:
        """Store an entry's progress at the next commit, and that its call is not begun."""
        self._current.batch.progress.append(entry)

    def on_thread(self, act: Callable[[Store], Any], back: Callable[[Any], None], *, writes: bool = False) -> None:
        """Run a function on the thread, after all that was asked for before; see `StoreTask`."""
        self._current.tasks.append(StoreTask(act, back, writes))

    @property
    def _current(self) -> Turn:
        if self._turn is None:
            self._turn = Turn()
            self._loop.call_soon(self._send)
        return self._turn

    def _send(self) -> None:
        if self._turn is not None:
            self._turns.put(self._turn)
            self._turn = None

    def _returned(self, done: Turn, totals: Totals, problem: str | None) -> None:
        self.totals, self.problem = totals, problem
        self.waiting -= sum(one.entry.size for one in done.batch.acceptances)
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

    def _tell(self, done: Turn, totals: Totals, problem: str | None) -> None:
        self._loop.call_soon_threadsafe(self._returned, done, totals, problem)


class Committer:
    """Runs on the thread: takes the work that is there, commits it, and reports to the loop."""

    def __init__(
        self,
        store: Store,
        turns: "queue.SimpleQueue[Turn | None]",
        tell: Callable[[Turn, Totals, str | None], None],
    ) -> None:
        self._store = store
        self._turns = turns
        self._tell = tell
        self._backlog = Turn()
        self._trouble: str | None = None
        self._next_try = 0.0
        self._closing = False

    @property
    def problem(self) -> str | None:
        """Why nothing is accepted; None where the outbox works."""
        if self._trouble is None and self._store.full:
            return "the outbox is full (`max_bytes`)"
        return self._trouble

    def run(self) -> None:
        """Take and commit work until the queue is closed."""
        while True:
            self.do(self._take())
            if self._closing and (self._trouble is not None or self._turns.empty()):
                return

    def do(self, turn: Turn) -> None:
        """Commit a turn; while the disk fails keep what must not be lost."""
        if self._trouble is None:
            self._commit(turn)
            return
        self._refuse(turn)
        self._backlog.add(turn)
        if self._closing or time.monotonic() >= self._next_try:
            self._recover()

    def _take(self) -> Turn:
        """Return the work that is there; wait where there is none."""
        taken = Turn()
        try:
            turn = self._turns.get(timeout=None if self._trouble is None and not self._store.full else _AGAIN)
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
                self._store.apply(turn.batch)
        except sqlite3.Error as error:
            self._store.rollback()
            self._fail(turn, error)
            return
        self._tell_committed(turn.batch)
        self._do(turn.tasks)

    def _do(self, tasks: list[StoreTask]) -> None:
        for number, task in enumerate(tasks):
            try:
                if task.writes:
                    self._store.begin()
                task.result = task.act(self._store)
                if task.writes:
                    self._store.commit()
            except sqlite3.Error as error:
                self._store.rollback()
                self._fail(Turn(tasks=tasks[number:]), error)
                return
            self._tell(Turn(tasks=[task]), replace(self._store.totals), self.problem)

    def _fail(self, turn: Turn, error: sqlite3.Error) -> None:
        self._trouble = f"the disk does not take it: {error}"
        self._next_try = time.monotonic() + _AGAIN
        log.error("outbox", problem=self._trouble)
        self._refuse(turn)
        self._backlog.add(turn)

    def _refuse(self, turn: Turn) -> None:
        """Refuse new events; the rest of the turn remains to be done."""
        for one in turn.batch.acceptances:
            one.taken, one.answer, one.refusal = False, None, self._trouble
        self._tell_committed(WriteBatch(acceptances=turn.batch.acceptances))
        turn.batch.acceptances = []

    def _recover(self) -> None:
        """Test whether the disk works again, and write what was kept."""
        store, turn = self._store, self._backlog
        try:
            store.begin()
            store.execute("INSERT OR REPLACE INTO meta VALUES ('probe', zeroblob(?))", (_PROBE,))
            store.commit()
            store.begin()
            store.execute("DELETE FROM meta WHERE name='probe'")
            store.commit()
            store.apply(turn.batch)
        except sqlite3.Error:
            store.rollback()
            self._next_try = time.monotonic() + _AGAIN
            return
        self._trouble, self._backlog = None, Turn()
        log.info("outbox", problem=None)
        self._tell_committed(turn.batch)
        self._do(turn.tasks)

    def _tell_committed(self, batch: WriteBatch) -> None:
        """Report to the loop what was committed; each task is reported when it is done."""
        self._tell(Turn(batch), replace(self._store.totals), self.problem)
