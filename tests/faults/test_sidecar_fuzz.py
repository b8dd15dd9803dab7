"""Random but well-formed events on every topic that means something: the bridge answers each once and lives on."""

import random
from collections import Counter
from typing import Any

import pytest

from tests.support.bus.program import Program
from tests.support.servers.remote import remote
from tests.support.sidecar.sidecar import json_rpc, sidecar
from tests.support.wait import until

_OPERATIONS = ["request", "publish", "subscribe", "unsubscribe", "enqueue", "dequeue", "ack", "nack", "pause", "resume"]
_OPERATIONS += ["circuit.force_open", "circuit.reset", "circuit", "x.y.z", "é"]
_TYPES = [f"integration.{name}.{operation}" for name in ("api", "nobody") for operation in _OPERATIONS]
_TYPES += [
    "integration.api",
    "bridge.ping",
    "bridge.status",
    "bridge.dead_letters",
    "bridge.overview",
    "bridge.inspect",
    "bridge.x",
    "bridge.ping.pong",
]
_KEYS = ["method", "params", "timeout_ms", "notify", "topic", "message", "queue", "message_id", "subscription", "x", ""]
_HEADERS = ["idempotency_key", "deadline_ms", "hop", "seq", "traceparent", "x y", "é", ""]
_TEXTS = ["", "0", "-1", "7", "echo", "error", "1.5", "\r\nX: y", "é\0", "9" * 30, "\U0001f600", "n" * 500, "null"]


def _value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(9 if depth < 4 else 6)
    match kind:
        case 0:
            return None
        case 1:
            return rng.choice([True, False])
        case 2:
            return rng.choice([0, 1, -1, 1 << 53, (1 << 64) - 1, -(1 << 63), rng.randrange(1000)])
        case 3:
            return rng.choice([0.0, -0.0, 1e308, float("nan"), float("inf"), rng.random()])
        case 4:
            return rng.choice(_TEXTS)
        case 5:
            return rng.randbytes(rng.randrange(20))
        case 6:
            return [_value(rng, depth + 1) for _ in range(rng.randrange(4))]
        case 7:
            return {rng.choice([*_KEYS, 1, None, b"k", 2.5]): _value(rng, depth + 1) for _ in range(rng.randrange(4))}
        case _:
            return {"method": rng.choice(_TEXTS), rng.choice(_KEYS): _value(rng, depth + 1)}


def _send(bus: Program, rng: random.Random, number: int) -> None:
    headers = None
    if rng.random() < 0.5:
        headers = {rng.choice(_HEADERS): rng.choice(_TEXTS) for _ in range(rng.randrange(3))}
    bus.emit(rng.choice(_TYPES), _value(rng), f"fuzz-{number}", headers)


@pytest.mark.parametrize("seed", range(3))
async def test_random_events(seed: int) -> None:
    """Each command has exactly one answer; only what has travelled too far, or repeats a key in flight, may differ."""
    rng = random.Random(seed)
    route = """
route "all" {
  on          = ["**"]
  where       = event.payload.x > 1
  integration = "api"
  operation   = "request"
  method      = event.payload.method
  params      = event.payload
}
"""
    with remote() as service, sidecar(json_rpc("api", service.url) + route) as running:  # noqa: SIM117 - one line would be too long
        with running.program("response.", "resilience.bus") as bus:
            since = bus.mark()
            for number in range(700):
                _send(bus, rng, number)
                bus.emit(f"any.{number % 7}", _value(rng), None)
                if number % 50 == 49:
                    await bus.ask("integration.api.resume", {})
                    await bus.ask("integration.api.circuit.reset", {})
                    await bus.ask("bridge.ping", number)
            assert running.process.poll() is None
            assert (await bus.request("api", "echo", [1]))["ok"]
            answers = Counter(one["correlation_id"] for one in bus.seen(prefix="response.", since=since))
            fuzzed = [answers[f"fuzz-{number}"] for number in range(700)]
            assert max(fuzzed) == 1
            # Unanswered are those alone whose `hop` ("9…") says that they went round too often.
            await until(lambda: _stopped_loops(bus, since) == fuzzed.count(0))


def _stopped_loops(bus: Program, since: int) -> int:
    """How many events were stopped as loops, as far as reported by now."""
    told = [one["payload"] for one in bus.seen("resilience.bus.rejected", since)]
    return sum(one["count"] for one in told if one["reason"] == "hop")
