"""Completion in the shell: commands, options, and names that are known without a bridge."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.cli.main import main

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
    for name, value in {"_NEMO_BRIDGE_COMPLETE": f"complete_{shell}", **SHELLS[shell](line)}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr()
    assert not left.value.code
    assert wanted in said.out
    assert unwanted not in said.out
    assert said.err == ""


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
