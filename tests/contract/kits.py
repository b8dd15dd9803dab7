"""What the contract suite needs to know of each adapter: its spec, and a remote that it can start, freeze and kill."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import pytest
from pydantic import BaseModel

from bridge.adapters import file, jsonrpc, mqtt, nats, redis, static, timer
from bridge.adapters.file.config import FileConfig
from bridge.adapters.http.adapter import HttpAdapter
from bridge.adapters.jsonrpc.adapter import OVER_WEBSOCKET
from bridge.adapters.nats.config import NatsConfig
from bridge.adapters.timer.config import TimerConfig
from bridge.core.endpoint import Endpoint
from bridge.core.errors import BridgeError
from bridge.core.ports import AdapterSpec
from tests.support.adapters import http_dialect, memory_adapter, websocket_dialect
from tests.support.adapters.direct import Direct
from tests.support.adapters.memory_adapter import MemoryAdapter, MemoryRemote
from tests.support.adapters.setup import adapter_setup
from tests.support.servers.demo import DemoProcess, demo_service
from tests.support.servers.http_service import http_service
from tests.support.servers.jsonrpc_websocket_service import jsonrpc_websocket_service
from tests.support.servers.line_service import line_service
from tests.support.servers.mosquitto import Mosquitto, mosquitto
from tests.support.servers.mqtt_responder import Responder, responder
from tests.support.servers.nats_server import NatsResponder, NatsServer, nats_responder, nats_server
from tests.support.servers.programs import in_wheel
from tests.support.servers.redis_server import RedisServer, redis_server
from tests.support.servers.websocket_service import websocket_service
from tests.support.third_party import nemo_bridge_lines as lines


class Remote(Protocol):
    """A running remote.

    For pattern RPC it knows `echo`, `sleep` (params `ms`), `fail` (`code`, `message`, `data`) and `orders.create`,
    whose result has a rising `number`.
    """

    endpoint: Endpoint | None

    def kill(self) -> None:
        """End it at once."""

    def freeze(self) -> None:
        """Stop its process: it lives, and answers nothing."""

    def thaw(self) -> None:
        """Let it answer again."""

    async def calls(self, method: str) -> int:
        """Return how often a method was called."""
        ...


@dataclass(frozen=True)
class Kit:
    """One adapter, or one of its transports, with one kind of remote.

    Attributes:
        lost: The kinds of error that a call may end with whose remote dies under it.
        lacks: What its remote cannot do: `methods` (those above), `topics` that carry messages as they were published,
            `death`, `frost`. The tests that need it leave the adapter out.
        config: Makes its configuration where that needs something.
        variant: Tells it from others of the same protocol.
    """

    spec: AdapterSpec
    start: Callable[[], AbstractAsyncContextManager[Remote]]
    lost: frozenset[str] = frozenset({"connection_lost"})
    lacks: frozenset[str] = frozenset()
    config: Callable[[Remote], BaseModel] | None = None
    variant: str = ""

    @property
    def name(self) -> str:
        """Return the name that the tests show."""
        return f"{self.spec.protocol}-{self.variant}" if self.variant else self.spec.protocol

    def create(self, remote: Remote, on_lost: Callable[[BridgeError], None] = lambda _: None) -> Direct:
        """Make a session with that remote, not yet connected."""
        config = self.spec.config() if self.config is None else self.config(remote)
        return Direct(self.spec.create(adapter_setup("test", remote.endpoint, config=config, on_lost=on_lost)))


class _Memory:
    def __init__(self, remote: MemoryRemote) -> None:
        self._remote = remote
        self.endpoint = Endpoint(address="memory")

    def kill(self) -> None:
        self._remote.kill()

    def freeze(self) -> None:
        self._remote.frozen = True

    def thaw(self) -> None:
        self._remote.frozen = False

    async def calls(self, method: str) -> int:
        return self._remote.calls[method]


@asynccontextmanager
async def _memory() -> AsyncIterator[Remote]:
    remote = MemoryRemote()
    MemoryAdapter.remotes["memory"] = remote
    yield _Memory(remote)
    del MemoryAdapter.remotes["memory"]


class _JsonRpc:
    def __init__(self, demo: DemoProcess) -> None:
        self.endpoint = Endpoint(url=demo.url)
        self.kill, self.freeze, self.thaw = demo.kill, demo.freeze, demo.thaw

    async def calls(self, method: str) -> int:
        watcher = Direct(jsonrpc.SPEC.over(self.endpoint).create(adapter_setup("watcher", self.endpoint)))
        try:
            await watcher.connect()
            number = await watcher.request("count", {"method": method})
        finally:
            await watcher.disconnect()
        assert isinstance(number, int)
        return number


@asynccontextmanager
async def _jsonrpc() -> AsyncIterator[Remote]:
    with demo_service() as demo:
        yield _JsonRpc(demo)


@asynccontextmanager
async def _jsonrpc_websocket() -> AsyncIterator[Remote]:
    with jsonrpc_websocket_service() as service:
        yield _JsonRpc(service)


class _Http:
    def __init__(self, service: DemoProcess) -> None:
        self.endpoint = Endpoint(url=service.url)
        self.kill, self.freeze, self.thaw = service.kill, service.freeze, service.thaw

    async def calls(self, method: str) -> int:
        watcher = Direct(HttpAdapter(adapter_setup("watcher", self.endpoint)))
        try:
            number = (await watcher.request("GET /calls/{method}", {"path": {"method": method}}))["body"]
        finally:
            await watcher.disconnect()
        assert isinstance(number, int)
        return number


@asynccontextmanager
async def _http() -> AsyncIterator[Remote]:
    with http_service() as service:
        yield _Http(service)


class _WebSocket:
    def __init__(self, service: DemoProcess) -> None:
        self.endpoint = Endpoint(url=service.url)
        self.kill, self.freeze, self.thaw = service.kill, service.freeze, service.thaw

    async def calls(self, method: str) -> int:
        raise NotImplementedError(method)


@asynccontextmanager
async def _websocket() -> AsyncIterator[Remote]:
    with websocket_service() as service:
        yield _WebSocket(service)


class _Lines:
    """The protocol of docs/adapters.md, whose adapter is that of a third party."""

    def __init__(self, service: DemoProcess) -> None:
        self.endpoint = Endpoint(url=service.url)
        self.kill, self.freeze, self.thaw = service.kill, service.freeze, service.thaw

    async def calls(self, method: str) -> int:
        watcher = Direct(lines.LinesAdapter(adapter_setup("watcher", self.endpoint)))
        try:
            await watcher.connect()
            number = await watcher.request("count", {"method": method})
        finally:
            await watcher.disconnect()
        assert isinstance(number, int)
        return number


@asynccontextmanager
async def _lines() -> AsyncIterator[Remote]:
    with line_service() as service:
        yield _Lines(service)


class _Local:
    """A source inside of the process, which can neither freeze nor die."""

    endpoint = None

    def kill(self) -> None:
        raise NotImplementedError

    freeze = kill

    def thaw(self) -> None:
        """It never was frozen."""

    async def calls(self, method: str) -> int:
        raise NotImplementedError


@asynccontextmanager
async def _local() -> AsyncIterator[Remote]:
    yield _Local()


class _Directory(_Local):
    """A directory, which can only be deleted."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def kill(self) -> None:
        shutil.rmtree(self.root)

    def config(self) -> FileConfig:
        return FileConfig(root=self.root, interval=0.02)


