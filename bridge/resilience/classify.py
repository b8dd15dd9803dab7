"""What an attempt's error says about the remote, for the circuit breaker."""

import enum
from typing import Final

from bridge.core.errors import BridgeError


class CountsAs(enum.Enum):
    """How the breaker counts an attempt."""

    SUCCESS = "success"
    FAILURE = "failure"
    IGNORED = "ignored"


#: The remote is dead, unreachable, overwhelmed or talks nonsense.
_FAILURES: Final = frozenset({"not_connected", "connection_lost", "timeout", "unavailable", "protocol"})
#: It answered, and meant it: refusing credentials (401, 403) or a request (4xx, JSON-RPC errors) takes a living remote.
_SUCCESSES: Final = frozenset({"auth", "rejected"})


def classify(error: BridgeError) -> CountsAs:
    """How the breaker counts an attempt that ended with `error`.

    `deadline` is a failure where the request was under way when the caller's time ran out (`maybe_sent`): the remote
    had its chance, only a shorter one. Expired before sending it says nothing about the remote. Neither does what the
    remote (`throttled`) or this side (`overloaded`, `invalid`, `not_supported`, `stopping`, …) declined to do.
    """
    if error.kind in _FAILURES or (error.kind == "deadline" and error.maybe_sent):
        return CountsAs.FAILURE
    return CountsAs.SUCCESS if error.kind in _SUCCESSES else CountsAs.IGNORED
