"""Sends events of this bus to the other nodes: at most once, or through the outbox into the stream."""

import hashlib
import itertools
from collections.abc import Callable, Collection
from typing import Any, Final, Protocol

import msgspec

from bridge.core.errors import BridgeError, NotConnectedError, StoppingError
from bridge.core.event_type import RESERVED
from bridge.core.filters import AnyOf, Glob
from bridge.core.log import structlog
from bridge.core.model import FABRIC, MAX_HOP, Cause, Event, Export, Operation, Outcome
from bridge.core.rate_limited import RateLimited
from bridge.core.responder import Responder
from bridge.fabric.context import FabricContext
from bridge.outbox import DeliveryConnection
from bridge.resilience import Accounting

#: Types and sources that are remembered; when more turn up, the memory starts anew.
_REMEMBERED: Final = 4096
#: Seconds between two lines of the log about events that a program repeats.
_INTERVAL: Final = 30.0

log = structlog.get_logger(__name__)


class ExportOutbox(Protocol):
    """The part of the outbox that exports use."""

    def accept(self, event: Event, operation: Operation, *, emit: str | None, receipts: bool) -> None:
        """Accept an event; see `outbox.Outbox.accept`."""
        ...


def route_of(fabric: str) -> str:
    """Return what stands as the route of the operations that send a fabric's events."""
    return f"fabric.{fabric}"


