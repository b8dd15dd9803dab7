"""NATS against the real server: request/reply, Pub/Sub, credentials, death and frost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import UNSET
from pydantic import SecretStr

from bridge.adapters.nats.adapter import NatsAdapter, NatsConfig
from bridge.core.endpoint import NO_AUTH, AuthBasic, AuthBearer, Endpoint
from bridge.core.errors import (
    AuthError,
    BridgeError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    RejectedError,
    UnavailableError,
)
from bridge.core.model import Inbound
from bridge.core.ports import Context
from tests.support.adapters.direct import Direct
from tests.support.adapters.setup import adapter_setup
from tests.support.servers.nats_server import NatsServer, nats_client, nats_responder, nats_server
from tests.support.servers.remote import refusing_port
from tests.support.wait import until


@asynccontextmanager
async def _session(
    port: int, lost: list[BridgeError] | None = None, auth: Any = NO_AUTH, **config: Any
) -> AsyncIterator[Direct]:
    told = [] if lost is None else lost
    endpoint = Endpoint(url=f"nats://127.0.0.1:{port}")
    adapter = NatsAdapter(
        adapter_setup("test", endpoint, auth, config=NatsConfig.model_validate(config), on_lost=told.append)
    )
    await adapter.connect()
    try:
        yield Direct(adapter)
    finally:
        await adapter.disconnect()


async def test_a_request_with_headers() -> None:
    """Context headers and the idempotency key arrive; without params the message is empty."""
    with nats_server() as server:
        async with nats_responder(server.port) as services, _session(server.port) as adapter:
            context = Context({"traceparent": "00-a-b-01", "hop": "1"}, idempotency_key="key-1")
            assert await adapter.request("echo", {"a": 1}, context=context) == {"a": 1}
            assert await adapter.request("echo", UNSET) is None
    sent = services.headers[0]
    assert (sent["traceparent"], sent["hop"], sent["Nats-Msg-Id"]) == ("00-a-b-01", "1", "key-1")
    assert sent["Content-Type"] == "application/json"
    assert services.headers[1] == {}


async def test_nobody_answers() -> None:
    """The server says so at once, and surely nothing was done: it may be tried again."""
    with nats_server() as server:
        async with _session(server.port) as adapter:
            with pytest.raises(UnavailableError) as caught:
                await adapter.request("nobody", {})
    assert (caught.value.maybe_sent, caught.value.retryable) == (False, True)


async def test_wildcards_groups_and_headers() -> None:
    """A pattern gets the concrete subject; of a queue group one gets each message."""
    got: list[Inbound] = []
    shared: list[int] = []

    async def deliver(message: Inbound) -> None:
        got.append(message)

    async def one(_: Inbound) -> None:
        shared.append(1)

    async def other(_: Inbound) -> None:
        shared.append(2)

    with nats_server() as server:
        async with _session(server.port) as adapter, _session(server.port) as second:
            await adapter.subscribe("a.*.c", deliver)
            await adapter.subscribe("a.>", one, group="workers")
            await second.subscribe("a.>", other, group="workers")
            for n in range(40):
                await adapter.publish("a.b.c", n, headers={"x": "y"}, context=Context({"hop": "2"}))
            await until(lambda: len(got) == 40 and len(shared) >= 40, "all messages")
            await second.check()
    assert [message.message for message in got] == list(range(40))
    assert got[0].topic == "a.b.c"
    assert got[0].headers == {"x": "y", "hop": "2", "Content-Type": "application/json"}
    assert (len(shared), set(shared)) == (40, {1, 2})


async def test_messages_that_come_often() -> None:
    """They are read together, and an answer in between is read at once."""
    got: list[Any] = []

    async def deliver(message: Inbound) -> None:
        got.append(message.message)

    with nats_server() as server:
        async with nats_responder(server.port), _session(server.port) as adapter, nats_client(server.port) as client:
            await adapter.subscribe("a", deliver)
            for number in range(100):
                await client.publish("a", b"%d" % number)
                await client.flush()
                while len(got) <= number:  # noqa: ASYNC110 - so that they come often
                    await asyncio.sleep(0)
            assert await adapter.request("echo", 5) == 5
            await adapter.publish("a", "last")
            await until(lambda: len(got) == 101, "the last message")
    assert got == [*range(100), "last"]


@pytest.mark.parametrize("value", ["text", "5", "null", 5, [1], {"a": None}])
async def test_values_arrive_as_they_went(value: Any) -> None:
    """The content's type tells text from JSON."""
    got: list[Any] = []

    async def deliver(message: Inbound) -> None:
        got.append(message.message)

    with nats_server() as server:
        async with _session(server.port) as adapter:
            await adapter.subscribe("t", deliver)
            await adapter.publish("t", value)
            await until(lambda: got, "the message")
    assert got == [value]


