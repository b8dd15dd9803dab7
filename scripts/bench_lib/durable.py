"""Bus → Redis Streams XADD by a route that survives a crash against the same route that does not.

The outbox lies where this system keeps temporary files; on a slow disk it is the disk that is measured.
"""

import contextlib
import dataclasses
from typing import Final

from bench_lib import flow, outbound, processes, servers
from bench_lib.processes import Place
from bench_lib.rows import Plan, Row, Sample
from bench_lib.wires import Entries

#: Asked of `at_least_once`: times the same way with `at_most_once`.
_ASKED: Final = 0.7
#: Of a measurement's seconds: until commits and pipelines have the size that they keep under this load.
_WARM: Final = 0.5
_BRIDGE: Final = """
bridge {{
  data_dir = "{directory}/data"
}}
"""


def measure(plan: Plan) -> list[Row]:
    """The one row; both routes are whole sidecars, each with the same defaults."""
    row = Row("redis-durable", "bus → Redis Streams XADD, surviving a crash")
    row.skipped = servers.missing("redis")
    if row.skipped is not None:
        return [row]
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(servers.server("redis", stack.enter_context(processes.folder())))
        places = {}
        for delivery in ("at_most_once", "at_least_once"):
            directory = stack.enter_context(processes.folder())
            blocks = _BRIDGE.format(directory=directory) + outbound.blocks("redis", port, delivery=delivery)
            places[delivery] = stack.enter_context(processes.sidecar_with(directory, blocks)).place
        for number in range(plan.server_rounds):
            plan.say(f"round {number + 1} of {plan.server_rounds}: {row.title}")
            for delivery, place in places.items():
                row.add(delivery, _sample(place, port, plan.seconds * flow.SHARE))
    row.ask("times at_most_once", row.ratio("at_least_once", "at_most_once", "rate"), "≥", _ASKED)
    return [row]


def _sample(place: Place, port: int, seconds: float) -> Sample:
    with Entries(port, "sidecar") as sink, flow.BusSource(place) as source:
        flow.join(source, sink)
        warm = flow.run(source, sink, seconds * _WARM)
        sample = flow.run(source, sink, seconds)
    return dataclasses.replace(sample, problems=(*warm.problems, *sample.problems))
