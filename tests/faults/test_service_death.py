"""The remote dies, freezes and comes back, as a real process; what the bus is told of it."""

import itertools
import time

import pytest

from tests.support.bus.program import Event, Program
from tests.support.servers.demo import demo_service
from tests.support.servers.remote import free_port
from tests.support.sidecar.sidecar import json_rpc, sidecar

_CHECKS = 'interval = "300ms"\ntimeout = "300ms"'


@pytest.fixture
def port() -> int:
    """A port that the service can have again and again."""
    return free_port()


def _states(program: Program, name: str, since: int = 0) -> list[str]:
    """The statuses of an integration as said, without what heartbeats and last values repeat."""
    program.pump()
    before, changes = None, []
    for place, event in enumerate(program.log):
        if event["event_type"] == f"health.{name}":
            said = (event["payload"]["status"], event["payload"]["since"])
            if said != before and place >= since:
                changes.append(said[0])
            before = said
    return changes


async def test_a_service_killed_and_back(port: int) -> None:
    """Kill -9: failures, circuit open, rejection at once; back: half-open, closed, answers. In order, none twice."""
    url = f"http://127.0.0.1:{port}/rpc"
    # The health check is slow on purpose: what is seen here comes from the calls.
    text = json_rpc("api", url, threshold=3, open_for="1s", health='interval = "30s"')
    with sidecar(text) as running, running.program() as bus:
        with demo_service(port=port) as service:
            await bus.wait("health.api", lambda e: e["payload"]["status"] == "connected")
            assert (await bus.request("api", "add", [2, 3]))["result"] == 5
            since = bus.mark()
            service.kill()
        for _ in range(3):
            answer = await bus.request("api", "add", [2, 3])
            assert answer["error"]["kind"] in {"not_connected", "connection_lost"}
        opened_by = bus.seen("response.integration.api.request", since)[-1]["correlation_id"]
        began = time.monotonic()
        answer = await bus.request("api", "add", [2, 3])
        assert time.monotonic() - began < 0.2
        assert (answer["error"]["kind"], answer["error"]["retryable"], answer["attempts"]) == ("circuit_open", True, 0)
        assert 0 < answer["error"]["retry_after_ms"] <= 1100  # the open time, and up to a tenth of jitter
        with demo_service(port=port):
            end = time.monotonic() + 10
            good = 0
            while good < 3:
                assert time.monotonic() < end
                answer = await bus.request("api", "add", [2, 3])
                if answer["ok"]:
                    good += 1
                else:
                    assert answer["error"]["kind"] in {"circuit_open", "not_connected"}
        events = bus.seen(prefix="resilience.api.circuit.", since=since)
    _assert_order(events, opened_by)


def _assert_order(events: list[Event], opened_by: str) -> None:
    steps = [(e["event_type"].rpartition(".")[2], e["payload"]["from"], e["payload"]["to"]) for e in events]
    assert steps[0] == ("opened", "closed", "open")
    assert steps[-2:] == [("half_opened", "open", "half_open"), ("closed", "half_open", "closed")]
    for before, after in itertools.pairwise(steps):
        assert before[2] == after[1]
    assert events[0]["correlation_id"] == opened_by
    assert events[0]["payload"]["failures"] == 3
    assert events[0]["payload"]["error"]["kind"] in {"not_connected", "connection_lost"}
    assert events[-1]["correlation_id"] is not None


