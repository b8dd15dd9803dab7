"""The log: structlog, to standard error, for people (`console`) or machines (`json`: one object a line).

Whatever else would write there, in lines of its own, comes the same way: warnings and errors of libraries, Python's own
warnings, and the traceback of a crash. Secrets are taken out of it.
"""

import logging
import sys
import time
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Final, Literal

import structlog

from bridge.core.redaction import Redactor
from bridge.observe.rate_limited import Repeats

#: What the bridge says of itself; values of these keys hold no text of others.
_OURS: Final = frozenset({"event", "integration", "level", "timestamp", "publish", "subscribe", "name", "status"})


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
        Repeats(time.monotonic),
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
