"""NATS, Redis Streams and MQTT QoS 1 → bus: a subscription, and the count on the bus.

That Redis' and MQTT's messages are acknowledged is seen at the server: nothing may be pending in the stream's group;
and the broker, which hands out 1,000 without acknowledgement, could not hand out all.
"""

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Final

from bench_lib import against, flow, processes, servers
from bench_lib.flow import BusSink, Candidate, Cell, Sink, Source
from bench_lib.processes import Bridge, Place
from bench_lib.rows import Plan, Row
from bench_lib.wires import Sender, unacknowledged

TITLES: Final = {
    "nats": "NATS → bus",
    "redis": "Redis Streams → bus, acknowledged",
    "mqtt": "MQTT QoS 1 → bus, acknowledged",
}
#: Asked of the sidecar: times naive, times alone, times Benthos tuned.
_ASKED: Final = {"nats": (3.5, 0.35, 2), "redis": (11, 0.5, 2), "mqtt": (1.5, 0.6, 1.5)}
#: The group that naive and the sidecar read a Redis stream in; the others' has the name of the topic.
_REDIS_GROUPS: Final = {"sidecar": "nemo"}
_HCL: Final = """
integration "remote" {{
  type = "{protocol}"

  endpoint {{
    url = "{protocol}://127.0.0.1:{port}"
  }}
}}

subscription "in" {{
  integration = "remote"
  {target}    = "sidecar"
  emit        = "data.sidecar"
}}
"""


def blocks(protocol: str, port: int) -> str:
    """The sidecar's configuration for one way: what a user would write, all else by default."""
    return _HCL.format(protocol=protocol, port=port, target="queue" if protocol == "redis" else "topic")


def measure(protocol: str, plan: Plan) -> list[Row]:
    """The one row of a protocol."""
    row = Row(f"{protocol}-in", TITLES[protocol])
    row.skipped = servers.missing(protocol)
    if row.skipped is not None:
        return [row]
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(processes.folder())
        port = stack.enter_context(servers.server(protocol, directory))
        alone = stack.enter_context(Cell(directory / "cell"))
        stack.enter_context(processes.module("alone_in", protocol, str(port), "alone", str(directory / "cell")))
        naive, *others = bridges(protocol, port, plan, stack).items()
        for number in range(plan.server_rounds):
            plan.say(f"round {number + 1} of {plan.server_rounds}: {row.title}")
            seconds = plan.seconds * flow.SHARE
            row.add(naive[0], flow.flood(naive[1], seconds))
            with Sender(protocol, port, "alone") as source:
                row.add("alone", flow.measure(source, alone, seconds))
            for name, candidate in others:
                row.add(name, flow.flood(candidate, seconds))
        if protocol == "redis":
            for name in row.samples:
                left = unacknowledged(port, name, _REDIS_GROUPS.get(name, name))
                if left:
                    row.fail(name, f"{left} messages were not acknowledged")
    times, share, tuned = _ASKED[protocol]
    row.ask("times naive", row.ratio("sidecar", "naive", "rate"), "≥", times)
    row.ask("times alone", row.ratio("sidecar", "alone", "rate"), "≥", share)
    against.compare(row, rate=tuned)
    return [row]


def bridges(
    protocol: str, port: int, plan: Plan, stack: contextlib.ExitStack, *, wait: bool = True
) -> dict[str, Candidate]:
    """Start naive, the sidecar and what it is measured against, before a server.

    Args:
        protocol: Of the server.
        port: Of the server.
        plan: Says what to measure against.
        stack: Ends them.
        wait: Whether the load waits until the server has acknowledged what it sends.
    """
    directory = stack.enter_context(processes.folder())
    started: dict[str, Bridge] = {
        "naive": stack.enter_context(processes.naive("naive_ways", directory, f"{protocol}-in", str(port), "naive")),
        "sidecar": stack.enter_context(processes.sidecar_with(directory, blocks(protocol, port))),
        **against.bridges(plan, stack, against.inbound(protocol, port)),
    }
    return candidates(protocol, port, started, wait=wait)


def candidates(protocol: str, port: int, bridges: Mapping[str, Bridge], *, wait: bool = True) -> dict[str, Candidate]:
    """These bridges with both ends of the way through them; their names are their topics."""
    return {
        name: Candidate(one.pid, functools.partial(ends, protocol, port, name, one.place, wait=wait))
        for name, one in bridges.items()
    }


@contextlib.contextmanager
def ends(protocol: str, port: int, topic: str, place: Place, *, wait: bool = True) -> Iterator[tuple[Source, Sink]]:
    """Open where messages are sent, and where they arrive."""
    with Sender(protocol, port, topic, wait=wait) as source, BusSink(place, f"data.{topic}") as sink:
        yield source, sink


def paced(protocol: str, plan: Plan, stack: contextlib.ExitStack) -> dict[str, Candidate]:
    """Start a server and the bridges before it, and let the load not wait, which would make it late."""
    port = stack.enter_context(servers.server(protocol, stack.enter_context(processes.folder())))
    return bridges(protocol, port, plan, stack, wait=False)


nats = functools.partial(measure, "nats")
redis = functools.partial(measure, "redis")
mqtt = functools.partial(measure, "mqtt")