@asynccontextmanager
async def _directory() -> AsyncIterator[Remote]:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "root"
        root.mkdir()
        yield _Directory(root)


def _directory_config(remote: Remote) -> FileConfig:
    assert isinstance(remote, _Directory)
    return remote.config()


_LOCAL: Final = frozenset({"methods", "topics", "death", "frost"})


class _Redis:
    def __init__(self, server: RedisServer) -> None:
        self.endpoint = server.endpoint
        self.kill, self.freeze, self.thaw = server.kill, server.freeze, server.thaw

    async def calls(self, method: str) -> int:
        raise NotImplementedError(method)


@asynccontextmanager
async def _redis() -> AsyncIterator[Remote]:
    with redis_server() as server:
        yield _Redis(server)


def _in_wheel(program: str) -> str:
    """Return the path of a server that a wheel brought; skip the test where there is no such wheel."""
    found = in_wheel(program)
    if found is None:
        pytest.skip(f"there is no wheel with {program} in this environment")
    return found


@asynccontextmanager
async def _redis_of_wheel() -> AsyncIterator[Remote]:
    with redis_server(program=_in_wheel("redis-server")) as server:
        yield _Redis(server)


class _Mqtt:
    def __init__(self, broker: Mosquitto, service: Responder) -> None:
        self.endpoint = Endpoint(url=broker.url)
        self.kill, self.freeze, self.thaw = broker.kill, broker.freeze, broker.thaw
        self._service = service

    async def calls(self, method: str) -> int:
        return self._service.calls[method]


@asynccontextmanager
async def _mqtt() -> AsyncIterator[Remote]:
    with mosquitto() as broker, responder(broker.port) as service:
        yield _Mqtt(broker, service)


class _Nats:
    def __init__(self, server: NatsServer, services: NatsResponder) -> None:
        self.endpoint = Endpoint(url=f"nats://127.0.0.1:{server.port}")
        self.kill, self.freeze, self.thaw = server.kill, server.freeze, server.thaw
        self._services = services

    async def calls(self, method: str) -> int:
        return self._services.calls[method]


@asynccontextmanager
async def _nats() -> AsyncIterator[Remote]:
    with nats_server() as server:
        async with nats_responder(server.port) as services:
            yield _Nats(server, services)


@asynccontextmanager
async def _nats_of_wheel() -> AsyncIterator[Remote]:
    with nats_server(program=_in_wheel("nats-server")) as server:
        async with nats_responder(server.port) as services:
            yield _Nats(server, services)


def _nats_config(_: Remote) -> NatsConfig:
    return NatsConfig.model_validate({"stream": {"name": "queue", "subjects": ["queue"]}, "durable": "worker"})


#: One line for each adapter and transport; those of the entry points and no others, besides the one in memory.
KITS = (
    Kit(memory_adapter.SPEC, _memory),
    Kit(file.SPEC, _directory, lacks=frozenset({"methods", "topics", "frost"}), config=_directory_config),
    Kit(http_dialect.SPEC, _http),
    Kit(jsonrpc.SPEC, _jsonrpc),
    Kit(OVER_WEBSOCKET, _jsonrpc_websocket, variant="websocket"),
    Kit(lines.SPEC, _lines),
    Kit(mqtt.SPEC, _mqtt),
    Kit(redis.SPEC, _redis),
    Kit(redis.SPEC, _redis_of_wheel, variant="wheel"),
    Kit(nats.SPEC, _nats, config=_nats_config),
    Kit(nats.SPEC, _nats_of_wheel, config=_nats_config, variant="wheel"),
    Kit(static.SPEC, _local, lacks=_LOCAL, config=lambda _: static.StaticConfig(values={"topic": 1})),
    Kit(timer.SPEC, _local, lacks=_LOCAL, config=lambda _: TimerConfig(schedule={"topic": {"every": 0.05}})),
    Kit(websocket_dialect.SPEC, _websocket),
)
