"""What `nemo-bridge top` shows and where the person is in it: takes answers and keys, and draws lines of text."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from rich.cells import cell_len
from rich.text import Text

from bridge.cli import top_pages as pages
from bridge.cli.figures import age, counted
from bridge.cli.top_pages import Block, Signs, clock
from bridge.cli.top_table import Position, Row, Table, clipped, draw_table, ordered, wrapped
from bridge.core.payloads import Inspection, Overview

_OVERVIEW: Final[tuple[tuple[str, Callable[[Overview, Signs], Table | list[Block]]], ...]] = (
    ("integrations", pages.integrations),
    ("problems", pages.problems),
    ("routes", pages.routes),
    ("subscriptions", pages.subscriptions),
)
_INTEGRATION: Final[tuple[tuple[str, Callable[[Inspection, Signs], Table | list[Block]]], ...]] = (
    ("failures", pages.failures),
    ("circuit", pages.circuit),
    ("durations", pages.durations),
    ("routes", pages.integration_routes),
    ("subscriptions", pages.integration_subscriptions),
    ("dead letters", pages.letters),
    ("configuration", pages.configuration),
)
#: Lines above and below what scrolls take at most so much of the screen; of them problems so many lines at least.
_PROBLEM_SHARE: Final = 5
_LEAST_PROBLEMS: Final = 2
_NO_MATCH: Final = "Nothing has this text."
_HELP: Final = (
    ("up, down, page up, page down, home, end", "choose a row, or scroll; also k, j, g, G"),
    ("enter", "open the integration of the chosen row"),
    ("escape, backspace", "go back; take the filter away"),
    ("1 to 7, tab, left, right", "choose what is listed"),
    ("/", "show only what has a text; enter keeps the filter, escape takes it away"),
    ("s, S", "sort by the next column, or by the one before; at first, what is wrong comes first"),
    ("r", "reverse the order"),
    ("p", "hold the picture still, and go on"),
    ("?", "show or hide this help"),
    ("q", "quit"),
)


class _Page(msgspec.Struct):
    """Where the person is on the overview, or on the page of an integration."""

    tab: int = 0
    filter: str = ""
    positions: dict[int, Position] = msgspec.field(default_factory=dict)

    @property
    def position(self) -> Position:
        return self.positions.setdefault(self.tab, Position())


class TopView:
    """The screen of `nemo-bridge top`.

    Attributes:
        ended: Whether the person has quit.
        opened: The integration whose page is shown; None for the overview.
        held: Whether the picture is held still.
        trouble: Why there is nothing new; None where the last answer is good.
    """

    def __init__(self, signs: Signs) -> None:
        self.ended = False
        self.opened: str | None = None
        self.held = False
        self.trouble: str | None = None
        self._signs = signs
        self._overview: Overview | None = None
        self._inspection: Inspection | None = None
        self._home = _Page()
        self._page = self._home
        self._typing = False
        self._help = False
        self._made: tuple[Overview | Inspection, int, Table | list[Block]] | None = None

    # --- answers

    def take_overview(self, data: Overview) -> None:
        """Show a new overview."""
        self._overview, self.trouble = data, None

    def take_inspection(self, data: Inspection) -> None:
        """Show what is known now of an integration, if its page is still open."""
        if data.row.integration == self.opened:
            self._inspection, self.trouble = data, None

    # --- keys

    def press(self, key: str) -> None:
        """Do what a key says; see `KeyDecoder` for the names."""
        if self._typing:
            self._type(key)
        elif self._help:
            self._help = False
            self.ended = key == "q"
        elif key.isdecimal():
            if 0 < int(key) <= len(self._tabs()):
                self._page.tab = int(key) - 1
        else:
            self._move(key)

    def _type(self, key: str) -> None:
        page = self._page
        if key == "escape":
            page.filter, self._typing = "", False
        elif key == "enter":
            self._typing = False
        elif key == "backspace":
            page.filter = page.filter[:-1]
        elif len(key) == 1:
            page.filter += key

    def _move(self, key: str) -> None:
        position = self._page.position
        match key:
            case "q":
                self.ended = True
            case "?":
                self._help = True
            case "p":
                self.held = not self.held
            case "/":
                self._typing = True
            case "escape" | "backspace":
                self._back()
            case "enter":
                self._open()
            case "tab" | "right" | "back tab" | "left":
                step = 1 if key in {"tab", "right"} else -1
                self._page.tab = (self._page.tab + step) % len(self._tabs())
            case "s" | "S" | "r":
                self._sort(key)
            case "up" | "k":
                self._scroll(-1)
            case "down" | "j":
                self._scroll(1)
            case "page up":
                self._scroll(-position.page)
            case "page down" | " ":
                self._scroll(position.page)
            case "home" | "g":
                self._scroll(-1_000_000_000)
            case "end" | "G":
                self._scroll(1_000_000_000)

    def _scroll(self, lines: int) -> None:
        position = self._page.position
        if isinstance(self._content(), Table):
            position.move(lines)
        else:
            position.top = max(0, position.top + lines)

    def _sort(self, key: str) -> None:
        table, position = self._content(), self._page.position
        if not isinstance(table, Table):
            return
        if key == "r":
            position.reverse = not position.reverse
            return
        orders = [None, *range(len(table.columns))]
        step = 1 if key == "s" else -1
        position.sort = orders[(orders.index(position.sort) + step) % len(orders)]
        position.reverse = False

    def _back(self) -> None:
        if self._page.filter:
            self._page.filter = ""
        elif self.opened is not None:
            self.opened, self._inspection, self._page = None, None, self._home

    def _open(self) -> None:
        rows = self._rows()
        name = rows[self._page.position.chosen()].integration if rows else None
        if name is not None:
            self.opened, self._inspection, self._page = name, None, _Page()

    # --- drawing

    def _tabs(self) -> tuple[tuple[str, Callable[[Any, Signs], Table | list[Block]]], ...]:
        return _OVERVIEW if self.opened is None else _INTEGRATION

    def _data(self) -> Overview | Inspection | None:
        return self._overview if self.opened is None else self._inspection

    def _content(self) -> Table | list[Block]:
        """Return what is listed. It is made once for each answer and tab, since that takes a while for 1,000 rows."""
        data, tab = self._data(), self._page.tab
        if data is None:
            return []
        if self._made is None or self._made[0] is not data or self._made[1] != tab:
            self._made = (data, tab, self._tabs()[tab][1](data, self._signs))
        return self._made[2]

    def _rows(self) -> list[Row] | None:
        """Return the rows that the filter leaves, in the wanted order; None where a text is listed."""
        table, position = self._content(), self._page.position
        if not isinstance(table, Table):
            return None
        rows = ordered(table, position, self._page.filter.lower())
        position.keys = [row.key for row in rows]
        return rows

    def lines(self, width: int, height: int, now: int) -> list[Text]:
        """Return the screen: at most `height` lines of at most `width` cells each.

        Args:
            width: Cells of the terminal.
            height: Lines of the terminal.
            now: Unix time in milliseconds.
        """
        if self._help:
            drawn = [part for line in self._help_lines() for part in wrapped(line, width)]
        else:
            head = [part for line in self._head(height) for part in ([line] if line.no_wrap else wrapped(line, width))]
            top = [self._title(width, now), *head, *self._tab_lines(width)]
            rows = self._rows()
            below = self._below(rows)
            room = max(1, height - len(top) - len(below))
            body = self._body(rows, width, room)
            below[-1] = _beside(below[-1], self._page.position.shown(), width)
            drawn = [*top, *body, *below]
        return [clipped(line, width) for line in drawn[:height]]

    def _title(self, width: int, now: int) -> Text:
        data, signs = self._data(), self._signs
        line = Text("nemo-bridge", "bold")
        if self._overview is not None:
            bridge = self._overview.bridge
            line = Text.assemble(signs.foreign(bridge.name, "bold"), "  ", pages.state(bridge.status))
            line.append_text(signs.foreign(f"  {bridge.version}, up {age(bridge.uptime_ms)}", "dim"))
        right = Text()
        if self.held:
            right.append("held, p goes on  ", "bold yellow")
        if self.trouble is not None:
            right.append_text(signs.foreign(f"{self.trouble}  ", "bold red"))
        if data is not None:
            late = now - data.at > 10_000
            right.append(
                f"{clock(data.at)}{f', {age(now - data.at)} ago' if late else ''}", "bold red" if late else "dim"
            )
        return _beside(line, right, width)

    def _head(self, height: int) -> list[Text]:
        most = max(_LEAST_PROBLEMS, height // _PROBLEM_SHARE)
        data = self._data()
        if isinstance(data, Overview):
            return list(pages.overview_head(data, self._signs, most))
        if isinstance(data, Inspection):
            return list(pages.integration_head(data, self._signs, most))
        what = "the bridge" if self.opened is None else self._signs.foreign(self.opened).plain
        return [Text(f"Waiting for the answer about {what}", "dim")]

    def _tab_lines(self, width: int) -> list[Text]:
        lines = [Text()]
        for number, (name, _) in enumerate(self._tabs()):
            tab = Text(f"{number + 1} {name}", "bold underline" if number == self._page.tab else "dim")
            if lines[-1] and len(lines[-1].plain) + 2 + len(tab.plain) > width:
                lines.append(Text())
            lines[-1].append("  " if lines[-1] else "").append_text(tab)
        return lines

    def _body(self, rows: list[Row] | None, width: int, room: int) -> list[Text]:
        content, position = self._content(), self._page.position
        if isinstance(content, Table):
            if rows:
                drawn = draw_table(content, rows, position, width, room, self._signs.sorts)
            else:
                drawn = [Text(_NO_MATCH if self._page.filter else content.empty, "dim")]
        else:
            drawn = self._text(content, width, room)
        return [*drawn, *[Text()] * (room - len(drawn))]

    def _text(self, blocks: list[Block], width: int, room: int) -> list[Text]:
        wanted, position = self._page.filter.lower(), self._page.position
        if wanted:
            blocks = [block for block in blocks if any(wanted in line.plain.lower() for line in block)]
        lines = [part for block in blocks for line in block for part in wrapped(line, width)]
        if not lines and self._data() is not None:
            lines = [Text(_NO_MATCH if wanted else "There is none.", "dim")]
        position.page, position.count = room, len(lines)
        position.top = max(0, min(position.top, len(lines) - room))
        return lines[position.top : position.top + room]

    def _below(self, rows: list[Row] | None) -> list[Text]:
        """Return the last lines: what is wrong with the chosen row, and the keys or the filter."""
        found, page = [], self._page
        if rows is not None:
            told = rows[page.position.chosen()].below if rows else None
            found.append(told if told is not None else Text())
        if self._typing or page.filter:
            line = self._signs.foreign(f"/{page.filter}", "bold")
            line.append("_  enter keeps it, escape takes it away" if self._typing else "  escape takes it away", "dim")
        elif self.opened is None:
            line = Text("enter opens  / filters  s sorts  1-4 lists  ? all keys  q quits", "dim")
        else:
            line = Text("escape goes back  / filters  1-7 lists  ? all keys  q quits", "dim")
        return [*found, line]

    def _help_lines(self) -> list[Text]:
        lines = [Text("Keys", "bold"), Text()]
        for keys, what in _HELP:
            lines.append(Text.assemble((f"  {keys:42}", "bold"), what))
        lines += [
            Text(),
            Text("for: how long the status has lasted; in flight, queued, outbox: operations that run and wait"),
        ]
        lines.append(Text("p50, p95: half, and 95 of 100, of the operations of five minutes were faster"))
        lines.append(Text(f"in/s: messages from outside; {counted(15, 'minute')}: operations, red where one failed"))
        return lines


def _beside(left: Text, right: Text, width: int) -> Text:
    """Return one line with a text at each end; the left one is clipped where there is too little room."""
    left = clipped(left, max(0, width - cell_len(right.plain) - 2))
    return Text.assemble(left, " " * max(0, width - cell_len(left.plain) - cell_len(right.plain)), right)
