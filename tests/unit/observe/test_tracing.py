"""Show what is in a trace, and that a collector that is down costs nothing but its spans."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, format_span_id, format_trace_id
from structlog.testing import capture_logs

from bridge.core.errors import ConfigError, DeadlineError, NotConnectedError, RejectedError, StoppingError
from bridge.core.model import Ack, Enqueue, Inbound, Publish, Request
from bridge.core.redaction import Redactor
from bridge.observe.tracing import OpenTelemetryTracer, make_tracer
from tests.support.clock import FakeClock
from tests.support.guard.operations import operation
from tests.support.wait import until

_TRACE, _SPAN = "a" * 32, "b" * 16
_PARENT = {"traceparent": f"00-{_TRACE}-{_SPAN}-01"}


class Collector(SpanExporter):
    """Keeps spans.

    Attributes:
        spans: What it has taken.
        result: What it answers.
        gate: It answers only while this is set.
    """

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.result = SpanExportResult.SUCCESS
        self.gate = threading.Event()
        self.gate.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.gate.wait()
        if self.result is SpanExportResult.SUCCESS:
            self.spans += spans
        return self.result

    def shutdown(self) -> None:
        self.gate.set()


@asynccontextmanager
async def tracing(
    queue: int = 100, secrets: Sequence[str] = ()
) -> AsyncIterator[tuple[OpenTelemetryTracer, Collector]]:
    """Write traces to a collector; all spans are there when the context has ended."""
    tracer = OpenTelemetryTracer("bridge", queue=queue, clock=FakeClock(), redactor=Redactor(secrets))
    collector = Collector()
    tracer.open(collector)
    try:
        yield tracer, collector
    finally:
        await tracer.close(10.0)


def ids(span: ReadableSpan) -> tuple[str, str, str]:
    """Return the trace, the span and its parent as `traceparent` writes them."""
    assert span.context is not None
    parent = "" if span.parent is None else format_span_id(span.parent.span_id)
    return format_trace_id(span.context.trace_id), format_span_id(span.context.span_id), parent


def named(collector: Collector, name: str) -> ReadableSpan:
    """Return the one span of a name."""
    (found,) = [span for span in collector.spans if span.name == name]
    return found


async def test_an_operation_and_its_attempts_continue_the_trace_of_its_event():
    """The event's span is the operation's parent, and that the parent of each attempt; both pass the trace on."""
    async with tracing() as (tracer, collector):
        asked = operation(headers={**_PARENT, "baggage": "k=v", "hop": "1"}, route="r", correlation_id="c")
        traced, span = tracer.operation(asked, "json-rpc")
        first, second = span.attempt(1), span.attempt(2)
        first.end(NotConnectedError("refused"))
        second.end()
        span.end()
    whole = named(collector, "api request")
    tries = [one for one in collector.spans if one.name == "api request attempt"]
    assert ids(whole)[::2] == (_TRACE, _SPAN)
    assert [ids(one)[::2] for one in tries] == [(_TRACE, ids(whole)[1])] * 2
    assert traced.headers == {
        "traceparent": f"00-{_TRACE}-{ids(whole)[1]}-01",
        "baggage": "k=v",
        "hop": "1",
    }
    assert [dict(one.context) for one in (first, second)] == [
        {"traceparent": f"00-{_TRACE}-{ids(one)[1]}-01"} for one in tries
    ]
    assert (whole.kind, tries[0].kind) == (SpanKind.CONSUMER, SpanKind.CLIENT)
    assert whole.attributes == {
        "nemo_bridge.integration": "api",
        "nemo_bridge.operation": "request",
        "nemo_bridge.event.type": "integration.api.request",
        "nemo_bridge.event.id": "1",
        "nemo_bridge.event.source": "app",
        "nemo_bridge.route": "r",
        "nemo_bridge.durable": False,
        "nemo_bridge.attempts": 2,
        "messaging.message.conversation_id": "c",
        "rpc.system": "jsonrpc",
        "rpc.method": "m",
    }
    assert tries[0].attributes == {
        "nemo_bridge.integration": "api",
        "nemo_bridge.attempt": 1,
        "peer.service": "api",
        "rpc.system": "jsonrpc",
        "rpc.method": "m",
        "error.type": "not_connected",
    }
    assert (tries[0].status.description, whole.status.is_unset) == ("refused", True)
    assert whole.resource.attributes["service.name"] == "nemo-bridge"


@pytest.mark.parametrize(
    ("command", "protocol", "kind", "attributes"),
    [
        (Publish(topic="t", message=1), "mqtt", "PRODUCER", {"messaging.system": "mqtt", "destination.name": "t"}),
        (Enqueue(queue="q", message=1), "redis", "PRODUCER", {"messaging.system": "redis", "destination.name": "q"}),
        (Ack(message_id="7"), "nats", "CLIENT", {"messaging.system": "nats", "message.id": "7"}),
        (Request(method="GET /a?token=x"), "http", "CLIENT", {"rpc.system": "http", "rpc.method": "GET /a"}),
    ],
    ids=["publish", "enqueue", "ack", "request"],
)
async def test_what_an_attempt_is_about(command, protocol, kind, attributes):
    """Destination, method or message have OpenTelemetry's names; a URL's query, which is content, is left out."""
    async with tracing() as (tracer, collector):
        _, span = tracer.operation(operation(name="x", command=command), protocol)
        span.attempt(1).end()
    attempt = named(collector, "api x attempt")
    assert attempt.kind is SpanKind[kind]
    values = {name: value for name, value in (attempt.attributes or {}).items() if name.startswith(("rpc", "mess"))}
    assert values == {
        name if name.startswith(("rpc.", "messaging.")) else f"messaging.{name}": value
        for name, value in attributes.items()
    }


@pytest.mark.parametrize(
    "headers",
    [None, {}, {"traceparent": "00-x"}, {"traceparent": f"00-{'0' * 32}-{_SPAN}-01", "tracestate": "a=1"}],
    ids=["none", "empty", "malformed", "zero"],
)
async def test_what_has_no_valid_context_begins_a_trace(headers):
    """A new trace begins, and `tracestate`, which belongs to the other one, is not passed on."""
    async with tracing() as (tracer, collector):
        traced, span = tracer.operation(operation(headers=headers), "http")
        span.end()
    trace, own, parent = ids(named(collector, "api request"))
    assert parent == ""
    assert traced.headers is not None
    assert traced.headers["traceparent"].startswith(f"00-{trace}-{own}-")
    assert "tracestate" not in traced.headers


async def test_a_valid_tracestate_is_passed_on():
    """What other tracers have written there travels on."""
    async with tracing() as (tracer, _):
        traced, span = tracer.operation(operation(headers={**_PARENT, "tracestate": "v=1,w=2"}), "http")
    assert traced.headers is not None
    assert (traced.headers["tracestate"], span.attempt(1).context["tracestate"]) == ("v=1,w=2", "v=1,w=2")


@pytest.mark.parametrize(
    "headers",
    [{"traceparent": "x" * 600}, {**_PARENT, "tracestate": "no pair"}, {**_PARENT, "tracestate": "a=1," * 200}],
    ids=["long", "malformed", "long state"],
)
async def test_a_malformed_context_costs_no_line_of_the_log(caplog, headers):
    """The sender is not ours to judge, and may send ten thousand of them in a second."""
    async with tracing() as (tracer, _):
        span = tracer.message("broker", "mqtt", "t", Inbound(topic="t", message=1, headers=headers))
    assert "tracestate" not in span.context
    assert not caplog.records


async def test_a_message_is_linked_to_its_sender():
    """The sender's span is parent and link; the event that is made of the message continues the trace."""
    async with tracing() as (tracer, collector):
        message = Inbound(topic="a/b", message=1, headers={"Traceparent": _PARENT["traceparent"]}, message_id="7")
        span = tracer.message("broker", "mqtt", "a/#", message)
        span.end()
    found = named(collector, "broker message")
    assert ids(found)[::2] == (_TRACE, _SPAN)
    assert [format_span_id(link.context.span_id) for link in found.links] == [_SPAN]
    assert span.context == {"traceparent": f"00-{_TRACE}-{ids(found)[1]}-01"}
    assert found.kind is SpanKind.CONSUMER
    assert found.attributes == {
        "nemo_bridge.integration": "broker",
        "messaging.system": "mqtt",
        "messaging.operation.type": "receive",
        "messaging.destination.name": "a/b",
        "messaging.destination.subscription.name": "a/#",
        "messaging.message.id": "7",
    }


