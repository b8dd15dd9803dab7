"""Turn a message that an adapter delivers into events on the bus."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from msgspec import UNSET

from bridge.connection.duplicates import Duplicates
from bridge.core.errors import BridgeError, InvalidError
from bridge.core.model import MAX_HOP, TRACE_CONTEXT, Inbound, parse_hop, trace_of
from bridge.core.payloads import Message
from bridge.core.ports import AckDecision

Emit = str | Callable[[Inbound], str]
"""An event type, or a function that returns one for a message and may raise InvalidError."""

_FIRST_CROSSING: Final = {"hop": "1"}


class MessageSink(Protocol):
    """The part of the bus that messages from outside use."""

    def offer(self, event_type: str, payload: Any, *, headers: Mapping[str, str]) -> bool:
        """Put one event on the bus and return True; return False, with nothing done, where it has no room now.

        Raises:
            InvalidError: The event cannot be carried, now or later.
        """
        ...

    async def room(self) -> None:
        """Return when `offer` may succeed again; on a closed bus that may be never."""
        ...

    def reject_loop(self, event_type: str) -> None:
        """Count and report an event that crossed the bridge too often."""
        ...


class Delivery:
    """Put the messages of one subscription at the remote on the bus; implements `ports.Deliver`.

    Attributes:
        emits: One event of a message for each; changed while messages come.
        held: Whether the application acknowledges.
        messages: How many have come.
    """

    def __init__(
        self,
        number: int,
        *,
        sink: MessageSink,
        duplicates: Duplicates,
        on_bad: Callable[[BridgeError, Inbound], None],
    ) -> None:
        """Deliver nothing yet.

        Args:
            number: Of the subscription, in `duplicates`.
            sink: The bus.
            duplicates: The messages that were delivered before.
            on_bad: Called with a message that no event can be made of, and why.
        """
        self.emits: tuple[Emit, ...] = ()
        self.held = False
        self.messages = 0
        self._number = number
        self._sink = sink
        self._duplicates = duplicates
        self._on_bad = on_bad

    def __call__(self, message: Inbound) -> Awaitable[AckDecision]:
        """Put a message on the bus: at once where there is room, else as soon as there is."""
        self.messages += 1
        if self._duplicates.has(self._number, message, held=self.held):
            return AckDecision.ACK
        published = False
        emits = self.emits
        for done, emit in enumerate(emits):
            outcome = self._publish(emit, message)
            if outcome is None:
                return self._wait(message, emits[done:], published=published)
            published = published or outcome
        return self._decision(message, published=published)

    def forgetting(self, on_dead: Callable[[Inbound, str], None]) -> Callable[[Inbound, str], None]:
        """Return `on_dead`, after which the message is forgotten: a later one with its id is no duplicate."""

        def forget(message: Inbound, why: str) -> None:
            self._duplicates.forget(self._number, message)
            on_dead(message, why)

        return forget

    async def _wait(self, message: Inbound, emits: tuple[Emit, ...], *, published: bool) -> AckDecision:
        for emit in emits:
            while (outcome := self._publish(emit, message)) is None:
                await self._sink.room()
            published = published or outcome
        return self._decision(message, published=published)

    def _decision(self, message: Inbound, *, published: bool) -> AckDecision:
        if not published:
            return AckDecision.ACK
        self._duplicates.note(self._number, message)
        return AckDecision.HOLD if self.held and message.message_id is not None else AckDecision.ACK

    def _publish(self, emit: Emit, message: Inbound) -> bool | None:
        """Return whether an event was made of the message; None where the bus has no room."""
        headers: Mapping[str, str] = _FIRST_CROSSING
        trace: Mapping[str, str] | None = None
        if message.headers:
            hop = message.headers.get("hop")
            trace = trace_of(message.headers)
            if hop is not None or trace is not None:
                crossed = parse_hop(hop) + 1
                headers = {"hop": str(crossed), **(trace or {})}
                if crossed > MAX_HOP:
                    self._sink.reject_loop(emit if isinstance(emit, str) else "a message from outside")
                    return False
        payload = payload_of(message, None if trace is None else _without_trace(message.headers))
        try:
            event_type = emit if isinstance(emit, str) else emit(message)
            return True if self._sink.offer(event_type, payload, headers=headers) else None
        except InvalidError as error:
            self._on_bad(error, message)
            return False


def payload_of(message: Inbound, headers: dict[str, str] | None = None) -> Message:
    """Return the payload of `message.<id>` (bus contract, "Messages from outside"), if need be with other headers."""
    return Message(
        message.topic,
        message.message,
        message.headers if headers is None else headers,
        UNSET if message.message_id is None else message.message_id,
        UNSET if message.attempts is None else message.attempts,
    )


def _without_trace(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in TRACE_CONTEXT}
