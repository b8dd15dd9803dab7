"""Draw tables and long texts in a part of the screen: choose columns that fit, sort, filter, scroll."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from rich.cells import cell_len, set_cell_size
from rich.text import Text

_GAP: Final = 2


class Column(msgspec.Struct, frozen=True):
    """A column of a table.

    Attributes:
        name: Its heading.
        keep: Of the columns that do not fit, those with the lowest number are left out first.
        right: Whether its cells are numbers, which end at the right.
        narrow: So many cells of the terminal suffice where there is little room; None where all are needed.
    """

    name: str
    keep: int
    right: bool = False
    narrow: int | None = None


class Row(msgspec.Struct, frozen=True):
    """A row of a table.

    Attributes:
        key: Identifies the row, whatever it shows.
        cells: One for each column.
        values: What each column is sorted by: the lowest first.
        integration: What Enter opens; None for nothing.
        below: What is told of the row when it is chosen.
    """

    key: str
    cells: tuple[Text, ...]
    values: tuple[Any, ...]
    integration: str | None = None
    below: Text | None = None

    def has(self, wanted: str) -> bool:
        """Return whether a cell, or what is told below, has this text, in lower case."""
        texts = (*self.cells, self.below) if self.below is not None else self.cells
        return any(wanted in text.plain.lower() for text in texts)


class Table(msgspec.Struct, frozen=True):
    """A table; without rows, `empty` is told in place of it."""

    columns: tuple[Column, ...]
    rows: list[Row]
    empty: str


class Position(msgspec.Struct):
    """Where a person is in a table or a text, and what is shown of it.

    Attributes:
        key: The chosen row's; None for the first one, whichever it is.
        at: The number of the row that was chosen; where it is gone, another one at its place is chosen.
        top: The number of the first row or line that is shown.
        sort: The number of the column that sorts; None for the table's own order.
        reverse: Whether the order is the other way round.
    """

    key: str | None = None
    at: int = 0
    top: int = 0
    sort: int | None = None
    reverse: bool = False
    keys: list[str] = msgspec.field(default_factory=list)  # of the rows that the filter leaves, as drawn last
    page: int = 1  # rows or lines that there is room for
    count: int = 0  # rows or lines in all

    def chosen(self) -> int:
        """Return the number of the chosen row, among those that the filter leaves."""
        if self.key in self.keys:
            return self.keys.index(self.key)
        return max(0, min(self.at, len(self.keys) - 1)) if self.key is not None else 0

    def shown(self) -> Text:
        """Return which rows or lines are shown, as `13 to 24 of 31`; nothing where all are."""
        if self.count <= self.page:
            return Text()
        return Text(f"{self.top + 1} to {min(self.top + self.page, self.count)} of {self.count}", "dim")

    def move(self, rows: int) -> None:
        """Choose a row further down, or up where the number is negative."""
        if self.keys:
            self.at = max(0, min(len(self.keys) - 1, self.chosen() + rows))
            self.key = self.keys[self.at]


def ordered(table: Table, position: Position, wanted: str) -> list[Row]:
    """Return the rows that have the wanted text, in lower case, as the person wants them sorted."""
    rows = [row for row in table.rows if row.has(wanted)] if wanted else list(table.rows)
    column = position.sort
    if column is not None:
        rows.sort(key=lambda row: row.values[column])
    return rows[::-1] if position.reverse else rows


def draw_table(
    table: Table, rows: Sequence[Row], position: Position, width: int, height: int, marks: str
) -> list[Text]:
    """Return a heading and the rows around the chosen one.

    Args:
        table: The table.
        rows: Those to draw, in order; `position.keys` are theirs.
        position: Where the person is; it is brought up to date.
        width: Cells of the terminal.
        height: Lines, with the heading.
        marks: Two signs that show that a column is sorted: the lowest first, the highest first.
    """
    position.page, position.count = max(1, height - 1), len(rows)
    chosen = position.chosen()
    last_top = max(0, len(rows) - position.page)
    position.top = max(min(position.top, chosen, last_top), chosen - position.page + 1, 0)
    widths = _fitting(table, rows, width)
    heading = Text(style="bold")
    for number, cells in widths:
        column = table.columns[number]
        name = column.name
        if number == position.sort:
            name = f"{name}{marks[column.right != position.reverse]}"  # numbers: the highest first
        _append(heading, Text(name), cells, right=column.right)
    drawn = [heading]
    for at, row in enumerate(rows[position.top : position.top + position.page], position.top):
        line = Text()
        for number, cells in widths:
            _append(line, row.cells[number], cells, right=table.columns[number].right)
        if at == chosen:
            plain = clipped(line, width).plain
            line = Text(plain + " " * (width - cell_len(plain)), "reverse")
        drawn.append(line)
    return drawn


def _fitting(table: Table, rows: Sequence[Row], width: int) -> list[tuple[int, int]]:
    """Return the columns that fit, by their numbers, with their widths."""
    # One more for the mark of the order, so that sorting does not move the columns.
    full = [
        max([cell_len(column.name) + 1, *(cell_len(row.cells[number].plain) for row in rows)])
        for number, column in enumerate(table.columns)
    ]
    least = [
        wanted if column.narrow is None else min(wanted, max(column.narrow, cell_len(column.name) + 1))
        for wanted, column in zip(full, table.columns, strict=True)
    ]
    shown = list(range(len(full)))
    while len(shown) > 1 and sum(least[one] + _GAP for one in shown) - _GAP > width:
        shown.remove(min(shown, key=lambda one: table.columns[one].keep))
    left = width - sum(least[one] + _GAP for one in shown) + _GAP
    widths = []
    for one in shown:
        more = max(0, min(left, full[one] - least[one]))
        left -= more
        widths.append((one, least[one] + more))
    return widths


def _append(line: Text, text: Text, width: int, *, right: bool) -> None:
    """Append a cell of exactly this width, after a gap where it is not the first."""
    text = clipped(text, width)
    rest = " " * (width - cell_len(text.plain))
    line.append(" " * _GAP if line else "")
    line.append(rest if right else "").append_text(text).append("" if right else rest)


def clipped(text: Text, width: int) -> Text:
    """Return text that takes at most so many cells; three points show that something is missing."""
    if cell_len(text.plain) <= width:
        return text
    points = "." * min(3, max(0, width - 1))
    kept = set_cell_size(text.plain, max(0, width - len(points))).rstrip()
    cut = text[: len(kept)] if text.plain.startswith(kept) else Text(kept)
    return Text.assemble(cut, points)


def wrapped(text: Text, width: int) -> list[Text]:
    """Return text in lines of at most so many cells; the further ones are indented more than the first."""
    indent = len(text.plain) - len(text.plain.lstrip(" "))
    if cell_len(text.plain) <= width:
        return [text]
    lines, rest, room = [], text, width
    margin = " " * min(indent + 2, width // 2)
    while rest.plain:
        if cell_len(rest.plain) <= room:
            lines.append(rest)
            break
        cut = len(set_cell_size(rest.plain, room).rstrip()) or room
        blank = rest.plain.rfind(" ", 0, cut + 1)
        at = blank if blank > cut // 2 else cut
        lines.append(rest[:at])
        rest = rest[at:]
        rest = rest[len(rest.plain) - len(rest.plain.lstrip(" ")) :]
        room = width - len(margin)
    return [lines[0], *(Text.assemble(margin, line) for line in lines[1:])]
