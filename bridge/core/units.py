"""Read durations, sizes and rates of the configuration: `"250ms"`, `"64KiB"`, `"100/s"`.

Each is a pydantic type, for the `config { … }` models of adapters, too. In memory a duration is a float
of seconds, a size an int of bytes, a rate a float of operations a second.
"""

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE: Final = re.compile(r"(\d+)(B|KiB|MiB|GiB|kB|MB|GB)?")
_BYTES: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)/(s|m|h)")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def parse_duration(value: Any) -> Any:
    """Return the seconds of `"250ms"`, `"30s"`, `"2m"`, `"1h"` or a bare number of seconds.

    Raises:
        ValueError: It is not a duration; the message says what is valid.
    """
    if _is_number(value):
        return float(value)
    if isinstance(value, str) and (found := _DURATION.fullmatch(value.strip())):
        return float(found[1]) * _SECONDS[found[2]]
    msg = f'{value!r} is not a duration; write "250ms", "30s", "2m", "1h" or a number of seconds'
    raise ValueError(msg)


def parse_size(value: Any) -> Any:
    """Return the bytes of `"64KiB"`, `"1MiB"` or a bare number of bytes.

    Raises:
        ValueError: It is not a size; the message says what is valid.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (found := _SIZE.fullmatch(value.strip())):
        return int(found[1]) * _BYTES[found[2] or "B"]
    msg = f'{value!r} is not a size; write "64KiB", "1MiB" or a number of bytes'
    raise ValueError(msg)


def parse_rate(value: Any) -> Any:
    """Return the operations a second of `"100/s"`, `"30/m"` or a bare number a second.

    Raises:
        ValueError: It is not a rate; the message says what is valid.
    """
    if _is_number(value):
        return float(value)
    if isinstance(value, str) and (found := _RATE.fullmatch(value.strip())):
        return float(found[1]) / _SECONDS[found[2]]
    msg = f'{value!r} is not a rate; write "100/s", "30/m" or a number a second'
    raise ValueError(msg)


def _schema(pattern: re.Pattern[str], example: str, unit: str) -> WithJsonSchema:
    text = {"type": "string", "pattern": f"^{pattern.pattern}$", "examples": [example]}
    return WithJsonSchema({"anyOf": [text, {"type": "number", "minimum": 0}], "description": unit})


#: Seconds, zero or more.
Duration = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False),
    BeforeValidator(parse_duration),
    _schema(_DURATION, "30s", "duration; a bare number is seconds"),
]
#: Seconds, more than zero.
PositiveDuration = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False),
    BeforeValidator(parse_duration),
    _schema(_DURATION, "30s", "duration; a bare number is seconds"),
]
#: Bytes, more than zero.
Size = Annotated[int, Field(gt=0), BeforeValidator(parse_size), _schema(_SIZE, "1MiB", "size; a bare number is bytes")]
#: Operations a second, more than zero.
Rate = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False),
    BeforeValidator(parse_rate),
    _schema(_RATE, "100/s", "rate; a bare number is per second"),
]
