"""Events between sidecars over a real nats-server, while the server and the sidecars are killed."""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack

from tests.support.bus.bus import Peer
from tests.support.servers.nats_server import nats_server
from tests.support.sidecar.restarts import restarts
from tests.support.sidecar.sidecar import Sidecar, sidecar
from tests.support.wait import until

_RECEIPT = "receipt.cluster.delivered"


def _node(port: int, node: str, delivery: str) -> str:
    return f"""
integration "cluster" {{
  type = "nats"
  endpoint {{
    url = "nats://127.0.0.1:{port}"
  }}
}}
fabric "plant" {{
  integration = "cluster"
  node        = "{node}"
  export      = ["order.**"]
  import      = ["order.**"]
  delivery    = "{delivery}"
  {"receipts = true" if delivery == "at_least_once" else ""}
}}
"""


async def _send_until_told(sender: Peer, keys: Iterable[str], seconds: float) -> None:
    """Publish one event for each key, those again that are not told as stored, as a program does that loses none."""
    missing, end = dict.fromkeys(keys), time.monotonic() + seconds
    while missing:
        assert time.monotonic() < end, f"{len(missing)} events are not stored"
        for key in tuple(missing)[:1000]:
            sender.send("order.new", key, headers={"idempotency_key": key})
        quiet = time.monotonic() + 2.0
        while missing and time.monotonic() < quiet:
            for event in sender.received():
                if event["event_type"] == _RECEIPT and missing.pop(event["payload"]["idempotency_key"], 0) is None:
                    quiet = time.monotonic() + 2.0
            await asyncio.sleep(0.01)


async def _connected(one: Sidecar) -> None:
    with one.program("health.fabric.") as program:
        await program.wait("health.fabric.plant", lambda event: event["payload"]["status"] == "connected", seconds=30)


async def test_nothing_is_lost_when_everything_is_killed():
    """10,000 events; server and exporter die twice meanwhile, the importer with a thousand in hand: each comes once."""
    keys = [f"k{number}" for number in range(10_000)]
    with nats_server() as server, ExitStack() as stack:

        def process(node: str) -> Callable[[], Sidecar]:
            return stack.enter_context(restarts(_node(server.port, node, "at_least_once"), more='heartbeat = "500ms"'))

        start_a, start_b = process("a"), process("b")
        a, b = start_a(), start_b()
        await _connected(a)
        await _connected(b)
        sender = stack.enter_context(Peer(a.publish, a.subscribe, _RECEIPT))
        sending = asyncio.create_task(_send_until_told(sender, keys, 150))
        for _ in range(2):
            await asyncio.sleep(1.5)
            server.kill()
            await asyncio.sleep(0.5)
            server.restart()
            await asyncio.sleep(1.5)
            start_a()
        b = start_b()
        with b.program("health.fabric.") as program:
            waits = "events of other nodes wait, because nobody on the bus listens to 'order.new'"
            await program.wait("health.fabric.plant", lambda event: waits in event["payload"]["warnings"], seconds=30)
        b = start_b()
        await sending
        heard: list[str] = []
        with Peer(b.publish, b.subscribe, "order.") as listener:

            def all_here() -> bool:
                heard.extend(event["payload"] for event in listener.received())
                return len(heard) >= len(keys)

            await until(all_here, 90)
            await asyncio.sleep(1)
            all_here()
        assert sorted(heard) == sorted(keys)


async def test_three_sidecars_have_each_event_once():
    """All export and import the same types, at most once: each event is once on each bus, with where it comes from."""
    with nats_server() as server, ExitStack() as stack:
        nodes = [stack.enter_context(sidecar(_node(server.port, node, "at_most_once"))) for node in "abc"]
        for node in nodes:
            await _connected(node)
        peers = [stack.enter_context(Peer(one.publish, one.subscribe, "order.", source="app")) for one in nodes]
        for peer, name in zip(peers, "abc", strict=True):
            await peer.send_until(lambda peer=peer: bool(peer.received()), f"order.hello.{name}")  # type: ignore[misc]
        await asyncio.sleep(0.5)
        for peer in peers:
            peer.received()
        for peer, name in zip(peers, "abc", strict=True):
            for number in range(100):
                peer.send("order.new", f"{name}{number}")
        wanted = sorted(f"{name}{number}" for name in "abc" for number in range(100))
        for peer, name in zip(peers, "abc", strict=True):
            heard: list[tuple[str, str]] = []

            def all_here(peer: Peer = peer, heard: list[tuple[str, str]] = heard) -> bool:
                heard.extend((event["payload"], event["source"]) for event in peer.received())
                return len(heard) >= len(wanted)

            await until(all_here)
            await asyncio.sleep(0.3)
            all_here()
            assert sorted(payload for payload, _ in heard) == wanted
            assert {source for _, source in heard} == {"app"} | {f"{other}/app" for other in "abc" if other != name}
