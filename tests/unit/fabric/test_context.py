"""How all parts of a fabric call the broker."""

import asyncio
import contextlib

import pytest

from bridge.core.errors import AttemptTimeoutError
from tests.support.clock import FakeClock
from tests.support.fabric.parts import Part


async def test_a_call_that_is_not_answered():
    """It has ten seconds, or the limit of the part; the error names the call, which may have had an effect."""
    clock = FakeClock()
    context = Part(clock, "a").context
    usual = asyncio.create_task(context.call(asyncio.sleep(3600), "reading a key"))
    short = asyncio.create_task(context.call(asyncio.sleep(3600), "writing a key", limit=2.0))
    await clock.advance(9.9)
    assert short.done()
    assert not usual.done()
    await clock.advance(0.2)
    for task, said in (
        (usual, "reading a key: the broker has not answered within 10 s"),
        (short, "writing a key: the broker has not answered within 2 s"),
    ):
        with pytest.raises(AttemptTimeoutError) as caught:
            await task
        assert str(caught.value) == said
        assert caught.value.maybe_sent


async def test_a_call_that_goes_on_after_it_was_cancelled():
    """A client library may lose a cancellation; the part that called goes on all the same."""
    clock = FakeClock()
    answered = asyncio.get_running_loop().create_future()

    async def deaf() -> None:
        while not answered.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(answered)

    call = asyncio.create_task(Part(clock, "a").context.call(deaf(), "reading a key"))
    await clock.advance(10.5)
    with pytest.raises(AttemptTimeoutError):
        await call
    answered.set_result(None)
