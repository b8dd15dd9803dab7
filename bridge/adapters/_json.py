"""Values on the JSON wire: what JSON cannot carry is refused before it is sent, what MessagePack cannot when it comes.

msgspec would write bytes as base64, NaN as null and integer keys as strings; the contract says `invalid` instead
("Values on other wires").
"""

import math
import re
from typing import Any, Final

import msgspec

from bridge.errors import InvalidError, ProtocolError

#: The bus allows 32 levels; the envelope's and the response's maps around a value are two of them.
MAX_DEPTH: Final = 30
_LOWEST: Final = -(2**63)
_BEYOND: Final = 2**64
_ALWAYS_FIT: Final = frozenset({str, bool, type(None)})
_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")


class _UnfitError(Exception):
    """Why a value does not fit; `path` grows from the inside out while it is raised."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.path = ""


def _check(value: Any, room: int) -> None:
    kind = type(value)
    if kind in _ALWAYS_FIT:
        return
    if kind is int:
        if not _LOWEST <= value < _BEYOND:
            raise _UnfitError("integers have at most 64 bit")
    elif kind is float:
        if not math.isfinite(value):
            raise _UnfitError("JSON has no NaN and no infinity")
    elif room <= 0:
        raise _UnfitError(f"nested deeper than {MAX_DEPTH} levels")
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise _UnfitError(f"a {type(key).__name__} cannot be a key in JSON")
            inner = type(item)  # most are plain: no call for each
            if inner in _ALWAYS_FIT or (inner is int and _LOWEST <= item < _BEYOND):
                continue
            try:
                _check(item, room - 1)
            except _UnfitError as unfit:
                unfit.path = f".{key}{unfit.path}"
                raise
    elif kind is list or kind is tuple:
        for index, item in enumerate(value):
            inner = type(item)
            if inner in _ALWAYS_FIT or (inner is int and _LOWEST <= item < _BEYOND):
                continue
            try:
                _check(item, room - 1)
            except _UnfitError as unfit:
                unfit.path = f"[{index}]{unfit.path}"
                raise
    elif kind is bytes or kind is bytearray or kind is memoryview:
        raise _UnfitError("bytes cannot be JSON")
    else:
        raise _UnfitError(f"a {kind.__name__} cannot be JSON")


def check_value(value: Any, name: str) -> None:
    """See that JSON can carry a value exactly.

    Args:
        value: What is to be sent.
        name: What the value is called in a complaint, as in `params`.

    Raises:
        InvalidError: It cannot; the message has the path to the place.
    """
    try:
        _check(value, MAX_DEPTH)
    except _UnfitError as unfit:
        raise InvalidError(f"{name}{unfit.path[:200]}: {unfit.why}") from None


def encode(value: Any, name: str) -> bytes:
    """A checked value, or a struct around one, as JSON; InvalidError where its text is no Unicode."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        raise InvalidError(f"{name}: text with half of a surrogate pair cannot be JSON") from None


def parse(body: bytes, decoder: msgspec.json.Decoder[Any], name: str) -> Any:
    """Decode an answer; `name` is what it is called in a complaint.

    Raises:
        ProtocolError: It is not JSON, not of the decoder's shape, or holds what cannot go onto the bus. The message
            never quotes it.
    """
    if not body:
        raise ProtocolError(f"{name} has an empty body")
    try:
        value = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"{name} has the wrong shape: {str(error)[:100]}") from None
    except (msgspec.DecodeError, ValueError) as error:
        what = "HTML" if body.lstrip()[:1] == b"<" else "no JSON"
        why = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)[:100]
        raise ProtocolError(f"{name} is {what} ({why})") from None
    except RecursionError:
        raise ProtocolError(f"{name} is nested too deeply") from None
    return value


def may_not_fit(body: bytes) -> bool:
    """A quick look whether an answer could hold what the bus cannot carry, so that most need no walk through them."""
    return body.count(b"{") + body.count(b"[") > MAX_DEPTH or _LONG_NUMBER.search(body) is not None


def check_answer(value: Any, name: str) -> None:
    """See that the bus can carry what came; ProtocolError where it cannot."""
    try:
        _check(value, MAX_DEPTH)
    except _UnfitError as unfit:
        raise ProtocolError(f"{name}{unfit.path[:200]}: {unfit.why}") from None
