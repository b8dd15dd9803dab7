"""Recognise messages that a broker delivers, or a sender sends, a second time."""

from collections import OrderedDict
from typing import Final

from bridge.core.model import Inbound
from bridge.core.ports import Clock

#: How long a message is remembered, in seconds, and how many of one integration at most.
WINDOW: Final = 600.0
MOST: Final = 50_000


class Duplicates:
    """Remember what was put on the bus, by the message's id and by its sender's key.

    A message that was put on the bus is not put there again because its acknowledgement was lost on the way, or because
    its sender repeated it. Where the application acknowledges (`held`) the broker's own redelivery is wanted, and only
    a second message with the same sender's key is a duplicate: the broker still has what it repeats.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # In the order of time. To find the first key of a plain dict that loses its first ones takes ever longer.
        self._seen: OrderedDict[tuple[int, str], tuple[float, str | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def has(self, place: int, message: Inbound, *, held: bool) -> bool:
        """Return whether a message of this subscription was put on the bus before.

        Args:
            place: The number of the subscription.
            message: The message.
            held: Whether the application acknowledges: the broker's own redelivery is no duplicate then.
        """
        if message.message_id is not None and not held and self._fresh((place, message.message_id)) is not None:
            return True
        key = _key(message)
        if key is None:
            return False
        before = self._fresh((place, key))
        return before is not None and not (held and before[1] == message.message_id)

    def note(self, place: int, message: Inbound) -> None:
        """Remember a message that was put on the bus."""
        now = self._clock.monotonic()
        for name in (message.message_id, _key(message)):
            if name is not None:
                self._seen[place, name] = (now, message.message_id)
                self._seen.move_to_end((place, name))
        while self._seen:
            oldest = next(iter(self._seen))
            if len(self._seen) <= MOST and now - self._seen[oldest][0] < WINDOW:
                break
            del self._seen[oldest]

    def forget(self, place: int, message: Inbound) -> None:
        """Forget a message that was given up: if it is sent again, it is new."""
        for name in (message.message_id, _key(message)):
            if name is not None:
                self._seen.pop((place, name), None)

    def _fresh(self, name: tuple[int, str]) -> tuple[float, str | None] | None:
        found = self._seen.get(name)
        if found is None or self._clock.monotonic() - found[0] < WINDOW:
            return found
        del self._seen[name]
        return None


def _key(message: Inbound) -> str | None:
    """Return the sender's key: the protocol's own one, else the header `idempotency_key`."""
    return message.unique or message.headers.get("idempotency_key")
