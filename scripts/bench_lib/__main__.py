"""The command line of `scripts/bench`."""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from bench_lib import (
    breadth,
    bus_reading,
    circumstances,
    durable,
    fabric,
    history,
    idle,
    inbound,
    memory,
    onlookers,
    outbound,
    paced,
    profile,
    report,
    rpc,
    start,
    through,
)
from bench_lib.processes import BenchError
from bench_lib.rows import Plan, Row

#: A group of rows is one module with a function `measure`.
GROUPS: Final[dict[str, Callable[[Plan], list[Row]]]] = {
    "rpc": rpc.measure,
    "bus-reading": bus_reading.measure,
    "nats-out": outbound.nats,
    "redis-out": outbound.redis,
    "mqtt-out": outbound.mqtt,
    "nats-in": inbound.nats,
    "redis-in": inbound.redis,
    "mqtt-in": inbound.mqtt,
    "nats-redis": through.measure,
    "redis-durable": durable.measure,
    "fabric": fabric.measure,
    "breadth": breadth.measure,
    "idle": idle.measure,
    "start": start.measure,
    "memory": memory.measure,
    "console": onlookers.measure,
}
#: Rows that take minutes, and come only where they are named.
LONG: Final = frozenset({"console"})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure the sidecar against what a user would write in an afternoon (naive) and against the "
        "client library used as well as it can be, without a bus (alone). Judge by the ratios: each is of one run.",
        epilog="Exit codes: 0 measured, whether or not a target is met (1 with --strict if one is missed); "
        "1 if anything was lost, answered twice or answered wrongly; 2 if it could not be measured.",
    )
    parser.add_argument("group", nargs="*", help=f"which rows: {', '.join(GROUPS)}; by default all but console")
    parser.add_argument("--quick", action="store_true", help="less than a minute instead of about three")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, for machines")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument(
        "--rounds", type=int, help="how often each candidate is measured (3; quick: 2, or 1 where there is a server)"
    )
    parser.add_argument("--seconds", type=float, help="length of one measurement (2; quick: 0.5)")
    parser.add_argument(
        "--against", type=Path, metavar="PATH", help="a Benthos 4.27 with ZeroMQ to measure on the same work"
    )
    parser.add_argument(
        "--pace", type=int, metavar="N", help="send N single messages a second, and only what has such a way"
    )
    parser.add_argument("--idle-seconds", type=float, help="how long an idle sidecar is watched (5; quick: 2)")
    parser.add_argument(
        "--record", type=Path, metavar="DIR", help="add it to DIR/benchmarks.json and its page, as those in docs/"
    )
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="only profile the sidecar, with cProfile, into FILE"
    )
    arguments = parser.parse_args()
    unknown = [name for name in arguments.group if name not in GROUPS]
    if unknown:
        parser.error(f"no rows {unknown[0]!r}; there are {', '.join(GROUPS)}")
    if arguments.pace is not None:
        strange = [name for name in arguments.group if name not in paced.WAYS]
        if strange:
            parser.error(f"--pace has no rows {strange[0]!r}; it has {', '.join(paced.WAYS)}")
    if (arguments.pace or 1) < 1:
        parser.error("a pace must be at least one message a second")
    if arguments.against is not None and not os.access(arguments.against, os.X_OK):
        parser.error(f"--against {arguments.against}: no program")
    if (arguments.rounds or 1) < 1 or (arguments.seconds or 1) <= 0 or (arguments.idle_seconds or 1) <= 0:
        parser.error("rounds and seconds must be more than zero")
    return arguments


def _plan(arguments: argparse.Namespace) -> Plan:
    rounds, seconds, idle_seconds = (2, 0.5, 2.0) if arguments.quick else (3, 2.0, 5.0)
    console = Console(stderr=True, highlight=False)
    return Plan(
        rounds=arguments.rounds or rounds,
        server_rounds=arguments.rounds or (1 if arguments.quick else rounds),
        seconds=arguments.seconds or seconds,
        idle_seconds=arguments.idle_seconds or idle_seconds,
        against=arguments.against,
        pace=arguments.pace,
        say=lambda text: console.print(text, style="dim"),
    )


def _code(rows: Sequence[Row], *, strict: bool) -> int:
    if any(row.problems for row in rows):
        return 1
    return int(strict and not all(check.met for row in rows for check in row.checks))


def main() -> int:
    """Measure and report; returns the exit code."""
    arguments = _arguments()
    plan = _plan(arguments)
    # A request to end unwinds what was started and the folders that were made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    around = circumstances.now()
    started = time.monotonic()
    rows: list[Row] = []
    try:
        if arguments.record is not None:
            history.refuse(around["commit"])
        if arguments.profile is not None:
            rows.append(profile.measure(plan, arguments.profile))
        elif plan.pace is not None:
            for name in arguments.group or paced.WAYS:
                rows += paced.measure(name, plan)
        else:
            for name in arguments.group or [name for name in GROUPS if name not in LONG]:
                rows += GROUPS[name](plan)
        around["seconds"] = round(time.monotonic() - started, 1)
        result = {**around, "rows": [row.to_json() for row in rows]}
        if arguments.record is not None:
            history.add(arguments.record, result)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(result, ensure_ascii=False, indent=2))
    else:
        console = Console(width=None if sys.stdout.isatty() else 150)
        report.show(console, rows)
        console.print(
            "Python {python}, {cpus} cores, load before {load_before}, took {seconds} s; ".format(**around)
            + f"medians of {plan.rounds} rounds (lowest to highest), {plan.server_rounds} for NATS, Redis and MQTT",
            style="dim",
            highlight=False,
        )
        if arguments.profile is not None:
            profile.show(arguments.profile)
    return _code(rows, strict=arguments.strict)


if __name__ == "__main__":
    sys.exit(main())
