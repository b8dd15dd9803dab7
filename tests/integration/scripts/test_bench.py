"""`scripts/bench` as a person or a machine runs it, with measurements too short to mean anything."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.wait import until

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


def test_it_measures_at_a_steady_pace() -> None:
    """Single messages at a steady pace: each candidate moved all of them, with its processor time and their latency."""
    done = _bench("nats-in", "--pace", "500", "--json", "--rounds", "1", "--seconds", "0.2")
    assert done.returncode == 0, done.stderr + done.stdout
    (row,) = json.loads(done.stdout)["rows"]
    if row["skipped"] is not None:
        assert os.environ.get("CI") != "true", row["skipped"]
        pytest.skip(row["skipped"])
    assert row["name"] == "nats-in-paced"
    assert list(row["candidates"]) == ["naive", "sidecar"]
    for candidate in row["candidates"].values():
        assert candidate["done"] == 100
        assert all(candidate[quantity]["median"] > 0 for quantity in ("cpu_us", "p50_ms", "p99_ms"))


def test_it_measures_start_and_memory() -> None:
    """The rows of the process itself have what is asked, and a flood loses nothing."""
    done = _bench("start", "memory", "--json", "--rounds", "1", "--seconds", "0.2")
    assert done.returncode == 0, done.stderr + done.stdout
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    assert list(rows) == ["start", "commands", "memory"]
    assert {"help_ms", "check_ms"} <= rows["commands"]["figures"].keys()
    if skipped := rows["start"]["skipped"] or rows["memory"]["skipped"]:
        assert os.environ.get("CI") != "true", skipped
        pytest.skip(skipped)
    assert {"sidecar_ready_ms", "sidecar_first_message_ms"} <= rows["start"]["figures"].keys()
    memory = rows["memory"]["figures"]
    assert 0 < memory["sidecar_one_mb"] <= memory["sidecar_flood_mb"]
    assert memory["sidecar_one_mb"] < memory["sidecar_four_mb"]


def test_a_program_that_is_no_benthos_is_named(tmp_path: Path) -> None:
    """What does not run with the configuration ends the measurement with exit code 2 and its last words."""
    program = tmp_path / "other"
    program.write_text("#!/bin/sh\necho unable to infer input type: zmq4\nexit 1\n")
    program.chmod(0o755)
    done = _bench("rpc", "--quick", "--against", str(program))
    assert done.returncode == 2
    assert "other, with the configuration that is written for it here" in done.stderr
    assert "unable to infer input type: zmq4" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
async def test_a_killed_bench_leaves_nothing_behind() -> None:
    """What it has started ends with it, even if it is killed."""
    environment = {**os.environ, "PYTHON": sys.executable}
    bench = await asyncio.create_subprocess_exec(_BENCH, "idle", "--quick", env=environment, stderr=subprocess.DEVNULL)
    # A server and the service, or, where no server is installed, the service and the sidecar.
    await until(lambda: len(_children(bench.pid)) >= 2, "two processes of the bench")
    started = _children(bench.pid)
    bench.kill()
    await bench.wait()
    await until(lambda: not any(map(_runs, started)), "the end of what the bench has started")


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _runs(pid: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "XZ"


def _history(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(_BENCH.parent)}
    program = f"import json, sys; from pathlib import Path; from bench_lib import history; {code}"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], env=environment, capture_output=True, text=True, check=False
    )


_ADD = "history.add(Path(sys.argv[1]), json.loads(sys.argv[2]))"


def _report(commit: str | None, *names: str, problems: tuple[str, ...] = ()) -> dict[str, Any]:
    """What `--json` prints of rows in which the sidecar has twice the rate of naive."""
    candidates = {
        name: {"rate": {"median": rate}, "cpu_us": None, "p50_ms": None, "p99_ms": None}
        for name, rate in (("naive", 1234.56), ("sidecar", 2469.12))
    }
    row = {"title": "a way", "candidates": candidates, "figures": {}, "problems": problems, "skipped": None}
    around = {"commit": commit, "date": "2026-11-28T10:00:00+00:00", "processor": "CPU", "cpus": 2, "python": "3.11.7"}
    return {**around, "rows": [{**row, "name": name} for name in names]}


def test_a_measurement_is_recorded(tmp_path: Path) -> None:
    """Rows of one commit share a record, another commit has its own; the page has the newest and the ratios of all."""
    for report in (_report("aaaa", "nats-out"), _report("aaaa", "mqtt-in"), _report("bbbb", "nats-out")):
        done = _history(_ADD, str(tmp_path), json.dumps(report))
        assert done.returncode == 0, done.stderr
    records = json.loads((tmp_path / "benchmarks.json").read_text("utf-8"))
    assert [(record["commit"], list(record["rows"])) for record in records] == [
        ("aaaa", ["nats-out", "mqtt-in"]),
        ("bbbb", ["nats-out"]),
    ]
    page = (tmp_path / "benchmarks.md").read_text("utf-8")
    assert "## Commit bbbb\n\n2026-11-28, CPU, 2 cores, Python 3.11.7." in page
    assert "| a way | 1,235 | 2,469 | 2 |" in page
    assert "| 2026-11-28 | aaaa | - | 2 | - | - | - | - | 2 |" in page


@pytest.mark.parametrize(
    ("report", "why"),
    [
        (_report("aaaa-dirty", "nats-out"), "commit the changes first"),
        (_report(None, "nats-out"), "commit the changes first"),
        (_report("aaaa", "nats-out", problems=("naive: 1 of 2 messages did not arrive",)), "nothing is recorded"),
    ],
)
def test_what_is_not_recorded(report: dict[str, Any], why: str, tmp_path: Path) -> None:
    """Neither changes without a commit nor a measurement in which something was wrong gets into the history."""
    done = _history(_ADD, str(tmp_path), json.dumps(report))
    assert done.returncode != 0
    assert why in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_page_is_made_of_the_records() -> None:
    """`docs/benchmarks.md` is what is made of `docs/benchmarks.json`."""
    docs = str(_BENCH.parents[1] / "docs")
    done = _history("sys.exit(history.main(Path(sys.argv[1]), '--check'))", docs)
    assert done.returncode == 0, done.stdout + done.stderr


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
