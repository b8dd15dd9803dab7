"""Write the log: each line is an event with named values, at a level.

Where lines go is decided for the whole process, by who runs it (`lines_go_to`): `observe.logs` writes them for people
or machines. Before that they go to standard error as they are.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

from bridge.core.printable import printable

#: The levels, lowest first.
LEVELS: Final = ("debug", "info", "warning", "error", "critical")

#: Writes one line: its level, and its values with the event under `event`. It may change and keep them.
Write = Callable[[str, dict[str, Any]], None]


class Logger:
    """Writes lines that have some values in common.

    `exc_info` is no value, but the error whose traceback belongs to the line: an exception, what `sys.exc_info()`
    returns, or True for the error that is being handled.
    """

    __slots__ = ("_values",)

    def __init__(self, **values: Any) -> None:
        """Create it; `values` are in each of its lines."""
        self._values = values

    def bind(self, **values: Any) -> "Logger":
        """Return a logger whose lines have these values, too."""
        return Logger(**self._values, **values)

    def debug(self, event: str, /, **values: Any) -> None:
        """Write a line that only who looks for a fault wants to see."""
        self.log("debug", event, **values)

    def info(self, event: str, /, **values: Any) -> None:
        """Write a line about something that is in order."""
        self.log("info", event, **values)

    def warning(self, event: str, /, **values: Any) -> None:
        """Write a line about something that is not as it should be, and which the bridge can deal with."""
        self.log("warning", event, **values)

    def error(self, event: str, /, **values: Any) -> None:
        """Write a line about something that has failed."""
        self.log("error", event, **values)

    def critical(self, event: str, /, **values: Any) -> None:
        """Write a line about what ends the process."""
        self.log("critical", event, **values)

    def exception(self, event: str, /, **values: Any) -> None:
        """Write a line about an error that is being handled, with its traceback."""
        self.log("error", event, **{"exc_info": True, **values})

    def log(self, level: str, event: str, /, **values: Any) -> None:
        """Write a line at one of `LEVELS`."""
        if LEVELS.index(level) >= _process.lowest:
            _process.write(level, {**self._values, **values, "event": event})


def lines_go_to(write: Write, level: str = "debug") -> None:
    """Have all loggers of the process write by this function, and leave out lines below a level."""
    _process.write, _process.lowest = write, LEVELS.index(level)


@contextlib.contextmanager
def written_by(write: Write) -> Iterator[None]:
    """Have all loggers of the process write by this function while the body runs."""
    before = _process.write, _process.lowest
    lines_go_to(write)
    try:
        yield
    finally:
        _process.write, _process.lowest = before


def _plain(level: str, line: dict[str, Any]) -> None:
    values = " ".join(f"{key}={value!r}" for key, value in line.items() if key != "event")
    print(printable(f"{level}: {line['event']} {values}".rstrip()), file=sys.stderr, flush=True)


class _Process:
    write: Write = staticmethod(_plain)
    lowest: int = 0


_process = _Process()
