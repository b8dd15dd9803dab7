"""Decides what an error means for an entry: whether it has ended, and if not, what waits, and how long."""

import enum
import random
from typing import Final

from bridge.core.backoff import backoff
from bridge.core.errors import BridgeError

#: Seconds until the next try: first and longest, for one key, for all of an integration, and where a person is needed.
_KEY: Final = (1.0, 60.0)
_ALL: Final = (0.25, 5.0)
_PERSON: Final = (30.0, 300.0)


class Disposition(enum.Enum):
    """What becomes of an entry after an error."""

    EXPIRED = "expired"
    DEAD_LETTER = "dead_letter"
    #: A dead letter, too: the remote may have done it, and it must not be done twice.
    UNKNOWN = "unknown"
    KEY_WAITS = "key"
    ALL_WAIT = "all"
    #: It waits longer: only a person can help, as with bad credentials.
    PERSON = "person"


#: Errors that are about the remote as a whole: nothing else would fare better now.
_OF_ALL: Final = frozenset({"not_connected", "circuit_open", "overloaded", "throttled", "stopping"})
#: Errors that may be about this one call.
_OF_ONE: Final = frozenset({"connection_lost", "timeout", "unavailable"})


def disposition_of(error: BridgeError, *, once: bool) -> Disposition:
    """Decide what becomes of an entry.

    Args:
        error: How the guard ended.
        once: Whether the call must not be made twice; it was marked as begun then.
    """
    if once and error.maybe_sent:
        return Disposition.UNKNOWN
    if error.kind == "deadline":
        return Disposition.EXPIRED
    if error.kind == "auth" or error.permanent:
        return Disposition.PERSON
    if error.kind in _OF_ALL:
        return Disposition.ALL_WAIT
    return Disposition.KEY_WAITS if error.kind in _OF_ONE else Disposition.DEAD_LETTER


def delay_of(what: Disposition, round_: int, error: BridgeError, rng: random.Random) -> float:
    """Seconds until the next try after `round_` of them (1 is the first): doubled each time, with jitter."""
    first, longest = {Disposition.KEY_WAITS: _KEY, Disposition.ALL_WAIT: _ALL, Disposition.PERSON: _PERSON}[what]
    seconds = backoff(first, longest, round_, rng=rng)
    if error.retry_after_ms is not None:
        seconds = max(seconds, error.retry_after_ms / 1000)
    return seconds
