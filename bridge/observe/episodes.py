"""Remembers since when something happens, or is so, that should not."""

from collections.abc import Collection
from typing import Final

from bridge.core.ports import Clock

#: Seconds after which what has not happened again is over.
OVER: Final = 900.0

Key = tuple[str, str | None]
"""What it is about: a kind of trouble, and the integration's label, or None where it is the bridge's."""


class Episode:
    """Something that has happened, and then again before 15 minutes had passed.

    Attributes:
        since: When it began, Unix time in milliseconds.
        count: How often it has happened since.
    """

    __slots__ = ("count", "last", "since")

    def __init__(self, since: int) -> None:
        self.since = since
        self.count = 0
        self.last = 0.0


class Episodes:
    """The troubles of the last 15 minutes, of what is counted, and the present ones, of what is or is not so."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sums: dict[Key, int] = {}
        self._episodes: dict[Key, Episode] = {}
        self._states: dict[Key, int] = {}

    def note_sum(self, key: Key, total: int) -> None:
        """Note what a sum is now; one that is lower than before has begun anew."""
        before = self._sums.get(key, 0)
        if total == before:
            return
        self._sums[key] = total
        episode = self._episodes.get(key)
        if episode is None:
            episode = self._episodes[key] = Episode(self._clock.wall_ms())
        episode.count += total - before if total > before else total
        episode.last = self._clock.monotonic()

    def note_states(self, kind: str, whose: Collection[str | None]) -> None:
        """Note of whom something is so: of these, and of no other."""
        for key in [key for key in self._states if key[0] == kind and key[1] not in whose]:
            del self._states[key]
        for one in whose:
            self._states.setdefault((kind, one), self._clock.wall_ms())

    def end(self, integrations: Collection[str]) -> None:
        """End the episodes that are over, and forget the integrations that are not among these."""
        now = self._clock.monotonic()
        for key in [key for key, one in self._episodes.items() if now - one.last >= OVER]:
            del self._episodes[key]
        for known in (self._sums, self._episodes):
            for key in [key for key in known if key[1] is not None and key[1] not in integrations]:
                del known[key]

    def get(self, key: Key) -> Episode | None:
        """Return the episode of a sum; None where it has not risen in the last 15 minutes."""
        return self._episodes.get(key)

    def since(self, key: Key) -> int:
        """Return since when something is so, Unix time in milliseconds; now where that was not noted yet."""
        return self._states.get(key) or self._clock.wall_ms()
