"""Bridges that are nothing but nodes of a fabric: their membership on a cluster in memory or a real one."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from bridge.config import FabricSettings
from bridge.core.cancel import BoundedTasks
from bridge.core.cluster import ClusterSession
from bridge.core.errors import BridgeError
from bridge.core.model import ConnectionStatus, Event
from bridge.core.payloads import NodeHealth
from bridge.core.ports import Clock
from bridge.fabric.context import FabricContext
from bridge.fabric.membership import Membership, OwnState
from bridge.fabric.names import Names
from bridge.simulation.cluster import MemoryCluster, MemorySession
from tests.support.clock import FakeClock

#: Seconds that pass together for all clocks of a world.
_STEP = 0.25


class KeepingBus:
    """The part of a bus that keeps states; whoever gets anything else from it is wrong here.

    Attributes:
        kept: The last payload of each type that is kept.
        told: All that were kept, in their order.
    """

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.told: list[tuple[str, Any]] = []

    def keep(self, event_type: str, payload: Any) -> None:
        """See `FabricBus.keep`."""
        self.kept[event_type] = payload
        self.told.append((event_type, payload))

    def forget(self, event_type: str) -> None:
        """See `FabricBus.forget`."""
        del self.kept[event_type]

    def publish(self, event_type: str, payload: Any, **_: Any) -> None:
        """See `Publisher.publish`."""
        raise AssertionError(event_type)

    publish_or_report = publish_after = publish

    def read(self, frame: bytes, body: bytes) -> Event | None:
        """See `FabricBus.read`."""
        raise AssertionError(frame)

    def relay(self, event: Event, *, source: str, headers: Mapping[str, str], confirmed: bool = False) -> bool:
        """See `FabricBus.relay`."""
        raise AssertionError(event, confirmed)

    def when_confirmed(self, then: Callable[[], None]) -> None:
        """See `FabricBus.when_confirmed`."""
        raise AssertionError(then)

    async def room(self) -> None:
        """See `FabricBus.room`."""

    def listens(self, event_type: str) -> bool:
        """See `FabricBus.listens`."""
        raise AssertionError(event_type)

    async def listeners_changed(self) -> None:
        """See `FabricBus.listeners_changed`."""

    def reject_loop(self, event_type: str) -> None:
        """See `FabricBus.reject_loop`."""
        raise AssertionError(event_type)

    def health(self, node: str) -> NodeHealth | None:
        """Return what is kept about a node."""
        found: NodeHealth | None = self.kept.get(f"health.node.{node}")
        return found

    def statuses(self, node: str) -> list[str]:
        """Return each status of a node that was told, one after another."""
        all_of_it = [health.status for event, health in self.told if event == f"health.node.{node}"]
        return [one for at, one in enumerate(all_of_it) if at == 0 or one != all_of_it[at - 1]]


class Member:
    """One process of a bridge that is in a fabric, and nothing else.

    Attributes:
        node: Its name in the fabric.
        clock: Its clock.
        bus: Its bus.
        garbage: What was reported as garbage, and how often.
        state: What it tells the others.
        joined: Each value of `Membership.joined`.
        errors: What `run` has ended with.
        pause: Seconds before it is run again, as a `Fabric` does.
    """

    def __init__(
        self,
        clock: Clock,
        node: str,
        *,
        run: str,
        state_dir: Path | None = None,
        heartbeat: float = 5.0,
        bridge: str = "bridge",
        **settings: Any,
    ) -> None:
        """Start the process; it has no session yet."""
        self.node = node
        self.clock = clock
        self.bus = KeepingBus()
        self.garbage: Counter[str] = Counter()
        self.state = OwnState({})
        self.joined: list[bool] = []
        self.changes = 0
        self.errors: list[BridgeError] = []
        self.pause = 1.0
        self._task: asyncio.Task[None] | None = None
        names = Names("plant", node)
        self.context = FabricContext(
            settings=FabricSettings("plant", "cluster", node, **settings),
            names=names,
            clock=clock,
            rng=random.Random(f"{node} {run}"),
            tasks=BoundedTasks(clock=clock),
            bus=self.bus,
            garbage=self._garbage,
            changed=lambda: None,
        )
        self.membership = Membership(
            self.context,
            own=lambda: self.state,
            heartbeat=heartbeat,
            state_dir=state_dir,
            bridge=bridge,
            version="1.0",
            pid=4711,
            run_id=run,
        )
        self.membership.on_joined(self.joined.append)
        self.membership.on_change(self._changed)

    def _garbage(self, text: str) -> None:
        self.garbage[text] += 1
        self.context.counts.garbage += 1

    def _changed(self) -> None:
        self.changes += 1

    def begin(self, session: ClusterSession) -> None:
        """Run it on a session, and again where it has failed."""
        self._task = asyncio.create_task(self._run(session))

    async def _run(self, session: ClusterSession) -> None:
        while True:
            try:
                await session.bucket(self.context.names.bucket, replicas=1)
                await self.membership.run(session)
            except BridgeError as error:
                self.errors.append(error)
            await self.clock.sleep(self.pause)

    def cancel(self) -> None:
        """Begin to end the run on the session."""
        if self._task is not None:
            self._task.cancel()

    async def end(self) -> None:
        """End the run on the session, as after a loss of it; the process goes on."""
        self.cancel()
        task, self._task = self._task, None
        if task is not None:
            with suppress(asyncio.CancelledError):
                await task

    def set(self, **integrations: str) -> None:
        """Let integrations have this status, and say that something has changed."""
        self.state = OwnState(
            {label: ConnectionStatus(status) for label, status in integrations.items()}, self.state.offers
        )
        self.membership.touch()

    @property
    def is_node(self) -> bool:
        """Whether it has its name."""
        return self.membership.joined

    def sees(self) -> dict[str, str]:
        """Return all nodes and their status."""
        return {name: view.status for name, view in self.membership.nodes().items()}


class World:
    """Members on one cluster in memory, each with a clock of its own that may stand still.

    Attributes:
        clock: The broker's clock.
        cluster: The broker.
        members: All processes that live.
        suspended: Those of them that stand still.
    """

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.cluster = MemoryCluster(self.clock)
        self.members: list[Member] = []
        self.sessions: dict[Member, MemorySession] = {}
        self.suspended: list[Member] = []
        self._runs = 0

    async def member(self, node: str, **options: Any) -> Member:
        """Start a process, connect it, and let it do what takes no time."""
        self._runs += 1
        state = options.pop("state", None)
        clock = FakeClock(1000.0 * self._runs)
        member = Member(clock, node, run=options.pop("run", f"run-{self._runs}"), **options)
        if state is not None:
            member.state = state
        self.members.append(member)
        self.connect(member)
        await self.settle()
        return member

    def connect(self, member: Member) -> None:
        """Open a session of a process."""
        self.sessions[member] = session = self.cluster.session(f"{member.node} {id(member)}")
        member.begin(session)

    async def lose_session(self, member: Member) -> None:
        """End the session of a process."""
        self.sessions[member].lose()
        await member.end()

    async def kill(self, member: Member) -> None:
        """End a process without a word."""
        self.members.remove(member)
        self.cluster.silence(self.sessions[member].node)  # whatever it would say at its end is not heard
        await self.lose_session(member)
        member.membership.close()

    def suspend(self, *members: Member) -> None:
        """SIGSTOP: the process does nothing and gets nothing; the time of its clock stands still."""
        self.suspended += members
        self.cluster.silence(*(self.sessions[member].node for member in members))

    async def resume(self, *members: Member) -> None:
        """SIGCONT."""
        for member in members:
            self.suspended.remove(member)
        self.cluster.heal(*(self.sessions[member].node for member in members))
        await self.settle()

    def heal(self) -> None:
        """Let pass again what links and broker hold back, but not to processes that are suspended."""
        self.cluster.jetstream = "up"
        names = [self.sessions[member].node for member in self.members if member not in self.suspended]
        if names:
            self.cluster.heal(*names)

    async def settle(self) -> None:
        """Let all do what takes no time."""
        for _ in range(3):
            for clock in self._clocks():
                await clock.advance()

    async def advance(self, seconds: float) -> None:
        """Let time pass, for all that are not suspended."""
        end = self.clock.monotonic() + seconds
        while (left := end - self.clock.monotonic()) > 1e-9:
            for clock in self._clocks():
                await clock.advance(min(_STEP, left))

    def _clocks(self) -> list[FakeClock]:
        live = [member.clock for member in self.members if member not in self.suspended]
        return [self.clock, *(clock for clock in live if isinstance(clock, FakeClock))]

    def writes(self) -> int:
        """Return how many writes of keys were asked for so far."""
        return self.cluster.calls["create"] + self.cluster.calls["update"]


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """A world, whose processes end with the test."""
    it = World()
    try:
        yield it
    finally:
        for member in it.members:
            member.cancel()
        await it.resume(*it.suspended)
        await it.advance(1)  # what a watch says at its end takes time
        for member in it.members:
            await member.end()
            member.membership.close()
