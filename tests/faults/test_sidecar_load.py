"""The sidecar under full load: nothing lost, nothing answered twice, memory flat, and nobody else delayed."""

import itertools
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import zmq

from tests.support.bus.program import Program
from tests.support.servers.demo import DemoProcess, demo_service
from tests.support.servers.remote import free_port
from tests.support.sidecar.sidecar import Sidecar, json_rpc, sidecar

_MIB = 1 << 20


@pytest.fixture
def service() -> Iterator[DemoProcess]:
    """A real JSON-RPC service."""
    with demo_service() as running:
        yield running


@pytest.fixture
def process(service: DemoProcess) -> Iterator[Sidecar]:
    """A sidecar."""
    with sidecar(json_rpc("api", service.url, timeout="10s")) as running:
        yield running


class Callers:
    """So many callers at a time, each with its next request as soon as it is answered.

    Attributes:
        answers: How often each correlation id was answered.
        wrong: Answers that are neither the right sum nor an error.
        errors: How many ended with an error of which kind.
    """

    def __init__(self, bus: Program, name: str, copies: int = 1, *, keyed: bool = False) -> None:
        self._bus = bus
        self._name = name
        self._copies = copies
        self._keyed = keyed
        self._seen = bus.mark()
        self.answers: Counter[str] = Counter()
        self.wrong: list[object] = []
        self.errors: Counter[str] = Counter()

    def _send(self, number: int) -> None:
        correlation_id = f"{self._name}-{number}"
        headers = {"idempotency_key": correlation_id} if self._keyed else None
        payload = {"method": "add", "params": [number, 1] if number % 2 else {"a": number, "b": 1}}
        for _ in range(self._copies):
            self._bus.emit("integration.api.request", payload, correlation_id, headers)

    def run(self, requests: int, at_a_time: int = 32, between: Callable[[int], None] = lambda _: None) -> None:
        """Make all requests; `between` is called with the number of each new one."""
        sent, done = at_a_time, 0
        for number in range(sent):
            self._send(number)
        end = time.monotonic() + 60
        while done < requests:
            assert time.monotonic() < end, f"{requests - done} of {requests} have no answer"
            self._bus.sub.poll(100)
            fresh = self._take()
            done += fresh
            for _ in range(min(fresh, requests - sent)):
                between(sent)
                self._send(sent)
                sent += 1

    def _take(self) -> int:
        """Note the answers that have come; how many callers are free again."""
        self._bus.pump()
        fresh = 0
        for event in self._bus.log[self._seen :]:
            name, _, number = (event["correlation_id"] or "").partition("-")
            if name != self._name or not event["event_type"].startswith("response."):
                continue
            self.answers[event["correlation_id"]] += 1
            fresh += self.answers[event["correlation_id"]] == 1
            payload = event["payload"]
            if not payload["ok"]:
                self.errors[payload["error"]["kind"]] += 1
            elif payload["result"] != int(number) + 1:
                self.wrong.append(event)
        self._seen = len(self._bus.log)
        return fresh

    async def settle(self) -> None:
        """Take in what might still come: all that was said before a ping's answer."""
        await self._bus.ask("bridge.ping")
        self._take()


class Garbage:
    """Some rubbish with every tenth request; `sent` counts it."""

    def __init__(self, bus: Program, seed: int) -> None:
        self._bus = bus
        self._rng = rng = random.Random(seed)
        self.sent = 0
        name = b"integration.api.request"
        self._kinds: list[Callable[[], tuple[bytes, ...]]] = [
            lambda: (name, rng.randbytes(rng.randrange(200))),
            lambda: (name,),
            lambda: (name, b"\x81", b"x"),
            lambda: (rng.randbytes(20), rng.randbytes(20)),
            lambda: (name, b"\x91" * 5000),
            lambda: (name, b"x" * (_MIB + 1)),
        ]

    def __call__(self, number: int) -> None:
        if number % 10:
            return
        for make in self._rng.choices(self._kinds, (10, 10, 10, 10, 2, 0.2), k=5):
            self._bus.raw(*make())
            self.sent += 1


