"""`scripts/bench` as a person or a machine runs it, with measurements too short to mean anything."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_BENCH = Path(__file__).parents[2] / "scripts" / "bench"


def _bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(
        [_BENCH, *arguments], env=environment, capture_output=True, text=True, timeout=50, check=False
    )


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """The report of one short run over all rows."""
    done = _bench("--quick", "--json", "--rounds", "1", "--seconds", "0.2", "--idle-seconds", "0.2")
    assert done.returncode == 0, done.stderr + done.stdout
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_it_reports_every_row(measured: dict[str, Any]) -> None:
    """The RPC rows, the bus, idle cost and start are all there, and nothing was lost or answered twice."""
    rows = {row["name"]: row for row in measured["rows"]}
    assert list(rows) == ["rpc-1", "rpc-32", "bus-reading", "idle", "start"]
    assert [row["problems"] for row in rows.values()] == [[]] * 5
    assert list(rows["rpc-1"]["candidates"]) == ["naive", "sidecar"]
    assert list(rows["rpc-32"]["candidates"]) == ["naive", "alone", "alone, a client each", "sidecar"]
    for name in ("rpc-1", "rpc-32", "bus-reading"):
        for candidate in rows[name]["candidates"].values():
            assert candidate["done"] > 0
            assert candidate["rate"]["median"] > 0
    assert rows["start"]["figures"]["ready_ms"] > 0


def test_it_judges_what_is_asked(measured: dict[str, Any]) -> None:
    """Each demand says what was measured, what is asked, and whether it is met."""
    checks = {row["name"]: row["checks"] for row in measured["rows"]}
    assert [check["what"] for check in checks["rpc-32"]] == ["times naive", "p99 ÷ naive", "times alone"]
    for check in (one for row in checks.values() for one in row):
        met = check["value"] >= check["asked"] if check["relation"] == "≥" else check["value"] <= check["asked"]
        assert check["met"] is met, check


def test_an_unknown_row_is_named() -> None:
    """A wrong argument is one clear line and exit code 2."""
    done = _bench("nonsense")
    assert done.returncode == 2
    assert "no rows 'nonsense'" in done.stderr
