"""JSON-RPC 2.0 (jsonrpc.org/specification): `type = "json-rpc"`. This is HTTP; with `ws://` and `wss://` see the other.

Each call is a POST of its own, or shares one with others where `batch` is on; there is no session, so calls are tried
whatever the last check said. Event headers `traceparent` and `hop` travel as the HTTP headers `traceparent` and
`Nemo-Hop`, others only if `allow_headers` names them. An idempotency key is the request's id, so that a server that
remembers ids knows a repetition, and also the HTTP header `Idempotency-Key`.
"""

from itertools import count
from typing import Any, Final

from msgspec import UNSET

from bridge.adapters._common.http.client import HttpClient
from bridge.adapters._common.http.status import check_credentials
from bridge.adapters._common.http.target import SCHEMES
from bridge.adapters._common.websocket import opening
from bridge.adapters.jsonrpc.batch import Batcher
from bridge.adapters.jsonrpc.config import PROTOCOL, JsonRpcConfig
from bridge.adapters.jsonrpc.websocket import JsonRpcWebSocketAdapter
from bridge.adapters.jsonrpc.wire import CallId, check_taken, encode_call, read_answer
from bridge.core.model import Command, Request
from bridge.core.ports import NO_CONTEXT, AdapterBase, AdapterSetup, AdapterSpec, Context


class JsonRpcAdapter(AdapterBase):
    """One integration's calls; see `ports.ProtocolAdapter`. Calls run at the same time, each on its own connection."""

    protocol = PROTOCOL

    def __init__(self, setup: AdapterSetup) -> None:
        """Raises ValueError where endpoint, auth and TLS do not fit together."""
        config = setup.config if isinstance(setup.config, JsonRpcConfig) else JsonRpcConfig()
        config.refuse("ping", transport="HTTP")
        self._config = config
        self._client = HttpClient(setup, max_response=config.max_response, allow_headers=config.allow_headers)
        self._batcher = Batcher(self._client) if config.batch else None
        self._idempotent = frozenset(config.idempotent)
        self._ids = count(1)
        self._keys: set[str] = set()  # ids that are taken while their calls run

    async def connect(self) -> None:
        """Open one connection and keep it; with a `health_method` also call that."""
        await self._client.open()
        if self._config.health_method is not None:
            await self.check()

    async def disconnect(self) -> None:
        """Close all connections; what is in flight fails with ConnectionLostError."""
        await self._client.close()

    async def check(self) -> None:
        """A whole HTTP exchange, since a frozen server still accepts connections."""
        if self._config.health_method is not None:
            call_id = next(self._ids)
            call = encode_call(self._config.health_method, UNSET, call_id)
            read_answer(await self._client.post(call, b""), call_id)
            return
        check_credentials(await self._client.get())

    def is_idempotent(self, command: Command) -> bool:
        """Return whether the configuration's `idempotent` names the method."""
        return isinstance(command, Request) and command.method in self._idempotent

    async def request(self, command: Request, context: Context) -> Any:
        """Call a method; `params` by name (dict) or by position (list), or UNSET for none."""
        method, params = command.method, command.params
        headers = self._client.header_lines(context) if context is not NO_CONTEXT else b""
        key = context.idempotency_key
        if command.notify:
            return await self._call(method, params, None, headers)
        if not key or key in self._keys:
            return await self._call(method, params, next(self._ids), headers)
        self._keys.add(key)
        try:
            return await self._call(method, params, key, headers)
        finally:
            self._keys.discard(key)

    async def _call(self, method: str, params: Any, call_id: CallId | None, headers: bytes) -> Any:
        text = encode_call(method, params, call_id)
        if self._batcher is not None:
            return await self._batcher.call(text, call_id, headers)
        response = await self._client.post(text, headers)
        return check_taken(response) if call_id is None else read_answer(response, call_id)


_AUTH: Final = frozenset({"none", "basic", "bearer", "certificate"})

OVER_WEBSOCKET: Final = AdapterSpec(
    protocol=PROTOCOL,
    summary="JSON-RPC 2.0 over WebSocket: requests and notifications both ways, batches",
    operations=frozenset({"request", "subscribe", "unsubscribe"}),
    auth=_AUTH,
    config=JsonRpcConfig,
    schemes=opening.SCHEMES,
    create=JsonRpcWebSocketAdapter,
)

SPEC: Final = AdapterSpec(
    protocol=PROTOCOL,
    summary="JSON-RPC 2.0 over HTTP or WebSocket: requests, notifications, batches",
    operations=frozenset({"request"}),
    auth=_AUTH,
    config=JsonRpcConfig,
    schemes=SCHEMES,
    create=JsonRpcAdapter,
    has_session=False,
    transports=(OVER_WEBSOCKET,),
)
