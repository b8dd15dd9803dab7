"""Write traces by OpenTelemetry, and send them to a collector by OTLP over HTTP; needs the extra `nemo-bridge[otel]`.

A trace has a part (a span) for each message from outside, each operation, each attempt of it, and each event of the
outbox that is given up. The standard environment variables `OTEL_*` configure sampling, batches and the collector. Only
W3C Trace Context is read and written (w3.org/TR/trace-context).
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import msgspec
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.re import parse_env_headers

from bridge import __version__
from bridge.core.diagnostic import Code, Diagnostic, Location
from bridge.core.errors import BridgeError, ConfigError
from bridge.core.log import structlog
from bridge.core.model import Command, Enqueue, Inbound, Operation, Publish, Request, in_trace, trace_of
from bridge.core.ports import Clock
from bridge.core.rate_limited import RateLimited
from bridge.core.redaction import Redactor
from bridge.core.threads import in_thread

#: Characters of a text that are part of a span.
_MOST_TEXT: Final = 300
#: Spans that wait to be sent, at most, where `OTEL_BSP_MAX_QUEUE_SIZE` says nothing: OpenTelemetry's own default.
_QUEUE: Final = 2048
#: Spans of a batch by default, also OpenTelemetry's own.
_BATCH: Final = 512
#: Seconds that sending the last spans may take; and where the collector was not reached before.
_LONGEST_CLOSE: Final = 2.0
_SHORT_CLOSE: Final = 0.2
#: Seconds in which one line is logged for spans that are lost in the same way.
_INTERVAL: Final = 300.0

_NOWHERE: Final = Context()
_W3C: Final = TraceContextTextMapPropagator()

log = structlog.get_logger(__name__)

Attributes = dict[str, str | int]


def make_tracer(
    name: str, *, clock: Clock, redactor: Redactor, environ: Mapping[str, str] = os.environ
) -> "OpenTelemetryTracer | None":
    """Return a tracer; None where the environment switches traces off.

    Args:
        name: The bridge's name.
        clock: For the limits of its end and of what it logs.
        redactor: Masks secrets in what spans say; learns those of the environment.
        environ: The environment. The libraries read that of the process.

    Raises:
        ConfigError: The environment asks for what is not supported.
    """
    exporter = environ.get("OTEL_TRACES_EXPORTER", "otlp")
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        log.info("no traces, because the environment switches them off")
        return None
    if exporter != "otlp":
        raise _unusable("OTEL_TRACES_EXPORTER", f"{exporter!r} is not supported; write `otlp`, or `none` for no traces")
    for variable in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if (protocol := environ.get(variable)) is not None:
            if protocol != "http/protobuf":
                raise _unusable(variable, f"{protocol!r} is not supported, only `http/protobuf` (port 4318)")
            break
    size = environ.get("OTEL_BSP_MAX_QUEUE_SIZE", str(_QUEUE))
    if not (size.isascii() and size.isdigit() and int(size[:10]) > 0):
        raise _unusable("OTEL_BSP_MAX_QUEUE_SIZE", f"{size!r} is not a number of spans")
    redactor.learn(_secrets(environ))
    return OpenTelemetryTracer(name, queue=int(size), clock=clock, redactor=redactor)


def _secrets(environ: Mapping[str, str]) -> list[str]:
    """Return the values of the collector's headers, and the password of its URL."""
    found: list[str] = []
    for end in ("", "TRACES_"):
        headers = environ.get(f"OTEL_EXPORTER_OTLP_{end}HEADERS", "")
        for value in parse_env_headers(headers, liberal=True).values():
            found += [value, *value.split()[1:]]
        with contextlib.suppress(ValueError):  # it is no URL; the exporter will say so
            found.append(urlsplit(environ.get(f"OTEL_EXPORTER_OTLP_{end}ENDPOINT", "")).password or "")
    return found


def _unusable(variable: str, why: str) -> ConfigError:
    return ConfigError([Diagnostic(Location("environment"), variable, why, Code.INVALID_SETTINGS)])


