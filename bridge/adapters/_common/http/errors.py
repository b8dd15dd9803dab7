"""The table from the errors of httpx, the operating system and OpenSSL to the bridge's.

Where the connection could not be opened, nothing was sent; after any other error the server may have acted.
"""

import ssl
from collections.abc import Callable
from typing import Final

import httpx

from bridge.adapters._common.errors import reason_of
from bridge.adapters._common.http.pool import OpeningError
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


def _text(error: Exception) -> str:
    cause = error.__cause__
    return f"{error}: {reason_of(cause)}" if isinstance(cause, OSError) else str(error)


def _opening(error: Exception) -> BridgeError:
    return error.error if isinstance(error, OpeningError) else NotConnectedError(_text(error))


def _tls(error: Exception) -> BridgeError:
    """Return the error for the end of an open connection; with TLS 1.3 that may be a refused client certificate."""
    cause = error.__cause__
    if cause is not None and refuses_client(cause):
        words = f"the server refused the client certificate: {reason_of(cause)}"
        return AuthError(words, maybe_sent=False, permanent=True)
    return ConnectionLostError(_text(error))


def _as(kind: type[BridgeError]) -> Make:
    return lambda error: kind(_text(error))


#: (what was raised, its cause or None for any, ours); most specific first.
TABLE: Final[tuple[tuple[type[Exception], type[BaseException] | None, Make], ...]] = (
    (httpx.ConnectError, None, _opening),
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
    """Return the bridge's error for one of httpx's.

    Raises:
        LookupError: It is not in the table, so only a bug of ours raises it.
    """
    for kind, cause, make in TABLE:
        if isinstance(error, kind) and (cause is None or isinstance(error.__cause__, cause)):
            return make(error)
    raise LookupError(f"no translation for {type(error).__name__}") from error
