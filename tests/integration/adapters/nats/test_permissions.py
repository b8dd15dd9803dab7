"""What a real server forbids, from the beginning or while connected, belongs to whom it concerns; the rest goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from bridge.adapters.nats import jetstream
from bridge.adapters.nats.adapter import NatsAdapter, NatsConfig
from bridge.core.endpoint import AuthBasic, Endpoint
from bridge.core.errors import BridgeError, RejectedError
from bridge.core.model import Inbound
from tests.support.adapters.direct import Direct
from tests.support.adapters.setup import adapter_setup
from tests.support.adapters.told import Told
from tests.support.servers.nats_server import NatsServer, nats_responder, nats_server
from tests.support.wait import until

ORDERS = {"stream": {"name": "ORDERS", "subjects": ["orders.*"]}, "durable": "worker"}


def _settings(publish: str = '">"', subscribe: str = '">"', more: str = "") -> str:
    """A server's configuration with a user `app` beside one who may do everything."""
    user = f"user: app, password: app, permissions: {{ publish: {publish}, subscribe: {subscribe} }}"
    return f"""
{more}
no_auth_user: root
authorization {{
  users = [ {{ user: root, password: root }}, {{ {user} }} ]
}}
"""


@asynccontextmanager
async def _session(server: NatsServer, told: Told | None = None, **config: Any) -> AsyncIterator[Direct]:
    auth = AuthBasic(type="basic", username="app", password=SecretStr("app"))
    callbacks = {} if told is None else told.callbacks
    endpoint = Endpoint(url=f"nats://127.0.0.1:{server.port}")
    adapter = NatsAdapter(adapter_setup("test", endpoint, auth, config=NatsConfig.model_validate(config), **callbacks))
    await adapter.connect()
    try:
        yield Direct(adapter)
    finally:
        await adapter.disconnect()


async def _ignore(_: Inbound) -> None:
    """Deliver nowhere."""


@pytest.mark.parametrize("subject", ["no", "No.Ä", 'no."x"', "no.\\x", "no.\u200b\u0085", "no.\U000e0001", "no.'"])
async def test_a_forbidden_subject_of_any_characters(subject: str) -> None:
    """The server writes it in its own way: neither publish nor request may count as done."""
    told = Told()
    with nats_server(_settings('{ deny: ["no.>", "No.>", "no"] }')) as server:
        async with _session(server, told) as adapter:
            calls = [adapter.publish(subject, 1), adapter.request(subject, 1), adapter.publish("yes", 1)]
            results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
    assert [type(result) for result in results] == [RejectedError, RejectedError, dict]
    for error in results[:2]:
        assert isinstance(error, RejectedError)
        assert (error.code, error.retryable, error.maybe_sent) == ("permissions violation", False, False)
    assert (told.warnings, told.lost) == ({}, [])


@pytest.mark.parametrize("group", [None, 'g"1'])
async def test_a_forbidden_subscription(group: str | None) -> None:
    """It fails alone, whatever its subject and group."""
    told = Told()
    with nats_server(_settings(subscribe='{ deny: ["no.>"] }')) as server:
        async with _session(server, told) as adapter:
            subscribing = [adapter.subscribe(topic, _ignore, group=group) for topic in ('no."x\\"', "yes")]
            refused, permitted = await asyncio.gather(*subscribing, return_exceptions=True)
            assert isinstance(refused, RejectedError)
            assert not isinstance(permitted, BaseException)
            assert (await adapter.publish("yes", 1)) == {}
    assert (told.warnings, told.lost, told.ended) == ({}, [], [])


async def test_too_many_subscriptions() -> None:
    """The server does not say which one it refuses: the one that waits fails, and those before it go on."""
    told, got = Told(), []

    async def deliver(message: Inbound) -> None:
        got.append(message.topic)

    with nats_server(_settings(more="max_subscriptions: 3")) as server:
        async with _session(server, told) as adapter:
            first = await adapter.subscribe("a", deliver)
            await adapter.subscribe("b", deliver)
            with pytest.raises(RejectedError, match="maximum subscriptions exceeded"):
                await adapter.subscribe("c", deliver)
            await adapter.unsubscribe(first)
            await adapter.subscribe("c", deliver)
            for topic in "abc":
                await adapter.publish(topic, 1)
            await until(lambda: len(got) == 2, "two messages")
    assert got == ["b", "c"]
    assert (told.warnings, told.lost, told.ended) == ({}, [], [])


