"""What the bridge's parser makes of a text, and what python-hcl2's makes of it, in the same words.

Either is the tree as nested tuples, with all places, or why the text is refused: line, column, index, and the token.
"""

from typing import Any

from hcl2.parser import parser
from lark import Tree as LarkTree
from lark.exceptions import UnexpectedInput, UnexpectedToken

from bridge.config.grammar import Budget, UnexpectedInputError, parse
from bridge.config.tree import Part, Tree

_PLACE = ("line", "column", "end_line", "end_column", "start_pos", "end_pos")


def by_the_bridge(text: str) -> Any:
    """Return what the bridge's parser makes of a text."""
    try:
        return _ours(parse(text, Budget()))
    except UnexpectedInputError as error:
        return error.line, error.column, error.start, error.token


def by_python_hcl2(text: str) -> Any:
    """Return what python-hcl2's parser makes of a text."""
    try:
        return _theirs(parser().parse(text + "\n"))
    except UnexpectedToken as error:
        start = None if error.token.type == "$END" else error.token.start_pos
        return error.line, error.column, start, str(error.token)
    except UnexpectedInput as error:
        return error.line, error.column, error.pos_in_stream, ""


def _ours(part: Part) -> Any:
    place = tuple(getattr(part, name) for name in _PLACE)
    if isinstance(part, Tree):
        return part.data, place, tuple(map(_ours, part.children))
    return part.type, place, str(part)


def _theirs(part: Any) -> Any:
    is_tree = isinstance(part, LarkTree)
    place = tuple(getattr(part.meta if is_tree else part, name, 0) for name in _PLACE)
    if is_tree:
        return str(part.data), place, tuple(map(_theirs, part.children))
    return str(part.type), place, str(part)
