"""What the end of a connection means."""

import errno
import ssl

import pytest

from bridge.adapters._common.http.errors import ended
from bridge.core import errors as ours


def alert(reason: str) -> ssl.SSLError:
    """Make an error as OpenSSL's binding does."""
    error = ssl.SSLError(1, f"[SSL: {reason}] alert")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("cause", "kind", "maybe_sent", "permanent"),
    [
        (None, ours.ConnectionLostError, True, False),
        (ConnectionResetError(errno.ECONNRESET, "x"), ours.ConnectionLostError, True, False),
        (alert("DECRYPTION_FAILED"), ours.ConnectionLostError, True, False),
        (alert("TLSV13_ALERT_CERTIFICATE_REQUIRED"), ours.AuthError, False, True),
    ],
)
def test_what_becomes_of_which(
    cause: Exception | None, kind: type[ours.BridgeError], maybe_sent: bool, permanent: bool
) -> None:
    """Each end becomes the right kind of error, with `maybe_sent` and `permanent` set."""
    error = ended("before any answer", cause)
    assert type(error) is kind
    assert (error.maybe_sent, error.permanent) == (maybe_sent, permanent)
    assert "before any answer" in error.message or kind is ours.AuthError
