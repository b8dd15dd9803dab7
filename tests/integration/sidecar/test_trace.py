"""The context of a trace passes through the sidecar, into every protocol that has headers and out of it."""

import json

import nats
import redis

from tests.support.servers.mosquitto import mosquitto
from tests.support.servers.nats_server import nats_server, subscribed
from tests.support.servers.redis_server import redis_server
from tests.support.sidecar.sidecar import integration, sidecar

_TRACE = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "vendor=1", "baggage": "tenant=blue"}


_WAYS = """
subscription "from_nats" {
  integration = "nats"
  topic       = "in"
  emit        = "one"
}

route "to_mqtt" {
  on          = ["one"]
  integration = "mqtt"
  operation   = "publish"
  topic       = "in"
  message     = event.payload.message
}

subscription "from_mqtt" {
  integration = "mqtt"
  topic       = "in"
  emit        = "two"
}

route "to_redis" {
  on          = ["two"]
  integration = "redis"
  operation   = "enqueue"
  queue       = "in"
  message     = event.payload.message
}

subscription "from_redis" {
  integration = "redis"
  queue       = "in"
  emit        = "three"
}

route "to_nats" {
  on          = ["three"]
  integration = "nats"
  operation   = "publish"
  topic       = "out"
  message     = event.payload.message
}
"""


async def test_a_trace_goes_through_every_protocol_with_headers() -> None:
    """From NATS by MQTT and a Redis stream to NATS again: each event and each message has the three headers."""
    with (
        nats_server() as server,
        mosquitto() as broker,
        redis_server() as store,
        sidecar(
            integration("nats", server.port)
            + integration("mqtt", broker.port)
            + integration("redis", store.port)
            + _WAYS
        ) as bridge,
        bridge.program() as program,
    ):
        for name in ("nats", "mqtt", "redis"):
            await program.wait(f"health.{name}", lambda event: event["payload"]["status"] == "connected")
        client = await nats.connect(f"nats://127.0.0.1:{server.port}")
        out = await client.subscribe("out")
        await subscribed(client)
        await client.publish("in", b'"x"', headers=_TRACE)
        for number, name in enumerate(("one", "two", "three")):
            event = await program.wait(name)
            assert {key: event["headers"][key] for key in _TRACE} == _TRACE, name
            assert not event["payload"]["headers"].keys() & _TRACE.keys()
            assert event["headers"]["hop"] == str(2 * number + 1)
        message = await out.next_msg(5)
        assert {key: message.headers[key] for key in _TRACE} == _TRACE
        with redis.Redis(port=store.port) as stored:
            ((_, fields),) = stored.xrange("in")
        assert _TRACE.items() <= json.loads(fields[b"headers"]).items()
        await client.close()
