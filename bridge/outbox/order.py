"""Keeps the order within each key: which keys wait, and which of their entries are only on disk."""

import heapq
from bisect import insort
from collections.abc import Collection
from dataclasses import dataclass, field


@dataclass(slots=True)
class Blocked:
    """A key with entries that wait for their next try. Entries are given by their sequence numbers.

    Attributes:
        waits: The entries that wait, in order; the first is tried before the others.
        due: When it is tried, in monotonic seconds.
        trying: The one of them that is being tried; 0 for none. An entry that already ran when the first one failed may
            end at any time, and must not make that one start a second time.
        after: The last entry of the key that was started.
        last: The last entry of the key that may be on disk.
    """

    due: float
    after: int
    last: int
    waits: list[int] = field(default_factory=list)
    trying: int = 0


class OrderingKeys:
    """The keys of one integration whose new entries may not start at once. Entries are given by their sequence numbers.

    A key is *blocked* while an entry of it waits for its next try. Later entries of it are not held in memory. When
    none waits any more, the key is *behind*: its entries are read from disk, in order, before a newer one may start.
    """

    def __init__(self) -> None:
        self._blocked: dict[str, Blocked] = {}
        self._behind: dict[str, tuple[int, int]] = {}
        self._due: list[tuple[float, str]] = []

    def __contains__(self, key: str) -> bool:
        return key in self._blocked or key in self._behind

    def __len__(self) -> int:
        return len(self._blocked)

    @property
    def all(self) -> list[str]:
        """All these keys: a scan of the disk leaves their entries out."""
        return [*self._blocked, *self._behind]

    def passed_over(self, key: str, seq: int) -> None:
        """Note that an entry of such a key is on disk and was not read."""
        if key in self._blocked:
            one = self._blocked[key]
            one.last = max(one.last, seq)
        else:
            after, last = self._behind[key]
            self._behind[key] = after, max(last, seq)

    def all_passed_over(self, keys: list[str], upto: int) -> None:
        """Note that a scan up to `upto` has left these keys out."""
        for key in keys:
            if key in self:
                self.passed_over(key, upto)

    def block(self, key: str, seq: int, *, due: float, started: int, put_back: Collection[int] = ()) -> None:
        """Block a key: an entry of it waits for its next try.

        Args:
            key: The key.
            seq: The entry.
            due: When it is tried, in monotonic seconds.
            started: The last entry of the key that was started.
            put_back: Entries of the key that had not started and were removed from memory.
        """
        one = self._blocked.get(key)
        if one is None:
            last = self._behind.pop(key, (0, 0))[1]
            one = self._blocked[key] = Blocked(due, started, max(last, *put_back, 0))
        if one.trying == seq or one.trying in put_back:
            one.trying = 0
        one.after = max(one.after, started)
        one.due = max(one.due, due) if one.waits else due
        if seq not in one.waits:
            insort(one.waits, seq)
        heapq.heappush(self._due, (one.due, key))

    def must_wait(self, key: str, seq: int) -> bool:
        """Return whether an earlier entry of the key waits."""
        one = self._blocked.get(key)
        return one is not None and one.waits[0] < seq

    def ended(self, key: str, seq: int, now: float) -> None:
        """Remove an entry that has ended; if no other of its key waits, the key is not blocked any more."""
        one = self._blocked.get(key)
        if one is None or seq not in one.waits:
            return
        one.waits.remove(seq)
        if one.trying == seq:
            one.trying = 0
        if one.waits:
            one.due = now
            heapq.heappush(self._due, (now, key))
            return
        del self._blocked[key]
        if one.after < one.last:
            self._behind[key] = one.after, one.last

    def all_due(self, now: float) -> None:
        """Make all blocked keys due now."""
        for key, one in self._blocked.items():
            if not one.trying and one.due > now:
                one.due = now
                heapq.heappush(self._due, (now, key))

    def take_due(self, now: float, most: int) -> list[int]:
        """Return the first entry of each key that is due, at most `most`; they count as being tried from now on."""
        found: list[int] = []
        while self._due and self._due[0][0] <= now and len(found) < most:
            due, key = heapq.heappop(self._due)
            one = self._blocked.get(key)
            if one is not None and not one.trying and one.due == due:
                one.trying = one.waits[0]
                found.append(one.trying)
        return found

    def next_due(self) -> float | None:
        """Return when the next key is due, in monotonic seconds; None where none is."""
        while self._due:
            due, key = self._due[0]
            one = self._blocked.get(key)
            if one is not None and not one.trying and one.due == due:
                return due
            heapq.heappop(self._due)
        return None

    def behind(self) -> tuple[str, int, int] | None:
        """Return a key whose entries are to be read from disk: those after the second value, up to the third."""
        for key, (after, last) in self._behind.items():
            return key, after, last
        return None

    def caught_up(self, key: str, upto: int) -> None:
        """Note that the entries of a key were read up to `upto`."""
        _, last = self._behind[key]
        if upto >= last:
            del self._behind[key]
        else:
            self._behind[key] = upto, last
