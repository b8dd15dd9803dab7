"""The tree that the configuration is read into: blocks and attributes, and the terms of expressions.

It is ours rather than the parser's, so that each part knows its line and only what we understand has a place in it.
"""

from dataclasses import dataclass
from typing import Any

from bridge.config.diagnostics import Location


@dataclass(frozen=True, slots=True)
class Term:
    """A part of an expression: its line, and its text as the file has it."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Constant(Term):
    """A number, a string without `${…}`, a boolean or null."""

    value: Any


@dataclass(frozen=True, slots=True)
class Reference(Term):
    """A plain path, as in `event.payload.items[0]`: a root and steps, names or indexes."""

    root: str
    steps: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Template(Term):
    """A string with `${…}` in it: pieces of text and terms."""

    parts: tuple["str | Term", ...]


@dataclass(frozen=True, slots=True)
class Sequence(Term):
    """`[a, b]`."""

    items: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Object(Term):
    """`{ a = 1 }`; keys are plain names or strings."""

    items: tuple[tuple[str, Term], ...]


@dataclass(frozen=True, slots=True)
class FunctionCall(Term):
    """`name(a, b)`."""

    name: str
    arguments: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Unary(Term):
    """`-a`, `!a`."""

    operator: str
    operand: Term


@dataclass(frozen=True, slots=True)
class Binary(Term):
    """`a + b` and the like."""

    operator: str
    left: Term
    right: Term


@dataclass(frozen=True, slots=True)
class Conditional(Term):
    """`a ? b : c`."""

    condition: Term
    then: Term
    otherwise: Term


@dataclass(frozen=True, slots=True)
class Index(Term):
    """`a[b]` and `a.b` where the whole is not a plain path."""

    base: Term
    key: Term


@dataclass(frozen=True, slots=True)
class Attribute:
    """`name = term`."""

    name: str
    term: Term
    location: Location


@dataclass(frozen=True, slots=True)
class Block:
    """`type "label" { … }`."""

    type: str
    labels: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    blocks: tuple["Block", ...]
    location: Location

    def __str__(self) -> str:
        return " ".join([self.type, *(f'"{label}"' for label in self.labels)])
