"""Show that the log is one object a line for machines, holds no secret, and is not flooded."""

import json
import subprocess
import sys
from typing import Any

import structlog

from bridge.observe.logs import BURST, WINDOW, LimitedLines
from tests.support.clock import FakeClock

_PROGRAM = """
import logging, warnings, structlog
from bridge.observe import logs
from bridge.core.redaction import Redactor
logs.configure("debug", {form!r}, Redactor(["s3cret-word"]))
log = structlog.get_logger()
log.debug("quiet", integration="a", payload={{"key": ["s3cret-word"]}}, raw=b"x", ü="ü")
logging.getLogger("library").warning("it said %s\\nand more", "s3cret-word")
logging.getLogger("library").info("never seen")
warnings.warn("s3cret-word is deprecated")
def work(password):
    raise RuntimeError("s3cret-word in the error")
try:
    work("local-" + "variable")
except RuntimeError:
    log.exception("failed")
work("local-" + "variable")
"""


def lines(form: str) -> list[str]:
    """Return what a program that logs and crashes writes to standard error; it writes nothing to standard output."""
    command = [sys.executable, "-c", _PROGRAM.format(form=form)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    for hidden in ("s3cret", "local-variable"):
        assert hidden not in done.stderr
    return done.stderr.splitlines()


def test_for_machines():
    """Every line is one JSON object with time, level and event, also those of libraries and of the crash."""
    found = [json.loads(line) for line in lines("json")]
    assert all({"timestamp", "level", "event"} <= line.keys() for line in found)
    assert [(line["level"], line["event"]) for line in found] == [
        ("debug", "quiet"), ("warning", "library"), ("warning", "py.warnings"), ("error", "failed"),
        ("critical", "crashed"),
    ]  # fmt: skip
    assert found[0]["payload"] == {"key": ["***"]}
    assert (found[0]["integration"], found[0]["ü"]) == ("a", "ü")
    assert found[1]["message"] == "it said ***\nand more"
    assert found[4]["exception"][0]["exc_value"] == "*** in the error"
    assert found[4]["exception"][0]["frames"][-1]["name"] == "work"


def test_for_people():
    """As text there is one line for each event, with tracebacks below."""
    text = "\n".join(lines("console"))
    for part in ("quiet", "integration=a", "it said ***", "failed", "crashed", "RuntimeError: *** in the error"):
        assert part in text


class Log:
    """The processor, on a clock that tests set."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self._limit = LimitedLines(self.clock)

    def write(self, level: str = "warning", **line: Any) -> dict[str, Any] | None:
        """Log a line; return it, or None where it was left out."""
        try:
            return dict(self._limit(None, level, {"event": "health", **line}))
        except structlog.DropEvent:
            return None


async def test_a_flood_is_counted() -> None:
    """A limited number of lines pass in a minute; the next one has the number of those left out."""
    log = Log()
    passed = [log.write(integration="a", message=str(number)) for number in range(BURST + 7)]
    assert [line is not None for line in passed] == [True] * BURST + [False] * 7
    assert log.write(integration="b") is not None
    assert log.write(integration="a", level="info") is not None
    await log.clock.advance(WINDOW)
    assert log.write(integration="a") == {"event": "health", "integration": "a", "left_out": 7}
    assert log.write(integration="a") == {"event": "health", "integration": "a"}


async def test_hours_of_it() -> None:
    """A remote that logs a line every second for hours leaves a limited number of lines."""
    log = Log()
    count = 0
    for second in range(10_000):
        count += log.write(integration="a", message=str(second)) is not None
        await log.clock.advance(1)
    assert count <= BURST * (10_000 / WINDOW + 1)


def test_a_crash_is_always_logged() -> None:
    """A crash is logged however often it comes."""
    log = Log()
    assert all(log.write("critical") for _ in range(BURST * 2))
