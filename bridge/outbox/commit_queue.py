"""Between the event loop and the store's thread: work goes there a turn at a time, and comes back a commit at a time.

The thread commits what is there when it is free: one event alone is committed at once, and under load hundreds share
a commit. Nothing waits for a timer, and no event costs a hop between threads of its own.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
from msgspec.structs import replace

from bridge.core.ports import Clock
from bridge.outbox.store import Store
from bridge.outbox.write_batch import Acceptance, Errand, Settlement, Totals, Work

#: Rows that one transaction takes at most, about.
_MOST: Final = 1024
#: Seconds between two tries to write to a disk that refused.
_AGAIN: Final = 1.0
#: Bytes that a refused disk must take before it counts as good again.
_PROBE: Final = 64 << 10

log = structlog.get_logger(__name__)


class Desk:
    """Owns the thread and, through it, the store.

    Work that must not be lost (an entry's end, what was tried, what is begun) is kept until the disk takes it, and what
    came behind it waits. New events are refused meanwhile.

    Attributes:
        totals: What the store holds, as of the last commit that came back.
        problem: Why nothing is accepted; None where all is well.
    """

    def __init__(self, file: Path, *, max_bytes: int, back: Callable[[Work], None], clock: Clock) -> None:
        """Nothing runs before `open`.

        Args:
            file: The database.
            max_bytes: What it may hold.
            back: Called on the loop with work that is done, in the order in which it was committed.
            clock: For how long a disk that refuses is waited for in the end.
        """
        self._file = file
        self._max_bytes = max_bytes
        self._back = back
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._turns: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._turn: Work | None = None
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
        self.turn.errands.append(Errand(lambda _: None, lambda _: back.set()))
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
        self.turn.acceptances.append(acceptance)

    def settle(self, settlement: Settlement) -> None:
        """Commit an entry's end."""
        self.turn.settlements.append(settlement)

    @property
    def turn(self) -> Work:
        """This turn's work, to add to; errands are done behind all that was asked for before."""
        if self._turn is None:
            self._turn = Work()
            self._loop.call_soon(self._send)
        return self._turn

    def _send(self) -> None:
        if self._turn is not None:
            self._turns.put(self._turn)
            self._turn = None

    def _returned(self, work: Work, totals: Totals, problem: str | None) -> None:
        self.totals, self.problem = totals, problem
        self.waiting -= sum(one.entry.size for one in work.acceptances)
        self._back(work)

    # --- on the thread

    def _run(self, store: Store) -> None:
        try:
            Clerk(store, self._turns, self._tell).run()
        except BaseException as bug:  # noqa: BLE001 - goes to whoever watches
            self._loop.call_soon_threadsafe(self._over.set_exception, bug)
        else:
            self._loop.call_soon_threadsafe(self._over.set_result, None)
        finally:
            store.close()

    def _tell(self, work: Work, totals: Totals, problem: str | None) -> None:
        self._loop.call_soon_threadsafe(self._returned, work, totals, problem)


class Clerk:
    """What the thread does: take what is there, commit it, tell."""

    def __init__(
        self,
        store: Store,
        turns: "queue.SimpleQueue[Work | None]",
        tell: Callable[[Work, Totals, str | None], None],
    ) -> None:
        self._store = store
        self._turns = turns
        self._tell = tell
        self._backlog = Work()
        self._trouble: str | None = None
        self._next_try = 0.0
        self._closing = False

    @property
    def problem(self) -> str | None:
        """Why nothing is accepted."""
        if self._trouble is None and self._store.full:
            return "the outbox is full (`max_bytes`)"
        return self._trouble

    def run(self) -> None:
        """Until the desk is closed."""
        while True:
            self.do(self._take())
            if self._closing and (self._trouble is not None or self._turns.empty()):
                return

    def do(self, work: Work) -> None:
        """Commit it, or keep what must not be lost until the disk takes it."""
        if self._trouble is None:
            self._commit(work)
            return
        self._refuse(work)
        self._backlog.add(work)
        if self._closing or time.monotonic() >= self._next_try:
            self._recover()

    def _take(self) -> Work:
        """What is there by now; waits where there is nothing."""
        work = Work()
        try:
            turn = self._turns.get(timeout=None if self._trouble is None and not self._store.full else _AGAIN)
            while turn is not None:
                work.add(turn)
                if work.size >= _MOST:
                    return work
                turn = self._turns.get_nowait()
            self._closing = True
        except queue.Empty:
            pass
        return work

    def _commit(self, work: Work) -> None:
        try:
            self._store.look()
            if work.size > len(work.errands):
                self._store.apply(work)
        except sqlite3.Error as error:
            self._store.rollback()
            self._fail(work, error)
            return
        self._say(work)
        self._do(work.errands)

    def _do(self, errands: list[Errand]) -> None:
        for place, errand in enumerate(errands):
            try:
                if errand.writes:
                    self._store.begin()
                errand.result = errand.act(self._store)
                if errand.writes:
                    self._store.commit()
            except sqlite3.Error as error:
                self._store.rollback()
                self._fail(Work(errands=errands[place:]), error)
                return
            self._tell(Work(errands=[errand]), replace(self._store.totals), self.problem)

    def _fail(self, work: Work, error: sqlite3.Error) -> None:
        self._trouble = f"the disk does not take it: {error}"
        self._next_try = time.monotonic() + _AGAIN
        log.error("outbox", problem=self._trouble)
        self._refuse(work)
        self._backlog.add(work)

    def _refuse(self, work: Work) -> None:
        """Turn new events away; the rest of the work stays to be done."""
        for one in work.acceptances:
            one.taken, one.ending, one.refusal = False, None, self._trouble
        self._say(Work(acceptances=work.acceptances))
        work.acceptances = []

    def _recover(self) -> None:
        """See whether the disk takes something again, and what was kept back with it."""
        store, work = self._store, self._backlog
        try:
            store.begin()
            store.execute("INSERT OR REPLACE INTO meta VALUES ('probe', zeroblob(?))", (_PROBE,))
            store.commit()
            store.begin()
            store.execute("DELETE FROM meta WHERE name='probe'")
            store.commit()
            store.apply(work)
        except sqlite3.Error:
            store.rollback()
            self._next_try = time.monotonic() + _AGAIN
            return
        self._trouble, self._backlog = None, Work()
        log.info("outbox", problem=None)
        self._say(work)
        self._do(work.errands)

    def _say(self, work: Work) -> None:
        """Tell what was committed; errands are told one by one when they are done."""
        done = Work(work.acceptances, work.settlements, work.begun, work.progress)
        self._tell(done, replace(self._store.totals), self.problem)
