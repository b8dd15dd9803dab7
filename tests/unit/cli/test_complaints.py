"""Complaints about the configuration are shown as a compiler shows them: the whole text is compared."""

import json
import sys
from pathlib import Path

import pytest

from bridge.cli.complaints import MOST_SHOWN, Complaints, as_json, show, summary
from bridge.config import load
from bridge.config.excerpts import Excerpts
from bridge.core.diagnostic import Code, Diagnostic, Location, Related
from bridge.core.errors import ConfigError
from bridge.registry import AdapterRegistry

SHOP = """\
integration "shop" {
  type = "json-rpc"
  endpoint {
    url = "http://localhost:8080/rpc"
  }
}

route "orders" {
  on          = ["order.created"]
  where       = event.payload.total > 0
  integration = "shop"
  operation   = "request"
  method      = "orders.create"
}

route "more" {
  on          = "a.b"
  integration = "shop"
  operation   = "request"
  method      = "x"
}
"""

SHOWN = {
    "a missing brace": (
        ('"orders.create"\n}', '"orders.create"'),
        """\
error[NB011]: route "orders": this block is not closed; a `}` is missing
 --> bridge.hcl:8:1 (in route "orders")
  |
8 | route "orders" {
  | ^^^^^^^^^^^^^^
  = hint: write it before line 15

1 error
""",
    ),
    "a missing quote": (
        ('"orders.create"', '"orders.create'),
        """\
error[NB012]: route "orders": this string has no closing quote on its line
  --> bridge.hcl:13:17 (in route "orders")
   |
13 |   method      = "orders.create
   |                 ^^^^^^^^^^^^^^
   = hint: a `"` is missing

1 error
""",
    ),
    "an operator of another language": (
        ("> 0", ">> 0"),
        """\
error[NB010]: where: `>>` is not an operator
  --> bridge.hcl:10:37 (in route "orders" > where)
   |
10 |   where       = event.payload.total >> 0
   |                                     ^^
   = hint: did you mean `>`?

1 error
""",
    ),
    "keys in one line": (
        ('endpoint {\n    url = "http://localhost:8080/rpc"\n  }', 'endpoint { address = "localhost", port = 1883 }'),
        """\
error[NB014]: address: the keys of a block are not separated by `,`
 --> bridge.hcl:3:35 (in integration "shop" > endpoint > address)
  |
3 |   endpoint { address = "localhost", port = 1883 }
  |                                   ^
  = hint: write each key on a line of its own

1 error
""",
    ),
    "a brace too many": (
        (
            '"shop"\n  operation   = "request"\n  method      = "orders',
            '"shop"\n  }\n  operation = "request"\n  method = "orders',
        ),
        """\
error[NB013]: route "orders": this `}` closes `route "orders"` before its end
  --> bridge.hcl:12:3 (in route "orders")
   |
 8 | route "orders" {
   | -------------- opened here
...
12 |   }
   |   ^
   = hint: leave it out

1 error
""",
    ),
    "a key given twice": (
        ('  type = "json-rpc"\n', '  type = "json-rpc"\n  type = "http"\n'),
        """\
error[NB023]: type: given twice; the first is on line 2
 --> bridge.hcl:3:3 (in integration "shop" > type)
  |
2 |   type = "json-rpc"
  |   ---- first given here
3 |   type = "http"
  |   ^^^^

1 error
""",
    ),
    "an error in the meaning beside one in the syntax": (
        ('"orders" {\n  on          = ["order.created"]', '"orders {\n  onn         = ["order.created"]'),
        """\
error[NB012]: route "orders": this string has no closing quote on its line
 --> bridge.hcl:8:7 (in route "orders")
  |
8 | route "orders {
  |       ^^^^^^^
  = hint: a `"` is missing

error[NB021]: onn: unknown key
 --> bridge.hcl:9:3 (in route "orders" > onn)
  |
9 |   onn         = ["order.created"]
  |   ^^^
  = hint: did you mean `on`?

2 errors
""",
    ),
}


def found(text: str, folder: Path) -> list[Diagnostic]:
    """Return what is wrong with a file."""
    file = folder / "bridge.hcl"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load([file.relative_to(Path.cwd())], adapters=AdapterRegistry(), environ={})
    return list(caught.value.diagnostics)


def shown(diagnostics: list[Diagnostic], **options: object) -> str:
    """Return the text of diagnostics."""
    complaints = Complaints(**options)  # type: ignore[arg-type]
    return "".join("".join(run.text for run in line) + "\n" for line in complaints.lines(diagnostics))


