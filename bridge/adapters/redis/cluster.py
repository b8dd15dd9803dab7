"""Work with a Redis Cluster: one session with each master, and each operation at the master that has the key.

The loss of one node ends the whole session; the next one reads the table of slots anew. Where a node answers MOVED,
nothing was done: the table is read again, and the operation goes to the right node. While a slot migrates, its old node
answers ASK for the keys that have left: those operations go to the new node, by a session of its own that sends ASKING
before each command, and the table stays as it is. An operation that needs keys on both nodes (TRYAGAIN), or for whose
slot the cluster has no node now (CLUSTERDOWN), fails as `unavailable` and may be tried again. Pub/Sub reaches all
subscribers through any node; `receivers` counts those of one node.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from bridge.adapters._common.background import Background
from bridge.adapters.redis.adapter import RedisAdapter
from bridge.adapters.redis.errors import AskError
from bridge.adapters.redis.slots import Node, SlotMap, read_slots
from bridge.adapters.redis.streams.entries import parse_message_id
from bridge.adapters.redis.target import Target
from bridge.core.errors import BridgeError, NotConnectedError, RejectedError, UnavailableError
from bridge.core.model import Ack, Command, Dequeue, Enqueue, Nack, Publish
from bridge.core.ports import (
    NO_OPTIONS,
    AdapterBase,
    AdapterSetup,
    Context,
    Deliver,
    Promise,
    Subscription,
    SubscriptionOptions,
    perform,
)

#: How often one call is sent on.
_REDIRECTS: Final = 4

_T = TypeVar("_T")


class RedisClusterAdapter(AdapterBase):
    """A session with a cluster: one `RedisAdapter` for each master, which it opens. See `ports.ProtocolAdapter`."""

    protocol = "redis"

    def __init__(self, setup: AdapterSetup, seeds: Sequence[Target]) -> None:
        """Create it; `seeds` are the nodes that are asked for the table of slots, in order."""
        self._setup = setup
        self._seeds = seeds
        self._map = SlotMap()
        self._reads = 0
        self._nodes: dict[Node, RedisAdapter] = {}
        self._importing: dict[Node, RedisAdapter] = {}
        self._changing = asyncio.Lock()
        self._background = Background(self._on_lost)
        self._closed = False

    # --- life

    async def connect(self) -> None:
        """Read the table of slots, and open a session with each master."""
        await self._background.open()
        await self._read_map(0)

    async def _read_map(self, known: int) -> None:
        """Read the table of slots, unless that was done since the caller took `known` from `self._reads`."""
        async with self._changing:
            if self._reads > known:
                return
            found = await read_slots(self._seeds, self._background.start, self._setup.clock)
            for node in dict.fromkeys(found.nodes):
                if node not in self._nodes:
                    self._nodes[node] = await self._open(node)
            self._map = found
            self._reads += 1

    async def _importing_session(self, node: Node) -> RedisAdapter:
        """Return the session for slots that a node imports; the table may not know that node yet."""
        async with self._changing:
            if node not in self._importing:
                self._check_live()
                self._importing[node] = await self._open(node, asking=True)
            return self._importing[node]

    async def _open(self, node: Node, *, asking: bool = False) -> RedisAdapter:
        setup = dataclasses.replace(self._setup, on_lost=self._on_lost)
        session = RedisAdapter(setup, self._seeds[0].at(*node), asking=asking)
        try:
            await session.connect()
        except BaseException:
            await session.disconnect()
            raise
        if self._closed:
            await session.disconnect()
            raise NotConnectedError("the session is closed")
        return session

    def _sessions(self) -> tuple[RedisAdapter, ...]:
        return (*self._nodes.values(), *self._importing.values())

    def _on_lost(self, error: BridgeError) -> None:
        if not self._closed:
            self._closed = True
            self._setup.on_lost(error)

    async def disconnect(self) -> None:
        """Close the sessions with all nodes."""
        self._closed = True
        try:
            async with asyncio.TaskGroup() as group:
                for session in self._sessions():
                    group.create_task(session.disconnect())
        finally:
            await self._background.close()

    async def check(self) -> None:
        """Check the session with each node."""
        self._check_live()
        for session in self._sessions():
            await session.check()

    def _check_live(self) -> None:
        if self._closed or not self._reads:
            raise NotConnectedError("there is no session")

    def is_idempotent(self, command: Command) -> bool:
        """Return the answer of a session with one node."""
        return any(session.is_idempotent(command) for session in self._nodes.values())

    # --- operations

    async def _at_owner(self, key: str, call: Callable[[RedisAdapter], Awaitable[_T]]) -> _T:
        """Call at the node that has the key, and follow redirections. Raises UnavailableError after four of them."""
        asked: Node | None = None
        for _ in range(_REDIRECTS):
            self._check_live()
            known = self._reads
            node = self._map.node_of(key) if asked is None else asked
            try:
                return await call(self._nodes[node] if asked is None else await self._importing_session(asked))
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
        """Return a coroutine that performs the command at the node that has the key."""
        if isinstance(command, Publish):
            return self._at_node(command.topic, command, context)
        if isinstance(command, Enqueue | Dequeue):
            return self._at_node(command.queue, command, context)
        if isinstance(command, Ack | Nack):
            return self._settle(command, context)
        return super().begin(command, context, promise)

    async def _at_node(self, key: str, command: Command, context: Context) -> Any:
        return await self._at_owner(key, lambda node: perform(node, command, context))

    async def _settle(self, command: Ack | Nack, context: Context) -> Any:
        result = await self._at_node(parse_message_id(command.message_id).queue, command, context)
        again_in = None if isinstance(command, Ack) else (command.delay_ms or 0) / 1000
        # A stream on its way may be read by another session than the one that its answers go through.
        for session in self._sessions():
            session.settled(command.message_id, again_in=again_in)
        return result

    async def subscribe(self, topic: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """Subscribe at one node, by SUBSCRIBE or PSUBSCRIBE."""
        return await self._at_owner(topic, lambda node: _subscribed_at(node, node.subscribe(topic, deliver, options)))

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription to a channel, or the reading of a stream."""
        self._check_live()
        if isinstance(subscription.handle, _NodeSubscription):
            await subscription.handle.node.unsubscribe(subscription.handle.subscription)

    async def consume(self, queue: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """Read a stream. When it moves to another node the session ends, and the next session reads on there."""
        return await self._at_owner(queue, lambda node: _subscribed_at(node, node.consume(queue, deliver, options)))


@dataclasses.dataclass(frozen=True, slots=True)
class _NodeSubscription:
    """A subscription, and the session of the node that has it."""

    node: RedisAdapter
    subscription: Subscription


async def _subscribed_at(node: RedisAdapter, making: Awaitable[Subscription]) -> Subscription:
    made = await making
    return Subscription(made.topic, _NodeSubscription(node, made))
