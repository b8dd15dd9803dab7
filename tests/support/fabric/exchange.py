"""Nodes that send events to each other: each has a bus, an outbox, an exporter and an importer; all else is a double.

The bus is the real one on a broker in memory, the outbox the real one on disk, the NATS cluster one in memory.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgpack

from bridge.bus import Bus
from bridge.config import FabricSettings
from bridge.core.cancel import BoundedTasks
from bridge.core.cluster import StreamSpec
from bridge.core.errors import BridgeError, NotConnectedError
from bridge.core.model import Event, Export, Operation, Outcome
from bridge.core.responder import Responder
from bridge.core.settings import OutboxSettings
from bridge.fabric.context import FabricContext
from bridge.fabric.exports import Exporter
from bridge.fabric.imports import Importer
from bridge.fabric.names import Names
from bridge.outbox import Folder, Outbox
from bridge.resilience import Accounting, Stage
from bridge.simulation.bus import MemoryBroker, MemoryListener, MemoryTransport
from bridge.simulation.cluster import MemoryCluster, MemorySession
from tests.support.clock import FakeClock
from tests.support.guard.outbox import InlineCommitQueue

Done = Callable[[Operation, Outcome], None]

#: Seconds in which what is on a bus is confirmed.
_CONFIRMED: Final = 0.02
#: The headers that the event has on the bus of another node, and not on its own.
ADDED = frozenset({"hop", "origin", "fabric", "idempotency_key"})


class Program(MemoryListener):
    """A program on a bus: it hears what begins with a prefix, and says what it is told to.

    Attributes:
        heard: The events that came, in order.
        repeats: Makes the event that it says again of one that it hears; None: it repeats nothing.
    """

    def __init__(self, broker: MemoryBroker, prefix: str, source: str | None = "app") -> None:
        """Subscribe."""
        self.heard: list[dict[str, Any]] = []
        self.repeats: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self.source = source
        self._bus = broker
        self._last_id = 0
        super().__init__(broker, prefix)
        self._begin = prefix.encode()

    def take(self, frame: bytes, body: bytes) -> None:
        """Hear an event."""
        if frame.startswith(self._begin):
            event = msgpack.unpackb(body)
            self.heard.append(event)
            if self.repeats is not None and len(self.heard) < 1000:
                self._bus.send(frame, msgpack.packb(self.repeats(event)))

    def say(self, event_type: str, payload: Any = None, **fields: Any) -> None:
        """Say an event; `fields` are others than the usual."""
        self._last_id += 1
        event = {"id": self._last_id, "event_type": event_type, "payload": payload, "timestamp": 1}
        whole = {**event, "source": self.source, "correlation_id": None, **fields}
        self._bus.send(event_type.encode(), msgpack.packb(whole))

    def of(self, prefix: str) -> list[dict[str, Any]]:
        """Return the events whose type begins so."""
        return [event for event in self.heard if event["event_type"].startswith(prefix)]

    def payloads(self, prefix: str = "") -> list[Any]:
        """Return the payloads of the events whose type begins so."""
        return [event["payload"] for event in self.of(prefix)]


class Carrier:
    """The integration that carries a fabric, as exporter and outbox see it: it sends by a session of the cluster.

    Attributes:
        session: The session; None: there is none.
        sent: The commands that were submitted.
    """

    def __init__(self) -> None:
        self.session: MemorySession | None = None
        self.accounting = Accounting()
        self.capacity = 1000
        self.sent: list[Operation] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def usable(self) -> bool:
        """Whether there is a session."""
        return self.session is not None

    @property
    def well(self) -> bool:
        """Whether there is a session."""
        return self.usable

    def may_repeat(self, operation: Operation) -> bool:
        """See `DeliveryConnection.may_repeat`."""
        return bool(operation.repeatable)

    def submit(self, operation: Operation, done: Done) -> None:
        """See `DeliveryConnection.submit`."""
        self.sent.append(operation)
        if operation.durable:
            self.accounting.move(Stage.PENDING, Stage.IN_FLIGHT)
        else:
            self.accounting.accept(Stage.IN_FLIGHT)
        task = asyncio.create_task(self._send(operation, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, operation: Operation, done: Done) -> None:
        assert isinstance(operation.command, Export)
        try:
            if self.session is None:
                raise NotConnectedError("cluster is not connected")
            result = await self.session.export(operation.command, operation.idempotency_key)
        except BridgeError as error:
            self.accounting.move(Stage.IN_FLIGHT, Stage.PENDING if operation.durable else Stage.FAILED)
            done(operation, Outcome(error=error, attempts=1))
        else:
            self.accounting.move(Stage.IN_FLIGHT, Stage.SUCCEEDED)
            done(operation, Outcome(result=result, attempts=1))

    def kill(self) -> None:
        """End everything at once."""
        for task in self._tasks:
            task.cancel()


class Node:
    """One process of a bridge in a fabric.

    Attributes:
        broker: The broker of its bus, which outlives the process.
        transport: Its connection to that.
        garbage: What was reported as garbage.
        errors: What the importer has ended with.
        joined: Whether it is a node, as the membership would say.
        known: The names of all nodes, as the membership would say.
    """

    def __init__(self, world: "World", name: str, broker: MemoryBroker, folder: Path, **settings: Any) -> None:
        """Build it; nothing is opened before `start`."""
        self.world = world
        self.name = name
        self.broker = broker
        self.joined = True
        self.known: Iterable[str] = world.nodes
        self.garbage: Counter[str] = Counter()
        self.errors: list[BridgeError] = []
        self.carrier = Carrier()
        self._importing: asyncio.Task[None] | None = None
        world.number += 1
        rng = random.Random(f"{name} {world.number}")
        max_message = settings.pop("max_message", 1 << 20)
        self.transport = MemoryTransport(broker, max_message=max_message)
        self.bus = Bus(
            mode="host",
            publish=None,
            subscribe=None,
            max_message=max_message,
            source="bridge",
            clock=world.clock,
            on_event=self._on_event,
            own=self._takes,
            listens=False,
            bytes_as=settings.pop("bytes_as", "object"),
            transport=self.transport,
        )
        self.settings = FabricSettings("plant", "cluster", name, **settings)
        self.context = FabricContext(
            settings=self.settings,
            names=Names("plant", name),
            clock=world.clock,
            rng=rng,
            tasks=BoundedTasks(clock=world.clock),
            bus=self.bus,
            garbage=self._garbage,
            changed=lambda: None,
        )
        self.responder = Responder(self.bus, most=1 << 20, clock=world.clock)
        self.outbox = Outbox(
            Folder(folder),
            OutboxSettings(),
            responder=self.responder,
            connection=lambda _: self.carrier,
            exports=lambda integration, _: self.exporter.sender(integration),
            clock=world.clock,
            rng=rng,
            commit_queue=InlineCommitQueue,
        )
        self.exporter = Exporter(
            self.context,
            connection=lambda: self.carrier,
            outbox=self.outbox,
            responder=self.responder,
            joined=lambda: self.joined,
            nodes=lambda: self.known,  # type: ignore[arg-type,return-value]
            source="bridge",
            stop_with="quit",
        )
        self.importer = Importer(
            self.context, listens=lambda event_type: self.bus.has_listener(event_type, imported=True), stop_with="quit"
        )

    def _garbage(self, text: str) -> None:
        self.garbage[text] += 1
        self.context.counts.garbage += 1

    def _takes(self, event_type: str) -> bool:
        return self.exporter.takes(event_type)

    def _on_event(self, event: Event) -> None:
        self.exporter.on_event(event)

    async def start(self) -> None:
        """Open bus and outbox, and connect."""
        self.bus.take((), self.settings.exports)
        await self.bus.start()
        if self.settings.durable:
            await self.outbox.open()
        await self.connect()

    async def connect(self) -> None:
        """Open a session, and import on it."""
        session = self.world.cluster.session(self.name)
        self.carrier.session = session
        if self.settings.durable:
            await session.stream(self.world.stream)
        self._importing = asyncio.create_task(self._import(session))
        self.outbox.wake()
        await self.world.settle()

    async def _import(self, session: MemorySession) -> None:
        try:
            await self.importer.run(session)
        except BridgeError as error:
            self.errors.append(error)

    async def disconnect(self) -> None:
        """Lose the session."""
        session, self.carrier.session = self.carrier.session, None
        if session is not None:
            session.lose()
        if self._importing is not None:
            self._importing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._importing
        self.outbox.wake()
        await self.world.settle()

    async def kill(self) -> None:
        """End it without a word: what is not acknowledged comes again, what is not delivered is in the outbox."""
        await self.disconnect()
        self.carrier.kill()
        if self.outbox.is_open:
            await self.outbox.close()
        self.transport.cut()


class World:
    """A cluster, and nodes that share one clock.

    Attributes:
        clock: Time.
        cluster: The NATS cluster.
        nodes: The names of all nodes.
        stream: The stream of durable events.
        running: The nodes that were started.
    """

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.cluster = MemoryCluster(self.clock)
        self.nodes: set[str] = set()
        self.number = 0
        self.stream = StreamSpec(name="NEMO_plant", subjects=("nemo.plant.event.>",), max_age=3600)
        self._folder = folder
        self.running: list[Node] = []

    async def node(self, name: str, broker: MemoryBroker | None = None, **settings: Any) -> Node:
        """Start a node; on a bus of its own, where none is given."""
        patterns: dict[str, Any] = {"exports": ("order.**",), "imports": ("order.**",), **settings}
        node = Node(self, name, broker or MemoryBroker(), self._folder / name, **patterns)
        self.nodes.add(name)
        self.running.append(node)
        await node.start()
        return node

    async def settle(self) -> None:
        """Let everything happen that needs no time, or only the moment until what is on a bus is confirmed."""
        for _ in range(5):
            await self.clock.settle()
        await self.clock.advance(_CONFIRMED)
        await self.clock.settle()

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        await self.clock.advance(seconds)
        await self.settle()


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """A world, all of which ends with the block."""
    it = World(folder)
    try:
        yield it
    finally:
        for node in it.running:
            await node.kill()
