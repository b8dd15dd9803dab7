"""Translate errors of nats-py, the operating system, OpenSSL and the server to the bridge's: one table for all."""

import re
import ssl
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

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
_CREDENTIALS: Final = (
    "authorization violation",
    "authentication expired",
    "authentication revoked",
    "failed account registration",
)
#: What `-ERR` says, in small letters, where one subscription is refused and not named, and the connection goes on.
_UNNAMED_SUBSCRIPTION: Final = ("maximum subscriptions exceeded", "invalid subject")
_QUOTED: Final = r'"((?:[^"\\]|\\.)*)"'
_VIOLATION: Final = re.compile(
    rf"permissions violation for (publish|subscription) to {_QUOTED}"
    rf'(?: using queue {_QUOTED})?(?: \(sid "?(\d{{1,18}})"?\))?',
    re.IGNORECASE | re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))", re.DOTALL)
_ESCAPED: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _text(error: Exception) -> str:
    return reason_of(error).removeprefix("nats: ")


def _as(kind: type[BridgeError], *, maybe_sent: bool | None = None, permanent: bool = False) -> Make:
    return lambda error: kind(_text(error), maybe_sent=maybe_sent, permanent=permanent)


def _api_error(error: Exception, known: int | None = None) -> BridgeError:
    # nats-py takes these from the answer as they are, of whatever type.
    code, precise, text = (getattr(error, name, None) for name in ("code", "err_code", "description"))
    return refused_by_jetstream(
        code if isinstance(code, int) else known,
        precise if isinstance(precise, int) else None,
        text if isinstance(text, str) and text else _text(error),
    )


def _tls(error: Exception) -> BridgeError:
    if refuses_client(error):
        return AuthError(f"the server refused the client certificate: {_text(error)}", permanent=True)
    return ConnectionLostError(f"{_text(error)} (TLS)")


class Permission(NamedTuple):
    """What a server may permit: publishing to a subject or subscribing to one.

    Attributes:
        action: Which of both.
        subject: As it was sent to the server.
        group: The queue group of a subscription; empty for none.
    """

    action: Literal["publish", "subscription"]
    subject: str
    group: str = ""


class Violation(NamedTuple):
    """A permissions violation that a server has reported.

    Attributes:
        permission: What is missing.
        sid: The number of the subscription where a live one lost its permission; None for an answer to SUB or PUB.
    """

    permission: Permission
    sid: int | None


def read_violation(text: str) -> Violation | None:
    """Read a permissions violation in `-ERR`; return None where it is none, or has no known form.

    The server writes subjects as Go's `%q` does; see `unquote`.
    """
    found = _VIOLATION.search(text)
    if found is None:
        return None
    action, subject, group, sid = found.groups()
    is_publish = action.lower() == "publish"
    permission = Permission("publish" if is_publish else "subscription", unquote(subject), unquote(group or ""))
    return Violation(permission, None if sid is None else int(sid))


def unquote(text: str) -> str:
    """Return what Go has quoted with `%q` (strconv.Quote), given without the quotes around it."""

    def plain(found: re.Match[str]) -> str:
        two, four, eight, other = found.groups()
        if other is not None:
            return _ESCAPED.get(other, other)
        code = int(two or four or eight, 16)
        return chr(code) if code < 0x110000 else "\ufffd"

    return _ESCAPE.sub(plain, text) if "\\" in text else text


def violates_permissions(text: str) -> bool:
    """Return whether what a server says in `-ERR` is about permissions and leaves the connection as it is."""
    return "permissions violation" in text.lower()


def refuses_a_subscription(text: str) -> bool:
    """Return whether `-ERR` refuses a subscription without its name, and leaves the connection as it is."""
    return text.lower() in _UNNAMED_SUBSCRIPTION


def refused(text: str) -> BridgeError:
    """Return the error for what a server says in `-ERR`."""
    if violates_permissions(text):
        return RejectedError(text, code="permissions violation", maybe_sent=False)
    if refuses_a_subscription(text):
        return RejectedError(text, maybe_sent=False)
    if any(words in text.lower() for words in _CREDENTIALS):
        return AuthError(f"the server refused the credentials: {text}", permanent=True)
    return ProtocolError(text)


def refused_by_jetstream(code: int | None, error_code: int | None, description: str | None) -> BridgeError:
    """Return the error for a refusal of JetStream itself, which has done nothing then.

    Args:
        code: Like a status of HTTP; from 500 on JetStream cannot at the moment.
        error_code: The precise one.
        description: For a person.
    """
    kind = UnavailableError if code is not None and code >= 500 else RejectedError
    return kind(description or f"JetStream refuses: {error_code or code}", code=error_code or code, maybe_sent=False)


#: (what was raised, ours); most specific first.
TABLE: Final[tuple[tuple[type[Exception], Make], ...]] = (
    (nats.js.errors.ServiceUnavailableError, lambda error: _api_error(error, 503)),
    (nats.js.errors.APIError, _api_error),
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
