"""Polling and server-sent events over real sockets: what is delivered, how a feed ends and is opened again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from bridge.adapters.http.adapter import HttpAdapter
from bridge.adapters.http.config import HttpConfig
from bridge.core.endpoint import AuthBearer, Endpoint
from bridge.core.errors import (
    BridgeError,
    ConnectionLostError,
    InvalidError,
    ProtocolError,
    RejectedError,
    ThrottledError,
)
from bridge.core.model import Inbound
from tests.support.adapters.direct import Direct
from tests.support.adapters.setup import adapter_setup
from tests.support.bus.listener import Listener
from tests.support.clock import FakeClock
from tests.support.servers.http_server import Received, http, scripted_server
from tests.support.servers.http_service import http_service
from tests.support.sidecar.sidecar import sidecar
from tests.support.wait import until

STREAM = b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"


@asynccontextmanager
async def listening(
    url: str, *, clock: FakeClock | None = None, state: dict[str, Any] | None = None, **config: Any
) -> AsyncIterator[tuple[Direct, Listener]]:
    """Connect an adapter with a listener; afterwards no task is left."""
    listener, before = Listener(), asyncio.all_tasks()
    auth = AuthBearer(type="bearer", token="t0ken")
    setup = adapter_setup(
        "test",
        Endpoint(url=url),
        auth,
        config=HttpConfig(**config),
        on_lost=listener.lost.append,
        on_subscription_ended=listener.on_ended,
        on_dropped=listener.on_dropped,
        session_state=state if state is not None else {},
        clock=clock,
    )
    adapter = HttpAdapter(setup)
    await adapter.connect()
    try:
        yield Direct(adapter), listener
    finally:
        await adapter.disconnect()
        assert asyncio.all_tasks() <= before


class Script:
    """Answers each request with the next of its answers; repeats the last one."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)

    def __call__(self, request: Received) -> None:
        request.send(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])


async def test_polling_says_what_has_changed() -> None:
    """The first body and each changed one is delivered; the same body, or 304, is not. Entity tags are sent."""
    script = Script(
        http("1", 200, 'ETag: "a"', "Content-Type: application/json", "Nemo-Hop: 2"),
        http("", 304),
        http("1", 200, "Last-Modified: yesterday", "Content-Type: application/json"),
        http("2", 200, "Content-Type: application/json", f"ETag: {'x' * 5000}"),
        http("3", 200, "Content-Type: application/json"),
        http("3", 200, "Content-Type: application/json"),
    )
    clock = FakeClock()
    async with (
        scripted_server(script) as server,
        listening(server.url, clock=clock, poll=30, path="/v") as (adapter, listener),
    ):
        await adapter.subscribe("poll", listener.deliver)
        for asked in range(1, 8):
            await until(lambda n=asked: len(server.requests) == n and clock.timers)
            await clock.advance(30)
        await until(lambda: len(server.requests) == 8)
        assert listener.messages == [1, 2, 3]
        assert listener.got[0].headers == {"etag": '"a"', "content-type": "application/json", "hop": "2"}
        assert {message.topic for message in listener.got} == {"poll"}
        heads = [(r.header("If-None-Match"), r.header("If-Modified-Since")) for r in server.requests[:5]]
        assert heads == [(None, None), ('"a"', None), ('"a"', None), (None, "yesterday"), (None, None)]
        assert {request.head.split(b" ")[1] for request in server.requests} == {b"/rpc/v"}
        assert server.requests[0].header("Authorization") == "Bearer t0ken"
        assert listener.lost == []


@pytest.mark.parametrize(
    "wait",
    [("60",), ("Tue, 14 Nov 2023 22:14:30 GMT",), ("Sun, 06 Nov 1994 08:50:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT")],
)
async def test_a_poll_that_fails_is_told_once_and_begun_again_by_subscribing(wait: tuple[str, ...]) -> None:
    """A failed poll ends its subscription, not the session; then only changes are delivered. The error has the wait."""
    headers = [f"{name}: {value}" for name, value in zip(("Retry-After", "Date"), wait, strict=False)]
    script = Script(http("one"), http("", 503, *headers), http("one"), http("two"))
    clock = FakeClock()
    async with (
        scripted_server(script) as server,
        listening(server.url, clock=clock, poll=10) as (adapter, listener),
    ):
        subscription = await adapter.subscribe("poll", listener.deliver)
        await until(lambda: listener.got and clock.timers)
        await clock.advance(10)
        await until(lambda: listener.ended)
        [(ended, error)] = listener.ended
        assert ended is subscription
        assert (type(error), error.retry_after_ms) == (ThrottledError, 60_000)
        await adapter.subscribe("poll", listener.deliver)
        await until(lambda: clock.timers)
        await clock.advance(10)
        await until(lambda: len(listener.got) == 2)
        assert listener.messages == ["one", "two"]
        assert (len(listener.ended), listener.lost) == (1, [])


