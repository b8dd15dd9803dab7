"""What the outbox says on the bus: responses, receipts, dead letters."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from bridge.core.errors import BridgeError, InvalidError, ProtocolError
from bridge.core.event_type import to_event_type
from bridge.core.model import Event, Operation, Outcome, travelling
from bridge.core.ports import Publisher
from bridge.outbox.entry import Entry
from bridge.outbox.write_batch import Ending, Settlement, Verdict


class Voice(Publisher, Protocol):
    """The bus, as far as the outbox needs it."""

    def unsaid(self, event_type: str, why: str) -> None:
        """Count and report what the bus cannot carry."""
        ...


def receipt(operation: Operation, attempts: int) -> dict[str, Any]:
    """The payload of `receipt.<id>.<outcome>`."""
    return {
        "integration": operation.integration,
        "operation": operation.name,
        "idempotency_key": operation.idempotency_key,
        "cause": msgspec.structs.asdict(operation.cause),
        "attempts": attempts,
    }


def verdict_of(outcome: Outcome) -> Verdict:
    """The outcome's name where no letter is kept: what failed for good is `dead_lettered` all the same."""
    if outcome.error is None:
        return Verdict.DELIVERED
    return Verdict.EXPIRED if outcome.error.kind == "deadline" else Verdict.DEAD_LETTERED


class Speaker:
    """Says how entries ended."""

    def __init__(self, bus: Voice) -> None:
        self._bus = bus

    def _say(
        self, event_type: str, payload: Any, correlation_id: str | None, headers: Mapping[str, str] | None
    ) -> bool:
        try:
            self._bus.publish(event_type, payload, correlation_id=correlation_id, headers=headers)
        except InvalidError as error:
            self._bus.unsaid(event_type, error.message)
            return False
        return True

    def refused(self, entry: Entry, error: BridgeError) -> None:
        """It was not accepted."""
        outcome = Outcome(error=error)
        self._failed(entry, outcome)
        self._respond(entry.event, outcome.response(entry.body.route), [])

    def again(self, entry: Entry, ending: Ending) -> None:
        """Its key ended before: say the same again."""
        event, correlation_id = entry.event, entry.event.correlation_id
        self._respond(event, msgspec.Raw(ending.response), [])
        if ending.receipt is not None:
            name = f"receipt.{entry.body.integration}.{ending.verdict}"
            # Whoever waits by the first event's id is served as well as who asks now.
            for asker in dict.fromkeys((ending.correlation_id, correlation_id)):
                self._say(name, msgspec.Raw(ending.receipt), asker, travelling(event.headers, event.hop))

    def ended(self, one: Settlement) -> None:
        """It ended: say so to all who asked, and emit a route's result."""
        entry = one.entry
        event, body = entry.event, entry.body
        if one.ending is None and one.error is None and body.emit is None:
            return  # delivered, and nobody asked
        headers = travelling(event.headers, event.hop)
        if one.error is not None:
            self._failed(entry, Outcome(error=one.error, attempts=entry.progress.attempts))
        if one.death is not None:
            self._dead_letter(one, headers)
        if one.ending is not None:
            self._respond(event, msgspec.Raw(one.ending.response), one.askers)
        if one.ending is not None and one.ending.receipt is not None:
            name = f"receipt.{body.integration}.{one.verdict}"
            self._say(name, msgspec.Raw(one.ending.receipt), event.correlation_id, headers)
        if body.emit is not None and one.error is None:
            try:
                self._bus.publish(
                    to_event_type(body.emit), one.result, correlation_id=event.correlation_id, headers=headers
                )
            except InvalidError as error:
                self._failed(entry, Outcome(error=error, attempts=entry.progress.attempts))

    def _respond(self, event: Event, payload: Any, askers: list[str]) -> None:
        own = [] if event.correlation_id is None else [event.correlation_id]
        for correlation_id in dict.fromkeys([*own, *askers]):
            self._say(f"response.{event.event_type}", payload, correlation_id, travelling(event.headers, event.hop))

    def _failed(self, entry: Entry, outcome: Outcome) -> None:
        operation = entry.operation
        assert outcome.error is not None  # noqa: S101 - it is called for failures only
        payload = _head(operation) | {"attempts": outcome.attempts, "error": outcome.error.to_wire()}
        name = f"resilience.{operation.integration}.failed"
        self._say(name, payload, operation.correlation_id, travelling(operation.headers, operation.hop))

    def _dead_letter(self, one: Settlement, headers: Mapping[str, str]) -> None:
        entry, death = one.entry, one.death
        assert death is not None  # noqa: S101 - the caller looked
        name = f"resilience.{entry.body.integration}.dead_letter"
        payload = _head(entry.operation) | {
            "letter_id": str(entry.seq),
            "event": event_fields(entry.event),
            "error": death.error,
            "unknown": death.unknown,
            "attempts": death.attempts,
            "history": [msgspec.structs.asdict(attempt) for attempt in death.history],
        }
        try:
            self._bus.publish(name, payload, correlation_id=entry.event.correlation_id, headers=headers)
        except InvalidError:  # too large with all of it; `bridge.dead_letters` has the rest
            shorter = payload | {"event": event_fields(entry.event) | {"payload": None}, "history": [], "cut": True}
            self._say(name, shorter, entry.event.correlation_id, headers)


def _head(operation: Operation) -> dict[str, Any]:
    return {
        "integration": operation.integration,
        "operation": operation.name,
        "cause": msgspec.structs.asdict(operation.cause),
    }


def event_fields(event: Event) -> dict[str, Any]:
    """An event as a value within another event."""
    return {
        "id": event.id,
        "event_type": event.event_type,
        "payload": event.raw,
        "timestamp": event.timestamp,
        "source": event.source,
        "correlation_id": event.correlation_id,
        "headers": event.headers,
    }


def ending_of(entry: Entry, verdict: Verdict, outcome: Outcome, *, duration_ms: float, carries: int) -> Ending:
    """What is to be said of an entry's end, now and whenever its key comes again.

    Args:
        entry: The entry, its progress brought up to date.
        verdict: Its outcome.
        outcome: The last round's.
        duration_ms: From acceptance to the end.
        carries: Bytes of an answer that the bus carries for sure.
    """
    body, attempts = entry.body, entry.progress.attempts
    whole = msgspec.structs.replace(outcome, attempts=attempts, duration_ms=duration_ms)
    try:
        response = msgspec.msgpack.encode(whole.response(body.route))
        fault = "" if len(response) <= carries else f"{len(response)} bytes"
    except (OverflowError, TypeError, ValueError) as error:
        fault = str(error)
    if fault:
        why = ProtocolError(f"the answer does not fit on the bus: {fault}")
        whole = msgspec.structs.replace(whole, result=None, error=why)
        response = msgspec.msgpack.encode(whole.response(body.route))
    told = None
    if body.receipts and not body.replayed:
        told = msgspec.msgpack.encode(receipt(entry.operation, attempts))
    return Ending(verdict, response, told, entry.event.correlation_id)
