"""What `bridge.fleet` leaves out where all of it would not fit on the bus, and what is told of fabrics as problems."""

from typing import Any

import msgspec
import pytest

from bridge.contract import examples
from bridge.core.errors import ErrorObject
from bridge.core.model import ConnectionStatus
from bridge.core.payloads import FabricView, Fleet, FleetNode
from bridge.observe.problems import Problems
from bridge.observe.views import fleet_that_fits

VIEW = msgspec.convert(examples.RESULTS["bridge.fleet"]["fabrics"]["plant"], FabricView)
NOW = VIEW.health.since + 60_000


def large(nodes: int = 1000, integrations: int = 50, **more: Any) -> Fleet:
    """Return a fabric whose last node is lost, with one integration of each node that is disconnected."""
    template = VIEW.nodes["desk-8"]
    statuses = {f"integration-{number:02}": ConnectionStatus.CONNECTED for number in range(integrations)}
    statuses[f"integration-{integrations - 1:02}"] = ConnectionStatus.DISCONNECTED
    found = {f"desk-{number:04}": replaced(template, integrations=statuses, **more) for number in range(nodes)}
    last = max(found)
    found[last] = replaced(found[last], status="lost")
    health = replaced(VIEW.health, node="desk-0500", nodes={name: node.status for name, node in found.items()})
    return Fleet(fabrics={"plant": replaced(VIEW, health=health, nodes=found, uses={"printer": sorted(found)})})


replaced = msgspec.structs.replace


def size(fleet: Fleet) -> int:
    """Return its size on the bus."""
    return len(msgspec.msgpack.encode(fleet))


def test_a_fleet_that_fits_is_whole() -> None:
    """Nothing is left out up to the last byte."""
    fleet = large(3)
    assert fleet_that_fits(fleet, size(fleet)) is fleet


def test_a_thousand_nodes_of_fifty_integrations() -> None:
    """All nodes are there, each with the integration that is not connected, and with how many others it has."""
    fleet = large()
    assert size(fleet) > 1 << 20
    view = fleet_that_fits(fleet, 1 << 20).fabrics["plant"]
    assert size(fleet_that_fits(fleet, 1 << 20)) <= 1 << 20
    assert (len(view.nodes), view.left_out) == (1000, 0)
    assert {tuple(node.integrations) for node in view.nodes.values()} == {("integration-49",)}
    assert {node.left_out for node in view.nodes.values()} == {49}
    assert len(view.uses["printer"]) == 1000


@pytest.mark.parametrize("most", [100_000, 30_000, 4_000, 1_500])
def test_few_bytes(most: int) -> None:
    """This bridge and the lost node are there as long as any are; what is left out is counted."""
    fleet = large(offers=[f"offer-{number}" for number in range(30)])
    found = fleet_that_fits(fleet, most)
    view = found.fabrics["plant"]
    assert size(found) <= most
    assert len(view.nodes) + view.left_out == 1000
    assert {"desk-0500", "desk-0999"} <= set(view.nodes) or len(view.nodes) < 2
    assert view.health.status == "connected"
    assert len(view.uses["printer"]) <= len(view.nodes) if view.uses else not view.nodes


def test_one_node_with_many_integrations() -> None:
    """Those that are not connected are left out, too, where even they are too many; all of them are counted."""
    node: FleetNode = VIEW.nodes["desk-8"]
    many = {f"integration-{number:05}": ConnectionStatus.FAILED for number in range(50_000)}
    view = replaced(VIEW, nodes={"desk-8": replaced(node, integrations=many)})
    found = fleet_that_fits(Fleet(fabrics={"plant": view}), 50_000)
    (shown,) = found.fabrics["plant"].nodes.values()
    assert size(found) <= 50_000
    assert len(shown.integrations) + shown.left_out == 50_000
    assert len(shown.integrations) > 500


def test_many_leases_that_nobody_has() -> None:
    """Some of them are shown."""
    view = replaced(VIEW, vacant=[f"subscription-{number:05}" for number in range(50_000)])
    found = fleet_that_fits(Fleet(fabrics={"plant": view}), 50_000)
    assert size(found) <= 50_000
    assert len(found.fabrics["plant"].vacant) > 500


def test_a_fleet_that_fits_as_json() -> None:
    """The console's frames are JSON, which is larger."""
    fleet = large(200)
    found = fleet_that_fits(fleet, 60_000, json=True)
    assert len(msgspec.json.encode(found)) <= 60_000
    assert found.fabrics["plant"].nodes


def told(*views: FabricView) -> list[tuple[str, str, str]]:
    """Return kind, severity and text of the problems of fabrics."""
    problems = Problems(NOW)
    for view in views:
        problems.of_fabric(view)
    listed = problems.listed()
    assert all(one.integrations == [] and one.since > 0 for one in listed)
    return [(one.kind, one.severity, one.text) for one in listed]


def well(**health: Any) -> FabricView:
    """Return the example without its lost node, with other values in its health."""
    nodes = {name: replaced(node, status="connected") for name, node in VIEW.nodes.items()}
    return replaced(VIEW, health=replaced(VIEW.health, **({"error": None, "warnings": []} | health)), nodes=nodes)


ERROR = ErrorObject(kind="invalid", message="another bridge has the name desk-7", retryable=False)


@pytest.mark.parametrize(
    ("health", "problems"),
    [
        ({}, []),
        ({"status": "stopped"}, []),
        (
            {"status": "failed", "error": ERROR},
            [("fabric", "error", "fabric plant: failed: invalid: another bridge has the name desk-7")],
        ),
        ({"status": "disconnected"}, [("fabric", "error", "fabric plant: disconnected")]),
        (
            {"status": "degraded", "error": ERROR},
            [("fabric", "error", "fabric plant: degraded: invalid: another bridge has the name desk-7")],
        ),
        (
            {"status": "degraded", "warnings": ["replicas differ"]},
            [("fabric_warnings", "warning", "fabric plant: replicas differ")],
        ),
        ({"status": "connecting"}, [("fabric", "error", "fabric plant: not connected yet")]),
        ({"status": "connecting", "since": NOW - 5_000}, []),
    ],
)
def test_a_fabric_that_is_not_well(health: dict[str, Any], problems: list[tuple[str, str, str]]) -> None:
    """What does not work is an error, what only should be known is a warning; a start of a few seconds is neither."""
    assert told(well(**health)) == problems


def test_lost_nodes_are_one_problem() -> None:
    """The first names are in it, and how many there are; those that left in order are not."""
    nodes = {f"desk-{number}": replaced(VIEW.nodes["desk-9"], since=NOW - number) for number in range(1, 9)}
    gone = {"gone": replaced(VIEW.nodes["desk-8"], status="stopped")}
    assert told(replaced(well(), nodes=nodes | gone)) == [
        ("nodes", "warning", "8 nodes of fabric plant are lost: desk-1, desk-2, desk-3, desk-4, desk-5 and 3 more")
    ]
    assert told(replaced(well(), nodes={"desk-1": nodes["desk-1"]})) == [
        ("nodes", "warning", "1 node of fabric plant is lost: desk-1")
    ]


def test_each_fabric_has_a_problem_of_its_own() -> None:
    """Names of fabrics that differ only by a number stay in the text."""
    views = [well(status="failed", fabric=name) for name in ("plant1", "plant2")]
    assert [text for _, _, text in told(*views)] == ["fabric plant1: failed", "fabric plant2: failed"]
