"""Tells how deep a decoded value is and what it contains, without recursion."""

from collections.abc import Iterable
from typing import Any, Final

_CONTAINERS: Final = (dict, list, tuple)


def _inside(container: Any) -> Iterable[Any]:
    if type(container) is not dict:
        return container  # type: ignore[no-any-return]
    # A key may be an array in MessagePack, which decodes to a tuple.
    if tuple in map(type, container):
        return [*container, *container.values()]
    return container.values()


def deeper_than(value: Any, limit: int) -> bool:
    """Tell whether more than `limit` containers are nested.

    It goes level by level, so that no nesting can exhaust the stack.
    """
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(limit):
        if not level:
            return False
        level = [inner for outer in level if outer for inner in _inside(outer) if type(inner) in _CONTAINERS]
    return bool(level)


def holds(value: Any, kind: type) -> bool:
    """Tell whether `value` is, or contains, also as a key, an object of exactly this type."""
    level = [value]
    while level:
        if kind in map(type, level):
            return True
        level = [
            inner
            for outer in level
            if type(outer) in _CONTAINERS
            for inner in ((*outer, *outer.values()) if type(outer) is dict else outer)
        ]
    return False
