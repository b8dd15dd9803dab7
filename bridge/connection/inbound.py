"""Turn a message that an adapter delivers into events on the bus."""

import contextlib
import enum
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, Final, Protocol

import msgspec
from msgspec import UNSET

from bridge.connection.duplicates import KEY, Duplicates
from bridge.core.errors import BridgeError, InvalidError
from bridge.core.fabric import Lease
from bridge.core.model import MAX_HOP, Inbound, in_trace, parse_hop, trace_of, without_trace
from bridge.core.payloads import Message
from bridge.core.ports import AckDecision, Clock, Span

Emit = str | Callable[[Inbound], str]
"""An event type, or a function that returns one for a message and may raise InvalidError."""

_FIRST_CROSSING: Final = {"hop": "1"}


class MessageSink(Protocol):
    """The part of the bus that messages from outside use."""

    def offer(
        self,
        event_type: str,
        payload: Any,
        *,
        headers: Mapping[str, str],
        keep: tuple[str, Hashable] | None = None,
        confirmed: bool = False,
    ) -> bool:
        """Put one event on the bus and return True; return False, with nothing done, where it has no room now.

        With `keep`, its topic and owner, it is kept as the last value of its type and topic for later subscribers. With
        `confirmed`, `when_confirmed` waits for it.

        Raises:
            InvalidError: The event cannot be carried, now or later.
        """
        ...

    def when_confirmed(self, then: Callable[[], None]) -> None:
        """Call `then` once all that is to be confirmed and was put on the bus has left for those who listen."""
        ...

    async def room(self) -> None:
        """Return when `offer` may succeed again; on a closed bus that may be never."""
        ...

    def listens(self, event_type: str) -> bool:
        """Return whether somebody on the bus subscribes to this type, or a route takes it."""
        ...

    async def listeners_changed(self) -> None:
        """Return when `listens` may have another answer, or `look_again` is called; that may be never."""
        ...

    def look_again(self) -> None:
        """Let all return who wait in `listeners_changed`."""
        ...

    def keeps_last(self, event_type: str, topic: str) -> bool:
        """Return whether there is a last value of this type and topic."""
        ...

    def forget_last(self, owner: Hashable) -> None:
        """Do not publish the last values of this owner again."""
        ...

    def reject_loop(self, event_type: str) -> None:
        """Count and report an event that crossed the bridge too often."""
        ...


class Emission(msgspec.Struct, frozen=True):
    """The event that is made of each message of a subscription.

    Attributes:
        emit: Its type.
        needs_listener: Whether a message waits, unacknowledged, while nobody on the bus listens to that type.
        last_value: Whether the last event of each type and topic is kept for later subscribers; None: that of each
            topic whose last value the remote itself keeps.
        lease: Decides whether this bridge or another one makes the event; None: this one does.
    """

    emit: Emit
    needs_listener: bool = False
    last_value: bool | None = None
    lease: Lease | None = None


class _Outcome(enum.Enum):
    PUBLISHED = enum.auto()
    #: No event can be made of the message.
    NOTHING = enum.auto()
    #: The bus has no room now.
    NO_ROOM = enum.auto()
    #: Nobody listens to the event's type now.
    NOBODY = enum.auto()


# Looked up for each message.
_PUBLISHED: Final = _Outcome.PUBLISHED
_NOTHING: Final = _Outcome.NOTHING


