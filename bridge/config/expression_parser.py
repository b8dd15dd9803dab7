"""Turn the parse tree of an expression into terms."""

import re
from typing import Final

import msgspec

from bridge.config.diagnostics import Fault
from bridge.config.grammar import Budget, TooLargeError, UnexpectedInputError, parse
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
from bridge.config.tree import Part, Token, Tree, trees
from bridge.core.diagnostic import Code, Span

#: How deep values and expressions may nest; CEL's own parser stops at 96.
MAX_DEPTH: Final = 48
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_PLAIN_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
#: What makes an attribute of an expression, so that it can be parsed by itself.
_BEFORE: Final = "x = ("
_WRAPPERS: Final = {"expr_term", "string_part", "object_elem_key"}
_WITH_LINE_BREAK: Final = {"binary_op", "binary_term", "conditional"}
_UNSUPPORTED: Final = {
    "attr_splat_expr_term": "`.*` is not supported",
    "full_splat_expr_term": "`[*]` is not supported",
    "for_tuple_expr": "`for` is not supported",
    "for_object_expr": "`for` is not supported",
    "template_string": "an escaped string outside of a template is not supported",
}


class ExpressionReader(msgspec.Struct, frozen=True):
    """Read the terms of one text.

    Attributes:
        text: The text that was parsed.
        budget: What may still be parsed; the templates of here-documents are parsed by themselves.
        origin: The line and column of the file where the text begins; None as the column: columns are not known.
    """

    text: str
    budget: Budget
    origin: tuple[int, int | None] = (1, 1)

    def span(self, node: Part) -> Span:
        """Return the place of a node in its file; a node without content is in no place."""
        if not node.line:
            return Span(self.origin[0])
        end = node if isinstance(node, Token) else last_part(node)
        if self.origin == (1, 1):
            return Span(node.line, node.column, end.end_line, end.end_column)
        return Span(*self._moved(node.line, node.column), *self._moved(end.end_line, end.end_column))

    def _moved(self, line: int, column: int) -> tuple[int, int]:
        first_line, first_column = self.origin
        if first_column is None:
            return line + first_line - 1, 0
        return line + first_line - 1, column + first_column - 1 if line == 1 else column

    def source(self, node: Tree) -> str:
        """Return the text of a node on one line."""
        return " ".join(self.text[node.start_pos : last_part(node).end_pos].split())

    def read(self, node: Tree, depth: int = 0) -> Term:
        """Return the term of one node.

        Raises:
            Fault: It uses what is not supported, or is nested too deeply.
        """
        if depth > MAX_DEPTH:
            raise Fault(self.span(node), f"nested more than {MAX_DEPTH} deep", code=Code.TOO_LARGE)
        while node.data in _WRAPPERS:  # parentheses, too; a loop, since there may be any number of them
            node = trees(_meaningful(node))[0]
        if node.data in _UNSUPPORTED:
            raise Fault(self.span(node), _UNSUPPORTED[node.data], code=Code.NOT_SUPPORTED)
        children = _meaningful(node)
        span, text = self.span(node), self.source(node)
        match node.data:
            case "identifier" | "keyword":
                return Reference(span, text, str(children[0]), ())
            case "literal_value":
                return Constant(span, text, {"true": True, "false": False, "null": None}[str(children[0])])
            case "int_lit":
                return Constant(span, text, _integer(str(children[0]), span))
            case "float_lit":
                return Constant(span, text, _double(str(children[0]), span))
            case "string":
                return self._string(trees(children), span, text, depth)
            case "heredoc_template" | "heredoc_template_trim":
                return self._heredoc(str(children[0]), span, text, depth)
            case "tuple":
                return Sequence(span, text, tuple(self.read(item, depth + 1) for item in trees(children)))
            case "object":
                return Object(span, text, self._object(trees(children), depth))
            case "function_call":
                return self._call(trees(children), span, text, depth)
            case "unary_op":
                return _unary(span, text, str(children[0]).strip(), self.read(trees(children)[0], depth + 1))
            case "binary_op":
                left, right = trees(children)
                operator, operand = trees(_meaningful(right))
                # The parser counts a line break before an operator as a part of the operator.
                sign = str(operator.children[0]).split()[-1]
                return Binary(span, text, sign, self.read(left, depth + 1), self.read(operand, depth + 1))
            case "conditional":
                parts = [self.read(part, depth + 1) for part in trees(children)]
                return Conditional(span, text, *parts)
            case "get_attr_expr_term" | "index_expr_term":
                return self._index(node, span, text, depth)
        raise Fault(span, f"`{text}` is not supported", code=Code.NOT_SUPPORTED)

    def _index(self, node: Tree, span: Span, text: str, depth: int) -> Term:
        base_node, step = trees(_meaningful(node))
        base = self.read(base_node, depth + 1)
        key_node = _meaningful(step)[-1] if step.data != "braces_index" else trees(_meaningful(step))[0]
        if step.data == "get_attr":
            name = str(key_node.children[0]) if isinstance(key_node, Tree) else str(key_node)
            key: Term = Constant(span, name, name)
        elif isinstance(key_node, Token):
            key = Constant(span, str(key_node), _integer(str(key_node), span))
        else:
            key = self.read(key_node, depth + 1)
        if isinstance(key, Constant) and isinstance(base, Reference):
            if isinstance(key.value, str) or (type(key.value) is int and key.value >= 0):
                return Reference(span, text, base.root, (*base.steps, key.value))
            message = f"`{text}`: an index is a name in quotes, or a number from 0"
            raise Fault(span, message, code=Code.INVALID_EXPRESSION)
        return Index(span, text, base, key)

    def _object(self, elements: list[Tree], depth: int) -> tuple[tuple[str, Term], ...]:
        items: dict[str, Term] = {}
        for element in elements:
            key_node, value_node = trees(_meaningful(element))
            key_term = self.read(key_node, depth + 1)
            match key_term:
                case Reference(root=str(key), steps=()):
                    pass
                case Constant(value=value) if isinstance(value, str | int | bool):
                    key = value if isinstance(value, str) else key_term.text
                case _:
                    message = f"`{key_term.text}`: a key is a plain name or a string"
                    raise Fault(key_term.span, message, code=Code.INVALID_EXPRESSION)
            if key in items:
                raise Fault(key_term.span, f"`{key}` is given twice", code=Code.GIVEN_TWICE)
            items[key] = self.read(value_node, depth + 1)
        return tuple(items.items())

    def _call(self, children: list[Tree], span: Span, text: str, depth: int) -> FunctionCall:
        names = [str(child.children[0]) for child in children if child.data == "identifier"]
        arguments = [child for child in children if child.data == "arguments"]
        if any(isinstance(child, Token) and child.type == "ELLIPSIS" for node in arguments for child in node.children):
            raise Fault(span, f"`{text}`: `...` is not supported", code=Code.NOT_SUPPORTED)
        terms = [self.read(item, depth + 1) for node in arguments for item in trees(_meaningful(node))]
        return FunctionCall(span, text, "::".join(names), tuple(terms))

    def _string(self, parts: list[Tree], span: Span, text: str, depth: int) -> Term:
        found: list[str | Term] = []
        for part in parts:
            child = part.children[0]
            if isinstance(child, Tree):
                if child.data != "interpolation":
                    raise Fault(
                        self.span(child), "`%{…}` is not supported", code=Code.NOT_SUPPORTED, hint="use `${… ? … : …}`"
                    )
                found.append(self.read(trees(_meaningful(child))[0], depth + 1))
            elif child.type in {"ESCAPED_INTERPOLATION", "ESCAPED_DIRECTIVE"}:
                found.append(str(child)[1:])
            else:
                found.append(_unescape(str(child), span))
        return _template(span, text, found)

    def _heredoc(self, raw: str, span: Span, text: str, depth: int) -> Term:
        opening, _, rest = raw.partition("\n")
        body = rest.rstrip("\r\n").rpartition("\n")
        lines = (body[0] + body[1]).replace("\r\n", "\n")
        margin = _margin(lines) if opening.startswith("<<-") else 0
        if margin:
            lines = "\n".join(line[margin:] for line in lines.split("\n"))
        found: list[str | Term] = []
        position, line = 0, span.line + 1
        for start, end in _interpolations(lines):
            found.append(_plain(lines[position:start]))
            line += lines.count("\n", position, start)
            inner = lines[start + 2 : end]
            column = None if margin and "\n" in inner else start + 2 - lines.rfind("\n", 0, start + 2) + margin
            found.append(parse_expression(inner, line, column, depth=depth + 1, budget=self.budget))
            line += inner.count("\n")
            position = end + 1
        found.append(_plain(lines[position:]))
        return _template(span, text.split(" ", maxsplit=1)[0], found)


