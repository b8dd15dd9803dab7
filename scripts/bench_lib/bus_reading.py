"""Reading the bus: `bridge.bus.Bus` (decoded, checked, handed on) against a `zmq.asyncio` loop on the same stream."""

import asyncio
import subprocess
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgpack
import uvloop
import zmq
import zmq.asyncio

from bench_lib import processes
from bench_lib.processes import Place
from bench_lib.rows import Plan, Row, Sample
from bridge.bus import Bus
from bridge.core.clock import RealClock
from bridge.core.model import Event

#: Events for each second of the plan; a whole number of the stream's thousands.
_EVENTS: Final = 40_000
_PATIENCE: Final = 30.0


def measure(plan: Plan) -> list[Row]:
    """The one row."""
    row = Row("bus-reading", "reading the bus, events")
    count = max(int(plan.seconds * _EVENTS) // 1000, 1) * 1000
    with processes.folder() as directory:
        place = processes.place_in(directory, "stream")
        with processes.module("stream", place.publish, place.subscribe) as stream:
            for number in range(plan.rounds):
                for name, read, loop in (
                    ("naive", _naive, asyncio.new_event_loop),
                    ("sidecar", _bus, uvloop.new_event_loop),
                ):
                    plan.say(f"round {number + 1} of {plan.rounds}: {row.title}, {name}")
                    with asyncio.Runner(loop_factory=loop) as runner:
                        row.add(name, runner.run(_sample(read, place, stream, count)))
    return [row]


Reader = Callable[[Place, int, Callable[[], None]], Coroutine[Any, Any, tuple[int, float]]]


async def _sample(read: Reader, place: Place, stream: subprocess.Popen[str], count: int) -> Sample:
    """Read `count` events; the time runs from the first to the last."""
    assert stream.stdin is not None
    assert stream.stdout is not None
    pipe = stream.stdin

    def go() -> None:
        pipe.write(f"{count}\n")
        pipe.flush()

    got, seconds = await read(place, count, go)
    if got < count:
        return Sample(rate=0.0, done=got, problems=(f"{count - got} of {count} events did not arrive",))
    sending = float(stream.stdout.readline())
    notes = ("the sender was the limit, not the reader",) if sending > 0.95 * seconds else ()
    return Sample(rate=got / seconds if seconds else 0.0, done=got, notes=notes)


async def _naive(place: Place, count: int, go: Callable[[], None]) -> tuple[int, float]:
    with zmq.asyncio.Context() as context, context.socket(zmq.SUB) as sub:
        sub.subscribe("")
        sub.connect(place.subscribe)
        go()
        got, started = 0, 0.0
        try:
            async with asyncio.timeout(_PATIENCE):
                while got < count:
                    _, body = await sub.recv_multipart()
                    if not got:
                        started = time.perf_counter()
                    msgpack.unpackb(body)
                    got += 1
        except TimeoutError:
            pass
        return got, time.perf_counter() - started


async def _bus(place: Place, count: int, go: Callable[[], None]) -> tuple[int, float]:
    got, started, ended = 0, 0.0, 0.0
    done = asyncio.Event()

    def on_event(_: Event) -> None:
        nonlocal got, started, ended
        if not got:
            started = time.perf_counter()
        got += 1
        if got == count:
            ended = time.perf_counter()
            done.set()

    bus = Bus(
        mode="connect",
        publish=place.publish,
        subscribe=place.subscribe,
        max_message=1 << 20,
        source="bench",
        clock=RealClock(),
        on_event=on_event,
    )
    await bus.start()
    try:
        go()
        async with asyncio.timeout(_PATIENCE):
            await done.wait()
    except TimeoutError:
        ended = time.perf_counter()
    finally:
        await bus.stop()
    return got, ended - started