class Exporter:
    """Sends events of this bus to the other nodes of a fabric.

    An event is sent as it is, with all its headers. Nobody on the bus is answered for it. What cannot be sent is told
    as `resilience.<carrier>.failed`, with the operation `export`; in the outbox it becomes a dead letter as any other.

    Attributes:
        stopping: Whether events are refused, because the bridge is about to end.
    """

    def __init__(
        self,
        context: FabricContext,
        *,
        connection: Callable[[], DeliveryConnection | None],
        outbox: ExportOutbox,
        responder: Responder,
        joined: Callable[[], bool],
        nodes: Callable[[], Collection[str]],
        source: str,
        stop_with: str,
    ) -> None:
        """Create it.

        Args:
            context: What all parts of the fabric share.
            connection: Returns the integration that carries the fabric; None where there is none now.
            outbox: Takes the events of a fabric with `at_least_once`; it is open while such events come.
            responder: Tells failures.
            joined: Returns whether this bridge is a node now. Where it is not, what is in the outbox waits, and what is
                sent at most once is refused.
            nodes: Returns the names of all nodes that are known.
            source: The source of this bridge's own events.
            stop_with: The type of the event that stops a bridge; it stays on its bus.
        """
        self.stopping = False
        self._context = context
        self._settings = settings = context.settings
        self._connection = connection
        self._outbox = outbox
        self._responder = responder
        self._joined = joined
        self._nodes = nodes
        self._source = source
        self._stop_with = stop_with
        self._wanted = AnyOf(tuple(Glob(pattern) for pattern in settings.exports))
        self._repeated: RateLimited[str, Event] = RateLimited(
            context.clock, self._log_repeated, interval=_INTERVAL, max_keys=100
        )
        self._types: dict[str, bool] = {}
        self._senders: dict[str | None, str] = {}
        self._run = f"{context.rng.getrandbits(64):016x}"
        self._numbers = itertools.count(1)
        self._sender: _Sender | None = None

    def takes(self, event_type: str) -> bool:
        """Return whether events of this type are sent, wherever on this bus they come from."""
        taken = self._types.get(event_type)
        if taken is None:
            if len(self._types) >= _REMEMBERED:
                self._types.clear()
            reserved = event_type.partition(".")[0] in RESERVED or event_type == self._stop_with
            taken = self._types[event_type] = not reserved and self._wanted.matches(event_type)
        return taken

    def on_event(self, event: Event) -> None:
        """Send an event of the bus, if it is to be sent. Raises nothing: what fails is told on the bus."""
        if not self.takes(event.event_type) or self._is_elsewhere(event):
            return
        if event.hop >= MAX_HOP:
            self._context.bus.reject_loop(event.event_type)
        else:
            self._export(event)

    def sender(self, integration: str) -> DeliveryConnection | None:
        """Return what sends the events of the outbox; None where this is not the integration that carries the fabric.

        It sends nothing while this bridge is no node. `Outbox.wake` lets it look again.
        """
        connection = self._connection()
        if connection is None or integration != self._settings.integration:
            return None
        if self._sender is None or self._sender.connection is not connection:
            self._sender = _Sender(connection, self._joined, self._count)
        return self._sender

    def close(self) -> None:
        """Log what is counted and not yet logged."""
        self._repeated.flush()

    # --- which events

    def _is_elsewhere(self, event: Event) -> bool:
        """Return whether the other nodes have the event, as it came from them or is a last value that was sent before.

        A program may repeat what it hears without the headers. Then the source shows where the event comes from.
        """
        if event.headers is not None:
            fabrics = event.headers.get(FABRIC)
            if fabrics is not None and self._settings.name in fabrics.split(","):
                return True
            if event.is_repeated(self._source):
                return True
        node, slash, _ = (event.source or "").partition("/")
        if slash and node != self._settings.node and node in self._nodes():
            self._repeated.add(node, event)
            return True
        return False

    def _log_repeated(self, node: str, count: int, last: Event) -> None:
        log.warning(
            "not exported: a program repeats what came from another node",
            fabric=self._settings.name,
            node=node,
            source=last.source,
            event_type=last.event_type,
            count=count,
        )

    # --- sending

    def _export(self, event: Event) -> None:
        settings = self._settings
        operation = self._operation(event, b"")
        try:
            if self.stopping:
                raise StoppingError("the bridge is stopping")
            event.check()
            operation = self._operation(event, self._context.bus.write(event))
            if settings.durable:
                self._outbox.accept(event, operation, emit=None, receipts=settings.receipts)
                return
            connection = self._connection()
            if connection is None:
                raise NotConnectedError(f"integration {settings.integration!r} is being replaced")
            if not self._joined():
                raise NotConnectedError(f"this bridge is not a node of fabric {settings.name!r} now")
        except BridgeError as error:
            self._responder.failed(operation, error, 0)
            return
        connection.submit(operation, self._done)

    def _operation(self, event: Event, body: bytes) -> Operation:
        settings, durable = self._settings, self._settings.durable
        command = Export(
            subject=self._context.names.event(event.event_type, stored=durable),
            body=body,
            sender=self._sender_of(event.source),
            stored=durable,
        )
        # What is sent at most once has a key of its own, so that a second event with the same key is sent, too.
        key = event.header("idempotency_key") if durable else f"{self._run}-{next(self._numbers)}"
        return Operation(
            integration=settings.integration,
            name="export",
            command=command,
            cause=Cause(event.source, event.id, event.event_type),
            correlation_id=event.correlation_id,
            idempotency_key=key,
            headers=event.headers,
            route=route_of(settings.name),
            hop=event.hop,
            repeatable=None if durable else False,
        )

    def _sender_of(self, source: str | None) -> str:
        """Return what is unique in the fabric for a program: keys are unique only among the events of one program."""
        sender = self._senders.get(source)
        if sender is None:
            if len(self._senders) >= _REMEMBERED:
                self._senders.clear()
            digest = hashlib.blake2b(msgspec.msgpack.encode(source), digest_size=8).hexdigest()
            sender = self._senders[source] = f"{self._settings.node}.{digest}"
        return sender

    def _done(self, operation: Operation, outcome: Outcome) -> None:
        if outcome.error is None:
            self._count()
        else:
            self._responder.failed(operation, outcome.error, outcome.attempts)

    def _count(self) -> None:
        self._context.counts.exported += 1


class _Sender:
    """The integration that carries a fabric, as the outbox sees it for the fabric's events."""

    def __init__(self, connection: DeliveryConnection, joined: Callable[[], bool], on_sent: Callable[[], None]) -> None:
        self.connection = connection
        self._joined = joined
        self._on_sent = on_sent

    @property
    def accounting(self) -> Accounting:
        """See `DeliveryConnection.accounting`."""
        return self.connection.accounting

    @property
    def usable(self) -> bool:
        """See `DeliveryConnection.usable`."""
        return self._joined() and self.connection.usable

    @property
    def well(self) -> bool:
        """See `DeliveryConnection.well`."""
        return self._joined() and self.connection.well

    @property
    def capacity(self) -> int:
        """See `DeliveryConnection.capacity`."""
        return self.connection.capacity

    def may_repeat(self, operation: Operation) -> bool:
        """See `DeliveryConnection.may_repeat`."""
        return self.connection.may_repeat(operation)

    def submit(self, operation: Operation, done: Callable[[Operation, Outcome], Any]) -> None:
        """See `DeliveryConnection.submit`."""

        def ended(operation: Operation, outcome: Outcome) -> None:
            if outcome.error is None:
                self._on_sent()
            done(operation, outcome)

        self.connection.submit(operation, ended)