def parse_expression(
    text: str, line: int, column: int | None = 1, *, depth: int = 0, budget: Budget | None = None
) -> Term:
    """Parse one expression that is a text of its own.

    Its tokens are taken from the budget, by default a new one.

    Args:
        text: The expression.
        line: The line of its file where it begins.
        column: The column where it begins; None where that is not known.
        depth: How deep the expression is inside another one.
        budget: What may still be parsed.

    Raises:
        Fault: It cannot be parsed, or uses what is not supported.
    """
    wrapped = f"{_BEFORE}{text}\n)"
    budget = budget or Budget()
    span = Span(line, column, *_end_of(text, line, column)) if column else Span(line)
    try:
        tree = parse(wrapped, budget)
    except TooLargeError as error:
        raise Fault(span, str(error), code=Code.TOO_LARGE, quotes=False) from None
    except UnexpectedInputError:
        raise Fault(span, f"`{text.strip()}` cannot be parsed", code=Code.SYNTAX) from None
    body = trees(tree.children)[0]
    attributes = [child for child in trees(body.children) if child.data == "attribute"]
    if len(attributes) != 1:
        raise Fault(span, f"`{text.strip()}` is not one expression", code=Code.SYNTAX)
    reader = ExpressionReader(wrapped, budget, (line, column - len(_BEFORE) if column else None))
    return reader.read(trees(_meaningful(attributes[0]))[-1], depth)


