"""Show diagnostics of the configuration as a compiler does: with the line, and a caret under the place."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TextIO

import msgspec
import typer

from bridge.config.excerpts import Excerpts, Part
from bridge.core.diagnostic import Diagnostic, Location
from bridge.core.printable import printable, printable_json

if TYPE_CHECKING:
    from rich.console import Console

#: The most diagnostics that are shown; how many more there are is told.
MOST_SHOWN: Final = 50
#: Columns where the output is no terminal.
_WIDTH: Final = 120
#: The fewest columns that a line of a file gets, however narrow the terminal is.
_LEAST: Final = 40
_TAB: Final = 4
_STYLES: Final = {"error": "bold red", "warning": "bold yellow", "frame": "blue", "message": "bold", "hint": "bold"}


class Run(NamedTuple):
    """A text and the name of its style; the empty name is none."""

    text: str
    style: str = ""


class _Mark(msgspec.Struct, frozen=True):
    """A place in a line: its columns, the sign under it, and a label."""

    location: Location
    sign: str
    style: str
    label: str = ""


class _Cell(msgspec.Struct, frozen=True):
    """What is shown for some characters of a line: the columns of the file, counted from 1, and the text."""

    start: int
    end: int
    text: str
    width: int


class Complaints:
    """Turn diagnostics into lines of text.

    Args:
        width: How many columns a line may have.
        read: Returns the excerpts of a file, or None.
    """

    def __init__(self, width: int = _WIDTH, read: Callable[[str], Excerpts | None] = Excerpts.of) -> None:
        self._width = width
        self._read = read
        self._files: dict[str, Excerpts | None] = {}

    def lines(self, diagnostics: Sequence[Diagnostic]) -> Iterator[list[Run]]:
        """Return all lines: each diagnostic, how many more there are, and a summary."""
        for one in diagnostics[:MOST_SHOWN]:
            yield from self._one(one)
            yield []
        more = diagnostics[MOST_SHOWN:]
        if more:
            yield [Run(f"{summary(more)} more", "message")]
        if diagnostics:
            yield [Run(summary(diagnostics), "message")]

    def _one(self, one: Diagnostic) -> Iterator[list[Run]]:
        key = one.block.rpartition(" > ")[2]
        message = f"{key}: {one.message}" if key else one.message
        yield [Run(f"{one.severity}[{one.code}]", one.severity), Run(f": {message}", "message")]
        marks = [_Mark(one.location, "^", one.severity)]
        marks += [_Mark(place.location, "-", "frame", printable(place.label)) for place in one.related]
        if one.location.line:
            shown = [mark for mark in marks if mark.location.line]
            gutter = len(str(max(mark.location.line for mark in shown)))
        else:
            shown, gutter = [], 1
        margin = " " * gutter
        where = printable(_place(one.location))
        block = f"(in {one.block})" if one.block else ""
        if where or block:
            yield [Run(f"{margin}--> ", "frame"), Run(" ".join(filter(None, (where, block))))]
        yield from self._snippets(one.location.file, shown, margin)
        if one.hint:
            yield [Run(f"{margin} = ", "frame"), Run("hint", "hint"), Run(f": {one.hint}")]

    def _snippets(self, file: str, marks: Sequence[_Mark], margin: str) -> Iterator[list[Run]]:
        here = sorted((mark for mark in marks if mark.location.file == file), key=lambda mark: mark.location)
        before = 0
        for mark in here:
            snippet = list(self._snippet(mark, margin))
            if snippet:
                number = mark.location.line
                if before == 0:
                    yield [Run(f"{margin} |", "frame")]
                elif number > before + 1:
                    yield [Run("...", "frame")]
                yield from snippet
                before = number
        for mark in marks:
            if mark.location.file != file:
                snippet = list(self._snippet(mark, margin))
                yield [Run(f"{margin}::: ", "frame"), Run(printable(_place(mark.location)))]
                yield from snippet or [[Run(f"{margin} = ", "frame"), Run(mark.label)]]

    def _snippet(self, mark: _Mark, margin: str) -> Iterator[list[Run]]:
        """Return the line of a place, and a line with the mark below it."""
        place = mark.location
        parts = self._line(place)
        if parts is None:
            return
        cells = list(_cells(parts))
        last = place.end_column if place.end_line <= place.line else cells[-1].end if cells else 1
        start, end = _columns(cells, place.column, last) if place.column else (0, 0)
        text, cut = _cut(cells, start, end, max(self._width - len(margin) - 3, _LEAST))
        number = str(place.line).rjust(len(margin))
        yield [Run(f"{number} | ", "frame"), Run(text)]
        if place.column:
            label = f" {mark.label}" if mark.label else ""
            yield [
                Run(f"{margin} | ", "frame"),
                Run(" " * (start - cut) + mark.sign * max(end - start, 1) + label, mark.style),
            ]

    def _line(self, place: Location) -> list[Part] | None:
        if place.file not in self._files:
            self._files[place.file] = self._read(place.file)
        excerpts = self._files[place.file]
        return excerpts.line(place.line) if excerpts is not None else None


def summary(diagnostics: Iterable[Diagnostic]) -> str:
    """Return how many errors and warnings there are: `2 errors, 1 warning`."""
    severities = [one.severity for one in diagnostics]
    counts = {what: severities.count(what) for what in ("error", "warning")}
    return ", ".join(f"{count} {what}{'' if count == 1 else 's'}" for what, count in counts.items() if count)


def show(diagnostics: Sequence[Diagnostic]) -> None:
    """Print diagnostics and a summary to standard error, with colours if it is a terminal.

    Raises:
        OSError: It cannot be written.
    """
    if not sys.stderr.isatty():
        for line in Complaints().lines(diagnostics):
            typer.echo("".join(run.text for run in line), err=True)
        return
    console = _console(sys.stderr)
    from rich.text import Text  # noqa: PLC0415 - only for a terminal

    for line in Complaints(console.width).lines(diagnostics):
        console.print(Text.assemble(*((run.text, _STYLES.get(run.style, "")) for run in line)), soft_wrap=True)


def as_json(diagnostics: Iterable[Diagnostic]) -> str:
    """Return diagnostics as a JSON array, for editors. Lines and columns count from 1; 0 means that it is not known."""
    return printable_json(json.dumps([_object(one) for one in diagnostics], indent=2))


def _object(one: Diagnostic) -> dict[str, Any]:
    place = one.location
    return {
        "severity": one.severity,
        "code": one.code.value,
        "message": one.message,
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "end_line": place.end_line,
        "end_column": place.end_column,
        "block": one.block,
        "hint": one.hint,
    }


def _console(stream: TextIO) -> "Console":
    from rich.console import Console  # noqa: PLC0415 - only for a terminal

    return Console(file=stream, highlight=False)


def _place(location: Location) -> str:
    return f"{location}:{location.column}" if location.column else str(location)


def _cells(parts: Iterable[Part]) -> Iterator[_Cell]:
    """Return what is shown of a line, with tabs as spaces and control characters as escapes."""
    column = 0
    for part in parts:
        pieces = [(part.start + index, part.start + index + 1, letter) for index, letter in enumerate(part.text)]
        if part.hidden:
            pieces = [(part.start, part.end, part.text)]
        for start, end, letter in pieces:
            text = " " * (_TAB - column % _TAB) if letter == "\t" else printable(letter)
            width = _width(text)
            column += width
            yield _Cell(start + 1, end + 1, text, width)


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 - only for text beyond ASCII

    return cell_len(text)


def _columns(cells: Sequence[_Cell], first: int, last: int) -> tuple[int, int]:
    """Return where columns of the file begin and end in what is shown."""
    start = end = sum(cell.width for cell in cells if cell.end <= first)
    end += sum(cell.width for cell in cells if cell.end > first and cell.start < last)
    return start, end


def _cut(cells: Sequence[_Cell], start: int, end: int, width: int) -> tuple[str, int]:
    """Return a line that is at most so wide, with the place in it; and how many columns are cut off at its beginning.

    Where something is cut off, there is an ellipsis.
    """
    whole = sum(cell.width for cell in cells)
    if whole <= width:
        return "".join(cell.text for cell in cells), 0
    middle = (start + min(end, start + width)) // 2
    first = max(0, min(middle - width // 2, whole - width))
    position, shown, cut = 0, "", None
    for cell in cells:
        begin, position = position, position + cell.width
        if begin < first + (3 if first else 0):
            continue
        if position > first + width - (3 if first + width < whole else 0):
            break
        cut = begin if cut is None else cut
        shown += cell.text
    cut = first if cut is None else cut
    before = "..." if first else ""
    behind = "..." if first + width < whole else ""
    return before + shown + behind, cut - len(before)
