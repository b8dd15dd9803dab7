"""A session with a Redis Cluster: one session with each master, and each operation at the one that has the key.

The first node that is lost ends the whole; the next session reads the map of slots anew. What the map sends to the
wrong node (MOVED) goes to the right one: nothing was done there. Of a slot on its way between two nodes the old one
has some keys still and sends calls for the others on (ASK): those go to the new one, by a session of its own that says
ASKING before each command; the map stays as it is. A call that needs keys on both sides (TRYAGAIN), or for which the
cluster has no node now (CLUSTERDOWN), is `unavailable`, to be tried again. Pub/Sub reaches everybody through any node;
`receivers` counts those at one.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Protocol, TypeVar

from bridge.adapters._common.background import Background
from bridge.adapters.redis.errors import AskError
from bridge.adapters.redis.slots import Node, SlotMap, read_slots
from bridge.adapters.redis.streams.entries import parse_message_id
from bridge.adapters.redis.target import Target
from bridge.core.endpoint import Endpoint
from bridge.core.errors import BridgeError, NotConnectedError, RejectedError, UnavailableError
from bridge.core.model import Ack, Command, Dequeue, Enqueue, Nack, Publish
from bridge.core.ports import (
    NO_OPTIONS,
    AdapterBase,
    AdapterSetup,
    Context,
    Deliver,
    Promise,
    ProtocolAdapter,
    Subscription,
    SubscriptionOptions,
    perform,
)

#: How often one call is sent on.
_REDIRECTS: Final = 4

_T = TypeVar("_T")


class NodeSession(ProtocolAdapter, Protocol):
    """A session with one node."""

    def settled(self, message_id: str, *, again_in: float | None = None) -> None:
        """Have whoever reads that stream in this session know that the application has answered."""
        ...


class MakeSession(Protocol):
    """Makes the session with one node; with `asking` it is for slots that are on their way there."""

    def __call__(self, setup: AdapterSetup, *, asking: bool = False) -> NodeSession:
        """Not yet connected."""
        ...


class RedisClusterAdapter(AdapterBase):
    """See `ports.ProtocolAdapter`."""

    protocol = "redis"

    def __init__(self, setup: AdapterSetup, seeds: Sequence[Target], make: MakeSession) -> None:
        """`seeds` are asked for the map, in order."""
        self._setup = setup
        self._seeds = seeds
        self._make = make
        self._map = SlotMap()
        self._reads = 0
        self._nodes: dict[Node, NodeSession] = {}
        self._asking: dict[Node, NodeSession] = {}
        self._changing = asyncio.Lock()
        self._background = Background(self._lose)
        self._over = False

    # --- life

    async def connect(self) -> None:
        """Read the map, and open a session with each master."""
        await self._background.open()
        await self._read_map(0)

    async def _read_map(self, known: int) -> None:
        """Read it, unless somebody has since the caller looked at reading number `known`."""
        async with self._changing:
            if self._reads > known:
                return
            found = await read_slots(self._seeds, self._background.start, self._setup.clock)
            for node in dict.fromkeys(found.nodes):
                if node not in self._nodes:
                    self._nodes[node] = await self._open(node)
            self._map = found
            self._reads += 1

    async def _ask(self, node: Node) -> NodeSession:
        """The session for slots that are on their way to a node, which may be no master of the map yet."""
        async with self._changing:
            if node not in self._asking:
                self._check_live()
                self._asking[node] = await self._open(node, asking=True)
            return self._asking[node]

    async def _open(self, node: Node, *, asking: bool = False) -> NodeSession:
        endpoint = Endpoint(address=node[0], port=node[1], tls=self._seeds[0].tls)
        setup = dataclasses.replace(self._setup, endpoint=endpoint, on_lost=self._lose)
        session = self._make(setup, asking=asking)
        try:
            await session.connect()
        except BaseException:
            await session.disconnect()
            raise
        if self._over:
            await session.disconnect()
            raise NotConnectedError("the session is closed")
        return session

    def _sessions(self) -> tuple[NodeSession, ...]:
        return (*self._nodes.values(), *self._asking.values())

    def _lose(self, error: BridgeError) -> None:
        if not self._over:
            self._over = True
            self._setup.on_lost(error)

    async def disconnect(self) -> None:
        """Close the sessions with all nodes."""
        self._over = True
        try:
            async with asyncio.TaskGroup() as group:
                for session in self._sessions():
                    group.create_task(session.disconnect())
        finally:
            await self._background.close()

    async def check(self) -> None:
        """Every node must answer."""
        self._check_live()
        for session in self._sessions():
            await session.check()

    def _check_live(self) -> None:
        if self._over or not self._reads:
            raise NotConnectedError("there is no session")

    def is_idempotent(self, command: Command) -> bool:
        """Return what one node's session says."""
        return any(session.is_idempotent(command) for session in self._nodes.values())

    # --- operations

    async def _with(self, key: str, call: Callable[[NodeSession], Awaitable[_T]]) -> _T:
        """Do it at the node that has the key; where it is another by now, there."""
        asked: Node | None = None
        for _ in range(_REDIRECTS):
            self._check_live()
            known = self._reads
            node = self._map.node_of(key) if asked is None else asked
            try:
                return await call(self._nodes[node] if asked is None else await self._ask(asked))
            except AskError as error:
                host, port = error.node
                asked = (host or node[0], port)
                continue
            except RejectedError as error:
                if error.code != "MOVED":
                    raise
            asked = None
            await self._read_map(known)
        raise UnavailableError("the key moves from node to node", maybe_sent=False)

    def begin(self, command: Command, context: Context, promise: Promise) -> Coroutine[Any, Any, Any] | None:
        """Return the coroutine that does it at the node that has the key."""
        if isinstance(command, Publish):
            return self._at_node(command.topic, command, context)
        if isinstance(command, Enqueue | Dequeue):
            return self._at_node(command.queue, command, context)
        if isinstance(command, Ack | Nack):
            return self._settle(command, context)
        return super().begin(command, context, promise)

    async def _at_node(self, key: str, command: Command, context: Context) -> Any:
        return await self._with(key, lambda node: perform(node, command, context))

    async def _settle(self, command: Ack | Nack, context: Context) -> Any:
        result = await self._at_node(parse_message_id(command.message_id).queue, command, context)
        again_in = None if isinstance(command, Ack) else (command.delay_ms or 0) / 1000
        # A stream on its way may be read by another session than the one that its answers go through.
        for session in self._sessions():
            session.settled(command.message_id, again_in=again_in)
        return result

    async def subscribe(self, topic: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """SUBSCRIBE or PSUBSCRIBE, at one node."""
        return await self._with(topic, lambda node: _remembered(node, node.subscribe(topic, deliver, options)))

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription to a channel or the reading of a stream."""
        self._check_live()
        if isinstance(subscription.handle, _At):
            await subscription.handle.node.unsubscribe(subscription.handle.subscription)

    async def consume(self, queue: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """Read a stream. When it moves to another node the session ends, and the next one reads on there."""
        return await self._with(queue, lambda node: _remembered(node, node.consume(queue, deliver, options)))


@dataclasses.dataclass(frozen=True, slots=True)
class _At:
    """A subscription, and the node that it is at."""

    node: ProtocolAdapter
    subscription: Subscription


async def _remembered(node: ProtocolAdapter, making: Awaitable[Subscription]) -> Subscription:
    made = await making
    return Subscription(made.topic, _At(node, made))
