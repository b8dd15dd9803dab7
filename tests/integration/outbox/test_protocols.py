"""Every acknowledging protocol through the outbox, while its broker and the sidecar are killed."""

import asyncio
import json

from tests.support.adapters.mqtt import Mailbox, connected
from tests.support.servers.mosquitto import mosquitto
from tests.support.servers.nats_server import nats_client, nats_server
from tests.support.servers.redis_server import redis_server
from tests.support.sidecar.restarts import restarts
from tests.support.wait import until

COUNT = 200
MQTT = 'operation = "publish"\n  topic = "orders"'
HEALTH = """
  health {
    interval = "300ms"
    timeout  = "300ms"
  }
  resilience {
    timeout = "1s"
  }
"""


def text(kind, port, config, arguments):
    """One integration and a route of what arrives as `order.placed`."""
    return f"""
integration "out" {{
  type = "{kind}"
  endpoint {{
    address = "127.0.0.1"
    port    = {port}
    tls     = false
  }}
  config {{
    {config}
  }}
  {HEALTH}
}}

route "orders" {{
  on          = ["order.placed"]
  integration = "out"
  {arguments}
  message     = event.payload
  delivery    = "at_least_once"
  receipts    = true
}}
"""


async def drive(start, kill, restart):
    """Say 200 events until each is answered, while broker and sidecar die twice each; every outcome is `delivered`.

    A receipt that a killed sidecar did not say comes when the event is said again.
    """
    answered, outcomes, done = set(), {}, set()
    for life in range(3):
        with start().program("receipt.", "response.", "health.bridge") as program:
            await until(lambda program=program: program.seen("health.bridge"), "it is up")
            for turn in range(200):
                for number in sorted(set(range(COUNT)) - done)[: 30 * (turn + 1)]:
                    headers = {"idempotency_key": f"k{number}"}
                    program.emit("order.placed", {"n": number}, f"c{number}", headers, source="shop")
                if turn == 1 and life < 2:
                    kill()
                if turn == 3 and life < 2:
                    restart()
                await asyncio.sleep(0.1)
                for event in program.seen("response.order.placed"):
                    assert event["payload"]["ok"]
                    answered.add(int(event["correlation_id"][1:]))
                for event in program.seen(prefix="receipt."):
                    key = event["payload"]["idempotency_key"]
                    assert outcomes.setdefault(key, event["event_type"]) == "receipt.out.delivered"
                done = {number for number in answered if f"k{number}" in outcomes}
                # Not before the broker is back, although all may be answered by then.
                if turn == 4 if life < 2 else len(done) == COUNT:
                    break
    assert len(answered) == COUNT
    assert set(outcomes) == {f"k{number}" for number in range(COUNT)}


async def test_redis_streams():
    """Every event is in the stream, and repeats carry the same key."""
    with redis_server() as server:
        with restarts(text("redis", server.port, "", 'operation = "enqueue"\n  queue = "orders"')) as start:
            await drive(start, server.kill, server.restart)
        found = {}
        for _, fields in server.client().xrange("orders"):
            key = json.loads(fields["headers"])["idempotency_key"]
            assert found.setdefault(json.loads(fields["data"])["n"], key) == key
        assert found == {number: f"k{number}" for number in range(COUNT)}


async def test_jetstream():
    """`Nats-Msg-Id` is the key, so the stream itself leaves repeats out."""
    with nats_server() as server:
        config = 'stream {\n name = "ORDERS"\n subjects = ["orders.*"]\n }'
        with restarts(text("nats", server.port, config, 'operation = "enqueue"\n  queue = "orders.new"')) as start:
            await drive(start, server.kill, server.restart)
        async with nats_client(server.port) as client:
            info = await client.jetstream().stream_info("ORDERS")
            assert info.state.messages == COUNT


async def test_mqtt():
    """A session that the broker keeps gets each message, with its key as a user property."""
    with mosquitto("persistence true") as broker, restarts(text("mqtt", broker.port, "", MQTT)) as start:
        mailbox = Mailbox()
        async with connected(broker.url, clean_start=False, client_id="keeper") as outside:
            await outside.subscribe("orders", mailbox.deliver)
        # Told to end, the broker writes down what it has acknowledged; killed, it may forget what nobody can get back.
        await drive(start, broker.stop, broker.start)
        async with connected(broker.url, clean_start=False, client_id="keeper") as outside:
            await outside.subscribe("orders", mailbox.deliver)
            await until(lambda: len({one.message["n"] for one in mailbox.messages}) == COUNT, "all have come")
        for one in mailbox.messages:
            assert one.headers["idempotency_key"] == f"k{one.message['n']}"
