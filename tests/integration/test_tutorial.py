"""What docs/tutorial.md promises after its first chapter, which is that of the README."""

import asyncio
import re
from pathlib import Path

from bridge.client import BusClient
from bridge.core.model import Event
from tests.support.servers.demo import demo_service
from tests.support.servers.remote import free_port
from tests.support.sidecar.sidecar import Sidecar, bus_block, short_directory
from tests.support.wait import PATIENCE

TUTORIAL = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text("utf-8")
GARDEN, ORDERS = re.findall(r"^```hcl\n(.*?)^```", TUTORIAL, re.MULTILINE | re.DOTALL)


async def test_a_message_from_outside():
    """The timer's tick becomes an event, that a line of a file, and the line an event."""
    with short_directory() as directory:
        (directory / "notes").mkdir()
        sidecar = Sidecar(directory, GARDEN + bus_block(directory)).ready("bridge/garden")
        try:
            bus = BusClient(sidecar.publish, sidecar.subscribe, prefixes=("garden.",))
            with bus.listen() as events:
                async with bus, asyncio.timeout(PATIENCE):
                    while (event := await events.get()).event_type != "garden.note":
                        assert event.event_type == "garden.tick"
            assert event.payload["message"].startswith("the garden was looked after at ")
        finally:
            sidecar.term()
            assert sidecar.wait(PATIENCE) == 0


async def test_an_order_that_survives_a_crash():
    """Two orders wait while the shop is away, outlive the bridge, and arrive in their order with a receipt each."""
    port = free_port()
    with short_directory() as directory:
        text = ORDERS.replace("127.0.0.1:8080", f"127.0.0.1:{port}") + bus_block(directory)
        killed = Sidecar(directory, text).ready("bridge/orders")
        async with BusClient(killed.publish, killed.subscribe) as bus, asyncio.timeout(PATIENCE):
            for number in (1, 2):
                bus.emit("order.placed", {"customer": "Ann", "id": number})
            pending = 0
            while pending < 2:
                pending = (await bus.ask("bridge.status", {})).payload["result"]["bridge"]["outbox"]["pending"]
        killed.kill()
        after = Sidecar(directory, text, name="again").ready("bridge/orders")
        try:
            bus = BusClient(after.publish, after.subscribe, prefixes=("receipt.", "response."))
            receipts: list[Event] = []
            with bus.listen() as events:
                async with bus, asyncio.timeout(PATIENCE):
                    with demo_service(port=port):
                        await bus.ask("integration.shop.circuit.reset", {})
                        while len(receipts) < 2:
                            event = await events.get()
                            receipts += [event] if event.event_type.startswith("receipt.") else []
            assert [one.event_type for one in receipts] == ["receipt.shop.delivered"] * 2
            assert receipts[0].payload["cause"]["id"] < receipts[1].payload["cause"]["id"]
        finally:
            after.term()
            assert after.wait(PATIENCE) == 0
