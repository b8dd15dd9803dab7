"""Check that a value can be sent exactly: JSON's data model, and bytes where the encoding has them.

Encoders alone would silently write something else: bytes as base64, NaN as null, numbers as keys, dates in forms of
their own. By the contract such a value is `invalid`.
"""

import enum
import functools
import sys
from typing import Any, Final

import msgspec
import msgspec.inspect

from bridge.core.errors import BridgeError, InvalidError

_LOWEST: Final = -(1 << 63)
_HIGHEST: Final = (1 << 64) - 1
_LARGEST: Final = sys.float_info.max


class Wire(msgspec.Struct, frozen=True):
    """An encoding of values.

    Attributes:
        name: Its name in error messages.
        plain: Types that it carries as they are; numbers, lists, tuples, maps and enumerations are looked into.
        told: Types that it carries, too, and of which `check_value` tells.
    """

    name: str
    plain: frozenset[type]
    told: frozenset[type] = frozenset()


JSON: Final = Wire("JSON", frozenset({str, bool, type(None)}))
MSGPACK: Final = Wire("MessagePack", frozenset({str, bool, type(None), bytes}))
#: The sender decides how the bus carries bytes. `msgspec.Raw` may have some: it is encoded already, and was checked.
BUS: Final = Wire("an event's payload", frozenset({str, bool, type(None)}), frozenset({bytes, bytearray, msgspec.Raw}))


def check_value(value: Any, name: str, wire: Wire, depth: int, error: type[BridgeError] = InvalidError) -> bool:
    """Check that an encoding can write a value exactly; return whether it is or contains one of the types `wire.told`.

    Args:
        value: The value that is to be sent, or was received.
        name: Its name in error messages, as in `params`.
        wire: The encoding.
        depth: Containers inside one another, at most; this also ends a value that contains itself.
        error: The type of the error that is raised.

    Raises:
        BridgeError: It cannot, as `error`; the message has the path to the part that is not valid.
    """
    if type(value) in wire.plain:
        return False
    try:
        if isinstance(value, msgspec.Struct):  # one of the contract's payloads
            return _check_fields(value, wire, depth)
        return _check(value, wire, depth)
    except _UnfitError as unfit:
        why = f"nested deeper than {depth} levels" if unfit.why is None else unfit.why
        raise error(f"{name}{unfit.path[:200]}: {why}") from None


class _UnfitError(Exception):
    """Why a value does not fit, None for its depth; `path` grows from the inside out while it is raised."""

    def __init__(self, why: str | None) -> None:
        super().__init__(why)
        self.why = why
        self.path = ""


def _check(value: Any, wire: Wire, room: int) -> bool:
    kind, plain, found = type(value), wire.plain, False
    if kind is dict or kind is list or kind is tuple:
        if room <= 0:
            raise _UnfitError(None)
        named = kind is dict
        for key, inner in value.items() if named else enumerate(value):
            if named and type(key) is not str:
                raise _UnfitError(f"a key is {type(key).__name__}, not str")
            inside = type(inner)  # most are plain: no call for each
            if inside in plain or (inside is int and _LOWEST <= inner <= _HIGHEST):
                continue
            if inside is float and -_LARGEST <= inner <= _LARGEST:
                continue
            try:
                found = _check(inner, wire, room - 1) or found
            except _UnfitError as unfit:
                unfit.path = f".{key}{unfit.path}" if named else f"[{key}]{unfit.path}"
                raise
    elif kind is int:
        if not _LOWEST <= value <= _HIGHEST:
            raise _UnfitError("integers have at most 64 bit")
    elif kind is float:
        if not -_LARGEST <= value <= _LARGEST:
            raise _UnfitError("neither NaN nor infinity can be sent")
    elif isinstance(value, msgspec.Struct):
        found = _check_fields(value, wire, room)
    elif isinstance(value, enum.Enum):
        if type(value.value) not in plain:
            found = _check(value.value, wire, room)
    elif kind in wire.told:
        found = True
    elif kind not in plain:
        raise _UnfitError(f"{kind.__name__} cannot be {wire.name}")
    return found


def _check_fields(value: msgspec.Struct, wire: Wire, room: int) -> bool:
    if room <= 0:
        raise _UnfitError(None)
    plain, found = wire.plain, False
    for name in _open_fields(type(value)):
        inner = getattr(value, name)
        if inner is msgspec.UNSET or type(inner) in plain:  # the first is left out
            continue
        try:
            found = _check(inner, wire, room - 1) or found
        except _UnfitError as unfit:
            unfit.path = f".{name}{unfit.path}"
            raise
    return found


def with_text_keys(value: Any) -> Any:
    """Return a decoded value with text in place of keys that JSON lacks, and MessagePack has."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): with_text_keys(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [with_text_keys(inner) for inner in value]
    return value


@functools.cache
def _open_fields(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the fields of a payload's type that may hold any value; every encoding can write the other fields."""
    described = msgspec.inspect.type_info(kind)
    assert isinstance(described, msgspec.inspect.StructType)  # noqa: S101 - that is what it was asked for
    return tuple(field.name for field in described.fields if _is_open(field.type))


def _is_open(described: msgspec.inspect.Type) -> bool:
    match described:
        case msgspec.inspect.AnyType():
            return True
        case msgspec.inspect.UnionType(types=types):
            return any(_is_open(one) for one in types)
        case msgspec.inspect.StructType(fields=fields):
            return any(_is_open(one.type) for one in fields)
        case msgspec.inspect.ListType(item_type=item) | msgspec.inspect.VarTupleType(item_type=item):
            return _is_open(item)
        case msgspec.inspect.DictType(value_type=inner):
            return _is_open(inner)
    return False
