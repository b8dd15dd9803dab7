"""Every code of a diagnostic is explained, and its examples show it."""

from pathlib import Path

import pytest

from bridge.config import load
from bridge.config.explanations import EXPLANATIONS
from bridge.core.diagnostic import Code
from bridge.core.errors import ConfigError
from bridge.registry import AdapterRegistry

GROUND = {
    "shop": 'integration "shop" {\n  type = "json-rpc"\n  endpoint {\n    url = "http://localhost:8080/rpc"\n  }\n}\n',
    "events": 'integration "events" {\n  type = "mqtt"\n  endpoint {\n    url = "mqtt://localhost"\n  }\n}\n',
}


def codes(text, folder):
    """Return the codes of what is wrong with an example."""
    ground = "".join(block for name, block in GROUND.items() if f'integration "{name}"' not in text)
    file = folder / "bridge.hcl"
    file.write_text(f"{ground}\n{text}")
    try:
        found = load([file], adapters=AdapterRegistry(), environ={}).warnings
    except ConfigError as error:
        found = error.diagnostics
    return {one.code for one in found}


def test_every_code_is_explained():
    """Each code has a title, a text in sentences, and no example without its right form."""
    assert set(EXPLANATIONS) == set(Code)
    for one in EXPLANATIONS.values():
        assert one.title
        assert not one.title.endswith(".")
        assert one.text.endswith(".")
        assert bool(one.wrong) == bool(one.right)
    assert len({one.title for one in EXPLANATIONS.values()}) == len(Code)


def test_every_code_is_used():
    """A code that nothing gives any more is taken out of the table."""
    without = {"diagnostic.py", "explanations.py"}
    text = "".join(path.read_text() for path in Path("bridge").rglob("*.py") if path.name not in without)
    assert [code for code in Code if f"Code.{code.name}" not in text] == []


def test_what_a_file_can_show_has_an_example():
    """Only codes about other things than the text of a file have none."""
    without = {Code.UNREADABLE_FILE, Code.FILE_OF_NEMO, Code.TOO_LARGE, Code.NOT_LOADED, Code.NOT_CONNECTED}
    assert {code for code, one in EXPLANATIONS.items() if not one.wrong} == without


@pytest.mark.parametrize("code", [code for code, one in EXPLANATIONS.items() if one.wrong], ids=str)
def test_the_examples_show_it(code, tmp_path):
    """The wrong example has this code and no other one; the right example has none at all."""
    one = EXPLANATIONS[code]
    assert codes(one.wrong, tmp_path) == {code}
    assert codes(one.right, tmp_path) == set()
