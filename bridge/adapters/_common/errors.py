"""Translate exceptions of libraries, of the operating system and of OpenSSL to the bridge's errors.

Each adapter has a table for its library, and a test that it is complete. What the operating system and OpenSSL raise
has the same words for every protocol, which are here.
"""

import ssl
from collections.abc import Callable, Iterable
from typing import Any, Final

from bridge.adapters._common.tls import refuses_client
from bridge.core.endpoint import ResolvedEndpoint
from bridge.core.errors import AuthError, BridgeError, NotConnectedError

#: What OpenSSL calls it when the other side does not speak TLS, or ends the connection in the handshake.
_NO_TLS: Final = frozenset(
    {
        "BAD_RECORD_TYPE",
        "ENCRYPTED_LENGTH_TOO_LONG",
        "HTTPS_PROXY_REQUEST",
        "HTTP_REQUEST",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_LAYER_FAILURE",
        "UNEXPECTED_EOF_WHILE_READING",
        "UNEXPECTED_MESSAGE",
        "UNKNOWN_PROTOCOL",
        "WRONG_VERSION_NUMBER",
    }
)
#: The same, where it is the operating system or asyncio that raises.
_ENDED: Final = (
    ConnectionResetError,
    ConnectionAbortedError,
    BrokenPipeError,
    EOFError,
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
)

#: A type of exception, and the function that makes the bridge's error of one; in a table the most specific comes first.
Row = tuple[type[BaseException], Callable[[Any], BridgeError]]


def look_up(table: Iterable[Row], error: Exception) -> BridgeError:
    """Return the bridge's error for one of a library's.

    Raises:
        LookupError: It is not in the table, so only a bug of ours raises it.
    """
    for kind, make in table:
        if isinstance(error, kind):
            return make(error)
    raise LookupError(f"no translation for {type(error).__name__}") from error


def reason_of(error: BaseException) -> str:
    """Return the reason that the operating system or OpenSSL gives, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(getattr(error, "verify_message", "") or error)
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
        return str(reason).replace("_", " ").lower()
    if isinstance(error, TimeoutError):
        return error.strerror or str(error) or "no answer in time"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error) or type(error).__name__


def cause_of(error: BaseException) -> OSError | EOFError | None:
    """Return the exception of the operating system, OpenSSL or asyncio that caused a library's, or None."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError | EOFError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def opening_error(
    error: OSError | EOFError, server: ResolvedEndpoint, *, secured: bool = False, unanswered_certificate: bool = False
) -> BridgeError:
    """Return the error for a connection that could not be opened; nothing of the application's was sent.

    Args:
        error: What the operating system, OpenSSL or asyncio raised.
        server: Where to.
        secured: Whether the TLS handshake was over already, so that the port surely speaks TLS.
        unanswered_certificate: Whether nothing has come since the client's certificate was sent. With TLS 1.3 that is
            after the handshake.

    Returns:
        NotConnectedError, with `permanent` where the certificate does not verify; AuthError, with `permanent`,
        where the server refuses the client's certificate.
    """
    why = reason_of(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return NotConnectedError(f"the certificate of {server.name} does not verify: {why}", permanent=True)
    if refuses_client(error):
        words = f"{server.name} refused the client certificate: {why}"
        return AuthError(words, maybe_sent=False, permanent=True)
    alert = (getattr(error, "reason", None) or "") if isinstance(error, ssl.SSLError) else ""
    if server.tls and not secured and (isinstance(error, _ENDED) or alert in _NO_TLS):
        return NotConnectedError(f"no TLS with {server.name}: {why}; {server.plaintext_hint}")
    if server.tls and secured and isinstance(error, _ENDED):
        # Some servers refuse a client certificate without a word; with TLS 1.3 the handshake is over by then.
        ended = f"{server.name} ended the connection after the TLS handshake: {why}; it"
        if unanswered_certificate:
            return AuthError(f"{ended} seems to refuse the client certificate", maybe_sent=False, permanent=True)
        return NotConnectedError(f"{ended} may require a client certificate")
    if isinstance(error, ssl.SSLError):
        # Before TLS 1.3 this alert also answers a missing client certificate; else there is no common cipher.
        return NotConnectedError(f"no TLS with {server.name}: {why}", permanent="HANDSHAKE_FAILURE" in alert)
    if isinstance(error, ConnectionRefusedError):  # an event loop may put the address in place of the reason
        why = "connection refused; nothing listens there" if server.loopback else "connection refused"
    return NotConnectedError(f"no connection to {server.name}: {why}")
