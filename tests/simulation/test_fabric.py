"""Several bridges of one fabric, each a whole gateway on a bus of its own, on virtual time."""

from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.simulation.configured import configured
from tests.support.simulation.fleet import CARRIER, TICK, Fleet, fleet
from tests.support.simulation.log_text import log_text

NODES = ("a", "b", "c")
SECONDS = 60


def _fabric(node: str, more: str = "", delivery: str = "at_least_once") -> str:
    return f"""
fabric "plant" {{
  integration = "cluster"
  node        = "{node}"
  export      = ["order.**"]
  import      = ["order.**"]
  delivery    = "{delivery}"
{more}
}}
"""


def _numbers(world: Fleet, node: str) -> list[tuple[str, int]]:
    """Return who exported each event that came onto a node's bus, and its number, in order."""
    return [
        (event.header("origin") or "", event.payload["n"])
        for event in world.events(node, "order.created")
        if event.header("origin") is not None
    ]


@pytest.mark.parametrize("delivery", ["at_most_once", "at_least_once"])
def test_each_event_once_on_each_other_bus(tmp_path: Path, delivery: str) -> None:
    """Three nodes that export and import the same types have each event of the others once, as it was said."""
    with fleet(tmp_path, {node: _fabric(node, delivery=delivery) for node in NODES}) as world:
        for number, node in enumerate(NODES * 10):
            emit = partial(
                world[node].emit, "order.created", {"n": number}, correlation_id=f"c{number}", headers={"color": "red"}
            )
            world.at(10 + number / 10, emit)
        world.start()
        world.run(SECONDS)
        for node in NODES:
            wanted = [(NODES[number % 3], number) for number in range(30) if NODES[number % 3] != node]
            assert sorted(_numbers(world, node)) == sorted(wanted)
            event = next(one for one in world.events(node, "order.created") if one.header("origin") is not None)
            assert event.source == f"{event.header('origin')}/app"
            assert event.correlation_id == f"c{event.payload['n']}"
            assert event.header("color") == "red"
            assert event.header("hop") == "1"


def test_the_fleet_is_seen_by_each(tmp_path: Path) -> None:
    """Each bus has the health of all nodes; one that is killed is lost after three heartbeats, and comes back."""
    with fleet(tmp_path, {node: _fabric(node) for node in NODES}) as world:
        world.at(20, world["b"].kill)
        world.at(60, world["b"].start_soon)
        world.start()
        world.run(15)
        assert [event.payload["status"] for event in world.events("a", "health.node.b")] == ["connected"]
        assert world.events("a", "health.fabric.plant")[-1].payload["nodes"] == {"b": "connected", "c": "connected"}
        world.run(50)
        assert world.events("a", "health.node.b")[-1].payload["status"] == "lost"
        world.run(80)
        assert world.events("a", "health.node.b")[-1].payload["status"] == "connected"


def test_what_an_absent_node_missed(tmp_path: Path) -> None:
    """A node that was away gets what was exported meanwhile, once it is back."""
    with fleet(tmp_path, {node: _fabric(node) for node in NODES}) as world:
        world.at(10, world["b"].kill)
        for number in range(20):
            world.at(15 + number, partial(world["a"].emit, "order.created", {"n": number}))
        world.at(50, world["b"].start_soon)
        world.start()
        world.run(80)
        assert sorted(set(_numbers(world, "b"))) == [("a", number) for number in range(20)]


def test_a_name_that_is_taken(tmp_path: Path) -> None:
    """The second living node of a name is failed, and is a node when the first has left."""
    texts = {"a": _fabric("a"), "x": _fabric("one"), "y": _fabric("one")}
    with fleet(tmp_path, texts) as world:
        world.at(40, partial(world["a"].emit, "order.created", {"n": 1}))
        world.at(60, world["x"].stop)
        world.start()
        world.run(50)
        states = {node: world.events(node, "health.fabric.plant")[-1].payload["status"] for node in "axy"}
        assert sorted(states.values()) == ["connected", "connected", "failed"]
        assert len(_numbers(world, "x")) + len(_numbers(world, "y")) == 1
        world.run(120)
        assert world.events("y", "health.fabric.plant")[-1].payload["status"] == "connected"


