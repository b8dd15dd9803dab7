"""Many at once: two hundred clients that come back together, and a flood of subscriptions."""

import asyncio
import time
from collections.abc import Iterator

import msgpack
import pytest
import zmq

from tests.support.bus.program import Program
from tests.support.servers.remote import Remote, remote
from tests.support.sidecar.sidecar import Sidecar, json_rpc, sidecar

_CLIENTS = 200


@pytest.fixture
def service() -> Iterator[Remote]:
    """A JSON-RPC service."""
    with remote() as running:
        yield running


class Crowd:
    """Clients in one ZeroMQ context, each with a PUB and a SUB of its own, as if each were a program."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], process: Sidecar) -> None:
        self.answers = [0] * _CLIENTS
        self._pubs = [context.socket(zmq.PUB) for _ in range(_CLIENTS)]
        self._subs = [context.socket(zmq.SUB) for _ in range(_CLIENTS)]
        self._poller = zmq.Poller()
        for pub, sub in zip(self._pubs, self._subs, strict=True):
            pub.linger = sub.linger = 0
            sub.subscribe("response.integration.api.request")
            sub.connect(process.subscribe)
            pub.connect(process.publish)
            self._poller.register(sub, zmq.POLLIN)

    def ask(self, only_unanswered: bool = False) -> None:
        """One call from each."""
        for number, pub in enumerate(self._pubs):
            if not (only_unanswered and self.answers[number]):
                name = b"integration.api.request"
                call = {"method": "echo", "params": [number]}
                body = {"id": 1, "event_type": name.decode(), "payload": call, "timestamp": 1, "source": f"c{number}"}
                headers = {"idempotency_key": "one"}
                pub.send_multipart([name, msgpack.packb(body | {"correlation_id": f"c{number}", "headers": headers})])

    def take(self) -> None:
        """Count the answers; each client also sees those of all others, as programs on a bus do."""
        for sub, _ in self._poller.poll(50):
            number = self._subs.index(sub)
            while sub.poll(0):
                event = msgpack.unpackb(sub.recv_multipart()[1])
                if event["correlation_id"] == f"c{number}":
                    assert event["payload"]["result"] == [number]
                    self.answers[number] += 1

    def all_answered(self, seconds: float) -> None:
        """Ask again and again until each has its answer."""
        end = time.monotonic() + seconds
        while not all(self.answers):
            assert time.monotonic() < end, f"{self.answers.count(0)} of {_CLIENTS} are not answered"
            self.ask(only_unanswered=True)
            begun = time.monotonic()
            while time.monotonic() - begun < 0.5 and not all(self.answers):
                self.take()

    def close(self) -> None:
        """They go."""
        for socket in (*self._pubs, *self._subs):
            socket.close()


def test_two_hundred_clients_come_back_at_once(service: Remote) -> None:
    """The sidecar dies and another takes its place: within 10 s each is served again, by one run of its key."""
    with zmq.Context(io_threads=2) as context:
        context.set(zmq.MAX_SOCKETS, 2 * _CLIENTS + 50)
        with sidecar(json_rpc("api", service.url, timeout="5s")) as running:
            crowd = Crowd(context, running)
            try:
                crowd.all_answered(20)
                before, memory = running.descriptors, running.rss
                running.kill()
                service.calls.clear()
                crowd.answers[:] = [0] * _CLIENTS
                after = Sidecar(running.directory, running.file.read_text(), name="after")
                try:
                    after.ready()
                    crowd.all_answered(10)
                    # Keys of the first life are not remembered in the second, but there each ran once.
                    assert service.calls["echo"] == _CLIENTS
                    assert after.descriptors < before + 20
                    assert after.rss < memory + (20 << 20)
                finally:
                    after.kill()
            finally:
                crowd.close()


async def _answered(bus: Program, count: int) -> float:
    """The longest of so many calls, one after the other, in seconds."""
    longest = 0.0
    for number in range(count):
        began = time.monotonic()
        assert (await bus.request("api", "echo", [number]))["ok"]
        longest = max(longest, time.monotonic() - began)
    return longest


async def test_a_flood_of_subscriptions(service: Remote) -> None:
    """50,000 subscriptions of one program, which then goes: others are served, and the memory for them is bounded."""
    with sidecar(json_rpc("api", service.url, timeout="5s")) as running, running.program("response.") as bus:
        await _answered(bus, 20)
        memory = running.rss
        with zmq.Context() as context, context.socket(zmq.SUB) as flood:
            flood.linger = 0
            flood.connect(running.subscribe)
            for number in range(50_000):
                flood.subscribe(f"flood.{number}.x")
                if number % 5_000 == 0:
                    await _answered(bus, 1)
            assert await _answered(bus, 20) < 5
            assert running.rss - memory < 64 << 20
        await asyncio.sleep(0)
        await _answered(bus, 20)
        assert running.process.poll() is None
