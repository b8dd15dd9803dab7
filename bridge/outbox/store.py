"""Stores entries, dead letters and answers in SQLite. Everything here runs on the store's thread.

Statements write many rows at a time: Python releases its lock for each statement, and while the event loop is busy it
takes long to get it back.
"""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from bridge.core.responder import Answer
from bridge.outbox.commit_mark import Mark
from bridge.outbox.entry import Entry, decode_entry, encode
from bridge.outbox.order import on_disk
from bridge.outbox.ports import Storage
from bridge.outbox.sqlite import sqlite3
from bridge.outbox.write_batch import Acceptance, Settlement, WriteBatch

#: How long an answer is kept, in milliseconds, and the share of `max_bytes` that all answers may take.
KEPT_MS: Final = 24 * 3600 * 1000
_KNOWN_SHARE: Final = 4
#: Bytes that a row counts for beyond its content.
OVERHEAD: Final = 100
#: Sequence numbers that are reserved at a time; those that are not used are left out.
_RESERVE: Final = 1 << 20
#: When `max_bytes` is reached, nothing is accepted until one part in so many is free again.
_HYSTERESIS: Final = 20
_MOST_ROWS: Final = 128
_MOST_ASKERS: Final = 100
_ANSWER: Final = msgspec.msgpack.Decoder(Answer)


class Totals(msgspec.Struct):
    """Numbers and sizes of what is in the store.

    Attributes:
        pending: How many entries.
        bytes: Their size.
        oldest_ms: When the oldest entry was accepted, Unix time in milliseconds; None where there is none.
        letters: How many dead letters.
        letter_bytes: Their size.
        known_bytes: The size of the remembered answers.
    """

    pending: int = 0
    bytes: int = 0
    oldest_ms: int | None = None
    letters: int = 0
    letter_bytes: int = 0
    known_bytes: int = 0


class LetterCount(msgspec.Struct, frozen=True):
    """The dead letters of one integration.

    Attributes:
        count: How many there are.
        since: When the oldest one that was there at the start, or else the first one since, became a dead letter; Unix
            time in milliseconds.
    """

    count: int
    since: int


class Scan(NamedTuple):
    """The result of a scan.

    Attributes:
        entries: Entries, in order.
        upto: The sequence number up to which these are all.
        last: The last sequence number that any entry has got so far.
    """

    entries: list[Entry]
    upto: int
    last: int


class Missing(NamedTuple):
    """What an earlier run had committed, and is not there any more.

    Attributes:
        commits: How many transactions.
        entries: How many accepted events were in these; some may have been delivered.
        replaced: Whether the whole database is another one.
    """

    commits: int
    entries: int
    replaced: bool

    def __str__(self) -> str:
        """Return it as one line for a person."""
        what = f"{self.commits} commits of an earlier run are missing, with {self.entries} accepted events"
        why = "is not the one of before" if self.replaced else "or the log beside it was cut, removed or replaced"
        return f"{what}; the database {why}"


