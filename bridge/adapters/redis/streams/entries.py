"""Convert stream entries: their fields to messages and headers, their names to the `message_id`s of the bus."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from bridge.adapters._common.content import Codec
from bridge.adapters.redis.replies import WRONG_SHAPE, wrong_shape
from bridge.core.errors import InvalidError

DATA: Final = b"data"
HEADERS: Final = b"headers"
_OURS: Final = frozenset({DATA, HEADERS})
_HEADERS: Final = msgspec.json.Decoder(dict[str, str])
#: Redis takes any bytes for a name, but control characters would break terminals and logs.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_NAME: Final = 65_535
_MESSAGE_ID: Final = re.compile(r"(\d+-\d+)(?:@([^/]+))?/(.+)", re.DOTALL)

Fields = Sequence[bytes]
"""Name, value, name, value, … as Redis stores and sends them."""


class EntryName(NamedTuple):
    """The parts of a `message_id`: `<entry>/<stream>`, or `<entry>@<group>/<stream>` for another group."""

    entry: str
    group: str | None
    queue: str


def check_name(name: str, what: str) -> str:
    """Check the name of a channel or stream, and return it.

    Raises:
        InvalidError: It has control characters, more than 65,535 bytes, or is no Unicode. `what` names the argument.
    """
    if not name.isprintable() and _CONTROL.search(name):
        raise InvalidError(f"{what}: a name holds no control characters")
    try:
        size = len(name) if name.isascii() else len(name.encode())
    except UnicodeEncodeError:
        raise InvalidError(f"{what}: text with half of a surrogate pair has no UTF-8") from None
    if size > _MAX_NAME:
        raise InvalidError(f"{what}: {size} bytes, a name has {_MAX_NAME} at most")
    return name


def message_id(entry: str, queue: str, group: str | None = None) -> str:
    """Return the `message_id` of an entry; `group` is None where it is the configured one."""
    return f"{entry}/{queue}" if group is None else f"{entry}@{group}/{queue}"


def parse_message_id(text: str) -> EntryName:
    """Split a `message_id` into its parts. Raises InvalidError where it does not have that form."""
    found = _MESSAGE_ID.fullmatch(text)
    if found is None:
        raise InvalidError('message_id: not one of this adapter\'s, which look like "1700000000000-0/queue"')
    check_name(text, "message_id")
    return EntryName(*found.groups())


def encode_headers(headers: Mapping[str, str]) -> bytes:
    """Return headers as JSON, as they are stored. Raises InvalidError for text that has no UTF-8."""
    try:
        return msgspec.json.encode(headers)
    except UnicodeEncodeError:
        raise InvalidError("headers: text with half of a surrogate pair has no UTF-8") from None


def decode_fields(fields: Fields, codec: Codec) -> tuple[Any, dict[str, str]]:
    """Return message and headers of an entry. One with other fields than ours is a map of them.

    What the codec cannot read stays bytes, and headers that are no JSON object of strings stay text, in a header
    `headers`. The header `codec_error` then says why.

    Raises:
        ProtocolError: It is no entry at all.
    """
    try:
        names = fields[::2]
        if DATA not in names or not _OURS.issuperset(names):
            return _decode_map(names, fields[1::2], codec)
        data = _bytes(fields[2 * names.index(DATA) + 1])
        headers = _headers(_bytes(fields[2 * names.index(HEADERS) + 1])) if HEADERS in names else {}
    except WRONG_SHAPE:
        raise wrong_shape("a read of the stream") from None
    message, problem = codec.decode_or_keep(data)
    return message, {**headers, **problem} if problem else headers


def _decode_map(names: Fields, contents: Fields, codec: Codec) -> tuple[Any, dict[str, str]]:
    texts = [name.decode(errors="backslashreplace") for name in names]
    values, problems = {}, {}
    for text, value in zip(texts, contents, strict=True):
        values[text], problem = codec.decode_or_keep(_bytes(value))
        problems.update({name: f"{text}: {why}" for name, why in problem.items()})
    return values, problems


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError
    return value


def _headers(data: bytes) -> dict[str, str]:
    try:
        return _HEADERS.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        why = "the entry's headers are not a JSON object of strings"
        return {"headers": data.decode(errors="backslashreplace"), "codec_error": why}
