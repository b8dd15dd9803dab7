"""MQTT sessions against a real Mosquitto: nothing acknowledged is lost, whoever dies."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bridge.adapters.mqtt import inbox
from bridge.core.errors import BridgeError, ConnectionLostError, NotConnectedError
from bridge.core.model import Publish
from bridge.core.ports import NO_CONTEXT
from tests.support.adapters.mqtt import Mailbox, adapter, connected
from tests.support.servers.mosquitto import Mosquitto, mosquitto
from tests.support.wait import until

KEPT = {"client_id": "sidecar", "clean_start": False}
VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])


@VERSIONS
@pytest.mark.parametrize("qos", [1, 2])
async def test_what_was_published_while_away_arrives(version: str, qos: int) -> None:
    """In order, although the broker sends it before the new session has subscribed again."""
    mailbox = Mailbox()
    with mosquitto() as broker:
        async with connected(broker.url, **KEPT, version=version) as session:
            await session.subscribe("away/#", mailbox.deliver, qos=qos)
        async with connected(broker.url) as other:
            for number in range(50):
                await other.publish("away/a", number, qos=qos)
        async with connected(broker.url, **KEPT, version=version) as session:
            await session.publish("elsewhere", "by now all that was kept is on its way")
            await session.subscribe("away/#", mailbox.deliver, qos=qos)
            await until(lambda: len(mailbox.messages) >= 50)
            await session.check()
        assert mailbox.contents == list(range(50))


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_message_is_acknowledged_only_after_it_was_delivered(qos: int) -> None:
    """A session that dies while it delivers gets the message again in its next life."""
    first, second = Mailbox(), Mailbox()
    first.closed = True
    with mosquitto() as broker:
        async with connected(broker.url, **KEPT) as session, connected(broker.url) as other:
            await session.subscribe("work", first.deliver, qos=qos)
            for number in range(5):
                await other.publish("work", number, qos=qos)
            await until(lambda: first.messages)
        async with connected(broker.url, **KEPT) as session:
            await session.subscribe("work", second.deliver, qos=qos)
            await until(lambda: len(second.messages) >= 5)
        assert first.contents == [0]
        assert second.contents == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("qos", [1, 2])
async def test_nothing_is_lost_over_a_restart_of_the_broker(qos: int) -> None:
    """Delivered, and confirmed to the publisher: both hold across a broker that stops and comes back."""
    mailbox = Mailbox()
    with mosquitto("persistence true") as broker:
        async with connected(broker.url, **KEPT) as session:
            await session.subscribe("durable", mailbox.deliver, qos=qos)
        async with connected(broker.url) as other:
            for number in range(10):
                await other.publish("durable", number, qos=qos)
        broker.stop()
        broker.start()
        async with connected(broker.url, **KEPT) as again:
            await again.subscribe("durable", mailbox.deliver, qos=qos)
            await until(lambda: len(mailbox.messages) >= 10)
        assert mailbox.contents == list(range(10))


async def test_a_slow_application_loses_nothing() -> None:
    """Many more messages than the window holds: the broker waits, and nothing is discarded on our side."""
    mailbox = Mailbox()
    total = 400

    async def slowly(inbound: Any) -> None:
        await asyncio.sleep(0)
        await mailbox.deliver(inbound)

    with mosquitto("max_queued_messages 0") as broker:
        async with connected(broker.url, receive_maximum=5) as session, connected(broker.url) as other:
            await session.subscribe("slow", slowly)
            await asyncio.gather(*[other.publish("slow", number) for number in range(total)])
            await until(lambda: len(mailbox.messages) >= total)
            assert sorted(mailbox.contents) == list(range(total))


@VERSIONS
async def test_a_kept_subscription_that_nobody_wants_any_more(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart without it: the broker ends it, its messages are counted, and nothing blocks the window."""
    monkeypatch.setattr(inbox, "GRACE", 0.1)
    mailbox, dropped, warnings = Mailbox(), list[str](), dict[str, str | None]()
    told = {"on_dropped": lambda _, topic: dropped.append(topic), "on_warning": warnings.__setitem__}
    with mosquitto() as broker:
        async with connected(broker.url, **KEPT, version=version) as session:
            await session.subscribe("stale/+", mailbox.deliver)
        async with connected(broker.url) as other:
            for number in range(40):
                await other.publish(f"stale/{number % 3}", number)
            async with connected(broker.url, **KEPT, version=version, told=told) as session:
                await session.subscribe("wanted", mailbox.deliver)
                session.subscriptions_restored()
                await until(lambda: len(dropped) == 40)
                assert set(dropped) == {"stale/0", "stale/1", "stale/2"}
                assert warnings["stale subscription"]
                assert await other.publish("stale/0", 1) == {"receivers": 0}
                for number in range(40):
                    await session.publish("wanted", number)
                await until(lambda: len(mailbox.messages) >= 40)
                assert mailbox.contents == list(range(40))


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_shared_group_that_the_configuration_has_left_gets_its_jobs(tmp_path: Path, restarted: bool) -> None:
    """A session that no longer subscribes takes no more of them; what it had in hand is told."""
    mailbox, dropped = Mailbox(), list[str]()
    told: dict[str, Any] = {"on_dropped": lambda _, topic: dropped.append(topic)}
    told |= {"state_dir": tmp_path} if restarted else {"session_state": {}}
    with mosquitto() as broker:
        async with connected(broker.url, **KEPT, told=told) as session:
            await session.subscribe("jobs/#", mailbox.deliver, group="workers")
        async with connected(broker.url) as other, connected(broker.url, **KEPT, told=told) as session:
            await other.subscribe("jobs/#", mailbox.deliver, group="workers")
            session.subscriptions_restored()
            for _ in range(4):  # some of them come to each
                await other.publish("jobs/first", 0)
            await until(lambda: dropped)
            mailbox.messages.clear()
            await session.check()
            for number in range(20):
                await other.publish(f"jobs/{number}", number)
            await until(lambda: len(mailbox.messages) >= 20)
            assert mailbox.contents[-20:] == list(range(20))
            assert set(dropped) == {"jobs/first"}


