"""Every example passes `nemo-bridge check` as it is shipped, alone and all together."""

import random
import re
from pathlib import Path

import pytest

from bridge.cli.mock import Options, make_plan
from bridge.config import Configuration, load
from bridge.core.setup import setup_of
from bridge.registry import AdapterRegistry
from tests.support.bus.curve import KeyRing
from tests.support.clock import FakeClock

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "examples"
SHIPPED = [*sorted(FOLDER.rglob("*.hcl")), FOLDER, FOLDER / "nemo", ROOT / "compose"]


def checked(path: Path) -> Configuration:
    """Return a configuration that has no complaint and no warning, and whose adapters can be made.

    Nothing is in the environment.
    """
    configuration = load([path], adapters=AdapterRegistry(), environ={})
    assert not configuration.warnings
    for integration in configuration.integrations.values():
        if integration.is_used:  # its adapter is made with the fabric
            continue
        setup = setup_of(integration, clock=FakeClock(), random=random.Random(0))
        assert integration.spec.create(setup).protocol == integration.type
    return configuration


@pytest.mark.parametrize("path", SHIPPED, ids=[str(path.relative_to(ROOT)) for path in SHIPPED])
def test_examples_are_good_configurations(path: Path) -> None:
    """Each file, and each folder as one configuration."""
    configuration = checked(path)
    assert bool(configuration.integrations) == (path.name != "bridge.hcl" or path.parent != FOLDER)


def test_stand_ins_for_all_examples_at_once() -> None:
    """`nemo-bridge mock examples/` finds each remote at an address of its own."""
    plan = make_plan(checked(FOLDER), Options())
    assert {"shop", "quotes", "packing"} <= {one.name for one in plan.remotes}
    assert [len(place.remotes) for place in plan.places] == [1] * len(plan.places)


def test_a_closed_bus_needs_its_keys(tmp_path: Path) -> None:
    """The configuration of a closed bus is good when the keys have been made; they are never part of an example."""
    assert not [path for path in FOLDER.rglob("*") if "key" in path.suffix]
    (text,) = re.findall(
        r"^```hcl\n(.*?)^```", (FOLDER / "closed-bus/README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    KeyRing(tmp_path / "keys")
    (tmp_path / "bridge.hcl").write_text(text)
    assert checked(tmp_path / "bridge.hcl").bus.curve is not None
