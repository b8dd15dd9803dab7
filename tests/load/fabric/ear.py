"""A program on the bus of one node: it sends events, and hears all that it asked for, from whomever it comes."""

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import msgpack
import zmq

Event = dict[str, Any]
#: Seconds until the bus must carry.
_PATIENCE: Final = 30.0


class Ear:
    """One PUB and one SUB without any code of the bridge; they connect again by themselves when a bus comes back.

    Attributes:
        heard: The events that have come and were not taken yet, in order.
    """

    def __init__(self, publish: str, subscribe: str, prefixes: Sequence[str]) -> None:
        """Nothing is connected yet.

        Args:
            publish: Where publishers connect.
            subscribe: Where subscribers connect.
            prefixes: The types to hear, by their beginnings.
        """
        self._endpoints = (publish, subscribe)
        self._hello = f"program.{uuid.uuid4().hex[:10]}.hello"
        self._greeted = False
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._pub = self._context.socket(zmq.PUB)
        self._sub = self._context.socket(zmq.SUB)
        for one in (self._pub, self._sub):
            one.linger = 0
            one.set(zmq.RECONNECT_IVL, 20)
        self._pub.set(zmq.SNDHWM, 0)
        self._sub.set(zmq.RCVHWM, 0)
        for prefix in (*prefixes, self._hello):
            self._sub.subscribe(prefix)
        self.heard: list[Event] = []

    def __enter__(self) -> Self:
        publish, subscribe = self._endpoints
        self._sub.connect(subscribe)
        self._pub.connect(publish)
        end = time.monotonic() + _PATIENCE
        while not self._greeted:
            if time.monotonic() > end:
                self.__exit__()
                raise AssertionError(f"no bus at {publish}")
            self.emit(self._hello)
            self._sub.poll(20)
            self.pump()
        return self

    def __exit__(self, *_: object) -> None:
        self._pub.close()
        self._sub.close()
        self._context.term()

    def emit(
        self,
        event_type: str,
        payload: Any = None,
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Publish one event from the source `chaos`; it is lost while the bus is gone."""
        body = {
            "id": time.time_ns() & 0x7FFF_FFFF_FFFF,
            "event_type": event_type,
            "payload": payload,
            "timestamp": time.time_ns() // 1_000_000,
            "source": "chaos",
            "correlation_id": correlation_id,
            "headers": dict(headers or {}),
        }
        self._pub.send_multipart([event_type.encode(), msgpack.packb(body)])

    def pump(self) -> None:
        """Read what has come into `heard`."""
        while True:
            try:
                frames = self._sub.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if frames[0] == self._hello.encode():
                self._greeted = True
            elif len(frames) == 2 and frames[1][:1] and frames[1][0] & 0xF0 == 0x80:
                self.heard.append(msgpack.unpackb(frames[1], strict_map_key=False))

    def take(self) -> list[Event]:
        """Return what has come since the last time."""
        self.pump()
        taken, self.heard = self.heard, []
        return taken
