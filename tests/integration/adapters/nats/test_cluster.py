"""What carries a fabric when servers are silent, killed, without JetStream, or forbid something; see `core.cluster`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from bridge.adapters.nats.adapter import NatsAdapter
from bridge.core.cluster import Asked, KeyEntry, Received, StreamSpec
from bridge.core.endpoint import AuthBasic, Endpoint
from bridge.core.errors import BridgeError, RejectedError, UnavailableError
from bridge.core.model import Export
from bridge.core.ports import Context, perform
from tests.support.adapters.setup import adapter_setup
from tests.support.adapters.told import Told
from tests.support.servers.nats_cluster import NatsCluster, nats_cluster
from tests.support.servers.nats_server import nats_client, nats_server
from tests.support.wait import PATIENCE, until

_SPEC = StreamSpec(name="T", subjects=("t.event.>",), max_age=3600.0)


@asynccontextmanager
async def _session(port: int, told: Told | None = None, user: str | None = None) -> AsyncIterator[NatsAdapter]:
    auth: dict[str, Any] = {}
    if user is not None:
        auth["auth"] = AuthBasic(type="basic", username=user, password=SecretStr(user))
    callbacks = {} if told is None else told.callbacks
    adapter = NatsAdapter(adapter_setup("test", Endpoint(url=f"nats://127.0.0.1:{port}"), **auth, **callbacks))
    await adapter.connect()
    try:
        yield adapter
    finally:
        await adapter.disconnect()


async def _store(adapter: NatsAdapter, key: str) -> Any:
    command = Export(subject="t.event.x", body=key.encode(), sender="test", stored=True)
    return await perform(adapter, command, Context(idempotency_key=key))


async def _in_the_end(call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Repeat what has no answer yet, as the guard does for the bridge."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(TimeoutError, UnavailableError):
                async with asyncio.timeout(2):
                    return await call()
            await asyncio.sleep(0.1)


async def test_a_silent_server() -> None:
    """Calls that are given up leave nothing behind, the end of a watch waits a second at most, and all goes on."""
    told, ended = Told(), list[BridgeError]()
    with nats_server() as server:
        async with _session(server.port, told) as adapter:
            cluster = adapter.cluster
            await cluster.stream(_SPEC)
            await cluster.bucket("B", replicas=1)
            revision = await cluster.create("B", "a", b"1")
            stop = await cluster.watch("B", lambda _: None, ended.append)
            server.freeze()
            for call in (
                cluster.get("B", "a"),
                cluster.stream_state("T"),
                cluster.consumer("T", "c", "t.event.>"),
                cluster.subscribe("t.live.>", lambda _: None, ended.append),
                _store(adapter, "a"),
            ):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await call
            async with asyncio.timeout(5):
                await stop()
            server.thaw()
            assert await cluster.update("B", "a", b"2", revision) == revision + 1
            assert await _store(adapter, "a") == {"stream": "T", "sequence": 1}
            assert (await cluster.stream_state("T")).messages == 1
    assert (ended, told.lost) == ([], [])


async def test_a_server_that_is_killed() -> None:
    """It has lost nothing when it comes back: the next session continues consumer, bucket and ids of messages."""
    told = Told()
    got: list[bytes] = []

    def handle(message: Received) -> "asyncio.Future[None] | None":
        got.append(message.body)
        return asyncio.get_running_loop().create_future() if got.count(b"2") == 1 else None

    with nats_server() as server:
        async with _session(server.port, told) as adapter:
            await adapter.cluster.stream(_SPEC)
            await adapter.cluster.bucket("B", replicas=1)
            revision = await adapter.cluster.create("B", "a", b"1")
            await adapter.cluster.consumer("T", "c", "t.event.>")
            await adapter.cluster.consume("T", "c", handle, told.lost.append, prefetch=10)
            for key in ("1", "2"):
                await _store(adapter, key)
            await until(lambda: len(got) == 2, "both events")
            server.restart()
            await until(lambda: told.lost, "the loss")
        async with _session(server.port) as adapter:
            await _in_the_end(lambda: _store(adapter, "2"))
            await _store(adapter, "3")
            assert (await adapter.cluster.stream_state("T")).messages == 3
            await adapter.cluster.consume("T", "c", handle, told.lost.append, prefetch=10)
            await until(lambda: got.count(b"2") == 2 and b"3" in got, "what was in hand, and what came later")
            assert await adapter.cluster.update("B", "a", b"2", revision) == revision + 1
    assert len(told.lost) == 1


async def test_a_server_without_jetstream() -> None:
    """Streams and buckets are `unavailable`, surely without an effect; the rest of the session works."""
    with nats_server(jetstream=False) as server:
        async with _session(server.port) as adapter:
            cluster, got = adapter.cluster, list[Received]()
            for call in (cluster.stream(_SPEC), cluster.bucket("B", replicas=1), cluster.get("B", "a")):
                with pytest.raises(UnavailableError) as caught:
                    await call
                assert not caught.value.maybe_sent
            await cluster.subscribe("t.>", got.append, lambda _: None)
            await perform(adapter, Export(subject="t.x", body=b"1", sender="s", stored=False), Context())
            await until(lambda: got)


async def test_a_server_without_headers() -> None:
    """Nothing is written to a stream or a bucket: without the revision it expects, a write would have no condition."""
    with nats_server("no_header_support: true") as server:
        async with _session(server.port) as adapter:
            for call in (adapter.cluster.update("B", "a", b"1", 1), _store(adapter, "1")):
                with pytest.raises(RejectedError, match="no_header_support"):
                    await call


def _settings(publish: str = '">"', subscribe: str = '">"') -> str:
    user = f"user: app, password: app, permissions: {{ publish: {publish}, subscribe: {subscribe} }}"
    return f"authorization {{ users = [ {{ user: root, password: root }}, {{ {user} }} ] }}"


async def test_what_is_forbidden() -> None:
    """A forbidden subject concerns the one call that needs it, at once; the session and the other calls go on."""
    denied = '"$KV.B.lease.>", "$JS.API.CONSUMER.CREATE.KV_B.>", "$JS.API.STREAM.CREATE.NO", "t.event.no", "t.use.no"'
    told = Told()
    with nats_server(_settings(f"{{ deny: [{denied}] }}", '{ deny: ["t.use.erp"] }')) as server:
        async with _session(server.port, user="root") as root, _session(server.port, told, "app") as adapter:
            cluster = adapter.cluster
            await root.cluster.stream(_SPEC)
            await root.cluster.bucket("B", replicas=1)
            no = Export(subject="t.event.no", body=b"", sender="test", stored=True)
            for call in (
                cluster.create("B", "lease.x", b"1"),
                cluster.watch("B", lambda _: None, lambda _: None),
                cluster.stream(StreamSpec(name="NO", subjects=("no",), max_age=60.0)),
                cluster.ask("t.use.no", b""),
                cluster.serve("t.use.erp", "g", lambda _: None, lambda _: None),
                perform(adapter, no, Context(idempotency_key="1")),
            ):
                with pytest.raises(RejectedError, match="Permissions Violation") as caught:
                    await call
                assert not caught.value.maybe_sent
            assert await cluster.create("B", "node.x", b"1") == 1
            await _store(adapter, "1")
    assert (told.lost, told.warnings) == ([], {})


@pytest.mark.parametrize("denied", ["$JS.API.CONSUMER.MSG.NEXT.>", "$JS.ACK.>", "_INBOX.>"])
async def test_what_is_forbidden_while_it_is_read(denied: str) -> None:
    """Pulling, acknowledging or receiving: who reads the consumer is told once, and why; the session goes on."""
    told, got, ended = Told(), list[Received](), list[BridgeError]()
    denial = f'{{ deny: ["{denied}"] }}'
    forbidding = _settings(subscribe=denial) if denied.startswith("_") else _settings(publish=denial)
    with nats_server(_settings()) as server:
        async with _session(server.port, told, "app") as adapter, _session(server.port, user="root") as root:
            cluster = adapter.cluster
            await cluster.stream(_SPEC)
            await cluster.consumer("T", "c", "t.event.>")
            # One message at a time, so that the next pull follows each of them.
            await cluster.consume("T", "c", got.append, ended.append, prefetch=1)
            await _store(adapter, "1")
            await until(lambda: got, "the first event")
            server.reload(forbidding)
            await _store(root, "2")
            await until(lambda: ended, "the news")
            await perform(adapter, Export(subject="t.live", body=b"", sender="s", stored=False), Context())
    assert [error.kind for error in ended] == ["rejected"]
    assert not told.lost


async def test_whoever_asks_cannot_have_us_write() -> None:
    """An answer to a subject that governs the server, or is a key of a bucket, is not sent: the asker has chosen it."""
    asked: list[bytes] = []

    def serve(request: Asked) -> None:
        asked.append(request.body)
        request.answer(b"ours")

    with nats_server() as server:
        async with _session(server.port) as adapter, nats_client(server.port) as other:
            await adapter.cluster.bucket("B", replicas=1)
            await adapter.cluster.serve("t.use.erp", "g", serve, _ignore)
            for reply in ("$KV.B.a", "$JS.API.STREAM.DELETE.KV_B", ""):
                await other.publish("t.use.erp", reply.encode(), reply=reply)
            assert (await other.request("t.use.erp", b"last", timeout=10)).data == b"ours"
            await until(lambda: len(asked) == 4, "all requests")
            assert await adapter.cluster.get("B", "a") is None


async def test_what_may_be_repeated() -> None:
    """An event that a stream stores, as it has an id there; one that is sent at most once may not."""
    with nats_server() as server:
        async with _session(server.port) as adapter:
            for stored in (True, False):
                assert adapter.is_idempotent(Export(subject="t.x", body=b"", sender="s", stored=stored)) is stored


def _ignore(_: BridgeError) -> None:
    """Nothing is to be told."""


# --- three servers


def _host(cluster: NatsCluster, stream: str) -> int | None:
    """Return the server that holds the only consumer of a stream whose name is no durable's; None: it is not known."""
    for index in range(len(cluster.servers)):
        page = cluster.status(index, "jsz?streams=true&consumers=true&accounts=true")
        for account in page.get("account_details") or ():
            for detail in account.get("stream_detail") or ():
                for consumer in detail.get("consumer_detail") or () if detail["name"] == stream else ():
                    if consumer.get("cluster", {}).get("leader") == f"n{index + 1}":
                        return index
    return None


