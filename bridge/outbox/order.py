"""Keeps the order within each key: which keys wait, and which of their entries are on disk meanwhile."""

import heapq
from bisect import insort
from collections.abc import Collection
from dataclasses import dataclass, field


@dataclass(slots=True)
class Blocked:
    """A key of which something waits for its next try.

    Attributes:
        waits: The entries that do, in their order; the first is tried before the others.
        due: When, monotonic.
        trying: Which of them is on its way; 0 for none. One that was already under way when the first one failed may
            end at any time, and must not set that one off a second time.
        after: Up to where the key's entries were started.
        last: Up to where there may be more of them on disk.
    """

    due: float
    after: int
    last: int
    waits: list[int] = field(default_factory=list)
    trying: int = 0


class OrderingKeys:
    """The keys of one integration that do not just go on.

    A blocked key's later entries are not held in memory. When nothing of it waits any more, they are read from disk,
    in order, before anything newer of the key may start: the key is *behind* until then.
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
        """The keys that a reading in order leaves out."""
        return [*self._blocked, *self._behind]

    def passed_over(self, key: str, seq: int) -> None:
        """An entry of such a key lies on disk."""
        if key in self._blocked:
            one = self._blocked[key]
            one.last = max(one.last, seq)
        else:
            after, last = self._behind[key]
            self._behind[key] = after, max(last, seq)

    def all_passed_over(self, keys: list[str], upto: int) -> None:
        """A reading left these keys out up to `upto`."""
        for key in keys:
            if key in self:
                self.passed_over(key, upto)

    def block(self, key: str, seq: int, *, due: float, started: int, put_back: Collection[int] = ()) -> None:
        """An entry waits until `due`.

        Args:
            key: Its key.
            seq: Its place.
            due: When, monotonic.
            started: The last entry of the key that was started.
            put_back: Those that were in memory, not started, and are not any more.
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
        """Whether something earlier of the key waits."""
        one = self._blocked.get(key)
        return one is not None and one.waits[0] < seq

    def ended(self, key: str, seq: int, now: float) -> None:
        """An entry is over; if nothing of its key waits any more, the key goes on."""
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
        """Try everything again now."""
        for key, one in self._blocked.items():
            if not one.trying and one.due > now:
                one.due = now
                heapq.heappush(self._due, (now, key))

    def take_due(self, now: float, most: int) -> list[int]:
        """The first entry of each key whose time has come; they are on their way from now on."""
        found: list[int] = []
        while self._due and self._due[0][0] <= now and len(found) < most:
            due, key = heapq.heappop(self._due)
            one = self._blocked.get(key)
            if one is not None and not one.trying and one.due == due:
                one.trying = one.waits[0]
                found.append(one.trying)
        return found

    def next_due(self) -> float | None:
        """When the next one's time comes."""
        while self._due:
            due, key = self._due[0]
            one = self._blocked.get(key)
            if one is not None and not one.trying and one.due == due:
                return due
            heapq.heappop(self._due)
        return None

    def behind(self) -> tuple[str, int, int] | None:
        """A key whose entries are to be read from disk, and the interval that they lie in."""
        for key, (after, last) in self._behind.items():
            return key, after, last
        return None

    def caught_up(self, key: str, upto: int) -> None:
        """The key's entries were read up to here."""
        _, last = self._behind[key]
        if upto >= last:
            del self._behind[key]
        else:
            self._behind[key] = upto, last