@VERSIONS
async def test_a_message_of_quality_two_that_an_earlier_process_left_swallows_no_other(version: str) -> None:
    """The broker knows its identifier; the message that gets the same one is published all the same."""
    mailbox = Mailbox()
    with mosquitto() as broker:
        async with connected(broker.url) as watcher:
            await watcher.subscribe("exactly/once", mailbox.deliver, qos=2)
            dying = adapter(broker.url, **KEPT, version=version)
            await dying.connect()
            assert dying._connection is not None
            dying._connection._outgoing.on_answer = lambda *_: None  # type: ignore[method-assign]
            begun: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            dying.begin(Publish(topic="exactly/once", message="left", qos=2), NO_CONTEXT, begun)
            await dying.check()
            await dying.disconnect()
            with pytest.raises(ConnectionLostError):
                await begun
            async with connected(broker.url, **KEPT, version=version) as session:
                assert await session.publish("exactly/once", "next", qos=2) == {}
                await until(lambda: "next" in mailbox.contents)
            assert mailbox.contents == ["left", "next"]


@VERSIONS
async def test_two_clients_with_one_client_id(version: str) -> None:
    """Mosquitto closes the older connection without a word, in both versions: when that repeats, the error says why."""
    lost: list[BridgeError] = []
    state: dict[str, Any] = {}
    with mosquitto() as broker:
        for count in (1, 2):
            told = {"session_state": state}
            async with (
                connected(broker.url, client_id="one", version=version, on_lost=lost.append, told=told),
                connected(broker.url, client_id="one", version=version),
            ):
                await until(lambda count=count: len(lost) == count)
    assert ["session taken over" in error.message for error in lost] == [False, True]


async def _will(broker: Mosquitto, end: Any) -> list[Any]:
    """What the will's topic says when a session ended in that way, up to a mark that comes after it."""
    mailbox = Mailbox()
    async with connected(broker.url) as watcher:
        await watcher.subscribe("will", mailbox.deliver)
        session = adapter(broker.url, will={"topic": "will", "message": {"status": "gone"}}, client_id="mortal")
        await session.connect()
        await end(session)
        # The broker has ended the old session, will and all, before it lets the same client in again.
        async with connected(broker.url, client_id="mortal"):
            await watcher.publish("will", "mark")
        await until(lambda: "mark" in mailbox.contents)
    return mailbox.contents


async def test_an_orderly_end_leaves_no_will() -> None:
    """DISCONNECT tells the broker that nothing is wrong."""
    with mosquitto() as broker:
        assert await _will(broker, lambda session: session.disconnect()) == ["mark"]


async def test_the_will_is_published_after_a_failure() -> None:
    """Also where the session is closed by us because its check failed, and the broker wakes up later."""

    async def frozen(session: Any) -> None:
        broker.freeze()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await session.check()
        await session.disconnect()
        broker.thaw()

    with mosquitto() as broker:
        assert await _will(broker, frozen) == [{"status": "gone"}, "mark"]


async def test_another_client_of_the_same_name_takes_the_session() -> None:
    """Two of them would throw each other out for ever, so a person is asked for."""
    lost: list[BridgeError] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"\x20\x03\x00\x00\x00" + b"\xe0\x01\x8e")  # CONNACK, DISCONNECT: session taken over
        await reader.read()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with connected(f"mqtt://127.0.0.1:{port}", on_lost=lost.append) as session:
            await until(lambda: lost)
            with pytest.raises(NotConnectedError):
                await session.publish("a", 1)
    assert isinstance(lost[0], ConnectionLostError)
    assert lost[0].permanent
    assert "taken over" in lost[0].message


async def test_an_orderly_end_sends_everything_first() -> None:
    """What was answered as sent reaches a broker that reads, and DISCONNECT behind it."""
    got, ended = bytearray(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"\x20\x03\x00\x00\x00")  # CONNACK
        while data := await reader.read(65_536):
            got.extend(data)
        ended.set()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        async with connected(f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}") as session:
            for _ in range(200):
                assert await session.publish("t", "x" * 100_000, qos=0) == {}
        await asyncio.wait_for(ended.wait(), 10)
    assert got.count(b"x" * 1000) == 20_000
    assert got.endswith(b"\xe0\x00")
