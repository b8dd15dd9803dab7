"""NATS through the whole sidecar, seen by a program on the bus."""

import asyncio
import json
import shutil
from contextlib import contextmanager

from tests.support.bus.program import Event, Program
from tests.support.servers.nats_server import NatsServer, nats_client, nats_responder, nats_server
from tests.support.servers.remote import free_port
from tests.support.sidecar.sidecar import sidecar
from tests.support.wait import until


def integration(server: NatsServer, more: str = "") -> str:
    """An `integration` block with short times, and ways in both directions."""
    return f"""
integration "backbone" {{
  type = "nats"
  endpoint {{
    address = "127.0.0.1"
    port    = {server.port}
  }}
  config {{
    durable = "nemo"
    stream {{
      name     = "ORDERS"
      subjects = ["orders.*"]
    }}
  }}
  health {{
    interval = "300ms"
    timeout  = "300ms"
  }}
  {more}
}}

route "orders" {{
  on          = ["order.placed"]
  integration = "backbone"
  operation   = "enqueue"
  queue       = "orders.new"
  message     = event.payload
}}

subscription "stored" {{
  integration = "backbone"
  queue       = "ORDERS/nemo"
  emit        = "order.stored"
}}

subscription "prices" {{
  integration = "backbone"
  topic       = "prices.>"
  emit        = "data.${{message.topic}}"
}}
"""


async def connected(program, since=0):
    """Wait until the integration is connected."""
    await program.wait("health.backbone", lambda event: event["payload"]["status"] == "connected", since=since)


async def test_commands_routes_and_subscriptions():
    """All three patterns; hops are counted across the stream, and a repeated key is stored once."""
    with nats_server() as server, sidecar(integration(server)) as running, running.program() as program:
        await connected(program)
        program.emit("order.placed", {"id": 7}, "c1")
        answer = await program.response("c1")
        assert answer["payload"]["result"] == {"message_id": "ORDERS/1"}
        stored = await program.wait("order.stored")
        assert (stored["payload"]["topic"], stored["payload"]["message"]) == ("orders.new", {"id": 7})
        assert (stored["payload"]["message_id"], stored["payload"]["attempts"]) == ("ORDERS/1", 1)
        assert (stored["payload"]["headers"]["hop"], stored["headers"]["hop"]) == ("1", "2")

        sent = await program.ask("integration.backbone.publish", {"topic": "prices.eur", "message": 1.5})
        assert sent["result"] == {}
        priced = await program.wait("data.prices.eur")
        assert priced["payload"]["message"] == 1.5

        async with nats_responder(server.port):
            answer = await program.ask("integration.backbone.request", {"method": "echo", "params": {"a": [1]}})
            assert answer["result"] == {"a": [1]}
        answer = await program.ask("integration.backbone.request", {"method": "nobody", "params": {}})
        assert answer["error"]["kind"] == "unavailable"
        assert answer["attempts"] > 1

        async with nats_client(server.port) as outside:
            jetstream = outside.jetstream()
            await jetstream.add_stream(name="JOBS", subjects=["jobs"])
            await jetstream.add_consumer("JOBS", durable_name="w", ack_policy="explicit")
            await jetstream.publish("jobs", json.dumps({"n": 1}).encode())
        taken = await program.ask("integration.backbone.dequeue", {"queue": "JOBS/w", "wait_ms": 2000})
        assert taken["result"]["message"] == {"n": 1}
        settled = {"message_id": taken["result"]["message_id"]}
        assert (await program.ask("integration.backbone.nack", settled))["result"] == {}
        taken = await program.ask("integration.backbone.dequeue", {"queue": "JOBS/w", "wait_ms": 2000})
        assert taken["result"]["attempts"] == 2
        assert (await program.ask("integration.backbone.ack", settled))["result"] == {}
        assert (await program.ask("integration.backbone.dequeue", {"queue": "JOBS/w"}))["result"] is None


