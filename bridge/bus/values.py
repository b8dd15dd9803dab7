"""What a payload may hold: JSON's data model, and `bytes`.

`msgspec` alone would let pass what other readers of the bus cannot take: NaN, keys that are no strings, and its own
forms of dates, sets and decimals.
"""

import enum
import math
from typing import Any, Final

import msgspec

from bridge.errors import InvalidError

_PLAIN: Final = frozenset({str, bool, type(None), bytes, bytearray, msgspec.Raw})
_INT_MIN: Final = -(1 << 63)
_INT_MAX: Final = (1 << 64) - 1


def check_value(value: Any, max_depth: int, path: str = "payload") -> None:
    """Raise `InvalidError`, which says where, unless MessagePack and the bus contract can carry `value`.

    Args:
        value: What is to be sent. `msgspec.Raw` is taken as it is: it came from the bus.
        max_depth: Containers inside one another, at most; this also ends a value that contains itself.
        path: How the message calls the value.
    """
    if type(value) in _PLAIN:
        return
    try:
        _check(value, max_depth)
    except _UnfitError as unfit:
        raise InvalidError(f"{path}{unfit.path[:200]}: {unfit.why}") from None


class _UnfitError(Exception):
    """Why a value does not fit; `path` grows from the inside out while it is raised."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.path = ""


def _check(value: Any, room: int) -> None:
    kind = type(value)
    if kind is dict:
        if room <= 0:
            raise _UnfitError("nested too deep")
        for key, inner in value.items():
            if type(key) is not str:
                raise _UnfitError(f"a key is {type(key).__name__}, not str")
            if type(inner) not in _PLAIN:
                try:
                    _check(inner, room - 1)
                except _UnfitError as unfit:
                    unfit.path = f".{key}{unfit.path}"
                    raise
    elif kind is int:
        if not _INT_MIN <= value <= _INT_MAX:
            raise _UnfitError("an integer beyond 64 bit")
    elif kind is float:
        if not math.isfinite(value):
            raise _UnfitError(f"{value} cannot be carried")
    elif kind is list or kind is tuple:
        if room <= 0:
            raise _UnfitError("nested too deep")
        for index, inner in enumerate(value):
            if type(inner) not in _PLAIN:
                try:
                    _check(inner, room - 1)
                except _UnfitError as unfit:
                    unfit.path = f"[{index}]{unfit.path}"
                    raise
    elif isinstance(value, enum.Enum):
        if type(value.value) not in _PLAIN:
            _check(value.value, room)
    else:
        raise _UnfitError(f"{kind.__name__} cannot be carried")