@pytest.mark.slow
async def test_ten_thousand_requests_in_a_flood_of_garbage(service: DemoProcess, process: Sidecar) -> None:
    """32 callers, both shapes, by name and by position: each answered once and rightly; sums and memory agree."""
    with process.program("response.", "resilience.bus", validate_every=50) as bus:
        warm = Callers(bus, "warm")
        warm_flood, flood = Garbage(bus, 1), Garbage(bus, 2)
        warm.run(2_000, between=warm_flood)
        before = process.rss
        callers = Callers(bus, "load")
        callers.run(10_000, between=flood)
        await callers.settle()
        grown = process.rss - before
        assert set(callers.answers.values()) == {1}
        assert len(callers.answers) == 10_000
        assert (callers.wrong, callers.errors) == ([], {})
        # The remote's own count: nothing was called that nobody asked for.
        assert (await bus.request("api", "count", {"method": "add"}))["result"] == 12_000
        status = (await bus.ask("bridge.status", {}))["result"]
        assert (status["api"]["in_flight"], status["api"]["queued"]) == (0, 0)
        assert status["bridge"]["bus"]["rejected"] == warm_flood.sent + flood.sent
        assert grown < 12 * _MIB


@pytest.mark.slow
async def test_repeated_keys_run_once_under_load(service: DemoProcess, process: Sidecar) -> None:
    """Every command comes three times with its key: one run each; every answer to a key is the same."""
    with process.program("response.", validate_every=50) as bus:
        callers = Callers(bus, "key", copies=3, keyed=True)
        callers.run(1_500)
        await callers.settle()
        assert len(callers.answers) == 1_500
        assert (callers.wrong, callers.errors) == ([], {})
        assert (await bus.request("api", "count", {"method": "add"}))["result"] == 1_500


@pytest.mark.slow
async def test_the_remote_dies_under_load() -> None:
    """Kill -9 and a new start amid 32 callers: every request has exactly one answer, good or an error that says why."""
    port = free_port()
    text = json_rpc("api", f"http://127.0.0.1:{port}/rpc", timeout="2s", attempts=3, threshold=5, open_for="100ms")
    with sidecar(text) as running, running.program("response.", "resilience.api.circuit", validate_every=50) as bus:
        callers = Callers(bus, "storm")
        with demo_service(port=port) as first:
            callers.run(3_000, between=lambda number: first.kill() if number == 1_000 else None)
        assert callers.errors
        assert callers.errors.keys() <= {"connection_lost", "not_connected", "circuit_open"}
        with demo_service(port=port):
            end = time.monotonic() + 10
            while not bus.seen("resilience.api.circuit.closed"):
                assert time.monotonic() < end
                await bus.request("api", "echo")
            after = Callers(bus, "after")
            after.run(1_000)
            await after.settle()
        await callers.settle()
        for one, number in ((callers, 3_000), (after, 1_000)):
            assert len(one.answers) == number
            assert set(one.answers.values()) == {1}
            assert one.wrong == []
        assert not after.errors
        circuit = [event["payload"] for event in bus.seen(prefix="resilience.api.circuit")]
        assert circuit[0]["from"] == "closed"
        assert circuit[-1]["to"] == "closed"
        assert all(one["to"] == two["from"] for one, two in itertools.pairwise(circuit))


@pytest.mark.slow
def test_the_applications_own_events_are_not_delayed(process: Sidecar) -> None:
    """While the sidecar works through a long queue of commands, events from program to program pass in no time."""
    with process.program("response.", validate_every=50) as bus, process.program("tick.") as ticker:
        began = time.monotonic()
        for number in range(5_000):
            bus.emit("integration.api.request", {"method": "add", "params": [number, 1]}, "flood")
        bus.emit("integration.api.request", {"method": "add", "params": [1, 1]}, "last")
        delays = []
        while not any(event["correlation_id"] == "last" for event in bus.seen(since=max(0, len(bus.log) - 100))):
            assert time.monotonic() - began < 30
            sent = time.monotonic()
            ticker.raw(b"tick.tock", b"\x90")
            assert ticker.sub.poll(5_000, zmq.POLLIN)
            ticker.sub.recv_multipart()
            delays.append(time.monotonic() - sent)
        busy = time.monotonic() - began
    assert len(delays) > 20
    assert statistics.median(delays) < 0.01
    assert max(delays) < busy / 2
