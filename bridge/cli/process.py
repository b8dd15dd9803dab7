"""The event loop of a command, and the end of its process within a time limit, whatever hangs."""

import asyncio
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import structlog

#: Seconds for what is left when the work is done: tasks that were cut, and threads in the middle of a name lookup.
_LEFT_OVER: Final = 0.5
#: Seconds of a step of the countdown. A step that takes longer, because the process stood still, counts as two.
_STEP: Final = 0.25
#: Seconds that the last line of the log may take; whoever reads the log may have stopped to.
_LAST_LINE: Final = 0.2

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Process:
    """Run a coroutine, and end the process in time when that is over.

    A thread ends the process when its time is up. It needs neither the event loop nor the main thread, which may hang.

    Attributes:
        exit_code: Set it when the work is done; it counts where closing the event loop hangs.
    """

    def __init__(self, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
        """Create the event loop when it is needed, by `loop_factory`."""
        self._runner = asyncio.Runner(loop_factory=loop_factory)
        # It may be written to from a signal handler, whatever the main thread is doing.
        self._limits: queue.SimpleQueue[tuple[float, int, str]] = queue.SimpleQueue()
        self.exit_code = 1

    def __enter__(self) -> Self:
        """Start the thread."""
        threading.Thread(target=self._watch, name="end", daemon=True).start()
        return self

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the event loop and return its result."""
        return self._runner.run(work)

    def end_within(self, seconds: float, exit_code: int, why: str) -> None:
        """End the process after `seconds`, unless it has ended by itself.

        An earlier end that was set stays, with the new exit code and reason.

        It may be called from a signal handler.

        Args:
            seconds: 0 for at once.
            exit_code: The process' exit code then.
            why: What the log says then.
        """
        self._limits.put((seconds, exit_code, why))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the event loop; the process ends soon, also where this hangs."""
        self.end_within(_LEFT_OVER, self.exit_code, "what was cut or is under way in a thread does not end")
        self._runner.close()

    def _watch(self) -> None:
        left, exit_code, why = math.inf, 1, ""
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
