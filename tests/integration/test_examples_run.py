"""Every example at work: the sidecar runs it as it stands, but for where its servers are, and its routes carry."""

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.support.bus.bus import Peer
from tests.support.bus.curve import KeyRing
from tests.support.bus.program import Program
from tests.support.servers.demo import demo_service
from tests.support.servers.http_server import Received, http, scripted_server
from tests.support.servers.jsonrpc_websocket_service import jsonrpc_websocket_service
from tests.support.servers.mosquitto import mosquitto
from tests.support.servers.nats_server import nats_client, nats_server, subscribed
from tests.support.servers.redis_server import redis_server
from tests.support.servers.remote import free_port
from tests.support.sidecar.sidecar import Sidecar, bus_block, short_directory, sidecar
from tests.support.wait import until

_EXAMPLES = Path(__file__).parents[2] / "examples"
_ENDPOINT = re.compile(r"^  endpoint \{.*?^  \}", re.MULTILINE | re.DOTALL)
_TESTED: Final = {
    "acknowledge",
    "bridge",
    "delivery",
    "fabric",
    "file",
    "http",
    "json-rpc",
    "json-rpc-websocket",
    "mqtt",
    "nats",
    "redis",
    "static",
    "timer",
    "websocket",
}


def test_each_has_its_test_here() -> None:
    """A new example fails until it is run, too."""
    by_its_own_tests = {"tested"}  # which tests/unit/simulation/test_cases.py runs
    assert {path.stem for path in _EXAMPLES.glob("*.hcl")} == _TESTED | by_its_own_tests
    here = Path(__file__).read_text("utf-8")
    assert all(f'example("{name}"' in here for name in _TESTED)


@contextmanager
def example(
    name: str, url: str = "", *directories: str, instead: tuple[tuple[str, str], ...] = ()
) -> Iterator[tuple[Program, Path]]:
    """The sidecar with an example, connected, and a program on its bus.

    Args:
        name: The example's.
        url: What stands in its endpoint block instead.
        directories: To be made beside the file first.
        instead: Servers, and times that no test can wait for, and what stands for them.
    """
    text = (_EXAMPLES / f"{name}.hcl").read_text("utf-8")
    for old, new in instead:
        assert old in text
        text = text.replace(old, new)
    if url:
        text, count = _ENDPOINT.subn(f'  endpoint {{\n    url = "{url}"\n  }}', text)
        assert count == 1
    environ = dict.fromkeys(re.findall(r'^  env +=\s+"(\w+)"', text, re.MULTILINE), "s3cret")
    integrations = re.findall(r'^integration "([\w-]+)"', text, re.MULTILINE)
    if "\nbus {" in text:
        text = re.sub(r"^bus \{.*?^\}", "", text, flags=re.MULTILINE | re.DOTALL)
    with short_directory() as place:
        for directory in directories:
            (place / directory).mkdir(parents=True)
        source = re.search(r'^  name +=\s+"(\w+)"', text, re.MULTILINE)
        environ["XDG_STATE_HOME"] = str(place)  # where the outbox lies
        running = Sidecar(place, bus_block(place) + text, environ=environ)
        try:
            running.ready("bridge" if source is None else f"bridge/{source[1]}")
            with Program(running.publish, running.subscribe) as program:
                for integration in integrations:
                    _connected(program, integration)
                yield program, place
            assert "Traceback" not in running.text
        finally:
            running.kill()


def _connected(program: Program, integration: str) -> None:
    for _ in range(1500):
        if any(e["payload"]["status"] == "connected" for e in program.seen(f"health.{integration}")):
            return
        program.sub.poll(10)
    raise AssertionError(program.seen(f"health.{integration}"))


async def test_json_rpc() -> None:
    """An order becomes a call, and its confirmation an event."""
    with demo_service("--token", "s3cret") as service, example("json-rpc", service.url) as (program, _):
        program.emit("order.created", {"id": 7, "total": 12.5})
        assert (await program.wait("order.confirmed"))["payload"]["cents"] == 1250
        program.emit("audit.seen.by", {"a": 1}, "audit")
        assert (await program.response("audit"))["payload"]["result"]["what"] == "audit.seen.by"


