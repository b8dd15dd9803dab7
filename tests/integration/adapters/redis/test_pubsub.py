"""Redis Pub/Sub against the real server."""

import asyncio

import pytest
from pydantic import SecretStr

from bridge.core.endpoint import AuthBasic
from bridge.core.errors import InvalidError, RejectedError
from bridge.core.model import Inbound
from tests.support.servers.redis_server import Told, redis_server, redis_session
from tests.support.wait import until


class Inbox:
    """What was delivered."""

    def __init__(self) -> None:
        self.got: list[Inbound] = []

    async def __call__(self, message: Inbound) -> None:
        self.got.append(message)

    @property
    def pairs(self) -> list[tuple[str, object]]:
        return [(one.topic, one.message) for one in self.got]


async def test_patterns_and_channels():
    """A wildcard makes a pattern, whose messages name the channel; a channel's own subscription gets its own copy."""
    with redis_server() as server:
        async with redis_session(server) as session:
            one, many, plain = Inbox(), Inbox(), Inbox()
            await session.subscribe("news.?", one)
            await session.subscribe("news.*", many)
            await session.subscribe("news.a", plain)
            assert await session.publish("news.a", {"n": 1}) == {"receivers": 3}
            assert await session.publish("news.bb", "text") == {"receivers": 1}
            assert await session.publish("other", 1) == {"receivers": 0}
            await until(lambda: len(many.got) == 2)
            assert one.pairs == plain.pairs == [("news.a", {"n": 1})]
            assert many.pairs == [("news.a", {"n": 1}), ("news.bb", "text")]


async def test_one_topic_may_have_several_takers():
    """Each gets everything, and leaves alone."""
    with redis_server() as server:
        async with redis_session(server) as session:
            first, second = Inbox(), Inbox()
            leaving = await session.subscribe("topic", first)
            await session.subscribe("topic", second)
            assert await session.publish("topic", 1) == {"receivers": 1}
            await until(lambda: first.got and second.got)
            await session.unsubscribe(leaving)
            await session.publish("topic", 2)
            await until(lambda: len(second.got) == 2)
            assert len(first.got) == 1


async def test_a_burst_arrives_whole_and_in_order():
    """From an independent publisher, as fast as it can."""
    with redis_server() as server:
        async with redis_session(server) as session:
            inbox = Inbox()
            await session.subscribe("burst", inbox)
            with server.client() as client, client.pipeline(transaction=False) as pipeline:
                for n in range(5000):
                    pipeline.publish("burst", n)
                await asyncio.to_thread(pipeline.execute)
            await until(lambda: len(inbox.got) == 5000)
            assert [one.message for one in inbox.got] == list(range(5000))


@pytest.mark.parametrize(
    ("codec", "value", "wire"),
    [
        ("json", "text", b'"text"'),
        ("text", "text", b"text"),
        ("bytes", b"\xff\0", b"\xff\0"),
        ("msgpack", [1], b"\x91\1"),
    ],
)
async def test_codecs(codec, value, wire):
    """What is on the wire, and the same back out."""
    with redis_server() as server:
        async with redis_session(server, codec=codec) as session:
            inbox = Inbox()
            await session.subscribe("topic", inbox)
            with server.client().pubsub() as raw:
                raw.connection_pool.connection_kwargs["decode_responses"] = False
                raw.subscribe("topic")
                await until(raw.get_message)
                await session.publish("topic", value)
                seen = []
                await until(lambda: seen.append(raw.get_message()) or seen[-1])
            assert seen[-1]["data"] == wire
            await until(lambda: inbox.got)
            assert inbox.got[0].message == value


async def test_a_message_that_is_not_what_the_codec_says_harms_no_other():
    """It comes as it is, with the reason; the next one arrives."""
    with redis_server() as server:
        async with redis_session(server, codec="json") as session:
            inbox = Inbox()
            await session.subscribe("topic", inbox)
            with server.client() as client:
                client.publish("topic", "{")
                client.publish("topic", "{}")
            await until(lambda: len(inbox.got) == 2)
            assert [one.message for one in inbox.got] == [b"{", {}]
            assert ["codec_error" in one.headers for one in inbox.got] == [True, False]


async def test_what_pubsub_cannot():
    """Groups, qos and retain are refused; a channel that the access rules forbid is that subscription's error alone."""
    rules = "user limited on >pw +@all ~* resetchannels &ok"
    with redis_server("--user", *rules.split()[1:]) as server:
        auth = AuthBasic(type="basic", username="limited", password=SecretStr("pw"))
        async with redis_session(server, auth=auth) as session:
            inbox = Inbox()
            with pytest.raises(InvalidError):
                await session.subscribe("ok", inbox, group="shared")
            for more in ({"qos": 1}, {"retain": True}):
                with pytest.raises(InvalidError, match="neither `qos` above 0 nor `retain`"):
                    await session.publish("ok", 1, **more)
            with pytest.raises(RejectedError) as caught:
                await session.subscribe("forbidden", inbox)
            assert caught.value.code == "NOPERM"
            await session.subscribe("ok", inbox)
            await session.publish("ok", 1)
            await until(lambda: inbox.got)


async def test_a_killed_pubsub_connection_ends_its_subscriptions_only():
    """Each is told at once, by itself; commands go on, and they can be made again in the same session."""
    with redis_server() as server:
        told, inbox = Told(), Inbox()
        async with redis_session(server, told=told) as session:
            for topic in ("topic", "other", "pattern*"):
                await session.subscribe(topic, inbox)
            with server.client() as client:
                assert client.execute_command("CLIENT", "KILL", "TYPE", "pubsub") == 1
            await until(lambda: told.ended)
            assert [(topic, error.kind) for topic, error in told.ended] == [
                ("topic", "connection_lost"),
                ("other", "connection_lost"),
                ("pattern*", "connection_lost"),
            ]
            await session.subscribe("topic", inbox)
            assert await session.publish("topic", 1) == {"receivers": 1}
            await until(lambda: inbox.got)
            assert not told.lost


async def test_a_frozen_server_fails_the_check_of_a_subscriber():
    """A silent Pub/Sub connection looks like a quiet one; the ping tells them apart."""
    with redis_server() as server:
        async with redis_session(server) as session:
            await session.subscribe("topic", Inbox())
            server.freeze()
            try:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await session.check()
            finally:
                server.thaw()
            await session.check()
