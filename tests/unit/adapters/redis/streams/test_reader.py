"""How long a stream's reader lets the application keep an entry, on the bridge's clock."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from bridge.adapters._common.content import Codec
from bridge.adapters.redis.streams.groups import Consumer
from bridge.adapters.redis.streams.reader import MOST_UNCONFIRMED, StreamReader
from bridge.core.model import Inbound
from bridge.core.ports import AckDecision, Deliver
from bridge.core.settings import DEFAULT_PREFETCH, Hold
from tests.support.adapters.on_bus import HeldBack
from tests.support.clock import FakeClock

CLAIM_EVERY = 10.0


class Stream(Consumer):
    """A stream with its connection: reads block on the fake clock, and all that the server is told is kept."""

    waiting_since = None

    def __init__(self, clock: FakeClock) -> None:
        super().__init__("jobs", "nemo", "me", claim_after=20.0, max_deliveries=None)
        self._clock = clock
        self.new: list[str] = []
        self.given_back: list[str] = []
        self.kept: list[tuple[str, ...]] = []
        self.deliveries_set: dict[str, int] = {}
        self.acknowledgements: list[list[str]] = []

    @property
    def acknowledged(self) -> list[str]:
        """All entries that were acknowledged."""
        return [entry for entries in self.acknowledgements for entry in entries]

    def acknowledge(self, *command: str) -> asyncio.Future[Any]:
        """Take XACK."""
        self.acknowledgements.append([*command[3:]])
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        reply.set_result(len(command) - 3)
        return reply

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

    def send_and_forget(self, *command: str | bytes | int) -> None:
        """See `Connection.send_and_forget`."""
        words = [str(one) for one in command]
        entries, idle = words[5 : words.index("IDLE")], words[words.index("IDLE") + 1]
        if "RETRYCOUNT" in words:
            count = int(words[words.index("RETRYCOUNT") + 1])
            self.deliveries_set.update(dict.fromkeys(entries, count))
        elif idle == "0":
            self.kept.append(tuple(entries))
        else:
            self.given_back += entries


@asynccontextmanager
async def reading(
    clock: FakeClock,
    deliver: Deliver | None = None,
    *,
    prefetch: int = DEFAULT_PREFETCH,
    when_on_bus: Callable[[Callable[[], None]], None] = lambda then: then(),
    **hold: Any,
) -> AsyncIterator[tuple[Stream, StreamReader, list[Inbound]]]:
    """A reader whose application keeps all that it gets, unless `deliver` says otherwise."""
    stream, got = Stream(clock), []

    def keep(inbound: Inbound) -> AckDecision:
        got.append(inbound)
        return AckDecision.HOLD

    reader = StreamReader(
        stream,  # type: ignore[arg-type]
        stream,
        Codec(),
        deliver or keep,
        when_on_bus=when_on_bus,
        acknowledge=stream.acknowledge,
        message_id=lambda entry: entry,
        claim_every=CLAIM_EVERY,
        clock=clock,
        on_dropped=lambda *_: None,
        hold=Hold(**hold) if hold else None,
        prefetch=prefetch,
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
        reader.settled(stream, "2-0")
        await clock.advance(1.0)
        assert [inbound.message_id for inbound in got] == ["1-0", "2-0", "3-0"]


async def test_nobody_listens_for_hours() -> None:
    """What waits stays pending, is kept from others and not counted; what was delivered before is acknowledged."""
    clock = FakeClock()
    listening = asyncio.Event()
    got: list[str | None] = []

    async def deliver(inbound: Inbound) -> AckDecision:
        if inbound.message_id != "1-0":
            await listening.wait()
        got.append(inbound.message_id)
        return AckDecision.ACK

    async with reading(clock, deliver) as (stream, _, _):
        stream.new = ["1-0", "2-0", "3-0"]
        await clock.advance(2.5)
        assert stream.acknowledged == ["1-0"]
        assert stream.deliveries_set == {"2-0": 0, "3-0": 0}
        for _ in range(12):
            stream.deliveries_set.clear()
            await clock.advance(1_000.0)
            assert stream.deliveries_set == {"2-0": 0, "3-0": 0}
        assert got == ["1-0"]
        listening.set()
        await clock.advance(1.0)
        assert got == stream.acknowledged == ["1-0", "2-0", "3-0"]
        timers = clock.timers
        await clock.advance(100.0)
        assert clock.timers == timers


async def test_counted_again_once_the_application_has_it() -> None:
    """An entry that waited for a listener and is then held by it has its delivery counted, as if it had not waited."""
    clock = FakeClock()
    listening = asyncio.Event()

    async def deliver(_: Inbound) -> AckDecision:
        await listening.wait()
        return AckDecision.HOLD

    async with reading(clock, deliver, visibility=30.0) as (stream, reader, _):
        stream.new = ["1-0"]
        await clock.advance(2.5)
        assert stream.deliveries_set == {"1-0": 0}
        listening.set()
        await clock.advance(1.0)
        assert stream.deliveries_set == {"1-0": 1}
        reader.settled(stream, "1-0")


async def test_no_more_is_in_hand_than_prefetch():
    """With `ack = "bus"`, too: so many entries are read, and more only when all of them are on the bus."""
    clock, listens, got = FakeClock(), asyncio.Event(), []

    async def deliver_when_somebody_listens(inbound: Inbound) -> AckDecision:
        got.append(inbound.message_id)
        await listens.wait()
        return AckDecision.ACK

    async with reading(clock, deliver_when_somebody_listens, prefetch=2) as (stream, _, _):
        stream.new = ["1-0", "2-0", "3-0"]
        await clock.advance(2.0)
        assert (got, stream.new) == (["1-0"], ["3-0"])
        listens.set()
        await clock.advance(2.0)
        assert got == stream.acknowledged == ["1-0", "2-0", "3-0"]


async def test_what_is_not_on_the_bus_yet_is_not_acknowledged():
    """Reading goes on meanwhile, and all that get on the bus together are acknowledged together."""
    clock, bus = FakeClock(), HeldBack()
    async with reading(clock, lambda _: AckDecision.ACK, prefetch=2, when_on_bus=bus.when_on_bus) as (stream, _, _):
        stream.new = [f"{number}-0" for number in range(1, 6)]
        await clock.advance(2.0)
        assert (stream.new, stream.acknowledgements) == ([], [])
        bus.confirm()
        await clock.advance(2.0)
        assert stream.acknowledgements == [["1-0", "2-0", "3-0", "4-0", "5-0"]]


async def test_a_bus_that_is_gone():
    """What was given to it is kept from other consumers, and no more is read than some thousand entries."""
    clock, bus = FakeClock(), HeldBack()
    async with reading(clock, lambda _: AckDecision.ACK, when_on_bus=bus.when_on_bus) as (stream, reader, _):
        stream.new = [f"{number}-0" for number in range(1, MOST_UNCONFIRMED + 101)]
        await clock.advance(2.0)
        assert len(stream.new) == 100
        for _ in range(3):
            stream.kept.clear()
            await clock.advance(CLAIM_EVERY + 2.0)
            assert len(stream.kept[0]) == MOST_UNCONFIRMED
        assert stream.acknowledgements == []
        assert reader.is_unconfirmed
        bus.confirm()
        await clock.advance(2.0)
        bus.confirm()
        await clock.advance(2.0)
        assert len(stream.acknowledged) == MOST_UNCONFIRMED + 100
        assert not reader.is_unconfirmed
        stream.kept.clear()
        await clock.advance(2 * CLAIM_EVERY)
        assert stream.kept == []