async def test_json_rpc_over_websocket() -> None:
    """A call and its answer; what the server tells by itself."""
    with jsonrpc_websocket_service() as service, example("json-rpc-websocket", service.url) as (program, _):
        program.emit("price.wanted", {"symbol": "NEMO"})
        assert (await program.wait("price.answered"))["payload"] == {"symbol": "NEMO"}
        await program.request("quotes", "tell", {"method": "price", "params": {"NEMO": 7}})
        assert (await program.wait("data.price"))["payload"]["message"] == {"NEMO": 7}


class _Shop:
    """What the HTTP example's remote says: a stock that falls, and an event for each order."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.stock = 100
        self.listener: Received | None = None

    def respond(self, request: Received) -> None:
        assert request.header("Authorization") == "Bearer s3cret"
        line = request.head.split(b"\r\n")[0].decode()
        self.lines.append(line)
        if "/api/orders/events" in line:
            self.listener = request
            request.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            return
        if line.startswith("PUT") and self.listener is not None:
            self.listener.send(b'event: created\ndata: {"id": 7}\n\n')
        self.stock -= 1
        request.send(http(json.dumps({"stock": self.stock}), 200, "Content-Type: application/json"))


async def test_http() -> None:
    """An order is put, the stock is polled, the stream of events is heard; all with the token."""
    shop = _Shop()

    async def work(url: str) -> None:
        with example("http", url, instead=(('"30s"', '"1s"'),)) as (program, _):
            program.emit("order.placed", {"id": 7})
            assert (await program.wait("order.accepted"))["payload"]["status"] == 200
            event = (await program.wait("data.orders"))["payload"]
            assert (event["message"], event["headers"]["event"]) == ({"id": 7}, "created")
            assert "stock" in (await program.wait("data.stock"))["payload"]["message"]

    async with scripted_server(shop.respond) as server:
        await asyncio.to_thread(lambda: asyncio.run(work(f"http://127.0.0.1:{server.port}/api")))
    assert any(line.startswith("PUT /api/orders/7 ") for line in shop.lines)


async def test_mqtt() -> None:
    """A lamp is switched, a metric is seen under its own type."""
    with mosquitto() as broker, example("mqtt", broker.url) as (program, _):
        program.emit("lamp.on", {"room": "hall", "on": True}, "lamp")
        assert (await program.response("lamp"))["payload"]["ok"]
        await program.ask("integration.events.publish", {"topic": "metrics/load", "message": 0.5})
        assert (await program.wait("data.metrics.load"))["payload"]["message"] == 0.5
        await program.ask("integration.events.publish", {"topic": "jobs/a", "message": {"job": 1}})
        assert (await program.wait("message.events"))["payload"]["topic"] == "jobs/a"


async def test_acknowledge() -> None:
    """A job comes again when it is given back, and no more when it is acknowledged."""
    with mosquitto() as broker, example("acknowledge", broker.url) as (program, _):
        await program.ask("integration.plant.publish", {"topic": "jobs/a", "message": {"job": 1}, "qos": 2})
        message_id = (await program.wait("job.come"))["payload"]["message_id"]
        assert (await program.ask("integration.plant.nack", {"message_id": message_id}))["ok"]
        again = await program.wait("job.come", lambda event: event["payload"]["attempts"] == 2)
        assert again["payload"]["message_id"] == message_id
        assert (await program.ask("integration.plant.ack", {"message_id": message_id}))["ok"]


async def test_delivery() -> None:
    """A payment is made, its receipt is said, and the stream has it."""
    with demo_service() as service, redis_server() as server, server.client() as outside:
        servers = (
            ("https://bank.example.com/rpc", service.url),
            ("redis://127.0.0.1:6379/0", f"redis://127.0.0.1:{server.port}/0"),
            ("payments.create", "orders.create"),  # what this service can do
        )
        with example("delivery", instead=servers) as (program, _):
            payment = {"id": 7, "customer": "c"}
            program.emit("payment.made", payment, headers={"idempotency_key": "k"})
            await program.wait("receipt.bank.delivered")
            await until(lambda: outside.xlen("payments") == 1)
            ((_, fields),) = outside.xrange("payments")
            assert json.loads(fields["data"]) == payment


def _of_another_node(text: str) -> str:
    """Return the example's fabric as a second node has it: it offers what the example uses, and uses what it offers."""
    blocks = (_block(text, one) for one in ('integration "cluster"', 'integration "till"', 'fabric "plant"'))
    cluster, remote, fabric = blocks
    names = {"till": "label_printer", "label_printer": "till", "desk-7": "desk-8"}
    swapped = re.sub("till|label_printer|desk-7", lambda name: names[name[0]], f"{remote}\n{fabric}")
    return f"{cluster}\n{swapped}"


