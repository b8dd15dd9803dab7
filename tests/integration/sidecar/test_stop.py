"""How the sidecar ends: on SIGTERM, on Ctrl-C and when the application says so; in order, within its limit."""

import signal
import time
from collections.abc import Iterator

import pytest

from tests.support.bus.program import Program
from tests.support.servers.remote import Remote, remote
from tests.support.sidecar.sidecar import Sidecar, json_rpc, sidecar
from tests.support.wait import until


@pytest.fixture
def service() -> Iterator[Remote]:
    """The service."""
    with remote() as running:
        yield running


def _text(service: Remote) -> str:
    return json_rpc("api", service.url, timeout="30s", limit="max_in_flight = 2")


async def _fill(bus: Program, service: Remote) -> None:
    """Two calls in flight, three in the queue."""
    for number in range(5):
        bus.emit("integration.api.request", {"method": "wait", "params": [number]}, f"f{number}")
    await until(lambda: service.calls["wait"] == 2)
    await bus.ask("bridge.ping")


def _end(running: Sidecar, bus: Program, how: str) -> None:
    if how == "event":
        bus.emit("system.shutdown", None)
    else:
        running.process.send_signal(getattr(signal, how))


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "event"])
async def test_drain(service: Remote, how: str) -> None:
    """In flight: answered. Queued, and what comes meanwhile: `stopping`. Health ends with `stopped`; exit code 0."""
    with sidecar(_text(service)) as running, running.program() as bus:
        await bus.wait("health.api", lambda e: e["payload"]["status"] == "connected")
        await _fill(bus, service)
        since = bus.mark()
        _end(running, bus, how)
        for number in (2, 3, 4):
            answer = (await bus.response(f"f{number}", since=since))["payload"]
            assert (answer["error"]["kind"], answer["error"]["retryable"], answer["attempts"]) == ("stopping", True, 0)
        await bus.wait("health.bridge", lambda e: e["payload"]["status"] == "draining", since=since)
        assert (await bus.request("api", "late"))["error"]["kind"] == "stopping"
        assert (await bus.ask("bridge.status", {}))["result"]["bridge"]["status"] == "draining"
        assert (await bus.ask("bridge.reload", {}))["error"]["kind"] == "stopping"
        service.hold.set()
        for number in (0, 1):
            answer = (await bus.response(f"f{number}", since=since))["payload"]
            assert (answer["ok"], answer["result"]) == (True, [number])
        await bus.wait("health.bridge", lambda e: e["payload"]["status"] == "stopped", since=since)
        assert running.wait(3) == 0
        assert bus.seen("health.api", since)[-1]["payload"]["status"] == "stopped"
        last = bus.seen("health.bridge", since)[-1]["payload"]
        assert (last["status"], last["integrations"]) == ("stopped", {"api": "stopped"})
        assert service.calls["late"] == 0


async def test_a_remote_that_hangs_does_not_hold_the_end(service: Remote) -> None:
    """Within `drain_timeout` it is over; what was in flight is answered, too: its connection was cut."""
    with sidecar(_text(service), more='drain_timeout = "500ms"') as running, running.program() as bus:
        await _fill(bus, service)
        since, began = bus.mark(), time.monotonic()
        running.term()
        for number in range(5):
            answer = (await bus.response(f"f{number}", since=since))["payload"]
            assert answer["error"]["kind"] == ("connection_lost" if number < 2 else "stopping")
        assert running.wait(5) == 0
        assert time.monotonic() - began < 2.5
        assert bus.seen("health.bridge", since)[-1]["payload"]["status"] == "stopped"
        # Each failure is said, also of those that were cut off.
        failed = {one["correlation_id"] for one in bus.seen("resilience.api.failed", since)}
        assert failed == {f"f{number}" for number in range(5)}


async def test_a_paused_integration_does_not_hold_the_end(service: Remote) -> None:
    """What waits in a paused integration is answered `stopping`."""
    with sidecar(_text(service)) as running, running.program() as bus:
        await bus.ask("integration.api.pause", {})
        since = bus.mark()
        bus.emit("integration.api.request", {"method": "echo"}, "paused")
        bus.emit("integration.api.drain", {}, "drained")
        await bus.ask("bridge.ping")
        running.term()
        assert (await bus.response("paused", since=since))["payload"]["error"]["kind"] == "stopping"
        assert (await bus.response("drained", since=since))["payload"]["ok"]
        assert running.wait(5) == 0


async def test_the_shutdown_event_is_the_applications(service: Remote) -> None:
    """`stop_with` names another event, or none; then `system.shutdown` is like any other."""
    with sidecar(_text(service), more='stop_with = "app.bye"') as running, running.program() as bus:
        bus.emit("system.shutdown")
        assert (await bus.ask("bridge.ping", 1))["ok"]
        bus.emit("app.bye")
        assert running.wait(5) == 0


async def test_termination_before_the_remote_answers(service: Remote) -> None:
    """A bridge whose remote never answered a connect ends as fast."""
    text = json_rpc("api", "http://10.255.255.1:9/rpc", timeout="30s")
    with sidecar(text) as running:
        began = time.monotonic()
        running.term()
        assert running.wait(5) == 0
        assert time.monotonic() - began < 3


async def test_a_reload_during_the_end(service: Remote) -> None:
    """A reload that is on its way when the end comes does not hold it."""
    with sidecar(_text(service)) as running, running.program() as bus:
        running.file.write_text(running.file.read_text() + json_rpc("more", service.url))
        bus.emit("bridge.reload", {}, "r")
        await bus.ask("bridge.ping")
        running.term()
        assert running.wait(5) == 0
