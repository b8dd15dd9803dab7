"""An adapter with every operation, whose remote is an object in memory, for the contract suite."""

import asyncio
from collections import Counter, deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar, Final

import msgspec

from bridge.core.endpoint import Strict
from bridge.core.errors import BridgeError, ConnectionLostError, NotConnectedError, RejectedError
from bridge.core.model import OPERATIONS, Command, Enqueue, Export, Inbound, Publish, QueueMessage, Request
from bridge.core.ports import (
    NO_OPTIONS,
    AckDecision,
    AdapterBase,
    AdapterSetup,
    AdapterSpec,
    Context,
    Deliver,
    Promise,
    Subscription,
    SubscriptionOptions,
)
from bridge.core.settings import Hold
from bridge.simulation.cluster import MemoryCluster, MemorySession


@dataclass(eq=False)
class MemoryRemote:
    """The remote of the sessions. When dead it refuses, when frozen it never answers."""

    alive: bool = True
    frozen: bool = False
    calls: Counter[str] = field(default_factory=Counter)
    created: int = 0
    subscribers: dict[str, list[Deliver]] = field(default_factory=dict)
    queues: dict[str, deque[QueueMessage]] = field(default_factory=dict)
    sessions: set["MemoryAdapter"] = field(default_factory=set)

    def kill(self) -> None:
        """Die, and end every session."""
        self.alive = False
        self.subscribers.clear()
        for session in tuple(self.sessions):
            session.break_off()

    def answer(self, method: str, params: Any) -> Any:
        """Call a method: the same as those of the demo service."""
        self.calls[method] += 1
        match method:
            case "echo":
                return params
            case "orders.create":
                self.created += 1
                return {**params, "number": self.created - 1}
            case "fail":
                raise RejectedError(params["message"], code=params["code"], data=params["data"])
        raise RejectedError("Method not found", code=-32601)


class MemoryConfig(Strict):
    """An empty configuration."""


