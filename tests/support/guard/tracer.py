"""A tracer that records what it is asked for."""

from collections.abc import Mapping

import msgspec

from bridge.core.errors import BridgeError
from bridge.core.model import Inbound, Operation, in_trace


class RecordedSpan:
    """A span; its context is `traceparent` with its own name.

    Attributes:
        name: What it is.
        parent: The `traceparent` of the operation that it is of; None for others.
        ends: The kind of error of each end; None for one without.
    """

    def __init__(self, tracer: "RecordingTracer", name: str) -> None:
        self._tracer = tracer
        self.name = name
        self.parent: str | None = None
        self.ends: list[str | None] = []
        tracer.spans.append(self)

    @property
    def context(self) -> Mapping[str, str]:
        """See `ports.Span.context`."""
        return {"traceparent": self.name}

    def attempt(self, number: int) -> "RecordedSpan":
        """See `ports.OperationSpan.attempt`."""
        return RecordedSpan(self._tracer, f"{self.name}/{number}")

    def end(self, error: BridgeError | None = None) -> None:
        """See `ports.Span.end`."""
        self.ends.append(None if error is None else error.kind)


class RecordingTracer:
    """Implements `ports.Tracer`.

    Attributes:
        spans: All spans, in the order in which they began.
    """

    def __init__(self) -> None:
        self.spans: list[RecordedSpan] = []

    def operation(self, operation: Operation, protocol: str) -> tuple[Operation, RecordedSpan]:
        """See `ports.Tracer.operation`."""
        span = RecordedSpan(self, f"{protocol}-{operation.cause.id}")
        span.parent = (operation.headers or {}).get("traceparent")
        return _within(operation, span), span

    def given_up(self, operation: Operation, error: BridgeError, attempts: int) -> Operation:
        """See `ports.Tracer.given_up`."""
        span = RecordedSpan(self, f"given up after {attempts}, in {(operation.headers or {}).get('traceparent')}")
        span.end(error)
        return _within(operation, span)

    def message(self, integration: str, protocol: str, subscription: str, message: Inbound) -> RecordedSpan:
        """See `ports.Tracer.message`."""
        return RecordedSpan(self, f"{integration} {protocol} {subscription} {message.topic}")

    @property
    def ended(self) -> list[tuple[str, list[str | None]]]:
        """Return each span with its ends."""
        return [(span.name, span.ends) for span in self.spans]


def _within(operation: Operation, span: RecordedSpan) -> Operation:
    return msgspec.structs.replace(operation, headers=in_trace(operation.headers, span.context))
