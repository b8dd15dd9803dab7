"""Prepares a route for many events: what is the same for each of them is computed once.

The same event always gives the same command; nothing here does input or output.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal, cast

import msgspec

from bridge.config import Expression, Route, Scope
from bridge.core.errors import InvalidError
from bridge.core.event_type import to_emitted_type
from bridge.core.model import Command, Enqueue, Event, Operation, Publish, Request
from bridge.routing.operations import operation_of

Argument = Callable[[Scope], Any]
"""Returns an argument for an event; raises InvalidError where that fails, or the operation does not take the value."""


class RoutePlan:
    """Evaluates a route's expressions for an event.

    Attributes:
        route: The route.
        emits: Whether the result is emitted as an event.
        needs_outcome: Whether each outcome is emitted, for any event: by `emit` or as a receipt.
        durable: Whether its events go through the outbox.
    """

    __slots__ = ("_make", "_varying", "durable", "emits", "needs_outcome", "route")

    def __init__(self, route: Route) -> None:
        self.route = route
        arguments = _ARGUMENTS[route.operation](route)
        same = {name: given.value for name, given in arguments.items() if isinstance(given, _Same)}
        # What is the same for each event is put in once.
        self._make = partial(_COMMANDS[route.operation], **same)
        self._varying = [(name, given) for name, given in arguments.items() if not isinstance(given, _Same)]
        self.emits = route.emit is not None
        self.needs_outcome = self.emits or route.receipts
        self.durable = route.durable

    def operation(self, event: Event, scope: Scope, deadline: float | None) -> Operation:
        """Return the operation for an event.

        Args:
            event: The event.
            scope: The event, as expressions see it.
            deadline: Monotonic time in seconds; None for no limit.

        Raises:
            InvalidError: An expression fails on this event, or gives a value that the operation does not take.
        """
        route = self.route
        arguments = {}
        for name, argument in self._varying:
            arguments[name] = argument(scope)
        command = self._make(**arguments)
        key = None if route.key is None else self.key(scope)
        return operation_of(event, route.operation, route.integration, command, deadline=deadline, route=route, key=key)

    def applies(self, scope: Scope) -> bool:
        """Return whether the route's `where` is true, or there is none.

        Raises:
            InvalidError: It fails on this event, or gives something else than true or false.
        """
        where = self.route.where
        return where is None or _truth(where.evaluate(scope), "where")

    def condition(self, scope: Scope) -> bool | None:
        """Return what `applies` returns; None where that raises InvalidError."""
        try:
            return self.applies(scope)
        except InvalidError:
            return None

    def emitted_type(self, scope: Scope) -> str:
        """Return the type of the event that carries the result; only for a route that `emits`.

        Raises:
            InvalidError: The expression fails on this event, or gives no event type that a route may emit.
        """
        assert self.route.emit is not None  # noqa: S101 - the caller looked
        return to_emitted_type(self.route.emit.evaluate(scope))

    def key(self, scope: Scope) -> str | None:
        """Return the route's own ordering key; None where it has none. A text and a number never give the same key.

        Raises:
            InvalidError: It fails on this event, or gives something else than text, a whole number, true or false.
        """
        if self.route.key is None:
            return None
        value = self.route.key.evaluate(scope)
        if isinstance(value, str):
            return value
        if isinstance(value, int):
            return f"{type(value).__name__}:{value}"
        raise InvalidError(f"key: expected text or a whole number, got {type(value).__name__}")


class _Same:
    """An argument that is the same for each event."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _request(route: Route) -> dict[str, Argument | _Same]:
    return {"method": _text(route.method, "method"), "params": _value(route.params, msgspec.UNSET)}


def _publish(route: Route) -> dict[str, Argument | _Same]:
    return {
        "topic": _text(route.topic, "topic"),
        "message": _value(route.message, None),
        "qos": _checked(route.qos, _qos),
        "retain": _checked(route.retain, lambda value: _truth(value, "retain"), unset=False),
    }


def _enqueue(route: Route) -> dict[str, Argument | _Same]:
    return {"queue": _text(route.queue, "queue"), "message": _value(route.message, None)}


_ARGUMENTS: Final = {"request": _request, "publish": _publish, "enqueue": _enqueue}
_COMMANDS: Final[dict[str, Callable[..., Command]]] = {"request": Request, "publish": Publish, "enqueue": Enqueue}


def _value(expression: Expression | None, unset: Any) -> Argument | _Same:
    return _Same(unset) if expression is None else expression.evaluate


def _checked(expression: Expression | None, check: Callable[[Any], Any], *, unset: Any = None) -> Argument | _Same:
    if expression is None:
        return _Same(unset)
    if expression.constant:
        try:
            return _Same(check(expression.evaluate({})))
        except InvalidError:
            pass  # the error must come for each event
    return lambda scope: check(expression.evaluate(scope))


def _text(expression: Expression | None, where: str) -> Argument | _Same:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise InvalidError(f"{where}: expected text, got {type(value).__name__}")
        return value

    return _checked(expression, check)


def _qos(value: Any) -> Literal[0, 1, 2] | None:
    if value is None or (value in {0, 1, 2} and not isinstance(value, bool)):
        return cast("Literal[0, 1, 2] | None", value)
    raise InvalidError("qos: expected 0, 1 or 2")


def _truth(value: Any, where: str) -> bool:
    if isinstance(value, bool):
        return value
    raise InvalidError(f"{where}: expected true or false, got {type(value).__name__}")
