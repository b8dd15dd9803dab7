"""Prepares a route for many events: what is the same for each of them is computed once.

The same event always gives the same command; nothing here does input or output.
"""

from collections.abc import Callable
from typing import Any, Final, Literal, cast

import msgspec

from bridge.config import Expression, Route, Scope
from bridge.core.errors import InvalidError
from bridge.core.event_type import to_emitted_type
from bridge.core.model import Command, Enqueue, Publish, Request

Argument = Callable[[Scope], Any]
"""Returns an argument for an event; raises InvalidError where that fails, or the operation does not take the value."""


class RoutePlan:
    """Evaluates a route's expressions for an event.

    Attributes:
        route: The route.
        command: Returns the operation's arguments for a scope. Raises InvalidError where an expression fails on this
            event, or gives a value that the operation does not take.
        emits: Whether the result is emitted as an event.
        needs_outcome: Whether each outcome is emitted, for any event: by `emit` or as a receipt.
    """

    __slots__ = ("command", "emits", "needs_outcome", "route")

    def __init__(self, route: Route) -> None:
        self.route = route
        self.command: Callable[[Scope], Command] = _COMMANDS[route.operation](route)
        self.emits = route.emit is not None
        self.needs_outcome = self.emits or route.receipts

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


def _request(route: Route) -> Callable[[Scope], Command]:
    method, params = _text(route.method, "method"), _value(route.params, msgspec.UNSET)
    return lambda scope: Request(method=method(scope), params=params(scope))


def _publish(route: Route) -> Callable[[Scope], Command]:
    topic, message = _text(route.topic, "topic"), _value(route.message, None)
    qos, retain = _checked(route.qos, _qos), _checked(route.retain, lambda value: _truth(value, "retain"), unset=False)
    return lambda scope: Publish(topic=topic(scope), message=message(scope), qos=qos(scope), retain=retain(scope))


def _enqueue(route: Route) -> Callable[[Scope], Command]:
    queue, message = _text(route.queue, "queue"), _value(route.message, None)
    return lambda scope: Enqueue(queue=queue(scope), message=message(scope))


_COMMANDS: Final = {"request": _request, "publish": _publish, "enqueue": _enqueue}


def _value(expression: Expression | None, unset: Any) -> Argument:
    return (lambda _: unset) if expression is None else expression.evaluate


def _checked(expression: Expression | None, check: Callable[[Any], Any], *, unset: Any = None) -> Argument:
    if expression is None:
        return lambda _: unset
    if expression.constant:
        value = expression.evaluate({})
        try:
            checked = check(value)
        except InvalidError:
            pass  # the error must come for each event
        else:
            return lambda _: checked
    return lambda scope: check(expression.evaluate(scope))


def _text(expression: Expression | None, where: str) -> Argument:
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
