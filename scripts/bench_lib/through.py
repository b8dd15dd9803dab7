"""NATS → Redis Streams through the bus: a subscription, a route that its events set off, and the stream's length."""

import contextlib
from typing import Final

from bench_lib import flow, processes, servers
from bench_lib.rows import Plan, Row
from bench_lib.wires import Entries, Sender

#: Times naive: ten times what FastStream makes of this way, which was measured at 0.66 of naive.
_ASKED: Final = 6.6
_HCL: Final = """
integration "from" {{
  type = "nats"

  endpoint {{
    url = "nats://127.0.0.1:{nats}"
  }}
}}

integration "to" {{
  type = "redis"

  endpoint {{
    url = "redis://127.0.0.1:{redis}"
  }}
}}

subscription "in" {{
  integration = "from"
  topic       = "sidecar"
  emit        = "data.sidecar"
}}

route "out" {{
  on          = "data.sidecar"
  integration = "to"
  operation   = "enqueue"
  queue       = "sidecar"
  message     = event.payload.message
}}
"""


def measure(plan: Plan) -> list[Row]:
    """The one row; naive goes from one client library to the other, without a bus."""
    row = Row("nats-redis", "NATS → Redis Streams through the bus")
    row.skipped = servers.missing("nats", "redis")
    if row.skipped is not None:
        return [row]
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(processes.folder())
        nats = stack.enter_context(servers.server("nats", directory))
        redis = stack.enter_context(servers.server("redis", directory))
        stack.enter_context(processes.naive("naive_ways", directory, row.name, f"{nats},{redis}", "naive"))
        stack.enter_context(processes.sidecar_with(directory, _HCL.format(nats=nats, redis=redis)))
        sources = {name: stack.enter_context(Sender("nats", nats, name)) for name in ("naive", "sidecar")}
        sinks = {name: stack.enter_context(Entries(redis, name)) for name in sources}
        for number in range(plan.server_rounds):
            plan.say(f"round {number + 1} of {plan.server_rounds}: {row.title}")
            for name, source in sources.items():
                row.add(name, flow.measure(source, sinks[name], plan.seconds * flow.SHARE))
    row.ask("times naive", row.ratio("sidecar", "naive", "rate"), "≥", _ASKED)
    return [row]
