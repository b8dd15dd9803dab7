"""A steady pace, one message at a time, as a desktop has it: what each message costs when it comes alone."""

import contextlib
import dataclasses
import functools
import select
import time
from collections.abc import Callable
from typing import Final

from bench_lib import against, flow, inbound, outbound, rpc, servers
from bench_lib.flow import Candidate, Sink, Source
from bench_lib.processes import ProcessorTime
from bench_lib.rows import Plan, Row, Sample

#: Asked: CPU a message, as a part of what Benthos takes with its defaults.
_ASKED: Final = 0.7
#: Of a measurement's seconds: before it, at the same pace.
_WARM: Final = 0.25
#: Seconds: without an arrival until the rest is lost, and between two looks where the far end has to be asked.
_PATIENCE: Final = 5.0
_TICK: Final = 0.005
#: Of all messages, such a part may be sent a whole gap late before it is said.
_LATE: Final = 0.01

#: The ways, by the name of their group: title, server, and what starts the bridges.
_Start = Callable[[Plan, contextlib.ExitStack], dict[str, Candidate]]
WAYS: Final[dict[str, tuple[str, str | None, _Start]]] = {
    "rpc": (rpc.TITLE, None, rpc.bridges),
    **{
        f"{protocol}-{direction}": (title, protocol, functools.partial(module.paced, protocol))
        for direction, module in (("out", outbound), ("in", inbound))
        for protocol, title in module.TITLES.items()
    },
}


def measure(name: str, plan: Plan) -> list[Row]:
    """The one row of a way, by the name of its group."""
    assert plan.pace is not None
    title, protocol, start = WAYS[name]
    row = Row(f"{name}-paced", f"{title}, {plan.pace:,} messages/s")
    row.skipped = servers.missing(protocol) if protocol is not None else None
    if row.skipped is not None:
        return [row]
    with contextlib.ExitStack() as stack:
        bridges = start(plan, stack)
        for number in range(plan.rounds):
            for candidate, bridge in bridges.items():
                plan.say(f"round {number + 1} of {plan.rounds}: {row.title}, {candidate}")
                row.add(candidate, _sample(bridge, plan.pace, plan.seconds))
    against.compare(row, cpu=_ASKED)
    return [row]


def _sample(bridge: Candidate, pace: int, seconds: float) -> Sample:
    with bridge.ends() as (source, sink):
        flow.join(source, sink)
        warm = run(source, sink, pace, seconds * _WARM, bridge.pid)
        sample = run(source, sink, pace, seconds, bridge.pid)
    return dataclasses.replace(sample, problems=(*warm.problems, *sample.problems))


def run(source: Source, sink: Sink, pace: int, seconds: float, pid: int) -> Sample:
    """Send single messages, each at its time, and watch what arrives.

    Where the machine lets the load come late by a whole gap, what was missed is not made up in a burst: that would be
    another load. The latencies compare the n-th that arrives with the n-th that was sent.
    """
    total, gap = max(1, round(pace * seconds)), 1 / pace
    watch = _Watch(sink)
    sent: list[float] = []
    late = 0
    processor = ProcessorTime([pid])
    start = slot = time.perf_counter() + gap
    for _ in range(total):
        watch.until(slot)
        now = time.perf_counter()
        if now > slot + gap:
            late += 1
            slot = now
        slot += gap
        sent.append(now)
        source.send(1)
    watch.rest(total)
    # A bridge that keeps the pace is done one gap after the last message was sent.
    took = max(time.perf_counter() - start, total * gap)
    cpu_us = processor.micros(total)
    arrived = flow.settle(sink) - watch.base
    latencies = [after - before for before, after in zip(sent, watch.times, strict=False)]
    ordered = sorted(latencies) if arrived == total and watch.watches else []
    return Sample(
        rate=total / took,
        p50=ordered[len(ordered) // 2] * 1000 if ordered else None,
        p99=ordered[len(ordered) * 99 // 100] * 1000 if ordered else None,
        done=min(arrived, total),
        cpu_us=cpu_us,
        problems=flow.balance(total, arrived),
        notes=(f"{late} of {total} messages were sent late",) if late > _LATE * total else (),
    )


class _Watch:
    """Notes when messages arrive, while it waits for something else.

    Attributes:
        base: How many had arrived before.
        times: When each arrived (`time.perf_counter`).
        watches: Whether the sink can be waited for; the times are good only where it can.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._fd = sink.fileno()
        self.watches = self._fd is not None
        self.base = sink.seen(0)
        self.times: list[float] = []

    def _look(self) -> int:
        """How many have arrived."""
        arrived = self._sink.seen(0) - self.base
        self.times.extend([time.perf_counter()] * (arrived - len(self.times)))
        return arrived

    def until(self, moment: float) -> None:
        """Wait until a moment."""
        while (left := moment - time.perf_counter()) > 0:
            if self._fd is None:
                time.sleep(left)
            else:
                # Look first: what has come already does not wake it.
                self._look()
                select.select([self._fd], [], [], max(0.0, moment - time.perf_counter()))

    def rest(self, count: int) -> None:
        """Wait until so many have arrived, or none does for some seconds."""
        arrived, since = self._look(), time.perf_counter()
        while arrived < count and time.perf_counter() - since < _PATIENCE:
            if self._fd is None:
                time.sleep(_TICK)
            else:
                select.select([self._fd], [], [], _PATIENCE)
            if (now := self._look()) != arrived:
                arrived, since = now, time.perf_counter()
