"""Puts events of the other nodes on this bus: out of the stream, or as they come."""

import asyncio
import contextlib
import enum
import hashlib
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final

import msgspec

from bridge.core.cluster import ClusterSession, OnEnded, Received
from bridge.core.errors import BridgeError, InvalidError
from bridge.core.event_type import RESERVED
from bridge.core.filters import AnyOf, Glob
from bridge.core.log import structlog
from bridge.core.model import FABRIC, MAX_HOP, ORIGIN, REPEATED, Event
from bridge.core.payloads import FabricMissed
from bridge.fabric.context import FabricContext
from bridge.fabric.names import subject_of

#: Messages of the stream that are taken and not acknowledged, at most.
PREFETCH: Final = 1000
#: Messages of the stream that are remembered, so that one that comes again is put on the bus once.
MOST_KNOWN: Final = 50_000
#: Events that are sent at most once and wait for room on the bus, and their bytes; what has no room is dropped.
MOST_WAITING: Final = 10_000
MOST_WAITING_BYTES: Final = 16 << 20
#: Seconds between two looks at what was removed from the stream.
_LOOK: Final = 10.0
#: Seconds that the broker has to end a subscription.
_UNTIL_ENDED: Final = 1.0
#: Seconds that the end of an import waits for the acknowledgements of what is on the bus.
_UNTIL_CONFIRMED: Final = 0.5
#: Types that warnings name, and characters of a text of others in a report, at most.
_MOST_NAMED: Final = 20
_MOST_SHOWN: Final = 100
#: Headers that an event has only on the bus that it was first published on.
_OF_THEIR_BUS: Final = frozenset({"seq", REPEATED})
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

log = structlog.get_logger(__name__)


class _Typed(msgspec.Struct):
    """The part of an event that its subject does not say where the type does not fit there."""

    event_type: str


_typed: Final = msgspec.msgpack.Decoder(_Typed).decode


class _Outcome(enum.Enum):
    """What became of an event."""

    #: It is on the bus, was there before, or can never be.
    DONE = enum.auto()
    #: The bus has no room now.
    NO_ROOM = enum.auto()
    #: It waits for somebody who listens.
    UNHEARD = enum.auto()


class _Held(msgspec.Struct, eq=False):
    """An event that is to be put on the bus.

    Attributes:
        event: The event.
        source: Its source on this bus.
        headers: Its headers on this bus.
        size: Bytes of the message.
        known: What a repetition is known by; None where it comes from no stream.
        done: Gets its result when the message is done with; None until it waits, and where nobody acknowledges it.
    """

    event: Event
    source: str
    headers: dict[str, str]
    size: int
    known: bytes | None
    done: "asyncio.Future[None] | None" = None

    def finish(self) -> None:
        """Let the message be acknowledged."""
        if self.done is not None and not self.done.done():
            self.done.set_result(None)