async def test_a_subscription_revoked_while_connected() -> None:
    """It ends and is told; the session and others go on; when it is permitted again it can be made again."""
    told, got = Told(), []

    async def deliver(message: Inbound) -> None:
        got.append(message.topic)

    with nats_server(_settings()) as server:
        async with _session(server, told) as adapter:
            revoked = await adapter.subscribe("no.>", deliver, group="g")
            await adapter.subscribe("yes.>", deliver)
            server.reload(_settings(subscribe='{ deny: ["no.>"] }'))
            await until(lambda: told.ended, "the news")
            with pytest.raises(RejectedError):
                await adapter.subscribe("no.>", deliver, group="g")
            await adapter.unsubscribe(revoked)
            server.reload(_settings())
            await adapter.subscribe("no.>", deliver, group="g")
            for topic in ("no.1", "yes.1"):
                await adapter.publish(topic, 1)
            await until(lambda: len(got) == 2, "both messages")
    ((topic, error),) = told.ended
    assert (topic, error.kind, error.code) == ("no.>", "rejected", "permissions violation")
    assert (told.lost, told.warnings) == ([], {})


async def test_a_user_who_gets_no_answers() -> None:
    """Publishing works, a request is refused, and a warning says why; when answers are permitted all works."""
    told = Told()
    with nats_server(_settings(subscribe='{ deny: ["_INBOX.>"] }')) as server:
        async with nats_responder(server.port), _session(server, told) as adapter:
            assert await adapter.publish("t", 1) == {}
            with pytest.raises(RejectedError, match="Permissions Violation"):
                await adapter.request("echo", 1)
            assert "no answer" in told.warnings["answers"]
            server.reload(_settings())
            assert await adapter.request("echo", 1) == 1
            assert not told.warnings
            server.reload(_settings(subscribe='{ deny: ["_INBOX.>"] }'))
            await until(lambda: told.warnings, "the news")
            with pytest.raises(RejectedError):
                await adapter.request("echo", 1)
            assert await adapter.publish("t", 1) == {}
    assert not told.lost


@pytest.mark.parametrize("denied", ["$JS.API.CONSUMER.MSG.NEXT.>", "$JS.ACK.>", "_INBOX.>"])
async def test_a_queue_that_is_forbidden_while_it_is_read(denied: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pulling, acknowledging or receiving: that subscription ends, nothing else, and nothing is lost."""
    monkeypatch.setattr(jetstream, "EXPIRES", 0.3)
    told, got = Told(), []

    async def deliver(message: Inbound) -> None:
        got.append((message.message, message.attempts))

    denial = f'{{ deny: ["{denied}"] }}'
    forbidding = _settings(subscribe=denial) if denied.startswith("_") else _settings(publish=denial)
    with nats_server(_settings()) as server:
        async with _session(server, told, **ORDERS) as adapter, _session(server, codec="json") as other:
            await adapter.consume("ORDERS/worker", deliver)
            await adapter.enqueue("orders.a", 1)
            await until(lambda: got, "the first message")
            server.reload(forbidding)
            await other.publish("orders.a", 2)
            await until(lambda: told.ended, "the news", 12)
            assert await adapter.publish("t", 1) == {}
        async with _session(server, codec="json") as adapter:
            server.reload(_settings())
            await adapter.consume("ORDERS/worker", deliver)
            await until(lambda: 2 in {message for message, _ in got}, "the second message", 40)
    ((topic, error),) = told.ended
    assert (topic, error.kind) == ("ORDERS/worker", "rejected")
    assert not told.lost


async def test_a_forbidden_queue_leaves_nothing_behind() -> None:
    """A `consume` that fails after it has subscribed unsubscribes; the server counts it no more."""
    told = Told()
    with nats_server(_settings('{ deny: ["$JS.API.CONSUMER.MSG.NEXT.>"] }')) as server:
        async with _session(server, told, **ORDERS) as adapter:
            connection = adapter._connection
            assert connection is not None
            before = len(connection._subscriptions)
            with pytest.raises(BridgeError, match="Permissions Violation"):
                await adapter.consume("ORDERS/worker", _ignore)
            assert len(connection._subscriptions) == before
            with pytest.raises(RejectedError, match="Permissions Violation"):
                await adapter.dequeue("ORDERS/worker")
    assert (told.lost, told.ended) == ([], [])