class Store:
    """The database, and the totals of what is in it.

    Attributes:
        totals: As of the last commit.
        full: Whether `max_bytes` was reached.
        reserve: Room on the disk that is given back when the disk is full.
        missing: What an earlier run had committed and the database does not have; None where nothing is missing.
    """

    def __init__(self, storage: Storage, *, max_bytes: int) -> None:
        """Open the database.

        Raises:
            OutboxError: See `schema.connect`.
        """
        self.reserve = storage.reserve(max_bytes=max_bytes)
        # What a checkpoint adds to the database must fit into the reserve.
        self._database = storage.connect(longest_log=self.reserve.size // 2)
        self._max_bytes = max_bytes
        self.full = False
        self.totals = Totals()
        self._asked: dict[int, list[str]] = {}
        self._count()
        self._next: int = self._one("SELECT value FROM meta WHERE name='next_seq'")[0]
        self._unwritten: list[Entry] = []
        self._mark = storage.mark()
        self._committed = self._entries_and_commits()
        self._entered = self._committed.entries
        self.missing = self._find_missing()
        self._reserved = self._next

    def close(self) -> None:
        """Close the database."""
        self._database.close()
        self._mark.close()

    def _entries_and_commits(self) -> Mark:
        """Return how much was committed, by the database itself."""
        row = self._one("SELECT value FROM meta WHERE name='committed'")
        return Mark(uuid.uuid4().bytes) if row is None else Mark(*msgspec.msgpack.decode(row[0]))

    def _find_missing(self) -> Missing | None:
        """Compare the mark outside with the database; write both, so that a loss is found once."""
        before, now, missing = self._mark.read(), self._committed, None
        if before is not None and before.database != now.database:
            if before.entries:
                missing = Missing(before.commits, before.entries, replaced=True)
        elif before is not None and before.commits > now.commits:
            missing = Missing(before.commits - now.commits, before.entries - now.entries, replaced=False)
            self._committed = before
            self._entered = before.entries
        if before is not None:
            self._next = max(self._next, before.next_seq)  # no number is given twice
        try:
            self.begin()
            if self._next > (self._one("SELECT value FROM meta WHERE name='next_seq'")[0]):
                self.execute("UPDATE meta SET value=? WHERE name='next_seq'", (self._next,))
            self.commit()
        except sqlite3.Error:  # a disk that is full; it is found again at the next start
            self.rollback()
        return missing

    def execute(self, sql: str, values: Sequence[Any] = ()) -> "sqlite3.Cursor":
        """Execute one SQL statement.

        Raises:
            sqlite3.Error: It has failed.
        """
        return self._database.execute(sql, values)

    def _one(self, sql: str, values: Sequence[Any] = ()) -> Any:
        return self._database.execute(sql, values).fetchone()

    def _count(self) -> None:
        pending, size = self._one("SELECT count(*), coalesce(sum(size), 0) FROM entry")
        letters, letter_size = self._one("SELECT count(*), coalesce(sum(size), 0) FROM letter")
        known, endings = self._one("SELECT count(*), coalesce(sum(length(ending)), 0) FROM known WHERE ended_ms > 0")
        self.totals = Totals(pending, size, self._oldest(), letters, letter_size, endings + known * OVERHEAD)
        self._asked.clear()
        for seq, correlation_id in self.execute("SELECT seq, correlation_id FROM asker"):
            self._asked.setdefault(seq, []).append(correlation_id)

    def _oldest(self) -> int | None:
        row = self._one("SELECT accepted_ms FROM entry ORDER BY seq LIMIT 1")
        return None if row is None else row[0]

    # --- writing

    def begin(self) -> None:
        """Begin a transaction."""
        self.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Commit the transaction: when this returns it is on disk."""
        oldest_ms = self._oldest()
        mark = Mark(self._committed.database, self._committed.commits + 1, self._entered, self._next)
        self.execute("INSERT OR REPLACE INTO meta VALUES ('committed', ?)", (encode(mark),))
        self.execute("COMMIT")
        self.totals.oldest_ms = oldest_ms
        self._committed = mark
        self._mark.write(mark)

    def rollback(self) -> None:
        """Undo the transaction, and correct the totals. Entries that were accepted in it are not stored."""
        if self._database.in_transaction:
            self.execute("ROLLBACK")
        self._reserved = self._next  # whatever was set aside may be undone, too
        self._entered = self._committed.entries
        self._count()

    def apply(self, batch: WriteBatch) -> None:
        """Write a batch and commit it. It also sets the results in the batch's acceptances and settlements.

        Raises:
            sqlite3.Error: It cannot be written; the caller has to roll back.
        """
        self.begin()
        if batch.settlements or batch.delivered:
            self._settle(batch.settlements, batch.delivered)
        if batch.progress:
            self._note(batch.progress)
        if batch.begun:
            begun = _json([one.seq for one in batch.begun])
            self.execute("UPDATE entry SET begun=1 WHERE seq IN (SELECT value FROM json_each(?))", (begun,))
        if batch.acceptances:
            self._accept(batch.acceptances)
        self.commit()

    def shorten_log(self) -> None:
        """Copy the log into the database and empty its file, so that the room is free for what is written next.

        Raises:
            sqlite3.Error: The disk has no room for what the database would get.
        """
        self.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def pretend(self, progress: list[Entry]) -> None:
        """Let entries be read as if their progress, which cannot be written now, had been written."""
        self._unwritten = progress

    def add(self, **more: int) -> None:
        """Add to the totals, by name."""
        for name, count in more.items():
            setattr(self.totals, name, getattr(self.totals, name) + count)

    def insert(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows into a table, or replace those with the same primary key."""
        for start in range(0, len(rows), _MOST_ROWS):
            part = rows[start : start + _MOST_ROWS]
            row = f"({','.join('?' * len(part[0]))})"
            values = ",".join([row] * len(part))
            self.execute(f"INSERT OR REPLACE INTO {table} VALUES {values}", [value for one in part for value in one])  # noqa: S608 - our own names

    def _settle(self, settlements: list[Settlement], delivered: list[Entry]) -> None:
        for one in settlements:
            if one.dead_letter is not None:
                self._insert_dead_letter(one)
        ended = [*[one.entry for one in settlements], *delivered]
        seqs = _json([entry.seq for entry in ended])
        self.execute("DELETE FROM entry WHERE seq IN (SELECT value FROM json_each(?))", (seqs,))
        self.add(pending=-len(ended), bytes=-sum([entry.size for entry in ended]))
        known = []
        for one in settlements:
            if self._asked and one.entry.seq in self._asked:
                one.askers = self._asked.pop(one.entry.seq)
                self.execute("DELETE FROM asker WHERE seq=?", (one.entry.seq,))
            if one.entry.body.scope is not None and not one.entry.body.replayed:
                known.append((one.entry.body.scope, one.entry.seq, one.ended_ms, encode(one.answer)))
        if known:
            self.insert("known", known)
            self.add(known_bytes=sum(len(row[3]) + OVERHEAD for row in known))
            self._forget(settlements[-1].ended_ms, most=2 * len(known) + 64)

    def _insert_dead_letter(self, one: Settlement) -> None:
        reason = encode(one.dead_letter)
        moved = self.execute(
            "INSERT INTO letter SELECT seq, ?, size + ?, ?, body, ? FROM entry WHERE seq=?",
            (one.entry.body.integration, len(reason), one.ended_ms, reason, one.entry.seq),
        )
        assert moved.rowcount == 1, "an entry that is settled is on disk"  # noqa: S101
        self.add(letters=1, letter_bytes=one.entry.size + len(reason))

    def _forget(self, now_ms: int, *, most: int) -> None:
        """Remove answers that are too old, and the oldest ones where all together are too large."""
        too_many = self.totals.known_bytes > self._max_bytes // _KNOWN_SHARE
        gone = self.execute(
            f"DELETE FROM known WHERE scope IN (SELECT scope FROM known WHERE ended_ms < ? ORDER BY ended_ms LIMIT ?)"  # noqa: S608
            f" RETURNING length(ending) + {OVERHEAD}",
            (now_ms + 1 if too_many else now_ms - KEPT_MS, most),
        ).fetchall()
        if gone:
            self.add(known_bytes=-sum(row[0] for row in gone))

    def _note(self, entries: list[Entry]) -> None:
        for one in entries:
            self.execute("UPDATE entry SET begun=0, progress=? WHERE seq=?", (encode(one.progress), one.seq))

    # --- accepting

    def _accept(self, acceptances: list[Acceptance]) -> None:
        known = self._known([one.entry.body.scope for one in acceptances if one.entry.body.scope is not None])
        rows = []
        noted = []
        for one in acceptances:
            one.taken, one.answer = False, None  # set where it was tried before
            entry, scope = one.entry, one.entry.body.scope
            if scope is not None and (before := known.get(scope)) is not None:
                seq, answer = before
                if answer is not None:
                    one.answer = _ANSWER.decode(answer)
                elif entry.event.correlation_id is not None:
                    self._ask(seq, entry.event.correlation_id)
                continue
            one.refusal = self._refusal(entry.size)
            if one.refusal is not None:
                continue
            one.taken, entry.seq = True, self.take_seq()
            body = entry.body
            rows.append(
                (
                    entry.seq,
                    entry.lane,
                    on_disk(body.key),
                    0,
                    entry.size,
                    body.accepted_ms,
                    body.deadline_ms,
                    one.encoded,
                    None,
                )
            )
            self.totals.pending += 1
            self.totals.bytes += entry.size
            if scope is not None:
                known[scope] = entry.seq, None
                noted.append((scope, entry.seq, None, None))
        self._entered += len(rows)
        self.insert("entry", rows)
        self.insert("known", noted)

    def _known(self, scopes: list[bytes]) -> dict[bytes, tuple[int, bytes | None]]:
        found: dict[bytes, tuple[int, bytes | None]] = {}
        for start in range(0, len(scopes), _MOST_ROWS):
            part = scopes[start : start + _MOST_ROWS]
            places = ",".join("?" * len(part))
            for scope, seq, answer in self.execute(
                f"SELECT scope, seq, ending FROM known WHERE scope IN ({places})",  # noqa: S608
                part,
            ):
                found[scope] = seq, answer
        return found

    def _ask(self, seq: int, correlation_id: str) -> None:
        askers = self._asked.setdefault(seq, [])
        if correlation_id not in askers and len(askers) < _MOST_ASKERS:
            askers.append(correlation_id)
            self.execute("INSERT OR IGNORE INTO asker VALUES (?, ?)", (seq, correlation_id))

    def _refusal(self, size: int) -> str | None:
        totals = self.totals
        room = self._max_bytes - totals.bytes - totals.letter_bytes - size
        if self.full and room >= self._max_bytes // _HYSTERESIS:
            self.full = False
        elif room < 0:
            self.full = True
        return f"the outbox is full: {self._max_bytes} bytes (`max_bytes`)" if self.full else None

    def check_room(self) -> None:
        """Update `full`: there may be room again."""
        self._refusal(0)

    def take_seq(self) -> int:
        """Return the next sequence number; none is ever returned twice."""
        if self._next == self._reserved:
            self._reserved = self._next + _RESERVE
            self.execute("UPDATE meta SET value=? WHERE name='next_seq'", (self._reserved,))
        self._next += 1
        return self._next - 1

    # --- reading

    def lanes(self) -> dict[str, int]:
        """Return how many entries wait in each lane; the column `integration` of an entry is its lane."""
        return dict(self.execute("SELECT integration, count(*) FROM entry GROUP BY integration").fetchall())

    def letters(self) -> dict[str, LetterCount]:
        """Return the dead letters of each integration that has any."""
        if not self.totals.letters:
            return {}
        found = self.execute("SELECT integration, count(*), min(at_ms) FROM letter GROUP BY integration").fetchall()
        return {integration: LetterCount(count, since) for integration, count, since in found}

    def scan(self, lane: str, after: int, excluded: Iterable[str], most: int, room: int) -> Scan:
        """Return the next entries of a lane in order, without those of some keys.

        Args:
            lane: The lane.
            after: The sequence number after which to begin.
            excluded: The keys to leave out, as they are on disk.
            most: How many entries at most.
            room: How many bytes at most, about.
        """
        rows = self._rows(
            "WHERE seq > ? AND integration = ? AND key NOT IN (SELECT value FROM json_each(?)) ORDER BY seq LIMIT ?",
            (after, lane, _json(list(excluded)), most),
            room,
        )
        last = self._next - 1
        stopped = len(rows) == most or sum(entry.size for entry in rows) >= room
        return Scan(rows, rows[-1].seq if stopped else last, last)

    def of_key(self, lane: str, key: str, between: tuple[int, int], most: int, room: int) -> list[Entry]:
        """Return a key's entries after the first number, up to the second; key as on disk, limits as in `scan`."""
        return self._rows(
            "WHERE integration = ? AND key = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
            (lane, key, *between, most),
            room,
        )

    def by_seq(self, seqs: list[int]) -> list[Entry]:
        """Return the entries with these sequence numbers, in order."""
        return self._rows("WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq", (_json(seqs),), 1 << 62)

    def overdue(self, lane: str, now_ms: int, accepted_before_ms: int, most: int) -> list[Entry]:
        """Return entries whose deadline has passed or that were accepted too long ago, at most `most` of each."""
        late = self._rows(
            "WHERE deadline_ms <= ? AND integration = ? ORDER BY deadline_ms LIMIT ?",
            (now_ms, lane, most),
            1 << 24,
        )
        old: list[int] = []
        # In the order of acceptance, so that the first one that is young enough ends the search.
        for seq, whose, accepted_ms in self.execute("SELECT seq, integration, accepted_ms FROM entry ORDER BY seq"):
            if accepted_ms >= accepted_before_ms or len(old) == most:
                break
            if whose == lane:
                old.append(seq)
        return list({one.seq: one for one in [*late, *self.by_seq(old)]}.values())

    def _rows(self, where: str, values: Sequence[Any], room: int) -> list[Entry]:
        found = []
        for row in self.execute(f"SELECT seq, body, size, progress, begun FROM entry {where}", values):  # noqa: S608
            found.append(decode_entry(*row))
            room -= row[2]
            if room <= 0:
                break
        if self._unwritten:
            later = {one.seq: one.progress for one in self._unwritten}
            for entry in found:
                if entry.seq in later:
                    entry.progress, entry.begun = later[entry.seq], False
        return found


def _json(values: list[Any]) -> str:
    return msgspec.json.encode(values).decode()
