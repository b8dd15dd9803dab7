"""Check and remember the subjects and headers of NATS, so that the server does not end the connection over them."""

import re
from collections.abc import Mapping
from typing import Any, Final

from bridge.adapters.nats.config import NAME_PATTERN
from bridge.adapters.nats.protocol import NatsMessage
from bridge.core.cluster import Received
from bridge.core.errors import InvalidError
from bridge.core.ports import Context

#: The header by which JetStream recognises a repeated message.
MESSAGE_ID: Final = "Nats-Msg-Id"
CONTENT_TYPE: Final = "Content-Type"
#: The names under which other clients of NATS show a status.
STATUS: Final = "Status"
DESCRIPTION: Final = "Description"

#: The server ends a connection whose control line is over 4,096 bytes; it holds a subject, a reply and two numbers.
_MAX_SUBJECT: Final = 2048
#: Subjects and header blocks that are remembered; when more turn up, the memory starts anew.
_REMEMBERED: Final = 1024
_UNFIT: Final = re.compile(r"[\x00-\x20\x7f]")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
#: Subjects by which server and JetStream are governed, and answers find their way.
_INTERNAL: Final = frozenset({"$JS", "$SYS", "_INBOX"})
#: What JetStream tells everybody of itself, which governs nothing.
_NEWS: Final = ["$JS", "EVENT"]
#: Headers that tell a stream what to do with a message, or a client that it is no message at all.
_GOVERNING: Final = re.compile(r"nats-.*|status|description", re.IGNORECASE | re.DOTALL)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def check_subject(subject: str, what: str, *, wildcards: bool = False) -> str:
    """See that a subject is one; returns it.

    Raises:
        InvalidError: It is not; `what` says what it was given as.
    """
    parts = subject.split(".")
    try:
        size = len(subject.encode())
    except UnicodeEncodeError:
        raise InvalidError(f"{what}: text with half of a surrogate pair has no UTF-8") from None
    if size > _MAX_SUBJECT:
        raise InvalidError(f"{what}: a subject has at most {_MAX_SUBJECT} bytes")
    if _UNFIT.search(subject) or not all(parts):
        raise InvalidError(f'{what}: "{subject}" is no subject (no spaces, no empty parts between the dots)')
    if parts[0] in _INTERNAL and not (wildcards and parts[:2] == _NEWS):
        raise InvalidError(f'{what}: "{parts[0]}" is for server and clients themselves')
    for index, part in enumerate(parts):
        wild = part == "*" or (part == ">" and index == len(parts) - 1)
        if wild and not wildcards:
            raise InvalidError(f'{what}: "{subject}" has a wildcard; those are for subscribing')
        if not wild and wildcards and ("*" in part or ">" in part):
            raise InvalidError(f'{what}: "{subject}": a wildcard is a part of its own, and ">" the last')
    return subject


def check_names(operation: str, name: str, group: str | None, config: Any) -> None:
    """Check the subject or queue of an operation, and its group; see `ports.NameCheck`."""
    match operation:
        case "subscribe":
            check_subject(name, "topic", wildcards=True)
            if group is not None:
                check_subject(group, "group")
        case "consume":
            split_queue(name, group or config.durable)
        case _:
            check_subject(name, {"request": "method", "publish": "topic"}.get(operation, "queue"))


def split_queue(queue: str, durable: str | None) -> tuple[str | None, str]:
    """Split the name of a queue that is read into stream and consumer.

    Returns:
        The stream, None where the server must be asked which one is meant; the consumer, which is `durable` where the
        queue names none.

    Raises:
        InvalidError: It names no consumer, or a name that JetStream cannot have.
    """
    stream, slash, name = queue.partition("/")
    name = name if slash else durable or ""
    if not name:
        raise InvalidError(f'queue: "{queue}" names no consumer; write "stream/consumer", or set `durable`')
    for part in (stream, name) if slash else (name,):
        if not re.fullmatch(NAME_PATTERN, part):
            raise InvalidError(f'queue: "{part}" cannot be the name of a stream or consumer')
    if not slash:
        check_subject(queue, "queue", wildcards=True)
    return stream if slash else None, name


def outgoing_headers(headers: Mapping[str, str] | None, context: Context, content_type: str) -> dict[str, str]:
    """The headers of one message: the caller's, the context's, the content's type and the idempotency key.

    What governs the server stays behind where it only travels with an event (the context's), and is refused where the
    caller asks for it. The caller's may have been joined with the context's before.

    Raises:
        InvalidError: One that NATS cannot carry as it is, for spaces at its ends would be lost; or one by which the
            caller would govern the server.
    """
    for name in headers or ():
        if name not in context.headers and _GOVERNING.fullmatch(name):
            raise InvalidError(f"headers.{name[:100]}: governs server or client; it is not for applications")
    joined = {**(headers or {}), **context.headers}
    merged = {CONTENT_TYPE: content_type} | {
        name: value for name, value in joined.items() if not _GOVERNING.fullmatch(name)
    }
    if context.idempotency_key is not None:
        merged[MESSAGE_ID] = context.idempotency_key
    check_headers(merged)
    return merged


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise InvalidError for headers that NATS cannot carry as they are."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise InvalidError(f"headers: {name!r} cannot be the name of a header")
        if value != value.strip() or _CONTROL.search(value):
            raise InvalidError(f"headers.{name}: no control characters, and no spaces at the ends")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidError(f"headers.{name}: text with half of a surrogate pair has no UTF-8") from None


def shown_headers(message: NatsMessage) -> dict[str, str]:
    """Return the headers of a message as an application sees them: with its status, if it has one.

    A publisher may send a status, as for the idle heartbeats of JetStream. A header of that name goes before it.
    """
    headers = message.headers or {}
    if not message.status:
        return headers
    status = {STATUS: message.code, DESCRIPTION: message.description}
    return {name: value for name, value in status.items() if value} | headers


def header_block(headers: Mapping[str, str]) -> bytes:
    """Checked headers as they stand in front of a payload (ADR-4)."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"NATS/1.0\r\n{lines}\r\n".encode()


class Outgoing:
    """Subjects and headers that were found good, so that the same ones are not checked for each message.

    Attributes:
        checked: Subjects of `check`.
    """

    def __init__(self) -> None:
        self.checked: set[str] = set()
        self._blocks: dict[tuple[Any, ...], bytes] = {}

    def check(self, subject: str, what: str) -> None:
        """See `check_subject`; for publishing. Needless where the subject is in `checked`."""
        check_subject(subject, what)
        if len(self.checked) >= _REMEMBERED:
            self.checked.clear()
        self.checked.add(subject)

    def headers(self, headers: Mapping[str, str] | None, context: Context, content_type: str) -> bytes:
        """The block of `outgoing_headers`."""
        if headers or context.idempotency_key is not None:
            return header_block(outgoing_headers(headers, context, content_type))
        key = (content_type, *context.headers.items())
        block = self._blocks.get(key)
        if block is None:
            block = header_block(outgoing_headers(headers, context, content_type))
            if len(self._blocks) >= _REMEMBERED:
                self._blocks.clear()
            self._blocks[key] = block
        return block


def received(message: NatsMessage, sequence: int = 0, deliveries: int = 1) -> Received:
    """Return a message as a fabric gets it; see `core.cluster.Received`."""
    headers = message.headers or {}
    unique = headers.pop(MESSAGE_ID, None)
    return Received(
        subject=message.subject,
        body=message.data,
        headers=headers,
        message_id=unique,
        sequence=sequence,
        deliveries=deliveries,
    )
