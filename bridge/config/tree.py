"""Define the tree of a text in HCL as the parser makes it: nodes named by the rules of its grammar, and tokens."""

from collections.abc import Sequence
from typing import Final, Self

#: The node for a key whose value could not be read, and for something else that could not: see `recovery`.
DAMAGED: Final = "damaged"
LOST: Final = "lost"


class Token(str):
    """A piece of the text that the grammar has a name for, and where it is.

    Attributes:
        type: The name, such as `NAME`.
        line: The line where it begins, from 1; 0: it is in no place.
        column: The column where it begins, from 1.
        end_line: The line where it ends.
        end_column: The column behind its end.
        start_pos: The index of its first character in the text.
        end_pos: The index behind its last character.
    """

    __slots__ = ("column", "end_column", "end_line", "end_pos", "line", "start_pos", "type")

    type: str
    line: int
    column: int
    end_line: int
    end_column: int
    start_pos: int
    end_pos: int

    def __new__(cls, kind: str, text: str) -> Self:
        """Return a token that is in no place yet."""
        token = super().__new__(cls, text)
        token.type = kind
        token.line = token.column = token.end_line = token.end_column = token.start_pos = token.end_pos = 0
        return token


class Tree:
    """A part of the text to which a rule of the grammar applies.

    Attributes:
        data: The name of the rule.
        children: What it consists of, in order.
        line: The line where it begins, from 1; 0: it has no content, so it is in no place. The other attributes of its
            place are those of a token.
    """

    __slots__ = ("children", "column", "data", "end_column", "end_line", "end_pos", "line", "start_pos")

    def __init__(self, data: str, children: "list[Part]") -> None:
        """Make a node; it begins where its first child with a place begins, and ends where the last one ends."""
        self.data = data
        self.children = children
        self.line = self.column = self.end_line = self.end_column = self.start_pos = self.end_pos = 0
        for first in children:
            if first.line:
                self.line, self.column, self.start_pos = first.line, first.column, first.start_pos
                break
        for last in reversed(children):
            if last.line:
                self.end_line, self.end_column, self.end_pos = last.end_line, last.end_column, last.end_pos
                break


#: What a tree consists of.
Part = Tree | Token


def trees(children: Sequence[Part]) -> list[Tree]:
    """Return those children that are trees."""
    return [child for child in children if isinstance(child, Tree)]