@pytest.mark.parametrize("case", SHOWN)
def test_what_is_shown(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its code, its place, the line with a caret, and what would be right."""
    monkeypatch.chdir(tmp_path)
    (old, new), wanted = SHOWN[case]
    assert old in SHOP
    assert shown(found(SHOP.replace(old, new, 1), tmp_path)) == wanted


def of(text: str, **options: object) -> str:
    """Return what is shown of an error at the sign `@` of a text."""
    line = text[: text.index("@")].count("\n") + 1
    column = len(text[: text.index("@")].rpartition("\n")[2]) + 1
    one = Diagnostic(Location("a.hcl", line, column, line, column + 1), "x", "odd", Code.SYNTAX)
    lines = shown([one], read=lambda _: Excerpts(text), **options).splitlines()
    return "\n".join(lines[3:5])


def test_a_long_line_is_cut_around_the_place() -> None:
    """What is cut off is an ellipsis, and the caret is still under its sign."""
    text = f'a = "{"x" * 300}" @ {"y" * 300}'
    line, caret = of(text, width=60).splitlines()
    assert len(line) <= 60
    assert line.startswith("1 | ...x")
    assert line.endswith("y...")
    assert caret.index("^") == line.index("@")


@pytest.mark.parametrize(
    ("text", "line", "caret"),
    [
        ("\ta\t= @", "1 |     a   = @", "  |           ^"),
        ('a = "日本" @', '1 | a = "日本" @', "  |            ^"),
        ('a = "\x1b[31m" @', '1 | a = "\\x1b[31m" @', "  |                ^"),
        ("a = \u202e@", "1 | a = \\u202e@", "  |           ^"),
        ("a = e\u0301 @", "1 | a = e\u0301 @", "  |       ^"),
    ],
    ids=["tab", "wide", "escape", "bidirectional", "combining"],
)
def test_the_caret_is_under_its_sign(text: str, line: str, caret: str) -> None:
    """Tabs, wide and combining letters take their room; control characters are escapes."""
    assert of(text) == f"{line}\n{caret}"


SECRETS = """\
integration "a" {
  auth {
    type  = "bearer"          # before: hunter2
    token = "hunter2"
    key   = "${env.KEY}"
    seed  = hunter2 hunter2
    cert  = <<E
hunter2
E
  }
  config {
    password = "hunter2"
    headers  = { Authorization = "Bearer hunter2", Accept = "text/plain" }
    url      = "https://me:hunter2@example.com/?access_token=hunter2&x=1"
  }
  auht {
    word = "hunter2
  }
}
variable "api_token" {
  default = "hunter2"
}
variable "other" {
  default   = "hunter2"
  sensitive = true
}
"""


def test_no_secret_is_shown() -> None:
    """Values in `auth`, of keys and variables that look like secrets, and credentials in URLs are masked."""
    lines = [
        "".join(part.text for part in Excerpts(SECRETS).line(number) or [])
        for number in range(1, SECRETS.count("\n") + 1)
    ]
    assert not any("hunter2" in line for line in lines)
    assert lines[2:5] == ['    type  = "bearer"          #***', '    token = "***"', '    key   = "${env.KEY}"']
    assert lines[12:14] == [
        '    headers  = { Authorization = "***", Accept = "text/plain" }',
        '    url      = "https://***@example.com/?access_token=***&x=1"',
    ]


def test_a_place_in_another_file(tmp_path: Path) -> None:
    """A second place in another file is shown below, with the name of that file."""
    files = {"a.hcl": "log {\n}\n", "b.hcl": "bus {\n}\n\nlog {\n}\n"}
    one = Diagnostic(
        Location("a.hcl", 1, 1, 1, 4),
        "log",
        "given twice",
        Code.GIVEN_TWICE,
        related=(Related(Location("b.hcl", 4, 1, 4, 4), "first given here"), Related(Location("c.hcl", 2), "and here")),
    )
    assert shown([one], read=lambda file: Excerpts(files[file]) if file in files else None) == (
        "error[NB023]: log: given twice\n"
        " --> a.hcl:1:1 (in log)\n"
        "  |\n"
        "1 | log {\n"
        "  | ^^^\n"
        " ::: b.hcl:4:1\n"
        "4 | log {\n"
        "  | --- first given here\n"
        " ::: c.hcl:2\n"
        "  = and here\n"
        "\n"
        "1 error\n"
    )


def test_the_label_of_a_second_place_is_printable() -> None:
    """It may quote a name of the file."""
    second = Related(Location("b.hcl", 1, 1, 1, 4), "first: \x1b[2J\u202e")
    one = Diagnostic(Location("a.hcl", 1), "log", "given twice", Code.GIVEN_TWICE, related=(second,))
    text = shown([one], read=lambda file: Excerpts("log {\n}\n") if file == "b.hcl" else None)
    assert "--- first: \\x1b[2J\\u202e\n" in text


def test_very_many_are_counted() -> None:
    """After the first ones there is only their number."""
    many = [Diagnostic(Location(""), "x", str(number), Code.SYNTAX) for number in range(MOST_SHOWN + 7)]
    warned = Diagnostic(Location(""), "x", "odd", Code.UNSAFE, "warning")
    lines = shown([*many, warned]).splitlines()
    assert sum(line.startswith("error[") for line in lines) == MOST_SHOWN
    assert lines[-2:] == ["7 errors, 1 warning more", f"{MOST_SHOWN + 7} errors, 1 warning"]
    assert summary([]) == ""


def test_as_json() -> None:
    """An editor gets the same keys for each, numbers as numbers, and nothing that a terminal would obey."""
    one = Diagnostic(Location("a\x1b.hcl", 3, 5, 3, 7), "log > level", "odd", Code.INVALID_VALUE, hint="write `x`")
    text = as_json([one])
    assert "\x1b" not in text
    assert json.loads(text) == [
        {
            "severity": "error",
            "code": "NB031",
            "message": "odd",
            "file": "a\x1b.hcl",
            "line": 3,
            "column": 5,
            "end_line": 3,
            "end_column": 7,
            "block": "log > level",
            "hint": "write `x`",
        }
    ]
    assert json.loads(as_json([])) == []


class _Terminal:
    """Standard error as a terminal."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("plain", [False, True])
def test_colours_on_a_terminal_only(
    plain: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There are colours on a terminal, but not with NO_COLOR, and not in a file; the text is the same."""
    one = Diagnostic(Location(""), "bridge > status", "odd", Code.INVALID_ADDRESS)
    show([one])
    text = capsys.readouterr().err
    assert text == "error[NB034]: status: odd\n --> (in bridge > status)\n\n1 error\n"
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if plain:
        monkeypatch.setenv("NO_COLOR", "1")
    show([one])
    assert ("\x1b[1;31m" in terminal.text) != plain
    if not plain:
        return
    assert "odd" in terminal.text