class Importer:
    """Puts events of the other nodes on this bus.

    What comes out of the stream is acknowledged when it has left for those who listen, so that a `kill -9` of this
    bridge does not lose it. While nobody listens it waits, and with it all later events of its type; other types go on,
    as long as not more than `PREFETCH` events wait in all. What is sent at most once waits only for room.

    What was put on the bus is remembered as long as this object lives, over all sessions.
    """

    def __init__(self, context: FabricContext, *, listens: Callable[[str], bool], stop_with: str) -> None:
        """Create it.

        Args:
            context: What all parts of the fabric share.
            listens: Returns whether a program on the bus, a route, or an export into another fabric takes a type. The
                exports into this fabric do not count: what was imported is not exported again.
            stop_with: The type of the event that stops this bridge; it is never imported.
        """
        self._context = context
        self._listens = listens
        self._stop_with = stop_with
        self._wanted = AnyOf(tuple(Glob(pattern) for pattern in context.settings.imports))
        self._known: OrderedDict[bytes, None] = OrderedDict()
        # What waits for room, in order, and what waits for a listener, by type.
        self._queue: deque[_Held] = deque()
        self._queued_bytes = 0
        self._arrived = asyncio.Event()
        self._unheard: dict[str, deque[_Held]] = {}
        # Events on the bus whose messages are not acknowledged yet.
        self._unconfirmed = 0
        self._all_confirmed = asyncio.Event()
        self._is_ending = False
        # Sequence numbers of the stream: the last one delivered on this session, and ever, and up to which it was told
        # what this node has missed.
        self._delivered = 0
        self._position = 0
        self._told = 0

    def waiting(self) -> list[str]:
        """Return a line for each type whose events wait because nobody on the bus listens: at most 20."""
        found = [
            f"events of other nodes wait, because nobody on the bus listens to {event_type!r}"
            for event_type in self._unheard
        ]
        more = len(found) - _MOST_NAMED
        return found if more <= 0 else [*found[:_MOST_NAMED], f"events of {more} more types wait likewise"]

    async def run(self, session: ClusterSession) -> None:
        """Import on this session, until it is cancelled.

        Where the fabric is durable, the stream is there already. The consumer of this node is made where there is none.

        Raises:
            BridgeError: The broker refuses it, cannot do it now, or has ended it.
        """
        settings = self._context.settings
        if not settings.imports:
            await asyncio.get_running_loop().create_future()
        try:
            await (self._consume(session) if settings.durable else self._subscribe(session))
        finally:
            self._let_go()

    # --- reading

    async def _consume(self, session: ClusterSession) -> None:
        names = self._context.names
        ended, on_ended = _ended()
        self._delivered = 0
        self._is_ending = False
        await self._look(session)
        begun = session.consume(names.stream, names.consumer, self._on_stored, on_ended, prefetch=PREFETCH)
        end = await self._context.call(begun, "reading the stream")
        try:
            await _until(ended, self._empty_queue(), self._hear(), self._keep_looking(session, on_ended))
        finally:
            self._is_ending = True
            await self._until_confirmed()
            await self._end(end)

    async def _subscribe(self, session: ClusterSession) -> None:
        ended, on_ended = _ended()
        begun = session.subscribe(self._context.names.live, self._on_live, on_ended)
        end = await self._context.call(begun, "subscribing to events")
        try:
            await _until(ended, self._empty_queue())
        finally:
            await self._end(end)

    async def _until_confirmed(self) -> None:
        """Wait until what is on the bus is acknowledged, so that it does not come again after an orderly end."""
        if self._unconfirmed:
            self._all_confirmed.clear()
            with contextlib.suppress(TimeoutError):
                async with self._context.clock.timeout(_UNTIL_CONFIRMED):
                    await self._all_confirmed.wait()

    async def _end(self, end: Callable[[], Awaitable[None]]) -> None:
        """End a subscription; where the session has ended, it has, too."""
        with contextlib.suppress(BridgeError, TimeoutError):
            async with self._context.clock.timeout(_UNTIL_ENDED):
                await end()

    def _let_go(self) -> None:
        """Forget what waits. What comes out of the stream is not acknowledged, and comes again."""
        held = [*self._queue, *(one for some in self._unheard.values() for one in some)]
        self._queue.clear()
        self._queued_bytes = 0
        for one in held:
            if one.done is not None:
                one.done.cancel()
        if self._unheard:
            self._unheard.clear()
            self._context.changed()

    def _on_stored(self, received: Received) -> Awaitable[None] | None:
        self._delivered = max(self._delivered, received.sequence)
        self._position = self._delivered
        held = self._read(received, stored=True)
        if held is None:
            return None
        held.done = asyncio.get_running_loop().create_future()
        if self._is_ending:  # it comes again
            return held.done
        if self._queue:
            self._enqueue(held)
        else:
            outcome = self._step(held)
            if outcome is _Outcome.DONE:
                self._confirm(held)
            elif outcome is _Outcome.NO_ROOM:
                self._enqueue(held)
        return held.done

    def _on_live(self, received: Received) -> None:
        held = self._read(received, stored=False)
        if held is None or (not self._queue and self._step(held) is not _Outcome.NO_ROOM):
            return
        if len(self._queue) >= MOST_WAITING or self._queued_bytes + held.size > MOST_WAITING_BYTES:
            why = "too many wait already, because the bus has no room"
            self._context.bus.reject_relayed(held.event.event_type, held.source, why, overflow=True)
        else:
            self._enqueue(held)

    # --- which events

    def _read(self, received: Received, *, stored: bool) -> _Held | None:
        """Return the event of a message, if it is to be put on the bus; count what no bridge can have sent."""
        try:
            return self._parse(received, stored=stored)
        except ValueError as error:
            self._context.garbage(f"{error}: {received.subject[:_MOST_SHOWN]!r}, {len(received.body)} bytes")
            return None

    def _parse(self, received: Received, *, stored: bool) -> _Held | None:
        """Return the event of a message, if it is to be put on the bus.

        Raises:
            ValueError: No bridge has sent that; the message says why.
        """
        context = self._context
        found = context.names.sender_of(received.subject, stored=stored)
        if found is None:
            raise ValueError("no node can send to this subject")
        node, end = found
        if node == context.settings.node:
            return None
        event_type = end
        if end.startswith("~"):  # it does not fit into a subject
            try:
                event_type = _typed(received.body).event_type
            except _UNREADABLE:
                raise ValueError("no event") from None
        if event_type.partition(".")[0] in RESERVED:
            raise ValueError("an event that stays on its bus")
        if event_type == self._stop_with or not self._wanted.matches(event_type):
            return None
        bus = context.bus
        if len(received.body) > bus.max_message:
            bus.reject_relayed(event_type, node, f"{len(received.body)} bytes, the limit is {bus.max_message}")
            return None
        event = bus.read(event_type.encode(errors="replace"), received.body)
        if event is None:
            raise ValueError("no event, or of another type than the subject says")
        if end != subject_of(event_type):
            raise ValueError("the subject is of another event type")
        return self._held(event, node, received, stored=stored)

    def _held(self, event: Event, node: str, received: Received, *, stored: bool) -> _Held | None:
        settings, fabrics = self._context.settings, event.header(FABRIC)
        if fabrics is not None and settings.name in fabrics.split(","):
            raise ValueError("an event that was imported from this fabric before")
        try:
            event.check()
        except InvalidError:
            raise ValueError("a payload that is not valid") from None
        hop = event.hop + 1
        if hop > MAX_HOP:
            self._context.bus.reject_loop(event.event_type)
            return None
        headers = {name: text for name, text in (event.headers or {}).items() if name not in _OF_THEIR_BUS}
        headers["hop"] = str(hop)
        headers[ORIGIN] = node
        headers[FABRIC] = settings.name if fabrics is None else f"{fabrics},{settings.name}"
        known = None
        if stored:
            if not received.message_id:
                raise ValueError("a message without an id")
            headers.setdefault("idempotency_key", received.message_id)
            known = _digest(received.message_id, received.body)
        source = node if event.source is None else f"{node}/{event.source}"
        return _Held(event, source, headers, len(received.body), known)

    # --- onto the bus

    def _step(self, held: _Held) -> _Outcome:
        """Put an event on the bus where that is possible now, or add it to those that wait for a listener."""
        event_type, context = held.event.event_type, self._context
        if held.known is not None:
            if event_type in self._unheard:
                self._unheard[event_type].append(held)
                return _Outcome.UNHEARD
            if held.known in self._known:
                context.counts.duplicates += 1
                return _Outcome.DONE
            if not self._listens(event_type):
                self._unheard[event_type] = deque((held,))
                context.changed()
                return _Outcome.UNHEARD
        try:
            stored = held.known is not None
            if not context.bus.relay(held.event, source=held.source, headers=held.headers, confirmed=stored):
                return _Outcome.NO_ROOM
        except InvalidError:  # it was told
            return _Outcome.DONE
        context.counts.imported += 1
        if held.known is not None:
            self._known[held.known] = None
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        return _Outcome.DONE

    def _confirm(self, held: _Held) -> None:
        """Let a message be acknowledged once its event has left for those who listen."""
        self._unconfirmed += 1
        self._context.bus.when_confirmed(partial(self._confirmed, held))

    def _confirmed(self, held: _Held) -> None:
        self._unconfirmed -= 1
        held.finish()
        if not self._unconfirmed:
            self._all_confirmed.set()

    def _enqueue(self, held: _Held) -> None:
        self._queue.append(held)
        self._queued_bytes += held.size
        self._arrived.set()

    async def _empty_queue(self) -> None:
        """Put what waits for room on the bus, in order."""
        while True:
            while self._queue:
                outcome = self._step(self._queue[0])
                if outcome is _Outcome.NO_ROOM:
                    await self._context.bus.room()
                    continue
                held = self._queue.popleft()
                self._queued_bytes -= held.size
                if outcome is _Outcome.DONE and held.done is not None:
                    self._confirm(held)
            self._arrived.clear()
            await self._arrived.wait()

    async def _hear(self) -> None:
        """Let the events of each type go on to which somebody listens."""
        while True:
            heard = [event_type for event_type in self._unheard if self._listens(event_type)]
            for event_type in heard:
                for held in self._unheard.pop(event_type):
                    self._enqueue(held)
            if heard:
                self._context.changed()
            await self._context.bus.listeners_changed()

    # --- what was removed from the stream

    async def _keep_looking(self, session: ClusterSession, on_ended: OnEnded) -> None:
        while True:
            await self._context.clock.sleep(_LOOK)
            try:
                await self._look(session)
            except BridgeError as error:
                on_ended(error)

    async def _look(self, session: ClusterSession) -> None:
        """Make the consumer where there is none; tell what was removed from the stream before this node had it.

        Events of types that this node does not import, and its own ones, count, too: nobody knows what they were.
        """
        call, names = self._context.call, self._context.names
        subject = names.imported(self._context.settings.imports)
        made = session.consumer(names.stream, names.consumer, subject)
        consumer = await call(made, "making the consumer of this node")
        stream = await call(session.stream_state(names.stream), "looking at the stream")
        if consumer.made:  # it begins behind what is stored; where there was one before, all since then is missed
            missed = max(0, stream.last - self._position) if self._position else 0
            self._told = self._position = stream.last
        else:
            missed = max(0, stream.first - 1 - max(consumer.acknowledged, self._delivered, self._told))
            self._told = max(self._told, stream.first - 1)
        if missed:
            self._context.counts.missed += missed
            payload = FabricMissed(fabric=names.fabric, node=names.node, count=missed)
            log.warning("events of other nodes were removed before this one had them", fabric=names.fabric, most=missed)
            self._context.bus.publish_or_report(f"resilience.fabric.{names.fabric}.missed", payload)
            self._context.changed()


def _ended() -> tuple["asyncio.Future[BridgeError]", OnEnded]:
    """Return a future, and what sets it to the first error that it is called with."""
    ended: asyncio.Future[BridgeError] = asyncio.get_running_loop().create_future()

    def on_ended(error: BridgeError) -> None:
        if not ended.done():
            ended.set_result(error)

    return ended, on_ended


async def _until(ended: "asyncio.Future[BridgeError]", *work: Coroutine[Any, Any, None]) -> None:
    """Do this work until something has ended; raise why it has."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
        error = await ended
        for task in tasks:
            task.cancel()
    raise error


def _digest(message_id: str, body: bytes) -> bytes:
    """Return what tells a message from all others: the same id with another content is another message."""
    name = message_id.encode(errors="surrogatepass")
    return hashlib.blake2b(b"%d %b%b" % (len(name), name, body), digest_size=16).digest()
