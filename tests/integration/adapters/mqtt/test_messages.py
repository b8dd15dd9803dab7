"""MQTT messages against a real Mosquitto: what goes in comes out, as it was."""

from collections.abc import Iterator
from typing import Any

import pytest

from bridge.core.errors import InvalidError, NotSupportedError, RejectedError
from bridge.core.model import Inbound
from bridge.core.ports import Context
from tests.support.adapters.mqtt import Mailbox, connected
from tests.support.servers.mosquitto import Mosquitto, mosquitto
from tests.support.servers.mqtt_responder import responder
from tests.support.wait import until


@pytest.fixture(scope="module")
def broker() -> Iterator[Mosquitto]:
    """One broker for all tests, each with topics of its own."""
    with mosquitto() as running:
        yield running


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_each_quality_of_service(broker: Mosquitto, version: str, qos: int) -> None:
    """Whether one publishes or subscribes with it, messages arrive once and in order."""
    mailbox = Mailbox()
    topic = f"qos/{version}/{qos}"
    async with connected(broker.url, version=version) as session:
        await session.subscribe(topic, mailbox.deliver, qos=qos)
        for number in range(50):
            await session.publish(topic, number, qos=qos)
        await until(lambda: len(mailbox.messages) >= 50)
        await session.check()
        assert mailbox.contents == list(range(50))


async def test_retained_messages_come_first_and_say_so(broker: Mosquitto) -> None:
    """A later subscriber gets the last one at once, marked; a live one is not marked; an empty one ends it."""
    mailbox = Mailbox()
    async with connected(broker.url, codec="text") as session:
        await session.publish("retained/a", "old", retain=True)
        await session.publish("retained/a", "last", retain=True)
        await session.subscribe("retained/#", mailbox.deliver)
        await until(lambda: mailbox.messages)
        await session.publish("retained/a", "live", retain=True)
        await until(lambda: len(mailbox.messages) == 2)
        assert mailbox.contents == ["last", "live"]
        assert [message.headers.get("retain") for message in mailbox.messages] == ["true", None]
        await session.publish("retained/a", "", retain=True)


async def test_wildcards_and_overlapping_subscriptions(broker: Mosquitto) -> None:
    """Each subscription gets each message that fits it, once."""
    one, many, exact = Mailbox(), Mailbox(), Mailbox()
    async with connected(broker.url) as session:
        await session.subscribe("wild/+/c", one.deliver)
        await session.subscribe("wild/#", many.deliver)
        await session.subscribe("wild/b/c", exact.deliver)
        for topic in ("wild/b/c", "wild/x/c", "wild/b/d", "wild"):
            await session.publish(topic, topic)
        await until(lambda: len(many.messages) >= 4)
        await session.check()
        assert one.contents == ["wild/b/c", "wild/x/c"]
        assert many.contents == ["wild/b/c", "wild/x/c", "wild/b/d", "wild"]
        assert exact.contents == ["wild/b/c"]


async def test_members_of_a_group_share(broker: Mosquitto) -> None:
    """Every message goes to one of them, and both get some."""
    left, right = Mailbox(), Mailbox()
    async with connected(broker.url) as first, connected(broker.url) as second:
        await first.subscribe("shared/+", left.deliver, group="nemo")
        await second.subscribe("shared/+", right.deliver, group="nemo")
        for number in range(20):
            await first.publish(f"shared/{number}", number)
        await until(lambda: len(left.messages) + len(right.messages) >= 20)
        assert sorted(left.contents + right.contents) == list(range(20))
        assert left.contents
        assert right.contents


async def test_headers_travel_as_user_properties(broker: Mosquitto) -> None:
    """Headers and the idempotency key, with the content's type."""
    mailbox = Mailbox()
    context = Context({"hop": "2", "traceparent": "00-a-b-01"}, idempotency_key="k1")
    async with connected(broker.url) as session:
        await session.subscribe("headers", mailbox.deliver)
        await session.publish("headers", {"ä": 1}, context=context)
        await session.publish("headers", "x", headers={"mine": "ü"}, context=context)
        await until(lambda: len(mailbox.messages) == 2)
        first, second = (message.headers for message in mailbox.messages)
        assert first == {
            "hop": "2",
            "traceparent": "00-a-b-01",
            "idempotency_key": "k1",
            "content_type": "application/json",
        }
        assert second == {**first, "mine": "ü", "content_type": "text/plain"}


