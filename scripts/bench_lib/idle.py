"""What a sidecar costs that does nothing, and how long it takes to be there."""

import contextlib
import time
from pathlib import Path
from typing import Final

from bench_lib import processes, servers
from bench_lib.rows import Figure, Plan, Row

#: Beside the JSON-RPC service, where their servers are installed.
_OTHERS: Final = ("nats", "redis", "mqtt")
_OTHER: Final = """
integration "{protocol}" {{
  type = "{protocol}"

  endpoint {{
    url = "{protocol}://127.0.0.1:{port}"
  }}
}}
"""


def measure(plan: Plan) -> list[Row]:
    """Idle cost (the last of the sidecars that were started) and start to ready (all of them)."""
    others = [protocol for protocol in _OTHERS if servers.program(protocol) is not None]
    idle = Row("idle", f"sidecar with {1 + len(others)} idle integrations")
    start = Row("start", "process start to ready")
    starts: list[float] = []
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(processes.service())
        folder = stack.enter_context(processes.folder())
        blocks = processes.SERVICE.format(url=url)
        for protocol in others:
            port = stack.enter_context(servers.server(protocol, folder))
            blocks += _OTHER.format(protocol=protocol, port=port)
        for number in range(plan.rounds):
            plan.say(f"round {number + 1} of {plan.rounds}: {start.title}")
            with processes.folder() as directory, processes.sidecar_with(directory, blocks) as sidecar:
                starts.append(sidecar.seconds_to_ready * 1000)
                if number == plan.rounds - 1:
                    _watch(idle, sidecar.pid, plan)
    ready = Figure.of(starts)
    start.figures = {"ready_ms": round(ready.median, 1), "ready_ms_high": round(ready.high, 1)}
    start.ask("ready, ms", ready, "≤", 1000)
    return [idle, start]


def _watch(row: Row, pid: int, plan: Plan) -> None:
    if not Path("/proc/self/statm").exists():
        row.skipped = "processor time and memory are read from /proc, which only Linux has"
        return
    time.sleep(0.5)  # what is left of the start
    plan.say(f"{row.title}, {plan.idle_seconds:g} s")
    before, since = processes.cpu_seconds(pid), time.monotonic()
    time.sleep(plan.idle_seconds)
    cpu = 100 * (processes.cpu_seconds(pid) - before) / (time.monotonic() - since)
    megabytes = processes.resident_bytes(pid) / 1e6
    row.figures = {"cpu_percent": round(cpu, 2), "rss_mb": round(megabytes, 1)}
    row.ask("CPU, % of a core", Figure.of([cpu]), "≤", 1.0)
    row.ask("resident, MB", Figure.of([megabytes]), "≤", 80)
