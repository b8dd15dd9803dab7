"""Bytes that no NATS client expects, from a server and from who may publish: told, and nothing else ends by them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from nats.aio.msg import Msg
from structlog.testing import capture_logs

from bridge.adapters.nats import jetstream
from bridge.adapters.nats.adapter import NatsAdapter, NatsConfig
from bridge.adapters.nats.protocol import NatsMessage
from bridge.core.endpoint import Endpoint
from bridge.core.errors import (
    AuthError,
    BridgeError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    ProtocolError,
    RejectedError,
)
from bridge.core.model import Inbound
from bridge.core.ports import Context
from tests.support.adapters.direct import Direct
from tests.support.adapters.setup import adapter_setup
from tests.support.adapters.told import Told
from tests.support.clock import FakeClock
from tests.support.servers.nats_server import nats_client, nats_server, subscribed
from tests.support.servers.scripted_nats import INFO, scripted_nats
from tests.support.wait import until

JETSTREAM = {"stream": {"name": "ORDERS", "subjects": ["orders.*"]}, "durable": "worker"}


def _adapter(port: int, told: Told | None = None, *, tls: bool = False, **config: object) -> Direct:
    endpoint = Endpoint(url=f"{'tls' if tls else 'nats'}://127.0.0.1:{port}")
    callbacks = {} if told is None else told.callbacks
    return Direct(NatsAdapter(adapter_setup("test", endpoint, config=NatsConfig.model_validate(config), **callbacks)))


@pytest.mark.parametrize(
    ("greeting", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no operation of NATS"),
        (b"\xff\xfe\r\n", "no operation of NATS"),
        (b"PING\r\n", "not INFO"),
        (b"INFO \xff\r\n", "INFO that cannot be read"),
        (b'INFO {"max_payload":"x"}\r\n', "INFO that cannot be read"),
        (b"x" * 100_000, "a line without an end"),
        (INFO + b"-ERR 'maximum connections exceeded'\r\n", "maximum connections exceeded"),
        (b"-ERR 'no'\r\n", "no"),
    ],
)
async def test_greetings_of_no_server(greeting: bytes, words: str) -> None:
    """The session does not open and says why; it is tried again."""
    async with scripted_nats(greeting, pongs=False) as server:
        adapter = _adapter(server.port)
        with pytest.raises(NotConnectedError, match=words) as caught:
            await adapter.connect()
        await adapter.disconnect()
    assert (caught.value.maybe_sent, caught.value.permanent) == (False, False)


@pytest.mark.parametrize("greeting", [b"", INFO, INFO[:20]])
async def test_a_server_that_hangs_up(greeting: bytes) -> None:
    """Before, in and after its greeting."""
    async with scripted_nats(greeting, hang_up=True) as server:
        adapter = _adapter(server.port)
        with pytest.raises(NotConnectedError, match=r"ended|reset|Broken pipe"):
            await adapter.connect()
        await adapter.disconnect()


async def test_a_refusal_before_anything_else() -> None:
    """What a server says of the credentials counts, whenever it comes."""
    async with scripted_nats(b"-ERR 'Authorization Violation'\r\n") as server:
        adapter = _adapter(server.port)
        with pytest.raises(AuthError, match="Authorization Violation"):
            await adapter.connect()
        await adapter.disconnect()


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    ("said", "error"),
    [("Authorization Violation", AuthError), ("maximum account active connections exceeded", NotConnectedError)],
)
async def test_a_refusal_in_place_of_a_greeting(said: str, error: type[BridgeError], tls: bool) -> None:
    """The error is the server's own reason, also where TLS was asked for."""
    async with scripted_nats(b"-ERR '%b'\r\n" % said.encode()) as server:
        adapter = _adapter(server.port, tls=tls)
        with pytest.raises(error, match=said) as caught:
            await adapter.connect()
        await adapter.disconnect()
    assert caught.value.permanent == (error is AuthError)
    assert "TLS" not in caught.value.message


async def test_credentials_that_expire_while_connected() -> None:
    """The session is lost and made again at once, as its file may have been renewed; a refusal is for a person."""
    told = Told()
    async with scripted_nats() as server:
        adapter = _adapter(server.port, told)
        await adapter.connect()
        server.send(b"-ERR 'User Authentication Expired'\r\n")
        await until(lambda: told.lost, "the news")
        await adapter.disconnect()
    (error,) = told.lost
    assert (error.kind, error.permanent) == ("connection_lost", False)
    assert "User Authentication Expired" in error.message


