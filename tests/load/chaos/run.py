"""Runs the test once: with one protocol and one seed."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.load.chaos.killers import Killers, SidecarRuns
from tests.load.chaos.sender import EVENT, Sender
from tests.support.bus.program import Program
from tests.support.servers.remotes import Stand, stand
from tests.support.sidecar.sidecar import bus_block, short_directory

_ROUTES = {
    "json-rpc": 'operation = "request"\n  method = "note"\n  params = event.payload',
    "redis": 'operation = "enqueue"\n  queue = "numbers"\n  message = event.payload',
    "nats": 'operation = "enqueue"\n  queue = "numbers.new"\n  message = event.payload',
    "mqtt": 'operation = "publish"\n  topic = "numbers"\n  message = event.payload\n  qos = 1',
}


@dataclass
class Result:
    """The result of one run.

    Attributes:
        violations: What must never be, each one line.
    """

    protocol: str
    seed: int
    events: int
    seconds: float = 0.0
    delivered: int = 0
    duplicates: int = 0
    sent: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    remote_kills: int = 0
    sidecar_kills: int = 0
    longest: float = 0.0
    refused: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


def _configuration(one: Stand, place: Path) -> str:
    route = f"""
route "chaos" {{
  on          = ["{EVENT}"]
  integration = "{one.kind}"
  {_ROUTES[one.kind]}
  delivery    = "at_least_once"
  receipts    = true
  key         = event.payload.lane
}}
"""
    return f'bridge {{\n  data_dir = "{place}/data"\n}}\n{bus_block(place)}\n{one.integration()}\n{route}'


async def run(protocol: str, seed: int, *, events: int, rate: float, every: float, kills: int, limit: float) -> Result:
    """Send so many events through one remote while it and the sidecar are killed.

    Args:
        protocol: The remote's kind.
        seed: Decides when what is killed.
        events: How many.
        rate: New events a second.
        every: Mean seconds between two kills of the same.
        kills: How often each is killed at most.
        limit: Seconds after which what has no outcome counts as lost.
    """
    result = Result(protocol, seed, events)
    with stand(protocol) as one, short_directory() as folder:
        sidecar = SidecarRuns(folder, _configuration(one, folder))
        process = sidecar.start()
        try:
            process.ready()
            with Program(process.publish, process.subscribe, ("receipt.", "response."), validate_every=100) as bus:
                sender = Sender(bus, seed)
                await _chaos(
                    result,
                    sender,
                    Killers(one, sidecar, seed=seed, every=every, most=kills, last=lambda: sender.last),
                    rate,
                    limit,
                )
                result.sidecar_kills = sidecar.kills
            _judge(result, sender, one)
            sidecar.check()
        finally:
            sidecar.kill()
    return result


async def _chaos(result: Result, sender: Sender, killers: Killers, rate: float, limit: float) -> None:
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        killing = group.create_task(killers.run())
        try:
            async with asyncio.timeout(limit):
                await sender.send_all(result.events, rate)
        except TimeoutError:
            result.violations.append(f"not all had an outcome within {limit:g} s")
        killing.cancel()
    await killers.end()
    sender.take()
    result.seconds = time.monotonic() - began
    result.remote_kills = killers.remote_kills
    result.longest = max(killers.recoveries, default=0.0)


def _judge(result: Result, sender: Sender, one: Stand) -> None:
    numbers = range(result.events)
    ledger = one.ledger()
    reached = Counter(number for _, number in ledger)
    result.delivered = len(reached)
    result.duplicates = len(ledger) - len(reached)
    result.sent = sender.attempts.total()
    result.refused = sender.refused
    result.outcomes = Counter(outcomes[0] for outcomes in sender.outcomes.values())

    def note(what: str, found: list[int]) -> None:
        if found:
            result.violations.append(f"{len(found)} {what}, as {found[:5]}")

    note("have no outcome", [number for number in numbers if number not in sender.outcomes])
    note("have two different outcomes", [n for n, outcomes in sender.outcomes.items() if len(set(outcomes)) > 1])
    note(
        "were not delivered by their outcome",
        [n for n, outcomes in sender.outcomes.items() if outcomes[0] != "delivered"],
    )
    note("never arrived", [number for number in numbers if number not in reached])
    note("arrived with another key", [number for key, number in ledger if key != sender.key(number)])
    if one.dedupes:
        note("are stored twice although the remote knows keys", [n for n, count in reached.items() if count > 1])
