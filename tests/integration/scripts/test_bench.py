"""`scripts/bench` as a person or a machine runs it, with measurements too short to mean anything."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.idle_machine

_BENCH = Path(__file__).parents[3] / "scripts" / "bench"


def _bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(
        [_BENCH, *arguments], env=environment, capture_output=True, text=True, timeout=50, check=False
    )


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """The report of one short run; of the ways through a server, one in each direction."""
    rows = ("rpc", "bus-reading", "nats-out", "redis-in", "idle")
    done = _bench(*rows, "--quick", "--json", "--rounds", "1", "--seconds", "0.2", "--idle-seconds", "0.2")
    assert done.returncode == 0, done.stderr + done.stdout
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_it_reports_every_row(measured: dict[str, Any]) -> None:
    """The RPC rows, the bus and idle cost are all there, and nothing was lost or answered twice."""
    rows = {row["name"]: row for row in measured["rows"]}
    assert list(rows) == ["rpc-1", "rpc-32", "bus-reading", "nats-out", "redis-in", "idle"]
    assert [row["problems"] for row in rows.values()] == [[]] * 6
    assert list(rows["rpc-1"]["candidates"]) == ["naive", "sidecar"]
    assert list(rows["rpc-32"]["candidates"]) == ["naive", "alone", "alone, a client each", "sidecar"]
    for name in ("rpc-1", "rpc-32", "bus-reading"):
        for candidate in rows[name]["candidates"].values():
            assert candidate["done"] > 0
            assert candidate["rate"]["median"] > 0


@pytest.mark.parametrize("name", ["nats-out", "redis-in"])
def test_it_measures_both_directions(measured: dict[str, Any], name: str) -> None:
    """Naive, alone and sidecar each moved messages through a real server, and both ratios are judged."""
    row = next(row for row in measured["rows"] if row["name"] == name)
    if row["skipped"] is not None:
        assert os.environ.get("CI") != "true", row["skipped"]
        pytest.skip(row["skipped"])
    assert list(row["candidates"]) == ["naive", "alone", "sidecar"]
    assert all(candidate["done"] > 0 and candidate["rate"]["median"] > 0 for candidate in row["candidates"].values())
    assert [check["what"] for check in row["checks"]] == ["times naive", "times alone"]


@pytest.mark.parametrize(
    ("group", "candidates", "asked"),
    [
        ("nats-redis", ["naive", "sidecar"], "times naive"),
        ("redis-durable", ["at_most_once", "at_least_once"], "times at_most_once"),
    ],
)
def test_it_measures_two_against_each_other(group: str, candidates: list[str], asked: str) -> None:
    """From one server to another, and with the outbox: both moved messages, none was lost, and the ratio is judged."""
    done = _bench(group, "--quick", "--json", "--rounds", "1", "--seconds", "0.2")
    assert done.returncode == 0, done.stderr + done.stdout
    (row,) = json.loads(done.stdout)["rows"]
    if row["skipped"] is not None:
        assert os.environ.get("CI") != "true", row["skipped"]
        pytest.skip(row["skipped"])
    assert list(row["candidates"]) == candidates
    assert all(candidate["done"] > 0 for candidate in row["candidates"].values())
    assert [check["what"] for check in row["checks"]] == [asked]


def test_a_missing_server_is_a_skipped_row() -> None:
    """A way whose server is not installed says so, and is no failure."""
    program = "import sys; from bench_lib import __main__, servers; servers.PROGRAMS['redis'] = 'no-such-server'"
    scripts = str(_BENCH.parent)
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; sys.exit(__main__.main())", "redis-out", "redis-in", "--json"],
        env={**os.environ, "PYTHONPATH": scripts},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    skipped = {row["name"]: row["skipped"] for row in json.loads(done.stdout)["rows"]}
    assert skipped == dict.fromkeys(("redis-out", "redis-in"), "no-such-server is not installed")


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
