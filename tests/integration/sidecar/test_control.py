"""The commands to an integration and to the bridge itself, and health for who comes late."""

import functools
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.core.bytes_object import with_bytes
from tests.support.bus.program import Program
from tests.support.servers.remote import Remote, refusing_port, remote
from tests.support.sidecar.sidecar import Sidecar, json_rpc, sidecar
from tests.support.wait import until


@pytest.fixture(scope="module")
def service() -> Iterator[Remote]:
    """The service."""
    with remote() as running:
        yield running


@pytest.fixture(scope="module")
def process(service: Remote) -> Iterator[Sidecar]:
    """A sidecar."""
    text = "".join(json_rpc(name, service.url, timeout="10s") for name in ("api", "paused", "drained", "forced"))
    with sidecar(text + json_rpc("down", f"http://127.0.0.1:{refusing_port()}/rpc"), heartbeat="400ms") as running:
        yield running


@pytest.fixture(scope="module")
def bus(process: Sidecar) -> Iterator[Program]:
    """A program on its bus."""
    with process.program() as program:
        yield program


@pytest.mark.parametrize(
    "payload", [None, True, -5, 1 << 63, 2.5, "text", {"$bytes": "AP8="}, [], {"a": [None, {"b": {"$bytes": "eA=="}}]}]
)
@pytest.mark.parametrize("shape", ["map", "array"])
async def test_ping_gives_anything_back(bus: Program, payload: object, shape: Any) -> None:
    """The same payload comes back, with bytes in the form that JSON has, whatever their form was."""
    for sent in (payload, with_bytes(payload, "payload")):
        answer = await bus.ask("bridge.ping", sent, shape=shape)
        assert (answer["ok"], answer["result"], answer["attempts"]) == (True, payload, 0)


async def test_bytes_that_are_not_valid(bus: Program) -> None:
    """They are `invalid` for the command that has them, with the place; the next one is not concerned."""
    for event_type in ("bridge.ping", "integration.api.request"):
        error = (await bus.ask(event_type, {"method": "m", "params": [{"$bytes": "AP8"}]}))["error"]
        assert error["kind"] == "invalid"
        assert error["message"].startswith("payload.params[0]: `$bytes` is not valid base64")
    assert (await bus.ask("bridge.ping", 1))["ok"]


async def test_pause_and_resume(bus: Program, service: Remote) -> None:
    """While paused nothing starts and nothing is lost; health says so."""
    since = bus.mark()
    assert (await bus.ask("integration.paused.pause", {}))["result"] == {}
    await bus.wait("health.paused", lambda e: e["payload"]["status"] == "paused", since=since)
    bus.emit("integration.paused.request", {"method": "later", "params": [1]}, "p1")
    await bus.ask("bridge.ping")
    assert (await bus.ask("bridge.status", {}))["result"]["paused"]["queued"] == 1
    assert service.calls["later"] == 0
    assert (await bus.ask("integration.paused.resume", {}))["result"] == {}
    assert (await bus.response("p1", since=since))["payload"]["result"] == [1]
    back = await bus.wait("health.paused", lambda e: e["payload"]["previous"] == "paused", since=since)
    assert back["payload"]["status"] == "connected"


async def test_deadlines_count_while_paused(bus: Program) -> None:
    """The caller's time runs also in the queue."""
    await bus.ask("integration.paused.pause", {})
    answer = await bus.request("paused", "echo", timeout_ms=50)
    assert (answer["error"]["kind"], answer["attempts"]) == ("deadline", 0)
    await bus.ask("integration.paused.resume", {})


async def test_drain(bus: Program, service: Remote) -> None:
    """Drain answers when what was taken is done; what comes meanwhile is `stopping`; resume takes it up again."""
    service.hold.clear()
    since = bus.mark()
    bus.emit("integration.drained.request", {"method": "wait", "params": [2]}, "d1")
    await until(lambda: service.calls["wait"] >= 1)
    bus.emit("integration.drained.drain", {}, "d2")
    refused = await bus.request("drained", "echo")
    assert (refused["error"]["kind"], refused["error"]["retryable"]) == ("stopping", True)
    assert not [
        one for one in bus.log[since:] if one["correlation_id"] in {"d1", "d2"} and "response" in one["event_type"]
    ]
    service.hold.set()
    assert (await bus.response("d1", since=since))["payload"]["ok"]
    assert (await bus.response("d2", since=since))["payload"]["result"] == {}
    await bus.wait("health.drained", lambda e: e["payload"]["status"] == "stopped", since=since)
    await bus.ask("integration.drained.resume", {})
    assert (await bus.request("drained", "echo", [3]))["result"] == [3]


