"""The table from the errors of websockets, the operating system and OpenSSL to the bridge's."""

from collections.abc import Callable
from typing import Final

from websockets import exceptions as raised

from bridge.adapters._common.errors import cause_of, look_up, opening_error, reason_of
from bridge.adapters._common.http.message import Response
from bridge.adapters._common.http.status import retry_after_ms
from bridge.core.endpoint import ResolvedEndpoint
from bridge.core.errors import (
    AuthError,
    BridgeError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    ProtocolError,
    ThrottledError,
)

Make = Callable[[Exception], BridgeError]


def _unsent(error: Exception) -> BridgeError:
    return ProtocolError(f"this is not a WebSocket server: {error}", maybe_sent=False)


def _status(error: Exception, now_ms: int = 0) -> BridgeError:
    """Return the error of a refused opening handshake. `now_ms`: Unix time, for a `Retry-After` that is a date."""
    if not isinstance(error, raised.InvalidStatus):
        return _unsent(error)
    status = error.response.status_code
    # The library's `get` raises for a name that comes twice.
    headers = [
        (name.lower().encode(), value.encode("latin-1", "replace"))
        for name, value in error.response.headers.raw_items()
        if name.lower() in {"retry-after", "date"}
    ]
    wait = retry_after_ms(Response(status, headers, b"", now_ms))
    text = f"the server refused the opening handshake (HTTP {status})"
    if status in {401, 403}:
        return AuthError(text, code=status, maybe_sent=False, permanent=status == 401, retry_after_ms=wait)
    if wait is not None:
        return ThrottledError(f"{text} and asks to wait", code=status, retry_after_ms=wait)
    return NotConnectedError(text, code=status)


def _ended(error: Exception) -> BridgeError:
    return NotConnectedError(f"the connection ended in the opening handshake: {error}")


def _system(error: Exception) -> BridgeError:
    """Return the error for the end of an open connection."""
    return ConnectionLostError(f"the connection ended: {reason_of(error)}")


def _closed(error: Exception) -> BridgeError:
    if isinstance(error, raised.ConnectionClosed) and error.rcvd is not None:
        reason = f": {error.rcvd.reason}" if error.rcvd.reason else ""
        return ConnectionLostError(
            f"the server closed the connection ({error.rcvd.code}{reason})", code=error.rcvd.code
        )
    if isinstance(error, raised.ConnectionClosed) and error.sent is not None and error.sent.code != 1000:
        reason = f": {error.sent.reason}" if error.sent.reason else ""
        return ConnectionLostError(
            f"the bridge closed the connection ({error.sent.code}{reason})", code=error.sent.code
        )
    return ConnectionLostError("the connection ended")


def _as(kind: type[BridgeError]) -> Make:
    return lambda error: kind(str(error))


#: Most specific first.
TABLE: Final[tuple[tuple[type[Exception], Make], ...]] = (
    (raised.ConnectionClosed, _closed),
    (raised.InvalidStatus, _status),
    (raised.InvalidMessage, _ended),
    (raised.InvalidURI, _as(InvalidError)),
    (raised.InvalidProxy, _as(InvalidError)),
    (raised.ProxyError, _as(NotConnectedError)),
    (raised.InvalidHandshake, _unsent),
    (raised.ProtocolError, _as(ProtocolError)),
    (raised.PayloadTooBig, _as(ProtocolError)),
    (raised.TooManyFragments, _as(ProtocolError)),
    (EOFError, _ended),
    (OSError, _system),
)


def translate(error: Exception) -> BridgeError:
    """Return the bridge's error for one of the library's. Raises LookupError for one that only a bug of ours raises."""
    return look_up(TABLE, error)


def translate_connect(
    error: Exception,
    server: ResolvedEndpoint,
    *,
    secured: bool,
    unanswered_certificate: bool = False,
    now_ms: int,
) -> BridgeError:
    """Return the bridge's error for one that was raised while a connection was opened; nothing was sent then.

    Args:
        error: What was raised.
        server: The server of the connection.
        secured: Whether there was a connection, and the TLS handshake was complete.
        unanswered_certificate: See `opening_error`.
        now_ms: Unix time in milliseconds, for a `Retry-After` that is a date.

    Raises LookupError as `translate`.
    """
    if isinstance(error, raised.InvalidStatus):
        return _status(error, now_ms)
    cause = cause_of(error)
    # With TLS 1.3 the refusal of a client certificate comes in place of the answer to the opening handshake.
    ended = isinstance(cause, OSError) or (isinstance(cause, EOFError) and secured and server.tls)
    if cause is not None and ended and isinstance(error, OSError | raised.InvalidMessage):
        return opening_error(cause, server, secured=secured, unanswered_certificate=unanswered_certificate)
    return translate(error)
