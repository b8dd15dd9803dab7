"""Resident memory: idle with one integration and with several, and the most under a flood of NATS → bus."""

import contextlib
import time
from collections.abc import Mapping
from typing import Final

from bench_lib import against, flow, idle, inbound, processes, servers
from bench_lib.processes import Bridge
from bench_lib.rows import Figure, Plan, Row

_PROTOCOL: Final = "nats"
#: Messages that the flood is ahead, at most. With many more NATS cuts off its slow subscribers.
_AHEAD: Final = 100_000
#: Asked of the sidecar, in megabytes: idle with one integration, with four, and under a flood.
_ASKED: Final = {"one": 50, "four": 55, "flood": 90}


def measure(plan: Plan) -> list[Row]:
    """The one row; its rates are those of the flood."""
    row = Row("memory", "resident memory")
    row.skipped = processes.without_proc() or servers.missing(*servers.PROGRAMS)
    if row.skipped is not None:
        return [row]
    plan.say(row.title)
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(servers.server(_PROTOCOL, stack.enter_context(processes.folder())))
        directory = stack.enter_context(processes.folder())
        one: dict[str, Bridge] = {
            "sidecar": stack.enter_context(processes.sidecar_with(directory, inbound.blocks(_PROTOCOL, port))),
            **against.bridges(plan, stack, against.inbound(_PROTOCOL, port)),
        }
        _note(row, "one", _resident(one))
        candidates = inbound.candidates(_PROTOCOL, port, one)
        flooded = {}
        for name, candidate in candidates.items():
            with candidate.ends() as (source, sink):
                flow.join(source, sink)
                processes.forget_peak(candidate.pid)
                row.add(name, flow.run(source, sink, plan.seconds, [candidate.pid], window=_AHEAD))
            flooded[name] = processes.peak_bytes(candidate.pid)
        _note(row, "flood", flooded)
    with contextlib.ExitStack() as stack:
        ports = idle.remotes(stack)
        directory = stack.enter_context(processes.folder())
        four: dict[str, Bridge] = {
            "sidecar": stack.enter_context(processes.sidecar_with(directory, idle.integrations(stack, ports))),
            **against.bridges(plan, stack, against.idle(ports)),
        }
        _note(row, "four", _resident(four))
    for what, asked in _ASKED.items():
        row.ask(f"{what} MB", Figure.of([row.figures[f"sidecar_{what}_mb"]]), "≤", asked)
    return [row]


def _resident(bridges: Mapping[str, Bridge]) -> dict[str, int]:
    """Resident bytes of each, once what is left of the start is done."""
    time.sleep(idle.SETTLE)
    return {name: processes.resident_bytes(one.pid) for name, one in bridges.items()}


def _note(row: Row, what: str, sizes: Mapping[str, int]) -> None:
    for name, size in sizes.items():
        row.figures[f"{name}_{what}_mb"] = round(size / 1e6, 1)
