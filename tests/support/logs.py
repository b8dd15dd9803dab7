"""Look at what is logged."""

import contextlib
from collections.abc import Iterator
from typing import Any

from bridge.core.log import written_by


@contextlib.contextmanager
def capture_logs() -> Iterator[list[dict[str, Any]]]:
    """Collect the lines of the log, in place of writing them: their values, with `event` and `log_level`."""
    lines: list[dict[str, Any]] = []

    def collect(level: str, line: dict[str, Any]) -> None:
        lines.append({**line, "log_level": level})

    with written_by(collect):
        yield lines
