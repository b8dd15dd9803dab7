"""An error that another bridge has sent is the error that it was there."""

import pytest

from bridge.core import errors
from bridge.core.errors import BridgeError, ErrorObject, RejectedError, ThrottledError, UnavailableError, error_of

KINDS = sorted(
    (one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, BridgeError)),
    key=lambda one: one.kind,
)


@pytest.mark.parametrize("made", [one for one in KINDS if one is not BridgeError], ids=lambda one: one.kind)
def test_each_kind_has_its_class(made: type[BridgeError]) -> None:
    """Class, message, and whether it may be tried again are those of the error that was sent."""
    wire = made("why").to_wire()
    error = error_of(wire)
    assert type(error) is made
    assert error.to_wire() == wire
    assert error.maybe_sent is made.default_maybe_sent


def test_what_the_remote_said_stays() -> None:
    """Code, data and the time to wait are kept, and that a retry was ruled out for this very call."""
    sent = ThrottledError("later", code="busy", data={"left": 0}, retry_after_ms=700)
    sent.retryable = False
    error = error_of(sent.to_wire())
    assert (error.code, error.data, error.retry_after_ms, error.retryable) == ("busy", {"left": 0}, 700, False)


@pytest.mark.parametrize("maybe_sent", [True, False])
def test_whether_the_remote_may_have_acted_is_told_beside_it(maybe_sent: bool) -> None:
    """What is told wins over what the kind usually means."""
    assert error_of(UnavailableError("no").to_wire(), maybe_sent=maybe_sent).maybe_sent is maybe_sent


def test_an_error_without_the_remotes_own_words() -> None:
    """What was not sent is None, and is not sent again."""
    error = error_of(ErrorObject(kind="rejected", message="no", retryable=False))
    assert isinstance(error, RejectedError)
    assert (error.code, error.data, error.retry_after_ms, error.attempts) == (None, None, None, None)
