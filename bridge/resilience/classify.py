"""Decides how the circuit breaker counts the error of an attempt."""

import enum
from typing import Final

from bridge.core.errors import BridgeError


class CountsAs(enum.Enum):
    """How the breaker counts an attempt."""

    SUCCESS = "success"
    FAILURE = "failure"
    IGNORED = "ignored"


#: The remote is dead, unreachable or overloaded, or does not keep to its protocol.
_FAILURES: Final = frozenset({"not_connected", "connection_lost", "timeout", "unavailable", "protocol"})
#: The remote works: only a working one refuses credentials (401, 403) or a request (4xx, JSON-RPC errors).
_SUCCESSES: Final = frozenset({"auth", "rejected"})


def classify(error: BridgeError) -> CountsAs:
    """Return how the breaker counts an attempt that ended with `error`.

    `deadline` is a failure where the request may have been sent (`maybe_sent`): the remote did not answer in the time
    that was left. Where it was not sent, it is ignored. So is what the remote (`throttled`) or this side (`overloaded`,
    `invalid`, `not_supported`, `stopping`, …) declined to do.
    """
    if error.kind in _FAILURES or (error.kind == "deadline" and error.maybe_sent):
        return CountsAs.FAILURE
    return CountsAs.SUCCESS if error.kind in _SUCCESSES else CountsAs.IGNORED
