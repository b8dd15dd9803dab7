"""Read what is right in a file that the parser refuses, and report every syntax error of it.

`scanner` splits the text, `brackets` mends its brackets. Then each key with its value is parsed by
itself, so that the grammar decides what is right. The result is a tree as of `grammar.parse`. What could not be read is
a node `damaged` with the key, or `lost`, so that nothing is reported that is a mere consequence.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import msgspec

from bridge.config.brackets import Brackets
from bridge.config.grammar import Budget, UnexpectedInputError, parse
from bridge.config.other_languages import recognise
from bridge.config.reasons import reason
from bridge.config.scanner import QUOTES, Piece, Source, SyntaxFault, scan
from bridge.config.tree import DAMAGED, LOST, Part, Token, Tree, trees
from bridge.core.diagnostic import Code

_KEYWORDS: Final = frozenset({"if", "in", "for", "for_each", "else", "endif", "endfor"})
_LITERALS: Final = frozenset({"null", "true", "false"})
_CLOSING_QUOTES: Final = frozenset('"').union(*QUOTES.values())
#: What a value goes on behind, on the next line; a minus there begins a value, as in the grammar.
_BEFORE_LINE: Final = frozenset({"==", "!=", "<", ">", "<=", ">=", "*", "/", "%", "&&", "||", "+", "?"})
_BEHIND_LINE: Final = _BEFORE_LINE | {"-", ":", "!"}
_HCL: Final = "write `key = value`, and `name { … }` for a block; `nemo-bridge init` writes an example"
_ONE_A_LINE: Final = "write each key on a line of its own"


class Recovered(msgspec.Struct):
    """What was read.

    Attributes:
        source: The text.
        tree: The tree, as of `grammar.parse`.
        faults: The syntax errors, each with the block that it is in; none where only the parser finds one.
    """

    source: Source
    tree: Tree
    faults: list[tuple[str, SyntaxFault]]


def recover(text: str, ours: frozenset[str], budget: Budget) -> Recovered:
    """Read a faulty file. The tokens of each value are taken from the budget.

    Raises:
        TooLargeError: It has more tokens than are left.
    """
    source = Source(text)
    pieces, faults = scan(source)
    other = recognise(source, pieces)
    if other is not None:
        language, at = other
        message, hint = f"this is {language}; the bridge's configuration is HCL", _HCL
        fault = SyntaxFault(at.start, at.end, Code.SYNTAX, message, hint)
        return Recovered(source, Tree("start", [Tree("body", [Tree(LOST, [])])]), [("", fault)])
    brackets = Brackets(source, pieces, ours)
    brackets.mend()
    statements = _Statements(source, brackets.mended, brackets.blocks, budget)
    tree = statements.read()
    found = sorted([*faults, *brackets.faults, *statements.faults])
    return Recovered(source, tree, [(statements.block_at(one.start), one) for one in found])


class _Frame(msgspec.Struct):
    """A block that is being read."""

    parts: list[Tree]
    children: list[Tree]
    subject: str
    first: Piece


class _Statements(msgspec.Struct):
    """Read keys and blocks, one after the other."""

    source: Source
    pieces: Sequence[Piece]
    blocks: set[int]
    budget: Budget
    faults: list[SyntaxFault] = msgspec.field(default_factory=list)
    _children: list[Tree] = msgspec.field(default_factory=list)
    _frames: list[_Frame] = msgspec.field(default_factory=list)
    _subjects: list[tuple[int, str]] = msgspec.field(default_factory=lambda: [(-1, "")])

    def read(self) -> Tree:
        """Return the tree of all of them."""
        index = 0
        while index < len(self.pieces):
            kind = self.pieces[index].kind
            if kind == "newline":
                index += 1
            elif kind == "close":
                self._end_block(self.pieces[index])
                index += 1
            else:
                index = self._statement(index)
        return Tree("start", [Tree("body", list(self._children))])

    def block_at(self, position: int) -> str:
        """Return the blocks around a place, as in `integration "a" > endpoint`."""
        return self._subjects[bisect_right(self._subjects, (position, chr(0x10FFFF))) - 1][1]

    def _text(self, piece: Piece) -> str:
        return self.source.text[piece.start : piece.end]

    def _is_sign(self, index: int, sign: str) -> bool:
        return index < len(self.pieces) and self._text(self.pieces[index]) == sign

    def _kind(self, index: int) -> str:
        return self.pieces[index].kind if index < len(self.pieces) else "newline"

    def _statement(self, index: int) -> int:
        """Read a key with its value, or the beginning of a block; return the index behind it."""
        if self._kind(index) == "name" and self._is_sign(index + 1, "="):
            return self._attribute(index)
        brace = self._brace_of(index) if self._kind(index) in {"name", "string"} else None
        if brace is not None:
            self._begin_block(index, brace)
            return brace + 1
        return self._skip(index)

    # --- blocks

    def _brace_of(self, index: int) -> int | None:
        """Return the index of the brace of the block that begins here; None where none begins."""
        while self._kind(index) in {"name", "string"}:
            index += 1
        while index < len(self.pieces) and self._kind(index) == "newline":
            index += 1
        return index if index in self.blocks else None

    def _begin_block(self, index: int, brace: int) -> None:
        head = [piece for piece in self.pieces[index:brace] if piece.kind != "newline"]
        if head[0].kind == "string" and not head[0].faulty:
            name = self._text(head[0])[1:-1]
            right = " ".join([name, *map(self._text, head[1:])])
            message, hint = "the name of a block stands without quotes", f"write `{right} {{`"
            self.faults.append(SyntaxFault(head[0].start, head[0].end, Code.SYNTAX, message, hint))
            head[0] = Piece("string", head[0].start, head[0].end, faulty=True)
        parts = [node for piece in head for node in self._label(piece)]
        outer = f"{self._frames[-1].subject} > " if self._frames else ""
        text = [" ".join(self.source.text[part.start_pos : part.end_pos].split()) for part in parts]
        labels = [one if part.data == "string" else f'"{one}"' for part, one in zip(parts[1:], text[1:], strict=True)]
        subject = outer + " ".join([text[0], *labels])
        self._frames.append(_Frame(parts, self._children, subject, head[0]))
        self._subjects.append((head[0].start, subject))
        self._children = []

    def _label(self, piece: Piece) -> list[Tree]:
        if piece.kind == "string" and not piece.faulty:
            return [self._node("string", piece.start, piece.end)]
        # Of a string without its closing quote, the text is the label; it may be that only a quote was left.
        start, end = piece.start + (piece.kind == "string"), piece.end
        if piece.kind == "string" and end > start and self.source.text[end - 1] in _CLOSING_QUOTES:
            end -= 1
        return [self._word(start, end)] if start < end else []

    def _word(self, start: int, end: int) -> Tree:
        text = self.source.text[start:end]
        kind = "keyword" if text in _KEYWORDS else "literal_value" if text in _LITERALS else "identifier"
        return self._node(kind, start, end, text)

    def _node(self, kind: str, start: int, end: int, *children: str) -> Tree:
        node = Tree(kind, [Token("NAME", child) for child in children])
        node.line, node.column, node.end_line, node.end_column = self.source.span(start, end)
        node.start_pos, node.end_pos = start, end
        return node

    def _end_block(self, closing: Piece) -> None:
        if not self._frames:
            return
        frame = self._frames.pop()
        node = self._node("block", frame.first.start, closing.end)
        node.children = [*frame.parts, Tree("body", list(self._children))]
        self._children = frame.children
        self._children.append(node)
        self._subjects.append((closing.end, self._frames[-1].subject if self._frames else ""))

    # --- keys

    def _attribute(self, index: int) -> int:
        end = self._end_of_value(index + 2)
        name = self.pieces[index]
        key = self._text(name)
        value = [piece for piece in self.pieces[index + 2 : end] if piece.kind != "newline"]
        node: Tree | None = None
        if not value:
            equals = self.pieces[index + 1]
            message, hint = "the value is missing", f"write it behind `{key} =`, on the same line"
            self.faults.append(SyntaxFault(name.start, equals.end, Code.SYNTAX, message, hint, key))
        elif not any(piece.faulty for piece in value):
            node = self._parsed(name, value, key)
        self._children.append(node or self._damaged(name.start, name.end))
        if self._is_sign(end, ",") or self._is_sign(end, ";"):
            sign = self.pieces[end]
            message = f"the keys of a block are not separated by `{self._text(sign)}`"
            code = Code.ONE_ATTRIBUTE_A_LINE
            self.faults.append(SyntaxFault(sign.start, sign.end, code, message, _ONE_A_LINE, key))
            return end + 1
        return end

    def _damaged(self, start: int, end: int) -> Tree:
        node = self._node(DAMAGED, start, end)
        node.children = [self._word(start, end)]
        return node

    def _parsed(self, name: Piece, value: Sequence[Piece], key: str) -> Tree | None:
        """Return the tree of a key with its value; report a fault and return None where it has one."""
        text = self.source.text[name.start : value[-1].end]
        try:
            tree = parse(text, self.budget)
        except UnexpectedInputError as error:
            self.faults.append(reason(error, self.source, name.start, value, key))
            return None
        node = next(child for child in trees(trees(tree.children)[0].children) if child.data == "attribute")
        line, column = self.source.place(name.start)
        _move(node, line - 1, column - 1, name.start)
        return node

    def _end_of_value(self, index: int) -> int:
        """Return the index behind the value that begins here."""
        start, depth, questions = index, 0, 0
        before: Piece | None = None
        while index < len(self.pieces):
            piece = self.pieces[index]
            sign = self._text(piece) if piece.kind == "sign" else ""
            if depth == 0:
                if piece.kind == "close" or sign in {",", ";"}:
                    break
                if piece.kind == "newline" and not self._goes_on(index, before, questions):
                    break
                begins = piece.kind == "name" and index > start and self._begins_statement(index)
                if begins and before is not None and (_ends_value(before) or self._kind(index - 1) == "newline"):
                    break
                questions += (sign == "?") - (sign == ":")
            depth += (piece.kind == "open") - (piece.kind == "close")
            if piece.kind != "newline":
                before = piece
            index += 1
        while index > start and self._kind(index - 1) == "newline":
            index -= 1
        return index

    def _goes_on(self, index: int, before: Piece | None, questions: int) -> bool:
        """Return whether a value goes on behind a line break."""
        if before is None:
            return False
        if before.kind == "sign" and self._text(before) in _BEHIND_LINE:
            return True
        while self._kind(index) == "newline" and index < len(self.pieces):
            index += 1
        following = self._text(self.pieces[index]) if self._kind(index) == "sign" else ""
        return following in _BEFORE_LINE or (following == ":" and questions > 0)

    def _begins_statement(self, index: int) -> bool:
        return self._is_sign(index + 1, "=") or self._brace_of(index) is not None

    # --- what is neither

    def _skip(self, index: int) -> int:
        """Report what is neither a key with a value nor a block; return the index behind it."""
        start, depth = index, 0
        while index < len(self.pieces):
            kind = self._kind(index)
            if depth == 0 and (kind in {"newline", "close"} or (index > start and self._begins_statement_at(index))):
                break
            depth += (kind == "open") - (kind == "close")
            index += 1
        self._report(self.pieces[start:index])
        return index

    def _begins_statement_at(self, index: int) -> bool:
        return self._kind(index) == "name" and self._kind(index - 1) != "sign" and self._is_sign(index + 1, "=")

    def _report(self, line: Sequence[Piece]) -> None:
        first = line[0]
        is_key = first.kind == "name" or (first.kind == "string" and not first.faulty)
        key = self._text(first).strip('"') if is_key else ""
        if is_key and key.replace("-", "_").isidentifier() and len(line) > 1:
            start = first.start + (first.kind == "string")
            self._children.append(self._damaged(start, start + len(key)))
        else:
            key = ""
            self._children.append(Tree(LOST, []))
        if any(piece.faulty for piece in line):
            return
        message, hint, at = self._complaint(line, key)
        self.faults.append(SyntaxFault(at.start, at.end, Code.SYNTAX, message, hint, key))

    def _complaint(self, line: Sequence[Piece], key: str) -> tuple[str, str, Piece]:
        """Return what is wrong with a line, what would be right, and the place."""
        first = line[0]
        second = line[1] if len(line) > 1 else None
        sign = self._text(second) if second is not None and second.kind in {"sign", "open"} else ""
        if first.kind == "string" and key and sign in {"=", ":", "{"}:
            right = f"{key} {{ … }}" if sign == "{" else f"{key} = …"
            return "a key stands without quotes", f"write `{right}`", first
        if first.kind == "name" and second is None:
            hint = "write `key = value`, or `name { … }` for a block"
            return "this word stands alone", hint, first
        if first.kind == "name" and second is not None:
            if sign == ".":
                return "a key is one name, without dots", "what is inside of a block stands between its braces", second
            if sign in {":", "==", "=>"} or (sign and sign in "+?!<>"):
                if sign == ":" and len(line) == 2:
                    return (
                        "neither a block nor a value begins with `:`",
                        f"write `{key} {{ … }}` or `{key} = …`",
                        second,
                    )
                return f"a value is given with `=`, not with `{sign}`", f"write `{key} = …`", second
            if sign == "{":
                return "this is not a block", f"write `{key} {{`, with labels in quotes between", second
            return "between a key and its value a `=` is missing", f"write `{key} = …`", second
        if first.kind == "open":
            sign = self._text(first)
            message = f"neither a key nor a block begins with `{sign}`"
            return message, "write `key = value`, or `name { … }` for a block", first
        return "this is neither a key with a value nor a block", "write `key = value`, or `name { … }`", first


def _ends_value(piece: Piece) -> bool:
    return piece.kind in {"name", "number", "string", "heredoc", "close"}


def _move(node: Tree, lines: int, columns: int, characters: int) -> None:
    """Move a tree to its place in the file; it was parsed as if it began the file."""
    waiting: list[Part] = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Tree):
            waiting.extend(one.children)
        if not one.line:
            continue
        one.column += columns if one.line == 1 else 0
        one.end_column += columns if one.end_line == 1 else 0
        one.line += lines
        one.end_line += lines
        one.start_pos += characters
        one.end_pos += characters
