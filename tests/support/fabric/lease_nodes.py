"""Nodes of a fabric that compete for the lease of a timer, on a cluster in memory and a clock that a test moves.

Each node is a process with the real timer, the gate of its subscription and the leases. It can be frozen as SIGSTOP
does it: none of its tasks goes on from the await at which it is, while time passes for the others. It can be killed: it
never goes on, and its connection ends.
"""

import asyncio
import contextlib
import contextvars
import random
from collections.abc import Callable, Coroutine, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Final

from bridge.adapters.timer.adapter import TimerAdapter
from bridge.adapters.timer.config import TimerConfig
from bridge.config import FabricSettings
from bridge.connection.duplicates import Duplicates
from bridge.connection.inbound import Delivery, Emission
from bridge.core.cancel import BoundedTasks
from bridge.core.cluster import KeyEntry, OnEnded
from bridge.core.errors import BridgeError
from bridge.core.fabric import Lease
from bridge.core.model import Inbound
from bridge.core.payloads import LeaseChange, Message
from bridge.core.ports import SubscriptionOptions
from bridge.fabric.context import FabricContext
from bridge.fabric.leases import Leases
from bridge.fabric.names import Names
from bridge.simulation.cluster import MemoryCluster, MemorySession
from tests.support.adapters.setup import adapter_setup
from tests.support.clock import FakeClock

#: The subscription that all nodes have, and its key.
JOB: Final = "job"
BUCKET: Final = "NEMO_plant"
KEY: Final = f"lease.{JOB}"

_NODE: contextvars.ContextVar["LeaseNode"] = contextvars.ContextVar("node")


@dataclass(frozen=True)
class Said:
    """A tick that a node has put on its bus, when, and in which term."""

    at: float
    node: str
    run: str
    term: int | None
    tick: int


