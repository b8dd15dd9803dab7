"""The demo's recorder finds, waits for and shows events."""

import asyncio
from contextlib import asynccontextmanager

import msgspec
import pytest

from bridge.cli.demo_processes import StepFailedError
from bridge.cli.demo_recorder import EventRecorder
from bridge.client import Listener
from bridge.core.model import Event
from tests.support.wait import until


def event(number):
    """An event that differs from others by its id."""
    raw = msgspec.Raw(msgspec.msgpack.encode(None))
    return Event(id=number, event_type="x", raw=raw, timestamp=0, source=None, correlation_id=None)


@asynccontextmanager
async def watching():
    """A recorder that runs, its queue, and the ids that it has shown."""
    queue = Listener(100)
    shown: list[int] = []
    recorder = EventRecorder(queue, lambda one: shown.append(one.id))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(recorder.run())
        yield recorder, queue, shown
        task.cancel()


async def test_finds_what_came_before_and_what_comes_later():
    """The order of asking and arriving does not matter."""
    async with watching() as (recorder, queue, _):
        queue.put(event(1))
        assert (await recorder.expect("1", lambda one: one.id == 1)).event.id == 1
        later = asyncio.create_task(recorder.expect("2", lambda one: one.id == 2))
        await asyncio.sleep(0)
        queue.put(event(2))
        assert (await later).event.id == 2


async def test_does_not_take_an_event_from_before_its_mark():
    """An event of an earlier step does not count for a later one; the message tells what was expected."""
    async with watching() as (recorder, queue, _):
        queue.put(event(1))
        await recorder.expect("1", lambda one: one.id == 1)
        with pytest.raises(StepFailedError, match=r"another 1, within 0\.01 s"):
            await recorder.expect("another 1", lambda one: one.id == 1, seconds=0.01, after=len(recorder.seen))


async def test_shows_each_event_once_and_in_order():
    """By itself after some quiet, or at once when asked to."""
    async with watching() as (recorder, queue, shown):
        for number in (1, 2, 3):
            queue.put(event(number))
        await recorder.expect("3", lambda one: one.id == 3)
        recorder.flush()
        recorder.flush()
        assert shown == [1, 2, 3]
        queue.put(event(4))
        await until(lambda: shown == [1, 2, 3, 4])
