"""Run code that may never end in a thread that holds up nothing."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, TypeVar

from bridge.core.ports import Clock
from bridge.core.timer import Timer

T = TypeVar("T")


#: Seconds for a thread to end by itself once its caller is cancelled: an exception between any two steps of its code
#: may leave a file for the garbage collector to close.
_GRACE: Final = 1.0


class _Abandoned(BaseException):
    """Ends the code of a thread that nobody waits for any more."""


class InThread(Protocol):
    """The type of `in_thread`, and of what takes its place where there are no threads."""

    async def __call__(self, work: Callable[[], T], *, clock: Clock, limit: float) -> T:
        """See `in_thread`."""
        ...


async def in_thread(work: Callable[[], T], *, clock: Clock, limit: float) -> T:
    """Run `work` in a thread of its own and return its result.

    When the time is up, or the caller is cancelled, nobody waits for the thread any more. It ends as soon as it runs
    Python code again, after a cancellation a second later; one that is stuck in the system costs nothing. It never
    holds up the end of the process.

    Args:
        work: What to run.
        clock: Measures the time limit.
        limit: Seconds that it may take.

    Raises:
        TimeoutError: It took longer.
        Exception: What `work` raises.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()

    over = False

    def settle(result: T | None, error: BaseException | None) -> None:
        nonlocal over
        over = True
        if ended.done():
            return
        if error is None:
            ended.set_result(result)  # type: ignore[arg-type]  # T may be None
        else:
            ended.set_exception(error)

    def call() -> None:
        result, error = None, None
        try:
            result = work()
        except _Abandoned:
            raise
        except BaseException as raised:  # noqa: BLE001 - the caller gets it
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed; there is no other way to know
            loop.call_soon_threadsafe(partial(settle, result, error))

    def run() -> None:
        with contextlib.suppress(_Abandoned):
            call()

    def abandon() -> None:
        if not over:
            _abandon(thread)

    thread = threading.Thread(target=run, name="work", daemon=True)
    thread.start()
    try:
        async with clock.timeout(limit):
            return await ended
    except asyncio.CancelledError:
        Timer(clock).set(_GRACE, abandon)
        raise
    except TimeoutError:
        abandon()
        raise


def _abandon(thread: threading.Thread) -> None:
    """Raise an exception in a thread, at its next step of Python code (C API of Python, "Thread State and the GIL")."""
    if thread.ident is not None:
        import ctypes  # noqa: PLC0415 - half a megabyte, for code that never ends

        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(_Abandoned))
