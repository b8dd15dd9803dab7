"""A client of the bus: hosts or joins it, reads and publishes events, keeps last values, reports what is wrong."""

import asyncio
import contextlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import UNSET

from bridge.bus.broker.curve import CurveClient, CurveServer
from bridge.bus.broker.forwarder import Refusals
from bridge.bus.codec import Codec
from bridge.bus.confirmations import Confirmations
from bridge.bus.gaps import MAX_SOURCES, GapDetector
from bridge.bus.last_values import LastValues
from bridge.bus.listeners import EVERY_FIRST_BYTE, EXPORTS, OBSERVES, TAKES, Listeners
from bridge.bus.loopback import Loopback
from bridge.bus.rejection import Limits, Reason, Rejected
from bridge.bus.stats import BusStats
from bridge.bus.transport import Transport, TransportEvents, ZmqTransport
from bridge.core.curve_keys import own_type_prefix
from bridge.core.errors import InvalidError
from bridge.core.event_type import MOST_ANSWERABLE
from bridge.core.model import MAX_HOP, Event
from bridge.core.payloads import BusGap, BusRejected
from bridge.core.ports import Clock
from bridge.core.rate_limited import RateLimited

# Seconds to wait for the bus at the start, and for the last event to come back from it.
_JOIN: Final = 5.0
_FAREWELL: Final = 0.5
# Refusals are reported separately for so many keys, types and reasons a second; beyond, together.
_MAX_REPORTED: Final = 64
# How many last values are kept, and their bytes, unless configured otherwise.
_LAST_VALUES: Final = 10_000
_LAST_VALUE_BYTES: Final = 16 << 20
# Own event types that are remembered as passed or dropped; when more turn up, the memory starts anew.
_MOST_OWN_TYPES: Final = 4096


