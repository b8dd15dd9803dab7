"""A program that repeats all that it hears, its own echo included."""

import asyncio
import time

import msgpack

from tests.support.bus.program import Program
from tests.support.bus.repeater import repeater
from tests.support.servers.remote import remote
from tests.support.sidecar.sidecar import json_rpc, sidecar

_SECONDS = 4
#: How often one event may set something off in a second.
_LIMIT = 17
_GROWTH = 150 << 20
_ROUTES = """
route "orders" {
  on          = ["order.placed"]
  integration = "api"
  operation   = "request"
  method      = "order"
  emit        = "order.stored"
}

route "follow" {
  on          = ["order.stored"]
  integration = "api"
  operation   = "request"
  method      = "follow"
}
"""


class _Listener(Program):
    """A program that hears only what the bridge itself said, which has headers, and not its repetitions."""

    def _take(self, frames: list[bytes]) -> None:
        event = msgpack.unpackb(frames[1])
        if isinstance(event, dict) and "headers" in event:
            super()._take(frames)


async def test_a_program_that_repeats_all_that_it_hears() -> None:
    """An event, the bridge's own included, sets off few operations; it is told by type; everything else goes on.

    Memory is bounded, and once the program is gone, the bridge is as before.
    """
    with (
        remote() as service,
        sidecar(json_rpc("api", service.url, timeout="10s") + _ROUTES, heartbeat="200ms") as bridge,
        _Listener(bridge.publish, bridge.subscribe, ("response.integration.api.", "resilience.bus.")) as program,
    ):
        memory = bridge.rss
        with repeater(bridge.publish, bridge.subscribe) as process:
            begun = time.monotonic()
            program.emit("order.placed", {"n": 1}, "stored")
            program.emit("integration.api.request", {"method": "command"}, "asked")
            answered = 0
            while time.monotonic() < begun + _SECONDS:
                assert (await program.request("api", "echo", [answered]))["result"] == [answered]
                answered += 1
                await asyncio.sleep(0.05)
            for event_type in ("order.placed", "order.stored", "integration.api.request"):
                await program.wait("resilience.bus.rejected", lambda e, t=event_type: e["payload"]["event_type"] == t)
            assert bridge.rss - memory < _GROWTH
            assert process.poll() is None
        seconds = int(time.monotonic() - begun) + 1
        assert (await program.request("api", "echo", ["after"]))["result"] == ["after"]
        assert 0 < service.calls["command"] <= _LIMIT * seconds
        assert 0 < service.calls["order"] <= _LIMIT * seconds
        # Each order is another event of the bridge.
        assert 0 < service.calls["follow"] <= _LIMIT * service.calls["order"] * seconds
        told = [event["payload"] for event in program.seen("resilience.bus.rejected")]
        assert {payload["reason"] for payload in told} == {"echo"}
        assert len(told) <= 4 * 2 * (seconds + 1), "three types, and others together, each twice in a second at most"
        assert sum(payload["count"] for payload in told) > _LIMIT
        assert answered > 0
