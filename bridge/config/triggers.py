"""Find patterns in a route's `on` that nothing can set off, and conditions that are never true or false."""

from collections.abc import Collection
from typing import Final

from bridge.config.diagnostics import near
from bridge.config.functions import ARITHMETIC
from bridge.config.syntax import Binary, Conditional, FunctionCall, Object, Reference, Sequence, Template, Term, Unary

#: Families of event types whose second segment is the label of an integration, and what else it may be.
_FAMILIES: Final = {
    "health": frozenset({"bridge"}),
    "resilience": frozenset({"bus"}),
    "receipt": frozenset[str](),
    "message": frozenset[str](),
}
#: Functions whose result is true or false; that of all others is not.
_CONDITIONS: Final = frozenset({"has", "startsWith", "endsWith", "matches", "contains"})
#: Fields of an event that are never true or false.
_NO_CONDITIONS: Final = frozenset({"id", "type", "timestamp", "source", "correlation_id"})
_WILDCARDS: Final = frozenset({"*", "**"})


def nothing_sets_off(pattern: str, integrations: Collection[str], stop_with: str | None) -> str | None:
    """Return why no event that matches a pattern of `on` sets off a route; None where one may.

    Args:
        pattern: The pattern, which is a valid one.
        integrations: The labels of all integrations.
        stop_with: The event that stops the bridge, if any does.
    """
    head, *rest = pattern.split(".")
    if head in {"integration", "bridge"} and rest:
        return f"what begins with `{head}.` is a command, and sets off no route"
    if pattern == stop_with:
        return "this event stops the bridge, and sets off no route"
    if head == "response" and rest[:1] == ["integration"] and len(rest) > 1:
        return _no_integration(rest[1], integrations, frozenset(), pattern)
    if head in _FAMILIES and rest:
        return _no_integration(rest[0], integrations, _FAMILIES[head], pattern)
    return None


def _no_integration(label: str, integrations: Collection[str], others: Collection[str], pattern: str) -> str | None:
    if label in _WILDCARDS or label in integrations or label in others:
        return None
    hint = near(label, integrations)
    return f"there is no integration `{label}`{hint}, so this bridge emits nothing that matches `{pattern}`"


def is_no_condition(term: Term) -> bool:
    """Return whether the value of a term is certainly neither true nor false."""
    match term:
        case Binary(operator=operator):
            return operator in ARITHMETIC
        case Unary(operator=operator):
            return operator == "-"
        case Template() | Sequence() | Object():
            return True
        case Conditional(then=then, otherwise=otherwise):
            return is_no_condition(then) and is_no_condition(otherwise)
        case FunctionCall(name=name):
            return name not in _CONDITIONS
        case Reference(root="event", steps=(str(field),)):
            return field in _NO_CONDITIONS
        case Reference(root="event", steps=("headers", *_)):  # headers are texts
            return True
    return False
