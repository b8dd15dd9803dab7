"""The command line of `scripts/soak`."""

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from tests.load.soak.load import Load
from tests.load.soak.samples import Sample, Slope, slopes, take
from tests.load.soak.trouble import Trouble
from tests.support.bus.program import Program
from tests.support.servers import mosquitto, nats_server, redis_server
from tests.support.servers.remotes import KINDS, Stand, stand
from tests.support.sidecar.sidecar import Sidecar, sidecar

_TICK: Final = 0.02
_SAMPLE_EVERY: Final = 5.0
_PING_EVERY: Final = 0.25
_REPORT_EVERY: Final = 60.0
#: Seconds after the last command until everything has its answer.
_SETTLE: Final = 30.0
_INBOUND: Final = """
subscription "numbers_redis" {
  integration = "redis"
  queue       = "numbers"
  emit        = "seen.redis"
}
subscription "numbers_nats" {
  integration = "nats"
  queue       = "NUMBERS/bridge"
  emit        = "seen.nats"
}
subscription "numbers_mqtt" {
  integration = "mqtt"
  topic       = "numbers"
  emit        = "seen.mqtt"
}
"""


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak", description="A long run, and what grows in it.")
    parser.add_argument(
        "--minutes",
        type=float,
        default=30.0,
        help="below 25, memory is judged while what is kept for ten still fills it",
    )
    parser.add_argument("--rate", type=float, default=100.0, help="commands a second, over all protocols")
    parser.add_argument("--fault-every", type=float, default=45.0, metavar="SECONDS", help="0: no faults")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    if options.minutes <= 0 or options.rate <= 0 or options.fault_every < 0:
        parser.error("--minutes and --rate are more than 0, --fault-every is 0 at least")
    return options


class _Soak:
    def __init__(self, process: Sidecar, bus: Program, stands: Sequence[Stand], options: argparse.Namespace) -> None:
        self._process = process
        self._bus = bus
        self._stands = stands
        self._options = options
        self._began = time.monotonic()
        self.load = Load(bus, stands)
        self.trouble = Trouble(process, bus, stands, options.seed)
        self.samples: list[Sample] = []
        self._reported = 0

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    async def run(self) -> None:
        """Make load, faults and samples until the time is up; then wait for the last answers."""
        async with asyncio.TaskGroup() as group:
            others = [group.create_task(self._sample()), group.create_task(self._ping())]
            if self._options.fault_every:
                others.append(group.create_task(self._hurt()))
            await self._send()
            for other in others:
                other.cancel()
        for one in self._stands:
            one.thaw()
        end = time.monotonic() + _SETTLE
        while self.load.open and time.monotonic() < end:
            await asyncio.sleep(_TICK)
            self.load.take()

    async def _send(self) -> None:
        while self._elapsed < self._options.minutes * 60:
            while self.load.sent < self._elapsed * self._options.rate:
                self.load.send()
            self.load.take()
            await asyncio.sleep(_TICK)

    async def _ping(self) -> None:
        while True:
            self.load.ping()
            while self.load.pinging:
                await asyncio.sleep(0.001)
                self.load.take()
            await asyncio.sleep(_PING_EVERY)

    async def _hurt(self) -> None:
        # The last part is left alone, so that all is well again in the end.
        last = self._options.minutes * 60 - max(10.0, self._options.fault_every / 2)
        while True:
            await asyncio.sleep(self._options.fault_every)
            if self._elapsed < last:
                await asyncio.shield(self.trouble.next())

    async def _sample(self) -> None:
        last_report = 0.0
        while True:
            await asyncio.sleep(_SAMPLE_EVERY)
            trips, self.load.trips = self.load.trips, []
            one = take(self._process.process.pid, self._elapsed, trips)
            self.samples.append(one)
            if one.at - last_report >= _REPORT_EVERY:
                last_report = one.at
                self._report(one)

    def _report(self, one: Sample) -> None:
        load = self.load
        process = f"{one.resident:6.1f} MiB  {one.descriptors:.0f} descriptors  {one.threads:.0f} threads"
        speed = f"ping {one.lag:.1f} ms, worst {one.worst:.0f}  cpu {one.processor / one.at:.1%}"
        commands = f"{load.sent} sent, {load.open} open, {load.errors.total()} failed"
        faults = ", ".join(self.trouble.made[self._reported :]) or "no fault"
        self._reported = len(self.trouble.made)
        print(f"{one.at / 60:5.1f} min  {process}  {speed}  {commands}; {faults}", flush=True)