async def test_health_of_a_service_killed_and_back(port: int) -> None:
    """Without any call, checks see the death and the return; each change is said once."""
    url = f"http://127.0.0.1:{port}/rpc"
    with sidecar(json_rpc("api", url, health=_CHECKS)) as running, running.program() as bus:
        await bus.wait("health.api", lambda e: e["payload"]["status"] == "disconnected")
        assert (await bus.ask("bridge.status", {}))["result"]["bridge"]["status"] == "ready"
        for _ in range(2):
            since = bus.mark()
            with demo_service(port=port) as service:
                up = await bus.wait("health.api", lambda e: e["payload"]["status"] == "connected", since=since)
                assert (up["payload"]["previous"], up["payload"]["error"]) == ("disconnected", None)
                service.kill()
                down = await bus.wait(
                    "health.api", lambda e, up=up: e["payload"]["since"] > up["payload"]["since"], since=since
                )
                assert (down["payload"]["status"], down["payload"]["previous"]) == ("disconnected", "connected")
                assert down["payload"]["error"]["kind"] in {"not_connected", "connection_lost"}
            assert _states(bus, "api", since) == ["connected", "disconnected"]


@pytest.mark.parametrize("config", ["", 'health_method = "echo"'])
async def test_a_frozen_service_is_found(config: str) -> None:
    """SIGSTOP: TCP still accepts. The check finds it within interval and time limit; SIGCONT brings it back."""
    with demo_service() as service:
        text = json_rpc("api", service.url, config=config, health='interval = "1s"\ntimeout = "1s"')
        with sidecar(text) as running, running.program() as bus:
            await bus.wait("health.api", lambda e: e["payload"]["status"] == "connected")
            since, began = bus.mark(), time.monotonic()
            service.freeze()
            down = await bus.wait("health.api", lambda e: e["payload"]["status"] == "disconnected", since=since)
            assert time.monotonic() - began < 2.3
            assert down["payload"]["error"]["kind"] == "timeout"
            service.thaw()
            await bus.wait("health.api", lambda e: e["payload"]["status"] == "connected", since=bus.mark() - 1)
            # No event of the breaker: health checks never count.
            assert not bus.seen(prefix="resilience.api.circuit", since=since)


async def test_a_health_method_that_fails() -> None:
    """A service that answers HTTP, but whose health method does not exist, is not connected."""
    with demo_service() as service:
        text = json_rpc("api", service.url, config='health_method = "nonsense"', health=_CHECKS)
        with sidecar(text) as running, running.program() as bus:
            health = await bus.wait("health.api", lambda e: e["payload"]["status"] == "disconnected")
            assert health["payload"]["error"]["code"] == -32601


async def test_wrong_credentials_need_a_person() -> None:
    """A service that refuses the token makes the integration `failed`; calls say `auth`; no secret shows."""
    with demo_service("--token", "right") as service:
        auth = 'auth {\n type = "bearer"\n token = "${env.WRONG_TOKEN}"\n}'
        text = json_rpc("api", service.url, health=_CHECKS, more=auth)
        with sidecar(text, environ={"WRONG_TOKEN": "wr0ng-s3cret"}) as running, running.program() as bus:
            health = await bus.wait("health.api", lambda e: e["payload"]["status"] == "failed")
            assert health["payload"]["error"]["kind"] == "auth"
            answer = await bus.request("api", "echo", [1])
            assert (answer["error"]["kind"], answer["error"]["retryable"]) == ("auth", False)
            assert "wr0ng-s3cret" not in str(bus.log) + running.text


async def test_a_degraded_integration() -> None:
    """Connected, but the circuit is open: `degraded`, and `connected` again once it is closed."""
    with demo_service() as service:
        text = json_rpc("api", service.url, threshold=2, open_for="200ms", health='interval = "30s"')
        with sidecar(text) as running, running.program() as bus:
            await bus.wait("health.api", lambda e: e["payload"]["status"] == "connected")
            since = bus.mark()
            for _ in range(2):
                await bus.request("api", "http", {"status": 500})
            degraded = await bus.wait("health.api", lambda e: e["payload"]["status"] == "degraded", since=since)
            assert degraded["payload"]["circuit"] == "open"
            end = time.monotonic() + 10
            while _states(bus, "api", since)[-1:] != ["connected"]:
                assert time.monotonic() < end
                await bus.request("api", "echo")
            assert _states(bus, "api", since) == ["degraded", "connected"]
