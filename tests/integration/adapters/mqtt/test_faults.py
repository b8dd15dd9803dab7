"""An MQTT broker that dies, freezes or talks nonsense: calls fail at once, and nothing is left behind."""

import asyncio
import threading
import time

import pytest

from bridge.core.errors import BridgeError, ConnectionLostError, InvalidError, NotConnectedError, RejectedError
from bridge.core.ports import Context
from bridge.core.settings import Hold
from tests.support.adapters.mqtt import Mailbox, adapter, connected
from tests.support.servers.mosquitto import mosquitto
from tests.support.servers.proxy import FaultProxy, fault_proxy
from tests.support.servers.scripted.server import Peer, scripted_server
from tests.support.wait import until


async def test_everything_in_flight_fails_at_once() -> None:
    """500 publishes under way when the broker dies: none of them waits for its time limit."""
    lost: list[BridgeError] = []
    with mosquitto() as broker:
        async with connected(broker.url, on_lost=lost.append) as session:
            broker.freeze()
            calls = [asyncio.ensure_future(session.publish("t", n, qos=1 + n % 2)) for n in range(500)]
            calls.append(asyncio.ensure_future(session.request("m", {})))
            calls.append(asyncio.ensure_future(session.subscribe("t", Mailbox().deliver)))
            await asyncio.sleep(0)
            started = time.monotonic()
            broker.kill()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert time.monotonic() - started < 5
            assert {type(result) for result in results} == {ConnectionLostError}
            with pytest.raises(NotConnectedError):
                await session.publish("t", 1, qos=0)
        assert len(lost) == 1


async def test_a_cancelled_connect_leaves_nothing_behind() -> None:
    """Neither thread nor task, however far it came; the next session of the same client connects."""
    before = set(threading.enumerate())  # other tests may leave threads behind
    with mosquitto() as broker:
        async with connected(broker.url):
            tasks = asyncio.all_tasks()
            assert set(threading.enumerate()) <= before
        broker.freeze()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await adapter(broker.url).connect()
        assert set(threading.enumerate()) <= before
        assert asyncio.all_tasks() <= tasks
        broker.thaw()
        async with connected(broker.url) as session:
            await session.check()


