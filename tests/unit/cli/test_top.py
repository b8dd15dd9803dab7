"""What `nemo-bridge top` shows of a scripted outage, and how it obeys keys."""

import msgspec
import pytest
from rich.cells import cell_len
from rich.text import Text

from bridge.cli.top_pages import Signs
from bridge.cli.top_table import Column, Position, Row, Table, clipped, draw_table, ordered, wrapped
from bridge.cli.top_view import TopView
from bridge.core.errors import ErrorObject
from bridge.core.payloads import Overview
from tests.support.console import fleet, scenario

AT = 1_790_000_000_000
SIZES = [(80, 24), (160, 60), (40, 12), (20, 5), (1, 1)]


class Screen:
    """A view of the scripted outage at one size of the terminal."""

    def __init__(self, width: int = 80, height: int = 24, data: Overview | None = None, **signs: bool) -> None:
        self.view = TopView(Signs(**signs))
        self.size = (width, height)
        self.view.take_overview(data or scenario.overview(AT))
        self.lines()

    def press(self, *keys: str) -> list[str]:
        """Press keys, let the bridge answer about the integration that is opened, and return the lines."""
        for key in keys:
            before = self.view.opened
            self.view.press(key)
            if self.view.opened not in {None, before}:
                self.view.take_inspection(scenario.inspection(AT, self.view.opened or ""))
            self.lines()
        return self.lines()

    def lines(self, later: int = 0) -> list[str]:
        """Return the lines, `later` milliseconds after the answer."""
        return [line.plain.rstrip() for line in self.view.lines(*self.size, AT + later)]

    def names(self) -> list[str]:
        """Return the integrations that are listed."""
        lines = self.lines()
        first = next(at for at, line in enumerate(lines) if line.startswith("integration "))
        return [line.split()[0] for line in lines[first + 1 : -2] if line]


def test_24_lines() -> None:
    """A small terminal has how all are, the worst problems, and as many integrations as fit, those not well first."""
    lines = Screen().lines()
    assert len(lines) == 24
    assert lines[0].startswith("plant-7  ready  ")
    assert lines[1] == "10 of 31 integrations are not well, 1 is paused"
    assert "failed 6.2/s (2.0 %)" in lines[2]
    assert "outbox 2,777, the oldest 12 min" in lines[3]
    assert lines[4] == "▲ 12 min  archive, ledger, loyalty and 3 more  disconnected: not_connected: c..."
    assert lines[7] == "  and 3 more problems: key 2"
    assert Screen().names()[:3] == ["tax", "archive", "gates"]
    assert lines[-2] == "auth: 401: the token has expired"  # of the chosen one
    assert lines[-1].endswith("1 to 12 of 31")


def test_fabrics_are_one_line() -> None:
    """It has each fabric with its status, its connected nodes and what is wrong; without a fabric there is none."""
    assert not any(line.startswith("fabric") for line in Screen().lines())
    data = fleet.overview(AT)
    (lines,) = [line for line in Screen(100, data=data).lines() if line.startswith("fabric ")]
    assert lines == "fabric plant connected 2 of 3 nodes, 1 lost"
    (row,) = data.fabrics or ()
    error = ErrorObject(kind="invalid", message="another \x1b[2J has the name", retryable=False)
    failed = msgspec.structs.replace(row, fabric="lab", status="failed", error=error, nodes=1, connected=1, lost=0)
    two = msgspec.structs.replace(data, fabrics=[failed, msgspec.structs.replace(row, warnings=2)])
    (told,) = [line for line in Screen(160, data=two).lines() if line.startswith("fabric ")]
    assert told == (
        "fabric lab failed 1 of 1 node invalid: another \\x1b[2J has the name, "
        "plant connected 2 of 3 nodes, 1 lost, 2 warnings"
    )


def test_60_lines() -> None:
    """A large terminal has all problems, all integrations, and more columns, with 15 minutes of bars."""
    screen = Screen(160, 60)
    lines = screen.lines()
    assert len(lines) == 60
    assert sum(line.startswith(("▲", "◆")) for line in lines) == 6
    assert len(screen.names()) == 31
    heading = next(line for line in lines if line.startswith("integration "))
    wanted = "integration type status for circuit op/s failed/s p50 p95 in flight queued outbox dead in/s 15 minutes"
    assert " ".join(heading.split()) == wanted
    assert "█" in next(line for line in lines if line.startswith("ledger "))


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("keys", [[], ["2"], ["down", "enter"], ["enter", "7"], ["?"], ["/", "x"]])
def test_every_size(width: int, height: int, keys: list[str]) -> None:
    """No line is wider than the terminal, and there are never more lines than it has."""
    screen = Screen(width, height)
    screen.press(*keys)
    drawn = screen.view.lines(width, height, AT)
    assert 0 < len(drawn) <= height
    assert max(cell_len(line.plain) for line in drawn) <= width


