"""Imports without what a library uses only in a terminal."""

import subprocess
import sys

import pytest

from bridge.core.lean import without


def test_a_module_that_is_not_imported_yet_cannot_be() -> None:
    """In the body its import fails; after it, it does not."""
    sys.modules.pop("this", None)
    with without("this", "json"):
        import json  # noqa: F401 - imported before

        with pytest.raises(ModuleNotFoundError):
            import this  # noqa: F401
    assert "this" not in sys.modules


_SCRIPT = """
import sys
sys.argv = ["nemo-bridge", "--version"]
try:
    {program}
except SystemExit:
    pass
sys.exit(str({{"rich", "click", "pygments"}} & set(sys.modules)) if "rich" in sys.modules else 0)
"""


@pytest.mark.parametrize(
    "program",
    ["import bridge.__main__ as start; start.main()", "import bridge.adapters._common.http, httpx; httpx.AsyncClient"],
)
def test_neither_imports_rich(program: str) -> None:
    """The command line imports structlog, and HTTP's adapters import httpx, without rich."""
    script = _SCRIPT.format(program=program)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
