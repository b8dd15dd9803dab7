"""Say what is wrong with a value that the parser refuses, and what would be right."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from bridge.config.grammar import UnexpectedInputError
from bridge.config.scanner import QUOTES, Piece, Source, SyntaxFault
from bridge.core.diagnostic import Code

_OPERATOR: Final = re.compile(r"[<>=!&|?+*/%~^-]+")
#: What other languages write, and what is meant.
_OPERATORS: Final = {
    ">>": "did you mean `>`?",
    "<<": "did you mean `<`?",
    "===": "did you mean `==`?",
    "!==": "did you mean `!=`?",
    "<>": "did you mean `!=`?",
    "=<": "did you mean `<=`?",
    "=>": "did you mean `>=`?",
    "=": "did you mean `==`?",
    "&": "did you mean `&&`?",
    "|": "did you mean `||`?",
    "~": 'write `matches(text, "pattern")`',
    "=~": 'write `matches(text, "pattern")`',
    "~=": 'write `matches(text, "pattern")`',
    "??": "write `has(event.payload.x) ? event.payload.x : other`",
    "?": "write `condition ? value : other`",
    "**": "write the multiplications",
    "^": "write the multiplications",
    "++": "write `+ 1`",
    "--": "write `- 1`",
    "+=": "a key is given once, with `=`",
}
_WORDS: Final = {
    "and": "write `&&`",
    "or": "write `||`",
    "not": "write `!`",
    "is": "write `==`",
    "eq": "write `==`",
    "in": "write `contains(list, value)`",
    "mod": "write `%`",
    "if": "write `condition ? value : other`",
    "then": "write `condition ? value : other`",
    "else": "write `condition ? value : other`",
    "contains": "write `contains(list, value)`",
    "matches": 'write `matches(text, "pattern")`',
}
#: What a value can end with, and what begins one.
_ENDS: Final = frozenset({"name", "number", "string", "heredoc", "close"})
_BEGINS: Final = frozenset({"name", "number", "string", "heredoc"})
_STRIPPED: Final = re.compile(r"[$%]\{(~)|(~)\}")
_TEXT_IN_QUOTES: Final = 'a text stands in quotes, as in `"text"`'


def reason(error: UnexpectedInputError, source: Source, start: int, value: Sequence[Piece], key: str) -> SyntaxFault:
    """Return the fault of one value.

    Args:
        error: What the parser said of the key with its value.
        source: The file.
        start: Where the key begins; the error's position counts from there.
        value: The pieces of the value.
        key: The key.
    """
    position = start + _position(error, value[-1].end - start)
    gap = _gap(value)
    if gap is not None and gap.start < position:
        position = gap.start  # the parser takes what follows for another key
    at = next((index for index, piece in enumerate(value) if piece.end > position), len(value))
    return _Value(source.text, value, at, position, error).fault(key)


def _position(error: UnexpectedInputError, end: int) -> int:
    return end if error.start is None or not 0 <= error.start < end else error.start


def _gap(value: Sequence[Piece]) -> Piece | None:
    """Return the first piece that cannot follow the one before it, outside of brackets."""
    depth = 0
    for before, piece in pairwise(value):
        depth += (before.kind == "open") - (before.kind == "close")
        if not depth and before.kind in _ENDS and piece.kind in _BEGINS:
            return piece
    return None


class _Value:
    """A value with a fault, and the piece at which it was noticed."""

    def __init__(self, text: str, value: Sequence[Piece], at: int, position: int, error: UnexpectedInputError) -> None:
        self._text = text
        self._value = value
        self._at = at
        self._position = position
        self._error = error
        last = value[-1]
        self._piece = value[at] if at < len(value) else Piece("newline", last.end, last.end)
        self._before = value[at - 1] if at else None

    def fault(self, key: str) -> SyntaxFault:
        """Return what is wrong."""
        found = self._operator() or self._end() or self._sign() or self._word() or self._gap() or self._other()
        message, hint, start, end = found
        return SyntaxFault(start, end, Code.SYNTAX, message, hint, key)

    def _of(self, piece: Piece) -> str:
        return self._text[piece.start : piece.end]

    def _here(self, message: str, hint: str) -> tuple[str, str, int, int]:
        return message, hint, self._piece.start, self._piece.end

    def _operator(self) -> tuple[str, str, int, int] | None:
        """Recognise an operator of another language."""
        before = self._before
        start = self._piece.start
        if before is not None and before.end == start and before.kind == "sign" and self._piece.kind == "sign":
            start = before.start
        found = _OPERATOR.match(self._text, start)
        hint = _OPERATORS.get(found[0]) if found else None
        if found is None or hint is None:
            return None
        opening = self._of(self._value[self._at - 2]) if self._at > 1 else ""
        if found[0] == "=>" and opening in {"{", ","}:
            return self._here("in a map a value is given with `=`, not with `=>`", "write `key = value`")
        return f"`{found[0]}` is not an operator", hint, start, found.end()

    def _end(self) -> tuple[str, str, int, int] | None:
        if self._at < len(self._value):
            return None
        last = self._value[-1]
        if last.kind == "sign":
            return f"behind `{self._of(last)}` a value is missing", "", last.start, last.end
        return "the value ends too early", "", last.start, last.end

    def _sign(self) -> tuple[str, str, int, int] | None:
        text, before = self._of(self._piece), self._before
        if text == "(" and before is not None and self._at > 1 and self._of(self._value[self._at - 2]) == ".":
            hint = f"write `{self._of(before)}(…)`, what is before the dot as first argument"
            return "a function after a dot is not supported", hint, before.start, before.end
        if text in QUOTES:
            return self._here(f"a text does not stand in `{text}`", 'write `"` at both ends')
        around = self._value[max(self._at - 2, 0) : self._at + 1]
        namespace = next((piece for piece in around if self._of(piece) == "::"), None)
        if namespace is not None:
            message, hint = "functions of a namespace are not supported", "write the function's name alone"
            return message, hint, namespace.start, namespace.end
        if self._piece.kind == "name" and not text.isascii():
            is_step = before is not None and self._of(before) == "."
            hint = f'write `["{text}"]` in place of `.{text}`' if is_step else f'in a map, write `"{text}"` in quotes'
            return self._here("a name without quotes has the letters a to z, digits, `_` and `-` only", hint)
        if self._piece.kind == "string" and (found := _STRIPPED.search(self._text, self._piece.start, self._piece.end)):
            start = found.start(1) if found[1] else found.start(2)
            return "`~` in a string is not supported", "write `${…}`, without spaces around it", start, start + 1
        if text == ";":
            return self._here("values are not separated by `;`", "write `,`")
        if text == ",":
            return self._here("before this comma a value is missing", "write one comma between two values")
        if text == "$":
            return self._here("unexpected `$`", "write `env.NAME` or `var.name`, in a string `${env.NAME}`")
        if self._error.token.lstrip().startswith("-"):
            start = self._position
            return "a minus needs a space on both sides", "", start, start + 1
        if self._text.startswith("/*", self._position):
            start = self._position
            return "a comment of this kind cannot stand inside of a value", "write it before the key", start, start + 2
        return None

    def _word(self) -> tuple[str, str, int, int] | None:
        """Recognise a word that is an operator in another language."""
        for piece in (self._piece, self._before):
            word = self._of(piece) if piece is not None and piece.kind == "name" else ""
            is_infix = piece is self._piece or word == "not"
            if piece is not None and is_infix and word in _WORDS:
                return f"`{word}` is not supported", _WORDS[word], piece.start, piece.end
        return None

    def _gap(self) -> tuple[str, str, int, int] | None:
        """Recognise two values without anything between them, which are often a text without quotes."""
        before, piece = self._before, self._piece
        if before is None or before.kind not in _ENDS or piece.kind not in {*_BEGINS, "open"}:
            return None
        if before.kind == "number" and before.end == piece.start:
            hint = 'a number with a unit stands in quotes, as in `"30s"` or `"64KiB"`'
            return "a number is not followed by letters", hint, before.start, piece.end
        if "string" in {before.kind, piece.kind} or self._is_inside():
            return self._here("before this value a comma or an operator is missing", "")
        return self._here("before this value an operator is missing", _TEXT_IN_QUOTES)

    def _is_inside(self) -> bool:
        """Return whether the place is inside of brackets."""
        signs = [piece.kind for piece in self._value[: self._at]]
        return signs.count("open") > signs.count("close")

    def _other(self) -> tuple[str, str, int, int]:
        sign = self._of(self._piece)
        is_text = self._piece.kind == "sign" and sign in {"/", ":", ".", "#"} and not self._is_inside()
        # Only punctuation is quoted: anything longer may be a part of a secret.
        if len(sign) == 1 and not sign.isalnum():
            return self._here(f"unexpected `{sign}`", _TEXT_IN_QUOTES if is_text else "")
        return self._here("this is not HCL's syntax", "")
