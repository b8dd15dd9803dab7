"""An independent program on the bus: plain ZeroMQ and MessagePack and nothing of the bridge.

It is what another language's author would write from the bus contract alone. Events are sent in both shapes, turn by
turn; every event of the bridge that arrives is held against the published schemas.
"""

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Self

import msgpack
import zmq

from tests.support.bus.schemas import validate_event
from tests.support.wait import PATIENCE

Event = dict[str, Any]
Shape = Literal["map", "array"]
KEYS = ("id", "event_type", "payload", "timestamp", "source", "correlation_id")


class Program:
    """One PUB and one SUB; `with` waits until the bus carries both ways, and closes them at its end.

    Attributes:
        log: Every event that has arrived from others, in order.
        source: What stands in `source` of what it emits.
        takes_bin: Whether the bridge may send MessagePack's `bin`.
        clocks_differ: How far the bridge's wall clock may be from ours, in milliseconds.
    """

    def __init__(
        self,
        publish: str,
        subscribe: str,
        prefixes: Sequence[str] = ("",),
        *,
        source: str | None = None,
        validate_every: int = 1,
    ) -> None:
        """Nothing is connected yet.

        Args:
            publish: Where publishers connect.
            subscribe: Where subscribers connect.
            prefixes: What to receive; everything by default.
            source: A fresh name by default.
            validate_every: Hold every n-th event against its schema; more than 1 where time is measured.
        """
        self._name = uuid.uuid4().hex[:10]
        self.source = source or f"program-{self._name}"
        self._hello = f"program.{self._name}.hello"
        self._endpoints = (publish, subscribe)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.pub = self._context.socket(zmq.PUB)
        self.sub = self._context.socket(zmq.SUB)
        for socket in (self.pub, self.sub):
            socket.linger = 0
        self.pub.set(zmq.SNDHWM, 0)
        self.sub.set(zmq.RCVHWM, 0)
        for prefix in (*prefixes, self._hello):
            self.sub.subscribe(prefix)
        self._ids = itertools.count(1)
        self._shapes: Iterator[Shape] = itertools.cycle(("map", "array"))
        self._greeted = False
        self._validate_every = validate_every
        self.log: list[Event] = []
        self.takes_bin = False
        self.clocks_differ = 60_000

    def __enter__(self) -> Self:
        publish, subscribe = self._endpoints
        self.sub.connect(subscribe)
        self.pub.connect(publish)
        end = time.monotonic() + 15
        while not self._greeted:
            if time.monotonic() > end:
                self.__exit__()
                raise AssertionError(f"no bus at {publish}")
            self.emit(self._hello)
            self.sub.poll(20)
            self.pump()
        return self

    def __exit__(self, *_: object) -> None:
        self.pub.close()
        self.sub.close()
        self._context.term()

    # --- sending

    def emit(
        self,
        event_type: str,
        payload: Any = None,
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        shape: Shape | None = None,
        source: str | None = None,
    ) -> int:
        """Publish one event, in the shape asked for, else in turn; headers need the map. Returns its id."""
        number = next(self._ids)
        values = (number, event_type, payload, time.time_ns() // 1_000_000, source or self.source, correlation_id)
        chosen = "map" if headers is not None else shape or next(self._shapes)
        body: Any = values
        if chosen == "map":
            body = dict(zip(KEYS, values, strict=True))
            if headers is not None:
                body["headers"] = dict(headers)
        self.raw(event_type.encode(), msgpack.packb(body))
        return number

    def raw(self, *frames: bytes) -> None:
        """Publish any frames."""
        self.pub.send_multipart(frames)

    # --- reading

    def pump(self) -> int:
        """Read what has arrived; return how many events."""
        count = 0
        while True:
            try:
                frames = self.sub.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return count
            if frames[0] == self._hello.encode():
                self._greeted = True
            elif not frames[0].startswith((b"program.", b"client.")):
                self._take(frames)
                count += 1

    def _take(self, frames: list[bytes]) -> None:
        if not frames[-1][:1] or frames[-1][0] & 0xF0 != 0x80:
            return  # an array, or garbage that a test sends: another program's, not the bridge's
        try:
            event = msgpack.unpackb(frames[1], strict_map_key=False)
        except Exception:
            return
        if not str(event.get("source", "")).startswith("bridge"):
            return
        self._check(frames, event)
        self.log.append(event)

    def _check(self, frames: list[bytes], event: Event) -> None:
        """Check an event of the bridge against the contract."""
        assert len(frames) == 2, frames
        assert frames[0].decode() == event["event_type"]
        assert event.keys() == {*KEYS, "headers"}, event
        assert abs(event["timestamp"] - time.time() * 1000) < self.clocks_differ
        assert 1 <= int(event["headers"]["hop"]) <= 9
        if len(self.log) % self._validate_every == 0:
            if not self.takes_bin:
                json.dumps(event, allow_nan=False)
            validate_event(event)

    def mark(self) -> int:
        """Return the position in the log after which new events will be."""
        self.pump()
        return len(self.log)

    def seen(self, event_type: str | None = None, since: int = 0, *, prefix: str = "") -> list[Event]:
        """Return the events of one type, or prefix, that have arrived by now."""
        self.pump()
        return [
            event
            for event in self.log[since:]
            if (event_type is None or event["event_type"] == event_type) and event["event_type"].startswith(prefix)
        ]

    async def wait(
        self,
        event_type: str,
        matches: Callable[[Event], object] | None = None,
        *,
        since: int = 0,
        seconds: float = PATIENCE,
    ) -> Event:
        """Wait for the first event of a type, from `since` on, for which `matches` is true; return it."""
        end = time.monotonic() + seconds
        position = since
        while True:
            self.pump()
            while position < len(self.log):
                event = self.log[position]
                position += 1
                if event["event_type"] == event_type and (matches is None or matches(event)):
                    return event
            if time.monotonic() > end:
                tail = [(one["event_type"], one["payload"]) for one in self.log[since:]][-12:]
                raise AssertionError(f"no fitting {event_type} within {seconds:g} s; the last events: {tail}")
            await asyncio.sleep(0.002)

    async def response(self, correlation_id: str, *, since: int = 0, seconds: float = PATIENCE) -> Event:
        """Return the response with this correlation id."""
        end = time.monotonic() + seconds
        position = since
        while True:
            self.pump()
            while position < len(self.log):
                event = self.log[position]
                position += 1
                if event["correlation_id"] == correlation_id and event["event_type"].startswith("response."):
                    return event
            assert time.monotonic() < end, f"no response within {seconds:g} s"
            await asyncio.sleep(0.002)

    async def ask(
        self,
        event_type: str,
        payload: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        shape: Shape | None = None,
        seconds: float = PATIENCE,
    ) -> Any:
        """Emit with a fresh correlation id; the payload of its response."""
        since, correlation_id = self.mark(), str(uuid.uuid4())
        self.emit(event_type, payload, correlation_id, headers, shape=shape)
        event = await self.response(correlation_id, since=since, seconds=seconds)
        assert event["event_type"] == f"response.{event_type}"
        return event["payload"]

    async def request(self, integration: str, method: str, params: Any = None, **more: Any) -> Any:
        """Send a command `integration.<id>.request`; return the payload of its response."""
        headers = more.pop("headers", None)
        payload = {"method": method, **({} if params is None else {"params": params}), **more}
        return await self.ask(f"integration.{integration}.request", payload, headers)
