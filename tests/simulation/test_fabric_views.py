"""What `bridge.overview` and `bridge.fleet` tell of the fabrics of whole gateways, on virtual time."""

from pathlib import Path
from typing import Any

from tests.support.simulation.fleet import TICK, Fleet, fleet

TEA = """
integration "prices" {
  type = "static"
  config {
    values = { tea = 3 }
  }
}
"""


def _fabric(node: str, more: str) -> str:
    return f'fabric "plant" {{\n  integration = "cluster"\n  node = "{node}"\n  {more}\n}}\n'


def _ask(world: Fleet, command: str) -> Any:
    """Ask the bridge `a` now, and return the result."""
    before = len(world.events("a", f"response.{command}"))
    world["a"].emit(command, None, correlation_id="seen")
    world.run(world.now + 0.5)
    answers = world.events("a", f"response.{command}")[before:]
    assert len(answers) == 1
    return answers[0].payload["result"]


def _problems(overview: Any) -> list[tuple[str, str, list[str]]]:
    return [(one["kind"], one["text"], one["integrations"]) for one in overview["problems"]]


def test_a_lost_node_and_what_nobody_offers_are_problems(tmp_path: Path) -> None:
    """They are told while it is so: the node by its name, the used integration as one that is disconnected."""
    texts = {"a": _fabric("a", 'use = "prices"'), "b": TEA + _fabric("b", 'offer = "prices"'), "c": _fabric("c", "")}
    with fleet(tmp_path, texts) as world:
        world.start()
        world.run(10)
        seen = _ask(world, "bridge.overview")
        assert seen["problems"] == []
        (row,) = seen["fabrics"]
        assert (row["fabric"], row["node"], row["status"], row["integration"]) == ("plant", "a", "connected", "cluster")
        assert (row["nodes"], row["connected"], row["lost"]) == (3, 3, 0)
        assert _ask(world, "bridge.fleet")["fabrics"]["plant"]["uses"] == {"prices": ["b"]}

        world["b"].kill()
        world.run(40)
        seen = _ask(world, "bridge.overview")
        unavailable, lost = _problems(seen)
        assert (unavailable[0], unavailable[2]) == ("disconnected", ["prices"])
        assert unavailable[1].startswith("disconnected: unavailable: ")
        assert lost == ("nodes", "1 node of fabric plant is lost: b", [])
        assert (seen["fabrics"][0]["connected"], seen["fabrics"][0]["lost"]) == (2, 1)
        (since,) = (one["since"] for one in seen["problems"] if one["kind"] == "nodes")
        assert since == world.events("a", "health.node.b")[-1].payload["since"]

        world["b"].start_soon()
        world.run(60)
        assert _ask(world, "bridge.overview")["problems"] == []


def test_a_bridge_without_a_fabric_says_nothing_of_one(tmp_path: Path) -> None:
    """Its overview has no fabrics, and its fleet is empty."""
    with fleet(tmp_path, {"a": ""}) as world:
        world.start()
        world.run(5)
        assert "fabrics" not in _ask(world, "bridge.overview")
        assert _ask(world, "bridge.fleet") == {"fabrics": {}}


def test_a_node_that_is_gone_has_no_lease(tmp_path: Path) -> None:
    """Its record still names it, but another node has it: of one lease one holder is shown."""

    def holders() -> list[str]:
        nodes = _ask(world, "bridge.fleet")["fabrics"]["plant"]["nodes"]
        return [name for name, node in nodes.items() if node["leases"] == ["job"]]

    with fleet(tmp_path, {"a": _fabric("a", ""), "b": TICK + _fabric("b", ""), "c": TICK + _fabric("c", "")}) as world:
        world["b"].start()
        world["a"].start()
        world.run(10)
        assert holders() == ["b"]
        world["c"].start_soon()
        world.run(20)
        assert holders() == ["b"]
        world["b"].kill()
        world.run(50)
        assert holders() == ["c"]