async def test_a_restart_and_a_freeze():
    """Health says both; afterwards all subscriptions are there again, and what was stored comes."""
    with nats_server() as server, sidecar(integration(server)) as running, running.program() as program:
        await connected(program)
        for number, (disturb, repair) in enumerate(((server.kill, server.start), (server.freeze, server.thaw)), 1):
            since = program.mark()
            disturb()
            await program.wait(
                "health.backbone", lambda event: event["payload"]["status"] == "disconnected", since=since
            )
            refused = await program.ask("integration.backbone.publish", {"topic": "prices.x", "message": 1})
            assert refused["error"]["kind"] in {"not_connected", "connection_lost"}
            repair()
            async with nats_client(server.port) as outside:
                await outside.jetstream().publish("orders.x", json.dumps(number).encode())
            await connected(program, since)
            stored = await program.wait("order.stored", since=since)
            assert stored["payload"]["message"] == number
            await program.ask("integration.backbone.publish", {"topic": "prices.usd", "message": 2})
            await program.wait("data.prices.usd", since=since)


def _prices(program: Program) -> list[Event]:
    """Return what was told of the messages with prices: an event, or why there is none."""
    return [*program.seen(prefix="data.prices."), *program.seen("resilience.backbone.failed")]


async def test_messages_of_any_bytes():
    """From whoever may publish, by subject, reply, headers and content, and from a stream: each is an event.

    A type that is made of such a subject is an error of that message alone. After a restart all goes on.
    """
    strange = [
        b"PUB prices.\xff 1\r\n1\r\n",
        b"PUB prices.x _INBOX.\xff 1\r\n1\r\n",
        b"HPUB prices.x 17 18\r\nNATS/1.0 \xff\xff \xfe\r\n\r\n1\r\n",
        b"HPUB prices.x 25 26\r\nNATS/1.0 100 \xfe\r\n\xff\xff: \xfe\r\n\r\n1\r\n",
        b"PUB prices.x 2\r\n\xff\xfe\r\n",
        b"PUB orders.\xff 1\r\n1\r\n",
        b"PUB orders.x 2\r\n\xff\xfe\r\n",
    ]
    with nats_server() as server:
        for _ in range(2):
            with sidecar(integration(server)) as running, running.program() as program:
                await connected(program)
                _, stranger = await asyncio.open_connection("127.0.0.1", server.port)
                stranger.write(b'CONNECT {"verbose":false,"headers":true}\r\n' + b"".join(strange))
                try:
                    await until(lambda p=program: len(p.seen("order.stored")) == 2, "those of the stream")
                    await until(lambda p=program: len(_prices(p)) == 5, "those of the subject")
                    assert (await program.ask("integration.backbone.publish", {"topic": "t", "message": 1}))["ok"]
                finally:
                    stranger.close()
                assert "Traceback" not in running.text


async def test_a_stream_that_is_made_again():
    """It counts from 1 again: no new message is taken for an old one, and health says what has happened."""
    with nats_server() as server, sidecar(integration(server)) as running, running.program() as program:
        await connected(program)
        for number in range(3):
            assert (await program.ask("integration.backbone.enqueue", {"queue": "orders.x", "message": number}))["ok"]
            await program.wait("order.stored", lambda event, n=number: event["payload"]["message"] == n)
        since = program.mark()
        server.kill()
        shutil.rmtree(server.folder / "store")
        server.start()
        await connected(program, since)
        new = [f"new {number}" for number in range(8)]
        for number in new:
            assert (await program.ask("integration.backbone.enqueue", {"queue": "orders.x", "message": number}))["ok"]
        await program.wait("order.stored", lambda event: event["payload"]["message"] == new[-1], since=since)
        stored = [event["payload"] for event in program.seen("order.stored", since)]
        assert [payload["message"] for payload in stored] == new
        assert (stored[0]["message_id"], stored[0]["attempts"]) == ("ORDERS/1", 1)
        degraded = program.seen("resilience.backbone.degraded", since)
        assert any("stream ORDERS was made again" in event["payload"]["text"] for event in degraded)


