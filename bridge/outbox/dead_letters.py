"""Lists, replays and discards dead letters. The functions here run on the store's thread."""

from collections.abc import Callable, Collection
from typing import Any, Final

import msgspec

from bridge.core.bytes_object import with_objects
from bridge.core.errors import InvalidError, RejectedError
from bridge.core.model import Event, Letters
from bridge.core.payloads import DeadLetter, Letter, LetterEvent, LetterList
from bridge.core.values import with_text_keys
from bridge.outbox.entry import Entry, decode_body, decode_entry, encode
from bridge.outbox.order import on_disk
from bridge.outbox.store import Store
from bridge.outbox.write_batch import DeadLetterReason

#: Dead letters that one transaction moves.
CHUNK: Final = 500
#: Ids that an error names.
_MOST_NAMED: Final = 10
_REASON: Final = msgspec.msgpack.Decoder(DeadLetterReason)


class Selection(msgspec.Struct, frozen=True):
    """Selects dead letters, by default all.

    Attributes:
        integration: Only those of this integration.
        seqs: Only those with these sequence numbers.
        after: Only those after this sequence number.
    """

    integration: str | None = None
    seqs: list[int] | None = None
    after: int = 0

    @classmethod
    def of(cls, letters: Letters) -> "Selection":
        """Return the selection that a command's payload describes.

        Raises:
            InvalidError: An id is not an id of a dead letter.
        """
        seqs = None if letters.ids is None else [_seq(one) for one in letters.ids]
        return cls(letters.integration, seqs, 0 if letters.after is None else _seq(letters.after))

    def check_all_found(self, found: Collection[int]) -> None:
        """Check that there is a dead letter for each id that was named; `found` are those that there are.

        Raises:
            RejectedError: There is none for some of them.
        """
        missing = [str(seq) for seq in self.seqs or () if seq not in found]
        if missing:
            shown = ", ".join(missing[:_MOST_NAMED]) + (", …" if len(missing) > _MOST_NAMED else "")
            whose = "" if self.integration is None else f" of {self.integration}"
            raise RejectedError(f"there is no dead letter{whose} {shown}; nothing was done", code="not_found")

    def where(self) -> tuple[str, list[Any]]:
        """Return the selection as an SQL condition and its values."""
        terms, values = ["seq > ?"], [self.after]
        if self.integration is not None:
            terms.append("integration = ?")
            values.append(self.integration)  # type: ignore[arg-type]
        if self.seqs is not None:
            terms.append("seq IN (SELECT value FROM json_each(?))")
            values.append(msgspec.json.encode(self.seqs).decode())  # type: ignore[arg-type]
        return " AND ".join(terms), values


def _seq(letter_id: str) -> int:
    if letter_id.isascii() and letter_id.isdigit() and len(letter_id) < 19:
        return int(letter_id)
    raise InvalidError(f"{letter_id[:40]!r} is no id of a dead letter")


def found_seqs(store: Store, wanted: Selection) -> set[int]:
    """Return the sequence numbers of the dead letters of a selection."""
    where, values = wanted.where()
    return {seq for (seq,) in store.execute(f"SELECT seq FROM letter WHERE {where}", values)}  # noqa: S608 - our own names


def list_letters(
    store: Store, wanted: Selection, limit: int, room: int, fits: Callable[[LetterList], bool]
) -> LetterList:
    """Return dead letters, oldest first, at most `limit` and at most `room` bytes, and how many match in all.

    A letter that alone is larger than `room`, or does not fit, is cut: its payload and history are left out. So each
    letter can be read, whatever the others have.

    Args:
        store: Has the letters.
        wanted: Which letters.
        limit: How many at most.
        room: Bytes.
        fits: Returns whether a response can have this list, whatever its size.
    """
    where, values = wanted.where()
    (total,) = store.execute(f"SELECT count(*) FROM letter WHERE {where}", values).fetchone()  # noqa: S608 - our own names
    letters: list[Letter] = []
    rows = store.execute(
        f"SELECT seq, at_ms, body, death FROM letter WHERE {where} ORDER BY seq LIMIT ?",  # noqa: S608
        [*values, limit],
    )
    for seq, at_ms, body, death in rows:
        letter = _letter(seq, at_ms, body, death)
        if not fits(LetterList(letters=[letter], total=total)):
            letter = _cut(letter)
        size = len(with_objects(letter))
        if size > room and not letters:
            letter = _cut(letter)
        elif size > room:
            break
        letters.append(letter)
        room -= size
    return LetterList(letters=letters, total=total)


