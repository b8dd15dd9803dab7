"""Completion in the shell: commands, options, and names that are known without a bridge."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.cli.init import recipes
from bridge.cli.main import main
from tests.support.wait import PATIENCE

#: How each shell asks for the completion of the last word of a line.
SHELLS = {
    "bash": lambda line: {"COMP_WORDS": line.replace(" ", "\n"), "COMP_CWORD": str(line.count(" "))},
    "zsh": lambda line: {"_TYPER_COMPLETE_ARGS": line},
    "fish": lambda line: {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("nemo-bridge st", ("status", "emit")),
        ("nemo-bridge keys a", ("authorize", "new")),
        ("nemo-bridge emit --wa", ("--wait", "--json")),
        ("nemo-bridge adapters m", ("mqtt", "nats")),
        ("nemo-bridge schema health/b", ("health/bridge", "health/integration")),
        ("nemo-bridge tap hea", ("health.**", "response.**")),
        ("nemo-bridge explain NB00", ("NB001", "NB010")),
    ],
)
def test_what_is_completed(
    shell: str,
    line: str,
    names: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each shell gets the name that begins with what is typed, and not the other one."""
    wanted, unwanted = names
    monkeypatch.setattr(sys, "argv", ["nemo-bridge"])
    environ = {"_NEMO_BRIDGE_COMPLETE": f"complete_{shell}", "COLUMNS": "40", **SHELLS[shell](line)}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr()
    assert not left.value.code
    assert wanted in said.out
    assert unwanted not in said.out
    assert said.err == ""


def test_each_candidate_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A long description is not wrapped, also in a narrow terminal: to fish, a second line is another candidate."""
    environ = {"_NEMO_BRIDGE_COMPLETE": "complete_fish", "COLUMNS": "40", **SHELLS["fish"]("nemo-bridge init ")}
    monkeypatch.setattr(sys, "argv", ["nemo-bridge"])
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out.splitlines() == [f"{one.name}\t{one.summary}" for one in recipes().values()]


def run_in(shell: str, script: str) -> str:
    """Run a script in a shell that finds `nemo-bridge`; return what it prints."""
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TERM": "dumb"}
    options = {"zsh": ["-f"], "fish": ["--no-config"]}
    command = [shell, *options[shell], "-c", script]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
def test_zsh_completes() -> None:
    """What `--show-completion` prints works in zsh as it is: the tabulator key writes the rest of the word."""
    script = """
        zmodload zsh/zpty
        zpty shell zsh -f -i
        zpty -w shell 'autoload -Uz compinit; compinit -D; eval "$(nemo-bridge --show-completion)"; print "rea""dy"'
        zpty -r shell seen '*ready*'
        zpty -w -n shell $'nemo-bridge adapters mq\t'
        zpty -r shell seen '*mqtt*' && print completed
        zpty -d shell
    """
    assert run_in("zsh", script) == "completed\n"


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
def test_fish_completes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `--show-completion` prints works in fish as it is: names and, where a file is wanted, files."""
    (tmp_path / "shop.hcl").touch()
    monkeypatch.chdir(tmp_path)
    script = """
        nemo-bridge --show-completion | source
        complete -C "nemo-bridge adapters mq"
        complete -C "nemo-bridge check sh"
    """
    assert run_in("fish", script) == "mqtt\nshop.hcl\n"


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes() -> None:
    """What `--show-completion` prints works in bash as it is."""
    script = """
        eval "$(nemo-bridge --show-completion)"
        COMP_WORDS=(nemo-bridge adapters m) COMP_CWORD=2
        _nemo_bridge_completion nemo-bridge
        echo "${COMPREPLY[@]}"
    """
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == ("mqtt\n", "")
