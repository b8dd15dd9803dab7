"""Redis through the whole sidecar, seen by a program on the bus."""

import json

from tests.support.servers.redis_server import RedisServer, redis_server
from tests.support.sidecar.sidecar import sidecar
from tests.support.wait import until


def integration(server: RedisServer, more: str = "") -> str:
    """An `integration` block with short times."""
    return f"""
integration "store" {{
  type = "redis"
  endpoint {{
    address = "127.0.0.1"
    port    = {server.port}
  }}
  config {{
    claim_after = "1s"
  }}
  health {{
    interval = "300ms"
    timeout  = "300ms"
  }}
  {more}
}}
"""


_WAYS = """
route "orders" {
  on          = ["order.placed"]
  integration = "store"
  operation   = "enqueue"
  queue       = "orders"
  message     = event.payload
}

subscription "shipments" {
  integration = "store"
  queue       = "shipments"
  emit        = "order.shipped"
}

subscription "prices" {
  integration = "store"
  topic       = "prices.*"
  emit        = "data.${message.topic}"
}
"""


async def connected(program, since=0):
    """Wait until the integration is connected."""
    await program.wait("health.store", lambda event: event["payload"]["status"] == "connected", since=since)


async def test_commands_routes_and_subscriptions():
    """Both patterns in both directions; hops are counted across the stream."""
    with redis_server() as server, sidecar(integration(server) + _WAYS) as running, running.program() as program:
        await connected(program)
        with server.client() as client:
            program.emit("order.placed", {"id": 7}, "c1")
            answer = await program.response("c1")
            assert answer["payload"]["ok"]
            ((entry, fields),) = client.xrange("orders")
            assert answer["payload"]["result"] == {"message_id": f"{entry}/orders"}
            assert json.loads(fields["data"]) == {"id": 7}
            assert json.loads(fields["headers"]) == {"hop": "1"}

            client.xadd("shipments", {"data": '{"id":7}', "headers": '{"hop":"3","x":"y"}'})
            shipped = await program.wait("order.shipped")
            assert shipped["payload"]["message"] == {"id": 7}
            assert shipped["payload"]["headers"] == {"hop": "3", "x": "y"}
            assert shipped["payload"]["attempts"] == 1
            assert shipped["headers"]["hop"] == "4"

            client.publish("prices.eur", "1.5")
            priced = await program.wait("data.prices.eur")
            assert priced["payload"] == {"topic": "prices.eur", "message": 1.5, "headers": {}}

        taken = await program.ask("integration.store.dequeue", {"queue": "orders", "wait_ms": 1000})
        assert (taken["result"]["message"], taken["result"]["attempts"]) == ({"id": 7}, 1)
        acked = await program.ask("integration.store.ack", {"message_id": taken["result"]["message_id"]})
        assert acked["result"] == {}
        assert (await program.ask("integration.store.dequeue", {"queue": "orders"}))["result"] is None

        joined = await program.ask("integration.store.subscribe", {"topic": "late"})
        sent = await program.ask("integration.store.publish", {"topic": "late", "message": [1]})
        assert sent["result"] == {"receivers": 1}
        message = await program.wait("message.store")
        assert message["payload"]["message"] == [1]
        left = await program.ask("integration.store.unsubscribe", joined["result"])
        assert left["result"] == {}
        sent = await program.ask("integration.store.publish", {"topic": "late", "message": [2]})
        assert sent["result"] == {"receivers": 0}

        unknown = await program.ask("integration.store.request", {"method": "x"})
        assert unknown["error"]["kind"] == "not_supported"


async def test_a_restart_and_a_freeze():
    """Health says both; afterwards all subscriptions are there again, and no entry is lost."""
    with redis_server() as server, sidecar(integration(server) + _WAYS) as running, running.program() as program:
        await connected(program)
        for disturb, repair in ((server.kill, server.restart), (server.freeze, server.thaw)):
            since = program.mark()
            disturb()
            await program.wait("health.store", lambda event: event["payload"]["status"] == "disconnected", since=since)
            refused = await program.ask("integration.store.enqueue", {"queue": "q", "message": 1})
            assert refused["error"]["kind"] in {"not_connected", "connection_lost"}
            repair()
            with server.client() as client:
                entry = client.xadd("shipments", {"data": "1"})
            await connected(program, since)
            shipped = await program.wait("order.shipped", since=since)
            assert shipped["payload"]["message_id"] == f"{entry}/shipments"
            await program.ask("integration.store.publish", {"topic": "prices.usd", "message": 2})
            await program.wait("data.prices.usd", since=since)


