"""Takes what is to be written from the event loop to the store's thread, and tells the loop what was committed.

What the loop wants written in one of its turns goes to the thread together. The thread commits what is there when it is
free: one event alone is committed at once, and under load hundreds share a commit. Nothing waits for a timer, and no
event costs a hop between threads of its own.
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
#: Seconds between two tries to write to a disk that refused.
_AGAIN: Final = 1.0
#: Bytes that a refused disk must take before it counts as good again.
_PROBE: Final = 64 << 10

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class StoreTask:
    """Anything that the store's thread is to do beside writing batches.

    Attributes:
        act: Runs on the thread.
        back: Called on the loop with what `act` returned.
        writes: Whether `act` needs a transaction.
        result: What it returned.
    """

    act: Callable[[Store], Any]
    back: Callable[[Any], None]
    writes: bool = False
    result: Any = None


@dataclass(slots=True, eq=False)
class Turn:
    """What was asked for in one turn of the loop, or what of it is done: a batch, and tasks that come behind it."""

    batch: WriteBatch = field(default_factory=WriteBatch)
    tasks: list[StoreTask] = field(default_factory=list)

    def add(self, other: "Turn") -> None:
        """Append another turn to this one."""
        self.batch.add(other.batch)
        self.tasks += other.tasks

    @property
    def size(self) -> int:
        """How much it is, about, in rows."""
        return self.batch.rows + len(self.tasks)


class CommitQueue:
    """Owns the thread and, through it, the store.

    What must not be lost (an entry's end, what was tried, what is begun) is kept until the disk takes it, and what
    came behind it waits. New events are refused meanwhile.

    Attributes:
        waiting: Bytes of new events that are not committed yet.
        totals: What the store holds, as of the last commit that the loop was told of.
        problem: Why nothing is accepted; None where all is well.
    """

    def __init__(self, file: Path, *, max_bytes: int, back: Callable[[Turn], None], clock: Clock) -> None:
        """Nothing runs before `open`.

        Args:
            file: The database.
            max_bytes: What it may hold.
            back: Called on the loop with what is done, in the order in which it was committed.
            clock: For how long a disk that refuses is waited for in the end.
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
        """Open the store; returns how many entries wait for each integration.

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
        """Commit what is there, as far as the disk takes it, and end the thread.

        What comes back meanwhile is committed, too: that a call which was marked as begun is not made any more.
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
        """Wait until all that was asked for is back; not for ever, as the disk may refuse."""
        back = asyncio.Event()
        self.on_thread(lambda _: None, lambda _: back.set())
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(_AGAIN):
                await back.wait()

    async def watch(self) -> None:
        """Return when the thread has ended; raises what it died of, which is a bug."""
        await asyncio.shield(self._over)

    # --- on the loop

    def accept(self, acceptance: Acceptance) -> None:
        """Commit a new entry."""
        self.waiting += acceptance.entry.size
        self._current.batch.acceptances.append(acceptance)

    def settle(self, settlement: Settlement) -> None:
        """Commit an entry's end."""
        self._current.batch.settlements.append(settlement)

    def mark_begun(self, entry: Entry) -> None:
        """Commit that a call is about to be made which must not be made twice."""
        self._current.batch.begun.append(entry)

    def store_progress(self, entry: Entry) -> None:
        """Commit what was tried so far, and that the entry is not begun."""
        self._current.batch.progress.append(entry)

    def on_thread(self, act: Callable[[Store], Any], back: Callable[[Any], None], *, writes: bool = False) -> None:
        """Do something else on the thread, behind all that was asked for before; see `StoreTask`."""
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
    """What the thread does: take what is there, commit it, tell the loop."""

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
        """Why nothing is accepted; None where all is well."""
        if self._trouble is None and self._store.full:
            return "the outbox is full (`max_bytes`)"
        return self._trouble

    def run(self) -> None:
        """Go on until the queue is closed."""
        while True:
            self.do(self._take())
            if self._closing and (self._trouble is not None or self._turns.empty()):
                return

    def do(self, turn: Turn) -> None:
        """Commit it, or keep what must not be lost until the disk takes it."""
        if self._trouble is None:
            self._commit(turn)
            return
        self._refuse(turn)
        self._backlog.add(turn)
        if self._closing or time.monotonic() >= self._next_try:
            self._recover()

    def _take(self) -> Turn:
        """Return what is there by now; wait where there is nothing."""
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
            self._store.look()
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
        """Turn new events away; the rest stays to be done."""
        for one in turn.batch.acceptances:
            one.taken, one.answer, one.refusal = False, None, self._trouble
        self._tell_committed(WriteBatch(acceptances=turn.batch.acceptances))
        turn.batch.acceptances = []

    def _recover(self) -> None:
        """See whether the disk takes something again, and what was kept back with it."""
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
        """Tell what was committed; tasks are told one by one when they are done."""
        self._tell(Turn(batch), replace(self._store.totals), self.problem)