def _end_of(text: str, line: int, column: int) -> tuple[int, int]:
    """Return the line and column behind a text that begins at these."""
    breaks = text.count("\n")
    return line + breaks, len(text) - text.rfind("\n") if breaks else column + len(text)


def last_part(node: Tree) -> Tree:
    """Return the part with which a node ends: the parser counts a line break or comment behind it as a part of it."""
    while node.data in _WITH_LINE_BREAK:
        node = trees(_meaningful(node))[-1]
    return node


def _meaningful(node: Tree) -> list[Part]:
    return [child for child in node.children if not (isinstance(child, Tree) and child.data == "new_line_or_comment")]


def _unary(span: Span, text: str, operator: str, operand: Term) -> Term:
    if operator == "-" and isinstance(operand, Constant) and type(operand.value) in {int, float}:
        return Constant(span, text, -operand.value)
    return Unary(span, text, operator, operand)


def _integer(text: str, span: Span) -> int:
    value = int(text) if len(text) < 25 else 1 << 64
    if not -(1 << 63) <= value < 1 << 64:
        raise Fault(span, "a whole number has at most 64 bits", code=Code.INVALID_LITERAL)
    return value


def _double(text: str, span: Span) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise Fault(span, "the number is too large", code=Code.INVALID_LITERAL)
    return value


def _unescape(text: str, span: Span) -> str:
    def plain(found: re.Match[str]) -> str:
        code = found[1]
        if code in _PLAIN_ESCAPES:
            return _PLAIN_ESCAPES[code]
        number = int(code[1:], 16) if len(code) > 1 else -1
        if not 0 <= number <= 0x10FFFF or 0xD800 <= number <= 0xDFFF:
            message = f'`\\{code}` is not an escape; there are \\n \\r \\t \\" \\\\ \\uXXXX \\UXXXXXXXX'
            raise Fault(span, message, code=Code.INVALID_LITERAL)
        return chr(number)

    return _ESCAPE.sub(plain, text)


def _template(span: Span, text: str, found: list[str | Term]) -> Term:
    parts: list[str | Term] = []
    for part in found:
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        elif part != "":
            parts.append(part)
    if not parts:
        return Constant(span, text, "")
    if len(parts) == 1:
        # A string that is exactly one `${…}` keeps the value's type.
        return Constant(span, text, parts[0]) if isinstance(parts[0], str) else parts[0]
    return Template(span, text, tuple(parts))


def _plain(text: str) -> str:
    return text.replace("$${", "${").replace("%%{", "%{")


def _margin(text: str) -> int:
    """Return how far all lines of a text are indented."""
    lines = text.split("\n")
    return min((len(line) - len(line.lstrip(" \t")) for line in lines if line.strip()), default=0)


def _interpolations(text: str) -> list[tuple[int, int]]:
    """Return start and end of each `${…}`; braces and quotes inside are counted, `$${` is an escape."""
    found: list[tuple[int, int]] = []
    for match in re.finditer(r"\$\$\{|\$\{", text):
        if match[0] == "$${" or (found and match.start() < found[-1][1]):
            continue
        depth, quoted, position = 1, False, match.end()
        while position < len(text) and depth:
            letter = text[position]
            if letter == "\\" and quoted:
                position += 1
            elif letter == '"':
                quoted = not quoted
            elif not quoted:
                depth += (letter == "{") - (letter == "}")
            position += 1
        found.append((match.start(), position - 1))
    return found
