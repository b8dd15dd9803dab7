"""Find what the parser reads although HCL's grammar does not allow it.

Other programs that read HCL, such as Terraform, refuse it (github.com/hashicorp/hcl, hclsyntax/spec.md: *Bodies*,
*Collection Values*, *Operations*, *Template Expressions*). The bridge reads it and warns of it.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from bridge.config.expression_parser import last_part
from bridge.config.tree import Part, Token, Tree, trees
from bridge.core.diagnostic import Span

_OWN_LINE: Final = "write each key and each block on a line of its own"
_IN_BRACKETS: Final = "put the value in parentheses, `( … )`, or write it on one line"
#: Inside of these, a line break has no meaning.
_BRACKETS: Final = frozenset({"tuple", "function_call", "braces_index", "interpolation"})


class Departure(NamedTuple):
    """One place where HCL's grammar does not allow what is there: what is wrong, and what would be right."""

    span: Span
    message: str
    hint: str


def of_block(block: Tree) -> Iterator[Departure]:
    """Return what is wrong with the labels and braces of a block, and with the lines of its keys and blocks.

    The keys' values, and the blocks inside, are not looked at.
    """
    for part in trees(block.children)[1:-1]:
        if part.data == "string":
            yield from _of_label(part)
    braces = [child for child in block.children if isinstance(child, Token)]
    parts = trees(block.children)
    head = [part for part in parts[:-1] if part.data != "new_line_or_comment"]
    opening, closing = braces[0], braces[-1]
    first, last = opening.line, closing.line
    if first != _end_line(head[-1]):
        hint = f"write `{{` at the end of line {_end_line(head[-1])}"
        yield Departure(_span(opening), "the `{` of a block stands on the line of its name", hint)
    inside = [part for part in trees(parts[-1].children) if part.data != "new_line_or_comment"]
    if not inside:
        return
    if inside[0].line != first:
        yield from same_line(inside)
        if _end_line(inside[-1]) == last:
            yield Departure(_span(closing), "this `}` needs a line of its own", "begin a new line before it")
    elif inside[0].data == "block":
        yield Departure(_span(_head(inside[0])), "a block on one line has no block inside", _OWN_LINE)
    elif len(inside) > 1:
        yield Departure(_span(_head(inside[1])), "a block on one line has no more than one key", _OWN_LINE)
    elif _end_line(inside[0]) != last:
        yield Departure(_span(_head(inside[0])), "the `{` of a block ends its line", "begin a new line behind it")


def same_line(parts: Sequence[Tree]) -> Iterator[Departure]:
    """Return each key and block that begins on the line on which the one before it ends."""
    for before, part in pairwise(parts):
        if part.line == _end_line(before):
            yield Departure(_span(_head(part)), "stands on the same line as what is before it", _OWN_LINE)


def _of_label(label: Tree) -> Iterator[Departure]:
    if any(isinstance(child, Tree) for part in trees(label.children) for child in part.children):
        yield Departure(_span(label), "a label has no `${…}`", "write the text itself")
    else:
        yield from of_value(label)


def of_value(value: Tree) -> Iterator[Departure]:
    """Return what is wrong with a value: at most one departure, the first one in the text."""
    found = min(_in_value(value), default=None)
    if found is not None:
        yield found


def _in_value(value: Tree) -> Iterator[Departure]:
    # A list and no recursion: values are nested to any depth. Each with whether a line break ends a value there.
    waiting: list[tuple[Tree, bool]] = [(value, True)]
    while waiting:
        node, breaks = waiting.pop()
        if node.data == "string":
            yield from _of_string(node)
        elif node.data == "object":
            yield from _of_map(node)
            breaks = True
        elif node.data in {"binary_op", "conditional"} and breaks:
            yield from _of_operation(node)
        elif node.data in _BRACKETS or _is_sign(node.children[:1], "LPAR"):
            breaks = False
        waiting.extend((child, breaks) for child in trees(node.children))


def _of_string(string: Tree) -> Iterator[Departure]:
    texts = [child for part in trees(string.children) for child in part.children if isinstance(child, Token)]
    if any("\n" in text for text in texts):
        hint = "write `\\n` for a line break, or a text of several lines as `<<EOT`"
        yield Departure(_span(string), "a string ends on the line on which it begins", hint)


def _of_map(node: Tree) -> Iterator[Departure]:
    before: Tree | None = None
    comma: Token | None = None
    for child in node.children:
        if isinstance(child, Token) and child.type == "COMMA" and before is not None:
            comma = child
            if comma.line != _end_line(before):
                message = "a comma stands on the line of the value before it"
                yield Departure(_span(comma), message, f"write it at the end of line {_end_line(before)}")
        elif isinstance(child, Tree) and child.data == "object_elem":
            if before is not None and comma is None and child.line == _end_line(before):
                message = "before this key of a map a comma or a line break is missing"
                yield Departure(_span(trees(child.children)[0]), message, "write `,` before it")
            before, comma = child, None


def _of_operation(node: Tree) -> Iterator[Departure]:
    """Return the operator of an operation that goes on in the next line."""
    parts = [child for child in _flat(node) if not (isinstance(child, Tree) and child.data == "new_line_or_comment")]
    for before, sign, behind in zip(parts, parts[1:], parts[2:], strict=False):
        if isinstance(sign, Token) and not _end_line(before) == sign.line == behind.line:
            yield Departure(_span(sign), "a value that goes on in the next line stands in brackets", _IN_BRACKETS)


def _flat(node: Tree) -> Iterator[Part]:
    """Return operands and operators of one operation."""
    for child in node.children:
        if isinstance(child, Tree) and child.data in {"binary_term", "binary_operator"}:
            yield from _flat(child)
        else:
            yield child


def _is_sign(children: Sequence[Part], kind: str) -> bool:
    return any(isinstance(child, Token) and child.type == kind for child in children)


def _head(part: Tree) -> Tree:
    """Return the name of a key or block."""
    return trees(part.children)[0]


def _end_line(part: Part) -> int:
    """Return the line on which the text of a part ends."""
    if isinstance(part, Tree) and part.data in {"attribute", "object_elem"}:
        part = trees(part.children)[-1]
    at = part if isinstance(part, Token) else last_part(part)
    # A here-document includes the line break behind it.
    is_next = at.end_column == 1 and at.end_line > at.line
    return at.end_line - is_next


def _span(part: Part) -> Span:
    if isinstance(part, Token):
        # the parser puts a line break, and spaces, before a sign into its token; its place is that of the sign, or of
        # the spaces.
        text = str(part).lstrip("\r\n")
        spaces = len(text) - len(text.lstrip()) if part.type in {"COLON", "EQ"} else 0
        column = part.column + spaces
        return Span(part.line, column, part.line, column + len(text.strip()))
    at = last_part(part)
    return Span(part.line, part.column, at.end_line, at.end_column)