async def test_events_arrive_as_they_are_said() -> None:
    """An event has its data by codec, and type and id as headers; the request asks for an event stream."""
    async with (
        scripted_server(lambda request: request.send(STREAM)) as server,
        listening(server.url, events="/e") as (adapter, listener),
    ):
        await adapter.subscribe("events", listener.deliver)
        [request] = server.requests
        assert request.head.startswith(b"GET /rpc/e ")
        named = ("Accept", "Authorization", "Last-Event-ID")
        assert [request.header(name) for name in named] == ["text/event-stream", "Bearer t0ken", None]
        request.send(b'id: 1\nevent: add\ndata: {"a":')
        request.send(b" 1}\n\ndata: text\n\n")
        await until(lambda: len(listener.got) == 2)
        assert listener.messages == [{"a": 1}, "text"]
        assert [message.headers for message in listener.got] == [
            {"event": "add", "id": "1"},
            {"event": "message", "id": "1"},
        ]


async def test_a_stream_that_ends_goes_on_after_the_last_event() -> None:
    """The end of a stream ends its subscription; to subscribe again opens it with `Last-Event-ID`."""
    async with (
        scripted_server(lambda request: request.send(STREAM)) as server,
        listening(server.url, events="/e") as (adapter, listener),
    ):
        subscription = await adapter.subscribe("events", listener.deliver)
        server.requests[0].send(b"id: 7\ndata: a\n\nid: 8\n\nid: 9\ndata: half")
        server.requests[0].close()
        await until(lambda: listener.ended)
        [(ended, error)] = listener.ended
        assert (ended is subscription, type(error)) == (True, ConnectionLostError)
        await adapter.subscribe("events", listener.deliver)
        assert server.requests[1].header("Last-Event-ID") == "8"
        server.requests[1].send(b"data: b\n\n")
        await until(lambda: len(listener.got) == 2)
        assert listener.messages == ["a", "b"]
        assert (len(listener.ended), listener.lost) == (1, [])


@pytest.mark.parametrize(("status", "forgotten"), [(410, True), (400, True), (404, False), (503, False)])
async def test_an_id_that_the_server_does_not_know_any_more(status: int, forgotten: bool) -> None:
    """Where the server refuses the last id, the next request is without it, and that events may be missing is told."""
    script = Script(STREAM + b"id: 7\ndata: a\n\n", http("", status), STREAM)
    async with (
        scripted_server(script) as server,
        listening(server.url, events="/e") as (adapter, listener),
    ):
        await adapter.subscribe("events", listener.deliver)
        await until(lambda: listener.got)
        with pytest.raises(BridgeError):
            await adapter.subscribe("events", listener.deliver)
        await adapter.subscribe("events", listener.deliver)
        sent = [request.header("Last-Event-ID") for request in server.requests]
        assert sent == [None, "7", None if forgotten else "7"]
        assert ["events may be missing" in error.message for error, _ in listener.dropped] == [True] * forgotten


async def test_a_new_session_goes_on_after_the_last_event() -> None:
    """A session that replaces another one begins after the last event of that; of another path it begins anew."""
    state: dict[str, Any] = {}
    async with scripted_server(lambda request: request.send(STREAM)) as server:
        for path in ("/e", "/e", "/other"):
            async with listening(server.url, state=state, events=path) as (adapter, listener):
                subscription = await adapter.subscribe("events", listener.deliver)
                server.requests[-1].send(b"id: 7\ndata: a\n\n")
                await until(lambda listener=listener: listener.got)
                await adapter.unsubscribe(subscription)
                await adapter.subscribe("events", listener.deliver)
                await adapter.unsubscribe(subscription)
                await adapter.subscribe("events", listener.deliver)
                server.requests[-1].send(b"id: 8\ndata: a\n\n")
                await until(lambda listener=listener: len(listener.got) == 2)
                await adapter.unsubscribe(subscription)
        assert [request.header("Last-Event-ID") for request in server.requests] == [*(None,) * 3, "8", *(None,) * 5]


