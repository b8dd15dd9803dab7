"""The command line of `scripts/storm`."""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.load.soak.samples import Sample, take
from tests.load.storm.account import Accounts
from tests.load.storm.checks import Outage, broken_promises, table
from tests.load.storm.integrations import READ, LoadedIntegration, running_integrations
from tests.load.storm.misbehaving import Servers, broken_by, misbehaving_servers
from tests.support.bus.program import Program
from tests.support.sidecar.sidecar import Sidecar, sidecar

_TICK: Final = 0.01
#: Seconds until everything is connected, after the last command until all is answered, and for one remote to be back.
_CONNECT: Final = 20.0
_SETTLE: Final = 20.0
_BACK: Final = 30.0
#: Seconds of load before the first kill and between two.
_CALM: Final = 1.0


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/storm", description="All nine integrations; each remote dies in turn."
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the load lasts")
    parser.add_argument("--rate", type=float, default=200.0, help="commands a second, over all integrations")
    parser.add_argument(
        "--seed", type=int, default=1, help="decides the order, how long each is away, and what misbehaves"
    )
    options = parser.parse_args(arguments)
    if options.seconds <= 0 or options.rate <= 0:
        parser.error("--seconds and --rate are more than 0")
    return options


class _Storm:
    def __init__(
        self,
        process: Sidecar,
        accounts: Accounts,
        integrations: Sequence[LoadedIntegration],
        options: argparse.Namespace,
    ) -> None:
        self._process = process
        self._integrations = [one for one in integrations if one.kill is not None]
        self._options = options
        self._rng = random.Random(options.seed)
        self._over = False
        self.accounts = accounts
        self.outages: list[Outage] = []
        self.samples: list[Sample] = []

    async def until(self, condition: object, seconds: float) -> bool:
        """Read from the bus until a condition is true, or the time is up."""
        assert callable(condition)
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            await asyncio.sleep(_TICK)
            self.accounts.take()
        return True

    async def run(self) -> None:
        """Make load and kill remotes; then wait for the last answers and events."""
        async with asyncio.TaskGroup() as group:
            load = group.create_task(self._load())
            await self._kill_in_turn()
            self._over = True
            await load
        await self.until(lambda: not self.accounts.open, _SETTLE)
        self._sample()

    def _sample(self) -> None:
        self.samples.append(take(self._process.process.pid, 0.0, ()))

    async def _load(self) -> None:
        began, before = time.monotonic(), self.accounts.sent
        while not self._over:
            while self.accounts.sent - before < (time.monotonic() - began) * self._options.rate:
                self.accounts.send()
            self.accounts.take()
            await asyncio.sleep(_TICK)

    async def _kill_in_turn(self) -> None:
        end = time.monotonic() + self._options.seconds
        await asyncio.sleep(_CALM)
        self._sample()
        first = True
        while first or time.monotonic() < end:
            round_of = list(self._integrations)
            self._rng.shuffle(round_of)
            for one in round_of:
                if first or time.monotonic() < end:
                    await self._kill(one)
            self._sample()
            first = False

    async def _kill(self, one: LoadedIntegration) -> None:
        assert one.kill is not None
        account, died = self.accounts.of[one.name], time.monotonic()
        one.kill()
        await asyncio.sleep(self._rng.uniform(0.3, 1.0))
        await asyncio.to_thread(one.start)
        began, answered = time.monotonic(), len(account.succeeded)
        back = await self.until(lambda: account.status == "connected" and len(account.succeeded) > answered + 1, _BACK)
        self.outages.append(Outage(one.name, died, time.monotonic(), time.monotonic() - began if back else None))
        await asyncio.sleep(_CALM)


async def _run(options: argparse.Namespace) -> int:
    async with misbehaving_servers(options.seed) as (servers, more):
        return await _run_beside(servers, more, options)


async def _run_beside(servers: Servers, more: str, options: argparse.Namespace) -> int:
    with (
        tempfile.TemporaryDirectory(prefix="nemo-storm-") as place,
        running_integrations(Path(place)) as (integrations, text),
        sidecar(text + more, heartbeat="1s") as process,
        process.program("response.", "seen.", "health.", validate_every=500) as bus,
    ):
        accounts = Accounts(bus, integrations)
        storm = _Storm(process, accounts, integrations, options)
        if not await storm.until(lambda: all(one.status == "connected" for one in accounts.of.values()), _CONNECT):
            states = {name: one.status for name, one in accounts.of.items()}
            print(f"not connected within {_CONNECT:g} s: {states}", file=sys.stderr)
            return 1
        await storm.run()
        ledgers = {one.name: one.ledger() for one in integrations if one.ledger is not None}
        await storm.until(lambda: not any(ledgers[name] - accounts.of[name].seen.keys() for name in READ), _SETTLE)
        status = await _status(bus)
    print(table(accounts, storm.outages, ledgers))
    broken = [*broken_promises(accounts, storm.outages, ledgers, status, storm.samples), *broken_by(servers)]
    for line in broken:
        print(f"BROKEN  {line}")
    resident = " → ".join(f"{one.resident:.1f}" for one in storm.samples)
    descriptors = " → ".join(f"{one.descriptors:.0f}" for one in storm.samples)
    print(f"\n{accounts.sent} commands, {len(storm.outages)} kills")
    print(f"beside servers that misbehave: {', '.join(servers)}")
    print(f"before, after each round, at rest: resident {resident} MiB; descriptors {descriptors}")
    print("every promise kept" if not broken else f"{len(broken)} promises broken")
    return 1 if broken else 0


async def _status(bus: Program) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = (await bus.ask("bridge.status", {}))["result"]
    return found


def main() -> int:
    """Run the storm; return 1 where a promise is broken."""
    return asyncio.run(_run(_options()))


if __name__ == "__main__":
    sys.exit(main())
