"""Send numbered commands to several remotes at the same time, with and without keys, through one sidecar."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence

from tests.support.bus.numbered import Numbered
from tests.support.bus.program import Program
from tests.support.servers.remotes import Stand
from tests.support.sidecar.sidecar import Sidecar, sidecar

#: How a command may end while its remote is hurt.
DECLARED = frozenset({"ok", "not_connected", "connection_lost", "timeout", "unavailable"})


class Flows:
    """Two flows of commands to each remote, one without keys and one with.

    Attributes:
        all: The accounts.
    """

    def __init__(self, bus: Program, stands: Sequence[Stand]) -> None:
        self._bus = bus
        self.all = [Numbered(bus, one, keyed=keyed) for one in stands for keyed in (False, True)]

    async def run(self, seconds: float, rate: float = 60.0) -> None:
        """Send to all remotes, at this rate for each."""
        async with asyncio.TaskGroup() as group:
            for flow in self.all:
                group.create_task(flow.flow(seconds, rate))

    async def recover(self) -> None:
        """Wait until each remote answers again, 10 s at most."""
        async with asyncio.TaskGroup() as group:
            for flow in self.all:
                group.create_task(flow.recovers(10))

    async def account(self, declared: Collection[str] = DECLARED) -> None:
        """Check that each command has a declared answer, the bridge's sums agree, and nothing is in flight."""
        for flow in self.all:
            await flow.settle()
            assert set(flow.kinds) <= set(declared), flow.kinds
            flow.check()
        status = (await self._bus.ask("bridge.status", {}))["result"]
        for kind in {flow.kind for flow in self.all}:
            sums = status[kind]["accounting"]
            assert (sums["in_flight"], sums["queued"]) == (0, 0)
            assert sums["accepted"] == sum(count for name, count in sums.items() if name != "accepted")
            assert sums["accepted"] >= sum(flow.sent for flow in self.all if flow.kind == kind)
            assert sums["succeeded"] >= sum(len(flow.succeeded) for flow in self.all if flow.kind == kind)


@contextlib.asynccontextmanager
async def flowing(
    stands: Sequence[Stand],
    ports: Sequence[int] | None = None,
    *,
    more: str = "",
    environ: dict[str, str] | None = None,
) -> AsyncIterator[tuple[Sidecar, Flows]]:
    """A sidecar that is connected to all, and flows that have begun.

    Args:
        stands: The remotes.
        ports: Where the sidecar is to connect, where something stands between.
        more: Further blocks of its configuration.
        environ: More of its environment.
    """
    text = "".join(
        one.integration(port) for one, port in zip(stands, ports or [one.port for one in stands], strict=True)
    )
    with (
        sidecar(text + more, environ=environ) as running,
        running.program("response.", "health.", "seen.", validate_every=20) as bus,
    ):
        for one in stands:
            await bus.wait(f"health.{one.kind}", lambda event: event["payload"]["status"] == "connected")
        flows = Flows(bus, stands)
        await flows.run(0.2)
        yield running, flows
