"""`nemo-bridge demo` as a user sees it: it tells the truth, and leaves nothing behind."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from bridge.cli import demo
from bridge.cli.demo_processes import DemoProcesses

pytestmark = pytest.mark.idle_machine

_LINE = re.compile(r"^ \d\d:\d\d:\d\d\.\d{3} [→←●] (\S+)", re.MULTILINE)


@contextmanager
def running(directory: Path, stderr: int = subprocess.STDOUT) -> Iterator[subprocess.Popen[str]]:
    """The demo as a process, as on a pipe: no terminal, no colours."""
    environ = os.environ | {"PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1", "TMPDIR": str(directory)}
    with subprocess.Popen(
        [sys.executable, "-m", "bridge", "demo"],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        encoding="utf-8",
        env=environ,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def alive(pid: int) -> bool:
    """Whether a process still runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def nothing_left(output: str, directory: Path) -> bool:
    """Whether all processes that the output names are gone, and their files too."""
    pids = [int(found) for found in re.findall(r"process\s+(\d+)", output)]
    return bool(pids) and not any(alive(pid) for pid in pids) and not list(directory.iterdir())


def in_order(wanted: list[str], found: list[str]) -> bool:
    """Whether `wanted` is a subsequence of `found`."""
    rest = iter(found)
    return all(one in rest for one in wanted)


@pytest.mark.slow
def test_shows_all_of_it_and_cleans_up(tmp_path):
    """Exit code 0, the story's events in their order, each with its time, and no process or file left."""
    began = time.monotonic()
    with running(tmp_path) as process:
        output, _ = process.communicate(timeout=50)
    assert process.returncode == 0, output
    assert time.monotonic() - began < 30
    assert in_order(
        [
            "health.shop",
            "order.created",
            "response.order.created",
            "order.confirmed",
            "kill",
            "health.shop",
            "resilience.shop.retry",
            "resilience.shop.retry",
            "resilience.shop.failed",
            "resilience.shop.circuit.opened",
            "resilience.shop.failed",
            "response.order.created",
            "resilience.shop.circuit.half_opened",
            "resilience.shop.circuit.closed",
            "order.confirmed",
            "system.shutdown",
        ],
        _LINE.findall(output),
    ), output
    assert output.count("circuit_open, tries: 0") == 3, output
    assert "\x1b" not in output
    assert max(len(line) for line in output.splitlines()) <= 80
    assert nothing_left(output, tmp_path), output


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stops_everything_when_interrupted(tmp_path, number, code):
    """Ctrl-C and SIGTERM in the middle end it without a traceback, and nothing is left."""
    with running(tmp_path) as process:
        assert process.stdout is not None
        output = ""
        while "order.confirmed" not in output:
            line = process.stdout.readline()
            assert line, output
            output += line
        process.send_signal(number)
        output += process.communicate(timeout=20)[0]
    assert process.returncode == code, output
    assert "Traceback" not in output
    assert nothing_left(output, tmp_path), output


@pytest.mark.slow
def test_ends_when_nobody_reads(tmp_path):
    """With its output cut off, as by `head`, it ends soon and without a word, and nothing is left."""
    with running(tmp_path, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        output = ""
        while "order.confirmed" not in output:
            output += process.stdout.readline()
        process.stdout.close()
        assert process.wait(10) == 1
        assert process.stderr.read() == ""
    assert nothing_left(output, tmp_path), output


@pytest.mark.slow
def test_says_which_step_was_missed(monkeypatch):
    """A service that survives makes the demo fail, with what was expected and what the sidecar said."""

    async def spared(_: DemoProcesses) -> None:
        """Do not kill it."""

    monkeypatch.setattr(DemoProcesses, "kill_service", spared)
    console = Console(file=io.StringIO(), width=80)
    assert demo.run(console) == 1
    assert isinstance(console.file, io.StringIO)
    output = console.file.getvalue()
    assert "This did not happen: health.shop reports `disconnected`, within 5 s" in output
    assert "The end of the sidecar's log" in output
    assert "Every step happened" not in output
