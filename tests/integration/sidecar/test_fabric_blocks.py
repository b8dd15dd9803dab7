"""`fabric` blocks through whole sidecars and a real nats-server: from the file to what a program on the bus sees."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.cli.plan import plan as show_plan
from bridge.cli.talk import BusOptions
from tests.support.bus.program import Program
from tests.support.servers.nats_server import NatsServer, nats_server
from tests.support.sidecar.sidecar import Sidecar, sidecar

_NOTHING: dict[str, Any] = {"added": [], "removed": [], "changed": {}}


@pytest.fixture
def server() -> Iterator[NatsServer]:
    """A server with JetStream."""
    with nats_server() as running:
        yield running


def configuration(server: NatsServer, node: str, *lines: str) -> str:
    """Write a configuration with a carrier, fixed values and a fabric with these lines."""
    inside = "".join(f"  {line}\n" for line in lines)
    return f"""
integration "cluster" {{
  type = "nats"
  endpoint {{
    url = "nats://127.0.0.1:{server.port}"
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
{inside}}}
"""


def rewrite(process: Sidecar, old: str, new: str) -> None:
    """Change the file of a sidecar."""
    text = process.file.read_text()
    assert old in text
    process.file.write_text(text.replace(old, new))


async def is_status(program: Program, topic: str, status: str, since: int = 0) -> dict[str, Any]:
    """Wait until the health under a topic has a status, and return it."""
    event = await program.wait(topic, lambda one: one["payload"]["status"] == status, since=since)
    payload: dict[str, Any] = event["payload"]
    return payload


async def test_what_another_bridge_offers_is_used_by_a_route(server: NatsServer) -> None:
    """A route names an integration that only the other bridge has a block for; the answer is as if it were here."""
    route = (
        'route "price" {\n  on = ["tea.wanted"]\n  integration = "prices_a"\n  operation = "request"\n'
        '  method = "get"\n  params = { key = "tea" }\n  emit = "tea.price"\n}\n'
    )
    there = configuration(server, "a", 'offer = "prices_a"')
    here = configuration(server, "b", 'use = "prices_a"') + route
    with sidecar(there), sidecar(here) as process, process.program() as program:
        health = await is_status(program, "health.prices_a", "connected")
        assert (health["type"], health["integration"]) == ("fabric", "prices_a")
        program.emit("tea.wanted", {}, "c1")
        assert (await program.response("c1"))["payload"]["result"] == 3
        assert (await program.wait("tea.price"))["payload"] == 3
        refused = await program.ask("integration.prices_a.dequeue", {"queue": "q"})
        assert refused["error"]["kind"] == "not_supported"


async def test_the_reload_of_a_fabric(server: NatsServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`bridge.configuration`, `plan` and the reload name what changes in a fabric; used integrations come and go."""
    with sidecar(configuration(server, "a", 'export = "order.**"')) as process, process.program() as program:
        await is_status(program, "health.fabric.plant", "connected")
        shown = (await program.ask("bridge.configuration", {}))["result"]
        assert shown["fabrics"]["plant"]["export"] == ["order.**"]
        assert shown["fabrics"]["plant"]["delivery"] == "at_most_once"

        rewrite(process, 'export = "order.**"', 'import = "order.**"\n  use = ["printer"]')
        change = {"export": [["order.**"], []], "import": [[], ["order.**"]], "use": [[], ["printer"]]}
        other = tmp_path / "other.hcl"
        other.write_text(process.file.read_text())
        options = BusOptions(None, process.publish, process.subscribe)
        await asyncio.to_thread(show_plan, options, [other], [], running=True, as_json=True, timeout="10s")
        told = json.loads(capsys.readouterr().out)
        assert told["fabrics"] == _NOTHING | {"changed": {"plant": change}}
        assert (told["added"], told["integrations"]) == (["printer"], _NOTHING)

        since = program.mark()
        for command in ({"dry_run": True}, {}):
            plan = (await program.ask("bridge.reload", command))["result"]
            assert plan == told
        assert (await is_status(program, "health.printer", "disconnected", since))["error"]["kind"] == "unavailable"
        await is_status(program, "health.fabric.plant", "connected", since)
        answer = await program.ask("integration.printer.request", {"method": "print"})
        assert answer["error"]["kind"] == "unavailable"

        text = process.file.read_text()
        process.file.write_text(text[: text.index('fabric "plant"')])
        since = program.mark()
        plan = (await program.ask("bridge.reload", {}))["result"]
        assert (plan["fabrics"], plan["removed"]) == (_NOTHING | {"removed": ["plant"]}, ["printer"])
        await is_status(program, "health.printer", "stopped", since)
        await is_status(program, "health.fabric.plant", "stopped", since)
        answer = await program.ask("integration.printer.request", {"method": "print"})
        assert answer["error"]["kind"] == "unknown_integration"


async def test_a_faulty_fabric_changes_nothing(server: NatsServer) -> None:
    """A reload with a fault in the block says where, and the fabric goes on."""
    with sidecar(configuration(server, "a")) as process, process.program() as program:
        await is_status(program, "health.fabric.plant", "connected")
        since = program.mark()
        rewrite(process, 'node        = "a"', 'node        = "a"\n  offer       = ["prices"]')
        answer = await program.ask("bridge.reload", {})
        assert answer["error"]["kind"] == "invalid"
        assert 'fabric "plant" > offer: there is no integration `prices`' in answer["error"]["message"]
        assert (await program.ask("bridge.fleet", {}))["result"]["fabrics"]["plant"]["health"]["status"] == "connected"
        assert not [
            one for one in program.seen("health.fabric.plant", since) if one["payload"]["status"] != "connected"
        ]