async def _balance(soak: _Soak, bus: Program, stands: Sequence[Stand]) -> list[str]:
    """Return what does not add up, one line each."""
    load, wrong = soak.load, []
    if load.open or load.twice:
        wrong.append(f"{load.open} commands without an answer, {load.twice} answered twice")
    status: dict[str, Any] = (await bus.ask("bridge.status", {}))["result"]
    for one in stands:
        health = status[one.kind]
        if health["in_flight"] or health["queued"]:
            wrong.append(f"{one.kind}: {health['in_flight']} in flight and {health['queued']} queued at rest")
        sums = health["accounting"]
        if sums["accepted"] != sum(count for name, count in sums.items() if name != "accepted"):
            wrong.append(f"{one.kind}: the bridge's own sums do not balance: {sums}")
        if sums["succeeded"] != len(load.succeeded[one.kind]):
            wrong.append(
                f"{one.kind}: {sums['succeeded']} succeeded by its sums, {len(load.succeeded[one.kind])} by ours"
            )
        if health["status"] != "connected":
            wrong.append(f"{one.kind}: {health['status']} in the end")
        reached = {number for _, number in one.ledger()}
        if lost := load.succeeded[one.kind] - reached:
            wrong.append(f"{one.kind}: {len(lost)} were acknowledged and never arrived, as {min(lost)}")
        await _inbound_ends(load, one.kind, reached)
        if one.kind in {"redis", "nats"} and (missing := reached - load.inbound[one.kind].keys()):
            wrong.append(f"{one.kind}: {len(missing)} stored messages never became events, as {min(missing)}")
    counts = status["bridge"]["bus"]
    if counts["rejected"] != soak.trouble.garbage:
        wrong.append(f"{counts['rejected']} messages rejected, {soak.trouble.garbage} sent to be")
    if counts["gaps"]:
        wrong.append(f"{counts['gaps']} events of ours were lost on the bus")
    return wrong


async def _inbound_ends(load: Load, kind: str, reached: set[int]) -> None:
    """Wait until all that is stored has come, or time is up."""
    end = time.monotonic() + _SETTLE
    while kind in {"redis", "nats"} and reached - load.inbound[kind].keys() and time.monotonic() < end:
        await asyncio.sleep(0.1)
        load.take()


async def _reloads(process: Sidecar, bus: Program) -> Slope:
    """What reloading costs in memory, at rest: the first few leave something of the parser behind, later ones do not.

    It has no place among the faults: a parser of 15 MiB that comes and goes moves everything by a step.
    """
    resident = []
    for count in (4, 8):
        for _ in range(count):
            assert (await bus.ask("bridge.reload", {}, seconds=30))["ok"]
        resident.append(process.rss / (1 << 20))
    growth = resident[1] - resident[0]
    return Slope("8 reloads", *resident, an_hour=None, growth=growth, allowed=4.0)


async def _run(options: argparse.Namespace) -> int:
    with contextlib.ExitStack() as stack:
        stands = [stack.enter_context(stand(kind)) for kind in KINDS]
        text = "".join(one.integration() for one in stands) + _INBOUND
        process = stack.enter_context(sidecar(text, more='name = "bridge"'))
        bus = stack.enter_context(process.program("response.", "seen.", validate_every=500))
        soak = _Soak(process, bus, stands, options)
        await soak.run()
        wrong = await _balance(soak, bus, stands)
        reloads = await _reloads(process, bus)
    found = [*slopes(soak.samples), reloads]
    load = soak.load
    print(f"\n{load.sent} commands, {sum(map(len, load.succeeded.values()))} succeeded, failed: {dict(load.errors)}")
    print(f"from outside: { ({kind: count.total() for kind, count in load.inbound.items()}) }")
    print(f"faults: {len(soak.trouble.made)} ({', '.join(sorted(set(soak.trouble.made))) or 'none'})\n")
    for one in found:
        print(one)
    for line in wrong:
        print(f"DOES NOT BALANCE  {line}")
    if not wrong:
        print("accounts balance")
    return 0 if not wrong and all(one.good for one in found) else 1


def main() -> int:
    """Run the soak; return 1 where something leaks or is lost, 2 where a server is missing."""
    options = _options()
    programs = {
        "mosquitto": mosquitto.PROGRAM,
        "redis-server": redis_server.PROGRAM,
        "nats-server": nats_server.PROGRAM,
    }
    if missing := [name for name, program in programs.items() if program is None]:
        print(f"not installed: {' '.join(missing)}", file=sys.stderr)
        return 2
    return asyncio.run(_run(options))


if __name__ == "__main__":
    sys.exit(main())