class OpenTelemetryTracer:
    """Writes traces; implements `ports.Tracer`. They are sent in a thread; what does not fit into its queue is lost.

    Nothing waits for the collector, and nothing ends with it. What is lost is counted and logged.

    Attributes:
        lost: How many spans were not sent.
    """

    def __init__(self, name: str, *, queue: int, clock: Clock, redactor: Redactor) -> None:
        """Create it; nothing is sent before `open`.

        Args:
            name: The bridge's name.
            queue: Spans that wait to be sent, at most.
            clock: For the limits of its end and of what it logs.
            redactor: Masks secrets in what spans say.
        """
        self._clock = clock
        self._redactor = redactor
        self._queue = queue
        self._provider = TracerProvider(resource=_resource(name), shutdown_on_exit=False)
        self._tracer = self._provider.get_tracer("nemo-bridge", __version__)
        self._exporter: _Exporter | None = None
        self._failing = False
        self._reasons = _Reasons()
        self._losses: RateLimited[str, str] = RateLimited(clock, _report_loss, interval=_INTERVAL)
        self.lost = 0

    # --- life

    def open(self, exporter: SpanExporter | None = None) -> None:
        """Begin to send spans.

        Args:
            exporter: Sends them; None: by OTLP, as the environment says.

        Raises:
            ConfigError: The exporter cannot be made of what the environment says.
        """
        try:
            self._exporter = _Exporter(exporter or OTLPSpanExporter(), asyncio.get_running_loop(), self)
            self._provider.add_span_processor(_Queue(self._exporter, self._queue, self._on_full))
        except Exception as error:  # noqa: BLE001 - files, addresses and numbers of the environment; no list of them
            raise _unusable("OTEL_*", f"traces cannot be sent as the environment says: {error}") from None
        # A message with a malformed context is no fault of ours, and must not cost a line of the log.
        logging.getLogger("opentelemetry.trace").setLevel(logging.ERROR)
        logger = logging.getLogger("opentelemetry.exporter")
        logger.addHandler(self._reasons)
        logger.propagate = False  # it writes several lines for each batch that is not taken
        log.info("traces", sampler=self._provider.sampler.get_description())

    async def close(self, limit: float) -> None:
        """Send what waits, in at most two seconds, and stop. What takes longer is lost.

        Args:
            limit: Seconds that are left in all.
        """
        if self._exporter is not None:
            exporter = self._exporter
            limit = min(limit, _SHORT_CLOSE if self._failing else _LONGEST_CLOSE)
            try:
                await in_thread(self._provider.shutdown, clock=self._clock, limit=limit)
            except TimeoutError:
                self._exporter = None
                exporter.shutdown()
                self._lose(exporter.waiting, "the collector did not take them before the bridge stopped")
        self._losses.flush()

    # --- parts of traces (`ports.Tracer`)

    def operation(self, operation: Operation, protocol: str) -> tuple[Operation, "OperationSpan"]:
        """See `ports.Tracer.operation`."""
        attributes: Attributes = {**_attributes(operation), "nemo_bridge.durable": operation.durable}
        span = self._tracer.start_span(
            f"{operation.integration} {operation.name}", _parent(operation.headers), SpanKind.CONSUMER, attributes
        )
        where = self._destination(operation.command, protocol) if span.is_recording() else {}
        span.set_attributes(where)
        found = OperationSpan(self, span, operation, where)
        return msgspec.structs.replace(operation, headers=in_trace(operation.headers, found.context)), found

    def given_up(self, operation: Operation, error: BridgeError, attempts: int) -> Operation:
        """See `ports.Tracer.given_up`."""
        what = "expired" if error.kind == "deadline" else "dead letter"
        attributes: Attributes = {**_attributes(operation), "nemo_bridge.attempts": attempts}
        span = Span(
            self,
            self._tracer.start_span(
                f"{operation.integration} {what}", _parent(operation.headers), SpanKind.INTERNAL, attributes
            ),
        )
        span.end(error)
        return msgspec.structs.replace(operation, headers=in_trace(operation.headers, span.context))

    def message(self, integration: str, protocol: str, subscription: str, message: Inbound) -> "Span":
        """See `ports.Tracer.message`."""
        parent = _parent(trace_of(message.headers) if message.headers else None)
        sender = trace.get_current_span(parent).get_span_context()
        attributes: Attributes = {
            "nemo_bridge.integration": integration,
            "messaging.system": protocol,
            "messaging.operation.type": "receive",
        }
        links = [Link(sender)] if sender.is_valid else []
        span = self._tracer.start_span(f"{integration} message", parent, SpanKind.CONSUMER, attributes, links)
        if span.is_recording():
            span.set_attribute("messaging.destination.name", self.text(message.topic))
            span.set_attribute("messaging.destination.subscription.name", self.text(subscription))
            if message.message_id is not None:
                span.set_attribute("messaging.message.id", self.text(message.message_id))
        return Span(self, span)

    def attempt(self, parent: trace.Span, operation: Operation, attributes: Attributes) -> "Span":
        """Begin the span of an attempt."""
        sends = isinstance(operation.command, Publish | Enqueue)
        kind = SpanKind.PRODUCER if sends else SpanKind.CLIENT
        name = f"{operation.integration} {operation.name} attempt"
        return Span(self, self._tracer.start_span(name, trace.set_span_in_context(parent, _NOWHERE), kind, attributes))

    def _destination(self, command: Command, protocol: str) -> Attributes:
        """Return what the operation is about, by OpenTelemetry's names."""
        if isinstance(command, Request):
            method, _, _ = command.method.partition("?")  # the query of a URL is content
            return {"rpc.system": "jsonrpc" if protocol == "json-rpc" else protocol, "rpc.method": self.text(method)}
        found: Attributes = {"messaging.system": protocol}
        for name in ("topic", "queue"):
            if (place := getattr(command, name, None)) is not None:
                found["messaging.destination.name"] = self.text(place)
        if (message_id := getattr(command, "message_id", None)) is not None:
            found["messaging.message.id"] = self.text(message_id)
        return found

    def text(self, text: str) -> str:
        """Return a text as a span may have it: without secrets, short, and such that it can be encoded."""
        return _valid(self._redactor.text(text[:_MOST_TEXT]))

    # --- what is lost

    def _on_full(self) -> None:
        self._lose(1, f"more than {self._queue} spans wait to be sent")

    def exported(self, count: int, *, ok: bool, why: str) -> None:
        """Note that spans were sent, or were not and are lost."""
        if self._exporter is None:  # they are counted as lost already
            return
        if ok:
            if self._failing:
                self._losses.flush()
                log.info("traces are sent again", lost=self.lost)
            self._failing = False
        else:
            self._failing = True
            self._lose(count, f"the collector did not take them: {why}")

    @property
    def reasons(self) -> "_Reasons":
        """What the exporter's library said last."""
        return self._reasons

    def _lose(self, count: int, why: str) -> None:
        if count:
            self.lost += count
            self._losses.add(why.partition(":")[0], why[: 2 * _MOST_TEXT], count)


