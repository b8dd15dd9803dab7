"""Show lines of a configuration file without its secrets."""

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from bridge.config.brackets import Brackets
from bridge.config.hcl import MAX_FILE_SIZE
from bridge.config.scanner import Piece, Source, scan
from bridge.core.files import read_regular

#: What stands for a secret.
MASK: Final = "***"
#: Names of keys and variables whose values are probably secrets.
_SECRET: Final = re.compile(
    r"pass|pwd|secret|token|credential|auth|bearer|cookie|signature|private|seed|api[-_]?key|^pin$", re.IGNORECASE
)
#: Keys whose names look like that, but which hold names of files or settings.
_PLAIN: Final = frozenset({"secret_key", "authorized_keys", "authorization_header"})
#: Credentials in a URL: user and password, and parts of the query.
_IN_URL: Final = re.compile(
    r"://([^/\s\"]*)@|[?&][^=&\s\"]*(?:pass|pwd|secret|token|key|auth|sig)[^=&\s\"]*=([^&\s\"]+)", re.IGNORECASE
)
_ROOTS: Final = frozenset({"env", "var"})
_COMMENT: Final = re.compile(r"#.*|//.*|/\*.*", re.DOTALL)


class Part(msgspec.Struct, frozen=True):
    """A part of a line: where it begins and ends in the line, counted from 0, and what is shown of it.

    `hidden` is True where that is not its own text.
    """

    start: int
    end: int
    text: str
    hidden: bool = False


