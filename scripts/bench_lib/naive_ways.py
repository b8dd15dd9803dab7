"""The yardstick *naive* of the other ways, as a process: one message after the other, each awaited.

`zmq.asyncio` → `msgpack` and `json` → the client library, or the other way round. Arguments: the two
endpoints of the bus, way, port, topic; from NATS to Redis there is no bus, and two ports with a comma between them.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import aiomqtt
import msgpack
import nats
import redis.asyncio as redis
import zmq
import zmq.asyncio

from bench_lib.naive_rpc import host
from bench_lib.stream import TYPE

_GROUP: Final = "naive"


async def _events(subscribe: str) -> AsyncIterator[Any]:
    with zmq.asyncio.Context.instance().socket(zmq.SUB) as sub:
        sub.set(zmq.RCVHWM, 0)
        sub.subscribe(TYPE)
        sub.connect(subscribe)
        print("ready", flush=True)
        while True:
            _, body = await sub.recv_multipart()
            yield msgpack.unpackb(body)


class _Out:
    def __init__(self, publish: str) -> None:
        self._pub = zmq.asyncio.Context.instance().socket(zmq.PUB)
        # Nothing is dropped on the way: the load keeps to what the far end has seen.
        self._pub.set(zmq.SNDHWM, 0)
        self._pub.connect(publish)
        self._last = 0

    async def emit(self, topic: str, data: bytes) -> None:
        self._last += 1
        event: dict[str, Any] = {
            "id": self._last,
            "event_type": f"data.{topic}",
            "payload": {"topic": topic, "message": json.loads(data), "headers": {}},
            "timestamp": int(time.time() * 1000),
            "source": "naive",
            "correlation_id": None,
        }
        await self._pub.send_multipart([event["event_type"].encode(), msgpack.packb(event)])


async def nats_out(subscribe: str, port: int, topic: str) -> None:
    client = await nats.connect(f"nats://127.0.0.1:{port}")
    async for event in _events(subscribe):
        await client.publish(topic, json.dumps(event["payload"]).encode())


async def redis_out(subscribe: str, port: int, topic: str) -> None:
    client: Any = redis.Redis(port=port)
    async for event in _events(subscribe):
        await client.xadd(topic, {"data": json.dumps(event["payload"])})


async def mqtt_out(subscribe: str, port: int, topic: str) -> None:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        async for event in _events(subscribe):
            await client.publish(topic, json.dumps(event["payload"]), qos=1)


async def nats_in(publish: str, port: int, topic: str) -> None:
    out = _Out(publish)
    client = await nats.connect(f"nats://127.0.0.1:{port}")
    subscription = await client.subscribe(topic)
    print("ready", flush=True)
    async for message in subscription.messages:
        await out.emit(topic, message.data)


async def redis_in(publish: str, port: int, topic: str) -> None:
    out = _Out(publish)
    client: Any = redis.Redis(port=port)
    await client.xgroup_create(topic, _GROUP, mkstream=True)
    print("ready", flush=True)
    while True:
        for _, entries in await client.xreadgroup(_GROUP, "one", {topic: ">"}, count=100, block=1000):
            for entry, fields in entries:
                await out.emit(topic, fields[b"data"])
                await client.xack(topic, _GROUP, entry)


async def mqtt_in(publish: str, port: int, topic: str) -> None:
    out = _Out(publish)
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe(topic, qos=1)
        print("ready", flush=True)
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            await out.emit(topic, message.payload)


async def nats_redis(nats_port: int, redis_port: int, topic: str) -> None:
    client = await nats.connect(f"nats://127.0.0.1:{nats_port}")
    to: Any = redis.Redis(port=redis_port)
    subscription = await client.subscribe(topic)
    print("ready", flush=True)
    async for message in subscription.messages:
        await to.xadd(topic, {"data": json.dumps(json.loads(message.data))})


def main(publish: str, subscribe: str, way: str, port: str, topic: str) -> None:
    """Serve until killed."""
    if way == "nats-redis":
        nats_port, redis_port = port.split(",")
        asyncio.run(nats_redis(int(nats_port), int(redis_port), topic))
        return
    host(publish, subscribe)
    outbound = {"nats-out": nats_out, "redis-out": redis_out, "mqtt-out": mqtt_out}
    inbound = {"nats-in": nats_in, "redis-in": redis_in, "mqtt-in": mqtt_in}
    if way in outbound:
        asyncio.run(outbound[way](subscribe, int(port), topic))
    else:
        asyncio.run(inbound[way](publish, int(port), topic))


if __name__ == "__main__":
    main(*sys.argv[1:6])
