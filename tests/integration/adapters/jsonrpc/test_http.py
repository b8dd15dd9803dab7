"""JSON-RPC over HTTP: each right and each wrong way for a server to answer."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from msgspec import UNSET

from bridge.adapters._common.http.pool import KEEP_IDLE, PooledTransport
from bridge.adapters._common.http.target import resolve
from bridge.adapters.jsonrpc.adapter import JsonRpcAdapter
from bridge.core.clock import RealClock
from bridge.core.endpoint import Endpoint
from bridge.core.errors import (
    BridgeError,
    ConnectionLostError,
    NotConnectedError,
    ProtocolError,
    RejectedError,
    UnavailableError,
)
from bridge.core.model import Request
from bridge.core.ports import Context
from tests.support.adapters.adapters import connected
from tests.support.adapters.setup import adapter_setup
from tests.support.servers.demo import demo_service
from tests.support.servers.http_server import Received, http, scripted_server
from tests.support.servers.proxy import FaultProxy, fault_proxy
from tests.support.wait import until

OK = json.dumps({"jsonrpc": "2.0", "result": "ok", "id": 1}).encode()


def sends(*pieces: bytes, close: bool = False) -> Callable[[Received], None]:
    """Make a server that answers each request with these bytes, in as many segments."""

    def respond(request: Received) -> None:
        for piece in pieces:
            request.send(piece)
        if close:
            request.close()

    return respond


@pytest.mark.parametrize(
    "respond",
    [
        sends(http(OK)),
        sends(http(gzip.compress(OK), 200, "Content-Encoding: gzip")),
        sends(http(gzip.compress(OK[:9]) + gzip.compress(OK[9:]), 200, "Content-Encoding: gzip")),
        sends(http(b"\xef\xbb\xbf" + OK)),
        sends(b"HTTP/1.1 200 \xff\xfe\r\nX-Y: \xff\xfe\r\nContent-Length: %d\r\n\r\n%b" % (len(OK), OK)),
        sends(http(OK, 200, "Connection: close"), close=True),
        sends(b"HTTP/1.1 100 Continue\r\n\r\n", http(OK)),
        sends(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + http(OK)),
        sends(b"HTTP/1.0 200 OK\r\n\r\n" + OK, close=True),
        sends(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", OK, close=True),
        sends(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\n" + OK[:3] + b"\r\n",
            f"{len(OK) - 3:x}\r\n".encode() + OK[3:] + b"\r\n0\r\nX-Trailer: yes\r\n\r\n",
        ),
    ],
    ids=[
        "plain",
        "gzip",
        "members",
        "byte-order-mark",
        "no-text",
        "close",
        "continue",
        "hints",
        "http10",
        "until-close",
        "chunked",
    ],
)
async def test_every_framing_is_understood(respond: Callable[[Received], None]) -> None:
    """Bodies by length, by chunks, by the end of the connection, compressed, and after interim responses are read."""
    async with scripted_server(respond) as server, connected(server.url) as adapter:
        assert await adapter.request("m", UNSET) == "ok"


GZIP = gzip.compress(OK)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BIG_LINE = b"X-Big: " + b"x" * 200_000 + b"\r\n"


@pytest.mark.parametrize(
    ("respond", "kind", "complaint"),
    [
        (sends(http(OK)[:-5], close=True), ConnectionLostError, "middle of the answer"),
        (
            sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", close=True),
            ConnectionLostError,
            "mid",
        ),
        (sends(b"HTTP/1.1 200", close=True), ConnectionLostError, "middle of the answer"),
        (sends(close=True), ConnectionLostError, "before any answer"),
        (sends(b"SSH-2.0-OpenSSH_9\r\n"), ProtocolError, "not HTTP"),
        (sends(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), ProtocolError, "not HTTP"),
        (sends(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), ProtocolError, "not HTTP"),
        (sends(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"), ProtocolError, "switches"),
        (sends(b"HTTP/1.1 200 OK\r\n" + BIG_LINE + b"\r\n"), ProtocolError, "head is over the limit"),
        (sends(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 20_000), ProtocolError, "head is over the limit"),
        (sends(CHUNKED + b"0\r\n" + BIG_LINE), ProtocolError, "head is over the limit"),
        (sends(http(b"x" * 2000)), ProtocolError, "body is over the limit"),
        (sends(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2000), ProtocolError, "body is over the limit"),
        (sends(http(gzip.compress(bytes(10_000_000)), 200, "Content-Encoding: gzip")), ProtocolError, "over the limit"),
        (sends(http(b"no gzip", 200, "Content-Encoding: gzip")), ProtocolError, "Content-Encoding"),
        (sends(http(OK, 200, "Content-Encoding: br")), ProtocolError, "Content-Encoding"),
        (sends(http(OK, 200, "Content-Encoding: \\xff")), ProtocolError, "Content-Encoding"),
        (sends(http(GZIP, 200, "Content-Encoding: gzip", "Content-Encoding: gzip")), ProtocolError, "gzip, gzip"),
        (sends(http(GZIP[:-9], 200, "Content-Encoding: gzip")), ProtocolError, "too early"),
        (sends(http(GZIP + b"more", 200, "Content-Encoding: gzip")), ProtocolError, "does not fit"),
        (sends(http(OK, 500, "Content-Encoding: br")), UnavailableError, "500"),
        (sends(CHUNKED.replace(b"chunked", b"gzip, chunked")), ProtocolError, "Transfer-Encoding"),
        (sends(CHUNKED.replace(b"chunked", b"gzip\r\nTransfer-Encoding: chunked")), ProtocolError, "Transfer-Encoding"),
        (sends(CHUNKED + b"\xff\xfe\r\n"), ProtocolError, "chunk size"),
        (sends(b"HTTP/1.1 \xff\xff\xff\r\n\r\n"), ProtocolError, "not HTTP"),
        (sends(b"HTTP/1.1 200 OK\r\n\xff: a\r\n\r\n"), ProtocolError, "not HTTP"),
        (sends(b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n"), ProtocolError, "not HTTP"),
        (sends(http(b"", 503, "Retry-After: Mon, 01 Jan 2024 00:00:00 +99999999999999")), UnavailableError, "503"),
        (sends(http(b"", 302, "Location: http://elsewhere.invalid/")), RejectedError, "302"),
        (sends(http(b"<html>", 502)), BridgeError, "502"),
        (sends(http(b"")), ProtocolError, "empty body"),
        (sends(b"HTTP/1.1 204 No Content\r\n\r\n"), ProtocolError, "empty body"),
    ],
)
async def test_every_wrong_answer_has_its_error(
    respond: Callable[[Received], None], kind: type[BridgeError], complaint: str
) -> None:
    """Each wrong answer has its error, and does not affect the next call."""
    wrong = True

    def once(request: Received) -> None:
        (respond if wrong else Received.result)(request)

    async with scripted_server(once) as server, connected(server.url, max_response=1000) as adapter:
        with pytest.raises(kind, match=complaint):
            await adapter.request("m", UNSET)
        wrong = False
        assert await adapter.request("m", UNSET) == "ok"
        assert server.requests[0].call["id"] != server.requests[1].call["id"]


async def test_the_request_itself() -> None:
    """A call is one POST with the right headers; the environment adds none."""
    async with scripted_server(Received.result) as server, connected(server.url) as adapter:
        await adapter.request("m", {"a": 1}, context=Context(headers={"hop": "2"}, idempotency_key="k"))
        seen = server.requests[0]
        assert seen.head.startswith(b"POST /rpc HTTP/1.1\r\n")
        assert seen.call == {"jsonrpc": "2.0", "method": "m", "params": {"a": 1}, "id": "k"}
        assert seen.header("Host") == f"127.0.0.1:{server.port}"
        assert seen.header("Content-Type") == seen.header("Accept") == "application/json"
        assert seen.header("Idempotency-Key") == "k"
        assert seen.header("Nemo-Hop") == "2"


async def test_an_idempotency_key_is_the_id_of_one_call_at_a_time() -> None:
    """A repeated call has the same id; two concurrent calls with one key have two ids."""
    key = Context(idempotency_key="order-7")
    async with scripted_server(Received.result) as server, connected(server.url) as adapter:
        await asyncio.gather(adapter.request("m", UNSET, context=key), adapter.request("m", UNSET, context=key))
        await adapter.request("m", UNSET, context=key)
        ids = [request.call["id"] for request in server.requests]
        assert sorted(map(str, ids)) == ["1", "order-7", "order-7"]
        assert ids[2] == "order-7"


async def test_a_proxy_in_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment is not used."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with scripted_server(Received.result) as server, connected(server.url) as adapter:
        assert await adapter.request("m", UNSET) == "ok"


async def test_connections_are_kept_and_the_last_used_comes_first() -> None:
    """Sequential calls share a connection; concurrent ones have one each, up to the limit."""
    held: list[Received] = []
    holding = False

    def respond(request: Received) -> None:
        if holding:
            held.append(request)
        else:
            request.result()

    async with scripted_server(respond) as server, connected(server.url, limit=4) as adapter:
        await adapter.connect()
        for _ in range(10):
            await adapter.request("m", UNSET)
        assert server.connections == 1
        holding = True
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(adapter.request("m", UNSET))
            # One more than `max_in_flight`, so that a health check always finds room.
            await until(lambda: len(held) == 5, "five calls in flight")
            holding = False
            for request in held:
                request.result()
        assert server.connections == 5
        await adapter.request("m", UNSET)
        await adapter.request("m", UNSET)
        assert server.requests[-1].connection == server.requests[-2].connection


async def test_a_connection_idle_for_too_long_is_closed() -> None:
    """A connection that was idle for too long is closed, and not used again."""
    held: list[Received] = []
    async with scripted_server(held.append) as server, connected(server.url) as adapter:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(adapter.request("m", UNSET))
            await until(lambda: len(held) == 3, "three calls in flight")
            for request in held:
                request.result()
        oldest, middle, newest = idle = list(adapter._client._pool._idle)
        oldest.idle_since -= KEEP_IDLE + 1
        newest.idle_since -= KEEP_IDLE + 1
        async with asyncio.TaskGroup() as group:
            group.create_task(adapter.request("m", UNSET))
            await until(lambda: len(held) == 4, "the next call")
            held[3].result()
        assert [connection.closing for connection in idle] == [True, False, True]
        assert list(adapter._client._pool._idle) == [middle]
        assert server.connections == 3


async def test_a_connection_that_died_while_idle_is_not_used() -> None:
    """A connection that the server closed while it was idle is not used."""
    async with scripted_server(Received.result) as server, connected(server.url) as adapter:
        await adapter.request("m", UNSET)
        for transport in tuple(server.live):
            transport.close()
        await until(lambda: server.ended == 1, "the end of the connection")
        assert await adapter.request("m", UNSET) == "ok"
        assert server.connections == 2


async def test_a_connection_dying_at_this_very_moment_is_not_used() -> None:
    """A close that the kernel knows of, and the event loop not yet, is noticed."""
    with demo_service() as demo:
        async with connected(demo.url) as adapter:
            await adapter.request("echo", [])
            demo.kill()
            # No turn of the loop since: only asking the kernel shows it. Refused, and surely not sent.
            with pytest.raises(NotConnectedError):
                await adapter.request("echo", [])


@pytest.mark.parametrize("more", [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"garbage"])
async def test_bytes_behind_the_answer_end_the_connection(more: bytes) -> None:
    """Bytes after a response close the connection, because they could be taken for the next response."""

    def respond(request: Received) -> None:
        request.send(http(json.dumps({"jsonrpc": "2.0", "result": "ok", "id": request.call["id"]})) + more)

    async with scripted_server(respond) as server, connected(server.url) as adapter:
        assert await adapter.request("m", UNSET) == "ok"
        assert await adapter.request("m", UNSET) == "ok"
        assert server.connections == 2


async def test_words_out_of_turn_end_the_connection() -> None:
    """Bytes on an idle connection close it, and are never a response."""
    async with scripted_server(Received.result) as server, connected(server.url) as adapter:
        await adapter.request("m", UNSET)
        server.requests[0].send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        assert await adapter.request("m", UNSET) == "ok"
        assert server.connections == 2


@asynccontextmanager
async def behind_a_proxy() -> AsyncIterator[tuple[FaultProxy, JsonRpcAdapter]]:
    """Start a service behind a proxy that can misbehave."""
    with demo_service() as demo:
        async with (
            fault_proxy("127.0.0.1", demo.port) as proxy,
            connected(f"http://127.0.0.1:{proxy.port}/rpc") as adapter,
        ):
            yield proxy, adapter


async def test_giving_up_on_a_dripping_server_closes_the_connection() -> None:
    """The caller's time limit ends a call to a server that sends byte by byte, and closes its connection."""
    async with behind_a_proxy() as (proxy, adapter):
        await adapter.connect()
        proxy.mode = "drip"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await adapter.request("echo", ["late"])
        proxy.mode = "pass"
        assert await adapter.request("echo", ["mine"]) == ["mine"]
        assert proxy.accepted == 2


