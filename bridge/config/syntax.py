"""Define the syntax tree of the configuration: blocks, attributes, and the terms of expressions.

It is not the parser's tree: here each part knows its place, and only what the bridge supports can be written.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from bridge.core.diagnostic import Location, Span


class Term(msgspec.Struct, frozen=True):
    """An expression or a part of one: its place in the file, and its text as the file has it."""

    span: Span
    text: str


class Constant(Term, frozen=True):
    """A number, a string without `${…}`, a boolean or null."""

    value: Any


class Reference(Term, frozen=True):
    """A plain path, as in `event.payload.items[0]`: a root and steps, names or indexes."""

    root: str
    steps: tuple[str | int, ...]


class Template(Term, frozen=True):
    """A string with `${…}` in it: pieces of text and terms."""

    parts: tuple["str | Term", ...]


class Sequence(Term, frozen=True):
    """A list: `[a, b]`."""

    items: tuple[Term, ...]


class Object(Term, frozen=True):
    """A map: `{ a = 1 }`; keys are plain names or strings."""

    items: tuple[tuple[str, Term], ...]


class FunctionCall(Term, frozen=True):
    """A call of a function: `name(a, b)`."""

    name: str
    arguments: tuple[Term, ...]


class Unary(Term, frozen=True):
    """An operator with one operand: `-a`, `!a`."""

    operator: str
    operand: Term


class Binary(Term, frozen=True):
    """An operator with two operands: `a + b`."""

    operator: str
    left: Term
    right: Term


class Conditional(Term, frozen=True):
    """A conditional: `a ? b : c`."""

    condition: Term
    then: Term
    otherwise: Term


class Index(Term, frozen=True):
    """An index: `a[b]`, or `a.b` where the whole is not a plain path."""

    base: Term
    key: Term


def references(term: Term) -> Iterator[Reference]:
    """Return every path in a term, the term itself included."""
    parts: list[Term] = []
    match term:
        case Reference():
            yield term
        case Template():
            parts = [part for part in term.parts if isinstance(part, Term)]
        case Sequence():
            parts = [*term.items]
        case Object():
            parts = [item for _, item in term.items]
        case FunctionCall():
            parts = [*term.arguments]
        case Unary():
            parts = [term.operand]
        case Binary():
            parts = [term.left, term.right]
        case Conditional():
            parts = [term.condition, term.then, term.otherwise]
        case Index():
            parts = [term.base, term.key]
    for part in parts:
        yield from references(part)


class Attribute(msgspec.Struct, frozen=True):
    """An attribute of a block: `name = term`; the location of its name, and of all of its value."""

    name: str
    term: Term
    location: Location
    value: Location


class Block(msgspec.Struct, frozen=True):
    """A block: `type "label" { … }`; its location is that of type and labels.

    Attributes:
        damaged: Keys whose value could not be read; that has a diagnostic.
        complete: False where a line of it could not be read, so that it may have more keys and blocks than these.
    """

    type: str
    labels: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    blocks: tuple["Block", ...]
    location: Location
    damaged: frozenset[str] = frozenset()
    complete: bool = True

    def __str__(self) -> str:
        return " ".join([self.type, *(f'"{label}"' for label in self.labels)])