class Delivery:
    """Put the messages of one subscription at the remote on the bus; implements `ports.Deliver`.

    Attributes:
        emissions: One event of a message for each; changed while messages come. A message that waits follows that.
        held: Whether the application acknowledges.
        confirmed: Whether the adapter acknowledges, when the events are on the bus; see `AdapterSetup.when_on_bus`.
        messages: How many have come.
        unheard: The types of the events that wait because nobody on the bus listens.
    """

    def __init__(
        self,
        number: int,
        *,
        sink: MessageSink,
        duplicates: Duplicates,
        clock: Clock,
        on_bad: Callable[[BridgeError, Inbound], None],
        on_change: Callable[[], None] = lambda: None,
        trace: Callable[[Inbound], Span] | None = None,
    ) -> None:
        """Deliver nothing yet.

        Args:
            number: Of the subscription, in `duplicates`.
            sink: The bus.
            duplicates: The messages that were delivered before.
            clock: For the patience of messages.
            on_bad: Called with a message that no event can be made of, and why.
            on_change: Called when `unheard` has changed.
            trace: Begins a message's part of a trace; None where no traces are written.
        """
        self._emissions: tuple[Emission, ...] = ()
        self.held = False
        self.confirmed = False
        self.messages = 0
        self.unheard: list[str] = []
        self._number = number
        self._sink = sink
        self._duplicates = duplicates
        self._clock = clock
        self._on_bad = on_bad
        self._on_change = on_change
        self._trace = trace
        self._has_kept = False
        self._is_leased = False

    def __call__(self, message: Inbound) -> Awaitable[AckDecision]:
        """Put a message on the bus: at once where there is room and somebody listens, else as soon as there is."""
        self.messages += 1
        # Most messages have no name by which they could be known again.
        named = message.message_id is not None or message.unique is not None or KEY in message.headers
        if named and self._duplicates.has(self._number, message, held=self.held):
            return AckDecision.ACK
        span = None if self._trace is None else self._trace(message)
        published = False
        emissions = self._emissions
        if self._is_leased:  # this bridge may make the event only after it has asked
            return self._wait(message, [], span, published=False)
        for done, emission in enumerate(emissions):
            outcome = self._publish(emission, message, span, patient=message.patience > 0)
            if outcome is _PUBLISHED:
                published = True
            elif outcome is not _NOTHING:
                made = [_name(one, message) for one in emissions[:done]]
                return self._wait(message, made, span, published=published)
        if not emissions:  # the subscription is about to end; what nobody wants is not acknowledged
            return self._wait(message, [], span, published=False)
        return self._decision(message, span, published=published, named=named)

    @property
    def emissions(self) -> tuple[Emission, ...]:
        """Return the events of a message."""
        return self._emissions

    @emissions.setter
    def emissions(self, emissions: tuple[Emission, ...]) -> None:
        if emissions != self._emissions:
            self._emissions = emissions
            self._is_leased = any(emission.lease is not None for emission in emissions)
            self._sink.look_again()

    def forgetting(self, on_dead: Callable[[Inbound, str], None]) -> Callable[[Inbound, str], None]:
        """Return `on_dead`, after which the message is forgotten: a later one with its id is no duplicate."""

        def forget(message: Inbound, why: str) -> None:
            self._duplicates.forget(self._number, message)
            on_dead(message, why)

        return forget

    async def _wait(self, message: Inbound, made: list[Emit], span: Span | None, *, published: bool) -> AckDecision:
        """Make the events of a message that are not `made` yet, each as soon as it can be.

        They are known by their types, since a reload makes other functions of the same expressions. One that another
        bridge makes, or that was to be made in a term which is over, counts as made.
        """
        patient = message.patience > 0
        terms: dict[Lease, int | None] = {}
        while True:
            emission = self._next(message, made)
            if emission is None:
                if self._emissions:
                    return self._decision(message, span, published=published)
                await self._sink.listeners_changed()
                continue
            lease = emission.lease
            if lease is not None and not await self._may_emit(lease, message, terms):
                made.append(_name(emission, message))
                continue
            outcome = self._publish(emission, message, span, patient=patient)
            if outcome is _Outcome.NO_ROOM:
                await self._sink.room()
            elif outcome is _Outcome.NOBODY:
                await self._wait_for_listener(emission, message)
                patient = False
            else:
                made.append(_name(emission, message))
                published = published or outcome is _PUBLISHED
                patient = message.patience > 0

    async def _may_emit(self, lease: Lease, message: Inbound, terms: dict[Lease, int | None]) -> bool:
        """Return whether the lease is this bridge's for this message.

        It is claimed once for each message; `terms` has the term of that. After a wait it must be the same one.
        """
        if lease not in terms:
            terms[lease] = lease.term if await lease.claim(message.tick) else None
        term = terms[lease]
        return term is not None and term == lease.term

    def _next(self, message: Inbound, made: list[Emit]) -> Emission | None:
        """Return the first emission that is not among those `made`; equal ones make an event each."""
        left = made.copy()
        for emission in self._emissions:
            name = _name(emission, message)
            if name not in left:
                return emission
            left.remove(name)
        return None

    async def _wait_for_listener(self, emission: Emission, message: Inbound) -> None:
        """Wait for somebody who listens; where none is needed, no longer than the message's patience."""
        emit = emission.emit
        event_type = emit if isinstance(emit, str) else emit(message)
        if not emission.needs_listener:
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(message.patience):
                    while not self._sink.listens(event_type):
                        await self._sink.listeners_changed()
            return
        self.unheard.append(event_type)
        self._on_change()
        try:
            while emission in self._emissions and not self._sink.listens(event_type):
                await self._sink.listeners_changed()
        finally:
            self.unheard.remove(event_type)
            self._on_change()

    def _decision(self, message: Inbound, span: Span | None, *, published: bool, named: bool = True) -> AckDecision:
        if span is not None:
            span.end(None if published else InvalidError("no event was made of the message"))
        if not published:
            return AckDecision.ACK
        if named:
            self._duplicates.note(self._number, message)
        return AckDecision.HOLD if self.held and message.message_id is not None else AckDecision.ACK

    def _publish(self, emission: Emission, message: Inbound, span: Span | None, *, patient: bool) -> _Outcome:
        headers: Mapping[str, str] = _FIRST_CROSSING
        trace: Mapping[str, str] | None = None
        emit = emission.emit
        if message.headers:
            hop = message.headers.get("hop")
            trace = trace_of(message.headers)
            if hop is not None or trace is not None:
                crossed = parse_hop(hop) + 1
                headers = {"hop": str(crossed), **(trace or {})}
                if crossed > MAX_HOP:
                    self._sink.reject_loop(emit if isinstance(emit, str) else "a message from outside")
                    return _Outcome.NOTHING
        if span is not None:
            headers = in_trace(headers, span.context)
        try:
            event_type = emit if isinstance(emit, str) else emit(message)
            needs_listener = emission.needs_listener and not message.at_most_once
            if (needs_listener or patient) and not self._sink.listens(event_type):
                return _Outcome.NOBODY
            payload = payload_of(message, None if trace is None else without_trace(message.headers))
            last_value = emission.last_value
            if last_value is None and (message.retained or self._has_kept):
                last_value = self._is_last_value(event_type, message)
            keep = (message.topic, self) if last_value else None
            confirmed = self.confirmed and not message.at_most_once
            room = self._sink.offer(event_type, payload, headers=headers, keep=keep, confirmed=confirmed)
        except InvalidError as error:
            self._on_bad(error, message)
            return _Outcome.NOTHING
        return _PUBLISHED if room else _Outcome.NO_ROOM

    def _is_last_value(self, event_type: str, message: Inbound) -> bool:
        """Return whether the remote keeps this message, or one that it takes the place of: it is not marked itself."""
        self._has_kept = True
        return message.retained or self._sink.keeps_last(event_type, message.topic)


def _name(emission: Emission, message: Inbound) -> Emit:
    """Return the type of the event that an emission makes of a message, or its `emit` where that makes none."""
    if isinstance(emission.emit, str):
        return emission.emit
    try:
        return emission.emit(message)
    except InvalidError:
        return emission.emit


def payload_of(message: Inbound, headers: dict[str, str] | None = None) -> Message:
    """Return the payload of `message.<id>` (bus contract, "Messages from outside"), if need be with other headers."""
    return Message(
        message.topic,
        message.message,
        message.headers if headers is None else headers,
        UNSET if message.message_id is None else message.message_id,
        UNSET if message.attempts is None else message.attempts,
    )
