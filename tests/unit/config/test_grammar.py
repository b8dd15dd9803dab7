"""Show that the parser of HCL does as python-hcl2's own."""

import subprocess
import sys
from pathlib import Path

import pytest

from bridge.config import grammar, python_hcl2
from bridge.config.grammar import Budget, TooLargeError, UnexpectedInputError, parse
from tests.support.hcl_parser import by_python_hcl2, by_the_bridge

ROOT = Path(__file__).parents[3]
FILES = [*sorted(ROOT.glob("examples/**/*.hcl")), *sorted(ROOT.glob("bridge/recipes/*.hcl"))]


def test_the_tables_are_those_of_the_grammar() -> None:
    """`scripts/grammar` would write no other tables."""
    command = [sys.executable, "scripts/lib/hcl_grammar.py", "bridge/config/grammar.json", "--check"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_grammar_is_parsed_by_python_hcl2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the tables do not fit the python-hcl2 that is installed, it does all: trees, errors and the limit."""
    calls: list[str] = []
    parse_by_library = python_hcl2.parse
    monkeypatch.setattr(grammar, "_tables_fit", lambda: False)
    monkeypatch.setattr(python_hcl2, "parse", lambda text: (calls.append(text), parse_by_library(text))[1])
    text = FILES[0].read_text("utf-8")
    assert by_the_bridge(text) == by_python_hcl2(text)
    for wrong in ("a = 1\nb = 2 3\n", "a = 1\n  @b = 1", "a = [\n  1,\n"):
        assert by_the_bridge(wrong) == by_python_hcl2(wrong)
    with pytest.raises(TooLargeError):
        parse("a = 1\nb = 2\nc = 3\n", Budget(6))
    assert len(calls) == 5


def test_tables_fit_one_grammar_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """They fit the version that they were made of, and no other; where none is installed there is no choice."""
    fits = grammar._tables_fit.__wrapped__
    assert fits()
    monkeypatch.setattr(python_hcl2, "digest", lambda: "another")
    assert not fits()
    monkeypatch.setattr(python_hcl2, "digest", lambda: None)
    assert fits()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_files_have_the_same_tree(file: Path) -> None:
    """Each example and each recipe has python-hcl2's tree, with the same places."""
    text = file.read_text("utf-8")
    assert by_the_bridge(text) == by_python_hcl2(text)


def test_the_place_of_what_cannot_be_there() -> None:
    """It is that of the token or, where the text ends too early, of the last one."""
    found = []
    for text in ("a = 1\nb = 2 3\n", "a = 1\n  @b = 1", "a = [\n  1,\n"):
        with pytest.raises(UnexpectedInputError) as caught:
            parse(text, Budget())
        error = caught.value
        found.append((error.line, error.column, error.start, error.token))
    assert found == [(2, 7, 12, "3"), (2, 3, 8, "@b = 1\n"), (3, 1, None, "")]


def test_tokens_are_counted() -> None:
    """A text with too many of them is not parsed to its end."""
    with pytest.raises(TooLargeError) as caught:
        parse("a = 1\nb = 2\nc = 3\n", Budget(6))
    assert caught.value.line == 2
