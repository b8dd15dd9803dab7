"""Bus → NATS publish, Redis Streams XADD, MQTT QoS 1: a route, and the count at the far end."""

import contextlib
import functools
from typing import Final

from bench_lib import alone_out, flow, processes, servers
from bench_lib.processes import Place
from bench_lib.rows import Plan, Row, Sample
from bench_lib.stream import TYPE
from bench_lib.wires import Arrivals, Entries

_TITLES: Final = {"nats": "bus → NATS publish", "redis": "bus → Redis Streams XADD", "mqtt": "bus → MQTT QoS 1"}
#: Asked of the sidecar: times naive, times alone.
_ASKED: Final = {"nats": (5, 0.3), "redis": (10, 0.9), "mqtt": (5, 1.0)}
_HCL: Final = """
integration "remote" {{
  type = "{protocol}"

  endpoint {{
    url = "{protocol}://127.0.0.1:{port}"
  }}
}}

route "out" {{
  on          = "{type}"
  integration = "remote"
  operation   = "{operation}"
  {target}    = "sidecar"
  message     = event.payload
  delivery    = "{delivery}"
}}
"""


def blocks(protocol: str, port: int, *, delivery: str = "at_most_once") -> str:
    """The sidecar's configuration for one way: what a user would write, limits and all else by default."""
    operation, target = ("enqueue", "queue") if protocol == "redis" else ("publish", "topic")
    return _HCL.format(protocol=protocol, port=port, type=TYPE, operation=operation, target=target, delivery=delivery)


def measure(protocol: str, plan: Plan) -> list[Row]:
    """The one row of a protocol."""
    row = Row(f"{protocol}-out", _TITLES[protocol])
    row.skipped = servers.missing(protocol)
    if row.skipped is not None:
        return [row]
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(processes.folder())
        port = stack.enter_context(servers.server(protocol, directory))
        naive = processes.place_in(directory, "naive")
        stack.enter_context(
            processes.module("naive_ways", row.name, naive.publish, naive.subscribe, str(port), "naive")
        )
        sidecar = stack.enter_context(processes.sidecar_with(directory, blocks(protocol, port)))
        for number in range(plan.server_rounds):
            plan.say(f"round {number + 1} of {plan.server_rounds}: {row.title}")
            for name, place in (("naive", naive), ("alone", None), ("sidecar", sidecar.place)):
                row.add(name, _sample(protocol, port, name, place, plan.seconds * flow.SHARE))
    times, share = _ASKED[protocol]
    row.ask("times naive", row.ratio("sidecar", "naive", "rate"), "≥", times)
    row.ask("times alone", row.ratio("sidecar", "alone", "rate"), "≥", share)
    return [row]


def _sample(protocol: str, port: int, name: str, place: Place | None, seconds: float) -> Sample:
    with Entries(port, name) if protocol == "redis" else Arrivals(protocol, port, name) as sink:
        if place is None:
            return alone_out.measure(protocol, port, name, sink, seconds)
        with flow.BusSource(place) as source:
            return flow.measure(source, sink, seconds)


nats = functools.partial(measure, "nats")
redis = functools.partial(measure, "redis")
mqtt = functools.partial(measure, "mqtt")