def test_one_of_all_ticks(tmp_path: Path) -> None:
    """One node says each tick; when it is killed another goes on within 15 s, and tells the gap."""
    with fleet(tmp_path, {node: _fabric(node, delivery="at_most_once") + TICK for node in NODES}) as world:
        world.start()
        world.run(30)
        leaders = [node for node in NODES if world.events(node, "job.due")]
        assert len(leaders) == 1
        world.at(world.now + 0.5, world[leaders[0]].kill)
        world.run(90)
        ticks = sorted(
            event.payload["message"]["scheduled_at"] for node in NODES for event in world.events(node, "job.due")
        )
        assert len(set(ticks)) == len(ticks)
        assert max(after - before for before, after in pairwise(ticks)) < 15_000
        told = [
            event.payload["gap_ms"]
            for node in NODES
            for event in world.events(node, "resilience.fabric.plant.lease")
            if event.payload["previous"] == leaders[0]
        ]
        assert told
        assert None not in told


def test_nobody_can_have_the_lease(tmp_path: Path) -> None:
    """While JetStream has no leader the subscription is vacant on each node, and then somebody emits again."""
    with fleet(tmp_path, {node: _fabric(node, delivery="at_most_once") + TICK for node in NODES}) as world:
        found: list[list[list[str]]] = []

        def look() -> None:
            gateways = [world[node].gateway for node in NODES]
            found.append([one.fleet().fabrics["plant"].vacant for one in gateways if one is not None])

        for second in (30, 60, 95):
            world.at(second, look)
        world.at(35, partial(setattr, world.broker, "jetstream", "silent"))
        world.at(80, partial(setattr, world.broker, "jetstream", "up"))
        world.start()
        world.run(100)
        assert found == [[[]] * 3, [["job"]] * 3, [[]] * 3]


def test_a_command_to_another_node(tmp_path: Path) -> None:
    """A command that names an integration of another node is answered as if it were local; nobody there is told."""
    printer = """
integration "printer" {
  type = "json-rpc"
  endpoint {
    url = "http://127.0.0.1:1/rpc"
  }
}
"""
    texts = {"a": _fabric("a", 'use = ["printer"]'), "b": _fabric("b", 'offer = ["printer"]') + printer}
    with fleet(tmp_path, texts) as world:
        command = "integration.printer.request"
        world["a"].remotes.pop("printer", None)
        world.at(10, partial(world["a"].emit, command, {"method": "print", "params": [1]}, correlation_id="one"))
        world.at(20, world["b"].kill)
        world.at(60, partial(world["a"].emit, command, {"method": "print"}, correlation_id="two"))
        world.start()
        world.run(80)
        answers = {event.correlation_id: event.payload for event in world.events("a", f"response.{command}")}
        assert answers["one"]["ok"] is True
        assert answers["two"]["error"]["kind"] == "unavailable"


def test_a_reload_with_another_fabric_block(tmp_path: Path) -> None:
    """A block that has changed counts at once, the node keeps its name, and another one has its leases in between."""
    texts = {node: _fabric(node) + TICK for node in NODES}
    changed = texts["a"].replace('export      = ["order.**"]', 'export      = ["stock.**"]')
    with fleet(tmp_path, texts) as world:
        world.at(20, partial(world["a"].reload, configured(tmp_path / "a", CARRIER + changed)))
        world.at(30, partial(world["a"].emit, "order.created", {"n": 1}))
        world.at(30, partial(world["b"].emit, "order.created", {"n": 2}))
        world.start()
        world.run(60)
        assert _numbers(world, "b") == []
        assert _numbers(world, "a") == [("b", 2)]
        assert "stopped" not in [event.payload["status"] for event in world.events("b", "health.node.a")]
        ticks = sorted(
            event.payload["message"]["scheduled_at"] for node in NODES for event in world.events(node, "job.due")
        )
        assert [after - before for before, after in pairwise(ticks)] == [1000] * (len(ticks) - 1)


def test_a_reload_without_the_fabric(tmp_path: Path) -> None:
    """The node leaves in order: the others see that it has stopped, and its own bus hears no more of the fabric."""
    with fleet(tmp_path, {node: _fabric(node) for node in NODES}) as world:
        world.at(20, partial(world["a"].reload, configured(tmp_path / "a", CARRIER)))
        world.at(30, partial(world["b"].emit, "order.created", {"n": 2}))
        world.start()
        world.run(60)
        assert world.events("b", "health.node.a")[-1].payload["status"] == "stopped"
        assert world.events("a", "health.fabric.plant")[-1].payload["status"] == "stopped"
        assert _numbers(world, "a") == []
        assert _numbers(world, "c") == [("b", 2)]