@pytest.mark.parametrize("field", ["data: ", ": ", "unknown: ", ""])
async def test_an_event_of_three_mebibytes(field: str) -> None:
    """An event over the limit, third of six, is left out and told; the others come, in order, by one request."""
    large = field.encode() + b"x" * (3 << 20)
    async with (
        scripted_server(lambda request: request.send(STREAM)) as server,
        listening(server.url, events="/e", max_response="2MiB") as (adapter, listener),
    ):
        await adapter.subscribe("events", listener.deliver)
        for number in range(1, 7):
            server.requests[0].send(b"id: %d\n%bdata: %d\n\n" % (number, large + b"\n" if number == 3 else b"", number))
        await until(lambda: listener.got and listener.messages[-1] == 6)
        assert listener.messages == [1, 2, *(() if field == "data: " else (3,)), 4, 5, 6]
        assert [(type(error), topic) for error, topic in listener.dropped] == (
            [(ProtocolError, "events")] if field == "data: " else []
        )
        server.requests[0].close()
        await until(lambda: listener.ended)
        await adapter.subscribe("events", listener.deliver)
        assert server.requests[1].header("Last-Event-ID") == "6"
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (http("", 204), RejectedError),
        (http("", 404), RejectedError),
        (http("{}", 200, "Content-Type: application/json"), ProtocolError),
        (http("", 200), ProtocolError),
        (http("", 503, "Retry-After: 1"), ThrottledError),
        (b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\r\n", ProtocolError),
        (b"nonsense\r\n\r\n", ProtocolError),
    ],
    ids=["204", "404", "json", "no-type", "503", "gzip", "nonsense"],
)
async def test_what_is_no_stream(answer: bytes, kind: type[BridgeError]) -> None:
    """An answer that is not a stream fails the subscription, and is not reported as a loss."""
    async with (
        scripted_server(lambda request: request.send(answer if b"/e " in request.head else http(""))) as server,
        listening(server.url, events="/e") as (adapter, listener),
    ):
        with pytest.raises(kind):
            await adapter.subscribe("events", listener.deliver)
        assert (listener.lost, listener.ended) == ([], [])
        await adapter.check()


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        (b"zz\r\n", ProtocolError),
        (None, ConnectionLostError),
    ],
    ids=["no-chunk", "reset"],
)
async def test_what_ends_a_stream(more: bytes | None, kind: type[BridgeError]) -> None:
    """What is not HTTP, or a connection that dies, ends the stream."""
    async with (
        scripted_server(lambda request: request.send(STREAM[:-2] + b"Transfer-Encoding: chunked\r\n\r\n")) as server,
        listening(server.url, events="/e") as (adapter, listener),
    ):
        await adapter.subscribe("events", listener.deliver)
        if more is None:
            server.requests[0].transport.abort()
        else:
            server.requests[0].send(more)
        await until(lambda: listener.ended)
        assert isinstance(listener.ended[0][1], kind)
        assert (listener.got, listener.lost) == ([], [])


async def test_what_the_codec_cannot_read_is_brought_as_it_came() -> None:
    """Data that the codec cannot decode is delivered as it came, with `codec_error`."""
    async with (
        scripted_server(lambda request: request.send(STREAM if b"/e " in request.head else http("{"))) as server,
        listening(server.url, events="/e", poll=60, codec="json") as (adapter, listener),
    ):
        await adapter.subscribe("poll", listener.deliver)
        await adapter.subscribe("events", listener.deliver)
        server.requests[-1].send(b'data: {\n\ndata: {}\n\ndata: "\xff"\n\n')
        await until(lambda: len(listener.got) == 4)
        assert listener.messages == [b"{", "{", {}, "\ufffd"]
        assert ["codec_error" in message.headers for message in listener.got] == [True, True, False, True]
        assert listener.lost == []


