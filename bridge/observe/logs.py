"""Write the log by structlog to standard error, for people (`console`) or machines (`json`: one object a line).

Warnings and errors of libraries, Python's own warnings and the traceback of a crash are written the same way. Secrets
are masked.
"""

import json
import logging
import sys
import threading
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Final, Literal

from bridge.core.clock import RealClock
from bridge.core.log import structlog
from bridge.core.ports import Clock
from bridge.core.printable import printable, printable_json
from bridge.core.rate_limited import RateLimited
from bridge.core.redaction import Redactor

#: Keys whose values the bridge makes itself; they hold no text of remotes or libraries.
_OURS: Final = frozenset({"event", "integration", "level", "timestamp", "publish", "subscribe", "name", "status"})

#: Lines about the same thing that pass in `WINDOW` seconds; the others are counted.
BURST: Final = 10
WINDOW: Final = 60.0
# Things that are remembered at a time.
_MAX_THINGS: Final = 1000


def configure(level: str, form: Literal["console", "json"], redactor: Redactor) -> None:
    """Configure the log of the process; called once, by the command that runs.

    Tracebacks are written without local variables, which could hold a password. Libraries are logged from `warning` on,
    whatever the level is: below that some of them log the data that they send.

    Args:
        level: The lowest level of the bridge's own lines.
        form: Text for people, or one JSON object a line.
        redactor: Masks secrets.
    """

    def redact(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for key, value in line.items():
            if key not in _OURS:
                line[key] = redactor.value(value)
        return line

    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=form == "json"),
        LimitedLines(RealClock()),
    ]
    if form == "json":
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        processors += [
            structlog.processors.ExceptionRenderer(tracebacks),
            redact,
            structlog.processors.JSONRenderer(_json_line, default=str),
        ]
    else:
        processors += [
            structlog.processors.format_exc_info,
            redact,
            _escape,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Libraries(redactor)], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    sys.excepthook = _crashed


def _escape(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape what a terminal would obey; other values than text are written by `repr`, which does that, too."""
    for key, value in line.items():
        if isinstance(value, str):
            line[key] = printable(value, keep="\n\t" if key == "exception" else "")
    return line


def _json_line(line: Any, **options: Any) -> str:
    return printable_json(json.dumps(line, ensure_ascii=False, **options))


class LimitedLines:
    """Limit repeated lines, so that a remote that is down for hours does not fill the disk; a structlog processor.

    `BURST` lines about the same thing pass in `WINDOW` seconds. The same thing: the same event of the same integration
    at the same level, whatever else the line holds. The next line that passes has the number of those that were left
    out (`left_out`). A crash always passes.
    """

    def __init__(self, clock: Clock) -> None:
        """Create it; `clock` measures the seconds."""
        self._lines: RateLimited[tuple[str, str, str], None] = RateLimited(
            clock, interval=WINDOW, burst=BURST, max_keys=_MAX_THINGS
        )
        self._lock = threading.Lock()  # not all threads that log are the event loop's

    def __call__(self, _: Any, level: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Return the line, with `left_out` where lines were left out before.

        Raises:
            structlog.DropEvent: There were too many lines about the same thing.
        """
        if level == "critical":
            return line
        key = (level, str(line.get("event")), str(line.get("integration")))
        with self._lock:
            count = self._lines.add(key, None)
        if count is None:
            raise structlog.DropEvent
        if count > 1:
            line["left_out"] = count - 1
        return line


class _Libraries(logging.Handler):
    """Log by structlog what libraries log."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line of a library, under the library's name."""
        text = self._redactor.text(record.getMessage().strip())
        structlog.get_logger().log(record.levelno, record.name, message=text, exc_info=record.exc_info)


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log the exception that ends the process."""
    structlog.get_logger().critical("crashed", exc_info=(kind, error, trace))
