"""Translate errors of nats-py, the operating system, OpenSSL and the server to the bridge's: one table for all."""

import ssl
from collections.abc import Callable
from typing import Final

import nats.errors
import nats.js.errors
from nats.micro.request import ServiceError

from bridge.adapters._common.errors import look_up, opening_error, reason_of
from bridge.adapters._common.tls import refuses_client
from bridge.adapters.nats.protocol import MalformedError
from bridge.core.endpoint import ResolvedEndpoint
from bridge.core.errors import (
    AttemptTimeoutError,
    AuthError,
    BridgeError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    NotSupportedError,
    OverloadedError,
    ProtocolError,
    RejectedError,
    UnavailableError,
)

Make = Callable[[Exception], BridgeError]

#: What `-ERR` says, in small letters, where the credentials are not (or no longer) good.
_CREDENTIALS: Final = ("authorization violation", "authentication expired", "authentication revoked", "account")


def _text(error: Exception) -> str:
    return reason_of(error).removeprefix("nats: ")


def _as(kind: type[BridgeError], *, maybe_sent: bool | None = None, permanent: bool = False) -> Make:
    return lambda error: kind(_text(error), maybe_sent=maybe_sent, permanent=permanent)


def _refused_by_jetstream(kind: type[BridgeError]) -> Make:
    """Refusals of JetStream itself, which has done nothing then."""

    def make(error: Exception) -> BridgeError:
        code, text = getattr(error, "err_code", None), getattr(error, "description", None)
        return kind(text or _text(error), code=code or getattr(error, "code", None), maybe_sent=False)

    return make


def _tls(error: Exception) -> BridgeError:
    if refuses_client(error):
        return AuthError(f"the server refused the client certificate: {_text(error)}", permanent=True)
    return ConnectionLostError(f"{_text(error)} (TLS)")


def violates_permissions(text: str) -> bool:
    """Whether what a server says in `-ERR` concerns one subject only, and not the connection."""
    return "permissions violation" in text.lower()


def refused(text: str) -> BridgeError:
    """The error for what a server says in `-ERR`."""
    if any(words in text.lower() for words in _CREDENTIALS):
        return AuthError(f"the server refused the credentials: {text}", permanent=True)
    if violates_permissions(text):
        return RejectedError(text, code="permissions violation", maybe_sent=False)
    return ProtocolError(text)


#: (what was raised, ours); most specific first.
TABLE: Final[tuple[tuple[type[Exception], Make], ...]] = (
    (nats.js.errors.ServiceUnavailableError, _refused_by_jetstream(UnavailableError)),
    (nats.js.errors.ServerError, _refused_by_jetstream(UnavailableError)),
    (nats.js.errors.APIError, _refused_by_jetstream(RejectedError)),
    (nats.js.errors.NoStreamResponseError, _as(UnavailableError, maybe_sent=False)),
    (nats.js.errors.TooManyStalledMsgsError, _as(OverloadedError)),
    (ServiceError, _as(RejectedError)),
    # Key-value and object stores, ordered consumers: parts of JetStream that the adapter does not use.
    (nats.js.errors.Error, _as(ProtocolError)),
    (nats.errors.NoRespondersError, _as(UnavailableError, maybe_sent=False)),
    (nats.errors.AuthorizationError, _as(AuthError, permanent=True)),
    (nats.errors.InvalidUserCredentialsError, _as(AuthError, permanent=True)),
    (nats.errors.SecureConnWantedError, _as(NotConnectedError, permanent=True)),
    (nats.errors.SecureConnRequiredError, _as(NotConnectedError, permanent=True)),
    (nats.errors.SecureConnFailedError, _as(NotConnectedError, permanent=True)),
    (nats.errors.NoServersError, _as(NotConnectedError)),
    (nats.errors.ServerNotInPoolError, _as(NotConnectedError)),
    (nats.errors.JsonParseError, _as(ProtocolError)),
    (nats.errors.ProtocolError, _as(ProtocolError)),
    # Raised before anything of the call is written.
    (nats.errors.ConnectionClosedError, _as(NotConnectedError)),
    (nats.errors.ConnectionDrainingError, _as(NotConnectedError)),
    (nats.errors.ConnectionReconnectingError, _as(NotConnectedError)),
    (nats.errors.OutboundBufferLimitError, _as(NotConnectedError)),
    (nats.errors.StaleConnectionError, _as(ConnectionLostError)),
    (nats.errors.SlowConsumerError, _as(OverloadedError)),
    (nats.errors.BadSubscriptionError, _as(InvalidError)),
    (nats.errors.BadSubjectError, _as(InvalidError)),
    (nats.errors.BadHeaderError, _as(InvalidError)),
    (nats.errors.BadTimeoutError, _as(InvalidError)),
    (nats.errors.MaxPayloadError, _as(InvalidError)),
    (nats.errors.InvalidCallbackTypeError, _as(InvalidError)),
    (nats.errors.NotJSMessageError, _as(NotSupportedError)),
    (nats.errors.MsgAlreadyAckdError, _as(InvalidError)),
    (nats.errors.TimeoutError, _as(AttemptTimeoutError)),
    (nats.errors.Error, lambda error: refused(_text(error))),
    (MalformedError, lambda error: ProtocolError(f"the server sends {error}")),
    (ssl.SSLError, _tls),
    (TimeoutError, _as(AttemptTimeoutError)),
    (OSError, _as(ConnectionLostError)),
)


def translate(error: Exception) -> BridgeError:
    """The bridge's error for one of the library's, the operating system's or OpenSSL's; one of the bridge's is kept.

    Raises:
        LookupError: It is a bug of ours.
    """
    return error if isinstance(error, BridgeError) else look_up(TABLE, error)


def translate_connect(said: BridgeError | None, error: Exception, server: ResolvedEndpoint) -> BridgeError:
    """The error with which opening a connection fails; nothing was asked of the server yet.

    Args:
        said: What ended the connection, if that is known; it tells more than `error`, except where TLS failed.
        error: What was raised, outside of the TLS handshake.
        server: Where to.
    """
    if said is not None and (isinstance(said, AuthError) or not isinstance(error, AuthError | NotConnectedError)):
        ours = said
    elif isinstance(error, OSError) and not isinstance(error, TimeoutError):
        return opening_error(error, server, secured=True)
    else:
        ours = translate(error)
    if isinstance(ours, AuthError | NotConnectedError):
        ours.maybe_sent = False
        return ours
    return NotConnectedError(f"no connection to {server.name}: {ours.message}", permanent=ours.permanent)