async def test_topics_that_are_not_there() -> None:
    """An unknown topic, and one that the configuration does not set up, are `invalid`."""
    async with scripted_server(Received.result) as server, listening(server.url) as (adapter, listener):
        for topic in ("poll", "events", "*"):
            with pytest.raises(InvalidError, match="topic"):
                await adapter.subscribe(topic, listener.deliver)
        assert server.requests == []


async def test_unsubscribing_closes_the_stream() -> None:
    """`unsubscribe` closes the stream; a second subscription to the topic replaces the first."""
    async with (
        scripted_server(lambda request: request.send(STREAM)) as server,
        listening(server.url, events="/e") as (adapter, listener),
    ):
        other = Listener()
        await adapter.subscribe("events", listener.deliver)
        subscription = await adapter.subscribe("events", other.deliver)
        await until(lambda: server.ended == 1, "the end of the first stream")
        server.requests[1].send(b"data: a\n\n")
        await until(lambda: other.got)
        await adapter.unsubscribe(subscription)
        await until(lambda: server.ended == 2, "the end of the second stream")
        assert listener.got == []
        assert listener.lost == []


async def test_a_slow_listener_slows_the_server() -> None:
    """With a slow listener the bridge stops reading, keeps a bounded number of bytes, and loses nothing."""
    gate, got, count = asyncio.Event(), 0, 20_000

    async def deliver(message: Inbound) -> None:
        nonlocal got
        await gate.wait()
        assert message.message == got
        got += 1

    async with (
        scripted_server(lambda request: request.send(STREAM)) as server,
        listening(server.url, events="/e") as (adapter, _),
    ):
        await adapter.subscribe("events", deliver)
        transport, sizes = server.requests[0].transport, [-1]
        transport.write(b"".join(b"data: %d\n: %b\n\n" % (n, b"x" * 1000) for n in range(count)))

        def settled() -> bool:
            sizes.append(transport.get_write_buffer_size())
            return len(set(sizes[-20:])) == 1

        await until(settled, "a standstill")
        assert sizes[-1] > 0
        gate.set()
        await until(lambda: got == count, "all events")


def test_streams_on_uvloop() -> None:
    """Streams work on uvloop, on which the sidecar runs."""

    async def main() -> None:
        with http_service() as service:
            async with listening(service.url, events="/events") as (adapter, listener):
                await adapter.subscribe("events", listener.deliver)
                for n in range(3):
                    await adapter.request("POST /say", {"body": [n]})
                await until(lambda: len(listener.got) == 3)
                assert [message.headers["id"] for message in listener.got] == ["1", "2", "3"]
                service.kill()
                await until(lambda: listener.ended)
                assert isinstance(listener.ended[0][1], ConnectionLostError)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


_CONFIGURATION = """
integration "shop" {{
  type = "http"
  endpoint {{
    url = "{0}"
  }}
  config {{
    events = "/e"
    poll   = "30s"
    path   = "/v"
  }}
}}
subscription "news" {{
  integration = "shop"
  topic       = "events"
  emit        = "data.news"
}}
subscription "prices" {{
  integration = "shop"
  topic       = "poll"
  emit        = "data.prices"
}}
"""


async def test_through_the_sidecar_a_feed_that_is_not_there() -> None:
    """A feed that the server refuses is that subscription's failure: health names it, and requests go on."""
    answers = {b"/rpc/e": http("", 404), b"/rpc/v": http("", 503, "Retry-After: 60")}
    async with scripted_server(lambda r: r.send(answers.get(r.head.split(b" ")[1], http("{}")))) as server:
        with sidecar(_CONFIGURATION.format(server.url)) as running, running.program() as program:
            said = await program.wait("health.shop", lambda event: len(event["payload"]["subscriptions"]) == 2)
            assert said["payload"]["status"] == "degraded"
            errors = {name: state["error"] for name, state in said["payload"]["subscriptions"].items()}
            assert (errors["news"]["kind"], errors["news"]["code"]) == ("rejected", 404)
            assert (errors["prices"]["kind"], errors["prices"]["retry_after_ms"]) == ("throttled", 60_000)
            assert (await program.request("shop", "GET /x"))["result"]["status"] == 200
            asked = [request.head.split(b" ")[1] for request in server.requests]
            assert (asked.count(b"/rpc/e"), asked.count(b"/rpc/v")) == (1, 1)