def _block(text: str, head: str) -> str:
    found = re.search(rf"^{head} \{{.*?^\}}", text, re.MULTILINE | re.DOTALL)
    assert found is not None, head
    return found[0]


class _Printer:
    """Another node's printer, which keeps what it has printed."""

    def __init__(self) -> None:
        self.printed: list[str] = []

    def respond(self, request: Received) -> None:
        if not request.body:  # the check of its health
            request.send(http())
            return
        assert request.call["method"] == "print"
        self.printed.append(request.call["params"]["text"])
        request.result({"copies": 1})


async def test_fabric() -> None:
    """A ticket gets its label on another node, which uses the till of this one; tickets are on both buses."""
    printer = _Printer()
    text = (_EXAMPLES / "fabric.hcl").read_text("utf-8")

    async def work(port: int, till: str, printer_url: str) -> None:
        servers = (("127.0.0.1:4222", f"127.0.0.1:{port}"), ("http://127.0.0.1:8087/rpc", till))
        second = _of_another_node(text.replace(*servers[0]).replace(servers[1][0], printer_url))
        with (
            sidecar(second) as other_bridge,
            other_bridge.program() as there,
            example("fabric", instead=servers) as (here, place),
            Peer(f"ipc://{place}/p", f"ipc://{place}/s", "ticket.", "hello") as bus_7,
            Peer(other_bridge.publish, other_bridge.subscribe, "ticket.", "hello") as bus_8,
        ):
            for peer in (bus_7, bus_8):
                await peer.send_until(lambda peer=peer: peer.received())
            _connected(here, "label_printer")
            _connected(there, "till")

            here.emit("ticket.opened", {"title": "a lamp is out"})
            assert (await here.wait("ticket.labelled"))["payload"] == {"copies": 1}
            opened = await bus_8.receive("ticket.opened")
            assert (opened["payload"], opened["source"]) == ({"title": "a lamp is out"}, f"desk-7/{here.source}")

            there.emit("ticket.closed", {"id": 7})
            closed = await bus_7.receive("ticket.closed")
            assert (closed["payload"], closed["source"]) == ({"id": 7}, f"desk-8/{there.source}")

            assert (await there.request("till", "echo", [12.5]))["result"] == [12.5]
            assert [one["payload"]["warnings"] for one in here.seen("health.fabric.plant")][-1] == []

    with nats_server() as server, demo_service() as service:
        async with scripted_server(printer.respond) as remote:
            url = f"http://127.0.0.1:{remote.port}/rpc"
            await asyncio.to_thread(lambda: asyncio.run(work(server.port, service.url, url)))
    assert printer.printed == ["a lamp is out"]


async def test_nats() -> None:
    """An order is stored and seen, a price is asked for, a metric is heard."""
    settings = "authorization { users = [ { user: nemo, password: s3cret } ] }"
    with nats_server(settings) as server, example("nats", f"nats://127.0.0.1:{server.port}") as (program, _):
        program.emit("order.placed", {"id": 7})
        assert (await program.wait("order.seen"))["payload"]["message"] == {"id": 7}
        async with nats_client(server.port, user="nemo", password="s3cret") as outside:

            async def answer(message: Any) -> None:
                await outside.publish(message.reply, b'{"cents": 990}')

            await outside.subscribe("prices.get", cb=answer)
            await subscribed(outside)
            program.emit("price.wanted", {"item": "lamp"})
            assert (await program.wait("price.known"))["payload"] == {"cents": 990}
            await outside.publish("metrics.load", b"0.5")
            assert (await program.wait("data.metrics"))["payload"]["message"] == 0.5


