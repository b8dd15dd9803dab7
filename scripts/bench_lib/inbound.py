"""NATS, Redis Streams and MQTT QoS 1 → bus: a subscription, and the count on the bus.

That Redis' and MQTT's messages are acknowledged is seen at the server: nothing may be pending in the stream's group;
and the broker, which hands out 1,000 without acknowledgement, could not hand out all.
"""

import contextlib
import functools
from typing import Final

from bench_lib import flow, processes, servers
from bench_lib.flow import BusSink, Cell, Sink
from bench_lib.rows import Plan, Row
from bench_lib.wires import Sender, unacknowledged

_TITLES: Final = {
    "nats": "NATS → bus",
    "redis": "Redis Streams → bus, acknowledged",
    "mqtt": "MQTT QoS 1 → bus, acknowledged",
}
#: Asked of the sidecar: times naive, times alone.
_ASKED: Final = {"nats": (3.5, 0.35), "redis": (11, 0.5), "mqtt": (1.5, 0.6)}
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
    row = Row(f"{protocol}-in", _TITLES[protocol])
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
        cell = stack.enter_context(Cell(directory / "cell"))
        stack.enter_context(processes.module("alone_in", protocol, str(port), "alone", str(directory / "cell")))
        sidecar = stack.enter_context(processes.sidecar_with(directory, blocks(protocol, port)))
        sinks: dict[str, Sink] = {
            "naive": stack.enter_context(BusSink(naive, "data.naive")),
            "alone": cell,
            "sidecar": stack.enter_context(BusSink(sidecar.place, "data.sidecar")),
        }
        sources = {name: stack.enter_context(Sender(protocol, port, name)) for name in sinks}
        for number in range(plan.server_rounds):
            plan.say(f"round {number + 1} of {plan.server_rounds}: {row.title}")
            for name, sink in sinks.items():
                row.add(name, flow.measure(sources[name], sink, plan.seconds * flow.SHARE))
        if protocol == "redis":
            for name, group in (("naive", "naive"), ("alone", "alone"), ("sidecar", "nemo")):
                left = unacknowledged(port, name, group)
                if left:
                    row.fail(name, f"{left} messages were not acknowledged")
    times, share = _ASKED[protocol]
    row.ask("times naive", row.ratio("sidecar", "naive", "rate"), "≥", times)
    row.ask("times alone", row.ratio("sidecar", "alone", "rate"), "≥", share)
    return [row]


nats = functools.partial(measure, "nats")
redis = functools.partial(measure, "redis")
mqtt = functools.partial(measure, "mqtt")
