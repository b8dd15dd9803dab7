"""Commands and routes of one sidecar that another one executes, over a real nats-server; processes are killed."""

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.bus.bus import Peer
from tests.support.bus.program import Program
from tests.support.servers.nats_server import NatsServer, nats_client, nats_server, subscribed
from tests.support.servers.programs import freeze
from tests.support.servers.redis_server import redis_server
from tests.support.servers.remote import Remote, remote
from tests.support.sidecar import fork_server
from tests.support.sidecar.restarts import restarts
from tests.support.sidecar.sidecar import Sidecar, integration, json_rpc, sidecar
from tests.support.wait import until

_HEARTBEAT = "500ms"
_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_NOT_SUPPORTED = {
    "dequeue": {"queue": "q"},
    "ack": {"message_id": "m"},
    "nack": {"message_id": "m"},
    "subscribe": {"topic": "t"},
    "unsubscribe": {"topic": "t"},
}

ROUTE = """
route "orders" {
  on          = ["order.**"]
  integration = "erp"
  operation   = "request"
  method      = event.payload.method
  params      = [event.payload.number]
  delivery    = "at_least_once"
  receipts    = true
}
"""


@pytest.fixture
def server() -> Iterator[NatsServer]:
    """A server with JetStream."""
    with nats_server() as running:
        yield running


def node(server: NatsServer, name: str, *lines: str, fabric: str = "plant") -> str:
    """Write a fabric with these lines, and what carries it, for a node of this name."""
    inside = "".join(f"  {line}\n" for line in lines)
    return f"""
integration "to_{fabric}" {{
  type = "nats"
  endpoint {{
    url = "nats://127.0.0.1:{server.port}"
  }}
}}
fabric "{fabric}" {{
  integration = "to_{fabric}"
  node        = "{name}"
{inside}}}
"""


def maker(server: NatsServer, name: str, service: Remote, **options: Any) -> str:
    """Write the configuration of a node that offers a JSON-RPC service."""
    return json_rpc("erp", service.url, **({"timeout": "2s"} | options)) + node(server, name, 'offer = ["erp"]')


def user(server: NatsServer, more: str = "") -> str:
    """Write the configuration of a node that uses it."""
    return node(server, "desk", 'use = ["erp"]') + more


async def has_status(program: Program, integration: str, status: str, since: int = 0) -> dict[str, Any]:
    """Wait until an integration, or what else has a health, has a status; return that health."""
    event = await program.wait(f"health.{integration}", lambda one: one["payload"]["status"] == status, since=since)
    payload: dict[str, Any] = event["payload"]
    return payload


async def begin(program: Program, method: str, *numbers: int) -> list[str]:
    """Send requests, and return their correlation ids."""
    names = [f"{method}-{number}" for number in numbers]
    for name in names:
        program.emit("integration.erp.request", {"method": method, "params": [name]}, name)
    return names