class LeaseNode:
    """One process of a node.

    Attributes:
        name: The node.
        run: The process.
        clock: Its clock.
        told: The changes of leases that came on its bus, with the time of each.
        garbage: What it called garbage.
        is_frozen: Whether it stands still.
        is_dead: Whether it was killed, or has ended.
        is_member: Whether it has joined the fabric.
        session: Its session; None while it has none.
        leases: Its leases.
        lease: That of its timer.
    """

    def __init__(
        self,
        name: str,
        cluster: MemoryCluster,
        clock: FakeClock,
        said: list[Said],
        *,
        run: str = "run",
        seed: int = 0,
        every: float = 1.0,
        ahead: float = 0.0,
    ) -> None:
        """Start it.

        Args:
            name: The node.
            cluster: The broker.
            clock: Time as all have it.
            said: Where what it says is added.
            run: Tells the processes of one node apart.
            seed: For random numbers.
            every: Seconds between two ticks.
            ahead: Seconds that its wall clock is ahead.
        """
        self.name = name
        self.run = f"{name}-{run}"
        self.clock = _NodeClock(clock, self, ahead)
        self.told: list[tuple[float, LeaseChange]] = []
        self.garbage: list[str] = []
        self.is_frozen = False
        self.is_dead = False
        self.is_member = True
        self.session: MemorySession | None = None
        self._said = said
        self._cluster = cluster
        self._later: list[Callable[[], None]] = []
        settings = FabricSettings(name="plant", integration="cluster", node=name)
        context = FabricContext(
            settings=settings,
            names=Names("plant", name),
            clock=self.clock,
            rng=random.Random(f"{seed} {self.run}"),
            tasks=BoundedTasks(clock=self.clock),
            bus=self,  # type: ignore[arg-type]
            garbage=self.garbage.append,
            changed=lambda: None,
        )
        self.leases = Leases(context, lambda: self.is_member, self.run)
        self.lease: Lease = self.leases.lease(JOB)
        own = contextvars.copy_context()
        own.run(_NODE.set, self)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._tick(every), context=own),
            loop.create_task(self._stay_connected(), context=own),
        ]

    async def _tick(self, every: float) -> None:
        delivery = Delivery(1, sink=self, duplicates=Duplicates(self.clock), clock=self.clock, on_bad=_fail)
        delivery.emissions = (Emission("tick", lease=self.lease),)
        timer = TimerAdapter(adapter_setup("timer", None, config=TimerConfig(every=every), clock=self.clock))
        await timer.connect()
        try:
            await timer.subscribe("default", delivery, SubscriptionOptions(aligned=True))
            self.lease.campaign()
            await asyncio.Event().wait()
        finally:
            await timer.disconnect()

    async def _stay_connected(self) -> None:
        while True:
            lost = asyncio.Event()
            try:
                session = self.session = self._cluster.session(self.name, lambda _, lost=lost: lost.set())  # type: ignore[misc]
            except BridgeError:
                await self.clock.sleep(0.2)
                continue
            running = asyncio.create_task(self._run(session))
            waiting = asyncio.create_task(lost.wait())
            try:
                await asyncio.wait({waiting, running}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                running.cancel()
                waiting.cancel()
                await asyncio.wait({running, waiting})
                self.session = None
                session.close()
            await self.clock.sleep(0.1)

    async def _run(self, session: MemorySession) -> None:
        with contextlib.suppress(BridgeError):
            await session.bucket(BUCKET, replicas=1)
            await self.leases.run(_Session(session, self))  # type: ignore[arg-type]

    async def close(self) -> None:
        """End it at once, as at the end of a test."""
        self.is_dead = True
        self._wake()
        for task in self._tasks:
            task.cancel()
        await self.clock.shared.advance(1)
        assert all(task.done() for task in self._tasks)

    # --- faults

    def kill(self) -> None:
        """Kill it."""
        self.is_dead = self.is_frozen = True
        if self.session is not None:
            self.session.lose()

    def freeze(self, seconds: float | None = None) -> None:
        """Let it stand still, for a time."""
        self.is_frozen = True
        if seconds is not None:
            self.clock.shared.call_later(seconds, self.thaw)

    def thaw(self) -> None:
        """Let it go on, unless it was killed."""
        if not self.is_dead:
            self.is_frozen = False
            self._wake()

    def _wake(self) -> None:
        later, self._later = self._later, []
        for callback in later:
            callback()

    @property
    def stands_still(self) -> bool:
        """Whether nothing of it runs."""
        return self.is_frozen and bool(self._tasks) and not (self.is_dead and self._ending)

    @property
    def _ending(self) -> bool:
        return any(task.cancelling() for task in self._tasks)

    def when_awake(self, callback: Callable[[], None]) -> None:
        """Call back now, or when it goes on."""
        if self.stands_still:
            self._later.append(callback)
        else:
            callback()

    def awake(self) -> asyncio.Future[None]:
        """Return what is done when it goes on."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.when_awake(lambda: None if future.done() else future.set_result(None))
        return future

    # --- its bus

    def publish_or_report(self, event_type: str, payload: Any, **_: Any) -> None:
        """Take a change of a lease."""
        assert event_type == "resilience.fabric.plant.lease"
        self.told.append((self.clock.elapsed(), payload))

    def offer(self, event_type: str, payload: Message, **_: Any) -> bool:
        """Take a tick."""
        assert not self.is_dead
        tick = payload.message["scheduled_at"]
        self._said.append(Said(self.clock.elapsed(), self.name, self.run, self.lease.term, tick))
        return True

    def when_confirmed(self, then: Callable[[], None]) -> None:
        """Call it: nothing is on the way."""
        then()

    def look_again(self) -> None:
        """Do nothing: nobody waits."""


class _NodeClock(FakeClock):
    """The clock of one machine. What is due while the process stands still comes when it goes on."""

    def __init__(self, shared: FakeClock, node: LeaseNode, ahead: float) -> None:
        self.shared = shared
        self.ahead = ahead
        self._node = node

    def monotonic(self) -> float:
        return self.shared.monotonic()

    def elapsed(self) -> float:
        return self.shared.elapsed()

    def wall_ms(self) -> int:
        return self.shared.wall_ms() + round(self.ahead * 1000)

    def set_wall(self, seconds: float) -> None:
        self.ahead += seconds

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        is_cancelled = False

        def cancel() -> None:
            nonlocal is_cancelled
            is_cancelled = True
            forget()

        def come() -> None:
            if not is_cancelled:
                callback()

        forget = self.shared.call_later(seconds, lambda: self._node.when_awake(come))
        return cancel


class _Session:
    """A session whose watch tells a process nothing while that stands still."""

    def __init__(self, inner: MemorySession, node: LeaseNode) -> None:
        self._inner = inner
        self._node = node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def watch(self, bucket: str, on_entry: Callable[[KeyEntry], None], on_ended: OnEnded) -> Any:
        node = self._node
        return await self._inner.watch(
            bucket,
            lambda entry: node.when_awake(lambda: on_entry(entry)),
            lambda error: node.when_awake(lambda: on_ended(error)),
        )


class _Gate:
    """Runs a coroutine of a node, but not while the node stands still."""

    def __init__(self, node: LeaseNode, inner: Coroutine[Any, Any, Any]) -> None:
        self._node = node
        self._inner = inner

    def __await__(self) -> Generator[Any, Any, Any]:
        value: Any = None
        error: BaseException | None = None
        while True:
            while self._node.stands_still:
                try:
                    yield from self._node.awake().__await__()
                except asyncio.CancelledError as cancelled:
                    error = cancelled
            try:
                future = self._inner.send(value) if error is None else self._inner.throw(error)
            except StopIteration as end:
                return end.value
            value, error = None, None
            try:
                value = yield future
            except BaseException as thrown:
                error = thrown


async def _gated(node: LeaseNode, inner: Coroutine[Any, Any, Any]) -> Any:
    return await _Gate(node, inner)


def _task_factory(loop: asyncio.AbstractEventLoop, work: Any, context: contextvars.Context | None = None) -> Any:
    node = (contextvars.copy_context() if context is None else context).get(_NODE)
    return asyncio.Task(work if node is None else _gated(node, work), loop=loop, context=context)


@contextlib.contextmanager
def nodes_that_freeze() -> Iterator[None]:
    """Let the tasks of a node stand still while it is frozen."""
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    loop.set_task_factory(_task_factory)
    try:
        yield
    finally:
        loop.set_task_factory(before)


def _fail(error: BridgeError, message: Inbound) -> None:
    raise AssertionError(f"no event was made of {message}: {error}")