async def test_what_is_not_sampled_is_passed_on_as_such(monkeypatch):
    """Nothing is sent of such a trace, and those after us learn that it is not sampled."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    async with tracing() as (tracer, collector):
        for headers, trace in ((None, ""), ({"traceparent": f"00-{_TRACE}-{_SPAN}-00"}, _TRACE)):
            traced, span = tracer.operation(operation(headers=headers), "http")
            attempt = span.attempt(1)
            attempt.end(NotConnectedError("x"))
            span.end(NotConnectedError("x"))
            for context in (traced.headers, attempt.context):
                assert context is not None
                assert context["traceparent"].startswith(f"00-{trace}")
                assert int(context["traceparent"][-2:], 16) & 1 == 0
        _, span = tracer.operation(operation(headers=_PARENT), "http")
        span.end()
    assert [ids(span)[0] for span in collector.spans] == [_TRACE]


async def test_spans_hold_no_secret_and_can_be_encoded():
    """Secrets are masked wherever a text is not ours; a surrogate or a number beyond 63 bit would lose the batch."""
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    async with tracing(secrets=["s3cret-word"]) as (tracer, collector):
        cause = operation(2**64 - 1).cause
        asked = operation(cause=cause, command=Request(method="POST /s3cret-word/\ud800"), correlation_id="\udfff")
        _, span = tracer.operation(asked, "http")
        span.attempt(1).end(RejectedError("no s3cret-word \ud800"))
        span.end(RejectedError("no s3cret-word \ud800"))
        tracer.given_up(asked, RejectedError("s3cret-word"), 1)
        message = Inbound(topic="s3cret-word/\ud800", message=1, message_id="\ud800")
        tracer.message("broker", "nats", "s3cret-word", message).end()
    assert len(collector.spans) == 4
    assert b"s3cret" not in encode_spans(collector.spans).SerializeToString()


async def test_what_the_outbox_did_not_try_leaves_no_trace():
    """An operation that returns to the outbox without an attempt comes again; one whose time was up does not."""
    async with tracing() as (tracer, collector):
        for error in (NotConnectedError("down"), StoppingError("draining"), DeadlineError("late")):
            _, span = tracer.operation(operation(durable=True), "http")
            span.end(error)
    assert [span.status.description for span in collector.spans] == ["late"]


async def test_what_is_given_up_is_a_span():
    """A dead letter, and what has expired: with the error, in the trace of the event, and the trace goes on from it."""
    async with tracing() as (tracer, collector):
        letter = tracer.given_up(operation(headers=_PARENT), RejectedError("never"), 3)
        late = tracer.given_up(operation(headers=_PARENT), DeadlineError("late"), 0)
    for name, told, attempts, why in (("api dead letter", letter, 3, "never"), ("api expired", late, 0, "late")):
        span = named(collector, name)
        assert ids(span)[::2] == (_TRACE, _SPAN)
        assert told.headers == {"traceparent": f"00-{_TRACE}-{ids(span)[1]}-01"}
        assert (span.status.description, (span.attributes or {})["nemo_bridge.attempts"]) == (why, attempts)


async def test_a_collector_that_is_slow_costs_only_spans():
    """Nothing waits for it; what does not fit into the queue is counted, and the log says so once."""
    with capture_logs() as lines:
        async with tracing(queue=5) as (tracer, collector):
            collector.gate.clear()
            for _ in range(20):
                tracer.operation(operation(), "http")[1].end()
            assert tracer.lost >= 10
            collector.gate.set()
    assert len(collector.spans) + tracer.lost == 20
    lost = [line["spans"] for line in lines if line["event"] == "traces lost"]
    assert (len(lost), sum(lost)) == (2, tracer.lost)


async def test_a_collector_that_fails_and_works_again_is_two_lines():
    """The log says why spans are lost, at most once in five minutes, and when they are sent again."""
    with capture_logs() as lines:
        async with tracing() as (tracer, collector):
            collector.result = SpanExportResult.FAILURE
            for lost in (1, 2):
                tracer.operation(operation(), "http")[1].end()
                await asyncio.to_thread(tracer._provider.force_flush)
                await until(lambda lost=lost: tracer.lost == lost)
            collector.result = SpanExportResult.SUCCESS
            tracer.operation(operation(), "http")[1].end()
            await asyncio.to_thread(tracer._provider.force_flush)
            await until(lambda: any(line["event"] == "traces are sent again" for line in lines))
    assert [(line["event"], line.get("spans", line.get("lost"))) for line in lines if line["event"] != "traces"] == [
        ("traces lost", 1),
        ("traces lost", 1),
        ("traces are sent again", 2),
    ]
    assert len(collector.spans) == 1


async def test_the_end_does_not_wait_for_a_frozen_collector():
    """After two seconds what was not sent is lost, which the log says."""
    clock, collector = FakeClock(), Collector()
    tracer = OpenTelemetryTracer("bridge", queue=100, clock=clock, redactor=Redactor())
    tracer.open(collector)
    collector.gate.clear()
    tracer.operation(operation(), "http")[1].end()
    with capture_logs() as lines:
        closing = asyncio.ensure_future(tracer.close(10.0))
        await clock.advance(1.9)
        assert not closing.done()
        await clock.advance(0.2)
        await closing
    assert [(line["event"], line["spans"]) for line in lines] == [("traces lost", 1)]


def make(environ: dict[str, str], redactor: Redactor | None = None) -> Any:
    """Return the tracer of an environment."""
    return make_tracer("shop", clock=FakeClock(), redactor=redactor or Redactor(), environ=environ)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: 'zipkin' is not supported; write `otlp`"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' is not supported"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "many"}, "OTEL_BSP_MAX_QUEUE_SIZE: 'many' is not a number of spans"),
    ],
)
def test_an_environment_that_cannot_be_followed(environ, says):
    """The start fails, and the message names the variable and what would be right."""
    with pytest.raises(ConfigError) as raised:
        make(environ)
    assert says in str(raised.value)


def test_a_bridge_without_traces_imports_nothing_for_them():
    """Its start and its memory are as if they did not exist."""
    code = "import sys, bridge.gateway; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout == "[]\n"


def test_an_environment_that_switches_traces_off():
    """There is no tracer then, so nothing is done for traces."""
    assert make({"OTEL_SDK_DISABLED": "true"}) is None
    assert make({"OTEL_TRACES_EXPORTER": "none"}) is None


def test_the_credentials_of_the_collector_are_secrets():
    """Headers and the password in the URL are masked in logs, errors and spans."""
    redactor = Redactor()
    environ = {
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20t0ken-word,x-key=k3y-word",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://me:passw0rd@collector/v1/traces",
    }
    assert make(environ, redactor) is not None
    assert redactor.text("t0ken-word k3y-word passw0rd") == "*** *** ***"


def test_the_service_has_the_name_of_the_bridge_or_of_the_environment(monkeypatch):
    """Several bridges are told apart, unless the environment names them."""
    tracer = make({})
    assert tracer._provider.resource.attributes["service.name"] == "nemo-bridge/shop"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    assert make({})._provider.resource.attributes["service.name"] == "mine"
