"""Bus → NATS publish, Redis Streams XADD, MQTT QoS 1: a route, and the count at the far end."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Final

from bench_lib import against, alone_out, flow, processes, servers
from bench_lib.flow import Candidate, Sink, Source
from bench_lib.processes import Bridge, Place
from bench_lib.rows import Plan, Row, Sample
from bench_lib.stream import TYPE
from bench_lib.wires import Arrivals, Entries

TITLES: Final = {"nats": "bus → NATS publish", "redis": "bus → Redis Streams XADD", "mqtt": "bus → MQTT QoS 1"}
#: Asked of the sidecar: times naive, times alone, times Benthos tuned.
_ASKED: Final = {"nats": (5, 0.3, 1.3), "redis": (10, 0.9, 1.2), "mqtt": (5, 1.0, 1.3)}
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
    row = Row(f"{protocol}-out", TITLES[protocol])
    row.skipped = servers.missing(protocol)
    if row.skipped is not None:
        return [row]
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(servers.server(protocol, stack.enter_context(processes.folder())))
        naive, *others = bridges(protocol, port, plan, stack).items()
        for number in range(plan.server_rounds):
            plan.say(f"round {number + 1} of {plan.server_rounds}: {row.title}")
            seconds = plan.seconds * flow.SHARE
            row.add(naive[0], flow.flood(naive[1], seconds))
            row.add("alone", _alone(protocol, port, seconds))
            for name, candidate in others:
                row.add(name, flow.flood(candidate, seconds))
    times, share, tuned = _ASKED[protocol]
    row.ask("times naive", row.ratio("sidecar", "naive", "rate"), "≥", times)
    row.ask("times alone", row.ratio("sidecar", "alone", "rate"), "≥", share)
    against.compare(row, rate=tuned)
    return [row]


def bridges(protocol: str, port: int, plan: Plan, stack: contextlib.ExitStack) -> dict[str, Candidate]:
    """Start naive, the sidecar and what it is measured against, before a server."""
    directory = stack.enter_context(processes.folder())
    started: dict[str, Bridge] = {
        "naive": stack.enter_context(processes.naive("naive_ways", directory, f"{protocol}-out", str(port), "naive")),
        "sidecar": stack.enter_context(processes.sidecar_with(directory, blocks(protocol, port))),
        **against.bridges(plan, stack, against.outbound(protocol, port)),
    }
    return {
        name: Candidate(one.pid, functools.partial(_ends, protocol, port, name, one.place))
        for name, one in started.items()
    }


@contextlib.contextmanager
def _ends(protocol: str, port: int, topic: str, place: Place) -> Iterator[tuple[Source, Sink]]:
    with far_end(protocol, port, topic) as sink, flow.BusSource(place) as source:
        yield source, sink


def far_end(protocol: str, port: int, topic: str) -> Arrivals | Entries:
    """What counts the messages of a topic at a server."""
    return Entries(port, topic) if protocol == "redis" else Arrivals(protocol, port, topic)


def _alone(protocol: str, port: int, seconds: float) -> Sample:
    with far_end(protocol, port, "alone") as sink:
        return alone_out.measure(protocol, port, "alone", sink, seconds)


def paced(protocol: str, plan: Plan, stack: contextlib.ExitStack) -> dict[str, Candidate]:
    """Start a server and the bridges before it."""
    port = stack.enter_context(servers.server(protocol, stack.enter_context(processes.folder())))
    return bridges(protocol, port, plan, stack)


nats = functools.partial(measure, "nats")
redis = functools.partial(measure, "redis")
mqtt = functools.partial(measure, "mqtt")
