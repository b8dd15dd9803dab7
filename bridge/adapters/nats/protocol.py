"""The NATS client protocol without I/O: read what a server sends, build what a client sends.

Source: docs.nats.io, "Client Protocol", and ADR-4 for headers. Anybody who may publish chooses subject, headers and
payload of a message, so none of them can make reading fail: they are read as far as possible, and `NatsMessage.flaw`
names what was wrong. Only the server itself can break the framing, which is a `MalformedError`.
"""

import enum
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

#: Code of the server's own answer to a request that nobody takes.
NO_RESPONDERS: Final = "503"

PING: Final = b"PING\r\n"
PONG: Final = b"PONG\r\n"

#: Bytes of a line at most. INFO is the longest: it names the servers of a cluster, some 30 bytes each.
_MAX_LINE: Final = 65_536
#: Bytes of a message at most, so that a server gone mad does not fill the memory. nats-server itself warns above 8 MB.
_MAX_MESSAGE: Final = 256 << 20
#: Digits of a number in the line of a message at most.
_MOST_DIGITS: Final = 10
_SPACES: Final = re.compile(rb"[ \t]+")
#: White space in headers: that of ASCII alone.
_WHITE: Final = " \t\r\n\v\f"
_NAME: Final = re.compile(r"[^ \t\r\n\v\f:\x80-\U0010ffff]+")
_VERSION_LINE: Final = "NATS/1.0"


class MalformedError(Exception):
    """What the server sends does not follow the protocol; the text says where, for a person."""


class NatsMessage(msgspec.Struct):
    r"""One message.

    Attributes:
        sid: The number of the subscription that it came for.
        subject: Where it was published; bytes that are not UTF-8 show as `\xff`.
        reply: Where an answer is wanted; empty where none is.
        data: The payload.
        headers: None where it has none. Values of a name that repeats are joined with `, `, in their order.
        flaw: What could not be read of it, for a person; empty where all could.
        status: A code and, behind a space, words, as in `404 No Messages`; empty where it has none. It stands in front
            of the headers and is none of them. Whoever may publish may send one, but only servers are expected to.
    """

    sid: int
    subject: str
    reply: str
    data: bytes
    headers: dict[str, str] | None = None
    flaw: str = ""
    status: str = ""

    @property
    def code(self) -> str:
        """The code of the status; empty where there is none."""
        return self.status.partition(" ")[0]

    @property
    def description(self) -> str:
        """The words of the status."""
        return self.status.partition(" ")[2]

    @property
    def says_no_responders(self) -> bool:
        """Return whether this is the server's answer to a request that nobody takes; it has no content."""
        return not self.data and self.code == NO_RESPONDERS


class Info(msgspec.Struct):
    """What a server says about itself. Unknown fields are passed over.

    Attributes:
        version: Of the server.
        headers: Whether it takes messages with headers.
        max_payload: Bytes of a message at most, headers included.
        tls_required: It speaks only TLS after this.
        tls_available: It speaks TLS after this, if the client begins to.
        nonce: What it wants signed; empty where it wants no signature.
        connect_urls: The servers of its cluster, as `host:port`, itself among them.
        lame_duck: It is about to end, and closes all connections little by little ("lame duck mode").
    """

    version: str = ""
    headers: bool = False
    max_payload: int = 1_048_576
    tls_required: bool = False
    tls_available: bool = False
    nonce: str = ""
    connect_urls: list[str] | None = None
    lame_duck: bool = msgspec.field(default=False, name="ldm")


class ServerError(msgspec.Struct):
    """`-ERR`: `text` is without the quotes around it."""

    text: str


class Signal(enum.Enum):
    """What a server sends that has no content."""

    PING = b"PING"
    PONG = b"PONG"
    OK = b"+OK"


Operation = NatsMessage | Info | ServerError | Signal

_INFO: Final = msgspec.json.Decoder(Info)
_SIGNALS: Final[Mapping[bytes, Signal]] = {signal.value: signal for signal in Signal}


class Parser:
    """Makes operations of the bytes of one connection, however they are cut."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._rest = bytearray()
        self._needed = 0

    @property
    def is_empty(self) -> bool:
        """Whether no bytes wait for the rest of their operation."""
        return not self._rest

    def feed(self, data: bytes) -> Iterator[Operation]:
        """Yield what `data` completes, in order. Is to be run to its end before the next call.

        Raises:
            MalformedError: After what came before it was yielded. The connection is of no use any more.
        """
        rest = self._rest
        if rest:
            rest += data
            # `_needed` is 0 while a line is not complete. Looking at what waits again and again would take long.
            if len(rest) < self._needed or (not self._needed and b"\n" not in data and len(rest) <= _MAX_LINE):
                return
            data = bytes(rest)
            rest.clear()
        self._needed = position = 0
        end = len(data)
        while position < end:
            line_end = data.find(b"\r\n", position, position + _MAX_LINE + 2)
            if line_end < 0:
                if end - position > _MAX_LINE:
                    raise MalformedError("a line without an end")
                break
            line, start = data[position:line_end], line_end + 2
            if line.startswith((b"MSG ", b"HMSG ")):
                fields, sid, size = _fields(line)
                if size > _MAX_MESSAGE:
                    raise MalformedError(f"a message of {size} bytes")
                stop = start + size
                if stop + 2 > end:
                    self._needed = stop + 2 - position
                    break
                if data[stop : stop + 2] != b"\r\n":
                    raise MalformedError("a message without its end")
                position = stop + 2
                yield _message(fields, sid, data, start, stop)
            else:
                position = start
                yield _other(line)
        if position < end:
            rest += data[position:] if position else data


def _fields(line: bytes) -> tuple[list[bytes], int, int]:
    """Return the fields of a message's line, the number of its subscription, and how many bytes follow."""
    fields = line.split(b" ")
    if b"" in fields or b"\t" in line:  # the protocol allows more than one space, and tabs
        fields = _SPACES.split(line.strip(b" \t"))
    # With headers there is one number more; a subject for answers may be there or not.
    with_headers = fields[0] == b"HMSG"
    if not 4 + with_headers <= len(fields) <= 5 + with_headers:
        raise MalformedError("a message whose line cannot be read")
    sid, size = fields[2], fields[-1]
    if not (sid.isdigit() and size.isdigit()) or len(sid) > _MOST_DIGITS or len(size) > _MOST_DIGITS:
        raise MalformedError("a message whose line cannot be read")
    return fields, int(sid), int(size)


