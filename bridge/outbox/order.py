"""Keeps the order within each key: which keys wait, and which of their entries are only on disk."""

import heapq
import itertools
from collections.abc import Iterable
from typing import Final

import msgspec

Key = str | int
"""An ordering key. An entry without one has its own sequence number in place of it, so that no other waits for it."""

#: Before a key on disk that has it itself at the start; alone, it stands for no key.
_NO_KEY: Final = "\x01"


def on_disk(key: str | None) -> str:
    """Return an ordering key as it is on disk; None: the entry has none."""
    if key is None:
        return _NO_KEY
    return _NO_KEY + key if key.startswith(_NO_KEY) else key


class Blocked(msgspec.Struct):
    """A key of which one entry waits for its next try. Entries are given by their sequence numbers.

    Attributes:
        seq: The entry that waits. No later one of the key has started.
        due: When it is tried, in monotonic seconds.
        last: The last entry of the key that may be on disk.
        trying: Whether it is being tried.
    """

    seq: int
    due: float
    last: int
    trying: bool = False


class OrderingKeys:
    """The keys of one integration whose new entries are not held in memory. Sequence numbers stand for entries.

    A key is *blocked* while an entry of it waits for its next try. A key is *behind* while more of its entries wait
    than are held in memory, or after it was blocked: they are read from disk, in order, before a newer one may start.
    """

    def __init__(self) -> None:
        self._blocked: dict[Key, Blocked] = {}
        self._behind: dict[str, tuple[int, int]] = {}
        self._to_read: dict[str, None] = {}  # those behind of which nothing is in memory
        self._due: list[tuple[float, int, Key]] = []
        self._numbers = itertools.count()  # those due at the same time are tried in the order in which they failed

    def __contains__(self, key: Key) -> bool:
        return key in self._blocked or key in self._behind

    def __len__(self) -> int:
        return len(self._blocked)

    @property
    def all(self) -> list[str]:
        """All these keys: a scan of the disk leaves their entries out."""
        return [*(key for key in self._blocked if isinstance(key, str)), *self._behind]

    def passed_over(self, key: str, seq: int) -> None:
        """Note that an entry of such a key is on disk and was not read."""
        if key in self._blocked:
            one = self._blocked[key]
            one.last = max(one.last, seq)
        else:
            after, last = self._behind[key]
            self._behind[key] = after, max(last, seq)

    def all_passed_over(self, keys: Iterable[str], after: int, upto: int) -> None:
        """Note that a scan of what comes after an entry, up to another, has left these keys out."""
        for key in keys:
            if key in self:
                self.passed_over(key, upto)
            else:  # it has gone on since the scan was asked for
                self._behind[key] = after, upto
                self._to_read[key] = None

    def block(self, key: Key, seq: int, *, due: float, last: int = 0) -> None:
        """Block a key: an entry of it waits for its next try.

        Args:
            key: The key.
            seq: The entry.
            due: When it is tried, in monotonic seconds.
            last: The last entry of the key that was in memory and is not any more.
        """
        before = self._blocked.pop(key, None)
        if before is not None:
            last = max(last, before.last)
        elif isinstance(key, str):
            last = max(last, self._behind.pop(key, (0, 0))[1])
            self._to_read.pop(key, None)
        self._blocked[key] = Blocked(seq, due, last)
        self._push(due, key)

    def ended(self, key: Key, seq: int) -> None:
        """Note that an entry has ended: if its key was blocked by it, it is so no more."""
        one = self._blocked.get(key)
        if one is None or one.seq != seq:
            return
        del self._blocked[key]
        if one.last > seq and isinstance(key, str):
            self._behind[key] = seq, one.last
            self._to_read[key] = None

    def fall_behind(self, key: str, seq: int) -> None:
        """Note that no entry of a key after this one is held in memory, as enough of them are."""
        self._behind.setdefault(key, (seq, seq))

    def nothing_held(self, key: str) -> None:
        """Note that no entry of a key is in memory: if it is behind, the next ones are to be read."""
        if key in self._behind:
            after, last = self._behind[key]
            if after < last:
                self._to_read[key] = None
            else:
                del self._behind[key]

    def all_due(self, now: float) -> None:
        """Make all blocked keys due now."""
        for key, one in self._blocked.items():
            if not one.trying and one.due > now:
                one.due = now
                self._push(now, key)

    def take_due(self, now: float, most: int) -> list[int]:
        """Return the entries that are due, at most `most`; they count as being tried from now on."""
        found: list[int] = []
        while self._due and self._due[0][0] <= now and len(found) < most:
            due, _, key = heapq.heappop(self._due)
            one = self._blocked.get(key)
            if one is not None and not one.trying and one.due == due:
                one.trying = True
                found.append(one.seq)
        return found

    def next_due(self) -> float | None:
        """Return when the next entry is due, in monotonic seconds; None where none is."""
        while self._due:
            due, _, key = self._due[0]
            one = self._blocked.get(key)
            if one is not None and not one.trying and one.due == due:
                return due
            heapq.heappop(self._due)
        return None

    def behind(self) -> tuple[str, int, int] | None:
        """Return a key whose entries are to be read from disk: those after the second value, up to the third."""
        for key in self._to_read:
            return key, *self._behind[key]
        return None

    def were_read(self, key: str, upto: int) -> None:
        """Note that the entries of a key were read up to `upto`."""
        self._to_read.pop(key, None)
        last = self._behind[key][1]
        if upto < last:
            self._behind[key] = upto, last
        else:
            del self._behind[key]

    def _push(self, due: float, key: Key) -> None:
        heapq.heappush(self._due, (due, next(self._numbers), key))
