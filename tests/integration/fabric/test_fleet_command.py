"""`nemo-bridge fleet` and `nemo-bridge status`, as a person runs them, against two sidecars and a real nats-server."""

import json
import os
import re
import signal
import subprocess
import sys
from typing import Any

from tests.support.servers.nats_server import nats_server
from tests.support.sidecar import fork_server
from tests.support.sidecar.sidecar import Sidecar, sidecar
from tests.support.wait import until


def _node(port: int, node: str, more: str) -> str:
    return f"""
integration "cluster" {{
  type = "nats"
  endpoint {{
    url = "nats://127.0.0.1:{port}"
  }}
}}
integration "prices_{node}" {{
  type = "static"
  config {{
    values = {{ tea = 3 }}
  }}
}}
fabric "plant" {{
  integration = "cluster"
  node        = "{node}"
  {more}
}}
"""


def _run(bridge: Sidecar, *arguments: str) -> subprocess.CompletedProcess[str]:
    return fork_server.run(*arguments, "--publish", bridge.publish, "--subscribe", bridge.subscribe)


def _asked(bridge: Sidecar) -> Any:
    """Return the fabric in the answer as JSON, whatever the exit code is."""
    return json.loads(_run(bridge, "fleet", "--json").stdout)["fabrics"]["plant"]


async def test_a_fleet_of_two_bridges() -> None:
    """Both are shown; one that is killed is lost and can be forgotten, which one that lives cannot."""
    with nats_server() as server:
        one = sidecar(_node(server.port, "desk-1", 'use = "prices_desk-2"'), heartbeat="500ms")
        two = sidecar(_node(server.port, "desk-2", 'offer = "prices_desk-2"'), heartbeat="500ms")
        with one as here, two as there, here.program("health.") as program:
            await program.wait("health.prices_desk-2", lambda event: event["payload"]["status"] == "connected")

            shown = _run(here, "fleet")
            assert (shown.returncode, shown.stderr) == (0, "")
            lines = shown.stdout.splitlines()
            assert lines[0] == "fabric plant  connected  node desk-1, at_most_once, over cluster"
            assert lines[2] == "prices_desk-2: offered by desk-2"
            nodes = dict(re.findall(r"^(desk-.) +(\w+ +\S+ \S+)", shown.stdout, re.MULTILINE))
            assert nodes["desk-1"].split() == ["connected", "this", "bridge"]
            assert nodes["desk-2"].split()[0] == "connected"
            status = _run(here, "status")
            assert (status.returncode, "fabric plant" in status.stdout) == (0, False)

            refused = _run(here, "fleet", "forget", "desk-2")
            assert refused.returncode != 0
            assert "desk-2" in refused.stderr

            there.kill()
            await program.wait("health.node.desk-2", lambda event: event["payload"]["status"] == "lost")
            shown = _run(here, "fleet")
            assert shown.returncode == 1
            assert "prices_desk-2: no node that is connected offers it" in shown.stdout
            assert re.search(r"^desk-2 +lost ", shown.stdout, re.MULTILINE)
            assert "1 node of fabric plant is lost: desk-2" in _run(here, "status").stdout

            forgotten = _run(here, "fleet", "forget", "desk-2", "--fabric", "plant")
            assert (forgotten.returncode, forgotten.stdout) == (0, "forgotten in plant: desk-2\n")
            await until(lambda: set(_asked(here)["nodes"]) == {"desk-1"})
            assert _run(here, "fleet", "forget", "desk-2").returncode != 0


async def test_the_status_of_a_bridge_that_is_not_in_its_fabric() -> None:
    """Its exit code says so, although all integrations are connected; a lost node is told, and is not its matter."""
    with nats_server() as server, sidecar(_node(server.port, "desk-1", ""), heartbeat="500ms") as here:
        with (
            sidecar(_node(server.port, "desk-2", ""), heartbeat="500ms") as there,
            sidecar(_node(server.port, "desk-2", ""), heartbeat="500ms") as second,
            second.program("health.") as program,
            here.program("health.") as seen,
        ):
            await program.wait("health.fabric.plant", lambda event: event["payload"]["status"] == "failed")
            refused = _run(second, "status")
            assert refused.returncode == 1
            assert "fabric plant: failed: " in refused.stdout
            assert _run(second, "status", "--json").returncode == 1
            assert _run(here, "status").returncode == 0
            second.kill()
            there.kill()
            await seen.wait("health.node.desk-2", lambda event: event["payload"]["status"] == "lost")
        status = _run(here, "status")
        assert "1 node of fabric plant is lost: desk-2" in status.stdout
        assert status.returncode == 0


async def test_the_status_of_a_bridge_whose_fabric_is_degraded() -> None:
    """It counts as an integration that is degraded does, also where only a warning says what is wrong."""
    exporting, importing = (f'{way} = ["order.new"]\n  delivery = "at_least_once"' for way in ("export", "import"))
    with (
        nats_server() as server,
        sidecar(_node(server.port, "desk-1", exporting)) as there,
        sidecar(_node(server.port, "desk-2", importing)) as here,
        there.program("health.") as sender,
        here.program("health.") as program,
    ):
        for one in (sender, program):
            await one.wait("health.fabric.plant", lambda event: event["payload"]["status"] == "connected")
        assert _run(here, "status").returncode == 0
        sender.emit("order.new", 1)
        await program.wait("health.fabric.plant", lambda event: event["payload"]["status"] == "degraded")
        degraded = _run(here, "status")
        assert degraded.returncode == 1
        assert re.search(r"^plant +desk-2 +degraded .* 2 of 2 connected *$", degraded.stdout, re.MULTILINE)
        assert "nobody on the bus listens to 'order.new'" in " ".join(degraded.stdout.split())
        mark = program.mark()
        with here.program("order."):
            await program.wait(
                "health.fabric.plant", lambda event: event["payload"]["status"] == "connected", since=mark
            )
            assert _run(here, "status").returncode == 0


def test_a_fleet_that_is_watched() -> None:
    """Every second the answer is one line of JSON, until the person interrupts."""
    with nats_server() as server, sidecar(_node(server.port, "desk-1", "")) as bridge:
        options = ("--publish", bridge.publish, "--subscribe", bridge.subscribe)
        with subprocess.Popen(
            [sys.executable, "-m", "bridge", "fleet", "--watch", "--json", *options],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        ) as process:
            try:
                assert process.stdout is not None
                seen = [json.loads(process.stdout.readline()) for _ in range(3)]
                assert {tuple(one["fabrics"]["plant"]["nodes"]) for one in seen[1:]} == {("desk-1",)}
                process.send_signal(signal.SIGINT)
                assert process.wait(10) in {0, 130}
            finally:
                process.kill()
