"""Find in expressions what can never be computed, because an operator or a function does not take such values.

Of a field of the message that holds a payload anything may come; of all others, and of what operators and functions
give, the kind of value is known.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from bridge.config.expressions import kind_of
from bridge.config.functions import ARITHMETIC, FUNCTIONS
from bridge.config.syntax import (
    Binary,
    Conditional,
    Constant,
    FunctionCall,
    Index,
    Object,
    Reference,
    Sequence,
    Template,
    Term,
    Unary,
)

Kinds = frozenset[str]
"""The kinds of value that a term may have, as `expressions.kind_of` names them."""

BOOLEAN: Final[Kinds] = frozenset({"a boolean"})
NUMBER: Final[Kinds] = frozenset({"a number"})
STRING: Final[Kinds] = frozenset({"a string"})
_LIST: Final[Kinds] = frozenset({"a list"})
_MAP: Final[Kinds] = frozenset({"a map"})
NULL: Final[Kinds] = frozenset({"null"})
_ANY: Final[Kinds] = BOOLEAN | NUMBER | STRING | _LIST | _MAP | NULL | {"bytes"}

#: What the fields of events and messages hold; a payload may be anything.
_FIELDS: Final[dict[tuple[str, str], Kinds]] = {
    ("event", "id"): NUMBER,
    ("event", "type"): STRING,
    ("event", "timestamp"): NUMBER,
    ("event", "source"): STRING | NULL,
    ("event", "correlation_id"): STRING | NULL,
    ("event", "headers"): _MAP,
    ("message", "topic"): STRING,
    ("message", "segments"): _LIST,
    ("message", "headers"): _MAP,
}
#: Lists and maps that hold texts only.
_OF_TEXTS: Final = frozenset({("event", "headers"), ("message", "segments"), ("message", "headers")})
_LOGIC: Final = frozenset({"&&", "||"})
_EQUALITY: Final = frozenset({"==", "!="})
_ADDABLE: Final = (NUMBER, STRING, _LIST)
_COMPARABLE: Final = (NUMBER, STRING, BOOLEAN)
_NAMES: Final = {
    "boolean": BOOLEAN,
    "number": NUMBER,
    "string": STRING,
    "list": _LIST,
    "map": _MAP,
    "null": NULL,
}


class Misuse(msgspec.Struct, frozen=True):
    """A part of an expression that can never be computed, or whose value is always the same.

    Attributes:
        term: The part.
        message: What is wrong.
        hint: What would be right; may be empty.
        fails: False where it can be computed but is always the same.
    """

    term: Term
    message: str
    hint: str = ""
    fails: bool = True


def kinds(term: Term) -> Kinds:
    """Return the kinds of value that a term may have."""
    return _Reader().kinds(term)


def misuses(term: Term) -> list[Misuse]:
    """Return the parts of a term that can never be computed, or whose value is always the same."""
    reader = _Reader()
    reader.kinds(term)
    return reader.misuses


def named(found: Kinds) -> str:
    """Return kinds for a person, as in `a string or null`."""
    return " or ".join(sorted(found, key=lambda kind: (kind == "null", kind)))


class _Reader(msgspec.Struct):
    misuses: list[Misuse] = msgspec.field(default_factory=list)

    def kinds(self, term: Term) -> Kinds:
        match term:
            case Constant():
                return frozenset({kind_of(term.value)})
            case Reference():
                return self._reference(term)
            case Template():
                for part in term.parts:
                    if isinstance(part, Term):
                        self._take(part, _ANY - NULL - _LIST - _MAP, "`${…}` in a string takes a text or a number")
                return STRING
            case Sequence():
                self._read(term.items)
                return _LIST
            case Object():
                self._read(item for _, item in term.items)
                return _MAP
            case FunctionCall():
                return self._call(term)
            case Unary(operator="!"):
                self._take(term.operand, BOOLEAN, "`!` takes what is true or false")
                return BOOLEAN
            case Unary():
                self._take(term.operand, NUMBER, "`-` takes a number")
                return NUMBER
            case Binary():
                return self._binary(term)
            case Conditional():
                self._take(term.condition, BOOLEAN, "what stands before `?` is true or false")
                return self.kinds(term.then) | self.kinds(term.otherwise)
            case Index():
                self._take(term.base, _LIST | _MAP, "an index takes a list or a map")
                self._take(term.key, NUMBER | STRING, "an index is a number or a string")
        return _ANY

    def _read(self, terms: Iterable[Term]) -> None:
        for term in terms:
            self.kinds(term)

    def _take(self, term: Term, wanted: Kinds, rule: str) -> None:
        """Read an operand, and report it where it cannot be of a kind that is wanted."""
        found = self.kinds(term)
        if found.isdisjoint(wanted):
            self.misuses.append(Misuse(term, f"{rule}; `{term.text}` is {named(found)}"))

    def _reference(self, term: Reference) -> Kinds:
        if term.root == "env":
            return STRING
        if not term.steps:
            return _MAP if term.root in {"event", "message"} else _ANY
        name = (term.root, str(term.steps[0]))
        found = _FIELDS.get(name, _ANY)
        for step in term.steps[1:]:
            inside = _LIST if isinstance(step, int) else _MAP
            if found.isdisjoint(inside):
                self.misuses.append(Misuse(term, f"`{term.text}`: {named(found)} has no `{step}`"))
                return _ANY
            found = STRING if name in _OF_TEXTS and found == _FIELDS[name] else _ANY
        return found

    def _call(self, term: FunctionCall) -> Kinds:
        function = FUNCTIONS.get(term.name)
        if function is None:  # `has`, whose argument is a path; any other has a diagnostic already
            return BOOLEAN
        for position, argument in enumerate(term.arguments):
            wanted = function.takes[min(position, len(function.takes) - 1)]
            allowed = _one_of(_NAMES[name] for name in wanted.split("|")) if wanted else _ANY
            self._take(argument, allowed, f"{term.name}() takes {named(allowed)} here")
        return _NAMES[function.gives]

    def _binary(self, term: Binary) -> Kinds:
        sign = term.operator
        if sign in _LOGIC:
            for operand in (term.left, term.right):
                self._take(operand, BOOLEAN, f"`{sign}` takes what is true or false")
            return BOOLEAN
        left, right = self.kinds(term.left), self.kinds(term.right)
        if sign in _EQUALITY:
            if left.isdisjoint(right):
                value = "false" if sign == "==" else "true"
                message = f"`{term.text}` is always {value}: {_operands(term, left, right)}"
                self.misuses.append(Misuse(term, message, fails=False))
            return BOOLEAN
        if sign in ARITHMETIC:
            possible = _ADDABLE if sign == "+" else (NUMBER,)
            rule = "two numbers, two strings or two lists" if sign == "+" else "two numbers"
        else:
            possible, rule = _COMPARABLE, "two numbers or two strings"
        fitting = [kind for kind in possible if kind <= left and kind <= right]
        if not fitting:
            self.misuses.append(Misuse(term, f"`{sign}` takes {rule}; {_operands(term, left, right)}"))
        if sign not in ARITHMETIC:
            return BOOLEAN
        return _one_of(fitting or possible)


def _one_of(found: Iterable[Kinds]) -> Kinds:
    return frozenset(kind for kinds in found for kind in kinds)


def _operands(term: Binary, left: Kinds, right: Kinds) -> str:
    told = [
        f"`{one.text}` is {named(found)}" for one, found in ((term.left, left), (term.right, right)) if found != _ANY
    ]
    return " and ".join(told)
