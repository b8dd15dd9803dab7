"""The yardstick *alone*, inwards, as a process: the client library's fastest way to receive, no bus; it only counts.

Arguments: protocol, port, topic, file of the `flow.Cell` that holds the count.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any, Final

import aiomqtt
import nats
import redis.asyncio as redis
import uvloop
from nats.aio.msg import Msg

from bench_lib.flow import Cell

_GROUP: Final = "alone"


async def _nats(port: int, topic: str, cell: Cell) -> None:
    count = 0

    async def arrived(_: Msg) -> None:
        nonlocal count
        count += 1
        cell.set(count)

    client = await nats.connect(f"nats://127.0.0.1:{port}")
    await client.subscribe(topic, cb=arrived)
    await client.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


async def _redis(port: int, topic: str, cell: Cell) -> None:
    client: Any = redis.Redis(port=port)
    await client.xgroup_create(topic, _GROUP, mkstream=True)
    print("ready", flush=True)
    count = 0
    while True:
        for _, entries in await client.xreadgroup(_GROUP, "one", {topic: ">"}, count=100, block=1000):
            await client.xack(topic, _GROUP, *(entry for entry, _ in entries))
            count += len(entries)
            cell.set(count)


async def _mqtt(port: int, topic: str, cell: Cell) -> None:
    count = 0

    class Counting(asyncio.Queue[aiomqtt.Message]):
        def put_nowait(self, _: aiomqtt.Message) -> None:
            nonlocal count
            count += 1
            cell.set(count)

    async with aiomqtt.Client("127.0.0.1", port, queue_type=Counting) as client:
        await client.subscribe(topic, qos=1)
        print("ready", flush=True)
        await asyncio.Event().wait()


def main(protocol: str, port: str, topic: str, file: str) -> None:
    """Receive until killed."""
    ways = {"nats": _nats, "redis": _redis, "mqtt": _mqtt}
    with Cell(Path(file)) as cell, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ways[protocol](int(port), topic, cell))


if __name__ == "__main__":
    main(*sys.argv[1:5])
