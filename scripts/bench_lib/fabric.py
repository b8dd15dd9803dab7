"""An event from one bridge's bus to another's, over a fabric with one server, against the same event on one bus.

The stream and the outbox lie where this system keeps temporary files; on a slow disk it is the disk that is measured.
"""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Final

from bench_lib import flow, processes, servers
from bench_lib.processes import BenchError, Bridge
from bench_lib.rows import Plan, Row, Sample
from bench_lib.stream import TYPE

_ONE_BUS: Final = "one bus"
_DELIVERIES: Final = ("at_most_once", "at_least_once")
#: Of a measurement's seconds: until commits and pulls have the size that they keep under this load.
_WARM: Final = 0.5
#: Events that are sent one after the other for the latency, and seconds for one to arrive.
_SINGLE: Final = 200
_LATE: Final = 5.0
_NODE: Final = """
bridge {{
  data_dir = "{directory}/data"
}}

integration "cluster" {{
  type = "nats"

  endpoint {{
    url = "nats://127.0.0.1:{port}"
  }}
}}

fabric "{fabric}" {{
  integration = "cluster"
  node        = "{node}"
  export      = ["{type}"]
  import      = ["{type}"]
  delivery    = "{delivery}"
}}
"""


def measure(plan: Plan) -> list[Row]:
    """The one row; all bridges are whole sidecars, and the two of a fabric both export and import."""
    row = Row("fabric", "bus → fabric → another bus")
    row.skipped = servers.missing("nats")
    if row.skipped is not None:
        return [row]
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(servers.server("nats", stack.enter_context(processes.folder()), jetstream=True))
        directory = stack.enter_context(processes.folder())
        ways = {_ONE_BUS: [stack.enter_context(processes.sidecar_with(directory, ""))]}
        for delivery in _DELIVERIES:
            ways[delivery] = [stack.enter_context(_node(port, delivery, node)) for node in ("first", "second")]
        for number in range(plan.server_rounds):
            plan.say(f"round {number + 1} of {plan.server_rounds}: {row.title}")
            for name, sidecars in ways.items():
                row.add(name, _sample(sidecars, plan.seconds * flow.SHARE))
    for delivery in _DELIVERIES:
        if (ratio := row.ratio(delivery, _ONE_BUS, "rate")) is not None:
            row.figures[f"of_one_bus_{delivery}"] = round(ratio.median, 3)
    return [row]


@contextlib.contextmanager
def _node(port: int, delivery: str, node: str) -> Iterator[Bridge]:
    with processes.folder() as directory:
        more = {"port": port, "delivery": delivery, "node": node, "fabric": delivery, "type": TYPE}
        with processes.sidecar_with(directory, _NODE.format(directory=directory, **more)) as sidecar:
            yield sidecar


def _sample(sidecars: Sequence[Bridge], seconds: float) -> Sample:
    """Measure latency and rate from the first bus to the last, and the processor time of all sidecars together."""
    with flow.BusSink(sidecars[-1].place, TYPE) as sink, flow.BusSource(sidecars[0].place) as source:
        flow.join(source, sink)
        latencies = sorted(_single(source, sink) for _ in range(_SINGLE))
        warm = flow.run(source, sink, seconds * _WARM)
        sample = flow.run(source, sink, seconds, [one.pid for one in sidecars])
    p50, p99 = (latencies[int(_SINGLE * part)] * 1000 for part in (0.5, 0.99))
    return dataclasses.replace(sample, p50=p50, p99=p99, problems=(*warm.problems, *sample.problems))


def _single(source: flow.Source, sink: flow.Sink) -> float:
    """Send one event and wait for it; return the seconds. Raises BenchError where it does not arrive."""
    before = sink.seen(0)
    began = time.perf_counter()
    source.send(1)
    while sink.seen(0.05) == before:
        if time.perf_counter() - began > _LATE:
            raise BenchError(f"an event did not arrive within {_LATE:g} s")
    return time.perf_counter() - began
