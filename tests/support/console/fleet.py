"""What a bridge in a fabric tells the console: a few nodes or many, one of which is lost."""

from typing import Any, Final

from msgspec.structs import replace

from bridge.core.errors import ErrorObject
from bridge.core.model import ConnectionStatus
from bridge.core.payloads import FabricCounts, FabricHealth, FabricRow, FabricView, Fleet, FleetNode, Overview
from tests.support.console import scenario

_MINUTE: Final = 60_000
_INTEGRATIONS: Final = ("cluster", "erp", "floor", "mail", "orders", "printer", "scales", "search", "shop", "stock")


def _node(at: int, number: int, **more: Any) -> FleetNode:
    statuses = dict.fromkeys(_INTEGRATIONS[: 4 + number % 7], ConnectionStatus.CONNECTED)
    if number % 4 == 1:
        statuses["floor"] = ConnectionStatus.DISCONNECTED
    known: dict[str, Any] = {
        "status": "connected",
        "since": at - 95 * _MINUTE,
        "heard_ms": None if number == 1 else 1200.0 + number,
        "bridge": "plant-7" if number == 1 else "bridge",
        "version": "0.1.0",
        "integrations": statuses,
        "offers": ["printer"] if "printer" in statuses else [],
        "leases": ["nightly"] if number == 2 else [],
        "left_out": 0,
    }
    return FleetNode(**known | more)


def fabric(at: int, nodes: int = 3, name: str = "plant", **health: Any) -> FabricView:
    """Return a fabric whose last node is lost, at a time: Unix time in milliseconds."""
    found = {f"desk-{number}": _node(at, number) for number in range(1, nodes + 1)}
    lost = f"desk-{nodes}"
    found[lost] = _node(at, nodes, status="lost", since=at - 4 * _MINUTE, heard_ms=4.0 * _MINUTE + 15_000, leases=[])
    known: dict[str, Any] = {
        "fabric": name,
        "integration": "cluster",
        "node": "desk-1",
        "status": "connected",
        "previous": "connecting",
        "since": at - 95 * _MINUTE,
        "delivery": "at_least_once",
        "error": None,
        "warnings": [],
        "nodes": {node: one.status for node, one in found.items() if node != "desk-1"},
        "counts": FabricCounts(exported=18_402, imported=36_120, duplicates=3, garbage=0, missed=0, served=912),
    }
    offering = [node for node, one in found.items() if one.offers and one.status == "connected"]
    return FabricView(
        health=FabricHealth(**known | health),
        nodes=found,
        uses={"printer": offering, "camera": []},
        vacant=[],
        left_out=0,
    )


def fleet(at: int, nodes: int = 3) -> Fleet:
    """Return two fabrics: one of so many nodes, and one that cannot be joined."""
    error = ErrorObject(
        kind="invalid", message="another bridge that is alive has the name desk-1 (process 4711)", retryable=False
    )
    office = fabric(
        at,
        2,
        "office",
        status="failed",
        since=at - 2 * _MINUTE,
        error=error,
        warnings=["replicas: desk-2 has 3, not 1"],
    )
    return Fleet(fabrics={"plant": fabric(at, nodes), "office": office})


def overview(at: int) -> Overview:
    """Return the overview of a bridge in one fabric."""
    health = fabric(at).health
    row = FabricRow(
        fabric=health.fabric,
        integration=health.integration,
        node=health.node,
        status=health.status,
        since=health.since,
        error=None,
        warnings=0,
        nodes=3,
        connected=2,
        lost=1,
    )
    return replace(scenario.overview(at), fabrics=[row])