class MemoryAdapter(AdapterBase):
    """See `ports.ProtocolAdapter`."""

    protocol = "memory"
    remotes: ClassVar[dict[str, MemoryRemote]] = {}

    def __init__(self, setup: AdapterSetup) -> None:
        assert setup.endpoint is not None
        assert setup.endpoint.address is not None
        self._setup = setup
        self._remote = self.remotes[setup.endpoint.address]
        self._broken = asyncio.Event()
        self._open = False
        self._unacked: dict[str, tuple[str, QueueMessage]] = {}
        self._holds: dict[Deliver, Hold] = {}
        self._held: dict[str, tuple[Inbound, Deliver]] = {}
        self._ids = count(1)

    def break_off(self) -> None:
        """Lose the session, because the remote has died."""
        if self._open:
            self._open = False
            self._broken.set()
            self._remote.sessions.discard(self)
            self._setup.on_lost(ConnectionLostError("the remote is gone"))

    async def connect(self) -> None:
        if not self._remote.alive:
            raise NotConnectedError("the remote is not there")
        self._open = True
        self._remote.sessions.add(self)

    async def disconnect(self) -> None:
        self._open = False
        self._broken.set()
        self._remote.sessions.discard(self)

    async def check(self) -> None:
        await self._reach()

    async def _reach(self) -> None:
        if not self._open:
            raise NotConnectedError("there is no session")
        if self._remote.frozen:
            await self._forever()

    async def _forever(self) -> None:
        await self._broken.wait()
        raise ConnectionLostError("the remote is gone")

    async def request(self, command: Request, context: Context) -> Any:
        await self._reach()
        if command.method == "sleep":
            self._remote.calls[command.method] += 1
            await self._forever()
        if command.method == "warn":
            self._setup.on_warning("memory", command.params)
            return None
        try:
            result = self._remote.answer(command.method, command.params)
        except BridgeError:
            if not command.notify:
                raise
            result = None
        await asyncio.sleep(0)
        return None if command.notify else result

    async def publish(self, command: Publish, context: Context) -> dict[str, Any]:
        await self._reach()
        for deliver in self._remote.subscribers.get(command.topic, []):
            await self._deliver(Inbound(topic=command.topic, message=command.message), deliver)
        return {}

    async def _deliver(self, inbound: Inbound, deliver: Deliver) -> None:
        hold = self._holds.get(deliver)
        if hold is not None and inbound.message_id is None:
            inbound = msgspec.structs.replace(inbound, message_id=f"held-{next(self._ids)}", attempts=1)
        if await deliver(inbound) is AckDecision.HOLD:
            assert inbound.message_id is not None
            self._held[inbound.message_id] = (inbound, deliver)

    async def subscribe(self, topic: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        await self._reach()
        self._remote.subscribers.setdefault(topic, []).append(deliver)
        if options.hold is not None:
            self._holds[deliver] = options.hold
        return Subscription(topic, deliver)

    async def unsubscribe(self, subscription: Subscription) -> None:
        await self._reach()
        self._remote.subscribers[subscription.topic].remove(subscription.handle)

    async def enqueue(self, command: Enqueue, context: Context) -> str:
        await self._reach()
        name = f"{command.queue}-{next(self._ids)}"
        taken = QueueMessage(message_id=name, message=command.message, attempts=1)
        self._remote.queues.setdefault(command.queue, deque()).append(taken)
        return taken.message_id

    async def dequeue(self, queue: str, wait: float, visibility: float | None) -> QueueMessage | None:
        await self._reach()
        waiting = self._remote.queues.setdefault(queue, deque())
        if not waiting:
            await asyncio.sleep(wait)
        if not waiting:
            return None
        taken = waiting.popleft()
        self._unacked[taken.message_id] = (queue, taken)
        return taken

    async def ack(self, message_id: str) -> None:
        await self._reach()
        if self._held.pop(message_id, None) is None:
            self._unacked.pop(message_id)

    async def nack(self, message_id: str, delay: float | None) -> None:
        await self._reach()
        if message_id in self._held:
            inbound, deliver = self._held.pop(message_id)
            attempts, most = inbound.attempts or 1, self._holds[deliver].max_deliveries
            if most is not None and attempts >= most:
                self._holds[deliver].on_dead(inbound, f"delivered {attempts} times and never acknowledged")
            else:
                await self._deliver(msgspec.structs.replace(inbound, attempts=attempts + 1), deliver)
            return
        queue, taken = self._unacked.pop(message_id)
        again = QueueMessage(message_id=message_id, message=taken.message, attempts=taken.attempts + 1)
        self._remote.queues[queue].append(again)


SPEC = AdapterSpec(
    protocol="memory",
    summary="an object in memory",
    operations=frozenset(OPERATIONS),
    auth=frozenset({"none"}),
    config=MemoryConfig,
    schemes={},
    create=MemoryAdapter,
    acknowledges=frozenset({"subscribe"}),
)


class MemoryCarrier(MemoryAdapter):
    """A session that can carry a fabric, too: `broker` is behind it."""

    protocol = "memory-carrier"
    broker: ClassVar[MemoryCluster]

    def __init__(self, setup: AdapterSetup) -> None:
        super().__init__(setup)
        self._cluster: MemorySession | None = None

    @property
    def cluster(self) -> MemorySession:
        """See `core.cluster.cluster_of`."""
        if self._cluster is None:
            raise NotConnectedError("there is no session")
        return self._cluster

    async def connect(self) -> None:
        await super().connect()
        self._cluster = self.broker.session("node")

    async def disconnect(self) -> None:
        await super().disconnect()
        if self._cluster is not None:
            self._cluster.close()

    def begin(self, command: Command, context: Context, promise: Promise) -> Coroutine[Any, Any, Any] | None:
        if isinstance(command, Export):
            return self.cluster.begin(command, context, promise)
        return super().begin(command, context, promise)


CARRIER: Final = msgspec.structs.replace(
    SPEC, protocol=MemoryCarrier.protocol, create=MemoryCarrier, carries_fabrics=True
)
