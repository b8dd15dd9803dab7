"""The one table from what httpx, the operating system and OpenSSL raise to the bridge's errors.

Where the connection could not be opened nothing was sent; everything later may have been acted on.
"""

import socket
import ssl
from collections.abc import Callable
from typing import Final

import httpx

from bridge.adapters._common.tls import refuses_client
from bridge.core.errors import (
    AttemptTimeoutError,
    AuthError,
    BridgeError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    OverloadedError,
    ProtocolError,
)

Make = Callable[[Exception], BridgeError]


def _reason(cause: BaseException | None) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return str(getattr(cause, "verify_message", "") or cause)
    if isinstance(cause, ssl.SSLError):
        return str(cause.reason or cause.__class__.__name__).replace("_", " ").lower()
    if isinstance(cause, OSError):
        return cause.strerror or str(cause) or cause.__class__.__name__
    return ""


def _text(error: Exception) -> str:
    reason = _reason(error.__cause__)
    return f"{error}: {reason}" if reason else str(error)


def _certificate(error: Exception) -> BridgeError:
    return NotConnectedError(f"{_text(error)} (the server's certificate does not verify)", permanent=True)


def _tls(error: Exception) -> BridgeError:
    cause = error.__cause__
    if refuses_client(cause):
        message = f"the server refused the client certificate: {_reason(cause)}"
        return AuthError(message, maybe_sent=False, permanent=True)
    if isinstance(error, httpx.ConnectError):
        # Before TLS 1.3 this alert also answers a missing client certificate; another is no shared cipher.
        refused = isinstance(cause, ssl.SSLError) and "HANDSHAKE_FAILURE" in (cause.reason or "")
        return NotConnectedError(f"{_text(error)} (TLS handshake)", permanent=refused)
    return ConnectionLostError(_text(error))


def _as(kind: type[BridgeError]) -> Make:
    return lambda error: kind(_text(error))


#: (what was raised, its cause or None for any, ours); most specific first.
TABLE: Final[tuple[tuple[type[Exception], type[BaseException] | None, Make], ...]] = (
    (httpx.ConnectError, ssl.SSLCertVerificationError, _certificate),
    (httpx.ConnectError, ssl.SSLError, _tls),
    (httpx.ConnectError, socket.gaierror, _as(NotConnectedError)),
    (httpx.ConnectError, ConnectionRefusedError, _as(NotConnectedError)),
    (httpx.ConnectError, OSError, _as(NotConnectedError)),
    (httpx.ConnectError, None, _as(NotConnectedError)),
    (httpx.ConnectTimeout, None, _as(NotConnectedError)),
    (httpx.ProxyError, None, _as(NotConnectedError)),
    (httpx.PoolTimeout, None, _as(OverloadedError)),
    (httpx.ReadTimeout, None, _as(AttemptTimeoutError)),
    (httpx.WriteTimeout, None, _as(AttemptTimeoutError)),
    (httpx.ReadError, ssl.SSLError, _tls),
    (httpx.ReadError, None, _as(ConnectionLostError)),
    (httpx.WriteError, None, _as(ConnectionLostError)),
    (httpx.CloseError, None, _as(ConnectionLostError)),
    (httpx.RemoteProtocolError, None, _as(ProtocolError)),
    (httpx.DecodingError, None, _as(ProtocolError)),
    (httpx.TooManyRedirects, None, _as(ProtocolError)),
    (httpx.LocalProtocolError, None, _as(InvalidError)),
    (httpx.UnsupportedProtocol, None, _as(InvalidError)),
    (httpx.InvalidURL, None, _as(InvalidError)),
)


def translate(error: Exception) -> BridgeError:
    """The bridge's error for one of httpx's.

    Raises:
        LookupError: It is not in the table, so it is a bug of ours and not the outside's doing.
    """
    for kind, cause, make in TABLE:
        if isinstance(error, kind) and (cause is None or isinstance(error.__cause__, cause)):
            return make(error)
    raise LookupError(f"no translation for {type(error).__name__}") from error
