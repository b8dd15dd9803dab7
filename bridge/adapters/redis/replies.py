"""Take the server's replies apart. Whatever it sends, a reply of another shape than expected is a ProtocolError."""

import functools
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from bridge.core.errors import ProtocolError

_P = ParamSpec("_P")
_T = TypeVar("_T")


#: What is raised where a reply is taken apart that has another shape than expected.
WRONG_SHAPE: Final = (AttributeError, LookupError, TypeError, ValueError)


def wrong_shape(command: str) -> ProtocolError:
    """Return the error for a reply that could not be taken apart."""
    return ProtocolError(f"the server's reply to {command} has no shape that Redis' replies have")


def parses_reply(command: str) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Decorate a function that takes a reply to `command` apart: where it cannot, it raises ProtocolError.

    Without that the server's nonsense would look like a bug of ours, which ends the process.
    """

    def decorate(parse: Callable[_P, _T]) -> Callable[_P, _T]:
        @functools.wraps(parse)
        def parsed(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            try:
                return parse(*args, **kwargs)
            except WRONG_SHAPE:
                raise wrong_shape(command) from None

        return parsed

    return decorate