class Bus:
    """One client of the bus; implements `ports.Publisher`.

    Everything happens on the event loop on which `start` was called; call no method from another thread.

    Attributes:
        stats: Counts since the start.
    """

    def __init__(
        self,
        *,
        mode: Literal["host", "connect"],
        publish: str | None,
        subscribe: str | None,
        max_message: int,
        source: str,
        clock: Clock,
        on_event: Callable[[Event], None],
        subscriptions: Sequence[str] = ("",),
        number: bool = True,
        own: Callable[[str], bool] = lambda _: False,
        listens: bool = True,
        last_values: tuple[int, int] = (_LAST_VALUES, _LAST_VALUE_BYTES),
        bytes_as: Literal["object", "bin"] = "object",
        join_timeout: float = _JOIN,
        curve: CurveServer | CurveClient | None = None,
        transport: Transport | None = None,
    ) -> None:
        """Create it; nothing is opened before `start`.

        Args:
            mode: `host` runs the broker, `connect` joins one, or an application that binds a PUB and a SUB itself.
            publish: The endpoint for publishers; None for the user's default.
            subscribe: The endpoint for subscribers; None for the user's default.
            max_message: Bytes of an event, at most.
            source: The `source` of the events that are published.
            clock: For time stamps, time limits and rate limits.
            on_event: Called with each valid event, in order. It must not raise: see `run`.
            subscriptions: Prefixes of the event types to read. Gaps are looked for only where all is read (`""`).
            number: Whether to number the events that are published, in `headers.seq`.
            own: Returns whether to pass events of the own source and this type to `on_event`, too; see `pass_own`.
            listens: Whether bridges may take this client for a listener of what it reads. With False it reads
                everything, whatever `subscriptions` says.
            last_values: How many last values are kept at most, and their bytes; those of `keep` do not count.
            bytes_as: How bytes in payloads are published: as objects with one key, `$bytes`, or as MessagePack's `bin`.
                Both are read.
            join_timeout: Seconds in which the bus must answer at the start.
            curve: Keys: a `CurveServer` to host a closed bus, a `CurveClient` to join one; None for an open bus.
            transport: How to reach the others, in place of ZeroMQ at these endpoints.

        Raises:
            BusError: An endpoint is not valid.
        """
        self._mode = mode
        self._curve = curve
        self._source = source
        self._clock = clock
        self._on_event = on_event
        self._subscriptions = tuple(subscriptions)
        self._prefixes: tuple[str | bytes, ...] = self._subscriptions
        if not listens:
            tells = (f"{self._own_type()}{OBSERVES}",) if mode == "connect" else ()
            self._prefixes = (*tells, *EVERY_FIRST_BYTE)
        self._number = number
        self._own = own
        self._own_types: dict[bytes, bool] = {}
        self._transport = transport or ZmqTransport(
            mode=mode,
            publish=publish,
            subscribe=subscribe,
            max_message=max_message,
            clock=clock,
            join_timeout=join_timeout,
            own_type=self._own_type(),
            curve=curve,
        )
        self._codec = Codec(Limits(max_message=max_message), bytes_as=bytes_as)
        self._gaps = GapDetector() if "" in self._subscriptions else None
        self._rejections = RateLimited(clock, self._report_rejected)
        self._lost = RateLimited(clock, self._report_gap)
        self._listeners = Listeners()
        self._states = LastValues(self)
        most, most_bytes = last_values
        self._last_values = LastValues(self, most=most, most_bytes=most_bytes, on_dropped=self._on_forgotten)
        self._last_id = 0
        self._seq = 0
        self._loopback = Loopback(source)
        self._own_prefix = self._loopback.prefix
        self._confirms = False  # whether any message was ever to be confirmed
        self._confirmations = Confirmations(
            clock, can_return=self._can_return, when_written=self._transport.when_written, hurry=self.hurry
        )
        self._taken: set[str] = set()
        self._watcher: Callable[[bytes, bytes], None] | None = None
        self._done: asyncio.Future[None] | None = None
        self.stats = BusStats()

    @property
    def publish_endpoint(self) -> str:
        """The endpoint for publishers; after `start` the real one."""
        return self._transport.endpoints[0]

    @property
    def subscribe_endpoint(self) -> str:
        """The endpoint for subscribers; after `start` the real one."""
        return self._transport.endpoints[1]

    @property
    def alive(self) -> bool:
        """Whether it is reading and, where it hosts the broker, the broker is forwarding."""
        reads = self._transport.receiver is not None and self._done is not None and not self._done.done()
        return reads and self._transport.alive

    @property
    def trouble(self) -> str | None:
        """Why a bus that was joined did not answer, where that is known; set when it is closed."""
        return self._transport.trouble

    async def start(self) -> None:
        """Host or join the bus. When it returns, events arrive in both directions.

        Raises:
            BusError: The bus cannot be hosted, or nobody hosts one there. Nothing is left open.
        """
        self._done = asyncio.get_running_loop().create_future()
        try:
            await self._open()
        except BaseException:
            await self._transport.close()
            raise

    async def stop(self) -> None:
        """Wait a moment until the last events have left, then close; idempotent. Ends `run`."""
        try:
            if self._transport.sender is not None:
                self._rejections.flush()
                self._lost.flush()
                with contextlib.suppress(TimeoutError):
                    async with self._clock.timeout(_FAREWELL):
                        await self._last_came_back()
        finally:
            self._confirmations.close()
            await self._transport.close()
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    async def run(self) -> None:
        """Wait until the bus is stopped; await it in a `TaskGroup`, so that a bug in `on_event` ends the process.

        Raises:
            BaseException: The exception that `on_event` raised. Nothing was read after it.
        """
        if self._done is None:
            raise RuntimeError("the bus is not started")
        await asyncio.shield(self._done)

    def publish(
        self,
        event_type: str,
        payload: Any,
        *,
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Publish one event; see `ports.Publisher.publish`.

        Raises:
            InvalidError: The event cannot be carried.
        """
        self._send(*self._encode(event_type, payload, correlation_id, headers), confirmed=False)

    def _send(self, frame: bytes, body: bytes, *, confirmed: bool, relayed: bool = False) -> None:
        """Send an event that `_encode` has made, which takes the next id and number, or one of another bus."""
        if not relayed:
            self._last_id += 1
            self._seq += 1
        sender = self._transport.sender
        if sender is not None and sender.send(frame, body):
            self.stats.published += 1
            if confirmed:
                self._confirms = True
                self._confirmations.sent(frame, body)
        else:
            self.stats.dropped += 1

    def _encode(
        self, event_type: str, payload: Any, correlation_id: str | None, headers: Mapping[str, str] | None
    ) -> tuple[bytes, bytes]:
        """Return the frames of the next event."""
        own = {"hop": "1"} if headers is None else {"hop": "1", **headers}
        if self._number:
            own["seq"] = str(self._seq + 1)
        return self._codec.encode(
            event_type,
            payload,
            event_id=self._last_id + 1,
            timestamp=self._clock.wall_ms(),
            source=self._source,
            correlation_id=correlation_id,
            headers=own,
        )

    def publish_or_report(
        self,
        event_type: str,
        payload: Any,
        *,
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Publish one event; where the bus cannot carry it, count and report that instead. Raises nothing."""
        try:
            self.publish(event_type, payload, correlation_id=correlation_id, headers=headers)
        except InvalidError as error:
            self.reject(Reason.SIZE, f"{event_type[:100]} could not be published: {error.message[:200]}")

    def encode(self, payload: Any) -> bytes:
        """Return a payload as `publish` encodes it; `msgspec.Raw` of it can be published later.

        Raises:
            InvalidError: The bus cannot carry it; the message names the place in it.
        """
        return self._codec.encode_payload(payload)

    def pass_own(self, own: Callable[[str], bool]) -> None:
        """Pass events of the own source to `on_event`, too, if `own` returns True for their type.

        The answer for a type is kept until the next call. The other own events are dropped without decoding them.
        Last values from before are not passed: else an old one would set off a new route when somebody subscribes.
        """
        self._last_values.regard_as_published(own)
        self._own = own
        self._own_types.clear()
        self._listeners.wake()

    def take(self, patterns: Iterable[str], exported: Iterable[str] = ()) -> None:
        """Tell the other bridges on the bus which patterns of event types we take, in place of those before.

        Args:
            patterns: Those of our routes.
            exported: Those that we export into fabrics.
        """
        own = self._own_type()
        taken = {f"{own}{TAKES}{pattern}" for pattern in patterns}
        taken |= {f"{own}{EXPORTS}{pattern}" for pattern in exported}
        gone, self._taken = self._taken - taken, taken
        receiver = self._transport.receiver
        if receiver is not None:
            have = set(receiver.subscriptions)
            for prefix in sorted(taken - have):
                receiver.subscribe(prefix)
            for prefix in sorted(gone):
                receiver.unsubscribe(prefix)

    def watch(self, watcher: Callable[[bytes, bytes], None] | None) -> None:
        """Call `watcher` with the two frames of each message that comes, our own too; None to end that.

        Meanwhile last values are published even if nobody reads them. It must not raise.
        """
        self._watcher = watcher

    def read(self, frame: bytes, body: bytes) -> Event | None:
        """Return the event of a message; None where it is no valid event."""
        try:
            return self._codec.decode(frame, body)
        except Rejected:
            return None

    def write(self, event: Event) -> bytes:
        """Return an event that `read` or `on_event` gave as the second frame of a message; `read` is the reverse.

        Raises:
            InvalidError: It has more than `max_message` bytes as this bus would carry it.
        """
        return self._codec.encode_event(event, source=event.source, headers=event.headers)[1]

    @property
    def max_message(self) -> int:
        """Bytes of an event, at most."""
        return self._codec.limits.max_message

    def _own_type(self) -> str:
        """Return the beginning of types that our key may subscribe to on a closed bus."""
        curve = self._curve
        return own_type_prefix(curve.pair.public) if isinstance(curve, CurveClient) else "client"

    def read_also(self, prefix: str) -> None:
        """Subscribe to event types that start with `prefix`, too. It takes effect when the broker knows of it."""
        self._prefixes += (prefix,)
        self._subscriptions += (prefix,)
        if self._transport.receiver is not None:
            self._transport.receiver.subscribe(prefix)

    def offer(
        self,
        event_type: str,
        payload: Any,
        *,
        headers: Mapping[str, str],
        keep: tuple[str, Hashable] | None = None,
        confirmed: bool = False,
    ) -> bool:
        """Publish one event that can wait where it comes from; return False where there is no room for it now.

        True means that it was passed to ZeroMQ, or will be at the end of this turn of the event loop; it is never
        dropped here. The pipe to the broker bounds how many events can be on the way.

        Args:
            event_type: Its type.
            payload: Its payload.
            headers: Its headers.
            keep: Topic and owner, where it is to be kept as the last value of its type and topic; None: it is not.
            confirmed: Whether `when_confirmed` waits for it. Should the connection to the broker be lost before, it is
                sent again.

        Raises:
            InvalidError: The event cannot be carried.
        """
        sender = self._transport.sender
        if sender is None or not sender.has_room:
            return False
        if keep is None:
            self._send(*self._encode(event_type, payload, None, headers), confirmed=confirmed)
        else:
            self._publish_last(event_type, payload, topic=keep[0], owner=keep[1], headers=headers, confirmed=confirmed)
        return True

    def when_confirmed(self, then: Callable[[], None]) -> None:
        """Call `then` once what is `confirmed` and was put on the bus until now has left for those who listen.

        A `kill -9` of this process does not lose it then, except for a subscriber that does not read. It takes some
        milliseconds. While there is no connection to the broker, and once the bus is closed, `then` is not called.
        """
        self._confirmations.when_confirmed(then)

    def relay(self, event: Event, *, source: str, headers: Mapping[str, str], confirmed: bool = False) -> bool:
        """Put an event of another bus on this one; return False where there is no room for it now.

        Type, payload, id, timestamp and correlation id stay as they are. It is no event of this bridge: it is not
        numbered, and comes back to `on_event` as the events of all other programs do.

        Args:
            event: The event, as `read` returned it.
            source: Its source here.
            headers: All its headers here.
            confirmed: See `offer`.

        Raises:
            InvalidError: This bus cannot carry it; that was counted and reported.
        """
        sender = self._transport.sender
        if sender is None or not sender.has_room:
            return False
        try:
            frame, body = self._codec.encode_event(event, source=source, headers=headers)
        except InvalidError as error:
            self.reject_relayed(event.event_type, source, error.message)
            raise
        # It is dropped where more bytes wait than may ever do.
        self._send(frame, body, confirmed=confirmed, relayed=True)
        return True

    def reject_relayed(self, event_type: str, source: str, why: str, *, overflow: bool = False) -> None:
        """Count and report an event of another bus that this one cannot carry: it is too large, or there is no room."""
        reason = Reason.OVERFLOW if overflow else Reason.SIZE
        self.reject(reason, f"{event_type[:100]} of {source[:100]} was not put on this bus: {why}")

    def listens(self, event_type: str) -> bool:
        """Return whether somebody on the bus subscribes to events of this type, or they are passed to `on_event`."""
        return self._listeners.has(event_type) or self._own(event_type)

    def has_listener(self, event_type: str, *, imported: bool = False) -> bool:
        """Return whether somebody on the bus subscribes to events of this type, or a bridge takes them.

        Args:
            event_type: The type.
            imported: Whether it is asked for an event that came over a fabric. That a bridge exports it is no use then.
        """
        return self._listeners.has(event_type, imported=imported)

    @property
    def taken_patterns(self) -> frozenset[str]:
        """The patterns of the event types that bridges on the bus take, as they tell them."""
        return self._listeners.taken_patterns

    async def listeners_changed(self) -> None:
        """Wait until `listens` may have another answer, or `look_again` is called."""
        await self._listeners.change()

    def look_again(self) -> None:
        """Let all return who wait in `listeners_changed`."""
        self._listeners.wake()

    async def room(self) -> None:
        """Wait until there is room for what was offered; never returns once the bus is closed."""
        sender = self._transport.sender
        if sender is None:
            await asyncio.get_running_loop().create_future()
        else:
            await sender.room()

    def keep(self, event_type: str, payload: Any) -> None:
        """Publish a state of the bridge, and publish it again, with a new id, for each later subscriber.

        Raises:
            InvalidError: The event cannot be carried.
        """
        self.publish(event_type, payload)
        self._states.keep(event_type, payload, owner=event_type)

    def forget(self, event_type: str) -> None:
        """Do not publish the state of this type again."""
        self._states.forget(event_type)

    def keep_last(
        self,
        event_type: str,
        payload: Any,
        *,
        owner: Hashable,
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Publish one event as the last value of its type: it is published again, with a new id, for later subscribers.

        Raises:
            InvalidError: The event cannot be carried.
        """
        self._publish_last(event_type, payload, owner=owner, correlation_id=correlation_id, headers=headers)

    def _publish_last(
        self,
        event_type: str,
        payload: Any,
        *,
        owner: Hashable,
        topic: str = "",
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        confirmed: bool = False,
    ) -> None:
        """Publish and keep an event. Where we host the bus and nobody reads it, its first subscriber gets it.

        Our broker passes an event on to a new subscriber before we know of the subscription. A program that comes in
        that moment would get the event, and its copy as well.
        """
        observed = self._listeners.observed or self._watcher is not None
        waits = self._mode == "host" and not observed and not self.listens(event_type)
        frame, body = self._encode(event_type, payload, correlation_id, headers)
        if not waits:
            self._send(frame, body, confirmed=confirmed)
        self._last_values.keep(
            event_type,
            payload,
            topic=topic,
            owner=owner,
            correlation_id=correlation_id,
            headers=headers,
            published=not waits,
        )

    def keeps_last(self, event_type: str, topic: str) -> bool:
        """Return whether there is a last value of this type and topic."""
        return self._last_values.has(event_type, topic)

    def forget_last(self, owner: Hashable) -> None:
        """Do not publish the last values of this owner again."""
        self._last_values.forget(owner)

    def reject(
        self,
        reason: Reason,
        detail: str | None = None,
        *,
        key: str | None = None,
        event_type: str | None = None,
        count: int = 1,
    ) -> None:
        """Count what was not accepted, and report it at a limited rate as `resilience.bus.rejected`.

        Args:
            reason: The reason in the report.
            detail: One line for a person, without content of a payload.
            key: The fingerprint of the sender's key; each key is reported separately.
            event_type: The type of the events; each type is reported separately.
            count: How many messages or connections it is about.
        """
        self.stats.rejected += count
        if len(self._rejections) > _MAX_REPORTED:
            key = event_type = None
        self._rejections.add((reason, key, event_type), detail, count)

    async def renew_keys(self) -> int | None:
        """Read the list of keys that may use the bus again. Return how many there are, None on an open bus.

        Raises:
            BusError: The list is not valid; the old one stays in force.
        """
        return await self._transport.renew_keys()

    def hurry(self) -> None:
        """Read the next events as soon as they come: somebody waits for what comes of the one that is handled.

        An event with a correlation id does so by itself.
        """
        if self._transport.receiver is not None:
            self._transport.receiver.hurry()

    def reject_loop(self, event_type: str) -> None:
        """Count and report an event that crossed the bridge too often (bus contract, "Loop protection")."""
        self.reject(Reason.HOP, f"{event_type[:100]} has crossed {MAX_HOP} times")

    def reject_echo(self, event_type: str) -> None:
        """Count and report an event that sets nothing off, because it was repeated too often (bus contract, "Echo")."""
        detail = "the same event, with the same source, id, timestamp and payload, came more than 17 times in a second"
        self.reject(Reason.ECHO, detail, event_type=event_type)

    def reject_unanswerable(self, event_type: str) -> None:
        """Count and report an event that wants a response whose type would be too long."""
        size = len(event_type.encode())
        detail = f"{event_type[:100]}… has {size} bytes; one that wants a response has {MOST_ANSWERABLE} at most"
        self.reject(Reason.UNANSWERABLE, detail)

    # --- open and close

    async def _open(self) -> None:
        events = TransportEvents(
            on_message=self._on_message,
            on_bad=self.reject,
            on_subscription=self._on_subscription,
            on_lost=self._on_lost,
            on_refused=self._on_refused,
            on_crash=self._fail,
        )
        await self._transport.open((*self._prefixes, *sorted(self._taken)), events)
        self._listeners.ignore_own()

    async def _last_came_back(self) -> None:
        """Wait until the broker has forwarded our last event to all subscribers, of which we are one."""
        if "" in self._subscriptions:
            await self._loopback.wait_for(self._last_id)

    def _can_return(self) -> bool:
        """Whether all that was sent is with a broker that is connected."""
        sender = self._transport.sender
        return sender is not None and sender.is_connected and not sender.waiting

    def _on_lost(self) -> None:
        self._listeners.clear()
        sender = self._transport.sender
        if sender is not None:
            sender.send_again(self._confirmations.lost())

    # --- reading

    def _on_message(self, frame: bytes, body: bytes) -> bool:
        """Handle a message; return whether anything came of it, which it does of few of our own that come back."""
        if self._watcher is not None:
            self._watcher(frame, body)
        if self._confirms:
            self._confirmations.came(frame, body)
        if body.startswith(self._own_prefix):
            self._loopback.came(body)
            if not self._passes_own(frame):
                return False
        try:
            event = self._codec.decode(frame, body)
        except Rejected as rejected:
            self.reject(rejected.reason, rejected.detail)
            return True
        if event.source == self._source:
            if not self._passes_own(frame):
                return False
        else:
            if event.headers is not None:
                self._look_for_gap(event)
            if event.correlation_id is not None:
                self.hurry()
        self.stats.received += 1
        try:
            self._on_event(event)
        except BaseException as error:  # noqa: BLE001 - kept, and raised again by `run`
            self._fail(error)
        return True

    def _look_for_gap(self, event: Event) -> None:
        if self._gaps is not None and (missing := self._gaps.missing(event)):
            self.stats.gaps += 1
            self.stats.missing += missing
            source = event.source or ""
            if source in self._lost or len(self._lost) < MAX_SOURCES:
                self._lost.add(source, None, missing)

    def _passes_own(self, frame: bytes) -> bool:
        passes = self._own_types.get(frame)
        if passes is None:
            if len(self._own_types) >= _MOST_OWN_TYPES:
                self._own_types.clear()
            passes = self._own_types[frame] = self._own(frame.decode("utf-8", "replace"))
        return passes

    def _fail(self, error: BaseException) -> None:
        if self._transport.receiver is not None:
            self._transport.receiver.close()
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    def _on_subscription(self, prefix: bytes, subscribed: bool) -> None:
        if not subscribed:
            self._listeners.remove(prefix)
        else:
            self._listeners.add(prefix)
            self._states.publish_again(prefix)
            self._last_values.publish_again(prefix)

    def _on_forgotten(self, event_type: str) -> None:
        self.reject(Reason.FORGOTTEN, f"the last value of {event_type[:100]}, for which there was no room")

    # --- reports

    def _on_refused(self, refused: Refusals) -> None:
        for (reason, key, about), count in refused.items():
            self.reject(reason, about, key=key, count=count)

    def _report_rejected(self, about: tuple[Reason, str | None, str | None], count: int, detail: str | None) -> None:
        reason, key, event_type = about
        payload = BusRejected(
            reason=reason,
            count=count,
            detail=UNSET if detail is None else detail,
            key=UNSET if key is None else key,
            event_type=UNSET if event_type is None else event_type,
        )
        self.publish("resilience.bus.rejected", payload)

    def _report_gap(self, source: str, missing: int, _: None) -> None:
        self.publish("resilience.bus.gap", BusGap(source=source, missing=missing))