def _report_loss(_: str, count: int, why: str) -> None:
    log.warning("traces lost", spans=count, why=why)


class Span:
    """A part of a trace; implements `ports.Span`."""

    __slots__ = ("_context", "_span", "_tracer")

    def __init__(self, tracer: OpenTelemetryTracer, span: trace.Span) -> None:
        self._tracer = tracer
        self._span = span
        self._context: dict[str, str] = {}
        _W3C.inject(self._context, trace.set_span_in_context(span, _NOWHERE))

    @property
    def context(self) -> Mapping[str, str]:
        """See `ports.Span.context`."""
        return self._context

    def end(self, error: BridgeError | None = None) -> None:
        """See `ports.Span.end`."""
        if error is not None and self._span.is_recording():
            self._span.set_attribute("error.type", error.kind)
            self._span.set_status(Status(StatusCode.ERROR, self._tracer.text(error.message)))
        self._span.end()


class OperationSpan(Span):
    """The part of a trace that an operation is; implements `ports.OperationSpan`."""

    __slots__ = ("_attempts", "_operation", "_where")

    def __init__(self, tracer: OpenTelemetryTracer, span: trace.Span, operation: Operation, where: Attributes) -> None:
        super().__init__(tracer, span)
        self._operation = operation
        self._where = where
        self._attempts = 0

    def attempt(self, number: int) -> Span:
        """See `ports.OperationSpan.attempt`. Of what is not sampled, the attempt has the operation's place."""
        self._attempts = number
        if not self._span.is_recording():
            return self
        integration = self._operation.integration
        attributes: Attributes = {
            "nemo_bridge.integration": integration,
            "nemo_bridge.attempt": number,
            "peer.service": integration,
            **self._where,
        }
        return self._tracer.attempt(self._span, self._operation, attributes)

    def end(self, error: BridgeError | None = None) -> None:
        """See `ports.Span.end`. What goes back to the outbox without an attempt leaves no trace: it comes again."""
        if self._operation.durable and not self._attempts and error is not None and error.kind != "deadline":
            return
        self._span.set_attribute("nemo_bridge.attempts", self._attempts)
        super().end(error)


