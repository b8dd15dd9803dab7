"""Start processes of `nemo-bridge` without a second for the imports: by a fork of one that has made them.

Each process of the tests has a fork server of its own, from the first command on. What is forked has its own process
id, signals, output and end, like a process that was started. Nothing but the state of the interpreter after the imports
is shared. The programs of `tests/load/` do not use it, nor do tests of the start itself.
"""

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, Self

from tests.support.wait import PATIENCE

ROOT: Final = Path(__file__).parents[3]
_NUMBER: Final = struct.Struct("=i")
#: Bytes of a request at most: the arguments and the environment.
_LONGEST: Final = 1 << 17
#: The interpreter and the loader read these variables when a program starts, and never again.
_READ_AT_START: Final = ("PYTHON", "LD_", "DYLD_")


class ForkedProcess:
    """A process that the fork server has forked; the part of `subprocess.Popen` that tests use.

    Attributes:
        pid: Its process id.
        returncode: Its exit code, negative for a signal; None until `poll` or `wait` have seen its end.
    """

    def __init__(self, told: int) -> None:
        """Read the process id, and later the exit code, from the pipe `told`."""
        self._told = told
        self.pid = self._number()
        self.returncode: int | None = None

    def _number(self) -> int:
        data = os.read(self._told, _NUMBER.size)
        assert data, "the fork server has ended"
        number: int = _NUMBER.unpack(data)[0]
        return number

    def _ended(self, seconds: float) -> bool:
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._told, selectors.EVENT_READ)
                if not selector.select(seconds):
                    return False
            self.returncode = self._number()
            os.close(self._told)
        return True

    def poll(self) -> int | None:
        """Return the exit code; None while the process runs."""
        self._ended(0.0)
        return self.returncode

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for the end; return the exit code.

        Args:
            timeout: Seconds.

        Raises:
            subprocess.TimeoutExpired: It still runs after that time.
        """
        if not self._ended(timeout):
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if the process still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and its exit code is on the way
                os.kill(self.pid, number)

    def freeze(self) -> None:
        """Send SIGSTOP, and wait until it stands still (or has ended)."""
        self.send_signal(signal.SIGSTOP)
        while self.poll() is None and ") T " not in Path(f"/proc/{self.pid}/stat").read_text():
            time.sleep(0.001)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()


class _Client:
    """The fork server of this process, which ends with it."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.support.sidecar.fork_server"],
                cwd=ROOT,
                stdin=theirs,
                stdout=subprocess.DEVNULL,
            )

    def start(self, arguments: Sequence[str], cwd: Path, environ: Mapping[str, str], files: list[int]) -> ForkedProcess:
        request = json.dumps([arguments, str(cwd), dict(environ)]).encode()
        assert len(request) <= _LONGEST
        told, tell = os.pipe()
        try:
            socket.send_fds(self._requests, [request], [*files, tell])
        finally:
            os.close(tell)
        return ForkedProcess(told)


_allowed = False
_client: _Client | None = None


def allow() -> None:
    """Let `start` fork in this process, where the system can do what the fork server needs: on Linux."""
    global _allowed  # noqa: PLW0603 - one for each process
    _allowed = sys.platform == "linux"


def start(
    arguments: Sequence[str],
    *,
    cwd: Path = ROOT,
    environ: Mapping[str, str] | None = None,
    stdin: IO[Any] | None = None,
    stdout: IO[Any],
    stderr: IO[Any],
) -> "subprocess.Popen[bytes] | ForkedProcess":
    """Start `nemo-bridge`, by a fork where that is allowed.

    Args:
        arguments: The command and what follows it.
        cwd: Its working directory.
        environ: Variables that it has beside those of this process.
        stdin: What it reads; by default nothing.
        stdout: A file.
        stderr: A file.
    """
    global _client  # noqa: PLW0603 - one for each process
    whole = os.environ | (environ or {})
    changed = {name for name, value in whole.items() if os.environ.get(name) != value}
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
        if not _allowed or any(name.startswith(_READ_AT_START) for name in changed):
            path = os.pathsep.join(filter(None, (str(ROOT), whole.get("PYTHONPATH"))))
            return subprocess.Popen(
                [sys.executable, "-m", "bridge", *arguments],
                cwd=cwd,
                env=whole | {"PYTHONPATH": path},
                stdin=stdin or nothing,
                stdout=stdout,
                stderr=stderr,
            )
        if _client is None:
            _client = _Client()
        files = [one.fileno() for one in (stdin or nothing, stdout, stderr)]
        return _client.start(arguments, cwd, whole, files)


def run(
    *arguments: str,
    cwd: Path = ROOT,
    environ: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float = PATIENCE,
) -> "subprocess.CompletedProcess[str]":
    """Run a command of `nemo-bridge` to its end; return its exit code and what it has printed.

    Args:
        arguments: The command and what follows it.
        cwd: Its working directory.
        environ: Variables that it has beside those of this process.
        stdin: The text that it reads; by default nothing.
        timeout: Seconds that it may take.

    Raises:
        subprocess.TimeoutExpired: It has not ended after that time; it is killed.
    """
    with tempfile.TemporaryFile() as read, tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as complaints:
        read.write((stdin or "").encode())
        read.seek(0)
        process = start(arguments, cwd=cwd, environ=environ, stdin=read, stdout=printed, stderr=complaints)
        try:
            code = process.wait(timeout)
        except BaseException:
            process.kill()
            process.wait()
            raise
        texts = []
        for file in (printed, complaints):
            file.seek(0)
            texts.append(file.read().decode())
        return subprocess.CompletedProcess(["nemo-bridge", *arguments], code, *texts)


def _import_everything() -> None:
    """Import what any command may need, and leave it out of garbage collections, which would copy its pages."""
    for path in sorted((ROOT / "bridge").rglob("*.py")):
        name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        if not name.endswith("__main__"):
            __import__(name)
    gc.collect()
    gc.freeze()


def _serve(requests: socket.socket) -> bool:
    """Fork for each request, and tell of each end.

    Returns:
        True in each process that was forked, which is now as its request says; False when there is nobody to serve.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is not None:
                    _tell_end(selector, key)
                    continue
                request, files, _, _ = socket.recv_fds(requests, _LONGEST, 4)
                if not request:
                    return False
                *streams, tell = files
                pid = os.fork()
                if pid == 0:
                    for other in list(selector.get_map().values()):
                        if other.data is not None:
                            os.close(other.fd)
                            os.close(other.data[1])
                    os.close(tell)
                    requests.close()
                    _become(request, streams)
                    return True
                for stream in streams:
                    os.close(stream)
                os.write(tell, _NUMBER.pack(pid))
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, tell))


def _tell_end(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    pid, tell = key.data
    selector.unregister(key.fileobj)
    os.close(key.fd)
    _, status = os.waitpid(pid, 0)
    try:
        os.write(tell, _NUMBER.pack(os.waitstatus_to_exitcode(status)))
    except BrokenPipeError:
        pass  # nobody wants to know any more
    finally:
        os.close(tell)


def _become(request: bytes, streams: list[int]) -> None:
    """Take over what a program gets from the one that starts it."""
    arguments, cwd, environ = json.loads(request)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    sys.argv = [str(ROOT / "bridge" / "__main__.py"), *arguments]


if __name__ == "__main__":
    _import_everything()
    # Ctrl-C is for the tests, which end what they have started.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if _serve(socket.socket(fileno=os.dup(0))):
        from bridge.cli.main import main

        main()