_RETURNS = """
subscription "returns" {
  integration = "store"
  queue       = "returns"
  emit        = "order.returned"
}
"""


async def test_nobody_listens():
    """Entries wait in their stream and are not counted; other queues and commands go on; then all of them come."""

    def deliveries():
        return {one["times_delivered"] for one in client.xpending_range("shipments", "nemo", "-", "+", 9)}

    with (
        redis_server() as server,
        server.client() as client,
        sidecar(integration(server) + _WAYS + _RETURNS) as running,
        running.program("health.", "response.", "order.returned") as program,
    ):
        await connected(program)
        for n in range(5):
            client.xadd("shipments", {"data": n})
        # `claim_after` is a second: meanwhile others would claim them, and each time they would be counted.
        await until(lambda: deliveries() == {0})
        client.xadd("returns", {"data": 7})
        await program.wait("order.returned")
        sent = await program.ask("integration.store.enqueue", {"queue": "orders", "message": 1})
        assert sent["ok"], sent
        assert deliveries() == {0}
        with running.program("order.shipped") as listener:
            await until(lambda: listener.pump() or len(listener.seen("order.shipped")) == 5)
            shipped = [event["payload"] for event in listener.seen("order.shipped")]
        assert [(one["message"], one["attempts"]) for one in shipped] == [(n, 1) for n in range(5)]
        await until(lambda: client.xpending("shipments", "nemo")["pending"] == 0)


def unwell(event):
    """The subscriptions that are not well, with the code of the server's refusal."""
    listed = event["payload"]["subscriptions"]
    return {name: (one["error"] or {}).get("code") for name, one in listed.items()}


async def test_rights_that_are_taken_away():
    """What they were for is not well, with the server's own reason; everything else goes on."""
    auth = 'auth {\n    type     = "basic"\n    username = "app"\n    password = "pw"\n  }'
    with redis_server() as server, server.client() as client:
        client.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all")
        with sidecar(integration(server, auth) + _WAYS) as running, running.program() as program:
            await connected(program)
            since = program.mark()
            client.execute_command("ACL", "SETUSER", "app", "resetchannels", "&allowed", "-xreadgroup")
            health = await program.wait(
                "health.store", lambda event: unwell(event) == {"shipments": "NOPERM", "prices": "NOPERM"}, since=since
            )
            assert health["payload"]["status"] == "degraded"
            refused = await program.ask("integration.store.publish", {"topic": "forbidden", "message": 1})
            assert (refused["error"]["kind"], refused["error"]["code"]) == ("rejected", "NOPERM")
            for operation, payload in (("enqueue", {"queue": "orders"}), ("publish", {"topic": "allowed"})):
                sent = await program.ask(f"integration.store.{operation}", {**payload, "message": 1})
                assert sent["ok"], sent
            states = {one["payload"]["status"] for one in program.seen("health.store")}
            assert "disconnected" not in states


async def test_wrong_credentials():
    """`failed`, with slow retry, and the password nowhere."""
    auth = 'auth {\n    type     = "basic"\n    password = "${env.SECRET}"\n  }'
    with redis_server("--requirepass", "right") as server:
        text, environ = integration(server, auth), {"SECRET": "hunter2wrong"}
        with sidecar(text, environ=environ) as running, running.program() as program:
            failed = await program.wait("health.store", lambda event: event["payload"]["status"] == "failed")
            assert failed["payload"]["error"]["kind"] == "auth"
            refused = await program.ask("integration.store.enqueue", {"queue": "q", "message": 1})
            assert refused["error"]["kind"] == "not_connected"
            with server.client(password="right") as client:
                assert client.info("stats")["total_connections_received"] < 5
            assert "hunter2wrong" not in running.text
            assert "hunter2wrong" not in str(program.log)
