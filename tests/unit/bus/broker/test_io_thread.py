"""What libzmq's I/O thread was asked before is done when it tells."""

import asyncio
from collections.abc import Iterator

import pytest
import zmq

from bridge.bus.broker import io_thread as module
from bridge.bus.broker.io_thread import IoThread
from tests.support.wait import until


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    """A context that is ended at once."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    context.destroy(0)


async def test_it_is_not_done_before_the_thread_had_its_turn(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    """It calls later, in order, and each function once."""
    thread = IoThread(context)
    thread.open()
    called: list[int] = []
    thread.when_done(lambda: called.append(-1))
    assert called == [-1], "nothing is known of the thread yet, so nothing is waited for"
    await until(lambda: thread._works)
    for number in range(100):
        thread.when_done(lambda number=number: called.append(number))
    assert called == [-1]
    await until(lambda: len(called) == 101)
    assert called == [*range(-1, 100)]
    thread.close()


async def test_what_was_sent_before_is_written(context: zmq.Context[zmq.Socket[bytes]], tmp_path) -> None:
    """A subscriber has the message in its connection when it is told, though it has not read it yet."""
    publisher, other = context.socket(zmq.XPUB), zmq.Context()
    subscriber = other.socket(zmq.SUB)
    subscriber.subscribe(b"")
    publisher.bind(f"ipc://{tmp_path}/s")
    subscriber.connect(f"ipc://{tmp_path}/s")
    thread = IoThread(context)
    thread.open()
    assert publisher.poll(5000)
    await until(lambda: thread._works)
    done = asyncio.Event()
    for number in range(20):
        publisher.send(b"%d" % number)
    thread.when_done(done.set)
    async with asyncio.timeout(5):
        await done.wait()
    thread.close()
    context.destroy(0)  # nothing more is written
    assert [subscriber.recv() for _ in range(20) if subscriber.poll(1000)] == [b"%d" % number for number in range(20)]
    other.destroy(0)


async def test_closed(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    """What waits is not called any more, and all is free."""
    thread = IoThread(context)
    thread.open()
    await until(lambda: thread._works)
    called: list[int] = []
    thread.when_done(lambda: called.append(1))
    thread.close()
    thread.close()
    await asyncio.sleep(0.05)
    assert called == []
    await asyncio.to_thread(context.term)


async def test_another_system(context: zmq.Context[zmq.Socket[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it cannot be told, nothing is waited for."""
    monkeypatch.setattr(module.sys, "platform", "darwin")
    thread = IoThread(context)
    thread.open()
    called: list[int] = []
    thread.when_done(lambda: called.append(1))
    assert called == [1]
    thread.close()
