"""Emits what the end of an operation causes: failure, dead letter, response, receipt, and a route's result."""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from bridge.core.bytes_object import with_bytes
from bridge.core.errors import BridgeError, InvalidError, ProtocolError, error_of
from bridge.core.failure_log import FailureLog
from bridge.core.model import INTERNAL_OPERATIONS, Operation, Outcome, forwarded_headers
from bridge.core.payloads import DeadLetter, Failed, Failure, Receipt, ReceiptOutcome, Success
from bridge.core.ports import Clock, Publisher


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """A response and a receipt, encoded, so that they can be emitted again whenever the idempotency key comes again.

    Attributes:
        outcome: The outcome that the receipt's type names.
        response: The response's payload, as the bus had it.
        receipt: The receipt's payload; None where none was asked for.
        correlation_id: That of the event that was accepted first.
    """

    outcome: ReceiptOutcome
    response: bytes
    receipt: bytes | None
    correlation_id: str | None


def outcome_of(answer: Answer) -> Outcome:
    """Return the outcome that was encoded as this answer, without the history of its attempts."""
    response = _decode_response(answer.response)
    if isinstance(response, Failure):
        error = error_of(response.error)
        return Outcome(error=error, attempts=response.attempts, duration_ms=response.duration_ms)
    result = with_bytes(response.result, "result")
    return Outcome(result=result, attempts=response.attempts, duration_ms=response.duration_ms)


def _decode_response(encoded: bytes) -> Success | Failure:
    if msgspec.msgpack.decode(encoded, type=_Ok).ok:
        return msgspec.msgpack.decode(encoded, type=Success)
    return msgspec.msgpack.decode(encoded, type=Failure)


class _Ok(msgspec.Struct, frozen=True):
    """The key that tells whether a response is that of a success."""

    ok: bool