def test_a_node_that_stops_in_order(tmp_path: Path) -> None:
    """Its lease is taken over within a tick or two, and what was exported meanwhile waits for its return."""
    with fleet(tmp_path, {node: _fabric(node) + TICK for node in NODES}) as world:
        world.start()
        world.run(20)
        leader = next(node for node in NODES if world.events(node, "job.due"))
        other = next(node for node in NODES if node != leader)
        world.at(20.5, world[leader].stop)
        world.at(40, partial(world[other].emit, "order.created", {"n": 7}))
        world.at(60, world[leader].start_soon)
        world.run(90)
        ticks = sorted(
            event.payload["message"]["scheduled_at"] for node in NODES for event in world.events(node, "job.due")
        )
        assert len(set(ticks)) == len(ticks)
        assert max(after - before for before, after in pairwise(ticks)) <= 2000
        assert _numbers(world, leader) == [(other, 7)]


def test_settings_that_differ(tmp_path: Path) -> None:
    """Each node says in the error of its health which setting another one has differently, and works on."""
    texts = {"a": _fabric("a", 'max_age = "1h"'), "b": _fabric("b", 'max_age = "2h"')}
    with fleet(tmp_path, texts) as world:
        world.at(10, partial(world["a"].emit, "order.created", {"n": 1}))
        world.start()
        world.run(30)
        for node, other in (("a", "b"), ("b", "a")):
            health = world.events(node, "health.fabric.plant")[-1].payload
            assert health["status"] == "degraded"
            assert "max_age" in health["error"]["message"]
            assert other in health["error"]["message"]
        assert _numbers(world, "b") == [("a", 1)]


def test_the_log_of_an_outage(tmp_path: Path) -> None:
    """It tells when the fabric cannot be used, as a warning with the reason, and when it can be again."""
    with fleet(tmp_path, {"a": _fabric("a")}) as world:
        world.at(30, world.broker.stop)
        world.at(60, world.broker.start)
        world.start()
        world.run(90)
        lines = [line for line in log_text(world["a"].record).splitlines() if "[fabric state]" in line]
        start = '[fabric state] fabric="plant" node="a" status='
        away = 'error="not_connected" message="integration \'cluster\' is not connected: the connection ended"'
        assert lines == [
            f'00:00 info {start}"connecting"',
            f'00:00 info {start}"connected"',
            f'00:30 warning {start}"disconnected" {away}',
            f'01:00 info {start}"connecting"',
            f'01:00 info {start}"connected"',
        ]


def test_a_start_is_no_outage_of_what_is_used(tmp_path: Path) -> None:
    """While a bridge joins, what it uses is `connecting`; only what nobody offers some seconds later is down."""
    prices = 'integration "prices" {\n  type = "static"\n  config {\n    values = { tea = 3 }\n  }\n}\n'
    texts = {
        "a": _fabric("a", '  use = ["prices", "camera"]'),
        "b": prices + _fabric("b", '  offer = ["prices"]'),
    }
    with fleet(tmp_path, texts) as world:
        world.start()
        world.run(20)
        told = [line for line in log_text(world["a"].record).splitlines() if "[integration " in line]
        nobody = "error=\"unavailable\" message=\"no connected node of the fabric 'plant' offers 'camera' now\""
        assert told == [
            '00:00 info [integration up] integration="cluster"',
            '00:00 info [integration up] integration="prices"',
            f'00:03 warning [integration down] integration="camera" status="disconnected" {nobody}',
        ]
        states = [event.payload["status"] for event in world.events("a", "health.prices")]
        assert list(dict.fromkeys(states)) == ["connecting", "connected"]


def test_the_log_of_a_node_that_dies(tmp_path: Path) -> None:
    """Another one tells that it is lost, and that it is back; when it stops in order it is not lost."""
    with fleet(tmp_path, {node: _fabric(node) for node in ("a", "b")}) as world:
        world.at(20, world["b"].kill)
        world.at(60, world["b"].start_soon)
        world.at(100, world["b"].stop)
        world.start()
        world.run(150)
        # What is left of the process that was killed says that it hears nothing of `a`.
        lines = [line for line in log_text(world["a"].record).splitlines() if 'nodes=["b"]' in line]
        assert lines == [
            '00:30 warning [nodes lost] fabric="plant" nodes=["b"] count=1',
            '01:15 info [nodes back] fabric="plant" nodes=["b"] count=1',
        ]
