"""Run a command's event loop, and end the process within a time limit even if something hangs."""

import asyncio
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from bridge.cli.exit_codes import ExitCode
from bridge.core.log import structlog

#: Seconds for what still runs when the work is done: abandoned tasks, and threads in a name lookup.
_LEFT_OVER: Final = 0.5
#: Seconds of a step of the countdown. A step that takes longer, because the process stood still, counts as two.
_STEP: Final = 0.25
#: Seconds that the last line of the log may take; the reader of the log may have stopped reading.
_LAST_LINE: Final = 0.2

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Process:
    """Run a coroutine, and end the process within a time limit after that.

    A thread ends the process when its time is up. It needs neither the event loop nor the main thread, which may hang.

    Attributes:
        exit_code: Set it when the work is done. It is used if closing the event loop hangs.
    """

    def __init__(self, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
        """Create nothing yet; the event loop is created by `loop_factory` when it is needed."""
        self._runner = asyncio.Runner(loop_factory=loop_factory)
        # A signal handler may write to it, whatever the main thread is doing.
        self._limits: queue.SimpleQueue[tuple[float, int, str]] = queue.SimpleQueue()
        self.exit_code: int = ExitCode.FAILED

    def __enter__(self) -> Self:
        """Start the thread that ends the process when its time is up."""
        threading.Thread(target=self._watch, name="end", daemon=True).start()
        return self

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the event loop and return its result."""
        return self._runner.run(work)

    def end_within(self, seconds: float, exit_code: int, why: str) -> None:
        """End the process after `seconds`, unless it has ended by itself.

        An earlier limit stays, but gets the new exit code and reason. It may be called from a signal handler.

        Args:
            seconds: 0 ends it at once.
            exit_code: The exit code of the process in that case.
            why: The reason for the log.
        """
        self._limits.put((seconds, exit_code, why))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the event loop. The process ends soon, even if this hangs."""
        self.end_within(_LEFT_OVER, self.exit_code, "an abandoned task or a thread does not end")
        self._runner.close()

    def _watch(self) -> None:
        left, exit_code, why = math.inf, int(ExitCode.FAILED), ""
        while left > 0:
            began = time.monotonic()
            try:
                seconds, exit_code, why = self._limits.get(timeout=None if left == math.inf else min(left, _STEP))
                left = min(left, seconds)
            except queue.Empty:
                left -= min(time.monotonic() - began, 2 * _STEP)
        # In a thread, because writing it may hang, too.
        line = threading.Thread(target=log.warning, args=("ended by force",), kwargs={"why": why}, daemon=True)
        line.start()
        line.join(_LAST_LINE)
        os._exit(exit_code)
