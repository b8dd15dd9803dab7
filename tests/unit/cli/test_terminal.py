"""What the commands print, and what they do where printing is impossible."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from bridge.cli.main import app
from bridge.cli.options import only, seconds, unwrap_help
from bridge.cli.terminal import complain, json_text, say
from bridge.core.errors import InvalidError

NEMO_BRIDGE = [sys.executable, "-m", "bridge"]


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A remote's text cannot fake a line of the bridge, nor control the terminal."""
    complain("shop: no\nnemo-bridge: \x1b]52;c;eA==\x07ok")
    assert capsys.readouterr().err == "nemo-bridge: shop: no\\nnemo-bridge: \\x1b]52;c;eA==\\x07ok\n"


def test_lines_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A text of several lines keeps them."""
    say("a\nb\x1b[2J")
    assert capsys.readouterr().out == "a\nb\\x1b[2J\n"


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", '"é\\u202e"'), ("ascii", '"\\u00e9\\u202e"')])
def test_json_fits_the_output(encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON is beyond ASCII only where standard output can carry it, and never holds what a terminal would obey."""
    with Path(os.devnull).open("w", encoding=encoding) as output, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", output)
        text = json_text("é\u202e")
    assert text == shown


@pytest.mark.parametrize(("text", "value"), [("2", 2.0), ("0.5", 0.5), ("2s", 2.0), ("500ms", 0.5), ("1m", 60.0)])
def test_durations_as_in_a_configuration(text: str, value: float) -> None:
    """A bare number is seconds, as in HCL."""
    assert seconds("--timeout", text) == value


@pytest.mark.parametrize("text", ["", "soon", "-1", "0", "nan", "inf", "1e3"])
def test_a_wrong_duration_names_the_option(text: str) -> None:
    """The error names the option and says what is valid."""
    with pytest.raises(InvalidError, match=r"--timeout: .*(write|above)"):
        seconds("--timeout", text)


def test_the_version_needs_little() -> None:
    """What only some commands need is not imported for all of them."""
    command = [sys.executable, "-X", "importtime", "-m", "bridge", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert "bridge.cli.main" in done.stderr
    for name in ("pydantic", "rich.console", "zmq", "bridge.config"):
        assert f" {name}\n" not in done.stderr, name


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_adapters_are_listed_in_any_locale(locale: str) -> None:
    """A terminal that knows only ASCII gets escapes instead of a traceback."""
    environ = {**os.environ, "LC_ALL": locale, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run([*NEMO_BRIDGE, "adapters"], env=environ, capture_output=True, timeout=30, check=True)
    assert b"json-rpc" in done.stdout
    assert not done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", [["adapters"], ["--version"], ["check", "shop.hcl"]], ids=lambda words: words[0])
def test_output_that_cannot_be_written(words: list[str], tmp_path: Path) -> None:
    """A full disk is one line and exit code 1, without a traceback."""
    (tmp_path / "shop.hcl").write_text('integration "a" {\n  type = "timer"\n  config {\n    every = "1s"\n  }\n}\n')
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*NEMO_BRIDGE, *words],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.stderr == "nemo-bridge: the output cannot be written: No space left on device\n"
    assert done.returncode == 1


def test_a_reader_that_has_enough() -> None:
    """A pipe that nobody reads any more ends the command without a complaint."""
    with subprocess.Popen([*NEMO_BRIDGE, "adapters"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 1


def test_help_fills_the_lines() -> None:
    """The lines of a paragraph in the code are not those on the terminal."""
    inside = typer.Typer()
    outside = typer.Typer()
    outside.add_typer(inside, name="group")

    @inside.command()
    def command() -> None:
        """Say it.

        One
        line.
        """

    unwrap_help(outside)
    assert inside.registered_commands[0].help == "Say it.\n\nOne line."


def test_both_keys_of_a_call_can_be_given() -> None:
    """An idempotency key and the file of a key pair are options of their own."""
    environ = {**os.environ, "NO_COLOR": "1", "COLUMNS": "120", "TERM": "dumb"}
    done = subprocess.run([*NEMO_BRIDGE, "call", "--help"], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.count("--idempotency-key") == 1
    assert done.stdout.count("--key-file") == 1
    assert "--key " not in done.stdout


def test_only_the_command_that_is_called_is_built() -> None:
    """The first argument names it, a command or a group of them; without one there are all, and the app stays whole."""
    whole = set(get_command(app).commands)
    assert set(get_command(only(app, ["run", "keys"])).commands) == {"run"}
    assert set(get_command(only(app, ["keys", "show"])).commands) == {"keys"}
    assert set(get_command(only(app, ["dead-letters"])).commands) == {"dead-letters"}
    assert set(get_command(only(app, ["test", "run"])).commands) == {"test"}, "its function has another name"
    for arguments in ([], ["--help"], ["--version", "run"], ["nonsense"], ["run_tests"]):
        assert only(app, arguments) is app
    assert set(get_command(app).commands) == whole
