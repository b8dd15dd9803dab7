"""`scripts/chaos fabric` in short, and that its judges see what is wrong."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.load.fabric.leaders import TICK, Ticks
from tests.load.fabric.report import Report
from tests.load.fabric.stand import Node
from tests.support.servers import nats_server

_ROOT = Path(__file__).parents[2]
_BASE = 1_800_000_000_000


def _chaos(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.load.fabric", *options],
        cwd=_ROOT,
        env=os.environ | {"PYTHONPATH": f"{_ROOT}/scripts:{_ROOT}"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def _run(part: str, *options: str) -> str:
    """Run one part; return what it says."""
    if nats_server.PROGRAM is None:
        pytest.skip("nats-server is not installed (Debian: nats-server)")
    done = _chaos("--part", part, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every promise was kept" in done.stdout
    return done.stdout


@pytest.mark.slow
@pytest.mark.idle_machine
@pytest.mark.timeout(120)
def test_events_amid_kills() -> None:
    """Sidecars and servers are killed while 200 events of each node pass: each arrives at both others."""
    said = _run(
        "events",
        "--seeds",
        "1",
        "--events",
        "200",
        "--rate",
        "40",
        "--kill-every",
        "2",
        "--server-kill-every",
        "3",
        "--kills",
        "1",
    )
    assert "arrived 1200" in said
    assert re.search(r"kills 1 of sidecars, 1 of servers", said), said


@pytest.mark.slow
@pytest.mark.idle_machine
@pytest.mark.timeout(120)
def test_commands_amid_kills() -> None:
    """Offering nodes are killed in turn while 100 commands come: each is answered once, none is executed twice."""
    said = _run("commands", "--commands", "100", "--command-rate", "20", "--kill-every", "1")
    assert re.search(r"kills [1-9]", said), said


@pytest.mark.slow
@pytest.mark.idle_machine
@pytest.mark.timeout(120)
def test_leaders_killed_and_suspended() -> None:
    """The leader of a timer is killed or suspended within half a minute: no tick comes twice, and each gap is told."""
    said = _run("leaders", "--minutes", "0.4", "--leader-every", "2")
    assert "twice 0" in said


def _ticks(*said: tuple[str, int], missed: int = 0) -> Ticks:
    """Ticks of nodes at these seconds; each says that so many before it were missed."""
    ticks = Ticks(())
    for node, second in said:
        payload = {"message": {"scheduled_at": _BASE + second * 1000, "missed": missed}}
        ticks.note(cast("Node", SimpleNamespace(name=node)), {"event_type": TICK, "payload": payload})
    return ticks


def _violations(ticks: Ticks) -> str:
    report = Report("leaders")
    ticks.judge(report)
    return "; ".join(report.violations)


def test_the_judge_of_ticks_sees_what_is_wrong() -> None:
    """A tick said by two nodes, one that comes back, a gap that nobody told, and one that is too long."""
    assert _violations(_ticks(("n1", 0), ("n1", 1), ("n2", 2))) == ""
    assert "ticks were said twice" in _violations(_ticks(("n1", 0), ("n1", 1), ("n2", 1)))
    assert "ticks came after a later one" in _violations(_ticks(("n1", 1), ("n2", 0)))
    assert "were not told" in _violations(_ticks(("n1", 0), ("n2", 9)))
    assert "were not told" in _violations(_ticks(("n1", 0), ("n1", 5), missed=3))
    assert _violations(_ticks(("n1", 0), ("n1", 5), missed=4)) == ""
    assert "no tick for more than 15 s" in _violations(_ticks(("n1", 0), ("n2", 16)))


def test_a_wrong_argument_is_one_line() -> None:
    """It says what would be right, and exits with 2."""
    done = _chaos("--events", "0")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("numbers are more than 0")
