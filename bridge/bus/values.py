"""What a payload may hold: JSON's data model, and `bytes`.

`msgspec` alone would let pass what other readers of the bus cannot take: NaN, keys that are no strings, and its own
forms of dates, sets and decimals.
"""

import enum
import math
from typing import Any, Final

import msgspec

from bridge.errors import InvalidError

_PLAIN: Final = (str, bool, type(None), bytes, bytearray, msgspec.Raw)
_INT_MIN: Final = -(1 << 63)
_INT_MAX: Final = (1 << 64) - 1


def check_value(value: Any, max_depth: int, path: str = "payload") -> None:
    """Raise `InvalidError`, which says where, unless MessagePack and the bus contract can carry `value`.

    Args:
        value: What is to be sent. `msgspec.Raw` is taken as it is: it came from the bus.
        max_depth: Containers inside one another, at most; this also ends a value that contains itself.
        path: How the message calls the value.
    """
    kind = type(value)
    if kind in _PLAIN:
        return
    if kind is int:
        if not _INT_MIN <= value <= _INT_MAX:
            raise InvalidError(f"{path}: an integer beyond 64 bit")
    elif kind is float:
        if not math.isfinite(value):
            raise InvalidError(f"{path}: {value} cannot be carried")
    elif kind is dict:
        _deeper(max_depth, path)
        for key, inner in value.items():
            if type(key) is not str:
                raise InvalidError(f"{path}: a key is {type(key).__name__}, not str")
            if type(inner) not in _PLAIN:
                check_value(inner, max_depth - 1, f"{path}.{key}")
    elif kind is list or kind is tuple:
        _deeper(max_depth, path)
        for index, inner in enumerate(value):
            if type(inner) not in _PLAIN:
                check_value(inner, max_depth - 1, f"{path}[{index}]")
    elif isinstance(value, enum.Enum):
        check_value(value.value, max_depth, path)
    else:
        raise InvalidError(f"{path}: {kind.__name__} cannot be carried")


def _deeper(max_depth: int, path: str) -> None:
    if max_depth <= 0:
        raise InvalidError(f"{path}: nested too deep")
