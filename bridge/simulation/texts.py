"""Write virtual times and values as text that is the same on each machine."""

import json
from typing import Any, Final

from bridge.core.bytes_object import bytes_object
from bridge.core.printable import printable_json
from bridge.core.redaction import Redactor
from bridge.core.values import with_text_keys

#: Characters of a value in one line, at most.
_MOST: Final = 200


def clock_time(milliseconds: int) -> str:
    """Return a virtual time in seconds, as in `12.345 s`."""
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d} s"


def in_words(times: int) -> str:
    """Return how often: `once`, `twice`, `3 times`."""
    return {1: "once", 2: "twice"}.get(times, f"{times} times")


def json_line(value: Any, redactor: Redactor, *, most: int = _MOST) -> str:
    """Return a value as JSON on one line, without secrets, cut where it is long.

    Args:
        value: A value of JSON's data model, with bytes.
        redactor: Masks the secrets.
        most: Characters of the text, at most.
    """
    value = redactor.value(value)
    try:
        text = _json(value)
    except TypeError:  # MessagePack has keys that JSON lacks
        text = _json(with_text_keys(value))
    return text if len(text) <= most else f"{text[:most]} …"


def _json(value: Any) -> str:
    return printable_json(json.dumps(value, ensure_ascii=False, default=bytes_object))