async def test_a_request_is_answered_as_if_the_service_were_here(server: NatsServer) -> None:
    """Result, attempts, error with code and data, time limits and trace context are those of the service there."""
    with ExitStack() as stack:
        service = stack.enter_context(remote())
        there = stack.enter_context(
            sidecar(maker(server, "maker", service, attempts=3, config='idempotent = ["flaky_safe"]'))
        )
        here = stack.enter_context(sidecar(user(server)))
        program = stack.enter_context(here.program(source="shop"))
        other = stack.enter_context(there.program())
        await has_status(program, "erp", "connected")

        answer = await program.request("erp", "echo", [1, {"a": None}], headers={"traceparent": _TRACE})
        assert (answer["ok"], answer["result"], answer["attempts"]) == (True, [1, {"a": None}], 1)
        assert service.heads[-1]["traceparent"].split("-")[1] == _TRACE.split("-")[1]

        service.fails = 2
        assert (await program.request("erp", "flaky_safe", [1]))["attempts"] == 3
        assert service.calls["flaky_safe"] == 3

        refused = await program.request("erp", "error")
        assert refused["error"] == {
            "kind": "rejected",
            "message": "no such order",
            "retryable": False,
            "code": -32001,
            "data": {"order": 7},
        }
        for on, source in ((program, "shop"), (other, "desk/shop")):
            failed = await on.wait("resilience.erp.failed")
            assert failed["payload"]["cause"]["source"] == source
            assert failed["payload"]["error"] == refused["error"]
        assert not other.seen(prefix="response.")

        began = time.monotonic()
        late = await program.request("erp", "wait", timeout_ms=300)
        assert (late["error"]["kind"], late["error"]["retryable"]) == ("deadline", False)
        until_ms = str(time.time_ns() // 1_000_000 + 300)
        late = await program.request("erp", "wait", headers={"deadline_ms": until_ms})
        assert late["error"]["kind"] == "deadline"
        assert 0.5 < time.monotonic() - began < 10.0
        await until(
            lambda: (
                [one["payload"]["error"]["kind"] for one in other.seen("resilience.erp.failed")].count("deadline") == 2
            )
        )

        for operation, payload in _NOT_SUPPORTED.items():
            unfit = await program.ask(f"integration.erp.{operation}", payload)
            assert unfit["error"]["kind"] == "not_supported", operation
        assert (await program.ask("integration.erp.dance", {}))["error"]["kind"] == "unknown_operation"


async def test_a_repeated_key_runs_once_for_each_program(server: NatsServer) -> None:
    """It is answered from memory here, after a restart by the offering node; for another program it is another key."""
    with ExitStack() as stack:
        service = stack.enter_context(remote())
        there = stack.enter_context(sidecar(maker(server, "maker", service)))
        start = stack.enter_context(restarts(user(server)))
        key = {"idempotency_key": "k"}
        for _ in range(2):
            with start().program(source="shop") as program:
                await has_status(program, "erp", "connected")
                for _ in range(2):
                    answer = await program.request("erp", "echo", ["shop"], headers=key)
                    assert (answer["result"], answer["attempts"]) == (["shop"], 1)
                assert service.calls["echo"] == 1
        with start().program(source="office") as program:
            await has_status(program, "erp", "connected")
            assert (await program.request("erp", "echo", ["office"], headers=key))["result"] == ["office"]
        assert [head["idempotency-key"] for head in service.heads] == ["k", "k"]

        with there.program() as controlling, start().program(source="shop") as program:
            await has_status(program, "erp", "connected")
            await controlling.ask("integration.erp.circuit.force_open", {})
            for _ in range(2):
                shed = await program.request("erp", "echo", ["n"], headers={"idempotency_key": "n"})
                assert (shed["error"]["kind"], shed["attempts"]) == ("circuit_open", 0)
            await controlling.ask("integration.erp.circuit.reset", {})
            assert (await program.request("erp", "echo", ["n"], headers={"idempotency_key": "n"}))["result"] == ["n"]


async def test_messages_to_brokers_behind_another_node(server: NatsServer) -> None:
    """`publish` and `enqueue` reach a NATS server and a Redis that only the other node has."""
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server())
        behind = stack.enter_context(nats_server())
        blocks = integration("redis", redis.port) + integration("nats", behind.port)
        stack.enter_context(sidecar(blocks + node(server, "maker", 'offer = ["redis", "nats"]')))
        here = stack.enter_context(sidecar(node(server, "desk", 'use = ["redis", "nats"]')))
        program = stack.enter_context(here.program())
        await has_status(program, "redis", "connected")
        await has_status(program, "nats", "connected")
        message = {"queue": "orders", "message": {"n": 1}, "headers": {"shop": "7"}}
        queued = await program.ask("integration.redis.enqueue", message)
        with redis.client() as client:
            ((entry, fields),) = client.xrange("orders")
        assert queued["result"]["message_id"] == f"{entry}/orders"
        assert json.loads(fields["data"]) == {"n": 1}
        assert json.loads(fields["headers"])["shop"] == "7"
        async with nats_client(behind.port) as client:
            came = await client.subscribe("news.a")
            await subscribed(client)
            assert (await program.ask("integration.nats.publish", {"topic": "news.a", "message": {"n": 2}}))["ok"]
            assert json.loads((await came.next_msg(5)).data) == {"n": 2}


async def test_a_route_through_the_outbox(server: NatsServer) -> None:
    """Receipts and a dead letter come here; what was accepted while the other node is away goes on when it is back."""
    with ExitStack() as stack:
        service = stack.enter_context(remote())
        start = stack.enter_context(restarts(maker(server, "maker", service), more=f'heartbeat = "{_HEARTBEAT}"'))
        there = start()
        here = stack.enter_context(sidecar(user(server, ROUTE), heartbeat=_HEARTBEAT))
        program = stack.enter_context(here.program())
        await has_status(program, "erp", "connected")

        program.emit("order.a", {"method": "echo", "number": 1}, "first")
        assert (await program.response("first"))["payload"]["result"] == [1]
        assert (await program.wait("receipt.erp.delivered"))["correlation_id"] == "first"
        program.emit("order.b", {"method": "error", "number": 2}, "second")
        assert (await program.response("second"))["payload"]["error"]["code"] == -32001
        assert (await program.wait("receipt.erp.dead_lettered"))["correlation_id"] == "second"
        letter = (await program.wait("resilience.erp.dead_letter"))["payload"]
        assert letter["error"]["data"] == {"order": 7}
        assert service.calls["error"] == 1

        since = program.mark()
        there.term()
        assert there.wait() == 0
        gone = await has_status(program, "erp", "disconnected", since)
        assert gone["error"]["kind"] == "unavailable"
        for number in range(5):
            program.emit("order.c", {"method": "echo", "number": number}, f"away-{number}")
        await program.wait("health.bridge", lambda one: one["payload"]["outbox"]["pending"] == 5, since=since)
        assert service.calls["echo"] == 1
        start()
        for number in range(5):
            assert (await program.response(f"away-{number}"))["payload"]["result"] == [number]
        assert service.calls["echo"] == 6
        assert not program.seen("resilience.erp.failed", since)


