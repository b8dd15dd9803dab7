"""Small things that become large, or many: frames without an end, and an answer that unpacks to far more than it is."""

import gzip

from tests.support.servers.http_server import Received, http, scripted_server
from tests.support.servers.remote import refusing_port
from tests.support.sidecar.sidecar import json_rpc, sidecar

_MIB = 1 << 20


async def test_a_multipart_bomb() -> None:
    """Messages of thousands of frames and of frames of a megabyte: each counted once, and nothing of them is kept."""
    with sidecar(json_rpc("api", f"http://127.0.0.1:{refusing_port()}/")) as running, running.program() as bus:
        assert (await bus.ask("bridge.ping"))["ok"]
        before, memory = (await bus.ask("bridge.status", {}))["result"]["bridge"]["bus"]["rejected"], running.rss
        name = b"integration.api.request"
        for _ in range(5):
            bus.raw(name, *[b"x"] * 20_000)
            bus.raw(name, *[b"y" * _MIB] * 40)
            assert (await bus.ask("bridge.ping"))["ok"]
        status = (await bus.ask("bridge.status", {}))["result"]["bridge"]["bus"]
        assert status["rejected"] - before == 10
        assert {event["payload"]["reason"] for event in bus.seen("resilience.bus.rejected")} == {"frames"}
        # What libzmq and the allocator keep for the next time is bounded by one message.
        assert running.rss - memory < 96 * _MIB


async def test_a_gzip_bomb() -> None:
    """64 kB that would be 64 MB: the call's own error, at the limit, and the next one is answered."""
    bomb = gzip.compress(b'{"jsonrpc": "2.0", "result": "' + bytes(64 * _MIB) + b'"}', 9)

    def respond(received: Received) -> None:
        if received.body and received.call["method"] == "bomb":
            received.send(http(bomb, 200, "Content-Encoding: gzip", "Content-Type: application/json"))
        elif received.body:
            received.result("alive")
        else:
            received.send(http(b"", 405))

    async with scripted_server(respond) as server:
        with sidecar(json_rpc("api", server.url, timeout="5s")) as running, running.program() as bus:
            assert (await bus.request("api", "x"))["result"] == "alive"
            memory = running.rss
            for _ in range(12):
                answer = await bus.request("api", "bomb")
                assert answer["error"]["kind"] == "protocol"
                assert (await bus.request("api", "x"))["result"] == "alive"
            # Four of them at their limit; what one leaves behind must not wait for the garbage collector.
            assert running.rss - memory < 64 * _MIB
