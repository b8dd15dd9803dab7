"""Work with a Redis Cluster: one session with each master, and each operation at the master that has the key.

The loss of one node ends the subscriptions there, and no other: their owner subscribes again. Meanwhile operations on
its keys fail, and the table of slots is read again with back-off until there is a session with each master. The session
as a whole is lost when the last node is. Where a node answers MOVED, nothing was done: the table is read again, and the
operation goes to the right node. While a slot migrates, its old node answers ASK for the keys that have left: those
operations go to the new node, by a session of its own that sends ASKING before each command, and the table stays as it
is. An operation that needs keys on both nodes (TRYAGAIN), or for whose slot the cluster has no node now (CLUSTERDOWN),
fails as `unavailable` and may be tried again. Pub/Sub reaches all subscribers through any node; `receivers` counts
those of one node.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from bridge.adapters._common.background import Background
from bridge.adapters.redis.adapter import RedisAdapter
from bridge.adapters.redis.discovery import first_answer
from bridge.adapters.redis.errors import AskError, MovedError
from bridge.adapters.redis.names import check_channel, check_pattern, check_stream
from bridge.adapters.redis.slots import Node, SlotMap, ask_slots
from bridge.adapters.redis.streams.entries import parse_message_id
from bridge.adapters.redis.target import Target
from bridge.core.backoff import Backoff
from bridge.core.endpoint import with_port
from bridge.core.errors import BridgeError, ConnectionLostError, NotConnectedError, ProtocolError, UnavailableError
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
#: Seconds that a session with one node may take to open, and to answer a check.
_OPEN_TIMEOUT: Final = 3.0
_CHECK_TIMEOUT: Final = 5.0
#: How many nodes are remembered that a cluster has named; the specification recommends at most 1,000 of them.
_MOST_KNOWN: Final = 1_000

_T = TypeVar("_T")


class RedisClusterAdapter(AdapterBase):
    """A session with a cluster: one `RedisAdapter` for each master, which it opens. See `ports.ProtocolAdapter`."""

    protocol = "redis"

    def __init__(self, setup: AdapterSetup, seeds: Sequence[Target]) -> None:
        """Create it; `seeds` are the nodes that are asked first for the table of slots, in order."""
        self._setup = setup
        self._clock = setup.clock
        self._seeds = seeds
        self._map = SlotMap()
        self._reads = 0
        self._nodes: dict[Node, RedisAdapter] = {}
        self._importing: dict[Node, RedisAdapter] = {}
        self._missing: dict[Node, BridgeError] = {}
        self._doubtful = False
        self._repair = asyncio.Event()
        self._subscribed: dict[Subscription, RedisAdapter] = {}
        self._checked: set[RedisAdapter] = set()
        self._checks: set[asyncio.Future[None]] = set()
        self._changing = asyncio.Lock()
        self._background = Background(self._on_lost)
        self._closed = False
        self._end: BridgeError | None = None

    # --- life

    async def connect(self) -> None:
        """Read the table of slots, and open a session with each master that can be reached."""
        await self._background.open()
        await self._read_map(0)
        self._background.start(self._keep_complete())

    async def _read_map(self, known: int, first: Node | None = None) -> None:
        """Read the table of slots, unless that was done since the caller took `known` from `self._reads`.

        Args:
            known: See above.
            first: The node to ask first.

        Raises:
            BridgeError: No node tells the table, or there is no session with any of the masters.
        """
        async with self._changing:
            if self._reads > known:
                return
            self._doubtful = False
            try:
                await self._take_map(await first_answer(self._questions(first), self._clock))
            except BaseException:  # also where the caller has no time left: others need the table, too
                self._doubt_map()
                raise

    async def _take_map(self, found: SlotMap) -> None:
        self._setup.session_state["nodes"] = found.known[:_MOST_KNOWN]
        masters = dict.fromkeys(found.nodes)
        self._missing = {}
        async with asyncio.TaskGroup() as group:
            for node in masters:
                if node not in self._nodes:
                    group.create_task(self._open_master(node))
        self._map = found
        self._reads += 1
        if not self._nodes:
            failures = list(self._missing.values())
            raise next((one for one in failures if one.permanent), failures[0])
        self._warn()

    def _questions(self, first: Node | None) -> list[Callable[[], Awaitable[SlotMap]]]:
        """Return the ways to ask for the table of slots: open sessions, the configuration's nodes, those known before.

        Each time another open session comes first, since a node that is cut off from the others tells an old table.
        """
        sessions = list(self._nodes.items())
        turn = self._reads % len(sessions) if sessions else 0
        sessions = sorted(sessions[turn:] + sessions[:turn], key=lambda item: item[0] != first)
        ways: list[Callable[[], Awaitable[SlotMap]]] = [session.read_slots for _, session in sessions]
        known = [] if first is None or first in self._nodes else [first]
        targets = [*self._targets(known), *self._seeds, *self._targets(self._setup.session_state.get("nodes", ()))]
        by_name = {target.name: target for target in targets}
        return [*ways, *(partial(ask_slots, one, self._background.start, self._clock) for one in by_name.values())]

    def _targets(self, nodes: Sequence[Node]) -> list[Target]:
        targets = []
        for node in nodes:
            try:
                targets.append(self._seeds[0].at(*node))
            except ProtocolError:  # a name that can be none
                continue
        return targets

    def _warn(self) -> None:
        """Tell which masters have no session, and how many slots have no master."""
        missing = [f"{with_port(*node)}: {error.message}" for node, error in self._missing.items()]
        gone = f"no session with {len(missing)} of the cluster's masters: {'; '.join(missing[:5])}" if missing else None
        self._setup.on_warning("masters of the cluster", gone)
        uncovered = self._map.uncovered
        self._setup.on_warning(
            "slots of the cluster", f"no node serves {uncovered} of the cluster's slots" if uncovered else None
        )

    async def _open_master(self, node: Node) -> None:
        try:
            self._nodes[node] = await self._open(node)
        except BridgeError as error:
            self._missing[node] = error

    async def _importing_session(self, node: Node) -> RedisAdapter:
        """Return the session for slots that a node imports; the table may not know that node yet."""
        async with self._changing:
            if node not in self._importing:
                self._check_live()
                self._importing[node] = await self._open(node, asking=True)
            return self._importing[node]

    async def _open(self, node: Node, *, asking: bool = False) -> RedisAdapter:
        """Open a session with one node. Raises BridgeError."""
        setup = dataclasses.replace(
            self._setup,
            on_lost=lambda error: self._node_lost(node, session, error),
            on_outdated=lambda _: self._doubt_map(),
            on_subscription_ended=self._subscription_ended,
            session_state=self._setup.session_state.setdefault(f"node {with_port(*node)}", {}),
        )
        session = RedisAdapter(setup, self._seeds[0].at(*node), asking=asking)
        try:
            async with self._clock.timeout(_OPEN_TIMEOUT):
                await session.connect()
        except TimeoutError:
            await session.disconnect()
            raise NotConnectedError(f"no connection within {_OPEN_TIMEOUT:g} s") from None
        except BaseException:
            await session.disconnect()
            raise
        if self._closed:
            await session.disconnect()
            raise self._ended()
        return session

    def _sessions(self) -> tuple[RedisAdapter, ...]:
        return (*self._nodes.values(), *self._importing.values())

    def _node_lost(self, node: Node, session: RedisAdapter, error: BridgeError) -> None:
        """Go on without a node, or end the session where it was the last one."""
        if self._closed or session not in self._sessions():
            return
        for sessions in (self._nodes, self._importing):
            if sessions.get(node) is session:
                del sessions[node]
        self._background.start(session.disconnect())
        if not self._nodes:
            self._on_lost(error)
            return
        if node in self._map.nodes and node not in self._nodes:
            self._missing[node] = error
            self._warn()
        self._doubt_map()
        ended = [one for one, at in self._subscribed.items() if at is session]
        for subscription in ended:
            self._subscription_ended(subscription, error)

    def _subscription_ended(self, subscription: Subscription, error: BridgeError) -> None:
        self._subscribed.pop(subscription, None)
        if not self._closed:
            self._setup.on_subscription_ended(subscription, error)

    def _doubt_map(self) -> None:
        """Read the table of slots again soon."""
        self._doubtful = True
        self._repair.set()

    async def _keep_complete(self) -> None:
        """Read the table of slots again, with back-off, where it is doubtful or a master has no session."""
        backoff = Backoff(self._clock, self._setup.random)
        while True:
            while not (self._doubtful or self._missing):
                backoff.opened()
                self._repair.clear()
                await self._repair.wait()
            missing = self._missing.values()
            for_a_person = bool(missing) and all(error.permanent for error in missing)
            await self._clock.sleep(backoff.failed(for_a_person=for_a_person))
            try:
                await self._read_map(self._reads)
            except BridgeError as error:
                if not self._nodes:
                    self._on_lost(error)
                    return

    def _on_lost(self, error: BridgeError) -> None:
        if not self._closed:
            self._closed = True
            self._end = error
            for check in self._checks:
                if not check.done():
                    check.set_exception(error)
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

    # --- checks

    @property
    def last_heard(self) -> float | None:
        """When bytes last came from any node."""
        return max((heard for one in self._nodes.values() if (heard := one.last_heard) is not None), default=None)

    async def check(self) -> None:
        """Check the sessions with all nodes, and return when one has passed; one that fails goes on being replaced."""
        self._check_live()
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._checks.add(answered)
        for session in self._sessions():
            if session not in self._checked:
                self._checked.add(session)
                self._background.start(self._check_session(session))
        try:
            await answered
        finally:
            self._checks.discard(answered)

    async def _check_session(self, session: RedisAdapter) -> None:
        try:
            async with self._clock.timeout(_CHECK_TIMEOUT):
                await session.check()
        except TimeoutError:
            session.lose(ConnectionLostError(f"it did not answer within {_CHECK_TIMEOUT:g} s"))
        except BridgeError as error:
            session.lose(error)
        else:
            for check in self._checks:
                if not check.done():
                    check.set_result(None)
        finally:
            self._checked.discard(session)

    def _check_live(self) -> None:
        if self._closed or not self._reads:
            raise self._ended()

    def _ended(self) -> NotConnectedError:
        """Return the error for what is asked of a session that has ended."""
        return NotConnectedError("there is no session" if self._end is None else self._end.message)

    def is_idempotent(self, command: Command) -> bool:
        """Return the answer of a session with one node."""
        return any(session.is_idempotent(command) for session in self._nodes.values())

    # --- operations

    def _master(self, node: Node) -> RedisAdapter:
        """Return the session with a master. Raises NotConnectedError where there is none now."""
        session = self._nodes.get(node)
        if session is None:
            why = self._missing.get(node)
            words = "" if why is None else f": {why.message}"
            raise NotConnectedError(f"{with_port(*node)}, which has the key, is not connected{words}")
        return session

    async def _at_owner(self, key: str, call: Callable[[RedisAdapter], Awaitable[_T]]) -> _T:
        """Call at the node that has the key, and follow redirections. Raises UnavailableError after four of them."""
        asked: Node | None = None
        for _ in range(_REDIRECTS):
            self._check_live()
            known = self._reads
            node = self._map.node_of(key) if asked is None else asked
            try:
                return await call(self._master(node) if asked is None else await self._importing_session(asked))
            except AskError as error:
                host, port = error.node
                asked = (host or node[0], port)
                continue
            except MovedError as error:
                host, port = error.node
                asked = None
                await self._read_map(known, (host or node[0], port))
            except UnavailableError as error:
                if error.code == "CLUSTERDOWN":
                    self._doubt_map()
                raise
        raise UnavailableError("the key moves from node to node", maybe_sent=False)

    def begin(self, command: Command, context: Context, promise: Promise) -> Coroutine[Any, Any, Any] | None:
        """Publish at once; return a coroutine that performs another command at the node that has the key."""
        if isinstance(command, Publish):
            return self._at_any(check_channel(command.topic)).begin(command, context, promise)
        if isinstance(command, Enqueue | Dequeue):
            return self._at_node(command.queue, command, context)
        if isinstance(command, Ack | Nack):
            return self._settle(command, context)
        return super().begin(command, context, promise)

    def _at_any(self, topic: str) -> RedisAdapter:
        """Return a session for a channel: each node will do, so topics are spread by their slots."""
        self._check_live()
        try:
            return self._master(self._map.node_of(topic))
        except NotConnectedError:
            return next(iter(self._nodes.values()))

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
        check_pattern(topic, options.group)
        node = self._at_any(topic)
        return self._note(node, await node.subscribe(topic, deliver, options))

    async def consume(self, queue: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """Read a stream. When it moves to another node the subscription ends, and the next one reads on there."""
        check_stream(queue, options.group)

        async def at(node: RedisAdapter) -> Subscription:
            return self._note(node, await node.consume(queue, deliver, options))

        return await self._at_owner(queue, at)

    def _note(self, node: RedisAdapter, subscription: Subscription) -> Subscription:
        self._subscribed[subscription] = node
        return subscription

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription to a channel, or the reading of a stream."""
        self._check_live()
        node = self._subscribed.pop(subscription, None)
        if node is not None:
            await node.unsubscribe(subscription)
