"""Parse HCL by python-hcl2 itself, and tell whether the tables that come with the bridge were made of its grammar."""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from bridge.config.tree import Part, Token, Tree

#: The files of python-hcl2 that decide what a text means: the grammar, and what puts line breaks into operators.
_FILES: Final = ("hcl2.lark", "postlexer.py")


class RefusedError(Exception):
    """python-hcl2 refuses a text; the arguments are those of `grammar.UnexpectedInputError`."""


def digest() -> str | None:
    """Return what identifies the grammar of the python-hcl2 that is installed; it is not imported for that.

    None where there is none.
    """
    spec = find_spec("hcl2")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in _FILES)).hexdigest()


def parse(text: str) -> Tree:
    """Return the parse tree of a text that ends in a line break.

    Raises:
        RefusedError: It is not HCL.
    """
    from hcl2.parser import parser  # noqa: PLC0415 - it takes as long as all else at a start
    from lark.exceptions import UnexpectedInput, UnexpectedToken  # noqa: PLC0415

    try:
        tree = _converted(parser().parse(text))
    except UnexpectedToken as error:
        start = None if error.token.type == "$END" else error.token.start_pos
        raise RefusedError(error.line, error.column, start, str(error.token)) from None
    except UnexpectedInput as error:
        raise RefusedError(error.line, error.column, error.pos_in_stream, "") from None
    assert isinstance(tree, Tree)  # noqa: S101 - the grammar's first rule makes a node
    return tree


def _converted(part: Any) -> Part:
    """Return a part of lark's tree as one of ours."""
    if not hasattr(part, "children"):
        token = Token(str(part.type), str(part))
        for name in Token.__slots__:
            if name != "type":
                setattr(token, name, getattr(part, name))
        return token
    return Tree(str(part.data), [_converted(child) for child in part.children])