def _message(fields: list[bytes], sid: int, data: bytes, start: int, stop: int) -> NatsMessage:
    subject, reply = fields[1], b""
    headers, flaw, status = None, "", ""
    if len(fields[0]) == 3:
        if len(fields) == 5:
            reply = fields[3]
    else:
        if len(fields) == 6:
            reply = fields[3]
        digits = fields[-2]
        if not digits.isdigit() or len(digits) > _MOST_DIGITS:
            raise MalformedError("a message whose line cannot be read")
        size = int(digits)
        if start + size > stop:
            raise MalformedError("headers that are longer than their message")
        if size:
            headers, flaw, status = read_headers(data[start : start + size])
            start += size
    try:
        if headers is None:
            return NatsMessage(sid, subject.decode(), reply.decode(), data[start:stop])
        return NatsMessage(sid, subject.decode(), reply.decode(), data[start:stop], headers, flaw, status)
    except UnicodeDecodeError:
        flaw = "its subject is not UTF-8"
        return NatsMessage(sid, _text(subject), _text(reply), data[start:stop], headers, flaw, status)


def _other(line: bytes) -> Operation:
    word, _, content = line.partition(b" ")
    signal = _SIGNALS.get(word)
    if signal is not None:
        return signal
    if word == b"-ERR":
        return ServerError(_text(content.strip().strip(b"'")))
    if word == b"INFO":
        try:
            return _INFO.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MalformedError("an INFO that cannot be read") from None
    raise MalformedError(f'"{_text(line[:40])}", which is no operation of NATS')


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")


def read_headers(block: bytes) -> tuple[dict[str, str], str, str]:
    """Read the headers in front of a payload (ADR-4).

    Bytes of a value that are not UTF-8 become U+FFFD.

    Returns:
        The headers, what could not be read of them, which is left out, and the status; see `NatsMessage`.
    """
    first, *lines = block.decode("utf-8", "replace").split("\r\n")
    headers: dict[str, str] = {}
    repeated: dict[str, list[str]] = {}
    flaw = status = ""
    if first != _VERSION_LINE:
        status, flaw = _read_status(first)
    for line in lines:
        if line:
            name, colon, value = line.partition(":")
            name, value = name.strip(_WHITE), value.strip(_WHITE)
            if not colon or not _NAME.fullmatch(name):
                flaw = "a header cannot be read"
            elif name in headers:
                repeated.setdefault(name, [headers[name]]).append(value)
            else:
                headers[name] = value
    for name, values in repeated.items():
        headers[name] = ", ".join(values)
    return headers, flaw, status


def _read_status(line: str) -> tuple[str, str]:
    """Return the status in the first line of a block of headers, and what could not be read of it."""
    if not line.startswith(_VERSION_LINE):
        return "", "its headers do not begin as NATS' do"
    code, _, words = line[len(_VERSION_LINE) :].strip(_WHITE).partition(" ")
    if not code:
        return "", ""
    if not (code.isascii() and code.isdigit()):
        return "", "its status is no number"
    return f"{code} {words.strip(_WHITE)}".rstrip(_WHITE), ""


def connect_line(info: Info, credentials: Mapping[str, str], name: str, version: str) -> bytes:
    """CONNECT, which answers a server's INFO.

    Args:
        info: What the server has said.
        credentials: The fields that prove who we are.
        name: What the server shows of us.
        version: Ours.
    """
    options: dict[str, Any] = {"verbose": False, "pedantic": False, "lang": "python3", "version": version}
    options |= {"protocol": 1, "echo": True, "name": name, "headers": info.headers, "no_responders": info.headers}
    return b"CONNECT %b\r\n" % msgspec.json.encode(options | dict(credentials))


def publish_line(subject: str, payload: bytes, headers: bytes = b"", reply: str = "") -> bytes:
    """PUB, or HPUB where there are headers, with the payload. Subjects have no white space; see `check_subject`."""
    size = len(headers) + len(payload)
    target = f"{subject} {reply}" if reply else subject
    if headers:
        return b"HPUB %b %d %d\r\n%b%b\r\n" % (target.encode(), len(headers), size, headers, payload)
    return b"PUB %b %d\r\n%b\r\n" % (target.encode(), size, payload)


def subscribe_line(sid: int, subject: str, group: str = "") -> bytes:
    """SUB; `group` is the queue group, if any."""
    return f"SUB {subject} {group} {sid}\r\n".encode() if group else f"SUB {subject} {sid}\r\n".encode()


def unsubscribe_line(sid: int) -> bytes:
    """UNSUB."""
    return b"UNSUB %d\r\n" % sid
