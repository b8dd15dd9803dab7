"""Write the log to standard error, for people (`console`) or machines (`json`: one object a line).

Warnings and errors of libraries, Python's own warnings and the traceback of a crash are written the same way. Secrets
are masked.
"""

import json
import logging
import os
import re
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Literal, TextIO

from bridge.core.clock import RealClock
from bridge.core.log import Logger, lines_go_to
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
#: Frames of a long stack that are written at each of its ends.
_MAX_FRAMES_AT_END: Final = 25
_IN_TRACEBACKS: Final = "\n\t"
#: What makes a text need quotes.
_QUOTED: Final = re.compile("[ \t\r\n=\"']")
_PLAIN: Final = "\x1b[0m"
#: The colours on a terminal; of levels they are bright.
_COLORS: Final = {
    "timestamp": "\x1b[2m",
    "event": "\x1b[1m",
    "key": "\x1b[36m",
    "value": "\x1b[35m",
    "debug": "\x1b[32m\x1b[1m",
    "info": "\x1b[32m\x1b[1m",
    "warning": "\x1b[33m\x1b[1m",
    "error": "\x1b[31m\x1b[1m",
    "critical": "\x1b[31m\x1b[1m",
}

log = Logger()


def configure(level: str, form: Literal["console", "json"], redactor: Redactor) -> None:
    """Configure the log of the process; called once, by the command that runs.

    Tracebacks are written without local variables, which could hold a password. Libraries are logged from `warning` on,
    whatever the level is: below that some of them log the data that they send.

    Args:
        level: The lowest level of the bridge's own lines.
        form: Text for people, or one JSON object a line.
        redactor: Masks secrets.
    """
    lines_go_to(_Lines(form, redactor, sys.stderr).write, level)
    logging.basicConfig(handlers=[_Libraries(redactor)], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    sys.excepthook = _crashed


class _Lines:
    """Write lines to a stream, with time and level, without secrets."""

    def __init__(self, form: Literal["console", "json"], redactor: Redactor, stream: TextIO) -> None:
        self._is_json = form == "json"
        self._redactor = redactor
        self._stream = stream
        self._limited = LimitedLines(RealClock())
        self._lock = threading.Lock()  # not all threads that log are the event loop's
        self._colors = _COLORS if stream.isatty() and sys.platform != "win32" else dict.fromkeys(_COLORS, "")

    def write(self, level: str, line: dict[str, Any]) -> None:
        """Write one line, unless there were too many about the same thing."""
        line["level"] = level
        line["timestamp"] = self._now()
        if not self._limited.passes(level, line):
            return
        error = _error(line.pop("exc_info", None))
        if error is not None:
            line["exception"] = stacks(error) if self._is_json else _traceback(error)
        for key, value in line.items():
            if key not in _OURS:
                line[key] = self._redactor.value(value)
        text = _json_line(line) if self._is_json else self._text_line(line)
        with self._lock:
            print(text, file=self._stream, flush=True)

    def _now(self) -> str:
        if self._is_json:
            return datetime.now(UTC).isoformat().replace("+00:00", "Z")
        return datetime.now().isoformat()  # noqa: DTZ005 - people look at the clock on their wall

    def _text_line(self, line: dict[str, Any]) -> str:
        """Return a line for people: time, level and event in columns, then the values by name, then a traceback.

        What a terminal would obey is escaped, in texts by `printable`, in other values by `repr`.
        """
        exception = line.pop("exception", "")
        timestamp, level, event = line.pop("timestamp"), line.pop("level"), printable(str(line.pop("event")))
        paint = self._painted
        parts = [paint("timestamp", timestamp), f"[{paint(level, level.ljust(9))}]", paint("event", event.ljust(30))]
        parts += [f"{paint('key', key)}={paint('value', _as_text(line[key]))}" for key in sorted(line)]
        return " ".join(parts).rstrip(" ") + (f"\n{printable(exception, keep=_IN_TRACEBACKS)}" if exception else "")

    def _painted(self, what: str, text: str) -> str:
        color = self._colors[what]
        return f"{color}{text}{_PLAIN}" if color else text


def _as_text(value: Any) -> str:
    """Return a value as it is written for people: a text with spaces or quotes in quotes."""
    if not isinstance(value, str):
        return repr(value)
    text = printable(value)
    return repr(text) if _QUOTED.search(text) else text


def _json_line(line: dict[str, Any]) -> str:
    return printable_json(json.dumps(line, ensure_ascii=False, default=str))


def _error(given: Any) -> BaseException | None:
    """Return the error that `exc_info` of a line means."""
    if given is True:
        given = sys.exc_info()
    if isinstance(given, tuple):
        given = given[1]
    return given if isinstance(given, BaseException) else None


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)).removesuffix("\n")