def _parent(headers: Mapping[str, str] | None) -> Context:
    """Return the place in a trace that headers name; none where they name none that is valid."""
    return _NOWHERE if headers is None else _W3C.extract(headers, _NOWHERE)


def _attributes(operation: Operation) -> Attributes:
    cause = operation.cause
    found: Attributes = {
        "nemo_bridge.integration": operation.integration,
        "nemo_bridge.operation": operation.name,
        "nemo_bridge.event.type": cause.event_type[:_MOST_TEXT],
        "nemo_bridge.event.id": str(cause.id),  # unsigned 64 bit, which OTLP has no number for
    }
    if cause.source is not None:
        found["nemo_bridge.event.source"] = _valid(cause.source[:_MOST_TEXT])
    if operation.route is not None:
        found["nemo_bridge.route"] = operation.route
    if operation.correlation_id is not None:
        found["messaging.message.conversation_id"] = _valid(operation.correlation_id[:_MOST_TEXT])
    return found


def _valid(text: str) -> str:
    """Return a text without surrogates: one of them, and the whole batch could not be encoded."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _resource(name: str) -> Resource:
    """Return who writes the traces: `OTEL_SERVICE_NAME`, or `nemo-bridge` with the bridge's name."""
    found = Resource.create()
    service = found.attributes.get("service.name")
    if not service or str(service).startswith("unknown_service"):
        own = "nemo-bridge" if name == "bridge" else f"nemo-bridge/{name}"
        found = found.merge(Resource({"service.name": own}))
    return found if "service.version" in found.attributes else found.merge(Resource({"service.version": __version__}))


class _Exporter(SpanExporter):
    """Counts the spans that another exporter sends, or does not. All but `taken` is used in the sending thread.

    Attributes:
        taken: How many were given to it.
        ended: How many spans have ended that are to be sent.
    """

    def __init__(self, inner: SpanExporter, loop: asyncio.AbstractEventLoop, tracer: OpenTelemetryTracer) -> None:
        self._inner = inner
        self._loop = loop
        self._tracer = tracer
        self.taken = 0
        self.done = 0
        self.ended = 0

    @property
    def waiting(self) -> int:
        """How many spans were not sent yet."""
        return self.ended - self.done

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans, and tell the event loop how that went."""
        self.taken += len(spans)
        reasons = self._tracer.reasons
        reasons.texts.clear()
        result = self._inner.export(spans)
        self.done += len(spans)
        with contextlib.suppress(RuntimeError):  # the loop is closed; there is no other way to know
            self._loop.call_soon_threadsafe(
                partial(self._tracer.exported, len(spans), ok=result is SpanExportResult.SUCCESS, why=reasons.summary())
            )
        return result

    def shutdown(self) -> None:
        """Give up what is being sent."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Return whether nothing waits in the exporter itself."""
        return self._inner.force_flush(timeout_millis)


class _Queue(BatchSpanProcessor):
    """The library's queue and thread, with a count of the spans for which there is no room; it has none itself."""

    def __init__(self, exporter: _Exporter, size: int, on_full: Callable[[], None]) -> None:
        batch = size if size < _BATCH else None  # the library refuses a batch that is larger than the queue
        super().__init__(exporter, max_queue_size=size, max_export_batch_size=batch)
        self._counted = exporter
        self._size = size
        self._on_full = on_full

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span that has ended."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        if self._counted.ended - self._counted.taken >= self._size:
            self._on_full()
            return
        self._counted.ended += 1
        super().on_end(span)


class _Reasons(logging.Handler):
    """Keeps what the exporter's library logs about a batch: nothing else says why it was not taken."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.texts.append(record.getMessage())

    def summary(self) -> str:
        """Return the last two lines, as the very last one may not name the cause."""
        return "; ".join(self.texts[-2:])[:_MOST_TEXT]