async def test_a_subscription_that_is_revoked():
    """Health names it and why; the integration stays connected and publishes."""

    def settings(permissions: str) -> str:
        return f"""
authorization {{
  users = [ {{ user: app, password: app, permissions: {{ {permissions} }} }} ]
}}
no_auth_user: app
"""

    permitted, revoked = settings('publish: ">"'), settings('publish: ">", subscribe: { deny: ["prices.>"] }')
    with nats_server(permitted) as server, sidecar(integration(server)) as running, running.program() as program:
        await connected(program)
        since = program.mark()
        server.reload(revoked)
        event = await program.wait("health.backbone", lambda one: one["payload"]["subscriptions"], since=since)
        health = event["payload"]
        assert (health["status"], list(health["subscriptions"])) == ("degraded", ["prices"])
        error = health["subscriptions"]["prices"]["error"]
        assert (error["kind"], error["code"]) == ("rejected", "permissions violation")
        sent = await program.ask("integration.backbone.publish", {"topic": "prices.eur", "message": 1})
        assert sent["result"] == {}


async def test_wrong_credentials():
    """`failed`, with slow retry, and the password nowhere."""
    auth = 'auth {\n    type     = "basic"\n    username = "u"\n    password = "${env.SECRET}"\n  }'
    with nats_server('authorization { user: "u", password: "right" }') as server:
        text, environ = integration(server, auth), {"SECRET": "hunter2wrong"}
        with sidecar(text, environ=environ) as running, running.program() as program:
            failed = await program.wait("health.backbone", lambda event: event["payload"]["status"] == "failed")
            assert failed["payload"]["error"]["kind"] == "auth"
            assert "hunter2wrong" not in running.text
            assert "hunter2wrong" not in str(program.log)


@contextmanager
def cluster():
    """Two servers of one cluster, without JetStream; each names the other one to its clients."""
    routes = [f"127.0.0.1:{free_port()}" for _ in range(2)]

    def settings(own: str, other: str) -> str:
        return f"""
lame_duck_grace_period: "1s"
lame_duck_duration: "30s"
cluster {{
  name: c
  listen: "{own}"
  routes: ["nats-route://{other}"]
}}
"""

    there, back = (nats_server(settings(*one), jetstream=False) for one in (routes, routes[::-1]))
    with there as first, back as second:
        for server, other in ((first, second), (second, first)):
            while f"127.0.0.1:{other.port}" not in server.greeting().get("connect_urls", []):
                pass
        yield first, second


async def test_a_cluster_of_which_the_configured_server_goes():
    """It says that it is about to end: publishing goes on without a failure, on a server that it has named before.

    From then on that one is enough, though it, too, is killed and started again.
    """
    text = """
integration "backbone" {{
  type = "nats"
  endpoint {{
    url = "nats://127.0.0.1:{port}"
  }}
  health {{
    interval = "300ms"
    timeout  = "300ms"
  }}
}}

subscription "news" {{
  integration = "backbone"
  topic       = "news.>"
  emit        = "data.news"
}}
"""
    with cluster() as (first, second), sidecar(text.format(port=first.port)) as running, running.program() as program:
        await connected(program)
        since = program.mark()
        first.lame_duck()
        published = 0
        while first.process.poll() is None:
            answer = await program.ask("integration.backbone.publish", {"topic": "news.x", "message": published})
            assert answer["ok"], answer
            published += 1
        assert published
        changed = program.seen("health.backbone", since)
        assert {event["payload"]["status"] for event in changed} <= {"connected", "degraded"}

        since = program.mark()
        second.kill()
        await program.wait("health.backbone", lambda event: event["payload"]["status"] == "disconnected", since=since)
        second.start()
        await connected(program, since)
        await program.ask("integration.backbone.publish", {"topic": "news.y", "message": "again"})
        await program.wait("data.news", lambda event: event["payload"]["message"] == "again", since=since)
