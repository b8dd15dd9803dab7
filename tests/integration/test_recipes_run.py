"""Every recipe of `nemo-bridge init` does what it promises: the bridge in this process, real brokers, stand-ins."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bridge.cli import init
from bridge.cli.mock import Options, make_plan
from bridge.cli.mock_remote import MockRemote
from bridge.config import load
from bridge.gateway import IntegrationGateway
from bridge.registry import AdapterRegistry
from tests.support.bus.program import Program
from tests.support.servers.mosquitto import mosquitto
from tests.support.servers.nats_server import nats_client, nats_server, subscribed
from tests.support.servers.redis_server import RedisServer, redis_server
from tests.support.servers.remote import free_port
from tests.support.sidecar.sidecar import bus_block, short_directory
from tests.support.wait import until

RECIPES = init.recipes()


def test_each_has_its_test_here() -> None:
    """A new recipe fails until it is run, too."""
    here = Path(__file__).read_text("utf-8")
    assert not [name for name in RECIPES if f'recipe("{name}"' not in here]


@dataclass
class Running:
    """A recipe at work.

    Attributes:
        program: A program on the bus, which listens to everything.
        place: Where the file is.
        remotes: The stand-ins by the labels of their integrations.
        shown: What they have shown.
    """

    program: Program
    place: Path
    remotes: dict[str, MockRemote]
    shown: list[str]


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@asynccontextmanager
async def recipe(name: str, *directories: str, **variables: str) -> AsyncIterator[Running]:
    """Run a recipe, with stand-ins for its JSON-RPC and HTTP remotes.

    Args:
        name: The recipe's.
        directories: To be made beside the file first.
        variables: Environment variables, by which the recipe takes its addresses.
    """
    with short_directory() as place, ExitStack() as listening:
        for directory in directories:
            (place / directory).mkdir(parents=True)
        file = place / RECIPES[name].file
        file.write_text(bus_block(place) + RECIPES[name].text)
        configuration = load([file], adapters=AdapterRegistry(), environ=variables)
        shown: list[str] = []
        plan = make_plan(configuration, Options())
        for address in plan.places:
            listener = address.listen(lambda _, line: shown.append(line))
            listener.start()
            listening.callback(listener.stop)
        gateway = IntegrationGateway(configuration)
        work = asyncio.create_task(gateway.run())
        try:
            await until(lambda: work.done() or gateway.status()["bridge"].status == "ready")
            with Program(f"ipc://{place}/p", f"ipc://{place}/s") as program:
                for one in configuration.integrations:
                    await program.wait(f"health.{one}", lambda event: event["payload"]["status"] == "connected")
                yield Running(program, place, {one.name: one for one in plan.remotes}, shown)
        finally:
            gateway.stop("the test is over")
            await work


def stand_in() -> str:
    """Return an address for a stand-in."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """Return a server for the recipes that need one."""
    with redis_server() as server:
        yield server


async def test_json_rpc() -> None:
    """An order becomes a call, and its result an event; an order of nothing does not. Two failures are survived."""
    async with recipe("json-rpc", SHOP_URL=stand_in()) as running:
        running.program.emit("order.created", {"id": 6, "total": 0}, "none")
        running.program.emit("order.created", {"id": 7, "total": 3}, "some")
        confirmed = await running.program.wait("order.confirmed")
        assert confirmed["payload"] == {"id": 7, "cents": 300, "number": 1}
        running.remotes["shop"].behaviour.fails = 2
        running.program.emit("order.created", {"id": 8, "total": 3}, "again")
        again = (await running.program.response("again"))["payload"]
        assert (again["ok"], again["attempts"]) == (True, 3)
    assert 'orders.create {"id": 7, "cents": 300} → {"id": 7, "cents": 300, "number": 1}' in running.shown


async def test_mqtt_to_http() -> None:
    """A message of the broker is posted."""
    with mosquitto() as broker:
        async with recipe("mqtt-to-http", BROKER_URL=broker.url, API_URL=stand_in()) as running:
            message = {"topic": "sensors/hall", "message": {"celsius": 21.5}, "qos": 1}
            assert (await running.program.ask("integration.broker.publish", message))["ok"]
            body = '{"sensor": "sensors/hall", "value": {"celsius": 21.5}}'
            await until(lambda: any(line.startswith(f"POST /api/readings {body} → 200") for line in running.shown))


async def test_queue_worker(redis: RedisServer) -> None:
    """A job goes into the queue, comes out of it, and is done."""
    address = f"redis://127.0.0.1:{redis.port}/1"
    async with recipe("queue-worker", REDIS_URL=address, WORKER_URL=stand_in()) as running:
        assert (await running.program.ask("job.wanted", {"id": 7, "task": "resize"}))["ok"]
        assert (await running.program.wait("job.done"))["payload"] == {"id": 7, "task": "resize", "number": 1}
        await running.program.wait("receipt.worker.delivered")


async def test_nats() -> None:
    """An order is stored and comes back, a price is asked for, a metric is heard."""
    with nats_server() as server:
        async with recipe("nats", NATS_URL=f"nats://127.0.0.1:{server.port}") as running:
            running.program.emit("order.placed", {"id": 7})
            assert (await running.program.wait("order.stored"))["payload"]["message"] == {"id": 7}
            async with nats_client(server.port) as outside:

                async def answer(message: Any) -> None:
                    await outside.publish(message.reply, b'{"cents": 990}')

                await outside.subscribe("prices.get", cb=answer)
                await subscribed(outside)
                running.program.emit("price.wanted", {"item": "lamp"})
                assert (await running.program.wait("price.known"))["payload"] == {"cents": 990}
                await outside.publish("metrics.load", b"0.5")
                assert (await running.program.wait("data.metrics.load"))["payload"]["message"] == 0.5


async def test_redis_stream(redis: RedisServer) -> None:
    """An order becomes an entry, and says so; an entry becomes an event."""
    with redis.client() as outside:
        async with recipe("redis-stream", REDIS_URL=f"redis://127.0.0.1:{redis.port}/0") as running:
            running.program.emit("order.placed", {"id": 7})
            await running.program.wait("receipt.store.delivered")
            ((_, fields),) = outside.xrange("orders")
            assert json.loads(fields["data"]) == {"id": 7}
            outside.xadd("shipments", {"data": '{"id": 7}'})
            assert (await running.program.wait("order.shipped"))["payload"]["message"] == {"id": 7}


async def test_files() -> None:
    """A file arrives; an order becomes a line."""
    async with recipe("files", "inbox", "journal") as running:
        (running.place / "inbox/order.json").write_text('{"id": 7}')
        assert "order.json" in str((await running.program.wait("file.arrived"))["payload"])
        running.program.emit("order.placed", {"id": 7})
        journal = running.place / "journal/orders.jsonl"
        await until(lambda: journal.exists() and journal.read_text(), "the journal")
        assert json.loads(journal.read_text()) == {"id": 7}


async def test_cron() -> None:
    """The first pulse comes at once and is a call; the tick of the night, as a timer says it, is one, too."""
    async with recipe("cron", REPORTS_URL=stand_in()) as running:
        await running.program.wait("report.refreshed")
        running.program.emit("timer.nightly", {"topic": "nightly", "message": {"scheduled_at": 5, "missed": 0}})
        assert (await running.program.wait("report.created"))["payload"]["scheduled_at"] == 5


async def test_nemo() -> None:
    """A wish becomes a call; the fixed values come to whoever joins."""
    async with recipe("nemo", SHOP_URL=stand_in()) as running:
        assert (await running.program.wait("data.limits"))["payload"]["message"] == {"orders": 20}
        running.program.emit("order.wished", {"id": 7})
        assert (await running.program.wait("order.confirmed"))["payload"] == {"id": 7, "number": 1}
