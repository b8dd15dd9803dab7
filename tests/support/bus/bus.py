"""A program on the bus that shares no code with the bridge: plain ZeroMQ and MessagePack."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Self

import msgpack
import zmq

from tests.support.wait import PATIENCE, until

CurveKeys = tuple[bytes, bytes, bytes]
"""For CURVE: the own public and secret key, and the server's public one."""


class Peer:
    """One PUB and one SUB, connected to a bus; `with` closes them."""

    def __init__(
        self, publish: str, subscribe: str, *prefixes: str, source: str | None = "app", keys: CurveKeys | None = None
    ) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.pub = self.context.socket(zmq.PUB)
        self.sub = self.context.socket(zmq.SUB)
        for socket in (self.pub, self.sub):
            socket.linger = 0
            socket.sndhwm = socket.rcvhwm = 0  # subscriptions count as sent messages, too
            if keys is not None:
                socket.curve_publickey, socket.curve_secretkey, socket.curve_serverkey = keys
        for prefix in prefixes:
            self.sub.subscribe(prefix)
        self.sub.connect(subscribe)
        self.pub.connect(publish)
        self.source = source
        self.last_id = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pub.close()
        self.sub.close()
        self.context.term()

    def event(self, event_type: str, payload: Any = None, **more: Any) -> bytes:
        """Return the second frame of a valid event."""
        self.last_id += 1
        base = {"id": self.last_id, "event_type": event_type, "payload": payload, "timestamp": 1}
        return msgpack.packb({**base, "source": self.source, "correlation_id": None, **more})

    def send(self, event_type: str, payload: Any = None, **more: Any) -> None:
        """Publish a valid event."""
        self.raw(event_type.encode(), self.event(event_type, payload, **more))

    def raw(self, *frames: bytes) -> None:
        """Publish any frames."""
        self.pub.send_multipart(frames)

    def received(self) -> list[dict[str, Any]]:
        """Return the events that have arrived by now."""
        events = []
        while self.sub.poll(0):
            events.append(msgpack.unpackb(self.sub.recv_multipart()[1]))
        return events

    async def receive(self, event_type: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait for an event of one type; others are skipped."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.sub.poll(0):
                frames = self.sub.recv_multipart()
                if frames[0] == event_type.encode():
                    return msgpack.unpackb(frames[1])
            else:
                await asyncio.sleep(0.002)
        raise AssertionError(f"no {event_type} within {seconds} s")

    async def send_until(self, done: Callable[[], bool], event_type: str = "hello") -> None:
        """Publish until `done()`: a new publisher's first events are lost until the subscription reaches it."""

        def once() -> bool:
            self.send(event_type)
            return done()

        await until(once)
