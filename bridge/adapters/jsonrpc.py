"""JSON-RPC 2.0 over HTTP (jsonrpc.org/specification): `type = "json-rpc"`.

Each call is a POST of its own, or shares one with others where `batch` is on; there is no session, so calls are tried
whatever the last check said. Event headers `traceparent` and `hop` travel as the HTTP headers `traceparent` and
`Nemo-Hop`, an idempotency key as `Idempotency-Key`, others only if `allow_headers` names them.
"""

from itertools import count
from typing import Annotated, Any, Final

from msgspec import UNSET
from pydantic import AfterValidator, Field

from bridge.adapters._jsonrpc_batch import Batcher
from bridge.adapters._jsonrpc_wire import check_taken, encode_call, read_answer
from bridge.adapters.http_transport.client import HttpClient, check_header_name
from bridge.adapters.http_transport.status import refused_credentials
from bridge.adapters.http_transport.target import SCHEMES
from bridge.endpoint import Strict
from bridge.model import Request
from bridge.ports import NO_CONTEXT, AdapterBase, AdapterSetup, AdapterSpec, Context
from bridge.units import Size

PROTOCOL: Final = "json-rpc"


class JsonRpcConfig(Strict):
    """`config { … }` of a JSON-RPC integration."""

    idempotent: Annotated[
        tuple[str, ...],
        Field(description="methods that may be called again although the first call may have been acted on"),
    ] = ()
    batch: Annotated[
        bool,
        Field(description="join calls that wait at the same moment into one JSON-RPC array; the server must take it"),
    ] = False
    max_response: Annotated[
        Size, Field(description="the largest response body that is read, decompressed; a larger one is an error")
    ] = 16 * 1024 * 1024
    allow_headers: Annotated[
        tuple[Annotated[str, AfterValidator(check_header_name)], ...],
        Field(description="event headers that travel as HTTP headers, besides traceparent and hop"),
    ] = ()
    health_method: Annotated[
        str | None,
        Field(
            min_length=1,
            description="method to call as health check, which must not answer with an error; "
            "without it the check is a GET of the endpoint, and any answer but 401 shows a living server",
        ),
    ] = None


class JsonRpcAdapter(AdapterBase):
    """One integration's calls; see `ports.ProtocolAdapter`. Calls run at the same time, each on its own connection."""

    protocol = PROTOCOL

    def __init__(self, setup: AdapterSetup) -> None:
        """Raises ValueError where endpoint, auth and TLS do not fit together."""
        config = setup.config if isinstance(setup.config, JsonRpcConfig) else JsonRpcConfig()
        self._config = config
        self._client = HttpClient(setup, max_response=config.max_response, allow_headers=config.allow_headers)
        self._batcher = Batcher(self._client) if config.batch else None
        self._idempotent = frozenset(config.idempotent)
        self._ids = count(1)

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
            await self._single(self._config.health_method, UNSET, b"")
            return
        error = refused_credentials(await self._client.get())
        if error is not None and error.needs_person:
            raise error

    def is_idempotent(self, operation: str, command: Any) -> bool:
        """What `idempotent` names."""
        return operation == "request" and isinstance(command, Request) and command.method in self._idempotent

    async def request(self, method: str, params: Any, *, notify: bool = False, context: Context = NO_CONTEXT) -> Any:
        """Call a method; `params` by name (dict) or by position (list), or UNSET for none."""
        headers = self._client.header_lines(context) if context is not NO_CONTEXT else b""
        if self._batcher is not None:
            call_id = None if notify else next(self._ids)
            return await self._batcher.call(encode_call(method, params, call_id), call_id, headers)
        if notify:
            check_taken(await self._client.post(encode_call(method, params, None), headers))
            return None
        return await self._single(method, params, headers)

    async def _single(self, method: str, params: Any, headers: bytes) -> Any:
        call_id = next(self._ids)
        return read_answer(await self._client.post(encode_call(method, params, call_id), headers), call_id)


SPEC: Final = AdapterSpec(
    protocol=PROTOCOL,
    summary="JSON-RPC 2.0 over HTTP or HTTPS: requests, notifications, batches",
    operations=frozenset({"request"}),
    auth=frozenset({"none", "basic", "bearer", "certificate"}),
    config=JsonRpcConfig,
    schemes=SCHEMES,
    create=JsonRpcAdapter,
    has_session=False,
)