async def test_cancelled_calls_harm_no_other() -> None:
    """Publishing, subscribing and asking, each cancelled under way."""
    with mosquitto() as broker:
        async with connected(broker.url) as session:
            broker.freeze()
            calls = [
                asyncio.ensure_future(session.publish("t", 1, qos=2)),
                asyncio.ensure_future(session.subscribe("t", Mailbox().deliver)),
                asyncio.ensure_future(session.request("m", {})),
            ]
            await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(result) for result in results} == {asyncio.CancelledError}
            broker.thaw()
            await session.check()
            await session.publish("t", 1, qos=2)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_cut_connection_is_noticed(reset: bool) -> None:  # a parameter of the test
    """By its end or by its reset; both are told once."""
    lost: list[BridgeError] = []
    with mosquitto() as broker:
        async with fault_proxy("127.0.0.1", broker.port) as proxy:
            assert isinstance(proxy, FaultProxy)
            async with connected(f"mqtt://127.0.0.1:{proxy.port}", on_lost=lost.append):
                proxy.end_all(reset=reset)
                await until(lambda: lost)
    assert len(lost) == 1


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x20\x03\x00\x00\xff", b"\x20\x00", b"\xff" * 64, b"\x30\x02\x00\x09" * 8],
)
async def test_a_server_that_does_not_speak_mqtt(answer: bytes) -> None:
    """Whatever it says, the session is not there, and nothing hangs."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        session = adapter(f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(NotConnectedError) as caught:
            await session.connect()
        assert not caught.value.maybe_sent
        await session.disconnect()


@pytest.mark.parametrize("answers", [True, False])
async def test_the_keep_alive(answers: bool) -> None:
    """A broker that answers no PINGREQ is lost; one that answers is kept."""
    lost: list[BridgeError] = []
    pings: list[bytes] = []
    ended = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1_000)
        writer.write(b"\x20\x03\x00\x00\x00")
        while (packet := await reader.read(2)) == b"\xc0\x00":
            pings.append(packet)
            if answers:
                writer.write(b"\xd0\x00")
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with connected(f"mqtt://127.0.0.1:{port}", on_lost=lost.append, keep_alive=1.0):
            await until(lambda: len(pings) >= 3 if answers else lost)
        await ended.wait()
    assert ["keep-alive" in error.message for error in lost] == ([] if answers else [True])


async def test_a_broker_with_small_packets() -> None:
    """What is too large with its key and headers is `invalid`, before it is sent; all that fits goes through."""
    lost: list[BridgeError] = []
    mailbox = Mailbox()
    with mosquitto("max_packet_size 2000") as broker:
        async with connected(broker.url, on_lost=lost.append) as session:
            await session.subscribe("t", mailbox.deliver)
            key = Context(idempotency_key="k" * 120)
            accepted = refused = 0
            for size in range(1_700, 2_000):
                try:
                    await session.publish("t", "x" * size, context=key)
                except InvalidError:
                    refused += 1
                else:
                    assert not refused
                    accepted += 1
            with pytest.raises(InvalidError, match="the broker takes 2000"):
                await session.publish("t", "x" * 2_000, context=key)
            with pytest.raises(InvalidError):
                await session.subscribe("s" * 2_000, mailbox.deliver)
            await until(lambda: len(mailbox.messages) == accepted)
            assert accepted > 50
            assert refused > 50
            await session.check()
    assert not lost


async def test_a_subscription_that_gets_less_than_it_asks_for() -> None:
    """A lower quality is a warning, taken back when it is granted; nothing left to acknowledge is a failure."""
    warnings: dict[str, str | None] = {}
    granted = bytearray(b"\x00\x00\x00\x01")

    async def talk(peer: Peer) -> None:
        await peer.reader.read(1_000)
        await peer.send(b"\x20\x03\x00\x00\x00")
        while packet := await peer.reader.read(1_000):
            if packet[0] == 0x82:
                await peer.send(b"\x90\x04" + packet[2:4] + b"\x00%c" % granted.pop(0))
            elif packet[0] == 0xA2:
                await peer.send(b"\xb0\x04" + packet[2:4] + b"\x00\x00")

    async with scripted_server(talk) as server:
        url = f"mqtt://127.0.0.1:{server.port}"
        async with connected(url, told={"on_warning": warnings.__setitem__}) as session:
            await session.subscribe("t", Mailbox().deliver, qos=2)
            assert warnings == {"qos of t": "the broker grants 't' only QoS 0 in place of 2"}
            await session.subscribe("none", Mailbox().deliver, qos=0)
            with pytest.raises(RejectedError, match="nothing left to acknowledge"):
                await session.subscribe("t", Mailbox().deliver, hold=Hold())
            await session.subscribe("t", Mailbox().deliver)
            assert warnings == {"qos of t": None, "qos of none": None}
            await session.check()


async def test_data_that_arrives_is_a_sign_of_life() -> None:
    """`last_heard` goes on with it, so that a check whose answer comes behind a flood has not failed."""
    answered = asyncio.Event()
    flood = b"\x30\x84\x04\x00\x01t\x00" + bytes(512)

    async def talk(peer: Peer) -> None:
        await peer.reader.read(1_000)
        await peer.send(b"\x20\x03\x00\x00\x00")
        await peer.reader.read(1_000)
        while not answered.is_set():
            await peer.send(flood)
            await asyncio.sleep(0.01)
        await peer.send(b"\xb0\x04\x00\x01\x00\x11")
        await peer.rest()

    async with scripted_server(talk) as server, connected(f"mqtt://127.0.0.1:{server.port}") as session:
        before = session.last_heard
        assert before is not None
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await session.check()
        assert session.last_heard is not None
        assert session.last_heard > before
        assert not session.adapter._is_doubtful(session.adapter._connection)  # type: ignore[attr-defined]
        answered.set()


async def test_a_client_id_that_leaves_no_room_for_the_topic_for_answers() -> None:
    """`$share` and a group, too: what is composed of parts that fit may not fit itself."""
    with mosquitto() as broker:
        async with connected(broker.url, client_id="ä" * 20_000) as session:
            with pytest.raises(InvalidError, match="client_id"):
                await session.request("m", 1)
            with pytest.raises(InvalidError, match="group"):
                await session.subscribe("t" * 65_000, Mailbox().deliver, group="g" * 1_000)
            await session.check()
