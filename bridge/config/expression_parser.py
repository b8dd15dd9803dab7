"""Turn python-hcl2's parse tree of an expression into our own terms.

The raw tree (`hcl2.parses_to_tree`) is used, not python-hcl2's own transformation. That one keeps operators as text,
has no limit of recursion (RecursionError at 400 nested lists), and loses the lines of the parts of a value.
"""

import re
from dataclasses import dataclass
from typing import Final

from lark import Token, Tree
from lark.exceptions import UnexpectedInput

from bridge.config.diagnostics import Fault
from bridge.config.grammar import Budget, TooLargeError, parse
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

#: How deep values and expressions may nest; CEL's own parser stops at 96.
MAX_DEPTH: Final = 48
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_PLAIN_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_WRAPPERS: Final = {"expr_term", "string_part", "object_elem_key"}
_UNSUPPORTED: Final = {
    "attr_splat_expr_term": "`.*` is not supported",
    "full_splat_expr_term": "`[*]` is not supported",
    "for_tuple_expr": "`for` is not supported",
    "for_object_expr": "`for` is not supported",
    "template_string": "an escaped string outside of a template is not supported",
}

Node = Tree[Token]


@dataclass(frozen=True, slots=True)
class ExpressionReader:
    """Read the terms of one text.

    Attributes:
        text: The text that was parsed.
        budget: What may still be parsed; the templates of here-documents are parsed by themselves.
        offset: Lines to add to those of the tree, because the template of a here-document is parsed by itself.
    """

    text: str
    budget: Budget
    offset: int = 0

    def line(self, node: Node | Token) -> int:
        """Return the line of a node in its file."""
        found = node.line if isinstance(node, Token) else getattr(node.meta, "line", 0)
        return (found or 0) + self.offset

    def source(self, node: Node) -> str:
        """Return the text of a node on one line."""
        return " ".join(self.text[node.meta.start_pos : node.meta.end_pos].split())

    def read(self, node: Node, depth: int = 0) -> Term:
        """Return the term of one node.

        Raises:
            Fault: It uses what is not supported, or is nested too deeply.
        """
        if depth > MAX_DEPTH:
            raise Fault(self.line(node), f"nested more than {MAX_DEPTH} deep")
        while node.data in _WRAPPERS:  # parentheses, too; a loop, since there may be any number of them
            node = _trees(_meaningful(node))[0]
        if node.data in _UNSUPPORTED:
            raise Fault(self.line(node), _UNSUPPORTED[node.data])
        children = _meaningful(node)
        line, text = self.line(node), self.source(node)
        match node.data:
            case "identifier" | "keyword":
                return Reference(line, text, str(children[0]), ())
            case "literal_value":
                return Constant(line, text, {"true": True, "false": False, "null": None}[str(children[0])])
            case "int_lit":
                return Constant(line, text, _integer(str(children[0]), line))
            case "float_lit":
                return Constant(line, text, _double(str(children[0]), line))
            case "string":
                return self._string(_trees(children), line, text, depth)
            case "heredoc_template" | "heredoc_template_trim":
                return self._heredoc(str(children[0]), line, text, depth)
            case "tuple":
                return Sequence(line, text, tuple(self.read(item, depth + 1) for item in _trees(children)))
            case "object":
                return Object(line, text, self._object(_trees(children), depth))
            case "function_call":
                return self._call(_trees(children), line, text, depth)
            case "unary_op":
                return _unary(line, text, str(children[0]).strip(), self.read(_trees(children)[0], depth + 1))
            case "binary_op":
                left, right = _trees(children)
                operator, operand = _trees(_meaningful(right))
                # The parser counts a line break before an operator as a part of the operator.
                sign = str(operator.children[0]).split()[-1]
                return Binary(line, text, sign, self.read(left, depth + 1), self.read(operand, depth + 1))
            case "conditional":
                parts = [self.read(part, depth + 1) for part in _trees(children)]
                return Conditional(line, text, *parts)
            case "get_attr_expr_term" | "index_expr_term":
                return self._index(node, line, text, depth)
        raise Fault(line, f"`{text}` is not supported")

    def _index(self, node: Node, line: int, text: str, depth: int) -> Term:
        base_node, step = _trees(_meaningful(node))
        base = self.read(base_node, depth + 1)
        key_node = _meaningful(step)[-1] if step.data != "braces_index" else _trees(_meaningful(step))[0]
        if step.data == "get_attr":
            name = str(key_node.children[0]) if isinstance(key_node, Tree) else str(key_node)
            key: Term = Constant(line, name, name)
        elif isinstance(key_node, Token):
            key = Constant(line, str(key_node), _integer(str(key_node), line))
        else:
            key = self.read(key_node, depth + 1)
        if isinstance(key, Constant) and isinstance(base, Reference):
            if isinstance(key.value, str) or (type(key.value) is int and key.value >= 0):
                return Reference(line, text, base.root, (*base.steps, key.value))
            raise Fault(line, f"`{text}`: an index is a name in quotes, or a number from 0")
        return Index(line, text, base, key)

    def _object(self, elements: list[Node], depth: int) -> tuple[tuple[str, Term], ...]:
        items: dict[str, Term] = {}
        for element in elements:
            key_node, value_node = _trees(_meaningful(element))
            key_term = self.read(key_node, depth + 1)
            match key_term:
                case Reference(root=str(key), steps=()):
                    pass
                case Constant(value=value) if isinstance(value, str | int | bool):
                    key = value if isinstance(value, str) else key_term.text
                case _:
                    raise Fault(key_term.line, f"`{key_term.text}`: a key is a plain name or a string")
            if key in items:
                raise Fault(key_term.line, f"`{key}` is given twice")
            items[key] = self.read(value_node, depth + 1)
        return tuple(items.items())

    def _call(self, children: list[Node], line: int, text: str, depth: int) -> FunctionCall:
        names = [str(child.children[0]) for child in children if child.data == "identifier"]
        arguments = [child for child in children if child.data == "arguments"]
        if any(isinstance(child, Token) and child.type == "ELLIPSIS" for node in arguments for child in node.children):
            raise Fault(line, f"`{text}`: `...` is not supported")
        terms = [self.read(item, depth + 1) for node in arguments for item in _trees(_meaningful(node))]
        return FunctionCall(line, text, "::".join(names), tuple(terms))

    def _string(self, parts: list[Node], line: int, text: str, depth: int) -> Term:
        found: list[str | Term] = []
        for part in parts:
            child = part.children[0]
            if isinstance(child, Tree):
                if child.data != "interpolation":
                    raise Fault(self.line(child), "`%{…}` is not supported; use `${… ? … : …}`")
                found.append(self.read(_trees(_meaningful(child))[0], depth + 1))
            elif child.type in {"ESCAPED_INTERPOLATION", "ESCAPED_DIRECTIVE"}:
                found.append(str(child)[1:])
            else:
                found.append(_unescape(str(child), line))
        return _template(line, text, found)

    def _heredoc(self, raw: str, line: int, text: str, depth: int) -> Term:
        opening, _, rest = raw.partition("\n")
        body = rest.rstrip("\r\n").rpartition("\n")
        lines = (body[0] + body[1]).replace("\r\n", "\n")
        if opening.startswith("<<-"):
            lines = _outdent(lines)
        found: list[str | Term] = []
        position, inner_line = 0, line + 1
        for start, end in _interpolations(lines):
            found.append(_plain(lines[position:start]))
            inner_line += lines.count("\n", position, start)
            inner = lines[start + 2 : end]
            found.append(parse_expression(inner, inner_line, depth + 1, self.budget))
            inner_line += inner.count("\n")
            position = end + 1
        found.append(_plain(lines[position:]))
        return _template(line, text.split(" ", maxsplit=1)[0], found)


