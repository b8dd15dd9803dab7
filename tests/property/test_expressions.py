"""Show that expressions hold for any data, and that any file gives a configuration or diagnostics."""

import json
import math
import string
import tempfile
from pathlib import Path

from hypothesis import assume, given
from hypothesis import strategies as st

from bridge.config import load
from bridge.config.compiler import Compiler, Names
from bridge.config.diagnostics import Fault
from bridge.config.expression_parser import parse_expression
from bridge.core.errors import ConfigError, InvalidError

NAMES = st.text(string.ascii_letters + "_", min_size=1, max_size=8)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
NUMBERS = st.integers(-(2**31), 2**31) | st.floats(-1e9, 1e9)


def _evaluate(text, payload):
    compiler = Compiler(Names({}), "event")
    expression = compiler.compile(parse_expression(text, 1))
    assert not compiler.faults, compiler.faults[0].message
    return expression.evaluate({"event": {"payload": payload}})


def _quoted(text):
    escaped = "".join(letter if letter.isalnum() and letter.isascii() else f"\\U{ord(letter):08x}" for letter in text)
    return f'"{escaped}"'


@given(st.lists(st.text(string.ascii_letters + " -.é😀", max_size=6) | st.integers(0, 3), max_size=4), VALUES)
def test_a_path_leads_where_python_would(steps, leaf):
    """Whatever names and indexes a path has, it finds what was put there, unchanged."""
    value = leaf
    for step in reversed(steps):
        value = [None] * step + [value] if isinstance(step, int) else {step: value}
    path = "event.payload" + "".join(f"[{step if isinstance(step, int) else _quoted(step)}]" for step in steps)
    assert _evaluate(path, value) == leaf
    assert _evaluate(f"has({path})", value) is (leaf is not None or bool(steps))


@given(VALUES.filter(lambda value: not isinstance(value, dict) or "zz" not in value))
def test_a_missing_path_is_invalid(payload):
    """A path to nothing gives an error of its own kind, for any payload."""
    try:
        _evaluate("event.payload.zz", payload)
    except InvalidError as error:
        assert "event.payload" in error.message  # noqa: PT017 - the other ways out are failures
    else:
        raise AssertionError("found what is not there")


@given(st.text(max_size=20))
def test_a_string_survives_quoting(text):
    """Any text written with escapes is read back."""
    assume(not any(0xD800 <= ord(letter) <= 0xDFFF for letter in text))
    assert _evaluate(_quoted(text), None) == text


@given(st.text(max_size=10), st.text(max_size=10))
def test_a_template_joins_its_parts(left, right):
    """Values are not looked into: `${…}` in a value is text."""
    assume(not any(0xD800 <= ord(letter) <= 0xDFFF for letter in left + right))
    text = '"${event.payload.a}-${event.payload.b}${event.payload.a}"'
    assert _evaluate(text, {"a": left, "b": right}) == f"{left}-{right}{left}"


@given(NUMBERS, NUMBERS, st.sampled_from(["+", "-", "*"]))
def test_arithmetic_is_pythons(left, right, operator):
    """Whole numbers and doubles mix in any way, and the result is Python's, in value and type."""
    wanted = {"+": left + right, "-": left - right, "*": left * right}[operator]
    found = _evaluate(f"event.payload.a {operator} event.payload.b", {"a": left, "b": right})
    assert (found, type(found)) == (wanted, type(wanted))


@given(NUMBERS, NUMBERS)
def test_division_and_remainder_belong_together(left, right):
    """`/` is exact where it can be; `%` is what is left over and has the sign of its left side."""
    assume(right != 0 and math.isfinite(left / right))
    payload = {"a": left, "b": right}
    assert math.isclose(_evaluate("event.payload.a / event.payload.b", payload), left / right)
    assert math.isclose(_evaluate("event.payload.a % event.payload.b", payload), math.fmod(left, right), abs_tol=1e-6)


@given(NUMBERS, NUMBERS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
def test_comparisons_are_pythons(left, right, operator):
    """Numbers compare by value, whatever their kind."""
    wanted = {
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
        "==": left == right,
        "!=": left != right,
    }[operator]
    assert _evaluate(f"event.payload.a {operator} event.payload.b", {"a": left, "b": right}) is wanted


@given(VALUES, VALUES, st.sampled_from(["+", "-", "*", "/", "%", "<", "==", "&&", "||"]))
def test_any_operands_end_in_a_value_or_an_error(left, right, operator):
    """Any operands give a value or `invalid`."""
    try:
        _evaluate(f"event.payload.a {operator} event.payload.b", {"a": left, "b": right})
    except InvalidError as error:
        assert error.message.startswith("`event.payload.a")  # noqa: PT017 - a value is fine, too


@given(st.text(string.ascii_letters + string.digits + ' "${}[]().,?:!=<>&|+-*/%_\n', max_size=40))
def test_any_text_is_an_expression_or_a_fault(text):
    """Any text gives an expression or a fault with a message."""
    compiler = Compiler(Names({}), "event")
    try:
        compiler.compile(parse_expression(text, 1))
    except Fault as fault:
        assert fault.message  # noqa: PT017 - compiling is fine, too


KEYS = st.sampled_from(["name", "level", "mode", "on", "type", "x", "default"])
TOKENS = st.sampled_from(['"a"', "5", "null", "true", "env.X", "event.id", "[1]", "{ a = 1 }", '"${var.x}"', "bare"])
BODIES = st.lists(st.tuples(KEYS, TOKENS).map(lambda pair: f"  {pair[0]} = {pair[1]}\n"), max_size=4).map("".join)
BLOCKS = st.tuples(
    st.sampled_from(["bridge", "log", "bus", "variable", "integration", "route", "subscription", "data"]),
    st.sampled_from(["", '"a"', '"x"', '"a" "b"']),
    BODIES,
).map(lambda parts: f"{parts[0]} {parts[1]} {{\n{parts[2]}}}\n")


@given(st.lists(BLOCKS, max_size=5).map("".join) | st.binary(max_size=60).map(lambda data: data.decode("latin-1")))
def test_any_file_ends_in_a_configuration_or_diagnostics(text):
    """Whatever a file holds, `load` returns or raises diagnostics, each on one line and with the file's name."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.hcl"
        file.write_text(text, encoding="utf-8")
        try:
            load([file], adapters={}, environ={})
        except ConfigError as error:
            assert error.diagnostics  # noqa: PT017 - a configuration is fine, too
            for line in map(str, error.diagnostics):
                assert line.startswith(str(file)), json.dumps(line)
                assert "\n" not in line
