"""Delivers one integration's entries, one at a time for each key; a window of them is in memory."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from bridge.core.errors import BridgeError, ConnectionLostError, DeadlineError, NotConnectedError
from bridge.core.model import Operation, Outcome
from bridge.core.payloads import ReceiptOutcome
from bridge.core.ports import Clock
from bridge.core.responder import Responder
from bridge.core.timer import Timer
from bridge.outbox.commit_queue import CommitQueue
from bridge.outbox.disposition import Disposition, delay_of, disposition_of
from bridge.outbox.entry import Entry
from bridge.outbox.order import Key, OrderingKeys, on_disk
from bridge.outbox.ports import DeliveryConnection
from bridge.outbox.steady_time import SteadyTime
from bridge.outbox.store import Scan, Store
from bridge.outbox.wait_log import WaitLog
from bridge.outbox.write_batch import DeadLetterReason, Settlement
from bridge.resilience import Accounting, Stage

#: Entries of one integration, and their bytes, that are in memory at the same time. What comes while it is full is read
#: back from disk, which costs as much again as writing it; a burst should fit.
WINDOW: Final = 4000
_WINDOW_BYTES: Final = 16 << 20
#: Entries that are with the guard at the same time.
_MOST_RUNNING: Final = 256
#: Keys of which something waits; beyond, nothing else is begun.
_MOST_BLOCKED: Final = 20_000
#: Entries of one key that wait in memory behind the one that was started or may start.
_MOST_FOLLOWERS: Final = 64
#: Seconds after which a call that needs a mark on disk is looked at again while nothing can be written.
_UNTIL_WRITTEN: Final = 1.0
#: Entries that a sweep ends at a time.
_SWEEP: Final = 100


class DeliveryQueue:
    """Delivers the entries of one lane: those of an integration, or of a fabric that it carries.

    In memory is a window: entries that may start, that run, whose end is being committed, and some that follow one of
    these with the same key. All others are on disk. They are read in order; all up to `_cursor` have been read.
    `OrderingKeys` knows those that are not held.

    Of a key, only the first entry in memory (its head) may start. The next one may when the end of the head is
    committed. An entry without a key starts in its turn, and waits for no other.

    Attributes:
        lane: The lane; see `lane_of`.
        pending: How many entries have not ended, in memory and on disk.
    """

    def __init__(
        self,
        lane: str,
        *,
        connection: Callable[[str], DeliveryConnection | None],
        commits: CommitQueue,
        responder: Responder,
        clock: Clock,
        time: SteadyTime,
        rng: random.Random,
        max_age_ms: int,
        pending: int = 0,
    ) -> None:
        """Create it; nothing happens before `wake`.

        Args:
            lane: The lane; see `lane_of`.
            connection: Returns what sends the entries of a lane; None where there is nothing now.
            commits: Writes to disk.
            responder: Encodes the answers that are stored.
            clock: For all waiting.
            time: For deadlines and ages.
            rng: For jitter.
            max_age_ms: How old an entry may become, in milliseconds.
            pending: How many entries are on disk already.
        """
        self.lane = lane
        self.pending = pending
        self._find_connection = connection
        self._commits = commits
        self._responder = responder
        self._clock = clock
        self._time = time
        self._rng = rng
        self._max_age_ms = max_age_ms
        self._stopping = False
        self._closed = False
        self._pump_scheduled = False
        self._timer = Timer(clock)
        self._ready: deque[Entry] = deque()
        self._beginning: deque[Entry] = deque()
        self._running: dict[int, Entry] = {}
        self._ending: dict[int, Entry] = {}
        self._heads: dict[str, int] = {}
        self._followers: dict[str, deque[Entry]] = {}
        self._held = 0
        self._held_bytes = 0
        self._keys = OrderingKeys()
        self._cursor = 0
        self._newest = 1 if pending else 0
        self._loading = False
        self._scanning = False
        self._paused_until = 0.0
        self._failures = 0
        self._allowed = _MOST_RUNNING
        self._was_well = False
        self._accounting: Accounting | None = None
        self._log = WaitLog(
            lane,
            clock=clock,
            pending=lambda: self.pending,
            flows=self._flows,
            told_elsewhere=lambda: not self._was_well,
        )

    def stop(self) -> None:
        """Start no more entries; those that run still come to their end."""
        self._stopping = True

    def close(self) -> None:
        """Stop all work, and cancel the timer."""
        self._stopping = self._closed = True
        self._timer.cancel()
        self._log.close()

    @property
    def _connection(self) -> DeliveryConnection | None:
        return self._find_connection(self.lane)

    # --- what happens

    def on_accepted(self, entries: list[Entry]) -> None:
        """Add new entries, which are on disk now, in order. The caller schedules `pump`."""
        accounting = self._counted()
        self.pending += len(entries)
        if accounting is not None:
            accounting.accept(Stage.PENDING, len(entries))
        may_hold = not self._scanning and not self._too_many_blocked()
        for entry in entries:
            seq = entry.seq
            if seq <= self._cursor:
                continue  # read from disk meanwhile
            behind = self._cursor < self._newest
            self._newest = seq
            if may_hold and not behind and self._has_room():
                self._cursor = seq
                self._arrived(entry)

    def on_settled(self, entries: list[Entry]) -> None:
        """Remove entries whose end is committed. The caller schedules `pump`."""
        self.pending -= len(entries)
        self._held -= len(entries)
        some_blocked = len(self._keys) > 0
        for entry in entries:
            del self._ending[entry.seq]
            self._held_bytes -= entry.size
            if some_blocked or entry.body.key is not None:
                self._follow(entry)

    def on_stuck(self) -> None:
        """Go on although nothing can be written: what has ended counts as ended, and what needs a mark waits."""
        for entry in tuple(self._ending.values()):
            self._follow(entry)
        beginning, self._beginning = self._beginning, deque()
        connection = self._connection
        self._counted()
        for entry in beginning:
            if entry.to_mark:
                self._beginning.append(entry)
            else:
                self._submit(entry, connection)
        self.schedule_pump()

    def _follow(self, entry: Entry) -> None:
        """Let what waits for an entry go on, as that has ended."""
        if len(self._keys):
            self._keys.ended(_key_of(entry), entry.seq)
        key = entry.body.key
        if key is not None and self._heads.get(key) == entry.seq:
            self._advance(key)

    def on_marked(self) -> None:
        """Start the entries whose mark as begun is committed, in order, up to the first one whose mark is not."""
        connection = self._connection
        self._counted()
        while self._beginning and (self._beginning[0].begun or not self._beginning[0].to_mark):
            entry = self._beginning.popleft()
            if not self._stopping:
                self._submit(entry, connection)
                continue
            if entry.begun:
                entry.begun = False
                self._commits.store_progress(entry)
            self._put_back(entry, self._clock.monotonic())

    def wake(self) -> None:
        """Look at the integration again: its state has changed, or it was added, replaced or removed."""
        connection = self._connection
        self._counted()
        well = connection is not None and connection.well
        if well and not self._was_well:
            self._paused_until = 0.0
            self._keys.all_due(self._clock.monotonic())
        self._was_well = well
        self.schedule_pump()

    # --- going on

    def schedule_pump(self) -> None:
        """Call `pump` once at the end of this turn of the event loop."""
        if not self._closed and not self._pump_scheduled:
            self._pump_scheduled = True
            asyncio.get_running_loop().call_soon(self._scheduled_pump)

    def _scheduled_pump(self) -> None:
        self._pump_scheduled = False
        if not self._closed:
            self.pump()

    def _pump_at(self, when: float) -> None:
        """Call `pump` at this monotonic time, in seconds, or earlier."""
        if when < self._timer.due:
            self._timer.set(when - self._clock.monotonic(), self.pump)

    def pump(self) -> None:
        """Start the entries that may start, and read more from disk where there is room for them."""
        connection = self._connection
        if self._ready and connection is not None and connection.usable:
            self._counted()  # what waits here must be counted before the guard takes one of them over
            capacity, now_ms = connection.capacity, self._time.now_ms()
            while (
                self._ready
                and not self._stopping
                and (not self._paused_until or self._clock.monotonic() >= self._paused_until)
                and len(self._running) + len(self._beginning) < min(capacity, self._allowed)
            ):
                self._start(self._ready.popleft(), connection, now_ms)
        if self._stopping:
            return
        if connection is None or not connection.usable:
            if self.pending:
                self._log.waits()
            return
        now = self._clock.monotonic()
        if now < self._paused_until:
            self._pump_at(self._paused_until)
            return
        self._load(now)
        due = self._keys.next_due()
        if due is not None and due > now:  # what is due already is read as soon as there is room
            self._pump_at(due)

    def _flows(self) -> bool:
        """Return whether no entry waits for anything but its turn; one that has failed waits until it has ended."""
        connection = self._connection
        return not self.pending or (
            connection is not None
            and connection.usable
            and not len(self._keys)
            and self._cursor >= self._newest
            and self._clock.monotonic() >= self._paused_until
            and not any(entry.progress.rounds for entry in self._running.values())
        )

    def _has_room(self) -> bool:
        return self._held < WINDOW and self._held_bytes < _WINDOW_BYTES

    def _too_many_blocked(self) -> bool:
        return len(self._keys) >= _MOST_BLOCKED

    def _start(self, entry: Entry, connection: DeliveryConnection, now_ms: int) -> None:
        body = entry.body
        young = body.deadline_ms is None and now_ms - body.accepted_ms <= self._max_age_ms
        if (entry.begun or not young) and self._end_if_over(entry, now_ms):
            return
        entry.to_mark = not (body.repeatable or connection.may_repeat(entry.operation))
        stuck = self._commits.condition.stuck
        if entry.to_mark and stuck:
            self._put_back(entry, self._clock.monotonic() + _UNTIL_WRITTEN)
        elif entry.to_mark or (self._beginning and not stuck):
            self._beginning.append(entry)
            if entry.to_mark:
                self._commits.mark_begun(entry)
        else:
            self._submit(entry, connection)

    def _end_if_over(self, entry: Entry, now_ms: int) -> bool:
        """End an entry that must not be tried any more, and return True: it is too old, or was begun before a crash."""
        body = entry.body
        if entry.begun:
            lost = ConnectionLostError("the bridge ended in the middle of the call; it may have been made")
            lost.retryable = False
            self._end(entry, ReceiptOutcome.DEAD_LETTERED, Outcome(error=lost), unknown=True)
        elif body.deadline_ms is not None and body.deadline_ms <= now_ms:
            late = DeadlineError("the caller's time was up before it was delivered", maybe_sent=False)
            self._end(entry, ReceiptOutcome.EXPIRED, Outcome(error=late))
        elif now_ms - body.accepted_ms > self._max_age_ms:
            old = NotConnectedError(f"not delivered within {self._max_age_ms / 1000:g} s (`max_age`)")
            self._end(entry, ReceiptOutcome.DEAD_LETTERED, Outcome(error=old))
        else:
            return False
        return True

    def _submit(self, entry: Entry, connection: DeliveryConnection | None) -> None:
        """Give an entry to the guard; the caller has called `_counted`."""
        operation = entry.operation
        if connection is None:  # removed since
            self._waits(entry, Disposition.ALL_WAIT, NotConnectedError("the integration is gone"))
            return
        if entry.body.deadline_ms is not None:
            left = (entry.body.deadline_ms - self._time.now_ms()) / 1000
            operation = msgspec.structs.replace(operation, deadline=self._clock.monotonic() + left)
        self._running[entry.seq] = entry
        connection.submit(operation, partial(self._done, entry, connection))

    # --- how it went

    def _done(self, entry: Entry, connection: DeliveryConnection, ended: Operation, outcome: Outcome) -> None:
        del self._running[entry.seq]
        if not self._pump_scheduled:
            self.schedule_pump()
        event_headers = entry.operation.headers
        if ended.headers is not event_headers:  # they continue its trace from this call, for what is told of its end
            entry.operation = msgspec.structs.replace(entry.operation, headers=ended.headers)
        if outcome.error is None:
            self._failures = 0
            if self._allowed < _MOST_RUNNING:
                self._allowed = min(2 * self._allowed, _MOST_RUNNING)
            self._delivered(entry, outcome)
            return
        error = outcome.error
        what = disposition_of(error, once=entry.to_mark)
        if what is Disposition.EXPIRED:
            connection.accounting.move(Stage.PENDING, Stage.EXPIRED)
            self._end(entry, ReceiptOutcome.EXPIRED, outcome, counted=True)
        elif what in {Disposition.DEAD_LETTER, Disposition.UNKNOWN}:
            connection.accounting.move(Stage.PENDING, Stage.DEAD_LETTERED)
            self._end(entry, ReceiptOutcome.DEAD_LETTERED, outcome, unknown=what is Disposition.UNKNOWN, counted=True)
        else:
            if outcome.attempts or entry.begun:
                entry.progress = entry.progress.after(outcome.attempts, outcome.history)
                entry.begun = False
                self._commits.store_progress(entry)
            if entry.operation.headers is not event_headers:
                entry.operation = msgspec.structs.replace(entry.operation, headers=event_headers)
            self._waits(entry, what, error)

    def _waits(self, entry: Entry, what: Disposition, error: BridgeError) -> None:
        """Let an entry, and with it its key, wait for the next try."""
        self._log.waits(error)
        now = self._clock.monotonic()
        if what is not Disposition.KEY_WAITS:
            if now >= self._paused_until:
                self._failures += 1
                self._paused_until = now + delay_of(what, self._failures, error, self._rng)
                self._allowed = 1
            due = self._paused_until
        else:
            due = now + delay_of(what, entry.progress.rounds, error, self._rng)
        self._put_back(entry, due)

    def _put_back(self, entry: Entry, due: float) -> None:
        """Remove an entry that waits from memory, and the others of its key with it."""
        self._held -= 1
        self._held_bytes -= entry.size
        key, last = entry.body.key, 0
        if key is not None:
            del self._heads[key]
            for one in self._followers.pop(key, ()):
                self._held -= 1
                self._held_bytes -= one.size
                last = one.seq
        self._keys.block(_key_of(entry), entry.seq, due=due, last=last)

    def _delivered(self, entry: Entry, outcome: Outcome) -> None:
        body = entry.body
        if entry.operation.correlation_id is None and body.scope is None and not body.receipts and body.emit is None:
            entry.progress = entry.progress.after(outcome.attempts, outcome.history)
            self._ending[entry.seq] = entry
            self._commits.remove(entry)
            if self._commits.condition.stuck:
                self._follow(entry)
        else:
            self._end(entry, ReceiptOutcome.DELIVERED, outcome, counted=True)

    def _end(
        self, entry: Entry, final: ReceiptOutcome, outcome: Outcome, *, unknown: bool = False, counted: bool = False
    ) -> None:
        if not counted:
            accounting = self._counted()
            if accounting is not None:
                end = Stage.EXPIRED if final is ReceiptOutcome.EXPIRED else Stage.DEAD_LETTERED
                accounting.move(Stage.PENDING, end)
        self._ending[entry.seq] = entry
        self._commits.settle(self._settlement(entry, final, outcome, unknown=unknown))
        if self._commits.condition.stuck:
            self._follow(entry)

    def _settlement(self, entry: Entry, final: ReceiptOutcome, outcome: Outcome, *, unknown: bool) -> Settlement:
        body, operation, now_ms = entry.body, entry.operation, self._time.now_ms()
        entry.progress = whole = entry.progress.after(outcome.attempts, outcome.history)
        reason = None
        if final is ReceiptOutcome.DEAD_LETTERED:
            assert outcome.error is not None  # noqa: S101 - that is why
            reason = DeadLetterReason(outcome.error.to_wire(), unknown, whole.attempts, whole.history)
        duration_ms = float(max(0, now_ms - body.accepted_ms))
        outcome = Outcome(result=outcome.result, error=outcome.error, attempts=whole.attempts, duration_ms=duration_ms)
        answer = None
        if operation.correlation_id is not None or body.scope is not None or body.receipts:
            receipt = body.receipts and not body.replayed
            answer = self._responder.answer(operation, outcome, receipt=receipt, final=final)
        return Settlement(entry, outcome, now_ms, answer, reason)

    def _counted(self) -> Accounting | None:
        """Return the integration's counts; count what waits here first where they are new, as of a replaced one."""
        connection = self._connection
        accounting = None if connection is None else connection.accounting
        if accounting is not self._accounting:
            self._accounting = accounting
            if accounting is not None:
                accounting.accept(Stage.PENDING, self.pending - len(self._running) - len(self._ending))
        return accounting

    # --- from disk

    def _arrived(self, entry: Entry) -> None:
        key = entry.body.key
        if key is not None and key in self._keys:
            self._keys.passed_over(key, entry.seq)
        else:
            self._hold(entry)

    def _hold(self, entry: Entry) -> None:
        if entry.seq in self._ending:  # it is still on disk, which fails and does not take its end
            return
        self._held += 1
        self._held_bytes += entry.size
        key = entry.body.key
        if key is not None:
            if key in self._heads:
                followers = self._followers.setdefault(key, deque())
                followers.append(entry)
                if len(followers) >= _MOST_FOLLOWERS:
                    self._keys.fall_behind(key, entry.seq)
                return
            self._heads[key] = entry.seq
        self._ready.append(entry)

    def _advance(self, key: str) -> None:
        """Let the next entry of a key start, as its head has ended."""
        followers = self._followers.get(key)
        if followers:
            entry = followers.popleft()
            self._heads[key] = entry.seq
            self._ready.append(entry)
            return
        if followers is not None:
            del self._followers[key]
        del self._heads[key]
        self._keys.nothing_held(key)

    def _load(self, now: float) -> None:
        if self._loading or not self._has_room():
            return
        room = WINDOW - self._held
        due = self._keys.take_due(now, room)
        if due:
            self._read(lambda store: store.by_seq(due), self._due_read)
            return
        if len(self._ready) >= WINDOW // 2:
            return
        name, cursor, size = self.lane, self._cursor, _WINDOW_BYTES - self._held_bytes
        behind = self._keys.behind()
        if behind is not None:
            key, after, last = behind
            most = min(room, _MOST_FOLLOWERS)

            def back(entries: list[Entry]) -> None:
                self._key_read(key, last, entries, full=len(entries) == most or sum(e.size for e in entries) >= size)

            self._read(lambda store: store.of_key(name, on_disk(key), (after, last), most, size), back)
        elif self._cursor < self._newest and not self._too_many_blocked():
            self._scanning = True
            left_out = self._keys.all
            excluded = [on_disk(key) for key in left_out]
            self._read(
                lambda store: store.scan(name, cursor, excluded, room, size),
                lambda found: self._scanned(found, left_out),
            )

    def _read(self, act: Callable[[Store], Any], back: Callable[[Any], None]) -> None:
        self._loading = True
        self._commits.on_thread(act, back)

    def _due_read(self, entries: list[Entry]) -> None:
        self._loading = False
        for entry in entries:
            self._hold(entry)
        self.schedule_pump()

    def _key_read(self, key: str, last: int, entries: list[Entry], *, full: bool) -> None:
        self._loading = False
        self._keys.were_read(key, entries[-1].seq if full else last)
        for entry in entries:
            self._hold(entry)
        if key not in self._heads:
            self._keys.nothing_held(key)
        self.schedule_pump()

    def _scanned(self, found: Scan, left_out: list[str]) -> None:
        self._loading = self._scanning = False
        self._keys.all_passed_over(left_out, self._cursor, found.upto)
        self._cursor = max(self._cursor, found.upto)
        self._newest = max(self._newest, found.last)
        for entry in found.entries:
            self._arrived(entry)
        self.schedule_pump()

    def sweep(self) -> None:
        """End entries, on disk or waiting, whose deadline has passed or that are too old."""
        if self._loading or not self.pending:
            return
        name, now_ms = self.lane, self._time.now_ms()
        oldest = now_ms - self._max_age_ms
        self._read(lambda store: store.overdue(name, now_ms, oldest, _SWEEP), self._swept)

    def _swept(self, entries: list[Entry]) -> None:
        self._loading = False
        now_ms = self._time.now_ms()
        busy = self._running.keys() | self._ending.keys() | {one.seq for one in self._beginning}
        late = {entry.seq: entry for entry in entries if entry.seq not in busy}
        ready = {one.seq for one in self._ready if one.seq in late}
        self._ready = deque(one for one in self._ready if one.seq not in late)
        # All are taken out before the first one ends: where the disk fails, that lets the next one of its key start.
        for entry in late.values():
            if entry.seq not in ready and not self._unfollow(entry):
                self._held += 1  # until its end is committed
                self._held_bytes += entry.size
        for entry in late.values():
            over = self._end_if_over(entry, now_ms)
            assert over, "only what is late is swept"  # noqa: S101
        self.schedule_pump()

    def _unfollow(self, entry: Entry) -> bool:
        """Remove an entry from those that follow the head of its key; return False where it is not among them."""
        key = entry.body.key
        followers = None if key is None else self._followers.get(key)
        for at, one in enumerate(followers or ()):
            if one.seq == entry.seq:
                assert followers is not None  # noqa: S101 - it was just found there
                del followers[at]
                return True
        return False


def _key_of(entry: Entry) -> Key:
    """Return the ordering key of an entry; where it has none, one that is its own."""
    key: str | None = entry.body.key
    return entry.seq if key is None else key
