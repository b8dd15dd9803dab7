"""Every example is a configuration that `nemo-bridge check` accepts."""

import random
import re
import shutil
from pathlib import Path

import pytest

from bridge.config import load
from bridge.connection import setup_of
from bridge.registry import AdapterRegistry
from tests.support.bus.curve import KeyRing
from tests.support.clock import FakeClock

FOLDER = Path(__file__).parents[3] / "examples"
EXAMPLES = sorted(FOLDER.rglob("*.hcl"))


@pytest.mark.parametrize("path", EXAMPLES, ids=[str(path.relative_to(FOLDER)) for path in EXAMPLES])
def test_examples_are_good_configurations(path: Path, tmp_path: Path) -> None:
    """No complaint, no warning, and each adapter can be made."""
    if "curve {" in path.read_text("utf-8"):  # keys are made where they are used, and never part of an example
        KeyRing(tmp_path / "keys")
        path = Path(shutil.copy(path, tmp_path))
    environ = dict.fromkeys(re.findall(r"\benv\.(\w+)", path.read_text("utf-8")), "x")
    configuration = load([path], adapters=AdapterRegistry(), environ=environ)
    assert configuration.integrations
    assert not configuration.warnings
    for integration in configuration.integrations.values():
        setup = setup_of(integration, clock=FakeClock(), random=random.Random(0))
        assert integration.spec.create(setup).protocol == integration.type
