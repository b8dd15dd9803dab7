"""How long a process takes from its start: to ready and to the first message through, and for a short command."""

import functools
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from bench_lib import against, inbound, processes, servers
from bench_lib.processes import BenchError, Starting
from bench_lib.rows import Figure, Plan, Row

_PROTOCOL: Final = "nats"
#: Asked of each, in milliseconds.
_ASKED: Final = 200
#: Starts in a round, since each is short.
_STARTS: Final = 3
#: Seconds: until the first message must have come through, and between two that are sent until then.
_PATIENCE: Final = 20.0
_TICK: Final = 0.002


def measure(plan: Plan) -> list[Row]:
    """One row for the start of a bridge, one for short commands; the figures are medians."""
    return [_start(plan), _commands(plan)]


def _start(plan: Plan) -> Row:
    row = Row("start", "process start to the first message, NATS → bus")
    row.skipped = processes.without_proc() or servers.missing(_PROTOCOL)
    if row.skipped is not None:
        return row
    times: dict[str, list[float]] = {}
    with processes.folder() as directory, servers.server(_PROTOCOL, directory) as port:
        for number in range(plan.rounds):
            plan.say(f"round {number + 1} of {plan.rounds}: {row.title}")
            for _ in range(_STARTS):
                for name, start in _candidates(plan, port).items():
                    with processes.folder() as folder, start(folder) as starting:
                        for what, seconds in _first_message(starting, port, name).items():
                            times.setdefault(f"{name}_{what}_ms", []).append(seconds * 1000)
    _judge(row, times, ("sidecar_ready_ms", "sidecar_first_message_ms"))
    return row


def _candidates(plan: Plan, port: int) -> dict[str, Callable[[Path], AbstractContextManager[Starting]]]:
    found: dict[str, Callable[[Path], AbstractContextManager[Starting]]] = {
        "sidecar": functools.partial(processes.starting_sidecar, blocks=inbound.blocks(_PROTOCOL, port))
    }
    if plan.against is not None:
        way = against.inbound(_PROTOCOL, port)
        found[against.DEFAULT] = functools.partial(against.starting, plan.against, name=against.DEFAULT, way=way)
    return found


def _first_message(starting: Starting, port: int, topic: str) -> dict[str, float]:
    """Send until something arrives; seconds from the start until it is ready and until then, and processor time.

    It is the way from a server to the bus, on which a message that comes too early is not a failed operation.

    Raises:
        BenchError: Nothing arrives.
    """
    ready = None
    with inbound.ends(_PROTOCOL, port, topic, starting.bridge.place) as (source, sink):
        while not sink.seen(_TICK):
            now = time.perf_counter() - starting.began
            if now > _PATIENCE or starting.child.poll() is not None:
                raise BenchError(f"{topic} did not start, or nothing comes through")
            if ready is None and starting.ready(0):
                ready = now
            source.send(1)
        first, cpu = time.perf_counter() - starting.began, processes.cpu_seconds(starting.bridge.pid)
        while ready is None:
            if starting.ready(_TICK):
                ready = time.perf_counter() - starting.began
    return {"ready": ready, "first_message": first, "first_message_cpu": cpu}


def _commands(plan: Plan) -> Row:
    row = Row("commands", "`--help`, and `check` of a small file")
    times: dict[str, list[float]] = {}
    with processes.folder() as directory:
        file, _ = processes.configuration(directory, inbound.blocks(_PROTOCOL, 4222))
        for number in range(plan.rounds):
            plan.say(f"round {number + 1} of {plan.rounds}: {row.title}")
            for _ in range(_STARTS):
                for what, arguments in (("help", ["--help"]), ("check", ["check", str(file)])):
                    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
                    _command(arguments)
                    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
                    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                    times.setdefault(f"{what}_ms", []).append(took * 1000)
                    times.setdefault(f"{what}_cpu_ms", []).append(cpu * 1000)
    _judge(row, times, ("help_ms", "check_ms"))
    return row


def _command(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "bridge", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"nemo-bridge {arguments[0]} ended with {done.returncode}: {done.stderr.strip()[-200:]}")


def _judge(row: Row, times: dict[str, list[float]], asked: tuple[str, ...]) -> None:
    for what, values in times.items():
        row.figures[what] = round(Figure.of(values).median, 1)
    for what in asked:
        row.ask(what.removeprefix("sidecar_").replace("_", " "), Figure.of(times[what]), "≤", _ASKED)
