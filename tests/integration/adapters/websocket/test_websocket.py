"""WebSocket against real servers: messages both ways, credentials, TLS, and each way in which a session ends."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from bridge.adapters.websocket.adapter import WebSocketAdapter
from bridge.adapters.websocket.config import WebSocketConfig
from bridge.core.endpoint import NO_AUTH, AuthBasic, AuthBearer, AuthCertificate, Endpoint, Tls
from bridge.core.errors import (
    AuthError,
    BridgeError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    ProtocolError,
)
from bridge.core.model import Inbound
from tests.support.adapters.direct import Direct
from tests.support.adapters.setup import adapter_setup
from tests.support.bus.listener import Listener
from tests.support.servers.http_server import http, scripted_server
from tests.support.servers.scripted import websocket
from tests.support.servers.scripted.server import EndedError, Fault, Peer
from tests.support.servers.scripted.server import scripted_server as scripted
from tests.support.servers.scripted.websocket import close, frame
from tests.support.servers.tls import make_certificates
from tests.support.servers.tls_server import tls_server
from tests.support.servers.websocket_service import websocket_service
from tests.support.sidecar.sidecar import sidecar
from tests.support.wait import until

Handler = Callable[[ServerConnection], Awaitable[None]]


async def echo(connection: ServerConnection) -> None:
    """Send everything back."""
    try:
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        pass


@asynccontextmanager
async def serving(handler: Handler = echo, **options: Any) -> AsyncIterator[str]:
    """Start a server in this event loop; return its address."""
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"{'wss' if options.get('ssl') else 'ws'}://127.0.0.1:{port}/"


@asynccontextmanager
async def session(
    url: str, *, auth: Any = NO_AUTH, tls: Tls | None = None, **config: Any
) -> AsyncIterator[tuple[Direct, Listener]]:
    """Make an adapter, not yet connected, and a listener; disconnect it at the end."""
    listener = Listener()
    adapter = WebSocketAdapter(
        adapter_setup(
            "test",
            Endpoint(url=url),
            auth,
            tls or Tls(),
            WebSocketConfig(**config),
            on_lost=listener.lost.append,
            on_dropped=listener.on_dropped,
        )
    )
    try:
        yield Direct(adapter), listener
    finally:
        await adapter.disconnect()


@pytest.mark.parametrize(
    ("codec", "message", "frame", "back"),
    [
        ("auto", "text", "text", "text"),
        ("auto", {"a": [1]}, '{"a":[1]}', {"a": [1]}),
        ("auto", b"\x00\xff", b"\x00\xff", b"\x00\xff"),
        ("json", "text", '"text"', "text"),
        ("msgpack", {"a": b"\x00"}, b"\x81\xa1a\xc4\x01\x00", {"a": b"\x00"}),
        ("text", "{}", "{}", "{}"),
        ("bytes", b"text", b"text", b"text"),
    ],
)
async def test_frames_by_codec(codec: Any, message: Any, frame: str | bytes, back: Any) -> None:
    """The codec decides whether a message is sent in a text or a binary frame, and how it is decoded."""
    frames: list[str | bytes] = []

    async def note(connection: ServerConnection) -> None:
        async for one in connection:
            frames.append(one)
            await connection.send(one)

    async with serving(note) as url, session(url, codec=codec) as (adapter, listener):
        await adapter.connect()
        await adapter.subscribe("*", listener.deliver)
        assert await adapter.publish("*", message) == {}
        await until(lambda: listener.got)
        assert (frames, listener.messages) == ([frame], [back])
        assert listener.got[0].topic == "*"


async def test_what_cannot_be_said_is_refused() -> None:
    """Another topic, a value that the codec cannot carry, `qos` and `retain` are `invalid`; the session goes on."""
    async with serving() as url, session(url, codec="json") as (adapter, listener):
        await adapter.connect()
        for attempt in (
            lambda: adapter.publish("other", 1),
            lambda: adapter.subscribe("other", listener.deliver),
            lambda: adapter.publish("*", b"\x00"),
            lambda: adapter.publish("*", 1, qos=1),
            lambda: adapter.publish("*", 1, retain=True),
        ):
            with pytest.raises(InvalidError):
                await attempt()
        await adapter.check()


async def test_what_the_codec_cannot_read_is_brought_as_it_came() -> None:
    """A message that the codec cannot decode is delivered as it came, with `codec_error`."""

    async def greet(connection: ServerConnection) -> None:
        await connection.send("{")
        await connection.wait_closed()

    async with serving(greet) as url, session(url, codec="json") as (adapter, listener):
        await adapter.connect()
        await adapter.subscribe("*", listener.deliver)
        await until(lambda: listener.got)
        assert listener.messages == ["{"]
        assert "codec_error" in listener.got[0].headers


def greeting(count: int) -> Callable[[ServerConnection], Awaitable[None]]:
    """Return what a server does that sends the numbers from 0 to each client first, and echoes then."""

    async def greet(connection: ServerConnection) -> None:
        for number in range(count):
            await connection.send(str(number))
        await echo(connection)

    return greet


async def test_a_greeting_is_not_lost() -> None:
    """Messages between opening and subscribing are kept, in order; after `unsubscribe` they are dropped."""
    async with serving(greeting(3)) as url, session(url) as (adapter, listener):
        await adapter.connect()
        await adapter.check()
        subscription = await adapter.subscribe("*", listener.deliver)
        await adapter.publish("*", 3)
        await until(lambda: len(listener.got) == 4)
        await adapter.unsubscribe(subscription)
        await adapter.publish("*", "dropped")
        await adapter.check()
        assert listener.messages == [0, 1, 2, 3]


async def test_a_long_greeting_is_told() -> None:
    """Of many messages before the subscription the last ones are kept, and it is told how many are not."""
    async with serving(greeting(103)) as url, session(url) as (adapter, listener):
        await adapter.connect()
        await adapter.check()
        await adapter.subscribe("*", listener.deliver)
        await until(lambda: len(listener.got) == 100)
        assert listener.messages == list(range(3, 103))
        [(error, topic)] = listener.dropped
        assert (error.message[:10], topic) == ("3 messages", "*")


async def test_a_delivery_that_waits_stops_neither_pings_nor_messages() -> None:
    """While a message cannot be delivered, the connection is read: it lives on, and what came meanwhile comes."""
    room, got = asyncio.Event(), []

    async def deliver(message: Inbound) -> None:
        await room.wait()
        got.append(message.message)

    async with serving() as url, session(url, ping=0.1) as (adapter, listener):
        await adapter.connect()
        await adapter.subscribe("*", deliver)
        for n in range(50):
            await adapter.publish("*", n)
        begun = adapter.last_heard
        assert begun is not None
        await until(lambda: (adapter.last_heard or 0.0) > begun + 0.5, "five pings")
        await adapter.check()
        assert (got, listener.lost) == ([], [])
        room.set()
        await until(lambda: len(got) == 50)
        assert got == list(range(50))


async def test_an_end_behind_a_full_bus_is_noticed() -> None:
    """While too much waits to be delivered, a check still notices that the connection has ended."""

    async def flood(connection: ServerConnection) -> None:
        for _ in range(25):
            await connection.send(bytes(50_000))
        connection.transport.abort()

    async def never(_: Inbound) -> None:
        await asyncio.Event().wait()

    async with serving(flood) as url, session(url) as (adapter, listener):
        await adapter.connect()
        await adapter.subscribe("*", never)
        await until(lambda: adapter._deliveries.full and not adapter._connection._socket.transport.is_reading())
        with pytest.raises(ConnectionLostError):
            await adapter.check()
        await adapter.disconnect()
        assert "messages waited when the session ended" in listener.dropped[-1][0].message


async def test_more_than_may_wait_waits_at_the_server() -> None:
    """When too much waits to be delivered, the server has to wait, for longer than its pings, and nothing is lost."""
    room, got = asyncio.Event(), []

    async def deliver(message: Inbound) -> None:
        await room.wait()
        got.append(message.message)

    async def flood(connection: ServerConnection) -> None:
        for n in range(300):
            await connection.send(bytes([n % 256]) * 50_000)
        await echo(connection)

    async with serving(flood) as url, session(url, ping=0.1) as (adapter, listener):
        await adapter.connect()
        await adapter.subscribe("*", deliver)
        heard = [adapter.last_heard]

        def still() -> bool:
            heard.append(adapter.last_heard)
            return len(heard) > 60 and len(set(heard[-50:])) == 1

        await until(still, "a standstill")
        assert adapter._deliveries._size <= 1024 * 1024
        await adapter.check()
        assert listener.lost == []
        room.set()
        await until(lambda: len(got) == 300, "all messages")
        assert got == [bytes([n % 256]) * 50_000 for n in range(300)]


def saying(data: bytes) -> Fault:
    """Make a server that sends these bytes once it is connected, and then only reads."""

    async def act(peer: Peer, _: bytes) -> None:
        await peer.send(data)
        await peer.rest()
        raise EndedError

    return Fault("message", "this", act)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (close(4001, b"enough"), "the server closed the connection (4001: enough)"),
        (close(1012, b"restart"), "the server closed the connection (1012: restart)"),
        (close(1013), "the server closed the connection (1013)"),
        (close(1000, b"\xff\xfe"), "the bridge closed the connection (1007"),
        (close(1), "the bridge closed the connection (1002"),
        (frame(8, b"\x03"), "the bridge closed the connection (1002"),
        (frame(1, b"\xff\xfe"), "the bridge closed the connection (1007"),
        (frame(11, b"1"), "the bridge closed the connection (1002"),
        (frame(0, b"1"), "the bridge closed the connection (1002"),
        (frame(1, b"1", reserved=7), "the bridge closed the connection (1002"),
        (b"\x81\x7f\x7f" + b"\xff" * 7, "the bridge closed the connection (1009"),
        (b"\x81\xff" + b"\xff" * 8, "the bridge closed the connection (1002"),
        (b"HTTP/1.1 408 Request Timeout\r\n\r\n" * 5, "the bridge closed the connection (1002"),
        (frame(1, b"x", fin=False) + frame(1, b"x"), "the bridge closed the connection (1002"),
    ],
)
async def test_a_server_that_does_not_close(data: bytes, told: str) -> None:
    """A close, and what is no frame, end the session at once, although the server keeps the connection open."""
    async with (
        scripted(websocket.converse, saying(data)) as server,
        session(f"ws://127.0.0.1:{server.port}/", max_message=50_000) as (adapter, listener),
    ):
        await adapter.connect()
        await until(lambda: listener.lost)
        assert listener.lost[0].message.startswith(told)
        with pytest.raises(NotConnectedError):
            await adapter.check()


async def test_a_server_that_takes_nothing() -> None:
    """What waits to be sent to a server that reads nothing is bounded, however many messages are given up."""
    with websocket_service() as service:
        async with session(service.url) as (adapter, _):
            await adapter.connect()
            service.freeze()
            assert adapter._connection is not None
            transport = adapter._connection._socket.transport
            sizes = []
            for _ in range(30):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await adapter.publish("*", os.urandom(1_000_000))
                sizes.append(transport.get_write_buffer_size())
            assert 0 < max(sizes) < 1_200_000


async def test_pings_without_an_end() -> None:
    """A server that sends pings and does not read the answers is left before they fill the memory."""

    async def act(peer: Peer, _: bytes) -> None:
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        while True:
            await peer.send(frame(9, b"x" * 125) * 1000)

    async with (
        scripted(websocket.converse, Fault("message", "pings", act)) as server,
        session(f"ws://127.0.0.1:{server.port}/") as (adapter, listener),
    ):
        await adapter.connect()
        await until(lambda: listener.lost)
        assert listener.lost[0].message == "the server sends pings and does not read the answers"


async def test_the_subprotocol_is_asked_for_and_insisted_on() -> None:
    """A server that does not accept the subprotocol is a protocol error."""
    async with serving(subprotocols=["v2"]) as url, session(url, subprotocol="v2") as (adapter, _):
        await adapter.connect()
    async with serving() as url, session(url, subprotocol="v2") as (adapter, _):
        with pytest.raises(ProtocolError, match="v2") as caught:
            await adapter.connect()
        assert not caught.value.maybe_sent


async def test_credentials_are_in_the_opening_handshake() -> None:
    """Bearer and Basic are sent in the opening handshake; their refusal is permanent."""
    right = {"Bearer t0ken", "Basic dTpw"}

    def guard(connection: ServerConnection, request: Any) -> Any:
        ok = request.headers.get("Authorization") in right
        return None if ok else connection.respond(HTTPStatus.UNAUTHORIZED, "no")

    async with serving(process_request=guard) as url:
        for auth in (AuthBearer(type="bearer", token="t0ken"), AuthBasic(type="basic", username="u", password="p")):
            async with session(url, auth=auth) as (adapter, _):
                await adapter.connect()
                await adapter.check()
        async with session(url, auth=AuthBearer(type="bearer", token="wr0ng")) as (adapter, _):
            with pytest.raises(AuthError) as caught:
                await adapter.connect()
            assert caught.value.permanent
            assert "wr0ng" not in str(caught.value.to_wire())


async def test_redirects_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No redirect is followed, and no proxy of the environment is used."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with (
        serving() as elsewhere,
        scripted_server(lambda request: request.send(http("", 302, f"Location: {elsewhere}"))) as server,
        session(f"ws://127.0.0.1:{server.port}/") as (adapter, _),
    ):
        with pytest.raises(NotConnectedError, match="302"):
            await adapter.connect()


@pytest.mark.parametrize("case", ["expired", "wrong-host", "unknown-ca"])
async def test_a_certificate_that_does_not_verify_needs_a_person(case: str, tmp_path: Path) -> None:
    """A certificate that does not verify is permanent; one that does is accepted."""
    made = make_certificates(tmp_path)
    bad = {
        "expired": made.server(expired=True),
        "wrong-host": made.server("elsewhere.example"),
        "unknown-ca": made.server(unknown_ca=True),
    }[case]
    trust = Tls(ca=made.ca_file)
    async with serving(ssl=made.server()) as url, session(url, tls=trust) as (adapter, _):
        await adapter.connect()
        await adapter.check()
    async with serving(ssl=bad) as url, session(url, tls=trust) as (adapter, _):
        with pytest.raises(NotConnectedError) as caught:
            await adapter.connect()
        assert caught.value.permanent


async def test_client_certificates(tmp_path: Path) -> None:
    """The right client certificate is accepted; none, and a wrong one, need a person, as with https."""
    made = make_certificates(tmp_path)
    cert, key = made.client_files()
    mine, trust = AuthCertificate(type="certificate", cert=cert, key=key), Tls(ca=made.ca_file)
    async with serving(ssl=made.server_that_asks()) as url, session(url, tls=trust, auth=mine) as (adapter, _):
        await adapter.connect()
        await adapter.check()
    cert, key = made.client_files(unknown_ca=True)
    wrong = AuthCertificate(type="certificate", cert=cert, key=key)
    # A server on asyncio refuses without a word, so that a missing certificate cannot be told from another end.
    async with serving(ssl=made.server_that_asks()) as url:
        for auth in (wrong, NO_AUTH):
            async with session(url, tls=trust, auth=auth) as (adapter, _):
                with pytest.raises(AuthError if auth is wrong else NotConnectedError) as caught:
                    await adapter.connect()
                assert "client certificate" in caught.value.message
                assert caught.value.permanent is (auth is wrong)
    for tls13 in (True, False):
        with tls_server(made.server_that_asks(tls13=tls13), b"") as server:
            for auth in (NO_AUTH, wrong):
                async with session(server.url.replace("https", "wss"), tls=trust, auth=auth) as (adapter, _):
                    # Before TLS 1.3 a missing certificate has no alert of its own.
                    with pytest.raises(AuthError if tls13 or auth is wrong else NotConnectedError) as caught:
                        await adapter.connect()
                    assert caught.value.permanent


async def test_plaintext_where_tls_was_asked() -> None:
    """Where TLS was asked for, a server without it is not connected to."""
    async with serving() as url, session(url.replace("ws:", "wss:")) as (adapter, _):
        with pytest.raises(NotConnectedError):
            await adapter.connect()


@pytest.mark.parametrize("how", ["close", "abort", "too-large"])
async def test_each_end_is_told_once(how: str) -> None:
    """A close, a reset and a message over the limit are one loss each; later messages were surely not sent."""

    async def end(connection: ServerConnection) -> None:
        await connection.recv()
        match how:
            case "close":
                await connection.close(4001, "enough")
            case "abort":
                connection.transport.abort()
            case _:
                await connection.send("x" * 2000)
                await connection.wait_closed()

    async with serving(end) as url, session(url, max_message=1000) as (adapter, listener):
        await adapter.connect()
        await adapter.publish("*", "go")
        await until(lambda: listener.lost)
        assert isinstance(listener.lost[0], ConnectionLostError)
        assert listener.lost[0].code == {"close": 4001, "abort": None, "too-large": 1009}[how]
        with pytest.raises(NotConnectedError):
            await adapter.publish("*", "late")
        assert len(listener.lost) == 1


async def test_a_kill_ends_what_is_in_flight() -> None:
    """When the server is killed, a check and messages that wait end at once, and the loss is reported once."""
    with websocket_service() as service:
        async with session(service.url) as (adapter, listener):
            await adapter.connect()
            service.freeze()
            async with asyncio.TaskGroup() as group:
                waiting = [group.create_task(_error_of(adapter.check()))]
                waiting += [
                    group.create_task(_error_of(adapter.publish("*", os.urandom(1_000_000)))) for _ in range(12)
                ]
                assert adapter._connection is not None
                socket = adapter._connection._socket
                await until(lambda: socket.transport.get_write_buffer_size() > 0 and not waiting[0].done())
                service.kill()
            kinds = {type(task.result()) for task in waiting}
            assert ConnectionLostError in kinds
            assert kinds <= {ConnectionLostError, type(None)}
            assert isinstance(waiting[0].result(), ConnectionLostError)
            assert len(listener.lost) == 1


async def _error_of(call: Awaitable[Any]) -> BridgeError | None:
    try:
        await call
    except BridgeError as error:
        return error
    return None


async def test_a_frozen_server_is_found_by_pings_alone() -> None:
    """A frozen server is found within two intervals of pings, and closing is quick."""
    with websocket_service() as service:
        async with session(service.url, ping=0.2) as (adapter, listener):
            await adapter.connect()
            service.freeze()
            await until(lambda: listener.lost)
            assert isinstance(listener.lost[0], ConnectionLostError)
            async with asyncio.timeout(5):
                await adapter.disconnect()


def test_on_uvloop() -> None:
    """The adapter works on uvloop, on which the sidecar runs."""

    async def main() -> None:
        async with serving() as url, session(url) as (adapter, listener):
            await adapter.connect()
            await adapter.subscribe("*", listener.deliver)
            for n in range(100):
                await adapter.publish("*", n)
            await until(lambda: len(listener.got) == 100)
            assert listener.messages == list(range(100))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


_CONFIGURATION = """
integration "ticker" {{
  type = "websocket"
  endpoint {{
    url = "{0}"
  }}
}}
subscription "prices" {{
  integration = "ticker"
  topic       = "*"
  emit        = "data.prices"
}}
"""


async def test_through_the_sidecar_over_a_death() -> None:
    """What is published comes back as events, and again after the server was killed and has come back."""
    with (
        websocket_service() as first,
        sidecar(_CONFIGURATION.format(first.url)) as running,
        running.program() as program,
    ):
        await program.wait("health.ticker", lambda event: event["payload"]["status"] == "connected")
        said = await program.ask("integration.ticker.publish", {"topic": "*", "message": {"n": 1}})
        assert said["ok"], said
        await program.wait("data.prices", lambda event: event["payload"]["message"] == {"n": 1})
        since = program.mark()
        first.kill()
        await program.wait("health.ticker", lambda event: event["payload"]["status"] == "disconnected", since=since)
        refused = await program.ask("integration.ticker.publish", {"topic": "*", "message": 1})
        assert refused["error"]["kind"] == "not_connected"
        with websocket_service(first.port):
            await program.wait("health.ticker", lambda event: event["payload"]["status"] == "connected", since=since)
            await program.ask("integration.ticker.publish", {"topic": "*", "message": {"n": 2}})
            await program.wait("data.prices", lambda event: event["payload"]["message"] == {"n": 2}, since=since)
