"""What the contract suite needs to know of each adapter: its spec, and a remote that it can start, freeze and kill."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from bridge.adapters import jsonrpc
from bridge.endpoint import Endpoint
from bridge.errors import BridgeError
from bridge.ports import AdapterSetup, AdapterSpec, ProtocolAdapter
from tests.support import memory_adapter
from tests.support.demo import DemoProcess, demo_service
from tests.support.memory_adapter import MemoryAdapter, MemoryRemote


class Remote(Protocol):
    """A running remote.

    For pattern RPC it knows `echo`, `sleep` (params `ms`), `fail` (`code`, `message`, `data`) and `orders.create`,
    whose result has a rising `number`.
    """

    endpoint: Endpoint

    def kill(self) -> None:
        """End it without a word."""

    def freeze(self) -> None:
        """It lives, and answers nothing."""

    def thaw(self) -> None:
        """It answers again."""

    async def calls(self, method: str) -> int:
        """How often a method was called."""
        ...


@dataclass(frozen=True)
class Kit:
    """One adapter. `lost` are the kinds of error that a call may end with whose remote dies under it."""

    spec: AdapterSpec
    start: Callable[[], AbstractAsyncContextManager[Remote]]
    lost: frozenset[str] = frozenset({"connection_lost"})

    def create(self, remote: Remote, on_lost: Callable[[BridgeError], None] = lambda _: None) -> ProtocolAdapter:
        """A session with that remote, not yet connected."""
        config = self.spec.config()
        return self.spec.create(AdapterSetup("test", remote.endpoint, config=config, on_lost=on_lost))


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
        watcher = jsonrpc.JsonRpcAdapter(AdapterSetup("watcher", self.endpoint, config=jsonrpc.JsonRpcConfig()))
        try:
            number = await watcher.request("count", {"method": method})
        finally:
            await watcher.disconnect()
        assert isinstance(number, int)
        return number


@asynccontextmanager
async def _jsonrpc() -> AsyncIterator[Remote]:
    with demo_service() as demo:
        yield _JsonRpc(demo)


#: One line for each adapter; those of the entry points and no others, besides the one in memory.
KITS = (
    Kit(memory_adapter.SPEC, _memory),
    Kit(jsonrpc.SPEC, _jsonrpc),
)
