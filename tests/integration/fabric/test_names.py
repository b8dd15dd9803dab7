"""Two sidecars that have one name in a fabric, and one that looks on; processes are frozen and killed."""

import signal
from contextlib import ExitStack

from tests.support.servers.nats_server import nats_server
from tests.support.servers.programs import freeze
from tests.support.sidecar.sidecar import Sidecar, sidecar
from tests.support.wait import until

_HEALTH = "health.fabric.plant"


def _node(port: int, node: str) -> str:
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
}}
"""


async def test_a_suspended_process_does_not_take_its_name_back_from_a_living_one():
    """The second of two is refused until the first stands still; when that goes on, it is refused itself."""
    with nats_server() as server, ExitStack() as stack:

        def start(node: str) -> Sidecar:
            return stack.enter_context(sidecar(_node(server.port, node), heartbeat="500ms"))

        first, looking = start("x"), start("y")
        one = stack.enter_context(first.program("health."))
        on = stack.enter_context(looking.program("health."))
        await one.wait(_HEALTH, lambda event: event["payload"]["status"] == "connected")
        await on.wait("health.node.x", lambda event: event["payload"]["status"] == "connected")

        second = start("x")
        two = stack.enter_context(second.program("health."))
        refused = await two.wait(_HEALTH, lambda event: event["payload"]["status"] == "failed")
        assert f"process {first.process.pid}" in refused["payload"]["error"]["message"]
        assert "node name taken" in second.text
        assert {event["payload"]["status"] for event in one.seen(_HEALTH)} <= {"connecting", "connected"}

        freeze(first.process)
        await two.wait(_HEALTH, lambda event: event["payload"]["status"] == "connected")
        since_one, since_two = one.mark(), two.mark()
        first.process.send_signal(signal.SIGCONT)
        refused = await one.wait(_HEALTH, lambda event: event["payload"]["status"] == "failed", since=since_one)
        assert f"process {second.process.pid}" in refused["payload"]["error"]["message"]
        assert {event["payload"]["status"] for event in two.seen(_HEALTH, since_two)} <= {"connected"}

        second.kill()
        await one.wait(_HEALTH, lambda event: event["payload"]["status"] == "connected", since=since_one)
        await until(lambda: on.seen("health.node.x")[-1]["payload"]["status"] == "connected")
