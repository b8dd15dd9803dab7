"""What a hostile remote or program can put into the bridge's own mouth: it must neither crash it nor silence it."""

from collections.abc import Iterator

import pytest

from tests.support.bus.program import Program
from tests.support.servers.remote import Remote, remote
from tests.support.sidecar.sidecar import json_rpc, sidecar

_DEEP = "[" * 60 + "]" * 60


@pytest.fixture(scope="module")
def service() -> Iterator[Remote]:
    """The service."""
    with remote() as running:
        yield running


@pytest.fixture(scope="module")
def bus(service: Remote) -> Iterator[Program]:
    """A program on the bus of a sidecar."""
    text = json_rpc("api", service.url, timeout="5s", attempts=2, config='idempotent = ["raw"]')
    with sidecar(text) as running, running.program() as program:
        yield program


def _error(data: str = "1", code: str = "1", message: str = '"no"') -> str:
    return f'{{"code": {code}, "message": {message}, "data": {data}}}'


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize(
    ("result", "says"),
    [
        (f"{1 << 70}", "64"),
        ("1e999", ""),
        (_DEEP, "deep"),
        ('"LARGE"', "bytes"),
        ('"\\ud800"', ""),
        ('{"a": [' + f"{-(1 << 70)}]}}", "64"),
    ],
    ids=["integer", "infinity", "deep", "large", "surrogate", "inner"],
)
async def test_a_result_that_the_bus_cannot_carry(bus: Program, result: str, says: str, keyed: bool) -> None:
    """It is an error of this call, `protocol`, and nothing else happens."""
    headers = {"idempotency_key": f"{hash((result, keyed))}"} if keyed else None
    bus.emit("integration.api.request", {"method": "raw", "params": ["result", result]}, None, headers)
    answer = await bus.request("api", "raw", ["result", result], headers=headers)
    assert (answer["ok"], answer["error"]["kind"]) == (False, "protocol")
    assert says in answer["error"]["message"]


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        _error(data=f"{1 << 70}"),
        _error(data=_DEEP),
        _error(data='"LARGE"'),
        _error(code=f"{1 << 70}"),
        _error(message='"LARGE"'),
        _error(message='"\\ud800"'),
    ],
    ids=["integer", "deep", "large", "code", "message", "surrogate"],
)
async def test_an_error_that_the_bus_cannot_carry(bus: Program, error: str, keyed: bool) -> None:
    """The kind is kept where the answer makes sense; what cannot be carried is left out."""
    headers = {"idempotency_key": f"{hash((error, keyed))}"} if keyed else None
    since = bus.mark()
    answer = await bus.request("api", "raw", ["error", error], headers=headers)
    assert answer["error"]["kind"] in {"rejected", "protocol"}
    failed = await bus.wait("resilience.api.failed", since=since)
    assert failed["payload"]["error"]["kind"] == answer["error"]["kind"]


@pytest.mark.parametrize(
    "event_type",
    [
        "bridge." + "x" * 240,
        "bridge." + "é" * 120,
        "integration." + "n" * 240,
        "integration.api." + "o" * 235,
        "integration." + "n" * 226 + ".request",
        "integration." + "n" * 220 + ".request",
    ],
)
async def test_names_that_leave_no_room_for_an_answer(bus: Program, event_type: str) -> None:
    """The longest event types that there are."""
    bus.emit(event_type, {}, "long")
    assert (await bus.ask("bridge.ping", 1))["ok"]


@pytest.mark.parametrize(
    "event_type", ["integration.api.request", "bridge.ping", "bridge.dance", "integration.no.request"]
)
@pytest.mark.parametrize("where", ["source", "correlation_id", "header", "headers", "key", "payload", "type"])
async def test_an_envelope_as_large_as_the_bus_allows(bus: Program, event_type: str, where: str) -> None:
    """Whatever of a large event would be said again."""
    large = "x" * ((1 << 20) - 400)
    payload: object = {"method": "error"}
    headers = {"a": "b"}
    if where == "header":
        headers = {"tenant": large}
    elif where == "headers":
        headers = {f"h{number}": "x" * 10 for number in range(60_000)}
    elif where == "key":
        headers = {"idempotency_key": large}
    elif where == "payload":
        payload = {large: 1}
    elif where == "type":
        payload = {"method": 5, "params": large}
    correlation_id = large if where == "correlation_id" else "large"
    bus.emit(event_type, payload, correlation_id, headers, source=large if where == "source" else None)
    assert (await bus.ask("bridge.ping", 1))["ok"]
    assert (await bus.request("api", "echo", [1]))["ok"]