@dataclass(slots=True)
class Excerpts:
    """The lines of one file, as they may be shown: in `auth`, and in keys that look like secrets, values are masked."""

    text: str
    _lines: list[str] = field(init=False)
    _starts: list[int] = field(init=False)
    _hidden: list[tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        self._lines = self.text.split("\n")
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)
        self._hidden = sorted(_hidden(self.text))

    @classmethod
    def of(cls, file: str) -> "Excerpts | None":
        """Return the excerpts of a file; None where it cannot be read."""
        try:
            data = read_regular(Path(file), MAX_FILE_SIZE)
        except (OSError, ValueError):
            return None
        return cls(data.decode("utf-8-sig", errors="replace"))

    def line(self, number: int) -> list[Part] | None:
        """Return the parts of a line, which counts from 1; None where there is no such line."""
        if not 0 < number <= len(self._lines):
            return None
        text, start = self._lines[number - 1].removesuffix("\r"), self._starts[number - 1]
        parts: list[Part] = []
        position = 0
        for begin, end in self._within(start, start + len(text)):
            hidden = max(begin - start, position), min(end - start, len(text))
            if hidden[0] >= hidden[1]:
                continue
            parts.append(Part(position, hidden[0], text[position : hidden[0]]))
            parts.append(Part(*hidden, MASK, hidden=True))
            position = hidden[1]
        parts.append(Part(position, len(text), text[position:]))
        return [part for part in parts if part.text]

    def _within(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Return what is hidden between two places of the text."""
        # What is hidden does not overlap, so only the one before may reach into the line.
        at = max(bisect_left(self._hidden, (start, 0)) - 1, 0)
        while at < len(self._hidden) and self._hidden[at][0] < end:
            if self._hidden[at][1] > start:
                yield self._hidden[at]
            at += 1


def _hidden(text: str) -> Iterator[tuple[int, int]]:
    """Return beginning and end of each part of a text that may be a secret; they do not overlap."""
    source = Source(text)
    pieces, _ = scan(source)
    brackets = Brackets(source, pieces, frozenset())
    brackets.mend()
    yield from _Masks(text, brackets.mended, brackets.blocks).hidden()


class _Masks(msgspec.Struct):
    text: str
    pieces: list[Piece]
    blocks: set[int]

    def hidden(self) -> Iterator[tuple[int, int]]:
        auth = 0  # how many blocks around this place are `auth` or in one
        inside: list[bool] = []
        secrets: list[bool] = [False]  # for each open bracket and the file: whether the key it belongs to is secret
        key = ""
        last = 0
        for index, piece in enumerate(self.pieces):
            if auth:
                yield from self._comment(last, piece.start)
            last = max(last, piece.end)
            if piece.kind == "open":
                is_auth = index in self.blocks and (bool(auth) or self._is_secret_block(index))
                inside.append(is_auth)
                auth += is_auth
                secrets.append(secrets[-1] or (index not in self.blocks and _is_secret(key)))
            elif piece.kind == "close":
                auth -= inside.pop() if inside else False
                if len(secrets) > 1:
                    secrets.pop()
            elif piece.kind in {"name", "string"} and self._is_key(index):
                key = self._of(index).strip('"')
                continue
            if piece.kind == "newline":
                key = key if len(secrets) > 1 else ""
                continue
            if auth and key != "type":
                yield from self._value(index)
            elif secrets[-1] or _is_secret(key):
                if piece.kind in {"string", "heredoc", "number"}:
                    yield self._inner(piece)
            elif piece.kind in {"string", "heredoc"}:
                yield from self._in_url(piece)

    def _is_key(self, index: int) -> bool:
        return self._of(index + 1) in {"=", ":"}

    def _of(self, index: int) -> str:
        """Return the text of a piece; the empty string where there is none."""
        if not 0 <= index < len(self.pieces):
            return ""
        return self.text[self.pieces[index].start : self.pieces[index].end]

    def _is_secret_block(self, brace: int) -> bool:
        """Return whether this is the brace of `auth`, or nearly so, or of a variable that may be a secret."""
        start = brace
        while start and self.pieces[start - 1].kind == "newline":
            start -= 1
        end = start
        while start and self.pieces[start - 1].kind in {"name", "string"}:
            start -= 1
        head = [self._of(index) for index in range(start, end)]
        if "au" in "".join(head[:1]).lower():
            return True
        if head[:1] != ["variable"]:
            return False
        close = next((index for index in range(brace, len(self.pieces)) if self.pieces[index].kind == "close"), brace)
        return _is_secret("".join(head[1:])) or any(self._of(index) == "sensitive" for index in range(brace, close))

    def _value(self, index: int) -> Iterator[tuple[int, int]]:
        """Return what to hide of a piece in `auth`: all but signs, names of blocks, and references."""
        piece = self.pieces[index]
        if piece.kind == "name":
            word, after = self._of(index), self._of(index + 1)
            begins = word in _ROOTS and after == "."
            ends = self._of(index - 1) == "." and self._of(index - 2) in _ROOTS
            if not (begins or ends or after == "{" or word in {"true", "false", "null"}):
                yield piece.start, piece.end
        elif piece.kind in {"heredoc", "number"} or (piece.kind == "string" and not self._is_reference(piece)):
            yield self._inner(piece)

    def _is_reference(self, piece: Piece) -> bool:
        """Return whether a string is one `${env.NAME}` or `${var.name}`, and no more."""
        return re.fullmatch(r'"\$\{\s*(env|var)\.\w+\s*\}"', self.text[piece.start : piece.end]) is not None

    def _inner(self, piece: Piece) -> tuple[int, int]:
        """Return what is between the quotes of a string, or below the first line of a here-document."""
        if piece.kind == "heredoc":
            first = self.text.find("\n", piece.start, piece.end)
            return (first + 1 if first >= 0 else piece.end), piece.end
        if piece.kind == "string":
            closed = piece.end - piece.start > 1 and self.text[piece.end - 1] == '"'
            return piece.start + 1, piece.end - closed
        return piece.start, piece.end

    def _in_url(self, piece: Piece) -> Iterator[tuple[int, int]]:
        for found in _IN_URL.finditer(self.text, piece.start, piece.end):
            group = 1 if found[1] is not None else 2
            if found.start(group) < found.end(group):
                yield found.span(group)

    def _comment(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        found = _COMMENT.search(self.text, start, end)
        if found is not None:
            yield found.start() + 1, found.end()


def _is_secret(key: str) -> bool:
    return key not in _PLAIN and _SECRET.search(key) is not None
