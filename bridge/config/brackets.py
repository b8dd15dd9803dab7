"""Find brackets of a faulty HCL file that are not closed, or close nothing, and mend them.

Where the brackets balance they are believed. Where they do not, the indentation tells which one is the wrong one, as it
does to a person: what is indented no more than the line of a block's opening brace is not in that block.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from bridge.config.scanner import Piece, Source, SyntaxFault
from bridge.core.diagnostic import Code

#: The most names, labels and line breaks before the brace of a block.
_LONGEST_HEAD: Final = 20
#: A string that was probably meant as the name of a block.
_NAME: Final = re.compile(r'"[a-zA-Z_][a-zA-Z0-9_-]*"')
_CLOSING: Final = {"{": "}", "[": "]", "(": ")"}


class _Open(msgspec.Struct):
    """A bracket that is open.

    Attributes:
        piece: The bracket.
        sign: The bracket itself.
        head: Where the statement begins that it is in.
        indent: How far its line is indented.
        line: Its line.
        is_block: Whether it is the brace of a block.
        at: Its index in the mended pieces.
    """

    piece: Piece
    sign: str
    head: int
    indent: int
    line: int
    is_block: bool
    at: int


class Brackets(msgspec.Struct):
    """Mend the brackets of one file.

    Attributes:
        source: The text.
        pieces: What it consists of.
        ours: The types of blocks that are in no other one.
        mended: The pieces with every bracket closed in its order. A bracket that was missing has no length; a bracket
            that closes nothing is left out.
        faults: What was wrong.
        blocks: The index in `mended` of each brace that opens a block.
    """

    source: Source
    pieces: Sequence[Piece]
    ours: frozenset[str]
    mended: list[Piece] = msgspec.field(default_factory=list)
    faults: list[SyntaxFault] = msgspec.field(default_factory=list)
    blocks: set[int] = msgspec.field(default_factory=set)
    _stack: list[_Open] = msgspec.field(default_factory=list)
    _statement: int = 0

    def mend(self) -> None:
        """Fill `mended`, `faults` and `blocks`."""
        balanced, surplus = self._balance()
        by_layout = not balanced and self._is_indented()
        at_start = True
        for index, piece in enumerate(self.pieces):
            if piece.kind == "newline":
                if not at_start and not balanced and self._in_body():
                    self._open_by_layout(index)
                self.mended.append(piece)
                at_start = True
                continue
            if at_start and not balanced and piece.kind != "close":
                self._close_by_layout(index, by_layout=by_layout)
            if at_start and self._in_body() and self._text(piece) != "{":
                self._statement = len(self.mended)
            if piece.kind == "open":
                self._open(piece)
            elif piece.kind == "close":
                surplus -= self._close(piece, by_layout=by_layout and at_start, surplus=surplus)
            else:
                self.mended.append(piece)
            at_start = False
        while self._stack:
            self._unclosed(len(self.source.text))

    def _text(self, piece: Piece) -> str:
        return self.source.text[piece.start : piece.end]

    def _balance(self) -> tuple[bool, int]:
        """Return whether each bracket is closed in its order, and how many closing braces are too many."""
        stack: list[str] = []
        balanced, surplus = True, 0
        for piece in self.pieces:
            sign = self._text(piece) if piece.kind in {"open", "close"} else ""
            surplus += (sign == "}") - (sign == "{")
            if piece.kind == "open":
                stack.append(_CLOSING[sign])
            elif piece.kind == "close" and (not stack or stack.pop() != sign):
                balanced = False
        return balanced and not stack, surplus

    def _is_indented(self) -> bool:
        """Return whether the file indents what is inside of braces."""
        deeper = other = 0
        for piece, line_end, inside in zip(self.pieces, self.pieces[1:], self.pieces[2:], strict=False):
            if line_end.kind == "newline" and piece.kind == "open" and inside.kind not in {"newline", "close"}:
                is_deeper = self.source.indent(inside.start) > self.source.indent(piece.start)
                deeper += is_deeper
                other += not is_deeper
        return deeper > other

    def _in_body(self) -> bool:
        return not self._stack or self._stack[-1].is_block

    def _open(self, piece: Piece) -> None:
        is_block = False
        if self._text(piece) == "{" and self._in_body():
            self._drop_equals()
            is_block = self._is_head()
        self._push(piece, is_block=is_block)

    def _drop_equals(self) -> None:
        """Leave out a `=` between the label of a block and its brace."""
        if len(self.mended) - self._statement > _LONGEST_HEAD:
            return
        *head, last = self.mended[self._statement :] or [Piece("newline", 0, 0)]
        kinds = [piece.kind for piece in head]
        if self._text(last) != "=" or kinds[:1] != ["name"] or set(kinds[1:]) != {"string"}:
            return
        self.mended.pop()
        head_text = " ".join(self._text(piece) for piece in head)
        message, hint = "a block has no `=` before its brace", f"write `{head_text} {{`"
        self.faults.append(SyntaxFault(last.start, last.end, Code.BLOCK_OR_KEY, message, hint))

    def _is_head(self) -> bool:
        """Return whether this statement is type and labels of a block, up to here."""
        if len(self.mended) - self._statement > _LONGEST_HEAD:
            return False
        head = [piece for piece in self.mended[self._statement :] if piece.kind != "newline"]
        if not head or not all(piece.kind in {"name", "string"} for piece in head):
            return False
        return head[0].kind == "name" or (not head[0].faulty and _NAME.fullmatch(self._text(head[0])) is not None)

    def _push(self, piece: Piece, *, is_block: bool) -> None:
        sign = self._text(piece) or "{"
        head = self.mended[self._statement].start if self._statement < len(self.mended) else piece.start
        self._stack.append(
            _Open(
                piece,
                sign,
                head,
                self.source.indent(head if is_block else piece.start),
                self.source.line(piece.start),
                is_block,
                len(self.mended),
            )
        )
        if is_block:
            self.blocks.add(len(self.mended))
            self._statement = len(self.mended) + 1
        self.mended.append(piece)

    def _close(self, piece: Piece, *, by_layout: bool, surplus: int) -> int:
        """Take a closing bracket; return how many closing braces that were too many are left out: 0 or 1."""
        sign = self._text(piece)
        place = self._place_of(sign)
        if place is None:
            message = f"this `{sign}` closes nothing"
            self.faults.append(SyntaxFault(piece.start, piece.end, Code.SURPLUS_SIGN, message, "leave it out"))
            if self._statement < len(self.mended):  # in a value: it is faulty with it
                self.mended.append(Piece("sign", piece.start, piece.end, faulty=True))
            return int(sign == "}")
        if by_layout and sign == "}":
            top, indent = self._stack[-1], self.source.indent(piece.start)
            if indent > top.indent and surplus > 0:
                message = f"this `{sign}` closes `{self._name(top)}` before its end"
                self.faults.append(
                    SyntaxFault(
                        piece.start, piece.end, Code.SURPLUS_SIGN, message, "leave it out", other=self._head(top)
                    )
                )
                return 1
            for at in range(len(self._stack) - 1, -1, -1):
                if indent >= self._stack[at].indent:
                    place = at if self._stack[at].sign == "{" else place
                    break
        while len(self._stack) > place + 1:
            self._unclosed(piece.start)
        closed = self._stack.pop()
        self.mended.append(piece)
        if closed.is_block:
            self._statement = len(self.mended)
        return 0

    def _place_of(self, sign: str) -> int | None:
        """Return which of the open brackets a closing one closes; None for none."""
        for at in range(len(self._stack) - 1, -1, -1):
            if _CLOSING[self._stack[at].sign] == sign:
                return at
            if self._stack[at].is_block:
                return None
        return None

    def _close_by_layout(self, index: int, *, by_layout: bool) -> None:
        """Close what cannot be open at the beginning of a line."""
        piece = self.pieces[index]
        begins = self._begins_statement(index)
        indent = self.source.indent(piece.start)
        while self._stack and begins:
            top = self._stack[-1]
            in_braces = top.sign == "{"
            outside = indent <= top.indent if by_layout else self._is_one_of_ours(index)
            if (in_braces and not outside) or top.line == self.source.line(piece.start):
                return
            self._unclosed(piece.start)

    def _begins_statement(self, index: int) -> bool:
        """Return whether a key with `=`, or a block, begins here."""
        if self.pieces[index].kind != "name":
            return False
        return self._is_sign(index + 1, "=") or self._begins_block(index)

    def _is_sign(self, index: int, sign: str) -> bool:
        return index < len(self.pieces) and self._text(self.pieces[index]) == sign

    def _begins_block(self, index: int) -> bool:
        while index < len(self.pieces) and self.pieces[index].kind in {"name", "string"}:
            index += 1
        return self._is_sign(index, "{")

    def _is_one_of_ours(self, index: int) -> bool:
        """Return whether a block begins here that is in no other one."""
        return self._text(self.pieces[index]) in self.ours and self._begins_block(index)

    def _open_by_layout(self, index: int) -> None:
        """At the end of a line, open the block whose brace is missing there: what follows is indented more."""
        if not self._is_head():
            return
        line = self.mended[self._statement :]
        while index < len(self.pieces) and self.pieces[index].kind == "newline":
            index += 1
        if index == len(self.pieces) or self._is_sign(index, "{"):
            return
        start, end = line[0].start, line[-1].end
        if self.source.indent(self.pieces[index].start) > self.source.indent(start):
            message = "the `{` of this block is missing"
            self.faults.append(SyntaxFault(start, end, Code.UNCLOSED_BLOCK, message, "write it at the end of the line"))
            self._push(Piece("open", end, end, faulty=True), is_block=True)

    def _unclosed(self, position: int) -> None:
        """Close the innermost open bracket at a position, and report it."""
        top = self._stack.pop()
        if not top.piece.faulty:
            what = "block" if top.is_block else f"`{top.sign}`"
            message = f"this {what} is not closed; a `{_CLOSING[top.sign]}` is missing"
            at_end = position >= len(self.source.text)
            hint = "write it at the end of the file" if at_end else f"write it before line {self.source.line(position)}"
            start, end, _ = self._head(top)
            self.faults.append(SyntaxFault(start, end, Code.UNCLOSED_BLOCK, message, hint))
        end = len(self.mended)
        while end > top.at + 1 and self.mended[end - 1].kind == "newline":
            end -= 1
        at = self.mended[end - 1].end if end else position
        # Before the line breaks: what was open ends with its last line.
        self.mended.insert(end, Piece("close", at, at, faulty=True))
        if top.is_block or self._in_body():
            self._statement = len(self.mended)

    def _head(self, top: _Open) -> tuple[int, int, str]:
        """Return where type and labels of a block are, or another bracket."""
        if not top.is_block:
            return top.piece.start, top.piece.end, "opened here"
        last = self.mended[top.at - 1] if top.at else top.piece
        while top.at and last.kind == "newline":
            top.at -= 1
            last = self.mended[top.at - 1]
        return top.head, last.end, "opened here"

    def _name(self, top: _Open) -> str:
        start, end, _ = self._head(top)
        return " ".join(self.source.text[start:end].split())
