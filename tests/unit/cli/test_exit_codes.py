"""Every command ends with an exit code of the one table, and says in one line what was wrong."""

import itertools
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from bridge.__main__ import main as start
from bridge.cli import terminal
from bridge.cli.exit_codes import MEANINGS, ExitCode
from bridge.cli.main import app, main

GOOD = 'integration "clock" {\n  type = "timer"\n  config {\n    every = "1s"\n  }\n}\n'
UNSAFE = """\
integration "shop" {
  type = "http"
  endpoint {
    url = "https://shop.example/"
  }
  tls {
    verify = false
  }
}
"""
#: What a person may write, and the exit code.
CASES = [
    ("--version", ExitCode.OK),
    ("--help", ExitCode.OK),
    ("nonsense", ExitCode.INVALID),
    ("init --list", ExitCode.OK),
    ("init", ExitCode.OK),
    ("init jsonrpc", ExitCode.INVALID),
    ("init --into good.hcl", ExitCode.FAILED),
    ("init --into missing/shop.hcl", ExitCode.FAILED),
    ("mock bad.hcl", ExitCode.INVALID),
    ("mock good.hcl", ExitCode.INVALID),
    ("check good.hcl", ExitCode.OK),
    ("check bad.hcl", ExitCode.INVALID),
    ("check missing.hcl", ExitCode.INVALID),
    ("check good.hcl --var x", ExitCode.INVALID),
    ("check good.hcl --nonsense", ExitCode.INVALID),
    ("check", ExitCode.INVALID),
    ("run bad.hcl", ExitCode.INVALID),
    ("test good.hcl", ExitCode.INVALID),
    ("test bad.hcl", ExitCode.INVALID),
    ("check good.hcl --strict", ExitCode.OK),
    ("check unsafe.hcl --strict", ExitCode.INVALID),
    ("explain", ExitCode.OK),
    ("explain NB010", ExitCode.OK),
    ("explain NB999", ExitCode.INVALID),
    ("plan good.hcl good.hcl", ExitCode.OK),
    ("plan good.hcl good.hcl --exit-code", ExitCode.OK),
    ("plan good.hcl bad.hcl", ExitCode.INVALID),
    ("plan good.hcl {nowhere}", ExitCode.NO_ANSWER),
    ("plan bad.hcl {nowhere}", ExitCode.INVALID),
    ("simulate good.hcl", ExitCode.INVALID),
    ("simulate good.hcl --trace missing", ExitCode.INVALID),
    ("simulate good.hcl --trace good.hcl", ExitCode.INVALID),
    ("adapters", ExitCode.OK),
    ("schema --list", ExitCode.OK),
    ("schema event", ExitCode.OK),
    ("schema evnt", ExitCode.INVALID),
    ("emit a.b nope", ExitCode.INVALID),
    ("emit a.b 1 --header x", ExitCode.INVALID),
    ("emit a.b 1 --config bad.hcl", ExitCode.INVALID),
    ("emit a.b 1 --publish nonsense", ExitCode.INVALID),
    ("emit a.b 1 --key-file good.hcl", ExitCode.INVALID),
    ("emit a.b 1 --key-file good.hcl --server-key good.hcl", ExitCode.INVALID),
    ("call a b {{", ExitCode.INVALID),
    ("call a b --timeout soon", ExitCode.INVALID),
    ("status --timeout 0", ExitCode.INVALID),
    ("top", ExitCode.INVALID),
    ("top --every 0", ExitCode.INVALID),
    ("tap a..b", ExitCode.INVALID),
    ("tap --from missing", ExitCode.INVALID),
    ("tap --count x", ExitCode.INVALID),
    ("fleet --timeout soon", ExitCode.INVALID),
    ("fleet --json forget desk-9", ExitCode.INVALID),
    ("fleet forget", ExitCode.INVALID),
    ("fleet {nowhere}", ExitCode.NO_ANSWER),
    ("fleet forget desk-9 {nowhere}", ExitCode.NO_ANSWER),
    ("dead-letters replay", ExitCode.INVALID),
    ("dead-letters discard --all 7", ExitCode.INVALID),
    ("dead-letters list --limit 0", ExitCode.INVALID),
    ("dead-letters show", ExitCode.INVALID),
    ("keys new a/b", ExitCode.INVALID),
    ("keys new till", ExitCode.OK),
    ("keys show missing.key", ExitCode.INVALID),
    ("keys authorize missing.key", ExitCode.INVALID),
    ("emit a.b 1 {nowhere}", ExitCode.NO_ANSWER),
]
#: Commands that no test here can give an argument that is wrong, or that have a test of their own.
_ELSEWHERE = {"demo"}