async def test_what_cannot_be_read_harms_nothing() -> None:
    """It comes as it is, and the next message comes."""
    got: list[Any] = []

    async def deliver(message: Inbound) -> None:
        got.append(message.message)

    with nats_server() as server:
        async with _session(server.port, codec="json") as adapter, nats_client(server.port) as outside:
            await adapter.subscribe("t", deliver)
            await outside.publish("t", b"{no json")
            await outside.publish("t", b"[1]")
            await until(lambda: len(got) == 2, "the good message")
    assert got == [b"{no json", [1]]


async def test_too_large_is_refused_before_it_ends_the_connection() -> None:
    """Headers count; the session lives on."""
    with nats_server("max_payload: 1000") as server:
        async with _session(server.port) as adapter:
            for text, headers in (("x" * 2000, {}), ("x" * 900, {"a": "y" * 200})):
                with pytest.raises(InvalidError, match="the server takes 1000"):
                    await adapter.publish("t", text, headers=headers)
            await adapter.publish("t", "x" * 900)


async def test_qos_and_retain_are_not_pretended() -> None:
    """Core NATS has neither."""
    with nats_server() as server:
        async with _session(server.port) as adapter:
            with pytest.raises(InvalidError):
                await adapter.publish("t", 1, qos=1)
            with pytest.raises(InvalidError):
                await adapter.publish("t", 1, retain=True)


_USERS = """
authorization {
  users = [
    { user: "good", password: "secret", permissions: { publish: ["free.>"], subscribe: ["free.>", "_INBOX.>"] } }
  ]
}
"""


async def test_user_and_password() -> None:
    """Good ones open, others are `auth` and need a person; neither message holds the secret."""
    with nats_server(_USERS) as server:
        async with _session(server.port, auth=AuthBasic(type="basic", username="good", password=SecretStr("secret"))):
            pass
        for auth in (AuthBasic(type="basic", username="good", password=SecretStr("hunter2")), NO_AUTH):
            with pytest.raises(AuthError) as caught:
                async with _session(server.port, auth=auth):
                    pass
            assert (caught.value.permanent, caught.value.maybe_sent) == (True, False)
            assert "hunter2" not in str(caught.value)


async def test_token() -> None:
    """`bearer` is NATS' token."""
    with nats_server('authorization { token: "t0ken" }') as server:
        async with _session(server.port, auth=AuthBearer(type="bearer", token=SecretStr("t0ken"))) as adapter:
            await adapter.check()
        with pytest.raises(AuthError):
            async with _session(server.port, auth=AuthBearer(type="bearer", token=SecretStr("other"))):
                pass


async def test_what_the_server_forbids_is_told_to_who_asked() -> None:
    """A permissions violation comes beside the call; the call ends with it, and others do not."""

    async def deliver(_: Inbound) -> None:
        pass

    with nats_server(_USERS) as server:
        auth = AuthBasic(type="basic", username="good", password=SecretStr("secret"))
        async with _session(server.port, auth=auth) as adapter:
            forbidden = [
                adapter.publish("Other.x", 1),
                adapter.request("other", 1),
                adapter.subscribe("other", deliver),
            ]
            results = await asyncio.gather(*forbidden, adapter.publish("free.x", 1), return_exceptions=True)
            assert [type(result) for result in results] == [RejectedError] * 3 + [dict]
            await adapter.check()


async def test_the_next_server_is_tried() -> None:
    """In order, each once."""
    with nats_server() as server:
        adapter = NatsAdapter(
            adapter_setup(
                "test",
                Endpoint(url=f"nats://127.0.0.1:{refusing_port()}"),
                config=NatsConfig(servers=(f"127.0.0.1:{server.port}",)),
            )
        )
        await adapter.connect()
        await adapter.check()
        await adapter.disconnect()