@pytest.mark.parametrize("fault", [NatsCluster.kill, NatsCluster.freeze])
async def test_three_servers_of_which_one_is_gone(fault: Callable[[NatsCluster, int], None]) -> None:
    """With three replicas no event and no change of a key is lost; who reads and watches goes on, on another server."""
    told, got, ended = Told(), list[bytes](), list[BridgeError]()
    entries: list[KeyEntry] = []

    def handle(message: Received) -> None:
        got.append(message.body)

    with nats_cluster() as servers:
        async with _session(servers.ports[0], told) as adapter:
            cluster = adapter.cluster
            spec = StreamSpec(name="T", subjects=("t.event.>",), max_age=3600.0, replicas=3)
            assert (await _in_the_end(lambda: cluster.stream(spec))).replicas == 3
            await _in_the_end(lambda: cluster.bucket("B", replicas=3))
            revision = await cluster.create("B", "a", b"0")
            await cluster.consumer("T", "c", "t.event.>")
            await cluster.consume("T", "c", handle, ended.append, prefetch=100)
            host: int | None = 0
            for _ in range(30):  # until the watch is on a server that can be killed without the session
                stop = await cluster.watch("B", entries.append, ended.append)
                host = _host(servers, "KV_B")
                if host:
                    break
                await stop()
            assert host
            for number in range(50):
                await _store(adapter, str(number))
            servers.wait_for_replicas()
            fault(servers, host)
            for number in range(50, 100):
                await _in_the_end(lambda number=number: _store(adapter, str(number)))  # type: ignore[misc]
            await until(lambda: set(got) == {b"%d" % number for number in range(100)}, "all events")
            last = await _in_the_end(lambda: cluster.get("B", "a"))
            assert (last.value, last.revision) == (b"0", revision)
            await cluster.update("B", "a", b"1", revision)
            await until(lambda: entries[-1].value == b"1", "the change of the key")
    assert (told.lost, ended) == ([], [])
