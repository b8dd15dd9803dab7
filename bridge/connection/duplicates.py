"""Recognise messages that a broker delivers, or a sender sends, a second time."""

import hashlib
from collections import OrderedDict
from typing import Final

import msgspec

from bridge.core.model import Inbound
from bridge.core.ports import Clock

#: The header with the sender's key, where the protocol has no place of its own for that.
KEY: Final = "idempotency_key"
#: How long a message is remembered, in seconds, and how many of one integration at most.
WINDOW: Final = 600.0
MOST: Final = 50_000
#: Characters of a topic and a key together beyond which only their digest is remembered.
_LONG: Final = 256

#: What cannot be encoded cannot be put on the bus either: see `bridge.core.values.check_value`.
_UNENCODABLE: Final = (OverflowError, TypeError, ValueError, RecursionError, msgspec.MsgspecError)

_Name = tuple[int, str, str, bool]
"""The number of the subscription, the topic, and a position (True) or a sender's key (False); see `_name`."""


class Duplicates:
    """Remember what was put on the bus, by the message's position at the broker and by its sender's key.

    A message that was put on the bus is not put there again because its acknowledgement was lost on the way, or because
    its sender repeated it. A lost message is worse than one that comes twice. So a message is a duplicate only if the
    subscription, the topic and the content are the same, too. And a position identifies a message only if the broker
    delivers it again (`attempts` above 1, or not known): where a stream was made again, its positions are given to new
    messages.

    Where the application acknowledges (`held`) the broker's own redelivery is wanted, and only a second message with
    the same sender's key is a duplicate: the broker still has what it repeats.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # In the order of time. To find the first key of a plain dict that loses its first ones takes ever longer.
        self._seen: OrderedDict[_Name, tuple[float, str | None, int | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def has(self, place: int, message: Inbound, *, held: bool) -> bool:
        """Return whether a message of this subscription was put on the bus before.

        Args:
            place: The number of the subscription.
            message: The message.
            held: Whether the application acknowledges: the broker's own redelivery is no duplicate then.
        """
        position = message.message_id
        if position is not None and not held and message.attempts != 1:
            before = self._fresh(_name(place, message, position, is_position=True))
            if before is not None and before[2] == _digest(message):
                return True
        key = message.unique or message.headers.get(KEY)
        if key is None:
            return False
        before = self._fresh(_name(place, message, key, is_position=False))
        if before is None or (held and before[1] == position):
            return False
        return before[2] == _digest(message)

    def note(self, place: int, message: Inbound) -> None:
        """Remember a message that was put on the bus."""
        position, key = message.message_id, message.unique or message.headers.get(KEY)
        if position is None and key is None:
            return
        now = self._clock.monotonic()
        seen, noted = self._seen, (now, position, _digest(message))
        if position is not None:
            name = _name(place, message, position, is_position=True)
            seen[name] = noted
            seen.move_to_end(name)
        if key is not None:
            name = _name(place, message, key, is_position=False)
            seen[name] = noted
            seen.move_to_end(name)
        while seen:
            oldest = next(iter(seen))
            if len(seen) <= MOST and now - seen[oldest][0] < WINDOW:
                break
            del seen[oldest]

    def forget(self, place: int, message: Inbound) -> None:
        """Forget a message that was given up: if it is sent again, it is new."""
        key = message.unique or message.headers.get(KEY)
        for text, is_position in ((message.message_id, True), (key, False)):
            if text is not None:
                self._seen.pop(_name(place, message, text, is_position=is_position), None)

    def _fresh(self, name: _Name) -> tuple[float, str | None, int | None] | None:
        found = self._seen.get(name)
        if found is None or self._clock.monotonic() - found[0] < WINDOW:
            return found
        del self._seen[name]
        return None


def _name(place: int, message: Inbound, text: str, *, is_position: bool) -> _Name:
    """Return what a message is remembered by. Senders choose topics and keys, so long ones are replaced by a digest."""
    topic = message.topic
    if len(topic) + len(text) > _LONG:
        whole = f"{len(topic)} {topic}{text}".encode(errors="surrogatepass")
        return place, "", hashlib.blake2b(whole, digest_size=32).hexdigest(), is_position
    return place, topic, text, is_position


def _digest(message: Inbound) -> int | None:
    """Return a number that differs for different contents; None for a content that the bus cannot carry.

    Python's hash of bytes depends on a secret of the process (SipHash, PEP 456), so nobody can make two contents with
    the same number.
    """
    try:
        return hash(msgspec.msgpack.encode(message.message))
    except _UNENCODABLE:
        return None