async def test_redis() -> None:
    """An order becomes an entry, an entry an event, a message of a channel another."""
    with redis_server() as server, server.client() as outside:
        outside.acl_setuser("shop", enabled=True, passwords=["+s3cret"], keys="*", channels="*", commands=["+@all"])
        with example("redis", f"redis://127.0.0.1:{server.port}/0") as (program, _):
            program.emit("order.placed", {"id": 7}, "order")
            assert (await program.response("order"))["payload"]["ok"]
            assert outside.xlen("orders") == 1
            outside.xadd("shipments", {"data": '{"id": 7}'})
            assert (await program.wait("order.shipped"))["payload"]["message"] == {"id": 7}
            outside.publish("prices.lamp", "990")
            assert (await program.wait("data.prices.lamp"))["payload"]["message"] == 990


async def test_websocket() -> None:
    """The ticker's prices, by the subprotocol that the example asks for."""

    async def tick(connection: ServerConnection) -> None:
        assert connection.request is not None
        assert connection.request.headers["Authorization"] == "Bearer s3cret"
        try:
            while True:
                await connection.send('{"NEMO": 7}')
                await asyncio.sleep(0.05)
        except ConnectionClosed:
            pass

    async def listen(url: str) -> Any:
        with example("websocket", url) as (program, _):
            return (await program.wait("data.prices"))["payload"]["message"]

    async with serve(tick, "127.0.0.1", 0, subprotocols=["ticker.v2"]) as server:  # type: ignore[list-item]
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/stream"
        assert await asyncio.to_thread(lambda: asyncio.run(listen(url))) == {"NEMO": 7}


async def test_file() -> None:
    """A file arrives, a line is told, an order goes into the journal."""
    with example("file", "", "exchange/inbox", "exchange/logs", "journal") as (program, place):
        (place / "exchange/inbox/a.json").write_text('{"a": 1}')
        assert "inbox/a.json" in str((await program.wait("exchange.arrived"))["payload"])
        with (place / "exchange/logs/app.log").open("a") as log:
            log.write("hello\n")
        assert (await program.wait("exchange.line"))["payload"]["message"] == "hello"
        program.emit("order.placed", {"id": 7})
        journal = place / "journal/orders.jsonl"
        await until(lambda: journal.exists() and journal.read_text(), "the journal")
        assert json.loads(journal.read_text()) == {"id": 7}


async def test_bridge() -> None:
    """The sidecar's own blocks: its name, the event that stops it, and a bus that is the user's own."""
    with example("bridge", instead=(("127.0.0.1:9464", "127.0.0.1:0"),)) as (program, _):
        health = (await program.wait("health.bridge"))["payload"]
        assert (health["name"], health["integrations"]) == ("shop", {})
        program.emit("system.shutdown", None)
        await program.wait("health.bridge", lambda event: event["payload"]["status"] == "stopped")


async def test_static() -> None:
    """A value by its key."""
    with example("static") as (program, _):
        assert (await program.request("settings", "get", {"key": "currency"}))["result"] == "EUR"


async def test_timer() -> None:
    """Its ticks."""
    with example("timer", instead=(('"10s"', '"3s"'),)) as (program, _):
        assert "scheduled_at" in (await program.wait("timer.poll"))["payload"]["message"]


async def test_closed_bus() -> None:
    """A program whose key is listed has its order made into a call, and hears the answer."""
    page = (_EXAMPLES / "closed-bus" / "README.md").read_text("utf-8")
    (text,) = re.findall(r"^```hcl\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    publish, subscribe = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    with short_directory() as place, demo_service() as service:
        ring = KeyRing(place / "keys")
        keys = ring.listed("till", publish="order.**", subscribe="health.**, response.**")
        text = text.replace("tcp://0.0.0.0:48621", publish).replace("tcp://0.0.0.0:48622", subscribe)
        running = Sidecar(place, _ENDPOINT.sub(f'  endpoint {{\n    url = "{service.url}"\n  }}', text))
        try:
            with Peer(publish, subscribe, "response.", "health.", source="till", keys=keys) as till:
                await till.receive("health.bridge", 20)
                said = asyncio.create_task(till.receive("response.order.created", 20))
                while not said.done():
                    till.send("order.created", {"id": 7}, correlation_id="c", headers={"idempotency_key": "order-7"})
                    await asyncio.wait({said}, timeout=0.2)
                answer = (await said)["payload"]
                assert answer["ok"], answer
                assert answer["result"]["id"] == 7
        finally:
            running.kill()
