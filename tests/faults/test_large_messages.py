"""Large messages come faster than the sidecar can handle them, on a bus that it hosts and on one that it joins."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import msgpack
import pytest
import zmq

from tests.support.sidecar.sidecar import Sidecar, short_directory

#: What may wait, and what comes while one message is handled on a busy machine; without a bound it is over a gigabyte.
_GROWTH = 500_000_000
#: Large messages after the first of which it is known that it was not handled; each is 1 MB of numbers, which come
#: faster than they are decoded.
_MORE = 1000
_LARGE = [number + 0.5 for number in range(110_000)]


class App:
    """A publisher of large messages, one of small ones and a subscriber; where the app hosts the bus, it binds both."""

    def __init__(self, sidecar: Sidecar, *, hosts: bool) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.sub = self._context.socket(zmq.SUB)
        self.large = self._context.socket(zmq.XPUB)
        self.small = self.large if hosts else self._context.socket(zmq.XPUB)
        self.sub.rcvhwm = 0
        for prefix in ("response.", "resilience."):
            self.sub.subscribe(prefix)
        for pub in {self.large, self.small}:
            # What has no room waits here, so that everything that was sent reaches the sidecar, or is dropped by it.
            pub.set(zmq.XPUB_NODROP, 1)
            pub.sndhwm, pub.sndtimeo, pub.rcvtimeo = 10, 20_000, 20_000
            if hosts:
                pub.bind(sidecar.subscribe)
            else:
                pub.connect(sidecar.publish)
        if hosts:
            self.sub.bind(sidecar.publish)
        else:
            self.sub.connect(sidecar.subscribe)
        self.ids = 0
        self.counts: dict[str, int] = {}
        self.overflow = 0
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []

    def __enter__(self) -> Self:
        for pub in {self.large, self.small}:
            # The bridge subscribes to all by their first bytes, so that nobody takes it for a listener of all.
            while pub.recv() not in {b"\x01", b"\x01i"}:
                pass
        return self

    def __exit__(self, *_: object) -> None:
        self._context.destroy(0)

    def join(self) -> None:
        """Ask until an answer comes: the first ones are lost before the bus knows that we listen."""
        while not self.answers:
            self.ask("ping")
            self.read(0.1)
        self.asked.clear()

    def send(self, pub: "zmq.Socket[bytes]", event_type: str, payload: Any, correlation_id: str | None = None) -> None:
        """Publish, and wait where there is no room."""
        self.ids += 1
        event = {"id": self.ids, "event_type": event_type, "payload": payload, "timestamp": 1, "source": "app"}
        body = msgpack.packb({**event, "correlation_id": correlation_id})
        self.raw(pub, event_type, body)

    def raw(self, pub: "zmq.Socket[bytes]", event_type: str, body: bytes) -> None:
        """The same, encoded already."""
        self.counts[event_type] = self.counts.get(event_type, 0) + 1
        pub.send(event_type.encode(), zmq.SNDMORE)
        pub.send(body, copy=False)

    def ask(self, operation: str) -> str:
        """Ask the bridge something; `answer` waits for it."""
        self.asked.append(f"c{self.ids}")
        self.send(self.small, f"bridge.{operation}", {}, self.asked[-1])
        return self.asked[-1]

    def read(self, wait: float = 0) -> None:
        """Take in what the sidecar says."""
        while self.sub.poll(round(wait * 1000)):
            name, body = self.sub.recv_multipart()
            if name.startswith(b"response."):
                event = msgpack.unpackb(body)
                self.answers[event["correlation_id"]] = event["payload"]["result"]
            elif name == b"resilience.bus.rejected":
                payload = msgpack.unpackb(body)["payload"]
                assert payload["reason"] == "overflow", payload
                self.overflow += payload["count"]
            wait = 0

    def answer(self, asked: str, seconds: float = 20) -> Any:
        """The answer."""
        end = time.monotonic() + seconds
        while asked not in self.answers:
            assert time.monotonic() < end, f"no answer within {seconds} s"
            self.read(0.05)
        return self.answers[asked]


@contextmanager
def _running(*, hosts: bool) -> Iterator[tuple[Sidecar, App]]:
    with short_directory() as directory:
        bus = f'bus {{\n mode = "{"connect" if hosts else "host"}"\n publish = "ipc://{directory}/p"\n'
        text = f'bridge {{\n status = null\n}}\n{bus} subscribe = "ipc://{directory}/s"\n}}'
        running = Sidecar(directory, text)
        try:
            with App(running, hosts=hosts) as app:
                while "ready" not in running.text:
                    assert running.process.poll() is None, running.text
                    time.sleep(0.01)
                app.join()
                yield running, app
        finally:
            running.kill()
        assert "Traceback" not in running.text, running.text


@pytest.mark.parametrize("hosts", [False, True], ids=["host", "connect"])
def test_a_flood_of_large_messages(hosts: bool) -> None:
    """Memory is bounded, each large message is handled or told as dropped, each small one between them is answered."""
    with _running(hosts=hosts) as (running, app):
        before = app.answer(app.ask("status"))["bridge"]["bus"]
        memory = peak = running.rss
        head = {"id": 1, "event_type": "video.frame", "timestamp": 1, "source": "flood", "correlation_id": None}
        body = msgpack.packb({**head, "payload": _LARGE})
        assert 900_000 < len(body) < 1 << 20
        more, end = _MORE, time.monotonic() + 30
        while more:
            assert time.monotonic() < end, "it keeps up with everything"
            for _ in range(20):
                app.raw(app.large, "video.frame", body)
            app.ask("ping")
            app.read()
            peak = max(peak, running.rss)
            more -= 20 if app.overflow else 0
        for asked in app.asked:
            app.answer(asked)
        assert peak - memory < _GROWTH
        after = app.answer(app.ask("status"), 5)["bridge"]["bus"]
        handled = after["received"] - before["received"] - (len(app.asked) - 1)
        dropped = after["rejected"] - before["rejected"]
        assert handled + dropped == app.counts["video.frame"]
        assert handled > 0
        while app.overflow < dropped:
            assert time.monotonic() < end, f"told of {app.overflow} of {dropped}"
            app.read(0.05)
        assert app.overflow == dropped