async def test_messages_that_wait_when_the_connection_ends() -> None:
    """They are told as dropped, each of them."""
    told = Told()

    async def never(_: Inbound) -> None:
        await asyncio.Event().wait()

    async with scripted_nats() as server:
        adapter = _adapter(server.port, told)
        await adapter.connect()
        await adapter.subscribe("in", never)
        server.send(b"MSG in %b 1\r\n1\r\n" % server.sids[b"in"] * 3 + b"-ERR 'Stale Connection'\r\n")
        await until(lambda: told.lost, "the end")
        await adapter.disconnect()
    assert [topic for topic, _ in told.dropped] == ["in"] * 3


async def test_a_server_without_headers() -> None:
    """It would end the connection over them: what goes out has none, and a warning says so, once.

    What the application asks for by itself cannot be sent, so it is refused.
    """
    told = Told()
    async with scripted_nats(INFO.replace(b'"headers":true', b'"headers":false')) as server:
        server.answers = {b"ask": b"5", b"orders": b'{"stream":"ORDERS","seq":1}'}
        adapter = _adapter(server.port, told)
        await adapter.connect()
        assert not told.warnings
        context = Context({"hop": "1"}, idempotency_key="key")
        assert await adapter.publish("t", 1, context=context) == {}
        assert await adapter.request("ask", 1, context=context) == 5
        assert await adapter.enqueue("orders", 1, context=context) == "ORDERS/1"
        assert list(told.warnings) == ["headers"]
        for call in (adapter.publish, adapter.enqueue):
            with pytest.raises(InvalidError, match="headers"):
                await call("t", 1, headers={"a": "b"})
        await adapter.disconnect()
    assert b"HPUB" not in server.got
    assert server.got.count(b"PUB ") == 3


async def test_a_header_that_looks_like_a_status() -> None:
    """An answer's own `Status: 503` does not mean that nobody answers."""
    block = b"NATS/1.0\r\nStatus: 503\r\n\r\n"
    async with scripted_nats() as server:

        def answer(words: list[bytes]) -> bytes:
            if words[:2] != [b"HPUB", b"ask"]:
                return b""
            return b"HMSG %b 1 %d %d\r\n%b7\r\n" % (words[2], len(block), len(block) + 1, block)

        server.on_line = answer
        adapter = _adapter(server.port)
        await adapter.connect()
        assert await adapter.request("ask", 1) == 7
        await adapter.disconnect()


async def test_when_it_was_last_heard() -> None:
    """Any bytes of the server are a sign of life, also where a check waits behind them."""
    clock = FakeClock()
    async with scripted_nats() as server:
        setup = adapter_setup("test", Endpoint(url=f"nats://127.0.0.1:{server.port}"), clock=clock)
        adapter = NatsAdapter(setup)
        assert adapter.last_heard is None
        await adapter.connect()
        assert adapter.last_heard == clock.monotonic()
        clock._now += 5.0
        server.pongs = False
        server.send(b"MSG a 77 1\r\n")
        await until(lambda: adapter.last_heard == clock.monotonic(), "the bytes")
        await adapter.disconnect()


async def test_a_ping_before_connect() -> None:
    """It is answered behind CONNECT, which comes first."""
    async with scripted_nats(INFO + b"PING\r\nPING\r\n") as server:
        adapter = _adapter(server.port)
        await adapter.connect()
        await adapter.disconnect()
    assert server.got.startswith(b"CONNECT ")
    assert server.got.count(b"PONG\r\n") == 2


@pytest.mark.parametrize("more", [INFO, b"PONG\r\n", b"MSG a 1 0\r\n\r\n", b"MSG a 1 9", b"INF"])
async def test_more_than_a_greeting_before_tls(more: bytes) -> None:
    """Whoever stands between may have added it: the session does not open, and nothing is sent."""
    async with scripted_nats(INFO.replace(b'"x"', b'"x","tls_required":true') + more) as server:
        adapter = _adapter(server.port, tls=True)
        with pytest.raises(NotConnectedError, match="more than a greeting before TLS"):
            await adapter.connect()
        await adapter.disconnect()
    assert server.got == b""


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GARBAGE\r\n", "no operation of NATS"),
        (b"MSG a 1 999999999\r\n", "a message of 999999999 bytes"),
        (b"MSG a 1 2\r\nxyz\r\n", "without its end"),
        (b"-ERR 'Bad \xff'\r\n", r"Bad \\xff"),
        (b"INFO {\r\n", "INFO that cannot be read"),
        (b'INFO {"x":' + b"[" * 20_000 + b"\r\n", "INFO that cannot be read"),
    ],
)
async def test_a_server_gone_mad(data: bytes, words: str) -> None:
    """The session is lost, once, and what is in flight fails at once."""
    told = Told()
    async with scripted_nats() as server:
        adapter = _adapter(server.port, told)
        await adapter.connect()
        server.pongs = False
        call = asyncio.ensure_future(adapter.publish("t", 1))
        await until(lambda: b"HPUB t" in server.got, "the message")
        server.send(b"PING\r\nMSG nobody 77 0\r\n\r\n" + data + data)
        with pytest.raises(ConnectionLostError, match=words):
            await call
        with pytest.raises(NotConnectedError):
            await adapter.publish("t", 1)
        await adapter.disconnect()
    assert [type(error) for error in told.lost] == [ConnectionLostError]
    assert [topic for topic, _ in told.dropped] == ["nobody"]