def stacks(error: BaseException, seen: set[int] | None = None) -> list[dict[str, Any]]:
    """Return an error, and those that led to it, each with its stack, as values for JSON; the error itself is first.

    Args:
        error: The error.
        seen: The ids of errors that are left out; those that are returned are added.
    """
    seen = set() if seen is None else seen
    found: list[dict[str, Any]] = []
    following: BaseException | None = error
    is_cause = False
    while following is not None and id(following) not in seen:
        one, following = following, None
        seen.add(id(one))
        inner = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        found.append(
            {
                "exc_type": type(one).__name__,
                "exc_value": _told(one),
                "exc_notes": [_told(note) for note in getattr(one, "__notes__", ())],
                "syntax_error": _syntax_error(one) if isinstance(one, SyntaxError) else None,
                "is_cause": is_cause,
                "frames": _frames(one.__traceback__),
                "is_group": isinstance(one, BaseExceptionGroup),
                "exceptions": [stacks(member, seen) for member in inner],
            }
        )
        cause, context = one.__cause__, one.__context__
        if cause is not None and cause.__traceback__ is not None:
            following, is_cause = cause, True
        elif context is not None and context.__traceback__ is not None and not one.__suppress_context__:
            following, is_cause = context, False
    return found


def _told(thing: object) -> str:
    try:
        return str(thing)
    except Exception as error:  # noqa: BLE001 - an error whose text fails must not hide that it happened
        return f"<str-error {type(error).__name__}>"


def _syntax_error(error: SyntaxError) -> dict[str, Any]:
    return {
        "offset": error.offset or 0,
        "filename": error.filename or "?",
        "line": error.text or "",
        "lineno": error.lineno or 0,
        "msg": error.msg,
    }


def _frames(trace: TracebackType | None) -> list[dict[str, Any]]:
    """Return the frames of a stack, the outermost first; of a long one those at both ends."""
    found = [
        {"filename": os.path.abspath(frame.f_code.co_filename), "lineno": line, "name": frame.f_code.co_name}  # noqa: PTH100
        for frame, line in traceback.walk_tb(trace)
    ]
    left_out = len(found) - 2 * _MAX_FRAMES_AT_END
    if left_out > 0:
        skipped = {"filename": "", "lineno": -1, "name": f"Skipped frames: {left_out}"}
        found = [*found[:_MAX_FRAMES_AT_END], skipped, *found[-_MAX_FRAMES_AT_END:]]
    return found


class LimitedLines:
    """Limit repeated lines, so that a remote that is down for hours does not fill the disk.

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

    def passes(self, level: str, line: dict[str, Any]) -> bool:
        """Return whether to write a line; set its `left_out` where lines were left out before."""
        if level == "critical":
            return True
        key = (level, str(line.get("event")), str(line.get("integration")))
        with self._lock:
            count = self._lines.add(key, None)
        if count is not None and count > 1:
            line["left_out"] = count - 1
        return count is not None


class _Libraries(logging.Handler):
    """Log what libraries log."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line of a library, under the library's name."""
        text = self._redactor.text(record.getMessage().strip())
        level = (
            "critical"
            if record.levelno >= logging.CRITICAL
            else "error"
            if record.levelno >= logging.ERROR
            else "warning"
        )
        log.log(level, record.name, message=text, exc_info=record.exc_info)


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log the exception that ends the process."""
    log.critical("crashed", exc_info=(kind, error, trace))
