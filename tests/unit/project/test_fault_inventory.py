"""The table in tests/faults/README.md names tests that exist."""

import ast
import re
from pathlib import Path

_HERE = Path(__file__).parents[2] / "faults"


def _tests_of(file: Path) -> set[str]:
    tree = ast.parse(file.read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_each_named_test_exists() -> None:
    """Every `file::test`, file of state machines and script of the page is there, and every fault has at least one."""
    text = (_HERE / "README.md").read_text("utf-8")
    named = re.findall(r"`([\w./-]+\.py)::(\w+)`", text)
    assert len(named) > 50
    assert not [f"{file}::{name}" for file, name in named if name not in _tests_of(_HERE / file)]
    others = re.findall(r"`((?:\.\./|tests/|scripts/)[\w./-]+)`", text)
    root = _HERE.parents[1]
    places = [_HERE / one if one.startswith("..") else root / one for one in others]
    assert not [str(place) for place in places if not place.exists()]
    rows = text.split("| --- | --- |\n")[1].split("\n\n")[0].splitlines()
    assert len(rows) > 20
    assert not [row for row in rows if "::test_" not in row]
