"""Commands and every kind of error that JSON-RPC can have, by an independent program against the sidecar's process."""

import time
from collections.abc import Iterator

import pytest

from tests.support.bus.program import Program
from tests.support.servers.remote import Remote, refusing_port, remote
from tests.support.sidecar.sidecar import json_rpc, sidecar


@pytest.fixture(scope="module")
def service() -> Iterator[Remote]:
    """The misbehaving service."""
    with remote() as running:
        yield running


@pytest.fixture(scope="module")
def bus(service: Remote) -> Iterator[Program]:
    """A program on the bus of a sidecar."""
    text = (
        json_rpc("api", service.url)
        + json_rpc("small", service.url, limit="max_in_flight = 1\n queue = 1")
        + json_rpc("down", f"http://127.0.0.1:{refusing_port()}/rpc")
    )
    with sidecar(text) as running, running.program() as program:
        yield program


@pytest.mark.parametrize("shape", ["map", "array"])
@pytest.mark.parametrize("params", [[1, "two", None, 2.5], {"a": 1, "b": {"c": [True]}}])
async def test_calls_by_name_and_position_in_both_shapes(bus: Program, shape: str, params: object) -> None:
    """Parameters arrive as they were sent, whichever shape the event has."""
    payload = {"method": "echo", "params": params}
    answer = await bus.ask("integration.api.request", payload, shape=shape)
    assert answer == {"ok": True, "result": params, "attempts": 1, "duration_ms": answer["duration_ms"]}
    assert answer["duration_ms"] > 0


async def test_a_call_without_params(bus: Program) -> None:
    """No params at all is a good call."""
    assert (await bus.request("api", "echo"))["result"] is None


async def test_a_notification_is_answered_with_null(bus: Program, service: Remote) -> None:
    """`notify` sends without an id, and the result is null once it is sent."""
    answer = await bus.request("api", "note", [1], notify=True)
    assert (answer["ok"], answer["result"]) == (True, None)
    assert service.calls["note"] == 1


async def test_headers_travel_to_the_remote(bus: Program, service: Remote) -> None:
    """Traceparent and the rising hop arrive as HTTP headers."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await bus.request("api", "traced", headers={"traceparent": trace, "hop": "3"})
    head = next(one for one in service.heads if one["method"] == "traced")
    assert (head["traceparent"], head["nemo-hop"]) == (trace, "4")


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (None, "object"),
        ("text", "object"),
        ({}, "method"),
        ({"method": ""}, "method"),
        ({"method": 7}, "$.method"),
        ({"method": "m", "timeout_ms": 0}, "$.timeout_ms"),
        ({"method": "m", "timeout_ms": "1s"}, "$.timeout_ms"),
        ({"method": "m", "notify": 1}, "$.notify"),
        ({"method": "m", "param": []}, "param"),
        ({"method": "m", "params": 5}, "params"),
        ({"method": "m", "params": {"file": b"\x00\xff"}}, "params"),
        ({"method": "m", "params": [float("nan")]}, "params"),
        ({"method": "m", "params": {1: 2}}, "params"),
    ],
)
async def test_invalid_says_where(bus: Program, service: Remote, payload: object, says: str) -> None:
    """A payload that does not fit is `invalid`, with the place, and nothing is sent."""
    answer = await bus.ask("integration.api.request", payload)
    error = answer["error"]
    assert (answer["ok"], error["kind"], error["retryable"]) == (False, "invalid", False)
    assert says in error["message"]
    assert service.calls["m"] == 0


@pytest.mark.parametrize("value", ["soon", "-5", "1.5", "", "9" * 400, "9" * 6000])
async def test_a_bad_deadline_header_is_invalid(bus: Program, value: str) -> None:
    """`deadline_ms` that is no Unix time is `invalid`, however long it is."""
    answer = await bus.request("api", "echo", [1], headers={"deadline_ms": value})
    assert answer["error"]["kind"] == "invalid"
    assert "deadline_ms" in answer["error"]["message"]


async def test_a_limit_beyond_all_time(bus: Program) -> None:
    """The largest numbers that the envelope can carry are as good as no limit."""
    answer = await bus.request("api", "echo", [1], timeout_ms=(1 << 63) - 1, headers={"deadline_ms": "9" * 19})
    assert answer["ok"]


@pytest.mark.parametrize(
    ("event_type", "kind"),
    [
        ("integration.nobody.request", "unknown_integration"),
        ("integration.nobody", "unknown_integration"),
        ("integration.api.dance", "unknown_operation"),
        ("integration.api", "unknown_operation"),
        ("integration.api.circuit.dance", "unknown_operation"),
        ("bridge.dance", "unknown_operation"),
        ("integration.api.publish", "not_supported"),
        ("integration.api.subscribe", "not_supported"),
        ("integration.api.enqueue", "not_supported"),
        ("integration.api.dequeue", "not_supported"),
        ("integration.api.ack", "not_supported"),
    ],
)
async def test_names_that_lead_nowhere(bus: Program, event_type: str, kind: str) -> None:
    """What does not exist, and what the protocol lacks, is said as such."""
    answer = await bus.ask(event_type, {})
    assert (answer["ok"], answer["error"]["kind"], answer["attempts"]) == (False, kind, 0)


@pytest.mark.parametrize(
    ("method", "kind", "retryable"),
    [
        ("cut", "connection_lost", False),
        ("reset", "connection_lost", False),
        ("sleep:3000", "timeout", False),
        ("http:500", "unavailable", False),
        ("http:503", "unavailable", False),
        ("http:408", "unavailable", False),
        ("http:429", "throttled", True),
        ("http:429:Retry-After:2", "throttled", True),
        ("http:503:Retry-After:2", "throttled", True),
        ("http:401", "auth", False),
        ("http:403", "rejected", False),
        ("http:404", "rejected", False),
        ("http:302:Location:/elsewhere", "rejected", False),
        ("error", "rejected", False),
        ("html", "protocol", False),
        ("empty", "protocol", False),
        ("wrong_id", "protocol", False),
        ("both", "protocol", False),
        ("neither", "protocol", False),
        ("version", "protocol", False),
    ],
)
async def test_errors_of_the_remote(bus: Program, method: str, kind: str, retryable: bool) -> None:
    """Each way in which a remote can fail has its kind, said in the response and as `failed` with the same cause."""
    since = bus.mark()
    answer = await bus.request("api", method)
    error = answer["error"]
    assert (answer["ok"], error["kind"], error["retryable"], answer["attempts"]) == (False, kind, retryable, 1)
    if method.endswith(":2"):
        assert error["retry_after_ms"] == 2000
    failed = await bus.wait("resilience.api.failed", since=since)
    assert failed["payload"]["error"] == error
    assert failed["payload"]["operation"] == "request"
    assert failed["payload"]["cause"]["event_type"] == "integration.api.request"
    assert failed["payload"]["cause"]["source"] == bus.source


async def test_a_rejection_keeps_code_and_data(bus: Program) -> None:
    """A JSON-RPC error object comes as the remote sent it."""
    error = (await bus.request("api", "error"))["error"]
    assert (error["code"], error["message"], error["data"]) == (-32001, "no such order", {"order": 7})


async def test_an_http_status_is_the_code(bus: Program) -> None:
    """Where there is no error object, the status is the code."""
    assert (await bus.request("api", "http:404"))["error"]["code"] == 404


async def test_not_connected(bus: Program) -> None:
    """Nobody listens: `not_connected`, which may be tried again, because nothing was sent."""
    answer = await bus.request("down", "echo")
    assert (answer["error"]["kind"], answer["error"]["retryable"]) == ("not_connected", True)


async def test_the_callers_time(bus: Program) -> None:
    """`timeout_ms` ends in `deadline`, before the attempt's own limit."""
    began = time.monotonic()
    answer = await bus.request("api", "sleep:2000", timeout_ms=100)
    assert (answer["error"]["kind"], answer["attempts"]) == ("deadline", 1)
    assert time.monotonic() - began < 0.39


