"""Make sessions of JSON-RPC over WebSocket, and servers in the test's own loop whose answers the test writes."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from bridge.adapters.jsonrpc.adapter import OVER_WEBSOCKET
from bridge.adapters.jsonrpc.config import JsonRpcConfig
from bridge.core.endpoint import NO_AUTH, Endpoint, Tls
from bridge.core.errors import BridgeError
from bridge.core.ports import ProtocolAdapter
from tests.support.adapters.direct import Direct
from tests.support.adapters.setup import adapter_setup
from tests.support.bus.listener import Listener

Handler = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def session(
    url: str, *, auth: Any = NO_AUTH, tls: Tls | None = None, **config: Any
) -> AsyncIterator[tuple[Direct, Listener]]:
    """Make an adapter, not yet connected; disconnect it at the end."""
    ear = Listener()
    setup = adapter_setup(
        "test",
        Endpoint(url=url),
        auth,
        tls or Tls(),
        JsonRpcConfig(**config),
        on_lost=ear.lost.append,
        on_dropped=ear.on_dropped,
    )
    adapter = OVER_WEBSOCKET.create(setup)
    try:
        yield Direct(adapter), ear
    finally:
        await adapter.disconnect()


class Script:
    """A server whose answers the test writes: frames as they came, and the connection to answer on."""

    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.connection: ServerConnection | None = None

    async def serve(self, connection: ServerConnection) -> None:
        self.connection = connection
        try:
            async for frame in connection:
                self.frames.append(json.loads(frame))
        except ConnectionClosed:
            pass

    async def say(self, value: Any) -> None:
        assert self.connection is not None
        await self.connection.send(value if isinstance(value, str | bytes) else json.dumps(value))


@asynccontextmanager
async def serving(handler: Handler, **options: Any) -> AsyncIterator[str]:
    """Start a server in this event loop; return its address."""
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"{'wss' if options.get('ssl') else 'ws'}://127.0.0.1:{port}/rpc"


@asynccontextmanager
async def scripted(**config: Any) -> AsyncIterator[tuple[Script, ProtocolAdapter, Listener]]:
    """Connect a session with a scripted server."""
    script = Script()
    async with serving(script.serve) as url, session(url, **config) as (adapter, ear):
        await adapter.connect()
        yield script, adapter, ear


async def error_of(call: Awaitable[Any]) -> BridgeError | None:
    """Return the error with which a call fails."""
    try:
        await call
    except BridgeError as error:
        return error
    return None
