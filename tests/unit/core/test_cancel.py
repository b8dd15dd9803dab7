"""Show that cancelled work ends in bounded time, whatever it does with its cancellation."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.core.cancel import PATIENCE, BoundedTasks
from bridge.core.errors import ConnectionLostError, NotConnectedError
from tests.support.clock import FakeClock
from tests.support.stubborn import Stubborn


async def _cancelled(clock: FakeClock, task: asyncio.Task[Any]) -> float:
    """Return the seconds from the cancellation of a task to its end."""
    began = clock.monotonic()
    task.cancel()
    await clock.settle()
    while not task.done():
        await clock.advance(0.01)
    return clock.monotonic() - began


async def _wait_for_3_11() -> str:
    """Swallow a cancellation that comes in the same moment as the result, as `asyncio.wait_for` of Python 3.11 does."""
    result = asyncio.get_running_loop().create_future()
    result.get_loop().call_soon(result.set_result, "connected")
    try:
        await asyncio.wait({result})
    except asyncio.CancelledError:
        if not result.done():
            raise
    await asyncio.sleep(0)
    return "connected"


async def test_a_result_and_an_error_come_through():
    """Without a cancellation, result and error are the same as if the work was awaited directly."""
    tasks = BoundedTasks(clock=FakeClock())

    async def refuse() -> None:
        raise NotConnectedError("refused")

    assert await tasks.run(asyncio.sleep(0, "done"), "connect") == "done"
    with pytest.raises(NotConnectedError, match="refused"):
        await tasks.run(refuse(), "connect")


@pytest.mark.parametrize(
    ("times", "cancellations", "seconds"),
    [(0, 1, 0.0), (1, 2, PATIENCE), (2, 2, 2 * PATIENCE), (math.inf, 2, 2 * PATIENCE)],
)
async def test_who_waits_is_free_in_bounded_time(times: float, cancellations: int, seconds: float):
    """Work is cancelled, cancelled again, then cut; only what is cut is logged, by its name."""
    clock, work = FakeClock(), Stubborn(times)
    caller = asyncio.ensure_future(BoundedTasks(clock=clock, integration="api").run(work(), "connect"))
    await clock.settle()
    with capture_logs() as logs:
        assert await _cancelled(clock, caller) == pytest.approx(seconds, abs=0.011)
    assert caller.cancelled()
    assert work.cancellations == cancellations
    assert [(line["integration"], line["what"]) for line in logs] == [("api", "connect")] * (times >= 2)
    assert not clock.timers
    work.released.set()
    await clock.settle()


async def test_a_cancellation_that_a_library_forgets_is_the_callers_all_the_same():
    """A cancelled caller ends as cancelled, even if its work swallowed the cancellation and has a result."""
    clock = FakeClock()
    caller = asyncio.ensure_future(BoundedTasks(clock=clock).run(_wait_for_3_11(), "connect"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await _cancelled(clock, caller) == 0.0
    assert caller.cancelled()


async def test_a_caller_that_is_cancelled_again_waits_no_longer():
    """A caller that is cancelled twice ends at once; its work is still cancelled twice, and cut."""
    clock, work = FakeClock(), Stubborn(math.inf)
    caller = asyncio.ensure_future(BoundedTasks(clock=clock).run(work(), "connect"))
    await clock.settle()
    caller.cancel()
    await clock.settle()
    assert await _cancelled(clock, caller) == 0.0
    with capture_logs() as logs:
        await clock.advance(1.0)
    assert work.cancellations == 2
    assert [line["what"] for line in logs] == ["connect"]
    work.released.set()
    await clock.settle()


async def test_a_time_limit_holds_over_stubborn_work():
    """A time limit ends as a TimeoutError even if the work resists, at most twice the patience late."""
    clock, work = FakeClock(), Stubborn(math.inf)
    tasks = BoundedTasks(clock=clock)

    async def limited() -> None:
        async with clock.timeout(1.0):
            await tasks.run(work(), "check")

    caller = asyncio.ensure_future(limited())
    await clock.advance(1.0 + 2 * PATIENCE)
    with pytest.raises(TimeoutError):
        await caller
    work.released.set()
    await clock.settle()


async def test_a_library_that_cancels_itself_has_lost_the_connection():
    """A CancelledError that nobody requested becomes an error, and does not end the caller."""
    tasks = BoundedTasks(clock=FakeClock())

    async def cancel_itself() -> None:
        raise asyncio.CancelledError

    with pytest.raises(ConnectionLostError, match="check"):
        await tasks.run(cancel_itself(), "check")


async def test_close_ends_or_cuts_all():
    """`close` ends or cuts all work at the same time; afterwards nothing can start."""
    clock, works = FakeClock(), [Stubborn(times) for times in (0, 1, math.inf)]
    tasks = BoundedTasks(clock=clock)
    started = [tasks.start(work(), f"call {number}") for number, work in enumerate(works)]
    await clock.settle()
    with capture_logs() as logs:
        closing = asyncio.ensure_future(tasks.close())
        await clock.advance(2 * PATIENCE)
        assert closing.done()
    assert [task is not None and task.done() for task in started] == [True, True, False]
    assert [line["what"] for line in logs] == ["call 2"]
    assert tasks.start(works[0](), "late") is None
    works[2].released.set()
    await clock.settle()


async def test_close_leaves_time_to_end_in_order():
    """Work that ends by itself within the grace is not cancelled by `close`."""
    clock = FakeClock()
    tasks = BoundedTasks(clock=clock)
    soon, late = tasks.start(clock.sleep(0.5), "soon"), tasks.start(clock.sleep(2.0), "late")
    await clock.settle()
    closing = asyncio.ensure_future(tasks.close(grace=1.0))
    await clock.advance(1.0)
    assert closing.done()
    assert soon is not None
    assert late is not None
    assert (soon.cancelled(), late.cancelled()) == (False, True)


def _fail_at_once() -> Coroutine[Any, Any, None]:
    async def fail() -> None:
        raise ZeroDivisionError

    return fail()


def _fail_when_cancelled() -> Coroutine[Any, Any, None]:
    async def fail() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ZeroDivisionError from None

    return fail()


@pytest.mark.parametrize(("work", "bugs"), [(_fail_at_once, 1), (_fail_when_cancelled, 0)])
async def test_a_bug_is_told(work: Callable[[], Coroutine[Any, Any, None]], bugs: int):
    """A bug in a task that nobody awaits is reported; one that comes at the end is logged."""
    clock, told = FakeClock(), []
    tasks = BoundedTasks(clock=clock, on_bug=told.append)
    tasks.start(work(), "call")
    await clock.settle()
    with capture_logs() as logs:
        await tasks.close()
    assert [type(bug) for bug in told] == [ZeroDivisionError] * bugs
    assert [line["what"] for line in logs] == ["call"] * (1 - bugs)
