"""How a command of one node, and its answer, look on the way to a node that offers the integration: MessagePack maps.

A deadline travels as the time that is left, since the clocks of two machines differ.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from bridge.core.bytes_object import with_bytes
from bridge.core.errors import BridgeError, ErrorCode, ErrorKind, ErrorObject, InvalidError, error_of
from bridge.core.model import Executed, UInt

#: The version of both, in the key `v`. A reader ignores keys that it does not know.
VERSION: Final = 1
#: The operations that can be asked for.
OPERATIONS: Final = ("request", "publish", "enqueue")
#: Seconds that an asker waits at most; whoever asks for more gets that.
LONGEST: Final = 86_400.0

#: Characters of the message of a shortened error, at most.
_MOST_SHORTENED: Final = 200
_NODE: Final = r"^[A-Za-z0-9_-]{1,128}\Z"
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class UseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A command, as it is sent to the nodes that offer its integration; the subject names that.

    Attributes:
        v: The version.
        node: Who asks.
        operation: `request`, `publish` or `enqueue`.
        payload: The command's payload.
        source: The `source` of the event that caused it, on the asker's bus.
        id: The `id` of that event.
        correlation_id: Its correlation id.
        route: The route there that asks; None for a command.
        headers: Headers of the command: `idempotency_key`, `hop`, the trace context, and unknown ones.
        left_ms: Milliseconds for which the asker still waits.
    """

    v: int = VERSION
    node: Annotated[str, Meta(pattern=_NODE)]
    operation: Literal["request", "publish", "enqueue"]
    payload: msgspec.Raw
    source: Annotated[str, Meta(max_length=1024)] | None
    id: UInt
    correlation_id: str | None
    route: Annotated[str, Meta(max_length=256)] | None
    headers: dict[str, str]
    left_ms: Annotated[float, Meta(ge=0, le=LONGEST * 1000)]


class UseError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The `error` of an answer: that of the bus contract, and what the asker's guard and outbox must know.

    Attributes:
        kind: See `ErrorObject`.
        message: See `ErrorObject`.
        retryable: See `ErrorObject`.
        maybe_sent: Whether the remote may have acted on the command.
        code: See `ErrorObject`.
        data: See `ErrorObject`.
        retry_after_ms: See `ErrorObject`.
    """

    kind: ErrorKind
    message: str
    retryable: bool
    maybe_sent: bool
    code: ErrorCode | msgspec.UnsetType = msgspec.UNSET
    data: Any | msgspec.UnsetType = msgspec.UNSET
    retry_after_ms: Annotated[int, Meta(ge=0)] | msgspec.UnsetType = msgspec.UNSET


class UseAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a command.

    Attributes:
        v: The version.
        attempts: How many attempts were made there.
        result: The command's result, where it has succeeded.
        error: Why it has failed; None where it has succeeded.
    """

    v: int = VERSION
    attempts: UInt
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: UseError | None = None


class _Versioned(msgspec.Struct, frozen=True):
    v: int


_encode: Final = msgspec.msgpack.Encoder().encode
_version: Final = msgspec.msgpack.Decoder(_Versioned).decode
_request: Final = msgspec.msgpack.Decoder(UseRequest).decode
_answer: Final = msgspec.msgpack.Decoder(UseAnswer).decode


def encode_request(request: UseRequest) -> bytes:
    """Return the body of a request.

    Raises:
        InvalidError: It has what MessagePack cannot carry.
    """
    try:
        return _encode(request)
    except UnicodeEncodeError:
        raise InvalidError("a string is not valid Unicode (lone surrogate)") from None


def encode_payload(command: msgspec.Struct) -> msgspec.Raw:
    """Return a command's arguments as the payload of its event; those with their default value are left out.

    Raises:
        InvalidError: It has what MessagePack cannot carry.
    """
    payload = {}
    for field in msgspec.structs.fields(command):
        value = getattr(command, field.name)
        # A node of another version need not know each argument.
        if value is not msgspec.UNSET and (field.default is msgspec.NODEFAULT or value != field.default):
            payload[field.name] = value
    try:
        return msgspec.Raw(_encode(payload))
    except (OverflowError, TypeError, ValueError) as unfit:
        raise InvalidError(f"MessagePack cannot carry it: {str(unfit)[:200]}") from None


def decode_request(body: bytes) -> UseRequest:
    """Return the request with this body. Its payload is not checked.

    Raises:
        ValueError: No bridge has written that; the message says what is wrong with it, without its content.
    """
    try:
        version = _version(body).v
        if version != VERSION:
            raise ValueError(f"it has version {version}; this bridge reads version {VERSION}")
        return _request(body)
    except _UNREADABLE as unreadable:
        raise ValueError(_why(unreadable)) from None


def encode_result(result: bytes, attempts: int) -> bytes:
    """Return the body of an answer with this result, which is encoded already."""
    return _encode(UseAnswer(attempts=attempts, result=msgspec.Raw(result)))


def encode_error(error: BridgeError, attempts: int, *, shortened: bool = False) -> bytes:
    """Return the body of an answer with this error; `shortened`: without the remote's own code and data."""
    wire = error.to_wire()
    if shortened:
        wire = msgspec.structs.replace(wire.shortened(_MOST_SHORTENED), code=msgspec.UNSET)
    sent = UseError(
        kind=wire.kind,
        message=wire.message,
        retryable=wire.retryable,
        maybe_sent=error.maybe_sent,
        code=wire.code,
        data=wire.data,
        retry_after_ms=wire.retry_after_ms,
    )
    return _encode(UseAnswer(attempts=attempts, error=sent))


def read_answer(body: bytes) -> Executed:
    """Return the result in the body of an answer, and the attempts that were made for it.

    Raises:
        BridgeError: The error in it, with these attempts.
        ValueError: No bridge has written that; the message says what is wrong with it, without its content.
    """
    try:
        version = _version(body).v
        if version != VERSION:
            raise ValueError(f"it has version {version}; this bridge reads version {VERSION}")
        answer = _answer(body)
        if answer.error is None:
            if answer.result is msgspec.UNSET:
                raise ValueError("it has neither a result nor an error")
            return Executed(with_bytes(msgspec.msgpack.decode(answer.result), "result"), answer.attempts)
    except InvalidError as unfit:
        raise ValueError(unfit.message) from None
    except _UNREADABLE as unreadable:
        raise ValueError(_why(unreadable)) from None
    raise _error(answer.error, answer.attempts)


def _error(sent: UseError, attempts: int) -> BridgeError:
    wire = ErrorObject(
        kind=sent.kind,
        message=sent.message,
        retryable=sent.retryable,
        code=sent.code,
        data=sent.data,
        retry_after_ms=sent.retry_after_ms,
    )
    error = error_of(wire, maybe_sent=sent.maybe_sent)
    error.attempts = attempts
    return error


def _why(unreadable: Exception) -> str:
    if isinstance(unreadable, RecursionError):
        return "it is nested too deeply"
    return str(unreadable)[:200] if isinstance(unreadable, msgspec.MsgspecError) else "a text in it is not UTF-8"