async def _in_flight(adapter: NatsAdapter, server: NatsServer) -> list[asyncio.Task[Any]]:
    """One call of each kind that waits for a frozen server."""
    server.freeze()
    return [
        asyncio.ensure_future(call)
        for call in (
            adapter.request("sleep", {}),
            adapter.publish("t", 1),
            adapter.enqueue("q", 1),
            adapter.check(),
        )
    ]


async def test_death_ends_every_call_at_once() -> None:
    """Frozen nothing says that it succeeded; killed all fail as lost; the loss is told once."""
    lost: list[BridgeError] = []
    with nats_server() as server:
        async with _session(server.port, lost) as adapter:
            calls = await _in_flight(adapter, server)
            done, _ = await asyncio.wait(calls, timeout=0.2)
            assert not done
            server.kill()
            async with asyncio.timeout(5):
                results = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(result) for result in results] == [ConnectionLostError] * 4
            await until(lambda: lost, "the news")
            with pytest.raises(NotConnectedError):
                await adapter.publish("t", 1)
    assert len(lost) == 1


async def test_a_frozen_server_takes_nothing_it_has_not_confirmed() -> None:
    """2,000 publishes, none of which may say that it succeeded."""
    with nats_server() as server:
        async with _session(server.port) as adapter:
            server.freeze()
            calls = [asyncio.ensure_future(adapter.publish("t", n)) for n in range(2000)]
            done, _ = await asyncio.wait(calls, timeout=0.3)
            assert not done
            server.kill()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(result) for result in results} == {ConnectionLostError}


async def test_an_abandoned_check_does_not_kill_the_reader() -> None:
    """The PONG to a PING that nobody waits for any more is passed over."""
    lost: list[BridgeError] = []
    with nats_server() as server:
        async with nats_responder(server.port), _session(server.port, lost) as adapter:
            server.freeze()
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await adapter.check()
            server.thaw()
            assert await adapter.request("echo", [1]) == [1]
            await adapter.check()
    assert not lost


async def test_connecting_can_be_cancelled_at_any_moment() -> None:
    """After each number of turns of the event loop; it ends then, and leaves nothing behind."""
    with nats_server() as server:
        setup = adapter_setup("test", Endpoint(url=f"nats://127.0.0.1:{server.port}"), config=NatsConfig())
        turns = ended = 0
        while ended < 3:
            adapter = NatsAdapter(setup)
            connecting = asyncio.ensure_future(adapter.connect())
            for _ in range(turns):
                await asyncio.sleep(0)
            was_done = connecting.done()
            connecting.cancel()
            async with asyncio.timeout(1):
                await asyncio.wait([connecting])
            assert connecting.cancelled() is not was_done
            await adapter.disconnect()
            assert len(asyncio.all_tasks()) == 1
            ended += was_done
            turns += 1
    assert turns > 10


async def test_closing_does_not_wait_for_a_frozen_server() -> None:
    """Even with much that is not written yet."""
    with nats_server() as server:
        async with _session(server.port) as adapter:
            server.freeze()
            calls = [asyncio.ensure_future(adapter.publish("t", "x" * 500_000)) for _ in range(64)]
            await asyncio.sleep(0)
            async with asyncio.timeout(1):
                await adapter.disconnect()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(result) for result in results} <= {ConnectionLostError, NotConnectedError}


async def test_concurrent_publishes_share_a_ping(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 publishes at the same moment are confirmed by a handful of round trips."""
    with nats_server() as server:
        async with _session(server.port) as adapter:
            connection = adapter._connection
            assert connection is not None
            pongs = []
            answered = connection._confirmed.pong
            monkeypatch.setattr(connection._confirmed, "pong", lambda: (pongs.append(1), answered()))
            await asyncio.gather(*[adapter.publish("t", n) for n in range(1000)])
            assert 1 <= len(pongs) <= 10


async def test_a_bug_in_a_callback_is_heard() -> None:
    """The session ends, and closing raises it."""
    lost: list[BridgeError] = []

    async def deliver(_: Inbound) -> None:
        raise ZeroDivisionError

    async def use(port: int) -> None:
        async with _session(port, lost) as adapter:
            await adapter.subscribe("t", deliver)
            await adapter.publish("t", 1)
            await until(lambda: lost, "the news")

    with nats_server() as server:
        with pytest.raises(ExceptionGroup) as caught:
            await use(server.port)
        assert caught.group_contains(ZeroDivisionError)
    assert len(lost) == 1