@pytest.mark.parametrize(
    ("codec", "value"),
    [
        ("auto", {"a": [1, None, "x"]}),
        ("auto", "123"),
        ("auto", ""),
        ("json", "123"),
        ("msgpack", {"bin": b"\x00\xff", "n": 2**64 - 1}),
        ("text", "ä\n"),
        ("bytes", b"\x00\xfe"),
    ],
)
async def test_each_codec_brings_the_value_back(broker: Mosquitto, codec: str, value: Any) -> None:
    """With MQTT 5 the content type keeps even a text of digits a text."""
    mailbox = Mailbox()
    async with connected(broker.url, codec=codec) as session:
        await session.subscribe(f"codec/{codec}", mailbox.deliver)
        await session.publish(f"codec/{codec}", value)
        await until(lambda: mailbox.messages)
        assert mailbox.contents == [value]


async def test_what_the_codec_cannot_read_is_not_lost(broker: Mosquitto) -> None:
    """It comes as the bytes that it is, with a header that says why."""
    mailbox = Mailbox()
    async with connected(broker.url, codec="json") as session, connected(broker.url, codec="bytes") as other:
        await session.subscribe("unreadable", mailbox.deliver)
        await other.publish("unreadable", b"{oops")
        await until(lambda: mailbox.messages)
        assert mailbox.contents == [b"{oops"]
        assert "not JSON" in mailbox.messages[0].headers["codec_error"]


async def test_nobody_subscribed(broker: Mosquitto) -> None:
    """The broker's word that there were no receivers is passed on."""
    async with connected(broker.url) as session:
        assert await session.publish("nobody/is/here", 1) == {"receivers": 0}


async def test_bad_topics_are_refused_before_they_are_sent(broker: Mosquitto) -> None:
    """A broker would hang up, or leave the call to its time limit; the session goes on."""
    async with connected(broker.url) as session:
        for topic in ("", "a/+", "#", "a\x00b", "a\nb", "a" * 65_536, "\ud800"):
            with pytest.raises(InvalidError):
                await session.publish(topic, 1)
            with pytest.raises(InvalidError):
                await session.request(topic, 1)
        for topic in ("", "a/#/b", "a+", "a\x00", "x" * 65_536):
            with pytest.raises(InvalidError):
                await session.subscribe(topic, Mailbox().deliver)
        with pytest.raises(InvalidError, match="headers"):
            await session.publish("a", 1, headers={"h": "a\x00"})
        with pytest.raises(InvalidError, match="group"):
            await session.subscribe("a", Mailbox().deliver, group="a/b")
        await session.check()


async def test_what_the_older_version_lacks(broker: Mosquitto) -> None:
    """RPC, groups and headers; the headers that only the bridge adds are left out."""
    mailbox = Mailbox()
    context = Context({"hop": "1"})
    async with connected(broker.url, version="3.1.1") as session:
        with pytest.raises(NotSupportedError):
            await session.request("m", {})
        with pytest.raises(NotSupportedError):
            await session.subscribe("a", mailbox.deliver, group="g")
        with pytest.raises(NotSupportedError):
            await session.publish("a", 1, headers={"hop": "1", "mine": "x"}, context=context)
        await session.subscribe("older", mailbox.deliver)
        await session.publish("older", {"n": 1}, headers={"hop": "1"}, context=context)
        await until(lambda: mailbox.messages)
        assert mailbox.messages == [Inbound(topic="older", message={"n": 1})]


async def test_requests_carry_headers_and_answers_may_refuse(broker: Mosquitto) -> None:
    """The service sees headers and key; a user property `error` in its answer is a refusal."""
    with responder(broker.port) as service:
        async with connected(broker.url) as session:
            assert await session.request("echo", [1], context=Context({"hop": "3"}, "key")) == [1]
            assert service.headers == [{"hop": "3", "idempotency_key": "key"}]
            with pytest.raises(RejectedError) as caught:
                await session.request("fail", {"code": "E7", "message": "no", "data": None})
            assert (caught.value.code, caught.value.message, caught.value.data) == ("E7", "no", None)
