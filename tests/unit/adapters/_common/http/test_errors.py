"""The table of errors has an entry for each exception of httpx."""

import errno
import ssl

import httpx
import pytest

from bridge.adapters._common.http.errors import TABLE, translate
from bridge.adapters._common.http.pool import OpeningError
from bridge.core import errors as ours

#: Raised for wrong use of the library only, so they are bugs and must not be translated.
BUGS = {
    httpx.HTTPStatusError,
    httpx.CookieConflict,
    httpx.StreamError,
    httpx.StreamConsumed,
    httpx.StreamClosed,
    httpx.ResponseNotRead,
    httpx.RequestNotRead,
}


def all_of_httpx() -> list[type[Exception]]:
    """Return each exception class that httpx exports and raises itself."""
    found = [item for name in httpx.__all__ if isinstance(item := getattr(httpx, name), type)]
    classes = [item for item in found if issubclass(item, Exception)]
    return [item for item in classes if not any(other is not item and issubclass(other, item) for other in classes)]


def made(kind: type[Exception], cause: BaseException | None = None) -> Exception:
    """Make an exception with a cause."""
    error = kind("https://host")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("kind", [kind for kind in all_of_httpx() if kind not in BUGS])
def test_every_exception_of_httpx_is_mapped(kind: type[Exception]) -> None:
    """Each exception of httpx is in the table by its own class, so that a new one fails this test."""
    assert any(entry[0] is kind for entry in TABLE), f"{kind.__name__} is not in the table"
    assert isinstance(translate(made(kind)), ours.BridgeError)


@pytest.mark.parametrize("error", [ValueError("x"), httpx.StreamConsumed()])
def test_a_bug_is_not_taken_for_the_outsides_doing(error: Exception) -> None:
    """An exception that is not in the table raises LookupError."""
    with pytest.raises(LookupError):
        translate(error)


def alert(reason: str) -> ssl.SSLError:
    """Make an error as OpenSSL's binding does."""
    error = ssl.SSLError(1, f"[SSL: {reason}] alert")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "kind", "maybe_sent", "permanent"),
    [
        (made(httpx.ConnectError), ours.NotConnectedError, 0, 0),
        (OpeningError(ours.AuthError("https://host", maybe_sent=False, permanent=True)), ours.AuthError, 0, 1),
        (made(httpx.ReadError, alert("TLSV13_ALERT_CERTIFICATE_REQUIRED")), ours.AuthError, 0, 1),
        (made(httpx.ReadError, alert("DECRYPTION_FAILED")), ours.ConnectionLostError, 1, 0),
        (made(httpx.ConnectTimeout, TimeoutError()), ours.NotConnectedError, 0, 0),
        (made(httpx.ReadError, ConnectionResetError(errno.ECONNRESET, "x")), ours.ConnectionLostError, 1, 0),
        (made(httpx.RemoteProtocolError), ours.ProtocolError, 1, 0),
        (made(httpx.DecodingError), ours.ProtocolError, 1, 0),
    ],
)
def test_what_becomes_of_which(
    error: Exception, kind: type[ours.BridgeError], maybe_sent: bool, permanent: bool
) -> None:
    """Each exception becomes the right kind of error, with `maybe_sent` and `permanent` set."""
    translated = translate(error)
    assert type(translated) is kind
    assert (translated.maybe_sent, translated.permanent) == (bool(maybe_sent), bool(permanent))
    assert "https://host" in translated.message or kind is ours.AuthError
