"""What a message costs beside a thousand routes that it does not meet, and beside ninety-nine idle integrations.

Processor time of the sidecar a message, which other work on the machine disturbs less than its rate.
"""

import contextlib
from typing import Final

from bench_lib import flow, outbound, processes, servers
from bench_lib.rows import Figure, Plan, Row, Sample
from bench_lib.wires import Arrivals

ROUTES: Final = 1_000
INTEGRATIONS: Final = 100
#: A message may cost so much more, which is about what two measurements of the same thing differ by.
FLAT: Final = 1.2

_ROUTE: Final = """
route "other{number}" {{
  on          = "other.{number}.**"
  integration = "remote"
  operation   = "publish"
  topic       = "other"
  message     = event.payload
}}
"""
_INTEGRATION: Final = """
integration "other{number}" {{
  type = "nats"

  endpoint {{
    url = "nats://127.0.0.1:{port}"
  }}
}}
"""


def measure(plan: Plan) -> list[Row]:
    """One row for routes, one for integrations; both over NATS, where a message costs least beside them."""
    rows = [
        Row("routes", f"bus → NATS publish, 1 route and {ROUTES:,}"),
        Row("integrations", f"bus → NATS publish, 1 integration and {INTEGRATIONS}"),
    ]
    skipped = servers.missing("nats")
    if skipped is not None:
        for row in rows:
            row.skipped = skipped
        return rows
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(processes.folder())
        port = stack.enter_context(servers.server("nats", directory))
        for row, block, count in zip(rows, (_ROUTE, _INTEGRATION), (ROUTES, INTEGRATIONS), strict=True):
            more = "".join(block.format(number=number, port=port) for number in range(1, count))
            _compare(row, plan, port, more, count)
    return rows


def _compare(row: Row, plan: Plan, port: int, more: str, count: int) -> None:
    one = outbound.blocks("nats", port)
    ratios = []
    with contextlib.ExitStack() as stack:
        sidecars = {}
        for name, blocks in (("1", one), (f"{count:,}", one + more)):
            folder = stack.enter_context(processes.folder())
            sidecars[name] = stack.enter_context(processes.sidecar_with(folder, blocks))
        for number in range(plan.server_rounds):
            plan.say(f"round {number + 1} of {plan.server_rounds}: {row.title}")
            costs = []
            for name, sidecar in sidecars.items():
                sample, cost = _sample(sidecar, port, plan.seconds * flow.SHARE)
                row.add(name, sample)
                costs.append(cost)
                row.figures[f"{name}_cpu_us"] = round(cost, 1)
            ratios.append(costs[1] / costs[0])
    row.ask("times the cost with 1", Figure.of(ratios), "≤", FLAT)


def _sample(sidecar: processes.Sidecar, port: int, seconds: float) -> tuple[Sample, float]:
    """A run, and microseconds of the sidecar's processor time for each message of it."""
    with Arrivals("nats", port, "sidecar") as sink, flow.BusSource(sidecar.place) as source:
        flow.join(source, sink)
        flow.run(source, sink, min(0.2, seconds / 4))
        before = processes.cpu_seconds(sidecar.pid)
        sample = flow.run(source, sink, seconds)
        spent = processes.cpu_seconds(sidecar.pid) - before
    return sample, spent / max(1, sample.done) * 1e6
