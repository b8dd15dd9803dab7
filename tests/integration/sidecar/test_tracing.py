"""Traces of the whole sidecar, as a collector gets them: over OTLP, from the process that users run."""

import json
from collections.abc import Iterator

import nats
import pytest
import redis

from tests.support.bus.program import Program
from tests.support.servers.mosquitto import mosquitto
from tests.support.servers.nats_server import NatsServer, nats_server, subscribed
from tests.support.servers.otlp_receiver import OtlpReceiver, ReceivedSpan, otlp_receiver
from tests.support.servers.redis_server import RedisServer, redis_server
from tests.support.servers.remote import Remote, remote
from tests.support.sidecar.sidecar import integration, json_rpc, sidecar
from tests.support.wait import until

_TRACE, _SPAN = "a" * 32, "b" * 16
_PARENT = {"traceparent": f"00-{_TRACE}-{_SPAN}-01"}


_ROUTES = """
subscription "in" {
  integration = "nats"
  topic       = "in"
  emit        = "arrived"
}

route "on" {
  on          = ["arrived"]
  integration = "mqtt"
  operation   = "publish"
  topic       = "out"
  message     = event.payload.message
}

route "kept" {
  on          = ["order"]
  integration = "api"
  operation   = "request"
  method      = "error"
  params      = { code = -32602, message = "no" }
  delivery    = "at_least_once"
}
"""


class World:
    """A sidecar that writes traces, with its remotes, a collector and a program on the bus."""

    def __init__(
        self, collector: OtlpReceiver, program: Program, *, service: Remote, server: NatsServer, store: RedisServer
    ) -> None:
        self.collector, self.program = collector, program
        self.service, self.server, self.store = service, server, store

    async def ask(self, event_type: str, payload: object) -> dict[str, str]:
        """Send a command in the trace; return the headers of its response."""
        since = self.program.mark()
        self.program.emit(event_type, payload, f"c{since}", {**_PARENT, "baggage": "k=v"})
        response = await self.program.response(f"c{since}", since=since)
        headers: dict[str, str] = response["headers"]
        return headers


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One process for all tests of this file."""
    with (
        otlp_receiver() as collector,
        remote() as service,
        nats_server() as server,
        mosquitto() as broker,
        redis_server() as store,
        sidecar(
            json_rpc("api", service.url, attempts=3, config='idempotent = ["flaky"]')
            + integration("nats", server.port)
            + integration("mqtt", broker.port)
            + integration("redis", store.port)
            + _ROUTES,
            more="tracing = true",
            environ=collector.environ | {"OTEL_EXPORTER_OTLP_HEADERS": "x-key=k3y-word"},
        ) as running,
        running.program() as program,
    ):
        yield World(collector, program, service=service, server=server, store=store)


def _place(headers: dict[str, str]) -> tuple[str, str]:
    """Return trace and span of a `traceparent`."""
    version, trace, span, _ = headers["traceparent"].split("-")
    assert version == "00"
    return trace, span


def _tree(spans: list[ReceivedSpan]) -> list[tuple[str, str]]:
    return [(one.trace, one.parent) for one in spans]


async def test_a_call_with_a_retry(world: World) -> None:
    """Event, operation, two attempts: the remote sees the span of its own attempt, and the response goes on."""
    world.service.fails = 1
    headers = await world.ask("integration.api.request", {"method": "flaky"})
    (whole,) = await world.collector.wait("api request")
    first, second = await world.collector.wait("api request attempt", 2)
    assert _tree([whole, first, second]) == [(_TRACE, _SPAN), (_TRACE, whole.span), (_TRACE, whole.span)]
    heads = [head for head in world.service.heads if head["method"] == "flaky"]
    assert [_place(head) for head in heads] == [(_TRACE, first.span), (_TRACE, second.span)]
    assert heads[0]["baggage"] == "k=v"
    assert _place(headers) == (_TRACE, whole.span)
    assert (first.kind, first.attributes["nemo_bridge.attempt"], second.error, whole.error) == ("client", 1, None, None)
    assert first.error
    assert whole.attributes["rpc.method"] == "flaky"
    assert whole.service == "nemo-bridge"
    assert 0 <= second.milliseconds <= whole.milliseconds
    assert world.collector.requests[-1]["x-key"] == "k3y-word"


async def test_what_is_sent_carries_its_attempt(world: World) -> None:
    """A publish over MQTT and NATS and an entry of a Redis stream each name the span of the attempt that sent them."""
    for name in ("nats", "mqtt", "redis"):
        await world.program.wait(f"health.{name}", lambda event: event["payload"]["status"] == "connected")
    client = await nats.connect(f"nats://127.0.0.1:{world.server.port}")
    out = await client.subscribe("t")
    await subscribed(client)
    await world.ask("integration.nats.publish", {"topic": "t", "message": "x"})
    (sent,) = await world.collector.wait("nats publish attempt")
    message = await out.next_msg(5)
    assert _place(message.headers) == (_TRACE, sent.span)
    await client.close()
    await world.ask("integration.redis.enqueue", {"queue": "q", "message": 1})
    (stored,) = await world.collector.wait("redis enqueue attempt")
    with redis.Redis(port=world.store.port) as entries:
        ((_, fields),) = entries.xrange("q")
    assert _place(json.loads(fields[b"headers"])) == (_TRACE, stored.span)
    await world.ask("integration.mqtt.publish", {"topic": "t", "message": 1})
    (published,) = await world.collector.wait("mqtt publish attempt")
    for span, system, where in ((sent, "nats", "t"), (stored, "redis", "q"), (published, "mqtt", "t")):
        assert span.kind == "producer"
        assert (span.attributes["messaging.system"], span.attributes["messaging.destination.name"]) == (system, where)


async def test_a_message_from_outside(world: World) -> None:
    """It is linked to its sender; the event, the route's operation and what that sends follow in one trace."""
    await world.program.wait("health.nats", lambda event: event["payload"]["status"] == "connected")
    await world.program.wait("health.mqtt", lambda event: event["payload"]["status"] == "connected")
    await world.ask("integration.mqtt.subscribe", {"topic": "out", "emit": "returned"})
    client = await nats.connect(f"nats://127.0.0.1:{world.server.port}")
    await client.publish("in", b'"x"', headers=_PARENT)
    await client.flush()
    returned = await world.program.wait("returned")
    (received,) = await world.collector.wait("nats message")
    (again,) = await world.collector.wait("mqtt message")
    sent = [
        await world.collector.find(name, lambda one: one.attributes.get("messaging.destination.name") == "out")
        for name in ("mqtt publish", "mqtt publish attempt")
    ]
    arrived = await world.program.wait("arrived")
    assert (received.trace, received.parent, received.links, received.kind) == (_TRACE, _SPAN, (_SPAN,), "consumer")
    assert _place(arrived["headers"]) == (_TRACE, received.span)
    assert sent[0].parent == received.span
    assert sent[0].attributes["nemo_bridge.route"] == "on"
    assert sent[1].parent == sent[0].span
    assert again.parent == sent[1].span
    assert _place(returned["headers"]) == (_TRACE, again.span)
    await client.close()


