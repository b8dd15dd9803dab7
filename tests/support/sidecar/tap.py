"""Run `nemo-bridge tap` as a process of its own, and read what it prints."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[3]


class Tap:
    """A running `tap --json` and its output so far.

    Attributes:
        process: The process.
    """

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output

    def seen(self, event_type: str) -> list[dict[str, Any]]:
        """Return the events of one type that it has printed, in order."""
        lines = self._output.read_text().split("\n")[:-1]  # the last line may be unfinished
        return [event for event in map(json.loads, lines) if event["event_type"] == event_type]

    @property
    def complaints(self) -> str:
        """Return what it has printed on standard error."""
        return self._output.with_suffix(".err").read_text()


@contextmanager
def tapping(output: Path, *arguments: str) -> Iterator[Tap]:
    """Run `tap --json` with more arguments; its output goes to a file."""
    command = [sys.executable, "-m", "bridge", "tap", "--json", *arguments]
    with (
        output.open("wb") as printed,
        output.with_suffix(".err").open("wb") as complaints,
        subprocess.Popen(command, cwd=_ROOT, stdout=printed, stderr=complaints) as process,
    ):
        try:
            yield Tap(process, output)
        finally:
            process.kill()
