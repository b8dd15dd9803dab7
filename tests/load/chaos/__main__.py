"""The command line of `scripts/chaos`."""

import argparse
import asyncio
import sys

from tests.load.chaos.run import Result, run
from tests.support.servers import mosquitto, nats_server, redis_server
from tests.support.servers.remotes import KINDS

_PROGRAMS = {
    "redis": ("redis-server", redis_server.PROGRAM),
    "nats": ("nats-server", nats_server.PROGRAM),
    "mqtt": ("mosquitto", mosquitto.PROGRAM),
}
_HEAD = "protocol  seed  events  delivered  duplicates  sent  outcomes  kills: remote  sidecar  longest recovery  time"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/chaos", description="At-least-once events while broker and sidecar are killed at random."
    )
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 1")
    parser.add_argument("--protocol", action="append", choices=KINDS, help="may be repeated; all by default")
    parser.add_argument("--rate", type=float, default=300.0, help="new events a second")
    parser.add_argument("--kill-every", type=float, default=3.0, metavar="SECONDS", help="mean, for each of the two")
    parser.add_argument("--kills", type=int, default=1_000_000, help="at most so many of each; no bound by default")
    parser.add_argument("--limit", type=float, default=300.0, metavar="SECONDS", help="for one run")
    options = parser.parse_args()
    if min(options.events, options.seeds, options.rate, options.kill_every, options.kills, options.limit) <= 0:
        parser.error("numbers are more than 0")
    return options


def _line(one: Result) -> str:
    outcomes = ", ".join(f"{count} {name}" for name, count in sorted(one.outcomes.items())) or "none"
    return (
        f"{one.protocol:<9} {one.seed:>4} {one.events:>7} {one.delivered:>10} {one.duplicates:>11} {one.sent:>6}"
        f"  {outcomes}  {one.remote_kills:>5} {one.sidecar_kills:>8} {one.longest:>14.1f} s {one.seconds:>7.1f} s"
    )


def main() -> int:
    """Run all; return 1 where something was violated, 2 where a server is missing."""
    options = _options()
    protocols = options.protocol or list(KINDS)
    if missing := [name for kind, (name, path) in _PROGRAMS.items() if kind in protocols and path is None]:
        print(f"not installed: {' '.join(missing)}", file=sys.stderr)
        return 2
    print(_HEAD, flush=True)
    good = True
    for protocol in protocols:
        for seed in range(1, options.seeds + 1):
            one = asyncio.run(
                run(
                    protocol,
                    seed,
                    events=options.events,
                    rate=options.rate,
                    every=options.kill_every,
                    kills=options.kills,
                    limit=options.limit,
                )
            )
            print(_line(one), flush=True)
            for violation in one.violations:
                print(f"  VIOLATED  {violation}", flush=True)
            if one.refused:
                print(f"  not accepted at first, and sent again: {dict(one.refused)}", flush=True)
            good = good and not one.violations
    print("every event delivered, one outcome each, duplicates only by the same key" if good else "VIOLATED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
