"""The one table from what websockets, the operating system and OpenSSL raise to the bridge's errors."""

import ssl
from collections.abc import Callable
from typing import Final

import httpx
from websockets import exceptions as raised

from bridge.adapters._common.errors import look_up
from bridge.adapters._common.http import errors as http_errors
from bridge.core.errors import (
    AuthError,
    BridgeError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    ProtocolError,
)

Make = Callable[[Exception], BridgeError]


def _unsent(error: Exception) -> BridgeError:
    return ProtocolError(f"this is no WebSocket server: {error}", maybe_sent=False)


def _status(error: Exception) -> BridgeError:
    status = error.response.status_code if isinstance(error, raised.InvalidStatus) else 0
    text = f"the server refused the opening handshake (HTTP {status})"
    if status in {401, 403}:
        return AuthError(text, code=status, maybe_sent=False, permanent=status == 401)
    return NotConnectedError(text, code=status)


def _ended(error: Exception) -> BridgeError:
    """No answer to the handshake: with TLS 1.3 a refused client certificate looks like that, too."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return _system(cause)
        cause = cause.__cause__ or cause.__context__
    return NotConnectedError(f"the connection ended in the opening handshake: {error}")


def _system(error: Exception) -> BridgeError:
    """As in HTTP: refused, unreachable, unknown host, TLS."""
    alert = isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLCertVerificationError)
    kind: type[httpx.TransportError] = httpx.ConnectError
    wrapped = kind("no connection")
    if alert and "ALERT" in (getattr(error, "reason", None) or ""):
        wrapped = httpx.ReadError("no connection")
    wrapped.__cause__ = error
    found = http_errors.translate(wrapped)
    found.maybe_sent = False
    return found if not isinstance(found, ConnectionLostError) else NotConnectedError(found.message)


def _closed(error: Exception) -> BridgeError:
    if isinstance(error, raised.ConnectionClosed) and error.rcvd is not None:
        reason = f": {error.rcvd.reason}" if error.rcvd.reason else ""
        return ConnectionLostError(
            f"the server closed the connection ({error.rcvd.code}{reason})", code=error.rcvd.code
        )
    if isinstance(error, raised.ConnectionClosed) and error.sent is not None and error.sent.code != 1000:
        reason = f": {error.sent.reason}" if error.sent.reason else ""
        return ConnectionLostError(f"the connection was given up ({error.sent.code}{reason})", code=error.sent.code)
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
    """The bridge's error for one of the library's. Raises LookupError for a bug of ours."""
    return look_up(TABLE, error)
