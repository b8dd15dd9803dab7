"""An outbox in memory: a disk that outlives the process and may refuse to be written to, and commits without a thread.

Everything above the database file is the real outbox: its tables, its transactions, its reserve, its commit mark.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

from bridge.core.errors import OutboxError
from bridge.core.timer import Timer
from bridge.outbox import CommitQueue
from bridge.outbox.commit_mark import CommitMark, Mark
from bridge.outbox.commit_queue import AGAIN, Committer, Condition, Turn
from bridge.outbox.reserve import Reserve
from bridge.outbox.schema import connect
from bridge.outbox.store import Store, Totals

#: Bytes that the reserve has.
_RESERVE: Final = 1 << 20
#: What statements hold that need more room than the reserve is.
_GROWS: Final = ("INTO entry", "'probe'")
#: First words of those that write.
_WRITES: Final = ("INSERT", "UPDATE", "DELETE", "COMMIT")

DiskState = Literal["good", "full", "broken"]
"""`good`: it can be written to. `full`: what needs more room fails. `broken`: each write fails."""


class _Database(sqlite3.Connection):
    """A connection whose statements fail where the disk of the simulation fails."""

    disk: "MemoryDisk | None" = None

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """See `sqlite3.Connection.execute`."""
        if self.disk is not None:
            self.disk.check(sql)
        return super().execute(sql, parameters)

    def close(self) -> None:
        """Stay open: what is on the disk outlives the process."""


class MemoryDisk:
    """What an outbox has on disk.

    Attributes:
        state: Whether it can be written to.
        commit_seconds: How long a commit takes.
        mark: The commit mark as it was written last.
        reserved: Whether the reserve is there.
        on_turn: Called with the work that was committed, each time.
    """

    def __init__(self) -> None:
        self.state: DiskState = "good"
        self.commit_seconds = 0.0
        self.mark: Mark | None = None
        self.reserved = False
        self.on_turn: Callable[[Turn], None] = lambda _: None
        self.owner: MemoryStorage | None = None
        self._database: sqlite3.Connection | None = None

    @property
    def exists(self) -> bool:
        """Whether there is a database."""
        return self._database is not None

    def check(self, sql: str) -> None:
        """Raise sqlite3.OperationalError where this statement cannot be executed now."""
        if self.state == "good":
            return
        word = sql.lstrip().partition(" ")[0].upper()
        if word not in _WRITES:
            return
        if self.state == "broken":
            raise sqlite3.OperationalError("disk I/O error")
        if self.reserved or any(part in sql for part in _GROWS):
            raise sqlite3.OperationalError("database or disk is full")

    def connect(self, longest_log: int) -> sqlite3.Connection:
        """Return the connection to the database; the same one for each process."""
        if self._database is None:
            self._database = connect(Path(":memory:"), longest_log=longest_log, factory=_Database)
            self._database.disk = self  # type: ignore[attr-defined]  # of the factory's class
        return self._database

    def close(self) -> None:
        """Free the memory of the database."""
        if self._database is not None:
            sqlite3.Connection.close(self._database)
            self._database = None


class _MemoryReserve(Reserve):
    """The reserve of a disk in memory."""

    def __init__(self, disk: MemoryDisk) -> None:
        self._disk = disk
        self.size = _RESERVE

    def take(self) -> bool:
        """See `Reserve.take`."""
        if not self._disk.reserved and self._disk.state == "good":
            self._disk.reserved = True
        return self._disk.reserved

    def give_back(self) -> None:
        """See `Reserve.give_back`."""
        self._disk.reserved = False


class _MemoryMark(CommitMark):
    """The commit mark of a disk in memory."""

    def __init__(self, disk: MemoryDisk) -> None:
        self._disk = disk

    def read(self) -> Mark | None:
        """See `CommitMark.read`."""
        return self._disk.mark

    def write(self, mark: Mark) -> None:
        """See `CommitMark.write`."""
        self._disk.mark = mark

    def close(self) -> None:
        """See `CommitMark.close`."""


class MemoryStorage:
    """The disk as one process uses it; implements `outbox.Storage`.

    Attributes:
        is_cut: Whether that process was killed: it writes nothing any more.
        name: See `Storage.name`.
    """

    name = "outbox.db"

    def __init__(self, disk: MemoryDisk) -> None:
        self.disk = disk
        self.is_cut = False

    @property
    def exists(self) -> bool:
        """See `Storage.exists`."""
        return self.disk.exists

    def take(self) -> None:
        """See `Storage.take`."""
        if self.disk.owner is not None:
            raise OutboxError(f"outbox {self.name}: another process uses it")
        self.disk.owner = self

    def release(self) -> None:
        """See `Storage.release`."""
        if self.disk.owner is self:
            self.disk.owner = None

    def cut(self) -> None:
        """Stop writing at once, as where the process is killed."""
        self.is_cut = True
        self.release()

    def connect(self, *, longest_log: int) -> sqlite3.Connection:
        """See `Storage.connect`."""
        return self.disk.connect(longest_log)

    def reserve(self, *, max_bytes: int) -> Reserve:  # noqa: ARG002 - all the same here
        """See `Storage.reserve`."""
        return _MemoryReserve(self.disk)

    def mark(self) -> CommitMark:
        """See `Storage.mark`."""
        return _MemoryMark(self.disk)


class InlineCommitQueue(CommitQueue):
    """A commit queue without a thread: it commits at the end of a turn of the loop, and then for as long as that takes.

    Attributes:
        store: The store, once it is open.
    """

    store: Store

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._next = Turn()
        self._timer = Timer(self._clock)

    async def open(self) -> dict[str, int]:
        """See `CommitQueue.open`."""
        self.store = Store(self._storage, max_bytes=self._max_bytes)
        self._committer = Committer(self.store, self._turns, self.returned, self._clock.monotonic)
        self.totals, self.condition = self.store.totals, self._committer.condition
        self.missing, self.letters = self.store.missing, self.store.letters()
        found = self.store.lanes()
        self._plan()
        return found

    async def close(self) -> None:
        """See `CommitQueue.close`."""
        if not self._over.done():
            self._send()
            self._timer.cancel()
            if not self._is_cut:
                self._turns.put(self._take_next())
                self._turns.put(None)
                self._committer.run()
            self._over.set_result(None)

    def returned(self, done: Turn, totals: Totals, condition: Condition) -> None:
        """See `CommitQueue.returned`; the disk in memory learns of it first."""
        if isinstance(self._storage, MemoryStorage):
            self._storage.disk.on_turn(done)
        super().returned(done, totals, condition)

    @property
    def _is_cut(self) -> bool:
        return isinstance(self._storage, MemoryStorage) and self._storage.is_cut

    @property
    def _seconds(self) -> float:
        """How long a commit takes."""
        return self._storage.disk.commit_seconds if isinstance(self._storage, MemoryStorage) else 0.0

    def _take_next(self) -> Turn:
        turn, self._next = self._next, Turn()
        return turn

    def _send(self) -> None:
        if self._turn is not None:
            turn, self._turn = self._turn, None
            self._next.add(turn)
            if self._seconds == 0.0:
                self._commit()
            elif not self._timer.is_set or self._timer.due > self._clock.monotonic() + self._seconds:
                self._timer.set(self._seconds, self._commit)

    def _commit(self) -> None:
        if self._is_cut:
            return
        self._committer.do(self._take_next())
        self._plan()

    def _plan(self) -> None:
        """Come again in a second where the disk has failed, as the thread does."""
        if self._committer.condition.problem is not None:
            self._timer.set(AGAIN, self._commit)
