"""Looking an exception up in an adapter's table; each adapter has one, and a test that it is complete."""

from collections.abc import Callable, Iterable
from typing import Any

from bridge.core.errors import BridgeError

#: What was raised, and what makes our error of it; in a table the most specific comes first.
Row = tuple[type[BaseException], Callable[[Any], BridgeError]]


def look_up(table: Iterable[Row], error: Exception) -> BridgeError:
    """The bridge's error for one of a library's.

    Raises:
        LookupError: It is not in the table, so it is a bug of ours and not the outside's doing.
    """
    for kind, make in table:
        if isinstance(error, kind):
            return make(error)
    raise LookupError(f"no translation for {type(error).__name__}") from error