class CallsAgain:
    """A promise in whose result the next call begins."""

    def __init__(self, begin: Callable[[], None]) -> None:
        self._begin = begin
        self._is_done = False

    def done(self) -> bool:
        return self._is_done

    def set_result(self, _: Any) -> None:
        self._is_done = True
        self._begin()

    def set_exception(self, error: BridgeError) -> None:
        raise error

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None:
        """It is never given up."""


async def test_what_follows_an_answer_is_none_of_the_next_call() -> None:
    """A call that begins in the moment of an answer does not get what the server has sent behind that."""

    def respond(request: Received) -> None:
        call = request.call
        answer = http(json.dumps({"jsonrpc": "2.0", "result": call["params"], "id": call["id"]}))
        wrong = http(json.dumps({"jsonrpc": "2.0", "result": "wrong", "id": call["id"] + 1}))
        request.send(answer + wrong if call["params"] == ["first"] else answer)

    async with scripted_server(respond) as server, connected(server.url) as adapter:
        await adapter.connect()
        later: list[asyncio.Future[Any]] = []

        def call_again() -> None:
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            work = adapter.adapter.begin(Request(method="echo", params=["second"]), Context(), answer)
            later.append(asyncio.ensure_future(answer if work is None else work))

        first = Request(method="echo", params=["first"])
        assert adapter.adapter.begin(first, Context(), CallsAgain(call_again)) is None
        await until(lambda: later)
        assert await later[0] == ["second"]
        assert server.connections == 2


