"""An OpenTelemetry collector that keeps what it gets: OTLP over HTTP, decoded with OpenTelemetry's own messages."""

import gzip
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.support.wait import until


@dataclass(frozen=True)
class ReceivedSpan:
    """A span; ids are hexadecimal, as in `traceparent`, and `parent` is empty where there is none."""

    name: str
    kind: str
    trace: str
    span: str
    parent: str
    links: tuple[str, ...]
    attributes: Mapping[str, Any]
    error: str | None
    service: str
    milliseconds: float


class OtlpReceiver(ThreadingHTTPServer):
    """Keeps what is posted to `/v1/traces`.

    Attributes:
        spans: All spans, in the order in which they came.
        requests: The headers of each request.
        status: What it answers; nothing is kept unless that is 200.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[ReceivedSpan] = []
        self.requests: list[Mapping[str, str]] = []
        self.status = 200

    @property
    def environ(self) -> dict[str, str]:
        """What a program's environment must have, so that it sends its spans here soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.server_address[1]}",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "NO_PROXY": "127.0.0.1",
        }

    def named(self, name: str) -> list[ReceivedSpan]:
        """Return the spans of a name."""
        return [span for span in tuple(self.spans) if span.name == name]

    async def wait(self, name: str, count: int = 1) -> list[ReceivedSpan]:
        """Return the spans of a name, once there are so many."""
        await until(lambda: len(self.named(name)) >= count, f"span {name!r}, {count} times")
        return self.named(name)

    async def find(self, name: str, fits: Callable[[ReceivedSpan], bool]) -> ReceivedSpan:
        """Return the first span of a name that fits, once there is one."""
        await until(lambda: any(map(fits, self.named(name))), f"the span {name!r}")
        return next(filter(fits, self.named(name)))

    def take(self, body: bytes) -> None:
        """Keep the spans of a request."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _attributes(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_span(one, service) for one in scope.spans]


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def _span(one: Any, service: str) -> ReceivedSpan:
    failed = one.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    return ReceivedSpan(
        name=one.name,
        kind=trace_pb2.Span.SpanKind.Name(one.kind).removeprefix("SPAN_KIND_").lower(),
        trace=one.trace_id.hex(),
        span=one.span_id.hex(),
        parent=one.parent_span_id.hex(),
        links=tuple(link.span_id.hex() for link in one.links),
        attributes=_attributes(one.attributes),
        error=one.status.message if failed else None,
        service=service,
        milliseconds=(one.end_time_unix_nano - one.start_time_unix_nano) / 1e6,
    )


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: OtlpReceiver

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        status = self.server.status if self.path == "/v1/traces" else 404
        if status == 200:
            self.server.take(body)
        self.server.requests.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def otlp_receiver() -> Iterator[OtlpReceiver]:
    """Run a collector on a free port, in a thread."""
    with OtlpReceiver() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