class ResultBus(Publisher, Protocol):
    """The part of the bus that answers use."""

    def encode(self, payload: Any) -> bytes:
        """Return a payload as `publish` encodes it.

        Raises:
            InvalidError: The bus cannot carry it; the message names the place in it.
        """
        ...

    def keep_last(
        self,
        event_type: str,
        payload: Any,
        *,
        owner: Hashable,
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Publish one event, and publish it again for later subscribers; see `bus.Bus.keep_last`."""
        ...


def kept_by(route: str) -> Hashable:
    """Return the owner of the last values that a route's `emit` keeps."""
    return ("route", route)


class Responder:
    """Answers all who asked for an operation, whether it went through the outbox or not.

    Nobody on the bus has asked for an operation that only the bridge itself asks for (`INTERNAL_OPERATIONS`): it has no
    response, whatever its cause's correlation id. All else is emitted for it, too.

    No method raises: what the bus cannot carry becomes a `protocol` error of that operation, or is reported by the bus
    (`resilience.bus.rejected`).

    Attributes:
        keeping: The routes whose `emit` is kept for later subscribers; replaced when the configuration is reloaded.
    """

    def __init__(self, bus: ResultBus, *, most: int, clock: Clock) -> None:
        """Create it.

        Args:
            bus: Where events are emitted.
            most: Bytes that a payload may have at most, so that the bus carries it with any event type and headers.
            clock: Limits how often failures are logged.
        """
        self._bus = bus
        self._log = FailureLog(clock)
        self.most = most
        self.keeping: Collection[str] = ()

    def close(self) -> None:
        """Log the failures that are counted and not yet logged."""
        self._log.close()

    def finish(
        self,
        operation: Operation,
        outcome: Outcome,
        askers: Iterable[str],
        *,
        answer: Answer | None = None,
        letter: DeadLetter | None = None,
        emit: Callable[[], str] | None = None,
    ) -> None:
        """Emit failure, dead letter, response, receipt and result of an operation, where they apply, in this order.

        Args:
            operation: The operation.
            outcome: How it ended; an error is emitted as `resilience.<id>.failed` before all else.
            askers: Correlation ids of the responses.
            answer: What `answer` returned for this outcome, where it is remembered or has a receipt.
            letter: The dead letter that the operation became.
            emit: Returns the type of the event that carries the result of a route; may raise InvalidError.
        """
        if letter is not None:
            self._log.dead_letter(operation, letter)
        elif outcome.error is not None:
            self._log.failed(operation, outcome.error, outcome.attempts)
        if outcome.error is not None:
            self._failed(operation, outcome.error, outcome.attempts)
        if letter is not None:
            self._dead_letter(operation, letter)
        if answer is not None:
            self._respond(operation, msgspec.Raw(answer.response), askers)
            self._receipt(operation, answer, [operation.correlation_id])
        else:
            self._respond_or_report(operation, outcome, askers)
        if emit is not None and outcome.error is None:
            self._emit(operation, outcome, emit)

    def answer(
        self, operation: Operation, outcome: Outcome, *, receipt: bool, final: ReceiptOutcome | None = None
    ) -> Answer:
        """Encode and return response and receipt; a result that does not fit on the bus becomes an error.

        Args:
            operation: The operation.
            outcome: How it ended.
            receipt: Whether a receipt was asked for.
            final: The outcome that the receipt names, where it does not follow from `outcome`.
        """
        try:
            response = self._bus.encode(_response(operation, outcome))
            misfit = "" if len(response) <= self.most else f"{len(response)} bytes"
        except InvalidError as error:
            misfit = error.message
        if misfit:
            response = msgspec.msgpack.encode(_unfit(operation, outcome, misfit))
        encoded = msgspec.msgpack.encode(_receipt(operation, outcome.attempts)) if receipt else None
        return Answer(final or _final(outcome), response, encoded, operation.correlation_id)

    def fits(self, result: Any) -> bool:
        """Return whether a response can have this result, whatever its size. May be called from any thread."""
        try:
            self._bus.encode(Success(True, result, 1, 0.0))
        except InvalidError:
            return False
        return True

    def repeat(self, operation: Operation, answer: Answer) -> None:
        """Emit the answer to an idempotency key again; the receipt also to the first who asked.

        Args:
            operation: The repeated operation.
            answer: The answer to the first one.
        """
        asker = operation.correlation_id
        self._respond(operation, msgspec.Raw(answer.response), [] if asker is None else [asker])
        self._receipt(operation, answer, dict.fromkeys((answer.correlation_id, asker)))

    def failed(self, operation: Operation, error: BridgeError, attempts: int) -> None:
        """Log and emit that an operation has failed after so many attempts."""
        self._log.failed(operation, error, attempts)
        self._failed(operation, error, attempts)

    def _failed(self, operation: Operation, error: BridgeError, attempts: int) -> None:
        payload = Failed(
            integration=operation.integration,
            operation=operation.name,
            cause=operation.cause,
            attempts=attempts,
            error=error.to_wire(),
        )
        self._publish(f"resilience.{operation.integration}.failed", payload, operation, operation.correlation_id)

    # --- one event each

    def _respond_or_report(self, operation: Operation, outcome: Outcome, askers: Iterable[str]) -> None:
        if operation.name in INTERNAL_OPERATIONS:
            return
        event_type = f"response.{operation.cause.event_type}"
        headers: Mapping[str, str] | None = None
        payload: Success | Failure | None = None
        for asker in askers:
            if payload is None or headers is None:
                payload, headers = _response(operation, outcome), forwarded_headers(operation.headers, operation.hop)
            try:
                self._bus.publish(event_type, payload, correlation_id=asker, headers=headers)
            except InvalidError as error:
                self._publish(event_type, _unfit(operation, outcome, error.message), operation, asker)

    def _respond(self, operation: Operation, payload: Any, askers: Iterable[str]) -> None:
        if operation.name in INTERNAL_OPERATIONS:
            return
        for asker in askers:
            self._publish(f"response.{operation.cause.event_type}", payload, operation, asker)

    def _receipt(self, operation: Operation, answer: Answer, askers: Iterable[str | None]) -> None:
        if answer.receipt is not None:
            for asker in askers:
                name = f"receipt.{operation.integration}.{answer.outcome}"
                self._publish(name, msgspec.Raw(answer.receipt), operation, asker)

    def _dead_letter(self, operation: Operation, letter: DeadLetter) -> None:
        event_type = f"resilience.{operation.integration}.dead_letter"
        headers = forwarded_headers(operation.headers, operation.hop)
        try:
            self._bus.publish(event_type, letter, correlation_id=operation.correlation_id, headers=headers)
        except InvalidError:  # too large with all of it; `bridge.dead_letters` has the rest
            event = msgspec.structs.replace(letter.event, payload=None)
            shorter = msgspec.structs.replace(letter, event=event, history=(), cut=True)
            self._publish(event_type, shorter, operation, operation.correlation_id)

    def _emit(self, operation: Operation, outcome: Outcome, emit: Callable[[], str]) -> None:
        headers, asker = forwarded_headers(operation.headers, operation.hop), operation.correlation_id
        try:
            if operation.route in self.keeping:
                owner = kept_by(operation.route or "")
                self._bus.keep_last(emit(), outcome.result, owner=owner, correlation_id=asker, headers=headers)
            else:
                self._bus.publish(emit(), outcome.result, correlation_id=asker, headers=headers)
        except InvalidError as error:
            self.failed(operation, error, outcome.attempts)

    def _publish(self, event_type: str, payload: Any, operation: Operation, correlation_id: str | None) -> None:
        """Publish an event that nothing can replace: long names in it may leave no room even for an error."""
        headers = forwarded_headers(operation.headers, operation.hop)
        self._bus.publish_or_report(event_type, payload, correlation_id=correlation_id, headers=headers)


def _response(operation: Operation, outcome: Outcome) -> Success | Failure:
    duration_ms = round(outcome.duration_ms, 3)
    route = msgspec.UNSET if operation.route is None else operation.route
    if outcome.error is None:
        return Success(True, outcome.result, outcome.attempts, duration_ms, route)
    return Failure(False, outcome.error.to_wire(), outcome.attempts, duration_ms, route)


def _unfit(operation: Operation, outcome: Outcome, why: str) -> Success | Failure:
    """Return the response in place of one that the bus cannot carry."""
    error = ProtocolError(f"the answer does not fit on the bus: {why}")
    return _response(operation, msgspec.structs.replace(outcome, result=None, error=error))


def _receipt(operation: Operation, attempts: int) -> Receipt:
    return Receipt(
        integration=operation.integration,
        operation=operation.name,
        idempotency_key=operation.idempotency_key,
        cause=operation.cause,
        attempts=attempts,
    )


def _final(outcome: Outcome) -> ReceiptOutcome:
    """Return the outcome of a receipt: a failure is `dead_lettered`, also where no dead letter is stored."""
    if outcome.error is None:
        return ReceiptOutcome.DELIVERED
    return ReceiptOutcome.EXPIRED if outcome.error.kind == "deadline" else ReceiptOutcome.DEAD_LETTERED
