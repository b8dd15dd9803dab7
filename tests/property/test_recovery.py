"""Show that a damaged configuration gives complaints at places of the file, and nothing else, in bounded time."""

import re
import tempfile
import time
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.config import load
from bridge.config.excerpts import Excerpts
from bridge.config.grammar import Budget, UnexpectedInputError, parse
from bridge.core.diagnostic import Code
from bridge.core.errors import ConfigError

#: Seconds for a file of some forty lines.
LIMIT = 5
BLOCK = re.compile(r"^[a-z]+(?: \"[^\"\n]+\")? \{\n(?:.*\n)*?\}\n", re.MULTILINE)
TOKEN = re.compile(r"[\w-]+|[ \t]+|.", re.DOTALL)
SIGNS = ["{", "}", "[", "]", "(", ")", '"', "'", "“", "=", "==", ",", ";", ":", ".", "${", "%{", "<<EOT\n", "/*", "#"]
SIGNS += ["\n", "\r\n", "\t", "\ufeff", "\\", "~", "=>", "::", "if", "null", "route", '"x"', "é", "\x00"]
PLACED = {Code.SYNTAX, Code.UNCLOSED_BLOCK, Code.UNCLOSED_STRING, Code.SURPLUS_SIGN, Code.ONE_ATTRIBUTE_A_LINE}


def _blocks() -> list[str]:
    """Return the blocks of all examples and recipes, each once."""
    files = [*sorted(Path("examples").rglob("*.hcl")), *sorted(Path("bridge/recipes").glob("*.hcl"))]
    return list(dict.fromkeys(found for file in files for found in BLOCK.findall(file.read_text("utf-8"))))


BLOCKS = _blocks()


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """Return two blocks with one to three edits, as a slip of a person makes them."""
    text = "\n".join(draw(st.lists(st.sampled_from(BLOCKS), min_size=2, max_size=2, unique=True)))
    for _ in range(draw(st.integers(1, 3))):
        tokens = TOKEN.findall(text)
        at = draw(st.integers(0, max(len(tokens) - 1, 0)))
        match draw(st.sampled_from(["delete", "insert", "duplicate", "cut", "swap"])):
            case "delete":
                del tokens[at : at + 1]
            case "insert":
                tokens.insert(at, draw(st.sampled_from(SIGNS)))
            case "duplicate":
                tokens[at:at] = tokens[at : at + 1]
            case "cut":
                tokens = tokens[:at]
            case "swap":
                lines = "".join(tokens).split("\n")
                line, other = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
                lines[line], lines[other] = lines[other], lines[line]
                tokens = ["\n".join(lines)]
        text = "".join(tokens)
    return text


def _is_refused(text: str) -> bool:
    try:
        parse(text.removeprefix("\ufeff"), Budget())
    except UnexpectedInputError:
        return True
    return False


@settings(max_examples=100, derandomize=True, database=None)
@given(damaged())
def test_a_damaged_file_gives_complaints_at_their_places(text: str) -> None:
    """Whatever is damaged, `load` raises nothing but ConfigError, whose complaints are about lines that are there."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.hcl"
        file.write_bytes(text.encode())
        began = time.process_time()
        try:
            found = load([file], adapters={}, environ={}).warnings
        except ConfigError as error:
            found = error.diagnostics
        assert time.process_time() - began < LIMIT
    if _is_refused(text):
        assert any(one.severity == "error" for one in found)
    lines = text.removeprefix("\ufeff").split("\n")
    excerpts = Excerpts(text.removeprefix("\ufeff"))
    for one in found:
        place = one.location
        if one.code in PLACED:
            assert place.line > 0
            assert place.column > 0
        if not place.line:
            continue
        assert place.line <= len(lines)
        line = lines[place.line - 1]
        assert place.column <= len(line) + 1
        assert (place.line, place.column) <= (place.end_line, place.end_column) or not place.end_line
        for part in excerpts.line(place.line) or []:
            assert part.hidden or part.text == line[part.start : part.end]
