"""What programs on the bus send makes no new series in the metrics, whatever it is."""

import random
from collections.abc import Callable
from typing import Any, get_args

from bridge.core.errors import ErrorKind
from bridge.core.model import OPERATIONS
from tests.support.bus.program import Program
from tests.support.servers.redis_server import redis_server
from tests.support.servers.remote import refusing_port, remote
from tests.support.sidecar.metrics import Series, samples_of
from tests.support.sidecar.sidecar import integration, json_rpc, sidecar
from tests.support.wait import until

_BLOCKS = """
integration "fixed" {
  type = "static"
  config {
    values = { one = 1 }
  }
}

subscription "channel" {
  integration = "redis"
  topic       = "channel"
  emit        = "data.${message.topic}"
}

route "orders" {
  on          = ["order.*"]
  integration = "shop"
  operation   = "request"
  method      = event.payload.method
  delivery    = "at_least_once"
}

route "relayed" {
  on          = ["relay.**"]
  integration = "redis"
  operation   = "publish"
  topic       = event.payload.topic
  message     = event.payload
}
"""
_INTEGRATIONS = ("shop", "gone", "redis", "fixed")
#: Commands that adapters execute, those that an integration itself does, and those of the bridge.
_OPERATIONS = tuple(OPERATIONS)
_OTHERS = ("circuit.reset", "circuit.force_closed", "resume", "status")
_OF_BRIDGE = ("ping", "status", "overview", "inspect", "match", "configuration", "subscriptions", "dead_letters")
#: What commands need to be valid.
_FIELDS = {
    "request": ("method",),
    "publish": ("topic", "message"),
    "subscribe": ("topic",),
    "enqueue": ("queue", "message"),
    "dequeue": ("queue",),
    "order": ("method",),
    "relay": ("topic",),
}
_SIGNS = "abcXYZ019_-äß漢\u202e{}\"'\\=,#*>[]$%"


class _Hostile:
    """Makes events of a program that fills every place with something new, from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def word(self) -> str:
        """Return a word that nobody has said before."""
        return "".join(self._random.choices(_SIGNS, k=self._random.randint(6, 30)))

    def value(self, depth: int = 0) -> Any:
        """Return any value."""
        makers: list[Callable[[], Any]] = [self.word, lambda: None, lambda: self._random.getrandbits(60), lambda: True]
        if depth < 3:
            makers += [
                lambda: [self.value(depth + 1) for _ in range(self._random.randint(0, 3))],
                lambda: {self.word(): self.value(depth + 1) for _ in range(self._random.randint(0, 3))},
            ]
        return self._random.choice(makers)()

    def payload(self, event_type: str) -> Any:
        """Return a payload: a valid one with words in place of names, one with too much in it, or anything."""
        way = self._random.random()
        if way < 0.2:
            return self.value()
        segments = event_type.split(".")
        found = {name: self.word() for name in _FIELDS.get(segments[-1], _FIELDS.get(segments[0], ()))}
        if way < 0.6:
            names = ("headers", "params", "message_id", "route", "integration", "operation", "subscription", "kind")
            found |= {name: self.value() for name in self._random.sample(names, 3)}
        return found

    def event_type(self) -> str:
        """Return the type of a command, of an event that a route takes, of one that only bridges emit, or any."""
        one_of = self._random.choice
        name = one_of((*_INTEGRATIONS, self.word()))
        return one_of(
            (
                f"integration.{name}.{one_of((*_OPERATIONS, *_OTHERS, self.word()))}",
                f"integration.{name}.{one_of(_OPERATIONS)}",
                f"bridge.{one_of((*_OF_BRIDGE, self.word()))}",
                f"order.{self.word()}",
                f"relay.{self.word()}",
                f"{one_of(('health', 'resilience', 'response', 'receipt', 'message', 'client'))}.{name}.{self.word()}",
                self.word(),
            )
        )

    def headers(self) -> dict[str, str]:
        """Return headers: those of the contract with any values, and others."""
        known = ("idempotency_key", "traceparent", "tracestate", "hop", "seq", "deadline_ms", "baggage")
        found = {self.word(): self.word()}
        return found | {self._random.choice(known): self._random.choice((self.word(), "7"))}

    def send(self, program: Program) -> None:
        """Send something."""
        way = self._random.random()
        if way < 0.1:
            program.raw(*(self.word().encode() for _ in range(self._random.randint(1, 3))))
            return
        event_type = self.event_type()
        headers = self.headers() if way < 0.3 else None
        program.emit(event_type, self.payload(event_type), self.word(), headers, source=self.word())


def _is_expected(series: Series) -> bool:
    """Return whether a series may come up when something happens the first time: its labels are of closed lists."""
    name, labels = series[0].removeprefix("nemo_bridge_"), dict(series[1])
    if labels.pop("integration", None) not in _INTEGRATIONS:
        return False
    if name == "check_latency_seconds":  # comes with the first health check, half a minute after the start
        return not labels
    if name == "failures_total":
        return labels.keys() == {"kind"} and labels["kind"] in get_args(ErrorKind)
    if name in {f"operation_duration_seconds_{part}" for part in ("bucket", "sum", "count")}:
        labels.pop("le", None)
        return labels.keys() == {"operation"} and labels["operation"] in OPERATIONS
    return False


async def test_a_hostile_program_makes_no_series():
    """After thousands of events with new names in every place, only series with labels of closed lists have come.

    These are the failures of an integration by their kind, and the durations of its operations by their name.
    """
    hostile = _Hostile(4711)
    with remote() as service, redis_server() as redis:
        text = json_rpc("shop", service.url) + json_rpc("gone", f"http://127.0.0.1:{refusing_port()}/rpc", threshold=3)
        text += integration("redis", redis.port) + _BLOCKS
        with (
            sidecar(text, more='status = "127.0.0.1:0"') as running,
            running.program("health.", "response.", validate_every=50) as program,
        ):
            for name in _INTEGRATIONS:
                await program.wait(f"health.{name}", lambda event: event["payload"]["status"] != "connecting")
            before = await samples_of(running)
            for _ in range(30):
                for _ in range(100):
                    hostile.send(program)
                assert (await program.ask("bridge.ping"))["ok"]
            await until(lambda: sum(service.calls.values()) > 100)
            after = await samples_of(running)
    assert before.keys() <= after.keys()
    new = after.keys() - before.keys()
    assert {series for series in new if not _is_expected(series)} == set()

    def total(name: str) -> float:
        return sum(value for (series, _), value in after.items() if series == f"nemo_bridge_{name}")

    # It was not refused at the door.
    assert total("bus_events_received_total") > 2000
    assert total("bus_events_rejected_total") > 100
    assert total("operations_accepted_total") > 300
    assert total("route_operations_total") > 100
    assert len({dict(labels)["kind"] for name, labels in new if name.endswith("failures_total")}) > 3
    assert len({dict(labels)["operation"] for name, labels in new if name.endswith("seconds_count")}) > 3