def parse_expression(text: str, line: int, depth: int = 0, budget: Budget | None = None) -> Term:
    """Parse one expression that is a text of its own, beginning on `line` of its file.

    Its tokens are taken from the budget, by default a new one.

    Raises:
        Fault: It cannot be parsed, or uses what is not supported.
    """
    wrapped = f"x = ({text}\n)"
    budget = budget or Budget()
    try:
        tree = parse(wrapped, budget)
    except TooLargeError as error:
        raise Fault(line, str(error), quotes=False) from None
    except UnexpectedInput:
        raise Fault(line, f"`{text.strip()}` cannot be parsed") from None
    body = _trees(tree.children)[0]
    attributes = [child for child in _trees(body.children) if child.data == "attribute"]
    if len(attributes) != 1:
        raise Fault(line, f"`{text.strip()}` is not one expression")
    return ExpressionReader(wrapped, budget, line - 1).read(_trees(_meaningful(attributes[0]))[-1], depth)


def _meaningful(node: Node) -> list[Node | Token]:
    return [child for child in node.children if not (isinstance(child, Tree) and child.data == "new_line_or_comment")]


def _trees(children: "list[Node | Token]") -> list[Node]:
    return [child for child in children if isinstance(child, Tree)]


def _unary(line: int, text: str, operator: str, operand: Term) -> Term:
    if operator == "-" and isinstance(operand, Constant) and type(operand.value) in {int, float}:
        return Constant(line, text, -operand.value)
    return Unary(line, text, operator, operand)


def _integer(text: str, line: int) -> int:
    value = int(text) if len(text) < 25 else 1 << 64
    if not -(1 << 63) <= value < 1 << 64:
        raise Fault(line, "a whole number has at most 64 bits")
    return value


def _double(text: str, line: int) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise Fault(line, "the number is too large")
    return value


def _unescape(text: str, line: int) -> str:
    def plain(found: re.Match[str]) -> str:
        code = found[1]
        if code in _PLAIN_ESCAPES:
            return _PLAIN_ESCAPES[code]
        number = int(code[1:], 16) if len(code) > 1 else -1
        if not 0 <= number <= 0x10FFFF or 0xD800 <= number <= 0xDFFF:
            raise Fault(line, f'`\\{code}` is not an escape; there are \\n \\r \\t \\" \\\\ \\uXXXX \\UXXXXXXXX')
        return chr(number)

    return _ESCAPE.sub(plain, text)


def _template(line: int, text: str, found: list[str | Term]) -> Term:
    parts: list[str | Term] = []
    for part in found:
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        elif part != "":
            parts.append(part)
    if not parts:
        return Constant(line, text, "")
    if len(parts) == 1:
        # A string that is exactly one `${…}` keeps the value's type.
        return Constant(line, text, parts[0]) if isinstance(parts[0], str) else parts[0]
    return Template(line, text, tuple(parts))


def _plain(text: str) -> str:
    return text.replace("$${", "${").replace("%%{", "%{")


def _outdent(text: str) -> str:
    lines = text.split("\n")
    margin = min((len(line) - len(line.lstrip(" \t")) for line in lines if line.strip()), default=0)
    return "\n".join(line[margin:] for line in lines)


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