@pytest.mark.parametrize(
    "answer", [b"", b"\xff", b"[]", b"{", b"5", b"{}", b'{"config":5}', b'{"error":{}}', b"[" * 9999]
)
@pytest.mark.parametrize("call", ["INFO", "CREATE"])
async def test_answers_of_jetstream_that_make_no_sense(call: str, answer: bytes) -> None:
    """The session opens, and a warning says it; a queue fails, and publishing works."""
    async with scripted_nats() as server:
        missing = b'{"error":{"code":404,"err_code":10059,"description":"stream not found"}}'
        server.answers = {b"$JS.API.STREAM.INFO": answer if call == "INFO" else missing}
        server.answers |= {b"$JS.API.STREAM.CREATE": answer, b"$JS.API.CONSUMER.": answer}
        told = Told()
        adapter = _adapter(server.port, told, **JETSTREAM)
        await adapter.connect()
        assert "JetStream" in told.warnings["stream"]
        with pytest.raises((ProtocolError, RejectedError)):
            await adapter.dequeue("ORDERS/worker")
        await adapter.publish("t", 1)
        await adapter.disconnect()
    assert not told.lost


async def test_jetstream_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As without a leader: the session opens all the same and warns; it is tried again until it works."""
    monkeypatch.setattr(jetstream, "_PREPARE", 0.2)
    monkeypatch.setattr(jetstream, "_PREPARE_AGAIN", 0.2)
    told = Told()
    async with scripted_nats() as server:
        adapter = _adapter(server.port, told, stream={"name": "ORDERS", "subjects": ["orders.*"]})
        await adapter.connect()
        assert told.warnings == {"stream": "JetStream: there is no answer"}
        assert await adapter.publish("t", 1) == {}
        info = {"config": {"name": "ORDERS", "subjects": ["orders.*"]}, "created": "2026-11-27T10:00:00Z"}
        state = {"messages": 0, "bytes": 0, "first_seq": 0, "last_seq": 0, "consumer_count": 0}
        server.answers = {b"$JS.API.STREAM.INFO": json.dumps(info | {"state": state}).encode()}
        await until(lambda: not told.warnings, "the stream")
        await adapter.disconnect()


@asynccontextmanager
async def _stranger(port: int) -> AsyncIterator[asyncio.StreamWriter]:
    """A connection on which a test writes what it likes."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n')
    try:
        yield writer
    finally:
        writer.close()


def _with_headers(subject: bytes, block: bytes, payload: bytes = b"1") -> bytes:
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (subject, len(block), len(block) + len(payload), block, payload)


async def test_messages_of_any_bytes() -> None:
    """Each is delivered with what can be read of it; the log says once that this was not all; the session lives on."""
    told = Told()
    got: list[Inbound] = []

    async def deliver(message: Inbound) -> None:
        got.append(message)

    with nats_server() as server, capture_logs() as logs:
        adapter = _adapter(server.port, told)
        await adapter.connect()
        await adapter.subscribe("in.>", deliver)
        async with _stranger(server.port) as stranger:
            stranger.write(b"PUB in.\xff 1\r\n1\r\n" + b"PUB in.\xc3 \xfe.\xff 1\r\n1\r\n")
            stranger.write(_with_headers(b"in.a", b"NATS/1.0 \xff\xfe\r\nok: yes\r\n\r\n"))
            stranger.write(_with_headers(b"in.b", b"NATS/1.0 \xc2\xb2\r\n\r\n"))
            stranger.write(_with_headers(b"in.c", b"NATS/1.0\r\n\xff: 1\r\nx: \xff\r\nno colon\r\n\r\n"))
            stranger.write(_with_headers(b"in.d", b"\xff" * 20))
            stranger.write(b"PUB in.end 1\r\n1\r\n")
            await until(lambda: got and got[-1].topic == "in.end", "the last message")
        await adapter.check()
        await adapter.disconnect()
    assert [message.topic for message in got] == ["in.\\xff", "in.\\xc3", "in.a", "in.b", "in.c", "in.d", "in.end"]
    assert [message.message for message in got] == [1] * 7
    assert got[2].headers == {"ok": "yes"}
    assert got[4].headers == {"x": "\ufffd"}
    assert [log["event"] for log in logs] == ["a message cannot be read in full"]
    assert not told.lost