def test_opens_and_goes_back() -> None:
    """Enter opens the chosen integration, with its last failures and all their attempts; escape goes back to it."""
    screen = Screen(200, 40)
    lines = screen.press("down", "down", "down", "enter")
    assert screen.view.opened == "ledger"
    assert lines[1].startswith("ledger  json-rpc  disconnected for 12 min 0 s, connected before   circuit open")
    failure = next(at for at, line in enumerate(lines) if "to_ledger" in line)
    assert "not_connected" in lines[failure]
    assert "because of order.paid from" in lines[failure + 1]
    assert lines[failure + 2].split()[0] == "1"  # the first attempt
    assert "open for" in " ".join(screen.press("2"))
    assert "up to 25 ms" in " ".join(screen.press("3"))
    assert any(line.startswith("to_ledger") for line in screen.press("4"))
    assert any(line.startswith("corrections") for line in screen.press("tab"))
    assert "payload " in " ".join(screen.press("tab"))
    assert '"token": "***"' in " ".join(screen.press("tab"))
    assert screen.press("tab") == screen.press("1")
    screen.press("escape")
    assert screen.view.opened is None
    screen.press("enter")
    assert screen.view.opened == "ledger"


def test_a_late_answer_of_another_page() -> None:
    """An answer about an integration whose page was left is not shown."""
    screen = Screen()
    screen.press("enter", "escape", "down")
    screen.view.press("enter")
    screen.view.take_inspection(scenario.inspection(AT, "tax"))
    assert screen.lines()[1] == "Waiting for the answer about archive"


def test_sorts() -> None:
    """Each column sorts by its values, the most first; the heading is marked; the order can be reversed."""
    screen = Screen(160, 60)
    usual = screen.names()
    screen.press(*"ssssss")
    assert "op/s▾" in " ".join(screen.lines())
    assert screen.names()[:3] == ["events", "cache", "shop"]
    screen.press("r")
    assert "op/s▴" in " ".join(screen.lines())
    assert screen.names()[-1] == "events"
    screen.press(*"SSSSSS")
    assert screen.names() == usual


def test_filters() -> None:
    """What is typed keeps the rows that have it in any column, or in their error."""
    screen = Screen()
    lines = screen.press("/", *"CONNECT ", "T", "backspace", *"within")
    assert lines[-1].startswith("/CONNECT within_")
    assert screen.names() == ["gates", "sensors"]
    screen.press("enter", "down", "enter")
    assert screen.view.opened == "sensors"
    screen.press("escape")
    assert screen.names() == ["gates", "sensors"]
    assert len(screen.press("escape")) == 24
    assert len(screen.names()) == 12
    assert "Nothing has this text." in screen.press("/", *"nowhere")
    assert len(screen.press("escape", "/", *"mqtt", "escape")) == 24
    assert len(screen.names()) == 12


def test_filters_texts() -> None:
    """In a text the filter keeps whole blocks: a failure with its attempts."""
    screen = Screen(200, 60)
    screen.press("down", "down", "down", "enter")
    whole = sum("because of" in line for line in screen.press())
    lines = screen.press("/", *"refund.")
    assert (
        0 < sum("because of refund." in line for line in lines) == sum("because of" in line for line in lines) < whole
    )


def test_scrolls() -> None:
    """All rows can be reached; the chosen one stays in sight, and stays chosen when others come before it."""
    screen = Screen()
    screen.press("page down")
    assert screen.names()[-1] != "cache"
    assert "weather" in screen.press("end")[-3]
    assert screen.press("home", "up") == Screen().lines()
    data = scenario.overview(AT)
    chosen = screen.press(*["down"] * 20)
    assert any(line.startswith("mail ") for line in chosen)
    screen.view.take_overview(msgspec.structs.replace(data, integrations=data.integrations[::-1]))
    assert any(line.startswith("mail ") for line in screen.lines())
    screen.press("enter")
    assert screen.view.opened == "mail"
    text = screen.press("7", "end")
    first, last, whole = (int(word) for word in text[-1].split() if word.isdecimal())
    assert first > 1
    assert last == whole


