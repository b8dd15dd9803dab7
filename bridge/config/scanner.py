"""Split a faulty HCL file into words, strings and signs, and find strings, comments and here-documents without an end.

The parser's lexer cannot be used for that: it takes line breaks into strings, so that one missing quote turns the
rest of the file inside out.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from bridge.core.diagnostic import Code, Span

Kind = Literal["name", "number", "string", "heredoc", "open", "close", "newline", "sign"]

_TOKEN: Final = re.compile(
    r"""
    (?P<space> [ \t\r\ufeff]+ | \#[^\n]* | //[^\n]* )
  | (?P<comment> /\* )
  | (?P<newline> \n )
  | (?P<heredoc> <<-?(?P<mark>[a-zA-Z][a-zA-Z0-9._-]*)\r?\n )
  | (?P<name> [^\W\d][\w-]* )
  | (?P<number> \d+(?:\.\d+)?(?:[eE][+-]?\d+)? )
  | (?P<string> " )
  | (?P<quote> ['`\u00b4\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb] )
  | (?P<open> [\[({] )
  | (?P<close> [\])}] )
  | (?P<sign> == | != | <= | >= | && | \|\| | => | \.\.\. | :: | . )
    """,
    re.VERBOSE | re.DOTALL,
)
#: What stands for quotes elsewhere: opening signs, and what may close each.
QUOTES: Final = {
    "'": "'",
    "`": "`'\u00b4",
    "\u00b4": "\u00b4`'",
    "\u2018": "\u2019\u2018'",
    "\u2019": "\u2019'",
    "\u201a": "\u2018\u2019",
    "\u201c": '\u201d\u201c"',
    "\u201d": '\u201d"',
    "\u201e": '\u201c\u201d"',
    "\u00ab": "\u00bb",
    "\u00bb": "\u00ab",
}
#: Text of a string up to its end, a line break, or the beginning of a template.
_TEXT: Final = re.compile(r'(?:[^"\\\n$%]|\\[^\n]|([$%])\1\{[^}\n]*\}|[$%](?!\{))*')
#: The inside of a template up to what may end it.
_INSIDE: Final = re.compile(r'[^"{}\n]*')
#: A line that may end a here-document.
_MARK: Final = re.compile(r"^[ \t]*([a-zA-Z][a-zA-Z0-9._-]*)\r?$", re.MULTILINE)
#: A line that begins a key, or begins or ends a block.
_NEXT: Final = re.compile(
    r'^[ \t]*(?:\}|[a-zA-Z_][a-zA-Z0-9_-]*(?:[ \t]*=(?!=)|(?:[ \t]+"[^"\n]*")*[ \t]*\{))', re.MULTILINE
)


class Piece(NamedTuple):
    """A word, string or sign of a file: its kind, and where its text begins and ends.

    `faulty` is True where it has a fault already, so that what it is a part of needs no other one.
    """

    kind: Kind
    start: int
    end: int
    faulty: bool = False


class SyntaxFault(NamedTuple):
    """One syntax error: where its text begins and ends, its kind, and what to tell.

    Attributes:
        start: Where its text begins.
        end: Where it ends.
        code: Its kind.
        message: What is wrong; it quotes only names of keys, and signs.
        hint: What would be right; may be empty.
        key: The key whose value is meant; may be empty.
        other: Beginning and end of a second place, and what is there.
    """

    start: int
    end: int
    code: Code
    message: str
    hint: str = ""
    key: str = ""
    other: tuple[int, int, str] | None = None


@dataclass(slots=True)
class Source:
    """The text of a file, and the lines and columns of its characters."""

    text: str
    _starts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self._starts = [0, *(found.end() for found in re.finditer("\n", self.text))]

    def line(self, position: int) -> int:
        """Return the line of a character."""
        return bisect_right(self._starts, position)

    def place(self, position: int) -> tuple[int, int]:
        """Return line and column of a character."""
        line = self.line(position)
        return line, position - self._starts[line - 1] + 1

    def span(self, start: int, end: int) -> Span:
        """Return the place of a part of the text."""
        return Span(*self.place(start), *self.place(max(start, end)))

    def indent(self, position: int) -> int:
        """Return how far the line of a character is indented; a tab reaches to the next multiple of 8."""
        start = self._starts[self.line(position) - 1]
        end = start
        while self.text[end : end + 1] in {" ", "\t", "\ufeff"}:
            end += 1
        return len(self.text[start:end].expandtabs(8))

    def end_of_line(self, position: int) -> int:
        """Return where the line of a character ends, before its line break."""
        line = self.line(position)
        end = self._starts[line] - 1 if line < len(self._starts) else len(self.text)
        return end - (self.text[end - 1 : end] == "\r" and end > position)


def scan(source: Source) -> tuple[list[Piece], list[SyntaxFault]]:
    """Return the pieces of a text, without spaces and comments, and the faults of those that have no end."""
    scanner = _Scanner(source)
    return list(scanner.pieces()), scanner.faults


class _Scanner:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._text = source.text
        self.faults: list[SyntaxFault] = []
        self._has_equals = False
        self._name = self._key = ""  # the last word, and the last one with a value
        self._open = 0  # brackets that were opened on this line
        self._marks: dict[str, list[tuple[int, int]]] = {}
        for found in _MARK.finditer(self._text) if "<<" in self._text else ():
            self._marks.setdefault(found[1], []).append((found.start(), found.end(1)))

    def pieces(self) -> Iterator[Piece]:
        position, length = 0, len(self._text)
        while position < length:
            found = _TOKEN.match(self._text, position)
            if found is None:  # every character matches; the check is for the type
                break
            kind = found.lastgroup if found.lastgroup != "mark" else "heredoc"
            position = found.end()
            match kind:
                case "space":
                    continue
                case "comment":
                    position = self._comment(found.start())
                    continue
                case "string":
                    piece = self._string(found.start())
                case "quote":
                    piece = self._other_quotes(found.start())
                case "heredoc":
                    piece = self._heredoc(found.start(), found.end(), found["mark"])
                case "name" | "number" | "open" | "close" | "newline" | "sign":
                    piece = Piece(kind, found.start(), position)
            position = piece.end
            self._note(piece)
            yield piece

    def _note(self, piece: Piece) -> None:
        """Keep what the end of a string without a quote is guessed by."""
        if piece.kind == "newline":
            self._has_equals, self._open = False, 0
        elif piece.kind == "open":
            self._open += 1
        elif piece.kind == "close":
            self._open -= 1
        elif piece.kind == "sign" and self._text[piece.start] in "=:":
            self._has_equals = True
            self._key = self._name
        elif piece.kind == "name":
            self._name = self._text[piece.start : piece.end]

    def _comment(self, start: int) -> int:
        """Return where a comment in several lines ends."""
        end = self._text.find("*/", start + 2)
        if end >= 0:
            return end + 2
        message = "this comment is not closed"
        self.faults.append(SyntaxFault(start, start + 2, Code.UNCLOSED_STRING, message, "write `*/` at its end"))
        return len(self._text)

    def _heredoc(self, start: int, body: int, mark: str) -> Piece:
        marks = self._marks.get(mark, [])
        at = bisect_left(marks, (body, 0))
        if at < len(marks):
            return Piece("heredoc", start, marks[at][1])
        # What looks like the next key or the end of the block is probably behind its end.
        following = _NEXT.search(self._text, body)
        end = max(start, following.start() - 1 if following else len(self._text))
        message, hint = "this text has no end", f"write `{mark}` on a line of its own behind it"
        line_end = self._source.end_of_line(start)
        self.faults.append(SyntaxFault(start, line_end, Code.UNCLOSED_STRING, message, hint))
        return Piece("heredoc", start, end, faulty=True)

    def _string(self, start: int) -> Piece:
        end, templates = self._end_of_string(start + 1)
        if templates is None:
            return Piece("string", start, end)
        if templates:
            return self._open_template(start, templates[0])
        end = self._guessed_end(start)
        message = "this string has no closing quote on its line"
        self.faults.append(SyntaxFault(start, end, Code.UNCLOSED_STRING, message, 'a `"` is missing'))
        return Piece("string", start, end, faulty=True)

    def _other_quotes(self, start: int) -> Piece:
        """Take a text between quotes that are not HCL's for a string; without their end they are a sign."""
        sign = self._text[start]
        ends = [self._text.find(one, start + 1, self._source.end_of_line(start)) for one in QUOTES[sign]]
        end = min((found for found in ends if found >= 0), default=-1)
        if end < 0:
            return Piece("sign", start, start + 1)
        message, hint = f"a text does not stand in `{sign}`", 'write `"` at both ends'
        key = self._key if self._has_equals else ""
        self.faults.append(SyntaxFault(start, end + 1, Code.SYNTAX, message, hint, key))
        return Piece("string", start, end + 1, faulty=True)

    def _end_of_string(self, position: int) -> tuple[int, list[int] | None]:
        """Return the end of a string, and None; where it has none on its line, the templates that are open there.

        It does not call itself, because strings and templates may be inside of each other to any depth.
        """
        inside: list[int] = []  # for each open string -1, for each open template how many braces are open in it
        inside.append(-1)
        templates: list[int] = []
        while inside:
            found = (_TEXT if inside[-1] < 0 else _INSIDE).match(self._text, position)
            position = found.end() if found else position
            sign = self._text[position : position + 1]
            if inside[-1] < 0:
                if sign == '"':
                    inside.pop()
                elif sign in {"$", "%"}:
                    templates.append(position)
                    inside.append(0)
                    position += 1
                else:
                    return position, templates
            elif sign == '"':
                inside.append(-1)
            elif sign == "{":
                inside[-1] += 1
            elif sign == "}" and inside[-1]:
                inside[-1] -= 1
            elif sign == "}":
                inside.pop()
                templates.pop()
            else:
                return position, templates
            position += 1
        return position, None

    def _open_template(self, start: int, template: int) -> Piece:
        sign = self._text[template : template + 2]
        line_end = self._source.end_of_line(start)
        # The last quote of the line: with the next one, a line of many such strings would be read again for each.
        quote = self._text.rfind('"', template, line_end)
        end = quote + 1 if quote >= 0 else self._guessed_end(start)
        message = f"this `{sign}` is not closed"
        self.faults.append(
            SyntaxFault(template, template + 2, Code.UNCLOSED_STRING, message, "a `}` is missing in the string")
        )
        return Piece("string", start, end, faulty=True)

    def _guessed_end(self, start: int) -> int:
        """Return where a string without a closing quote probably ends on its line."""
        end = self._source.end_of_line(start)
        rest = self._text[start + 1 : end].rstrip()
        if not self._has_equals and rest.endswith("{"):
            return start + 1 + len(rest[:-1].rstrip())
        left = self._open
        while rest:
            if rest[-1] in "])}" and left > 0:
                left -= 1
            elif rest[-1] not in ", \t":
                break
            rest = rest[:-1]
        return start + 1 + len(rest) if rest else start + 1
