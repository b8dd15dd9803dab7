"""The wall clock goes a day forward and two days back while the sidecar works: nobody but a timestamp notices."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers.remotes import KINDS, Stand, stand
from tests.support.sidecar.flows import flowing

_DAY = 86_400
_TICKS = """
integration "clock" {
  type = "timer"
  config {
    schedule "fast" {
      every = "100ms"
    }
    schedule "hourly" {
      cron = "30 * * * *"
    }
  }
}
subscription "fast" {
  integration = "clock"
  topic       = "fast"
  emit        = "seen.fast"
}
subscription "hourly" {
  integration = "clock"
  topic       = "hourly"
  emit        = "seen.hourly"
}
"""
#: Runs at the start of the interpreter: Python's wall clock is as many seconds ahead as the file says.
_SHIFT = """
import os, pathlib, time
_real, _file = time.time_ns, pathlib.Path(os.environ["CLOCK_IS_AHEAD"])
time.time_ns = lambda: _real() + int(_file.read_text()) * 10**9
time.time = lambda: time.time_ns() / 1e9
"""


@pytest.fixture
def stands() -> Iterator[list[Stand]]:
    """A remote of each kind."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(stand(kind)) for kind in KINDS]


async def test_a_day_forward_and_two_back(stands: list[Stand], tmp_path: Path) -> None:
    """Calls, checks, schedules and deadlines go on; nothing expires, reconnects or is made up for."""
    ahead = tmp_path / "ahead"
    ahead.write_text("0")
    (tmp_path / "sitecustomize.py").write_text(_SHIFT)
    environ = {"PYTHONPATH": str(tmp_path), "CLOCK_IS_AHEAD": str(ahead)}
    async with flowing(stands, more=_TICKS, environ=environ) as (_, flows):
        bus = flows.all[0].bus
        bus.clocks_differ = 3 * _DAY * 1000
        since, began = bus.mark(), time.monotonic()
        for jump in (_DAY, -_DAY):
            # At once: the sidecar must never read a file that is half written.
            (tmp_path / "next").write_text(str(jump))
            (tmp_path / "next").replace(ahead)
            # Both clocks jump; a deadline is a time of day on both.
            deadline = str(int((time.time() + jump + 5) * 1000))
            assert (await bus.request("json-rpc", "echo", {}, headers={"deadline_ms": deadline}))["ok"]
            assert abs(bus.log[-1]["timestamp"] - (time.time() + jump) * 1000) < 60_000
            await flows.run(0.8, rate=40)
            await flows.recover()
        await flows.account(declared={"ok"})
        passed = time.monotonic() - began
        healths = [event["payload"] for event in bus.seen(prefix="health.", since=since)]
        # Checks that are slow on a busy machine are all that may be told, and none of them took hours.
        assert {health["status"] for health in healths} <= {"connected", "ready", "degraded"}
        assert all((health.get("latency_ms") or 0) < 60_000 and not health.get("error") for health in healths)
        assert 5 <= len(bus.seen("seen.fast", since=since)) <= passed / 0.1 + 2
        # An hour strikes once at most for each time that the clock was set, never once for each hour it was set by.
        assert len(bus.seen("seen.hourly", since=since)) <= 2
