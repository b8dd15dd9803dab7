"""Sending never blocks, also where nobody reads from the pipe."""

import asyncio
from collections.abc import Iterator

import pytest
import zmq

from bridge.bus import sender as module
from bridge.bus.sender import Sender
from tests.support.clock import FakeClock
from tests.support.wait import until

ENDPOINT = "inproc://stuck-broker"


@pytest.fixture
def broker() -> Iterator[zmq.Socket[bytes]]:
    """An XSUB that subscribes to everything and reads one message at a time."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    xsub = context.socket(zmq.XSUB)
    xsub.set(zmq.RCVHWM, 1)
    xsub.bind(ENDPOINT)
    xsub.send(b"\x01")
    yield xsub
    context.destroy(0)


async def opened(broker: zmq.Socket[bytes], clock: FakeClock) -> Sender:
    """A sender that has seen the broker's subscription."""
    seen: list[tuple[bytes, bool]] = []
    sender = Sender(broker.context, clock, ENDPOINT, lambda *told: seen.append(told))
    sender.open()
    while not seen:
        broker.poll(0)
        await asyncio.sleep(0)
    assert seen == [(b"", True)]
    return sender


async def test_full_pipe_is_retried_in_order(broker: zmq.Socket[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages wait while the pipe is full and are sent in order when there is room; none is lost, no timer is left."""
    monkeypatch.setattr(module, "_SEND_HWM", 10)
    clock = FakeClock()
    sender = await opened(broker, clock)
    assert all(sender.send(b"a", str(number).encode()) for number in range(100))
    assert sender.waiting >= 80
    got: list[int] = []
    while len(got) < 100:
        while broker.poll(0):
            got.append(int(broker.recv_multipart()[1]))
        await clock.advance(0.001)
    assert got == list(range(100))
    assert (sender.waiting, clock.timers) == (0, 0)
    sender.close()


async def test_waiting_is_bounded(broker: zmq.Socket[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound, by number or bytes, a message is refused instead of kept."""
    monkeypatch.setattr(module, "_SEND_HWM", 1)
    monkeypatch.setattr(module, "_MAX_WAITING", 5)
    sender = await opened(broker, FakeClock())
    results = [sender.send(b"a", b"x") for _ in range(20)]
    assert results == sorted(results, reverse=True)
    assert (sender.waiting, results.count(False) > 0) == (5, True)
    monkeypatch.setattr(module, "_MAX_WAITING", 100)
    assert sender.send(b"a", b"x" * module._MAX_WAITING_BYTES) is False
    assert sender.send(b"a", b"x") is True
    sender.close()


async def test_closed_sender_refuses(broker: zmq.Socket[bytes]) -> None:
    """After closing, messages are refused; closing twice is allowed."""
    sender = await opened(broker, FakeClock())
    sender.close()
    sender.close()
    assert sender.send(b"a", b"x") is False


async def test_room_for_what_can_wait_elsewhere(broker: zmq.Socket[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room only while few messages wait; whoever waits for room is woken when there is some."""
    monkeypatch.setattr(module, "_SEND_HWM", 1)
    monkeypatch.setattr(module, "_ROOM", 5)
    clock = FakeClock()
    sender = await opened(broker, clock)
    await asyncio.wait_for(sender.room(), 1)
    while sender.has_room:
        sender.send(b"a", b"x")
        await asyncio.sleep(0)
    waiting = [asyncio.create_task(sender.room()) for _ in range(2)]
    waiting[1].cancel()
    await asyncio.sleep(0)
    assert not waiting[0].done()
    while not waiting[0].done():
        while broker.poll(0):
            broker.recv_multipart()
        await clock.advance(0.001)
    assert sender.has_room
    sender.close()
    assert not sender.has_room


async def test_a_rebuilt_socket_gets_what_waited(broker: zmq.Socket[bytes]) -> None:
    """Messages of the turn of the loop in which the socket died are sent by the new socket."""
    sender = await opened(broker, FakeClock())
    sender.send(b"a", b"x")
    sender._rebuild()
    await until(lambda: broker.poll(0), "the message")
    assert broker.recv_multipart() == [b"a", b"x"]
    sender.close()
