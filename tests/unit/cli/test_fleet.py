"""What `nemo-bridge fleet` makes of an answer."""

from copy import deepcopy
from typing import Any

import msgspec
import pytest
from rich.console import Console

from bridge.cli.fleet_view import page
from bridge.contract import examples
from bridge.core.payloads import Fleet
from bridge.observe.summary import is_fabric_well

ANSWER: dict[str, Any] = examples.RESULTS["bridge.fleet"]
ERROR = {"kind": "invalid", "message": "another bridge that is alive has the name desk-7", "retryable": False}


def changed(**more: Any) -> Fleet:
    """Return the example's answer, with its lost node alive again, and other keys in its fabric."""
    answer = deepcopy(ANSWER)
    fabric = answer["fabrics"]["plant"]
    fabric["nodes"]["desk-9"] |= {"status": "connected", "heard_ms": 1000.0}
    for key, value in more.items():
        fabric[key] |= value
    return msgspec.convert(answer, Fleet)


def printed(answer: Fleet, width: int = 120) -> str:
    """Return the page as a terminal without colours shows it."""
    console = Console(width=width, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(page(answer), soft_wrap=False)
    return capture.get()


def test_a_fleet() -> None:
    """The fabric, what was sent, who offers what, and the nodes are shown: the lost one first."""
    lines = printed(msgspec.convert(ANSWER, Fleet)).splitlines()
    assert lines[0] == "fabric plant  connected  node desk-7, at_least_once, over cluster"
    assert lines[1].split("  ")[:2] == ["exported 120", "imported 240"]
    assert lines[2] == "printer: offered by desk-8"
    assert [line.split()[:2] for line in lines[5:]] == [
        ["desk-9", "lost"],
        ["desk-7", "connected"],
        ["desk-8", "connected"],
    ]
    assert "1 min 1 s ago" in lines[5]
    assert "this bridge" in lines[6]
    assert "nightly" in lines[6]


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ({"health": {"status": "failed", "error": ERROR}}, "invalid: another bridge that is alive has the name desk-7"),
        ({"nodes": ANSWER["fabrics"]["plant"]["nodes"]}, "lost"),
        ({"uses": {"erp": []}}, "erp: no node that is connected offers it"),
    ],
)
def test_what_is_not_well(more: dict[str, Any], shown: str) -> None:
    """A fabric that is not connected, a node that is lost, or an integration that nobody offers is not well."""
    assert is_fabric_well(changed().fabrics["plant"])
    answer = changed(**more)
    assert not is_fabric_well(answer.fabrics["plant"])
    assert shown in printed(answer)


def test_a_node_that_has_left_is_well() -> None:
    """It went in order, and stays in the list until it is forgotten."""
    node = ANSWER["fabrics"]["plant"]["nodes"]["desk-8"] | {"status": "stopped"}
    answer = changed(nodes={"desk-8": node})
    assert is_fabric_well(answer.fabrics["plant"])
    assert "stopped" in printed(answer).splitlines()[-1]


def test_the_integrations_of_a_node() -> None:
    """Those that are not connected come first, with their status; of many that are, only the number is shown."""
    many = {f"remote-{number}": "connected" for number in range(9)}
    node = ANSWER["fabrics"]["plant"]["nodes"]["desk-8"]
    one = node | {"integrations": many | {"erp": "disconnected", "api": "failed", "db": "connecting"}}
    few = node | {"integrations": {"erp": "paused"}}
    text = printed(changed(nodes={"desk-1": one, "desk-2": few, "desk-3": node | {"integrations": {}}}), 200)
    assert "api: failed, erp: disconnected, db: connecting, 9 connected " in text
    assert "erp: paused " in text
    assert "cluster, printer " in text


def test_a_bridge_in_no_fabric() -> None:
    """It says so."""
    assert printed(Fleet(fabrics={})) == "this bridge is in no fabric\n"


def test_a_narrow_terminal() -> None:
    """Nothing is cut off."""
    assert "…" not in printed(msgspec.convert(ANSWER, Fleet), 50)