async def test_a_failure_and_a_dead_letter(world: World) -> None:
    """Attempt and operation have the error; the dead letter is a span behind them, and its event goes on from there."""
    since = world.program.mark()
    world.program.emit("order", {"n": 1}, None, _PARENT)
    letter = await world.program.wait("resilience.api.dead_letter", since=since)
    (dead,) = await world.collector.wait("api dead letter")
    whole = await world.collector.find("api request", lambda one: one.span == dead.parent)
    tried = await world.collector.find("api request attempt", lambda one: one.parent == whole.span)
    assert (whole.trace, whole.parent) == (_TRACE, _SPAN)
    assert [one.attributes["error.type"] for one in (tried, whole, dead)] == ["rejected"] * 3
    assert all(one.error for one in (tried, whole, dead))
    assert whole.attributes["nemo_bridge.durable"] is True
    assert _place(letter["headers"]) == (_TRACE, dead.span)
    assert letter["payload"]["event"]["headers"]["traceparent"] == _PARENT["traceparent"]


async def test_a_collector_that_is_down() -> None:
    """The bridge works as without it, says once that spans are lost and why, and ends in time."""
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1.5",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "NO_PROXY": "127.0.0.1",
    }
    with (
        remote() as service,
        sidecar(json_rpc("api", service.url), more="tracing = true", environ=environ) as running,
        running.program() as program,
    ):
        assert (await program.request("api", "echo", [1]))["ok"]
        await until(lambda: "traces lost" in running.text)
        assert (await program.request("api", "echo", [1]))["ok"]
        running.term()
        assert running.wait() == 0
        (first, *_) = [line for line in running.text.splitlines() if "traces lost" in line]
        assert "refused" in first
        assert "opentelemetry" not in running.text