def test_a_row_that_is_gone() -> None:
    """After a reload took the chosen integration away, the one that came after it is chosen."""
    screen = Screen()
    screen.press("down", "down")
    data = scenario.overview(AT)
    left = [row for row in data.integrations if row.integration != "gates"]
    screen.view.take_overview(msgspec.structs.replace(data, integrations=left))
    screen.press("enter")
    assert screen.view.opened == "ledger"


def test_no_integration() -> None:
    """A bridge without integrations is shown as it is, and no key fails."""
    data = scenario.overview(AT)
    empty = msgspec.structs.replace(data, integrations=[], problems=[], routes=[], subscriptions=[])
    screen = Screen(data=empty)
    lines = screen.press("down", "enter", "s", "r", "end", "page up", "3", "enter", "4", "down", "1")
    assert lines[1] == "There is no integration"
    assert "There is none." in lines


def test_no_answer() -> None:
    """Old data is told as old, with the reason; what was there stays."""
    screen = Screen()
    assert "ago" not in screen.lines()[0]
    screen.view.trouble = "no answer for 12 s"
    assert screen.lines(12_000)[0].endswith(", 12 s ago")
    assert "no answer for 12 s" in screen.lines(12_000)[0]
    assert screen.names()[0] == "tax"
    screen.view.take_overview(scenario.overview(AT))
    assert "no answer" not in screen.lines()[0]


def test_hold_help_and_quit() -> None:
    """`p` holds, `?` shows all keys until any is pressed, `q` quits."""
    screen = Screen()
    assert "held" in screen.press("p")[0]
    assert screen.view.held
    assert "held" not in screen.press("p")[0]
    assert "quit" in " ".join(screen.press("?"))
    assert screen.press("x") == Screen().lines()
    assert not screen.view.ended
    screen.press("q")
    assert screen.view.ended


@pytest.mark.parametrize("text", ["\x1b]0;owned\x07", "a\nb", "\u202eevil", "[red]x[/red]", "\x9b31m", "漢字" * 40])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_hostile_texts(text: str, ascii_only: bool) -> None:
    """Whatever a remote or a program puts anywhere is shown as it is, on one line, and controls nothing."""
    overview, inspected = scenario.hostile(AT, text)
    for opened in (False, True):
        for tab in "1234567":
            view = TopView(Signs(ascii_only=ascii_only))
            view.take_overview(overview)
            if opened:
                view.lines(200, 60, AT)
                view.press("enter")
                view.take_inspection(inspected)
            view.press(tab)
            view.trouble = f"the bridge's answer cannot be read: {text}"
            lines = [line.plain for line in view.lines(200, 60, AT)]
            for key in "/" + text:
                view.press(key)
            lines += [line.plain for line in view.lines(200, 60, AT)]
            shown = "\n".join(lines)
            assert all(letter.isprintable() for line in lines for letter in line)
            assert not ascii_only or shown.isascii()
            assert max(cell_len(line) for line in lines) <= 200
            if text.startswith("[red]"):
                assert text in shown


# --- tables and texts


def test_columns_that_do_not_fit_are_left_out() -> None:
    """The least important ones go first; a wide one is narrowed before that."""
    columns = (Column("name", 9, narrow=6), Column("less", 1), Column("more", 5, right=True))
    row = Row("1", tuple(map(Text, ("a long name", "yes", "12"))), (1, 2, 3))
    table = Table(columns, [row], "")

    def drawn(width: int) -> str:
        return draw_table(table, ordered(table, Position(), ""), Position(), width, 2, "^v")[1].plain.rstrip()

    assert drawn(40) == "a long name  yes       12"
    assert drawn(21) == "a lo...  yes       12"
    assert drawn(14) == "a lo...     12"
    assert drawn(4) == "a..."  # not even the last column fits


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (80, ["  one two three"]),
        (12, ["  one two", "    three"]),
        (6, ["  one", "   two", "   thr", "   ee"]),
    ],
)
def test_wraps(width: int, lines: list[str]) -> None:
    """Between words where that is possible; nothing is left out."""
    assert [line.plain for line in wrapped(Text("  one two three"), width)] == lines


def test_wide_characters_are_clipped_to_cells() -> None:
    """A character of two cells is never cut in half."""
    for width in range(12):
        assert cell_len(clipped(Text("漢字漢字漢字"), width).plain) <= width
