"""Define every error that the bridge raises or reports.

::

    BridgeError                 kind                 may be tried again
    ├── InvalidError            invalid              no
    ├── UnknownIntegrationError unknown_integration  no
    ├── UnknownOperationError   unknown_operation    no
    ├── NotSupportedError       not_supported        no
    ├── NotConnectedError       not_connected        yes: surely not sent
    ├── ConnectionLostError     connection_lost      if idempotent
    ├── AttemptTimeoutError     timeout              if idempotent
    ├── DeadlineError           deadline             no
    ├── CircuitOpenError        circuit_open         later
    ├── OverloadedError         overloaded           later
    ├── ThrottledError          throttled            yes, after `retry_after_ms`
    ├── AuthError               auth                 no
    ├── RejectedError           rejected             no
    ├── UnavailableError        unavailable          if idempotent, or not sent
    ├── ProtocolError           protocol             no
    └── StoppingError           stopping             later
    ConfigError                 (start-up only; holds all diagnostics at once)
    BusError                    (start-up only; the bus cannot be hosted or joined)
    └── NoBusError              (no bus answers a program that wants to join it)
    OutboxError                 (start-up only; what is kept on disk cannot be used)
    KeyFileError                (start-up only; a key of the bus cannot be used)

The kinds and their meaning are the bus contract's (`error.kind`). Two facts travel with each error: `retryable`, which
the wire shows, and `maybe_sent`, which only the guard reads: whether the remote may have acted on the request already.
A message never holds a secret: adapters put into it only what the remote has sent, and names.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from bridge.core.diagnostic import Diagnostic

#: The limits of an error: characters of its message, bytes of the remote's code or data, and containers inside one
#: another in these. An error is part of several events, and must always fit on the bus.
MOST_MESSAGE: Final = 2000
_MOST_DATA: Final = 65_536
_MOST_DEPTH: Final = 16


ErrorKind = Literal[
    "invalid",
    "unknown_integration",
    "unknown_operation",
    "not_supported",
    "not_connected",
    "connection_lost",
    "timeout",
    "deadline",
    "circuit_open",
    "overloaded",
    "throttled",
    "auth",
    "rejected",
    "unavailable",
    "protocol",
    "stopping",
]

#: An integer has 64 bits with a sign; a longer one is its decimal digits as text.
ErrorCode = int | str


class ErrorObject(msgspec.Struct, frozen=True):
    """What went wrong. It never holds a secret.

    Attributes:
        kind: What happened; a closed list.
        message: One line for a person.
        retryable: Whether the same call may be tried again, now or later.
        code: The remote's own error code, as it sent it.
        data: The remote's own error data, as it sent it.
        retry_after_ms: Milliseconds to wait before trying again makes sense.
    """

    kind: ErrorKind
    message: str
    retryable: bool
    code: ErrorCode | msgspec.UnsetType = msgspec.UNSET
    data: Any | msgspec.UnsetType = msgspec.UNSET
    retry_after_ms: Annotated[int, msgspec.Meta(ge=0)] | msgspec.UnsetType = msgspec.UNSET

    def shortened(self, most: int) -> "ErrorObject":
        """Return it without the remote's own data, and with at most so many characters of its message."""
        message = self.message if len(self.message) <= most else f"{self.message[: most - 1]}…"
        return msgspec.structs.replace(self, message=message, data=msgspec.UNSET)


def _can_be_carried(value: Any) -> bool:
    if value is None or type(value) is bool:
        return True
    try:
        return not _deeper(value, _MOST_DEPTH) and len(msgspec.msgpack.encode(value)) <= _MOST_DATA
    except (OverflowError, TypeError, ValueError):  # what msgspec raises on what MessagePack cannot hold
        return False


def _deeper(value: Any, limit: int) -> bool:
    if not isinstance(value, dict | list | tuple):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return limit == 0 or any(_deeper(one, limit - 1) for one in inside)


class BridgeError(Exception):
    """The root: one `kind` of the contract, and what the guard must know about it.

    Attributes:
        kind: The contract's `error.kind`.
        retryable: Whether trying again can help at all. The guard narrows it for calls that are not idempotent.
        maybe_sent: True where the remote may have acted on the request.
        code: The remote's own error code, as it sent it.
        data: The remote's own error data, as it sent it.
        retry_after_ms: How long the remote, or the open circuit, asks to wait, in milliseconds.
        permanent: True where it stays so until a person changes something: bad credentials, a certificate that does
            not verify. The connection is then `failed`, and tried again slowly.
        attempts: How many attempts another bridge has made, where it has executed the operation; None where none has.
    """

    kind: ClassVar[ErrorKind] = "protocol"
    default_retryable: ClassVar[bool] = False
    default_maybe_sent: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        maybe_sent: bool | None = None,
        code: int | str | None = None,
        data: Any = None,
        retry_after_ms: int | None = None,
        permanent: bool = False,
    ) -> None:
        message = message[:MOST_MESSAGE].encode("utf-8", "replace").decode()
        super().__init__(message)
        self.message = message
        self.retryable = self.default_retryable
        self.maybe_sent = self.default_maybe_sent if maybe_sent is None else maybe_sent
        if isinstance(code, int) and not -(2**63) <= code < 2**63:
            code = str(code)
        self.code = code if _can_be_carried(code) else None
        self.data = data if _can_be_carried(data) else None
        self.retry_after_ms = retry_after_ms
        self.permanent = permanent
        self.attempts: int | None = None

    def to_wire(self) -> ErrorObject:
        """Return the `error` object of the bus contract."""
        return ErrorObject(
            kind=self.kind,
            message=self.message,
            retryable=self.retryable,
            code=msgspec.UNSET if self.code is None else self.code,
            data=msgspec.UNSET if self.data is None else self.data,
            retry_after_ms=msgspec.UNSET if self.retry_after_ms is None else self.retry_after_ms,
        )


