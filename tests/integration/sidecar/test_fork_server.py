"""Processes that the tests fork instead of starting them behave like those that are started."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.sidecar import fork_server
from tests.support.sidecar.fork_server import ForkedProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")

_INVALID = """
variable "address" {
  env = "ADDRESS"
}
integration "shop" {
  type = "json-rpc"
  endpoint {
    url = var.address
  }
}
"""


@pytest.mark.parametrize("words", [("--version",), ("check", "bridge.hcl"), ("schema", "--list")])
def test_the_same_as_a_command_that_was_started(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Output, complaints, exit code, folder and variables are the same."""
    (tmp_path / "bridge.hcl").write_text(_INVALID)
    command = [sys.executable, "-m", "bridge", *words]
    environ = {"ADDRESS": "nonsense", "COLUMNS": "60"}
    started = subprocess.run(
        command, cwd=tmp_path, env=os.environ | environ, input="", capture_output=True, text=True, check=False
    )
    forked = fork_server.run(*words, cwd=tmp_path, environ=environ)
    assert started.stdout + started.stderr
    assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)


def test_signals_and_the_end() -> None:
    """It is a process of its own, which stands still, goes on and ends by signals; the code tells by which."""
    with tempfile.TemporaryFile() as output:
        place = ("--publish", "ipc:///nowhere/p", "--subscribe", "ipc:///nowhere/s")
        process = fork_server.start(["tap", *place], stdout=output, stderr=output)
        assert isinstance(process, ForkedProcess)
        process.freeze()
        assert process.poll() is None
        process.send_signal(signal.SIGCONT)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.kill()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
