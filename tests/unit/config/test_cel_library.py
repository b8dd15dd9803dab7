"""Show how the CEL library is imported."""

import subprocess
import sys

import pytest

COMPILE = """
from bridge.config.compiler import Compiler, Names
from bridge.config.expression_parser import parse_expression
assert Compiler(Names({})).compile(parse_expression("lower('A') + string(1)".replace("'", '"'), 1)).evaluate({}) == "a1"
"""


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    "code",
    [
        COMPILE + "import cel; assert cel.evaluate('1 + 1') == 2",
        "import cel; assert cel.evaluate('1 + 1') == 2" + COMPILE,
    ],
)
def test_whoever_imports_it_first(code):
    """Other code in the same process can import the library, before and after the bridge."""
    done = _python(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_its_command_line_is_not_imported():
    """Neither importing the configuration nor compiling an expression imports the library's command line."""
    done = _python("import sys, bridge.config; assert 'cel.cel' not in sys.modules" + COMPILE + "print(*sys.modules)")
    assert done.stderr == ""
    assert not {"cel", "cel.cli", "prompt_toolkit"} & set(done.stdout.split())
