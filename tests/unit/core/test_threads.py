"""Show that code in a thread of its own holds up nobody."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable

import pytest

from bridge.core.clock import RealClock
from bridge.core.threads import in_thread
from tests.support.wait import until


async def test_result_and_error_come_through():
    """What the code returns or raises is the caller's."""

    def refuse() -> None:
        raise LookupError("no")

    assert await in_thread(lambda: 7, clock=RealClock(), limit=5.0) == 7
    assert await in_thread(lambda: None, clock=RealClock(), limit=5.0) is None
    with pytest.raises(LookupError, match="no"):
        await in_thread(refuse, clock=RealClock(), limit=5.0)


@pytest.mark.parametrize("cancelled", [True, False])
async def test_code_that_never_ends(cancelled: bool):
    """The caller is free when its time is up or it is cancelled, and the code ends."""
    seen: list[threading.Thread] = []

    def endless() -> None:
        seen.append(threading.current_thread())
        while True:
            with contextlib.suppress(Exception):  # what the code itself catches does not keep it alive
                _step()

    task = asyncio.create_task(in_thread(endless, clock=RealClock(), limit=30.0 if cancelled else 0.1))
    await until(lambda: seen)
    if cancelled:
        task.cancel()
    with pytest.raises(asyncio.CancelledError if cancelled else TimeoutError):
        await task
    await until(lambda: not seen[0].is_alive())


def _step() -> None:
    pass


async def test_code_of_a_cancelled_caller_may_end_by_itself():
    """It is not interrupted in the middle of a step that it would finish soon."""
    begun, finished = threading.Event(), threading.Event()

    def soon() -> None:
        begun.set()
        for _ in range(20):
            time.sleep(0.01)
        finished.set()

    task = asyncio.create_task(in_thread(soon, clock=RealClock(), limit=30.0))
    await until(begun.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(finished.is_set)


async def test_code_that_is_stuck_in_the_system():
    """It holds up neither the caller nor the end of the process, and its late result is nobody's."""
    release = threading.Event()
    threads: list[threading.Thread] = []

    def stuck(wait: Callable[[], object]) -> None:
        threads.append(threading.current_thread())
        wait()

    with pytest.raises(TimeoutError):
        await in_thread(lambda: stuck(release.wait), clock=RealClock(), limit=0.05)
    assert threads[0].daemon
    release.set()
    await until(lambda: not threads[0].is_alive())
