"""docs/traps.md names a test for each trap of a client library; each is there."""

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_NAMED = re.findall(r"`((?:tests|rust)/\S+\.(?:py|rs))::(\w+)`", (_ROOT / "docs" / "traps.md").read_text("utf-8"))


@pytest.mark.parametrize(("file", "name"), _NAMED, ids=[name for _, name in _NAMED])
def test_the_test_of_a_trap_is_there(file: str, name: str) -> None:
    """In the file that the page names."""
    definition = rf"^ *fn {name}\(" if file.endswith(".rs") else rf"^(async )?def {name}\("
    assert re.search(definition, (_ROOT / file).read_text("utf-8"), re.MULTILINE)


def test_each_trap_has_one() -> None:
    """No line of a table without a test."""
    lines = (_ROOT / "docs" / "traps.md").read_text("utf-8").splitlines()
    traps = [line for line in lines if line.startswith("| ") and not line.startswith(("| trap", "| ---"))]
    assert len(traps) == len(_NAMED) > 25
