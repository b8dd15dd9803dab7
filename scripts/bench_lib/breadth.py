"""What a message costs beside a thousand routes that it does not meet, and beside ninety-nine idle integrations.

Processor time of the sidecar a message, which other work on the machine disturbs less than its rate.
"""

import contextlib
from typing import Final

from bench_lib import flow, outbound, processes, servers
from bench_lib.rows import Plan, Row
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
    with contextlib.ExitStack() as stack:
        sidecars = {}
        for name, blocks in (("1", one), (f"{count:,}", one + more)):
            folder = stack.enter_context(processes.folder())
            sidecars[name] = stack.enter_context(processes.sidecar_with(folder, blocks))
        for number in range(plan.server_rounds):
            plan.say(f"round {number + 1} of {plan.server_rounds}: {row.title}")
            for name, sidecar in sidecars.items():
                with Arrivals("nats", port, "sidecar") as sink, flow.BusSource(sidecar.place) as source:
                    row.add(name, flow.measure(source, sink, plan.seconds * flow.SHARE, [sidecar.pid]))
    row.ask("times the cost with 1", row.ratio(f"{count:,}", "1", "cpu_us"), "≤", FLAT)
