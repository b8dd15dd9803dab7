"""Retries, idempotency keys and what the guard says of them, seen by an independent program."""

import uuid
from collections.abc import Iterator

import pytest

from tests.support.bus.program import Program
from tests.support.servers.remote import Remote, refusing_port, remote
from tests.support.sidecar.sidecar import json_rpc, sidecar
from tests.support.wait import until


@pytest.fixture(scope="module")
def service() -> Iterator[Remote]:
    """The service."""
    with remote() as running:
        yield running


@pytest.fixture(scope="module")
def bus(service: Remote) -> Iterator[Program]:
    """A program on the bus of a sidecar whose integrations make three attempts."""
    text = json_rpc("api", service.url, attempts=3, config='idempotent = ["flaky_safe"]', timeout="3s")
    down = json_rpc("down", f"http://127.0.0.1:{refusing_port()}/rpc", attempts=3)
    with sidecar(text + down) as running, running.program() as program:
        yield program


async def test_an_idempotent_method_is_tried_again(bus: Program, service: Remote) -> None:
    """Two failures and a success: three attempts, two `retry` events before the response, no `failed`."""
    service.fails, since = 2, bus.mark()
    number = bus.emit("integration.api.request", {"method": "flaky_safe", "params": [7]}, "r1")
    answer = (await bus.response("r1", since=since))["payload"]
    assert (answer["ok"], answer["result"], answer["attempts"]) == (True, [7], 3)
    retries = bus.seen("resilience.api.retry", since)
    assert [(one["payload"]["attempt"], one["payload"]["delay_ms"]) for one in retries] == [(1, 20), (2, 40)]
    for one in retries:
        assert one["correlation_id"] == "r1"
        assert one["payload"]["max_attempts"] == 3
        assert one["payload"]["error"]["kind"] == "unavailable"
        assert one["payload"]["cause"] == {"source": bus.source, "id": number, "event_type": "integration.api.request"}
    assert not bus.seen("resilience.api.failed", since)


async def test_what_may_have_been_sent_is_not_repeated(bus: Program, service: Remote) -> None:
    """The same failure of a method that is not idempotent ends the call after one attempt."""
    service.fails, before, since = 1, service.calls["flaky"], bus.mark()
    answer = await bus.request("api", "flaky")
    assert (answer["error"]["kind"], answer["error"]["retryable"], answer["attempts"]) == ("unavailable", False, 1)
    assert service.calls["flaky"] == before + 1
    assert not bus.seen("resilience.api.retry", since)


async def test_what_was_not_sent_is_tried_again(bus: Program) -> None:
    """No connection: nothing was sent, so any method is tried again, and `failed` comes once, at the end."""
    since = bus.mark()
    answer = await bus.request("down", "flaky")
    assert (answer["error"]["kind"], answer["attempts"]) == ("not_connected", 3)
    assert len(bus.seen("resilience.down.retry", since)) == 2
    failed = await bus.wait("resilience.down.failed", since=since)
    assert failed["payload"]["attempts"] == 3


async def test_a_key_makes_a_call_repeatable(bus: Program, service: Remote) -> None:
    """An idempotency key allows the retry, and travels to the remote with each attempt."""
    service.fails, key = 1, str(uuid.uuid4())
    answer = await bus.request("api", "flaky", headers={"idempotency_key": key})
    assert (answer["ok"], answer["attempts"]) == (True, 2)
    heads = [one for one in service.heads if one.get("idempotency-key") == key]
    assert len(heads) == 2


async def test_retry_after_is_kept(bus: Program, service: Remote) -> None:
    """A throttled call is tried again after what the remote said, not before."""
    since = bus.mark()
    answer = await bus.request("api", "http:429:Retry-After:1", timeout_ms=1500)
    assert answer["error"]["kind"] in {"throttled", "deadline"}
    assert bus.seen("resilience.api.retry", since)[0]["payload"]["delay_ms"] == 1000


async def test_a_repeated_key_runs_once(bus: Program, service: Remote) -> None:
    """The second command with a key gets the first's answer, under its own correlation id."""
    key = {"idempotency_key": str(uuid.uuid4())}
    first = await bus.request("api", "once", [1], headers=key)
    again = await bus.request("api", "once", [1], headers=key)
    assert first == again
    assert service.calls["once"] == 1


async def test_a_repeated_key_waits_for_the_run(bus: Program, service: Remote) -> None:
    """Asked again while it still runs: one run, one answer for each who asked."""
    service.hold.clear()
    key, since = {"idempotency_key": str(uuid.uuid4())}, bus.mark()
    command = {"method": "wait", "params": ["w"], "timeout_ms": 8000}
    for asker in ("k1", "k2", "k2", "k3"):
        bus.emit("integration.api.request", command, asker, key)
    await until(lambda: service.calls["wait"] == 1)
    await bus.ask("bridge.ping")
    service.hold.set()
    answers = [(await bus.response(asker, since=since))["payload"] for asker in ("k1", "k2", "k3")]
    assert answers[0]["ok"]
    assert answers[1:] == [answers[0], answers[0]]
    await bus.ask("bridge.ping")
    assert len(bus.seen("response.integration.api.request", since)) == 3
    assert service.calls["wait"] == 1


async def test_a_key_belongs_to_its_source(bus: Program, service: Remote) -> None:
    """Another program's same key is another key."""
    key, since = {"idempotency_key": str(uuid.uuid4())}, bus.mark()
    for number, source in enumerate(("one", "two")):
        bus.emit("integration.api.request", {"method": "mine"}, f"s{number}", key, source=source)
        await bus.response(f"s{number}", since=since)
    assert service.calls["mine"] == 2


async def test_a_failure_is_remembered_too(bus: Program, service: Remote) -> None:
    """The outcome of a key is decided once, also where it is an error."""
    key = {"idempotency_key": str(uuid.uuid4())}
    first = await bus.request("api", "error", headers=key)
    calls = service.calls["error"]
    assert await bus.request("api", "error", headers=key) == first
    assert service.calls["error"] == calls