def _cut(letter: Letter) -> Letter:
    event = msgspec.structs.replace(letter.event, payload=None)
    return msgspec.structs.replace(letter, event=event, history=(), cut=True)


def _letter(seq: int, at_ms: int, body: bytes, death: bytes) -> Letter:
    entry, why = decode_entry(seq, body, 0, None, 0), _REASON.decode(death)
    return Letter(
        letter_id=str(seq),
        integration=entry.body.integration,
        route=entry.body.route,
        operation=entry.body.name,
        idempotency_key=entry.body.idempotency_key,
        accepted_ms=entry.body.accepted_ms,
        at=at_ms,
        error=why.error,
        unknown=why.unknown,
        attempts=why.attempts,
        history=why.history,
        event=_event(entry.event),
    )


def event_payload(entry: Entry, why: DeadLetterReason) -> DeadLetter:
    """Return the payload of `resilience.<id>.dead_letter` for an entry that has become a dead letter."""
    return DeadLetter(
        integration=entry.operation.integration,
        operation=entry.operation.name,
        cause=entry.operation.cause,
        letter_id=str(entry.seq),
        event=_event(entry.event),
        error=why.error,
        unknown=why.unknown,
        attempts=why.attempts,
        history=why.history,
    )


def _event(event: Event) -> LetterEvent:
    # A reader of JSON must be able to read it, whatever it is.
    return LetterEvent(
        id=event.id,
        event_type=event.event_type,
        payload=with_text_keys(event.payload),
        timestamp=event.timestamp,
        source=event.source,
        correlation_id=event.correlation_id,
        headers=event.headers,
    )


def replay_letters(store: Store, wanted: Selection, most: int, now_ms: int) -> list[Entry]:
    """Move at most `most` dead letters back to the entries, at the end of the order, and return these.

    They keep ordering key, idempotency key and correlation id, and have no deadline any more.
    """
    where, values = wanted.where()
    found = store.execute(
        f"SELECT seq, size, body, length(death) FROM letter WHERE {where} ORDER BY seq LIMIT ?",  # noqa: S608
        [*values, most],
    ).fetchall()
    entries, rows = [], []
    for _, whole, before, more in found:
        body = msgspec.structs.replace(decode_body(before), deadline_ms=None, accepted_ms=now_ms, replayed=True)
        encoded = encode(body)
        seq, size = store.take_seq(), whole - more
        entry = decode_entry(seq, encoded, size, None, 0)
        rows.append((seq, entry.lane, on_disk(body.key), 0, size, now_ms, None, encoded, None))
        entries.append(entry)
        store.add(pending=1, bytes=size)
    store.insert("entry", rows)
    _remove(store, [(row[0], row[1]) for row in found])
    return entries


def discard_letters(store: Store, wanted: Selection, most: int) -> list[str]:
    """Remove at most `most` dead letters; return the integration of each that was removed."""
    where, values = wanted.where()
    found = store.execute(
        f"SELECT seq, size, integration FROM letter WHERE {where} ORDER BY seq LIMIT ?",  # noqa: S608
        [*values, most],
    ).fetchall()
    _remove(store, [(seq, size) for seq, size, _ in found])
    return [integration for _, _, integration in found]


def _remove(store: Store, found: list[tuple[int, int]]) -> None:
    seqs = msgspec.json.encode([seq for seq, _ in found]).decode()
    store.execute("DELETE FROM letter WHERE seq IN (SELECT value FROM json_each(?))", (seqs,))
    store.add(letters=-len(found), letter_bytes=-sum(size for _, size in found))
