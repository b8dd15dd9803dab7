"""What counts as failure for the breaker."""

import pytest

from bridge.core import errors
from bridge.resilience.classify import CountsAs, classify

FAILURES = {
    errors.NotConnectedError,
    errors.ConnectionLostError,
    errors.AttemptTimeoutError,
    errors.UnavailableError,
    errors.ProtocolError,
    errors.DeadlineError,
}
SUCCESSES = {errors.AuthError, errors.RejectedError}


@pytest.mark.parametrize("kind", errors.BridgeError.__subclasses__(), ids=lambda kind: kind.kind)
def test_every_kind(kind: type[errors.BridgeError]) -> None:
    """An answer is a success, no answer a failure, and what this side declines is ignored."""
    expected = CountsAs.FAILURE if kind in FAILURES else CountsAs.SUCCESS if kind in SUCCESSES else CountsAs.IGNORED
    assert classify(kind("x")) is expected


def test_expired_before_sending_is_ignored() -> None:
    """A deadline that passed before anything was sent is ignored."""
    assert classify(errors.DeadlineError("x", maybe_sent=False)) is CountsAs.IGNORED