async def test_a_node_that_is_killed_in_the_middle(server: NatsServer) -> None:
    """With a key the call is made again by the node that comes after it; without, it is a dead letter that says so."""
    with ExitStack() as stack:
        service = stack.enter_context(remote())
        text = maker(server, "maker", service, timeout="1s")
        start = stack.enter_context(restarts(text, more=f'heartbeat = "{_HEARTBEAT}"'))
        there = start()
        here = stack.enter_context(sidecar(user(server, ROUTE), heartbeat=_HEARTBEAT))
        program = stack.enter_context(here.program())
        await has_status(program, "erp", "connected")
        program.emit("order.keyed", {"method": "wait", "number": 1}, "keyed", {"idempotency_key": "k"})
        program.emit("order.bare", {"method": "wait", "number": 2}, "bare")
        await until(lambda: service.calls["wait"] == 2)
        there.kill()
        service.hold.set()
        start()
        bare = (await program.response("bare"))["payload"]
        assert (bare["error"]["kind"], bare["error"]["retryable"]) == ("timeout", False)
        letter = (await program.wait("resilience.erp.dead_letter"))["payload"]
        assert (letter["unknown"], letter["event"]["event_type"]) == (True, "order.bare")
        keyed = (await program.response("keyed"))["payload"]
        assert keyed["result"] == [1]
        assert [head["params"] for head in service.heads].count([2]) == 1
        assert [head["idempotency-key"] for head in service.heads if head["params"] == [1]] == ["k", "k"]


async def test_a_node_that_stands_still(server: NatsServer) -> None:
    """Its commands end in time and are not executed when it goes on; it is `unavailable` until then, and used after."""
    with ExitStack() as stack:
        service = stack.enter_context(remote())
        there = stack.enter_context(sidecar(maker(server, "maker", service), heartbeat=_HEARTBEAT))
        here = stack.enter_context(sidecar(user(server), heartbeat=_HEARTBEAT))
        program = stack.enter_context(here.program())
        await has_status(program, "erp", "connected")
        since = program.mark()
        freeze(there.process)
        late = await program.request("erp", "echo", ["late"], timeout_ms=300)
        assert late["error"]["kind"] == "deadline"
        await has_status(program, "erp", "disconnected", since)
        began = time.monotonic()
        away = await program.request("erp", "echo", ["away"])
        assert (away["error"]["kind"], away["error"]["retryable"]) == ("unavailable", True)
        assert time.monotonic() - began < 2.0
        since = program.mark()
        there.process.send_signal(signal.SIGCONT)
        await has_status(program, "erp", "connected", since)
        assert (await program.request("erp", "echo", ["back"]))["result"] == ["back"]
        assert [head["params"] for head in service.heads] == [["back"]]


async def test_nodes_that_offer_the_same_are_killed_and_drained(server: NatsServer) -> None:
    """After a SIGKILL the others take all; at a SIGTERM what runs is answered, and what comes then goes to the last."""
    with ExitStack() as stack:
        services = [stack.enter_context(remote()) for _ in range(3)]
        makers: list[Sidecar] = [
            stack.enter_context(
                sidecar(maker(server, f"maker-{at}", one, limit="max_in_flight = 100"), heartbeat=_HEARTBEAT)
            )
            for at, one in enumerate(services)
        ]
        here = stack.enter_context(sidecar(user(server), heartbeat=_HEARTBEAT))
        program = stack.enter_context(here.program())
        for at in range(3):
            await has_status(program, f"node.maker-{at}", "connected")
        await has_status(program, "erp", "connected")

        async def all_are_answered(names: list[str]) -> None:
            for name in names:
                answer = (await program.response(name))["payload"]
                assert answer.get("result") == [name], answer

        await all_are_answered(await begin(program, "echo", *range(60)))
        assert all(one.calls["echo"] for one in services)

        makers[0].kill()
        await all_are_answered(await begin(program, "echo", *range(100, 140)))

        running = await begin(program, "sleep:700", *range(30))
        await until(lambda: services[1].calls["sleep:700"] and sum(one.calls["sleep:700"] for one in services) == 30)
        makers[1].term()
        later = []
        number = 200
        while makers[1].process.poll() is None:
            later += await begin(program, "echo", number)
            number += 1
            await asyncio.sleep(0.01)
        await all_are_answered(running + later)
        before = services[1].calls["echo"]
        await all_are_answered(await begin(program, "echo", *range(1000, 1020)))
        assert services[1].calls["echo"] == before
        assert len(later) > 20


