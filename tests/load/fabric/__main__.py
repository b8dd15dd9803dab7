"""The command line of `scripts/chaos fabric`."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from tests.load.fabric import commands, events, leaders, partition
from tests.load.fabric.report import Report
from tests.support.servers import nats_server

PARTS = ("events", "commands", "leaders", "partition")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/chaos fabric",
        description="Three NATS servers and three sidecars of one fabric: killed, suspended and cut off.",
        epilog="Exit codes: 0 all promises were kept, 1 not all, 2 it could not be run.",
    )
    parser.add_argument("--part", action="append", choices=PARTS, help="may be repeated; all by default")
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 1, for events")
    parser.add_argument("--seed", type=int, help="only this one, for every part")
    parser.add_argument("--events", type=int, default=10_000, help="from each node")
    parser.add_argument("--rate", type=float, default=150.0, help="new events a second, on each node")
    parser.add_argument("--kill-every", type=float, default=4.0, metavar="SECONDS", help="mean, of nodes")
    parser.add_argument("--server-kill-every", type=float, default=12.0, metavar="SECONDS", help="mean, of servers")
    parser.add_argument("--kills", type=int, default=1_000_000, help="of each kind at most; no bound by default")
    parser.add_argument("--limit", type=float, default=600.0, metavar="SECONDS", help="for the events of one seed")
    parser.add_argument("--commands", type=int, default=1_000)
    parser.add_argument("--command-rate", type=float, default=30.0, help="new commands a second")
    parser.add_argument("--minutes", type=float, default=10.0, help="for leaders")
    parser.add_argument("--leader-every", type=float, default=8.0, metavar="SECONDS", help="mean life of a leader")
    options = parser.parse_args()
    numbers = (
        options.seeds,
        options.events,
        options.rate,
        options.kill_every,
        options.server_kill_every,
        options.limit,
        options.commands,
    )
    if min(*numbers, options.command_rate, options.minutes, options.leader_every) <= 0 or options.kills < 0:
        parser.error("numbers are more than 0")
    return options


def _runs(options: argparse.Namespace) -> Iterator[Callable[[], Coroutine[Any, Any, Report]]]:
    """Yield what is to be run, in order."""
    parts = options.part or PARTS
    first = options.seed or 1
    if "events" in parts:
        for seed in [options.seed] if options.seed else range(1, options.seeds + 1):
            yield lambda seed=seed: events.run(
                seed,
                events=options.events,
                rate=options.rate,
                every=options.kill_every,
                server_every=options.server_kill_every,
                kills=options.kills,
                limit=options.limit,
            )
    if "commands" in parts:
        yield lambda: commands.run(
            first, commands=options.commands, rate=options.command_rate, every=options.kill_every
        )
    if "leaders" in parts:
        yield lambda: leaders.run(first, minutes=options.minutes, every=options.leader_every)
    if "partition" in parts:
        yield partition.run


def main() -> int:
    """Run all; return 1 where something was violated, 2 where the server is missing."""
    options = _options()
    if nats_server.PROGRAM is None:
        print("not installed: nats-server", file=sys.stderr)
        return 2
    good = True
    for run in _runs(options):
        report = asyncio.run(run())
        print("\n".join(report.lines()), flush=True)
        good = good and not report.violations
    print("every promise was kept" if good else "VIOLATED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
