"""The yardstick *alone*, outwards: the client libraries used as well as they can be, no bus, a body that is ready."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

import aiomqtt
import nats
import redis.asyncio as redis
import uvloop

from bench_lib.flow import Sink, settle
from bench_lib.rows import Sample
from bench_lib.wires import BODY

#: Commands of a pipeline, and publishers at the same time.
AT_ONCE: Final = 64
# Messages between two flushes: so far ahead the library's buffer may be.
_FLUSH: Final = 5_000
_PATIENCE: Final = 10.0

#: Sends until the time is up (`time.perf_counter`), returns how many, all acknowledged where the protocol can.
Send = Callable[[int, str, float, Sink], Coroutine[Any, Any, int]]


async def _nats(port: int, topic: str, end: float, sink: Sink) -> int:
    client = await nats.connect(f"nats://127.0.0.1:{port}")
    done = 0
    while time.perf_counter() < end:
        for _ in range(_FLUSH):
            await client.publish(topic, BODY)
        await client.flush()
        sink.seen(0)  # NATS cuts off a subscriber who does not read
        done += _FLUSH
    await client.close()
    return done


async def _redis(port: int, topic: str, end: float, _sink: Sink) -> int:
    done = 0
    async with redis.Redis(port=port) as client:
        while time.perf_counter() < end:
            async with client.pipeline(transaction=False) as pipeline:
                for _ in range(AT_ONCE):
                    pipeline.xadd(topic, {"data": BODY})
                await pipeline.execute()
            done += AT_ONCE
    return done


async def _mqtt(port: int, topic: str, end: float, _sink: Sink) -> int:
    done = 0
    # It warns at each call that ten others are under way, which would be most of the work.
    quiet = logging.getLogger("bench")
    quiet.setLevel(logging.ERROR)
    async with aiomqtt.Client("127.0.0.1", port, logger=quiet, max_inflight_messages=AT_ONCE) as client:

        async def publisher() -> None:
            nonlocal done
            while time.perf_counter() < end:
                await client.publish(topic, BODY, qos=1)
                done += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(publisher())
    return done


SENDERS: Final[dict[str, Send]] = {"nats": _nats, "redis": _redis, "mqtt": _mqtt}


def measure(protocol: str, port: int, topic: str, sink: Sink, seconds: float) -> Sample:
    """Send for so long, on the sidecar's kind of event loop; what the far end has must be what was sent."""
    base = sink.seen(0)
    started = time.perf_counter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        done = runner.run(SENDERS[protocol](port, topic, started + seconds, sink))
    took = time.perf_counter() - started
    until = time.monotonic() + _PATIENCE
    while sink.seen(0.01) - base < done and time.monotonic() < until:
        pass
    final = settle(sink) - base
    problems = () if final == done else (f"{final} of {done} messages are at the far end",)
    return Sample(rate=done / took, done=done, problems=problems)
