"""Decides what an error means for an entry: whether it has ended, and if not, which entries wait, and how long."""

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
    #: A dead letter, too: the remote may have acted on the call, which must not be repeated.
    UNKNOWN = "unknown"
    #: The entries of its ordering key wait for the next try.
    KEY_WAITS = "key"
    #: All entries of the integration wait.
    ALL_WAIT = "all"
    #: All entries of the integration wait, and longer: only a person can help, as with bad credentials.
    PERSON = "person"


#: Errors that are about the remote as a whole: any other call would fail now, too.
_OF_ALL: Final = frozenset({"not_connected", "circuit_open", "overloaded", "throttled", "stopping"})
#: Errors that may be about this one call.
_OF_ONE: Final = frozenset({"connection_lost", "timeout", "unavailable"})


def disposition_of(error: BridgeError, *, once: bool) -> Disposition:
    """Decide what becomes of an entry.

    Args:
        error: The error of the outcome that the guard reported.
        once: Whether the call must not be repeated; it was marked as begun then.
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
    """Return the seconds until the next try after `round_` of them (1 is the first): doubled each time, with jitter.

    It is not shorter than the `retry_after_ms` of the error.
    """
    first, longest = {Disposition.KEY_WAITS: _KEY, Disposition.ALL_WAIT: _ALL, Disposition.PERSON: _PERSON}[what]
    seconds = backoff(first, longest, round_, rng=rng)
    if error.retry_after_ms is not None:
        seconds = max(seconds, error.retry_after_ms / 1000)
    return seconds