@pytest.mark.parametrize("mode", ["cut", "reset"])
@pytest.mark.parametrize("after", [0, 10, 60])
async def test_a_connection_that_ends_in_the_answer(mode: Any, after: int) -> None:
    """FIN or RST before the head, in it or in the body leaves the outcome unknown."""
    async with behind_a_proxy() as (proxy, adapter):
        await adapter.request("echo", [])
        proxy.after = after
        proxy.mode = mode
        with pytest.raises(ConnectionLostError) as caught:
            await adapter.request("echo", ["x" * 100])
        assert caught.value.maybe_sent
        proxy.mode = "pass"
        assert await adapter.request("echo", [1]) == [1]


async def test_nobody_there() -> None:
    """Where nobody listens, nothing was sent, and the message names the server."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with connected(f"http://127.0.0.1:{port}/rpc?secret=1") as adapter:
        for attempt in (adapter.connect(), adapter.check(), adapter.request("m", UNSET)):
            with pytest.raises(NotConnectedError, match=f"127.0.0.1:{port}") as caught:
                await attempt
            assert not caught.value.maybe_sent
            assert "secret" not in caught.value.message


async def test_no_such_host() -> None:
    """A name that never resolves (RFC 6761, 6.4)."""
    async with connected("http://nowhere.invalid/") as adapter:
        with pytest.raises(NotConnectedError):
            await adapter.connect()


async def test_a_frozen_server_fails_the_check() -> None:
    """A frozen server, whose kernel still accepts connections, does not pass the check."""
    with demo_service() as demo:
        async with connected(demo.url) as adapter:
            await adapter.connect()
            await adapter.check()
            demo.freeze()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await adapter.check()
            demo.thaw()
            await adapter.check()


@pytest.mark.parametrize(
    ("status", "alive"), [(200, True), (403, True), (404, True), (405, True), (500, True), (401, False)]
)
async def test_any_answer_but_401_shows_a_living_server(status: int, alive: bool) -> None:
    """Without a health method any answer but 401 passes the check."""
    async with scripted_server(sends(http(b"", status))) as server, connected(server.url) as adapter:
        await adapter.connect()
        if status != 401:
            await adapter.check()
        else:
            with pytest.raises(BridgeError) as caught:
                await adapter.check()
            assert caught.value.permanent
        assert server.requests[0].head.startswith(b"GET /rpc HTTP/1.1\r\n")


async def test_a_health_method_is_called_on_connecting_and_checking() -> None:
    """The health method is called by `connect` and `check`, and its error fails them."""
    with demo_service() as demo:
        async with connected(demo.url, health_method="count") as adapter:
            await adapter.connect()
            await adapter.check()
            assert await adapter.request("count", UNSET) == 3
        async with connected(demo.url, health_method="no.such") as adapter:
            with pytest.raises(RejectedError):
                await adapter.connect()


async def test_disconnecting_fails_what_is_in_flight() -> None:
    """`disconnect` fails calls in flight and leaves nothing open; it may be called twice."""
    async with (
        scripted_server(lambda _: None) as server,
        connected(server.url) as adapter,
        asyncio.TaskGroup() as group,
    ):
        call = group.create_task(_error_of(adapter.request("m", UNSET)))
        await until(lambda: server.requests, "the call")
        await adapter.disconnect()
        assert isinstance(await call, ConnectionLostError)
        await until(lambda: not server.live, "the end of the connection")
        await adapter.disconnect()
        assert isinstance(await _error_of(adapter.request("m", UNSET)), NotConnectedError)


async def _error_of(call: Any) -> BridgeError | None:
    try:
        await call
    except BridgeError as error:
        return error
    return None


async def test_httpx_stands_on_the_same_transport() -> None:
    """An `httpx.AsyncClient` over our transport sees what it would see over its own."""

    def respond(request: Received) -> None:
        if request.head.startswith(b"HEAD"):
            request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\n")
        else:
            request.send(http(gzip.compress(request.body or b"nothing"), 200, "Content-Encoding: gzip"))

    async with scripted_server(respond) as server:
        target = resolve(adapter_setup(integration="x", endpoint=Endpoint(url=server.url)))
        transport = PooledTransport(target, size=2, max_response=1000, clock=RealClock())
        async with httpx.AsyncClient(transport=transport) as client:
            assert (await client.post(server.url, content=b"text")).text == "text"
            head = await client.head(server.url)
            assert (head.status_code, head.headers["x-a"], head.content) == (200, "b", b"")
            assert (await client.get(server.url)).text == "nothing"
            with pytest.raises(httpx.UnsupportedProtocol):
                await client.get("http://elsewhere.invalid/")
