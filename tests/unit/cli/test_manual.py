"""The page of all commands and the manual page are written from the commands themselves."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.cli import manual
from bridge.cli.exit_codes import ExitCode

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "commands.md"
MANUAL = ROOT / "man" / "nemo-bridge.1"


def test_they_are_up_to_date() -> None:
    """Neither differs from the commands; otherwise run scripts/schemas."""
    assert PAGE.read_text("utf-8") == manual.page()
    assert MANUAL.read_text("utf-8") == manual.manual()


def test_all_is_in_both() -> None:
    """Each command, each option, each exit code and each environment variable."""
    page, text = manual.page(), manual.manual().replace("\\-", "-")
    for command in manual.commands():
        assert f"## `{command.name}`" in page
        assert command.group or f".SS {command.usage.removeprefix('nemo-bridge ')}" in text.replace("\\(aq", "'")
        for one in (*command.options, *manual.bus_options()):
            assert f"| `{one.names}` |" in page
            assert f".B {one.names}" in text
    for code in ExitCode:
        assert f"| {code.value} | " in page
        assert f".B {code.value}\n" in text
    for variable in ("NEMO_BUS_PUBLISH", "NEMO_BUS_SERVER_KEY", "NO_COLOR"):
        assert f"| `{variable}` | " in page
        assert f".B {variable}\n" in text


def test_every_command_says_what_it_does() -> None:
    """Each command, argument and option has a text that begins with a capital letter and ends with a full stop."""
    for command in manual.commands():
        assert command.paragraphs, command.name
        for one in (*command.arguments, *command.options):
            assert one.text[:1].isupper(), (command.name, one)
            assert one.text.endswith("."), (command.name, one)
            assert not set(one.names.split()) & {"STR", "INT", "LIST[STR]"}, "give it a metavar"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a-b \\ 'c'", "a\\-b \\e \\(aqc\\(aq"),
        (".TH no request", "\\&.TH no request"),
    ],
)
def test_what_roff_would_obey_is_escaped(text: str, wanted: str) -> None:
    """Nothing in a help text is taken for a request or an escape."""
    assert manual._roff(text) == wanted


@pytest.mark.skipif(shutil.which("groff") is None, reason="there is no groff")
def test_the_manual_page_is_readable() -> None:
    """It is shown without a warning by groff, with the commands in it."""
    command = ["groff", "-man", "-Tutf8", "-k", "-ww", "-rLL=100n", str(MANUAL)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=30, check=True)
    assert done.stderr == ""
    shown = re.sub(r".\x08", "", done.stdout)  # bold letters are printed twice
    assert "emit [OPTIONS] TYPE" in shown
    assert "`" not in shown


def test_check_finds_a_difference(tmp_path: Path) -> None:
    """`--check` names what would change, and writes nothing."""
    command = [sys.executable, "-m", "bridge.cli.manual", str(tmp_path / "a.md"), str(MANUAL), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, f"{tmp_path / 'a.md'}\n", "")
    assert not (tmp_path / "a.md").exists()
