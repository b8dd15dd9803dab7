"""`nemo-bridge top` in a real terminal, before a real sidecar: it shows an outage, obeys keys, and leaves no trace."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.servers.remote import Remote, refusing_port, remote
from tests.support.sidecar import fork_server
from tests.support.sidecar.sidecar import Sidecar, json_rpc, sidecar
from tests.support.wait import PATIENCE

_STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ENTERED, _LEFT, _HIDDEN, _SHOWN = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25l", "\x1b[?25h"


def _environ() -> dict[str, str]:
    """Return the environment of a command whose terminal alone says how large it is."""
    known = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    return known | {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}


class Terminal:
    """A pseudoterminal in which `nemo-bridge top` runs.

    Attributes:
        process: The command.
        text: All that it has written.
    """

    def __init__(self, *arguments: str, width: int = 100, height: int = 30) -> None:
        self._master, self._slave = pty.openpty()
        self.resize(width, height, tell=False)
        self.before = termios.tcgetattr(self._slave)
        self.text = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bridge", "top", *arguments],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env=_environ(),
            start_new_session=True,
        )

    def resize(self, width: int, height: int, *, tell: bool = True) -> None:
        """Change the size of the terminal; the kernel tells only the foreground group, so that the command is told."""
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        if tell:
            self.process.send_signal(signal.SIGWINCH)

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    def _read(self) -> None:
        while select.select([self._master], [], [], 0.02)[0]:
            self.text += os.read(self._master, 65536).decode(errors="replace")

    def screen(self) -> list[str]:
        """Return the lines that were drawn last, whole or not."""
        self._read()
        frame = self.text.rpartition("\x1b[H")[2]
        return _STYLE.sub("", frame).replace("\r", "").split("\n")

    def until(self, is_so: Callable[[list[str]], Any]) -> list[str]:
        """Wait until the lines are as wanted, and return them."""
        end = time.monotonic() + PATIENCE
        while not is_so(lines := self.screen()):
            assert self.process.poll() is None, self.text[-4000:]
            assert time.monotonic() < end, "\n".join(lines)
        return lines

    def settings(self) -> list[Any]:
        """Return the terminal's settings."""
        return termios.tcgetattr(self._slave)

    def ended(self) -> int:
        """Wait for the end of the command, and return its exit code."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < end
            self._read()
        self._read()
        return self.process.returncode

    def close(self) -> None:
        """End the command and the terminal."""
        self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self._slave)


@pytest.fixture(scope="module")
def service() -> Iterator[Remote]:
    """A service."""
    with remote() as running:
        yield running


@pytest.fixture(scope="module")
def bridge(service: Remote) -> Iterator[Sidecar]:
    """A sidecar with an integration that is well, and two with the same trouble."""
    down = f"http://127.0.0.1:{refusing_port()}/rpc"
    with sidecar(json_rpc("api", service.url) + json_rpc("down", down) + json_rpc("gone", down)) as running:
        yield running


@contextlib.contextmanager
def top(bridge: Sidecar, *arguments: str, width: int = 100, height: int = 30) -> Iterator[Terminal]:
    """Run the command in a terminal."""
    bus = ("--publish", bridge.publish, "--subscribe", bridge.subscribe)
    terminal = Terminal(*bus, "--every", "200ms", *arguments, width=width, height=height)
    try:
        yield terminal
    finally:
        terminal.close()


def has(*texts: str) -> Callable[[list[str]], bool]:
    """All of these are on the screen."""
    return lambda lines: all(text in "\n".join(lines) for text in texts)


def test_an_outage_by_keys(bridge: Sidecar) -> None:
    """What is wrong is told, an integration is opened with its failures, the filter works, and the end is clean."""
    assert fork_server.run("call", "down", "echo", environ=place(bridge)).returncode == 1
    with top(bridge) as terminal:
        lines = terminal.until(has("2 of 3 integrations are not well", "q quits"))
        assert len(lines) == 30
        assert "bridge  " in lines[0]
        assert sum("disconnected: " in line for line in lines) == 1  # one problem, with both names
        terminal.press(b"/down\r")
        terminal.until(
            lambda found: has("/down")(found) and not any(line.startswith(("api ", "gone ")) for line in found)
        )
        terminal.press(b"\r")
        terminal.until(has("down  json-rpc  disconnected", "1 failures", "not_connected"))
        terminal.press(b"7")
        terminal.until(has('type = "json-rpc"'))
        terminal.press(b"\x1b")
        terminal.until(has("2 of 3 integrations are not well"))
        terminal.press(b"q")
        assert terminal.ended() == 0
        assert terminal.text.count(_ENTERED) == terminal.text.count(_LEFT) == 1
        assert terminal.text.rindex(_SHOWN) > terminal.text.rindex(_HIDDEN)
        assert terminal.settings() == terminal.before


def place(bridge: Sidecar) -> dict[str, str]:
    """The environment that says where the bus is."""
    return {"NEMO_BUS_PUBLISH": bridge.publish, "NEMO_BUS_SUBSCRIBE": bridge.subscribe}


def test_the_size_changes(bridge: Sidecar) -> None:
    """The screen is drawn anew when the terminal becomes smaller and larger."""
    with top(bridge) as terminal:
        terminal.until(has("q quits"))
        for width, height in ((60, 14), (160, 60), (20, 4)):
            terminal.resize(width, height)
            terminal.until(lambda lines, height=height: len(lines) == height)
            assert max(map(len, terminal.screen())) <= width
        terminal.press(b"q")
        assert terminal.ended() == 0


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_the_terminal_as_it_was(bridge: Sidecar, sign: signal.Signals, code: int) -> None:
    """Ctrl-C and SIGTERM end it as `q` does, with their own exit codes and without a traceback."""
    with top(bridge) as terminal:
        terminal.until(has("q quits"))
        terminal.process.send_signal(sign)
        assert terminal.ended() == code
        assert terminal.settings() == terminal.before
        assert _LEFT in terminal.text
        assert "Traceback" not in terminal.text


def test_it_can_be_stopped_and_continued(bridge: Sidecar) -> None:
    """Ctrl-Z gives the terminal back; after SIGCONT the screen is drawn and obeys again."""
    with top(bridge) as terminal:
        terminal.until(has("q quits"))
        terminal.process.send_signal(signal.SIGTSTP)
        _, status = os.waitpid(terminal.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        terminal.screen()
        assert terminal.text.rindex(_LEFT) > terminal.text.rindex(_ENTERED)
        assert terminal.settings() == terminal.before
        terminal.process.send_signal(signal.SIGCONT)
        terminal.until(lambda _: terminal.text.count(_ENTERED) == 2)
        terminal.until(has("q quits"))
        terminal.press(b"q")
        assert terminal.ended() == 0


def test_the_bridge_is_killed(service: Remote) -> None:
    """What was there stays, and is told as old; no traceback."""
    with sidecar(json_rpc("api", service.url)) as running, top(running) as terminal:
        terminal.until(has("The integration is well"))
        running.kill()
        terminal.until(has("no answer for ", " ago", "The integration is well"))
        terminal.press(b"q")
        assert terminal.ended() == 0
        assert "Traceback" not in terminal.text


def test_without_a_terminal(bridge: Sidecar) -> None:
    """It says what to use in place of it."""
    done = fork_server.run("top", environ=place(bridge))
    assert done.returncode == 2
    assert done.stderr == "nemo-bridge: top needs a terminal; `nemo-bridge status` prints the state once\n"


def test_without_a_bus() -> None:
    """The terminal is left alone, and the exit code is that of the other commands."""
    terminal = Terminal("--publish", "ipc:///nonexistent/p", "--subscribe", "ipc:///nonexistent/s")
    try:
        assert terminal.ended() == 3
        assert _ENTERED not in terminal.text
        assert "no bus answers" in terminal.text
    finally:
        terminal.close()