class InvalidError(BridgeError):
    """The payload is not valid by the command's schema; the message names the part."""

    kind = "invalid"


class UnknownIntegrationError(BridgeError):
    """There is no integration of that name."""

    kind = "unknown_integration"


class UnknownOperationError(BridgeError):
    """There is no operation of that name."""

    kind = "unknown_operation"


class NotSupportedError(BridgeError):
    """The protocol does not have this operation."""

    kind = "not_supported"


class NotConnectedError(BridgeError):
    """There is no connection, and nothing was sent."""

    kind = "not_connected"
    default_retryable = True


class ConnectionLostError(BridgeError):
    """The connection ended after something may have been sent."""

    kind = "connection_lost"
    default_retryable = True
    default_maybe_sent = True


class AttemptTimeoutError(BridgeError):
    """No answer within one attempt's time limit."""

    kind = "timeout"
    default_retryable = True
    default_maybe_sent = True


class DeadlineError(BridgeError):
    """The caller's total time has passed."""

    kind = "deadline"
    default_maybe_sent = True


class CircuitOpenError(BridgeError):
    """The call was refused without an attempt, because the circuit is open."""

    kind = "circuit_open"
    default_retryable = True


class OverloadedError(BridgeError):
    """The queue or the in-flight limit is full."""

    kind = "overloaded"
    default_retryable = True


class ThrottledError(BridgeError):
    """The remote refused because it gets too many requests."""

    kind = "throttled"
    default_retryable = True


class AuthError(BridgeError):
    """The remote refused the credentials."""

    kind = "auth"


class RejectedError(BridgeError):
    """The remote understood and refused; `code`, `message` and `data` are as it sent them."""

    kind = "rejected"


class UnavailableError(BridgeError):
    """The remote cannot answer at the moment."""

    kind = "unavailable"
    default_retryable = True
    default_maybe_sent = True


class ProtocolError(BridgeError):
    """The remote's answer is not valid by its protocol."""

    kind = "protocol"
    default_maybe_sent = True


class StoppingError(BridgeError):
    """The bridge, or this integration, is draining."""

    kind = "stopping"
    default_retryable = True


#: The error of each kind.
ERRORS: Final[dict[str, type[BridgeError]]] = {
    one.kind: one
    for one in (
        InvalidError,
        UnknownIntegrationError,
        UnknownOperationError,
        NotSupportedError,
        NotConnectedError,
        ConnectionLostError,
        AttemptTimeoutError,
        DeadlineError,
        CircuitOpenError,
        OverloadedError,
        ThrottledError,
        AuthError,
        RejectedError,
        UnavailableError,
        ProtocolError,
        StoppingError,
    )
}


def error_of(wire: ErrorObject, *, maybe_sent: bool | None = None) -> BridgeError:
    """Return the error that `BridgeError.to_wire` made this object of.

    Args:
        wire: The `error` object.
        maybe_sent: Whether the remote may have acted on the request; None: what its kind means.
    """
    error = ERRORS[wire.kind](
        wire.message,
        maybe_sent=maybe_sent,
        code=None if wire.code is msgspec.UNSET else wire.code,
        data=None if wire.data is msgspec.UNSET else wire.data,
        retry_after_ms=None if wire.retry_after_ms is msgspec.UNSET else wire.retry_after_ms,
    )
    error.retryable = wire.retryable
    return error


class BusError(Exception):
    """The bus cannot be hosted or joined; the message is one line for a person."""


class NoBusError(BusError):
    """No bus answers at the addresses; the message is one line for a person and names them."""


class OutboxError(Exception):
    """What is kept on disk cannot be used; the message is one line for a person and names the path."""


class KeyFileError(Exception):
    """A key file, or a folder of them, cannot be used; the message is one line for a person and names the path."""


class ConfigError(Exception):
    """The configuration has faults; `diagnostics` holds them all, with the warnings that were found beside them.

    As a string it has a line for each fault.
    """

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        super().__init__("\n".join(str(one) for one in diagnostics if one.severity == "error"))
        self.diagnostics = tuple(diagnostics)