async def test_a_circuit_opened_by_hand(bus: Program, service: Remote) -> None:
    """Forced open it stays so, rejects at once without sending, and is reset by hand."""
    since = bus.mark()
    assert (await bus.ask("integration.forced.circuit.force_open", {}))["result"] == {"state": "open"}
    answer = await bus.request("forced", "held")
    assert (answer["error"]["kind"], answer["attempts"], service.calls["held"]) == ("circuit_open", 0, 0)
    await bus.wait("health.forced", lambda e: e["payload"]["circuit"] == "open", since=since)
    assert (await bus.ask("integration.forced.circuit.reset", {}))["result"] == {"state": "closed"}
    assert (await bus.request("forced", "held", [1]))["ok"]
    events = [one["event_type"].rpartition(".")[2] for one in bus.seen(prefix="resilience.forced.circuit", since=since)]
    assert events == ["opened", "closed"]


@pytest.mark.parametrize("operation", ["pause", "resume", "drain", "circuit.force_open", "circuit.reset"])
async def test_a_control_takes_no_arguments(bus: Program, operation: str) -> None:
    """An argument that means nothing is `invalid`, and nothing is done."""
    answer = await bus.ask(f"integration.api.{operation}", {"now": True})
    assert answer["error"]["kind"] == "invalid"
    assert "now" in answer["error"]["message"]
    assert (await bus.request("api", "echo", [1]))["ok"]


def _changing(payload: Any) -> Any:
    """Status without what changes from one moment to the next."""
    if "bus" in payload:
        return {key: value for key, value in payload.items() if key not in {"uptime_ms", "bus"}}
    return {key: value for key, value in payload.items() if key != "latency_ms"}


async def test_status_is_the_fold_of_health(bus: Program, process: Sidecar) -> None:
    """Who folds all `health.*` events knows what `bridge.status` says, whether there from the start or late."""
    status = await bus.ask("bridge.status", {})
    with process.program("health.") as late:
        names = set(status["result"])

        def fold(events: list[dict[str, Any]]) -> dict[str, Any]:
            return {one["event_type"].removeprefix("health."): one["payload"] for one in events}

        await until(lambda: set(fold(late.seen())) == names)
        since = bus.mark()
        # A heartbeat says numbers of the moment (in flight, queued): compare once all has come to rest and been said.
        for name in names:
            await bus.wait(f"health.{name}", since=since)
        now = (await bus.ask("bridge.status", {}))["result"]
        for program in (late, bus):
            folded = fold(program.seen(prefix="health."))
            assert {n: _changing(p) for n, p in folded.items()} == {n: _changing(p) for n, p in now.items()}
    assert now["bridge"]["integrations"]["api"] == "connected"
    assert now["bridge"]["integrations"]["down"] == "disconnected"


async def test_a_late_joiner_gets_the_state_at_once(process: Sidecar) -> None:
    """The current state of one integration comes with the subscription, before any heartbeat could."""
    with process.program("health.down") as late:
        event = await late.wait("health.down", seconds=0.35)
    assert event["payload"]["status"] == "disconnected"
    assert event["payload"]["error"]["kind"] == "not_connected"


async def test_heartbeats(bus: Program) -> None:
    """Every health is said again, with a new id, at the interval."""
    since = bus.mark()
    for name in ("health.bridge", "health.api"):
        first = await bus.wait(name, since=since, seconds=2)
        again = functools.partial(lambda e, first: e["id"] > first["id"], first=first)
        second = await bus.wait(name, again, since=since, seconds=2)
        assert second["payload"]["status"] == first["payload"]["status"]


async def test_the_bridge_counts_its_bus(bus: Program) -> None:
    """Received and published rise; name, version and pid are said."""
    one = (await bus.ask("bridge.status", {}))["result"]["bridge"]
    two = (await bus.ask("bridge.status", {}))["result"]["bridge"]
    assert two["bus"]["received"] > one["bus"]["received"]
    assert two["bus"]["published"] > one["bus"]["published"]
    assert (two["status"], two["name"]) == ("ready", "bridge")