def commands(command: Any, *names: str) -> list[str]:
    """Return all commands as a person writes them."""
    inside = getattr(command, "commands", None)
    if inside is None:
        return [" ".join(names)]
    return list(itertools.chain.from_iterable(commands(one, *names, name) for name, one in inside.items()))


def ended(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run `nemo-bridge` with these words in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["nemo-bridge", *words])
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as left:
            main()
    finally:
        signal.signal(signal.SIGTERM, before)
    return int(left.value.code or 0)


@pytest.mark.parametrize(("line", "code"), CASES, ids=[line for line, _ in CASES])
def test_each_command(
    line: str,
    code: ExitCode,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is given decides the exit code; an error is on standard error, and nothing beside it on standard output."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.hcl").write_text(GOOD)
    (tmp_path / "bad.hcl").write_text(GOOD.replace("timer", "tmier"))
    (tmp_path / "unsafe.hcl").write_text(UNSAFE)
    monkeypatch.setattr("bridge.cli.talk.PATIENCE", 0.1)
    words = line.replace("{nowhere}", f"--publish ipc://{tmp_path}/p --subscribe ipc://{tmp_path}/s").split()
    assert ended(words, monkeypatch) == code
    said = capsys.readouterr()
    assert (said.out == "", said.err == "") == ((False, True) if code == ExitCode.OK else (True, False))
    assert "Traceback" not in said.err


def test_every_command_is_tried() -> None:
    """A new command needs a line in the table above."""
    tried = {name for line, _ in CASES for name in commands(get_command(app)) if f"{line} ".startswith(f"{name} ")}
    assert tried | _ELSEWHERE == set(commands(get_command(app)))


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt, ExitCode.INTERRUPTED), (BrokenPipeError, ExitCode.FAILED)]
)
def test_what_ends_a_command_from_outside(
    error: type[BaseException], code: ExitCode, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C, and a reader that has enough, end any command without a complaint."""
    monkeypatch.setattr(terminal, "_abandon_output", lambda: None)

    def interrupted(*_: object, **__: object) -> None:
        if error is BrokenPipeError:
            raise BrokenPipeError(32, "Broken pipe")
        raise error

    monkeypatch.setattr("bridge.cli.adapters.show", interrupted)
    assert ended(["adapters"], monkeypatch) == code
    assert capfd.readouterr().err.strip() in {"", "Aborted."}


def test_sigterm_ends_a_command_as_ctrl_c_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal is left as it was, because what is open is closed: SIGTERM is an exception, with code 143."""
    left: list[str] = []

    def killed(*_: object, **__: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            left.append("in order")

    monkeypatch.setattr("bridge.cli.adapters.show", killed)
    assert ended(["adapters"], monkeypatch) == ExitCode.TERMINATED
    assert left == ["in order"]


def test_each_code_has_a_meaning() -> None:
    """The table for people names every code; each sentence is one."""
    assert list(MEANINGS) == list(ExitCode)
    assert all(re.fullmatch(r"[A-Z].*\.", text) for text in MEANINGS.values())


def test_failure_is_said() -> None:
    """A command that gives up has said why."""
    left = terminal.failure("no such order", ExitCode.NO_ANSWER)
    assert isinstance(left, typer.Exit)
    assert left.exit_code == ExitCode.NO_ANSWER


def test_ctrl_c_while_it_is_imported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends as at any other time: without a traceback."""

    class Interrupts:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "bridge.cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "bridge.cli.main")
    monkeypatch.setattr(sys, "meta_path", [Interrupts, *sys.meta_path])
    with pytest.raises(SystemExit) as left:
        start()
    assert left.value.code == ExitCode.INTERRUPTED
    assert capsys.readouterr() == ("", "")
