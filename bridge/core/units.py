"""Read and write durations, sizes and rates of the configuration: `"250ms"`, `"64KiB"`, `"100/s"`.

Each is a pydantic type, for the `config { … }` models of adapters, too. In memory a duration is a float
of seconds, a size an int of bytes, a rate a float of operations a second. As JSON (`model_dump(mode="json")`) each is
the text that a file would have.
"""

import re
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE: Final = re.compile(r"(\d+)(B|KiB|MiB|GiB|kB|MB|GB)?")
_BYTES: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_LARGEST_FIRST: Final = ("GiB", "MiB", "KiB", "GB", "MB", "kB")
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


def duration_text(seconds: float) -> str:
    """Return seconds as a file writes them: `250ms`, `1.5s`, `30s`, `2m`, `24h`."""
    if seconds < 1 and seconds:
        return f"{_decimal(round(seconds * 1000, 9))}ms"
    for unit in ("h", "m"):
        whole, rest = divmod(seconds, _SECONDS[unit])
        if whole and not rest and (whole > 1 or unit == "h"):
            return f"{_decimal(whole)}{unit}"
    return f"{_decimal(seconds)}s"


def size_text(size: int) -> str:
    """Return bytes as a file writes them: `512B`, `64KiB`, `1MiB`, `10MB`."""
    unit = next((unit for unit in _LARGEST_FIRST if size >= _BYTES[unit] and size % _BYTES[unit] == 0), "B")
    return f"{size // _BYTES[unit]}{unit}"


def rate_text(rate: float) -> str:
    """Return operations a second as a file writes them: `100/s`, `30/m`, `0.5/h`."""
    each = {unit: round(rate * _SECONDS[unit], 9) for unit in ("s", "m", "h")}
    unit = next((unit for unit, count in each.items() if count.is_integer() and count), "s" if rate >= 1 else "h")
    return f"{_decimal(each[unit])}/{unit}"


def _decimal(number: float) -> str:
    """Return a number without an exponent and without trailing zeros, as these units are written."""
    return format(Decimal(repr(number)).normalize(), "f")


def _schema(pattern: re.Pattern[str], example: str, unit: str) -> WithJsonSchema:
    text = {"type": "string", "pattern": f"^{pattern.pattern}$", "examples": [example]}
    return WithJsonSchema({"anyOf": [text, {"type": "number", "minimum": 0, "description": unit}]})


#: Seconds, zero or more.
Duration = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False),
    BeforeValidator(parse_duration),
    PlainSerializer(duration_text, return_type=str, when_used="json"),
    _schema(_DURATION, "30s", "Seconds."),
]
#: Seconds, more than zero.
PositiveDuration = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False),
    BeforeValidator(parse_duration),
    PlainSerializer(duration_text, return_type=str, when_used="json"),
    _schema(_DURATION, "30s", "Seconds."),
]
#: Bytes, more than zero.
Size = Annotated[
    int,
    Field(gt=0),
    BeforeValidator(parse_size),
    PlainSerializer(size_text, return_type=str, when_used="json"),
    _schema(_SIZE, "1MiB", "Bytes."),
]
#: Operations a second, more than zero.
Rate = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False),
    BeforeValidator(parse_rate),
    PlainSerializer(rate_text, return_type=str, when_used="json"),
    _schema(_RATE, "100/s", "Operations a second."),
]
