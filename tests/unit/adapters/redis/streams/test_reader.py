"""How long a stream's reader lets the application keep an entry, on the bridge's clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bridge.adapters._common.content import Codec
from bridge.adapters.redis.streams.reader import StreamReader
from bridge.core.errors import ConnectionLostError
from bridge.core.model import Inbound
from bridge.core.ports import AckDecision
from bridge.core.settings import Hold
from tests.support.clock import FakeClock

CLAIM_EVERY = 10.0


class Stream:
    """A stream with its connection: reads block on the fake clock, and all that the server is told is kept."""

    queue, group, name = "jobs", "nemo", "me"
    waiting_since = None

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.new: list[str] = []
        self.given_back: list[str] = []
        self.kept: list[tuple[str, ...]] = []

    def read(self, _connection: Any, after: str, count: int, *, block: float | None = None) -> asyncio.Future[Any]:
        """See `Consumer.read`."""
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if after == ">" and self.new:
            entries, self.new = self.new[:count], self.new[count:]
            reply.set_result([(b"jobs", [(entry.encode(), [b"data", b"1"]) for entry in entries])])
        elif block is None:
            reply.set_result(None)
        else:
            self._clock.call_later(block, lambda: None if reply.done() else reply.set_result(None))
        return reply

    async def claim(self, _connection: Any, _cursor: str, _count: int) -> tuple[str, list[Any]]:
        """See `Consumer.claim`; nobody has left anything."""
        return "0-0", []

    def make_overdue(self, _connection: Any, entry: str, _delay: float) -> asyncio.Future[Any]:
        """See `Consumer.make_overdue`."""
        self.given_back.append(entry)
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        reply.set_result([])
        return reply

    def send_and_forget(self, *command: str | int) -> None:
        """See `Connection.send_and_forget`."""
        if command[0] == "XCLAIM":
            self.kept.append(tuple(str(one) for one in command[5:-3]))


@asynccontextmanager
async def reading(clock: FakeClock, **hold: Any) -> AsyncIterator[tuple[Stream, StreamReader, list[Inbound]]]:
    """A reader whose application keeps all that it gets."""
    stream, got = Stream(clock), []

    def deliver(inbound: Inbound) -> AckDecision:
        got.append(inbound)
        return AckDecision.HOLD

    reader = StreamReader(
        stream,  # type: ignore[arg-type]
        stream,  # type: ignore[arg-type]
        Codec(),
        deliver,
        message_id=lambda entry: entry,
        claim_every=CLAIM_EVERY,
        clock=clock,
        hold=Hold(**hold),
    )
    task = asyncio.create_task(reader.run())
    await clock.settle()
    try:
        yield stream, reader, got
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_given_back_when_its_time_is_over():
    """Each entry when its own time has passed on the clock, and not before; meanwhile the server hears of it."""
    clock = FakeClock()
    async with reading(clock, visibility=30.0) as (stream, _, got):
        stream.new = ["1-0"]
        await clock.advance(5.0)
        stream.new = ["2-0"]
        await clock.advance(24.0)
        assert [inbound.message_id for inbound in got] == ["1-0", "2-0"]
        assert stream.given_back == []
        assert ("1-0", "2-0") in stream.kept
        await clock.advance(2.0)
        assert stream.given_back == ["1-0"]
        await clock.advance(5.0)
        assert stream.given_back == ["1-0", "2-0"]


async def test_no_room():
    """While as many are unanswered as may be, nothing is read; the time of the oldest goes on, and makes room."""
    clock = FakeClock()
    async with reading(clock, visibility=30.0, limit=1) as (stream, reader, got):
        stream.new = ["1-0", "2-0", "3-0"]
        await clock.advance(25.0)
        assert [inbound.message_id for inbound in got] == ["1-0"]
        await clock.advance(6.0)
        assert stream.given_back == ["1-0"]
        assert [inbound.message_id for inbound in got] == ["1-0", "2-0"]
        reader.settled(stream, "2-0")  # type: ignore[arg-type]
        await clock.advance(1.0)
        assert [inbound.message_id for inbound in got] == ["1-0", "2-0", "3-0"]


async def test_an_overdue_read():
    """A blocking read without an answer for far too long, on the clock, fails the check."""
    clock = FakeClock()
    async with reading(clock) as (stream, reader, _):
        stream.waiting_since = clock.monotonic()
        reader.check()
        await clock.advance(5.9)
        reader.check()
        await clock.advance(0.2)
        with pytest.raises(ConnectionLostError):
            reader.check()