async def test_what_is_shown_of_a_used_integration_and_what_controls_do(server: NatsServer) -> None:
    """Status, overview and inspection have it with the type `fabric`; a control concerns this bridge alone."""
    with ExitStack() as stack:
        service = stack.enter_context(remote())
        there = stack.enter_context(sidecar(maker(server, "maker", service)))
        here = stack.enter_context(sidecar(user(server)))
        program = stack.enter_context(here.program())
        other = stack.enter_context(there.program())
        await has_status(program, "erp", "connected")
        await program.request("erp", "error")

        place = ("--publish", here.publish, "--subscribe", here.subscribe)
        done = fork_server.run("status", "--json", *place)
        assert (done.returncode, done.stderr) == (0, "")
        shown = json.loads(done.stdout)["erp"]
        assert (shown["type"], shown["status"], shown["accounting"]["failed"]) == ("fabric", "connected", 1)
        overview = (await program.ask("bridge.overview", {}))["result"]
        (row,) = [one for one in overview["integrations"] if one["integration"] == "erp"]
        assert (row["type"], row["status"]) == ("fabric", "connected")
        inspected = (await program.ask("bridge.inspect", {"integration": "erp"}))["result"]
        assert inspected["configuration"]["config.fabric"] == "plant"
        assert inspected["failed"][0]["error"]["code"] == -32001

        for control, status in (
            ("pause", "paused"),
            ("resume", "connected"),
            ("drain", "stopped"),
            ("resume", "connected"),
        ):
            since = program.mark()
            assert (await program.ask(f"integration.erp.{control}", {}))["ok"], control
            await has_status(program, "erp", status, since)
            if status == "stopped":
                refused = await program.request("erp", "echo", [1])
                assert refused["error"]["kind"] == "stopping"
        for control, state in (("circuit.force_open", "open"), ("circuit.reset", "closed")):
            assert (await program.ask(f"integration.erp.{control}", {}))["result"] == {"state": state}
            answer = await program.request("erp", "echo", [1])
            assert answer["ok"] is (state == "closed")
        assert {one["payload"]["status"] for one in other.seen("health.erp")} == {"connected"}
        assert not other.seen(prefix="resilience.erp.circuit")


@pytest.mark.parametrize("carriers", [2, 1])
async def test_a_bridge_in_two_fabrics(server: NatsServer, carriers: int) -> None:
    """What it imports from one fabric it exports into the other, once, over an integration for each or one for both."""
    with ExitStack() as stack:
        west = node(server, "left", 'export = ["order.**"]', fabric="west")
        both = node(server, "mid-west", 'import = ["order.**"]', fabric="west")
        both += node(server, "mid-east", 'export = ["order.**"]', 'import = ["order.**"]', fabric="east")
        east = node(server, "right", 'import = ["order.**"]', 'export = ["order.**"]', fabric="east")
        if carriers == 1:
            both = both.replace('= "to_east"', '= "to_west"')
        left, _, right = (stack.enter_context(sidecar(text)) for text in (west, both, east))
        for one, near in ((left, "mid-west"), (right, "mid-east")):
            with one.program("health.") as program:
                await has_status(program, f"node.{near}", "connected")
        here = stack.enter_context(Peer(left.publish, left.subscribe, "order.", source="shop"))
        there = stack.enter_context(Peer(right.publish, right.subscribe, "order."))
        await here.send_until(lambda: bool(there.received()), "order.ready")
        here.send("order.created", {"n": 1}, correlation_id="c1")
        sent = here.last_id
        here.send("order.last")
        came: list[dict[str, Any]] = []
        await until(lambda: came.extend(there.received()) or (came and came[-1]["event_type"] == "order.last"))
        (event,) = [one for one in came if one["event_type"] == "order.created"]
        assert (event["id"], event["payload"], event["correlation_id"]) == (sent, {"n": 1}, "c1")
        assert (event["source"], event["headers"]["origin"]) == ("mid-east/left/shop", "mid-east")
        assert {one["source"] for one in here.received()} == {"shop"}
