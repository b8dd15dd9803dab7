"""Knows which event types somebody on the bus subscribes to."""

import asyncio
from typing import Final

from bridge.core.filters import Trigger

#: Event types whose answer is remembered; when more turn up, the memory starts anew.
_REMEMBERED: Final = 4096

#: The prefixes of a program that reads everything without being a listener, as a bridge or `tap`: every first byte that
#: an event type can have. ZeroMQ tells a publisher that somebody subscribes to a prefix, but neither who nor how many.
#: If such a program subscribed to "", nobody could see whether an application does.
EVERY_FIRST_BYTE: Final = tuple(bytes([first]) for first in range(256))


#: Where a bridge subscribes to a type of its own that contains this and a pattern of event types, it tells the other
#: bridges that a route of it takes what matches.
TAKES: Final = ".takes."
#: The same for what a bridge exports into a fabric. It counts for all but what came over a fabric itself.
EXPORTS: Final = ".exports."
#: Who reads everything without being a listener subscribes to a type of its own that ends with this, too. So a bridge
#: that hosts the bus knows of others that were there before it, although it subscribes to every first byte itself.
OBSERVES: Final = ".observes"


class Listeners:
    """The prefixes that are subscribed to on the bus, as the broker tells them to a publisher.

    A prefix of one byte does not count: see `EVERY_FIRST_BYTE`. What bridges take and export counts: see `TAKES`.
    """

    def __init__(self) -> None:
        self._observed = False
        self._prefixes: set[bytes] = set()
        self._taken: dict[bytes, Trigger] = {}
        self._exported: dict[bytes, Trigger] = {}
        self._observers: set[bytes] = set()
        self._known: dict[tuple[str, bool], bool] = {}
        self._waiting: dict[asyncio.Future[None], None] = {}  # in the order of their coming

    def add(self, prefix: bytes) -> None:
        """Note a prefix that somebody subscribes to."""
        if len(prefix) == 1:
            self._observed = True
        elif prefix not in self._prefixes:
            self._prefixes.add(prefix)
            for word, told in ((TAKES, self._taken), (EXPORTS, self._exported)):
                trigger = _trigger(prefix, word)
                if trigger is not None:
                    told[prefix] = trigger
            if prefix.startswith(b"client.") and prefix.endswith(OBSERVES.encode()):
                self._observers.add(prefix)
            self._known.clear()
            self.wake()

    def remove(self, prefix: bytes) -> None:
        """Note a prefix that nobody subscribes to any more."""
        if prefix in self._prefixes:
            self._prefixes.remove(prefix)
            self._taken.pop(prefix, None)
            self._exported.pop(prefix, None)
            self._observers.discard(prefix)
            self._known.clear()

    def clear(self) -> None:
        """Forget all, because the connection to the broker is lost; after it, the broker tells all again."""
        self._prefixes.clear()
        self._taken.clear()
        self._exported.clear()
        self._observers.clear()
        self._known.clear()

    def has(self, event_type: str, *, imported: bool = False) -> bool:
        """Return whether somebody subscribes to this type, a route of a bridge takes it, or a bridge exports it.

        Args:
            event_type: The type.
            imported: Whether it is asked for an event that came over a fabric: it is not exported again.
        """
        known = self._known.get((event_type, imported))
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = event_type.encode().startswith(tuple(self._prefixes))
            known = known or any(trigger.matches(event_type) for trigger in self._taken.values())
            if not imported:
                known = known or any(trigger.matches(event_type) for trigger in self._exported.values())
            self._known[event_type, imported] = known
        return known

    @property
    def taken_patterns(self) -> frozenset[str]:
        """The patterns of event types that bridges tell they take."""
        return frozenset(trigger.pattern for trigger in (*self._taken.values(), *self._exported.values()))

    @property
    def observed(self) -> bool:
        """Whether somebody reads everything without being a listener; not of each such program the end is told."""
        return self._observed or bool(self._observers)

    def ignore_own(self) -> None:
        """Forget the prefixes of one byte that came until now: they were our own."""
        self._observed = False

    def wake(self) -> None:
        """Let all who wait look again."""
        waiting, self._waiting = self._waiting, {}
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def change(self) -> None:
        """Wait until there is a new prefix, or `wake` is called."""
        one: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[one] = None
        try:
            await one
        finally:
            self._waiting.pop(one, None)


def _trigger(prefix: bytes, word: str) -> Trigger | None:
    """Return what selects the types that a bridge takes, where a prefix tells of that by this word."""
    name, takes, pattern = prefix.decode("utf-8", "replace").partition(word)
    if not takes or name.partition(".")[0] != "client":
        return None
    try:
        return Trigger(pattern)
    except ValueError:  # any program may subscribe to anything
        return None
