"""The yardstick *naive* as a process: what a user would write in an afternoon.

`zmq.asyncio` SUB → `msgpack.unpackb` → one awaited httpx call a message → `zmq.asyncio` PUB. The bus is hosted as the
sidecar hosts it: by ZeroMQ's own proxy, in a thread of this process.
"""

import asyncio
import sys
import threading
import time

import httpx
import msgpack
import zmq
import zmq.asyncio

from bench_lib.callers import TYPE


def host(publish: str, subscribe: str) -> None:
    """Bind both ends and forward, in a thread."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    xsub, xpub = context.socket(zmq.XSUB), context.socket(zmq.XPUB)
    # Nothing is dropped on the way: the load keeps to what the far end has seen.
    xsub.set(zmq.RCVHWM, 0)
    xpub.set(zmq.SNDHWM, 0)
    xsub.bind(publish)
    xpub.bind(subscribe)
    threading.Thread(target=zmq.proxy, args=(xsub, xpub), daemon=True).start()


async def bridge(publish: str, subscribe: str, url: str) -> None:
    """Answer one request after the other, for ever."""
    context = zmq.asyncio.Context()
    sub, pub = context.socket(zmq.SUB), context.socket(zmq.PUB)
    sub.subscribe(TYPE)
    sub.connect(subscribe)
    pub.connect(publish)
    # `trust_env`: a proxy in the environment would be asked for 127.0.0.1, too.
    async with httpx.AsyncClient(trust_env=False) as client:
        print("ready", flush=True)
        while True:
            _, body = await sub.recv_multipart()
            event = msgpack.unpackb(body)
            call = {"jsonrpc": "2.0", "id": event["id"], **event["payload"]}
            answer = (await client.post(url, json=call)).json()
            response = {
                "id": event["id"],
                "event_type": f"response.{event['event_type']}",
                "payload": {"ok": "result" in answer, "result": answer.get("result")},
                "timestamp": int(time.time() * 1000),
                "source": "naive",
                "correlation_id": event["correlation_id"],
            }
            await pub.send_multipart([response["event_type"].encode(), msgpack.packb(response)])


if __name__ == "__main__":
    host(sys.argv[1], sys.argv[2])
    asyncio.run(bridge(*sys.argv[1:4]))
