"""The log: structlog, to standard error, for people (`console`) or machines (`json`: one object a line).

Whatever else would write there, in lines of its own, comes the same way: warnings and errors of libraries, Python's own
warnings, and the traceback of a crash. Secrets are taken out of it.
"""

import logging
import sys
import threading
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Final, Literal

import structlog

from bridge.core.clock import RealClock
from bridge.core.ports import Clock
from bridge.core.rate_limited import RateLimited
from bridge.core.redaction import Redactor

#: What the bridge says of itself; values of these keys hold no text of others.
_OURS: Final = frozenset({"event", "integration", "level", "timestamp", "publish", "subscribe", "name", "status"})

#: So many lines about the same thing pass in so many seconds; the others are counted.
BURST: Final = 10
WINDOW: Final = 60.0
# Things that are remembered at a time.
_MAX_THINGS: Final = 1000


def configure(level: str, form: Literal["console", "json"], redactor: Redactor) -> None:
    """Set the process' log up; called once, by the command that runs.

    Tracebacks are rendered without local variables, which could hold a password. Libraries are heard from `warning`
    on, whatever the level: below that some of them write down what they send.
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
            structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
        ]
    else:
        processors += [
            structlog.processors.format_exc_info,
            redact,
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


class LimitedLines:
    """A processor of structlog that keeps a remote that is down for hours from filling the disk.

    It lets `BURST` lines about the same thing pass in `WINDOW` seconds. The same thing is the same event of the same
    integration at the same level, whatever else the line holds. The first line that passes after others were left out
    has their number (`left_out`). A crash always passes.
    """

    def __init__(self, clock: Clock) -> None:
        """Nothing was logged yet; `clock` measures the seconds."""
        self._lines: RateLimited[tuple[str, str, str], None] = RateLimited(
            clock, interval=WINDOW, burst=BURST, max_keys=_MAX_THINGS
        )
        self._lock = threading.Lock()  # not all threads that log are the event loop's

    def __call__(self, _: Any, level: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Return the line, or raise `structlog.DropEvent`."""
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
    """Passes on what libraries log."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def emit(self, record: logging.LogRecord) -> None:
        """One line of theirs becomes one of ours, under the library's name."""
        text = self._redactor.text(record.getMessage().strip())
        structlog.get_logger().log(record.levelno, record.name, message=text, exc_info=record.exc_info)


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What ends the process is a line of the log, too."""
    structlog.get_logger().critical("crashed", exc_info=(kind, error, trace))