async def test_the_deadline_header(bus: Program, service: Remote) -> None:
    """The header `deadline_ms` limits as `timeout_ms` does; one that is past sends nothing."""
    soon = str(time.time_ns() // 1_000_000 + 100)
    answer = await bus.request("api", "sleep:2000", headers={"deadline_ms": soon})
    assert (answer["error"]["kind"], answer["attempts"]) == ("deadline", 1)
    answer = await bus.request("api", "late", headers={"deadline_ms": "1000"})
    assert (answer["error"]["kind"], answer["attempts"]) == ("deadline", 0)
    assert service.calls["late"] == 0


async def test_overloaded(bus: Program) -> None:
    """One in flight, one waiting: the third is `overloaded`, at once, and `shed` says so."""
    since = bus.mark()
    for number in range(4):
        bus.emit("integration.small.request", {"method": "sleep:150", "params": [number]}, f"small-{number}")
    answers = [(await bus.response(f"small-{number}", since=since))["payload"] for number in range(4)]
    assert [answer["ok"] for answer in answers] == [True, True, False, False]
    assert {answer["error"]["kind"] for answer in answers[2:]} == {"overloaded"}
    shed = await bus.wait("resilience.small.shed", since=since)
    assert (shed["payload"]["reason"], shed["payload"]["count"]) == ("overloaded", 1)


async def test_without_correlation_id_nothing_is_answered(bus: Program) -> None:
    """No correlation id, no response; the failure still shows."""
    since = bus.mark()
    number = bus.emit("integration.api.request", {"method": "error"})
    failed = await bus.wait("resilience.api.failed", lambda e: e["payload"]["cause"]["id"] == number, since=since)
    assert failed["correlation_id"] is None
    await bus.ask("bridge.ping")
    assert not bus.seen("response.integration.api.request", since)


async def test_a_call_refused_before_the_guard_shows_as_failed(bus: Program) -> None:
    """`invalid` without a correlation id shows as `failed`, with no attempts."""
    since = bus.mark()
    number = bus.emit("integration.api.request", {"methd": "x"})
    failed = await bus.wait("resilience.api.failed", lambda e: e["payload"]["cause"]["id"] == number, since=since)
    assert (failed["payload"]["attempts"], failed["payload"]["error"]["kind"]) == (0, "invalid")


async def test_an_answer_too_large_for_the_bus(bus: Program) -> None:
    """What does not fit on the bus is said as an error of the call, not lost."""
    answer = await bus.request("api", "echo", ["é" * 300_000, "é" * 200_000])
    assert answer["ok"]
    answer = await bus.ask("bridge.ping", "x" * ((1 << 20) - 190))
    assert (answer["ok"], answer["error"]["kind"]) == (False, "protocol")
