"""Values on the JSON wire: what JSON cannot carry is refused before it is sent, what the bus cannot when it comes."""

import re
from typing import Any, Final

import msgspec

from bridge.core import values
from bridge.core.errors import InvalidError, ProtocolError

#: The bus allows 32 levels; the envelope's and the response's maps around a value are two of them.
MAX_DEPTH: Final = 30
_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")


def check_value(value: Any, name: str) -> None:
    """See that JSON can carry a value exactly; InvalidError where it cannot."""
    values.check_value(value, name, values.JSON, MAX_DEPTH)


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
    values.check_value(value, name, values.JSON, MAX_DEPTH, ProtocolError)
