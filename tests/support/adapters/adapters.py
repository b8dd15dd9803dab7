"""Make adapters for tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bridge.adapters.jsonrpc.adapter import JsonRpcAdapter
from bridge.adapters.jsonrpc.config import JsonRpcConfig
from bridge.core.endpoint import NO_AUTH, Endpoint, Tls
from tests.support.adapters.direct import Direct
from tests.support.adapters.setup import adapter_setup


def jsonrpc(url: str, *, auth: Any = NO_AUTH, tls: Tls | None = None, limit: int = 64, **config: Any) -> JsonRpcAdapter:
    """Make a JSON-RPC adapter, not yet connected."""
    return JsonRpcAdapter(
        adapter_setup(
            integration="test",
            endpoint=Endpoint(url=url),
            auth=auth,
            tls=tls or Tls(),
            config=JsonRpcConfig(**config),
            max_in_flight=limit,
        )
    )


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[Direct]:
    """Make a JSON-RPC adapter, and disconnect it at the end."""
    adapter = jsonrpc(url, **options)
    try:
        yield Direct(adapter)
    finally:
        await adapter.disconnect()
