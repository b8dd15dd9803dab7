"""Run `nemo-bridge tap` as a process of its own, and read what it prints."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.sidecar import fork_server
from tests.support.sidecar.fork_server import ForkedProcess

_ROOT = Path(__file__).parents[3]


class Tap:
    """A running `tap --json` and its output so far.

    Attributes:
        process: The process.
    """

    def __init__(self, process: subprocess.Popen[bytes] | ForkedProcess, output: Path) -> None:
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
    with (
        output.open("wb") as printed,
        output.with_suffix(".err").open("wb") as complaints,
        fork_server.start(["tap", "--json", *arguments], stdout=printed, stderr=complaints) as process,
    ):
        try:
            yield Tap(process, output)
        finally:
            process.kill()