async def test_stored_messages_of_any_bytes() -> None:
    """The same from a stream: each comes, and is acknowledged."""
    got: list[Inbound] = []

    async def deliver(message: Inbound) -> None:
        got.append(message)

    with nats_server() as server:
        adapter = _adapter(server.port, **JETSTREAM)
        await adapter.connect()
        async with _stranger(server.port) as stranger:
            stranger.write(b"PUB orders.\xff 1\r\n1\r\n" + _with_headers(b"orders.a", b"NATS/1.0 \xff\r\n\xff\r\n\r\n"))
            await stranger.drain()
            taken = await adapter.dequeue("ORDERS/worker", wait=5.0)
            assert taken is not None
            await adapter.ack(taken.message_id)
            await adapter.consume("ORDERS/worker", deliver)
            await until(lambda: got, "the second message")
        await adapter.disconnect()
    assert (taken.message, got[0].message) == (1, 1)
    assert {taken.message_id, got[0].message_id} == {"ORDERS/1", "ORDERS/2"}


async def test_a_forged_message_of_jetstream() -> None:
    """One whose reply subject makes no sense: left out and told where it is consumed, and the others come.

    nats-server itself passes none on from a client; another way into the cluster may.
    """
    told = Told()
    got: list[Inbound] = []

    async def deliver(message: Inbound) -> None:
        got.append(message)

    with nats_server() as server:
        adapter = _adapter(server.port, told, **JETSTREAM)
        await adapter.connect()
        consumption = (await adapter.consume("ORDERS/worker", deliver)).handle
        connection = adapter._connection
        assert connection is not None
        for reply in ("$JS.ACK.x", "$JS.ACK.S.c.x.1.1.1.1"):
            connection._receive(NatsMessage(consumption.subscription.sid, consumption.inbox, reply, b"1"))
        await adapter.enqueue("orders.a", 1)
        await until(lambda: got, "the message")
        assert not consumption.in_progress
        await adapter.disconnect()
    assert [error.kind for _, error in told.dropped] == ["protocol"] * 2
    assert not told.lost


async def test_a_forged_message_to_who_waits_for_one() -> None:
    """The call fails, and the next one gets the real message."""
    with nats_server() as server:
        adapter = _adapter(server.port, **JETSTREAM)
        await adapter.connect()
        call = asyncio.ensure_future(adapter.dequeue("ORDERS/worker", wait=30.0))
        queues = adapter._jetstream
        await until(lambda: any(one.waiting for one in queues._consumers._consumers.values()), "the call")
        (consumer,) = queues._consumers._consumers.values()
        connection = adapter._connection
        assert connection is not None
        assert consumer.subscription is not None
        connection._receive(NatsMessage(consumer.subscription.sid, f"{consumer.inbox}.1", "$JS.ACK.x", b"1"))
        with pytest.raises(ProtocolError):
            await call
        await adapter.enqueue("orders.a", 1)
        taken = await adapter.dequeue("ORDERS/worker", wait=5.0)
        assert taken is not None
        await adapter.disconnect()


@pytest.mark.parametrize("answer", [b"", b"{", b'{"stream":"\xff","seq":1}', b'{"x":' + b"[" * 20_000, b'{"seq":1}'])
async def test_an_answer_to_a_stored_message_that_makes_no_sense(answer: bytes) -> None:
    """Whatever answers on the subject: the call fails, and the session lives on."""
    with nats_server() as server:
        async with nats_client(server.port) as client:

            async def respond(message: Msg) -> None:
                await message.respond(answer)

            await client.subscribe("orders.new", cb=respond)
            await subscribed(client)
            adapter = _adapter(server.port)
            await adapter.connect()
            with pytest.raises(ProtocolError):
                await adapter.enqueue("orders.new", 1)
            await adapter.check()
            await adapter.disconnect()
