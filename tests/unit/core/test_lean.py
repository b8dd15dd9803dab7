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


@pytest.mark.parametrize(
    "program",
    ["import bridge.gateway, structlog; structlog.get_logger()", "import bridge.adapters._common.http"],
)
def test_neither_imports_rich(program: str) -> None:
    """The bridge imports structlog, and its HTTP transport imports httpx, without rich."""
    script = f"{program}\nimport sys\nsys.exit('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
