"""Call methods by JSON-RPC 2.0 over HTTP (jsonrpc.org/specification): `type = "json-rpc"`.

For `ws://` and `wss://` see `websocket_adapter`. Each call is one POST, or shares it with others where `batch` is on.
There is no session, so calls are tried whatever the last health check found. The event headers of the trace
(`traceparent`, `tracestate`, `baggage`) and `hop` are sent as HTTP headers (`hop` as `Nemo-Hop`), others only if
`allow_headers` names them. An idempotency key is sent as the request's id, so that a server that remembers ids knows a
repetition, and as the HTTP header `Idempotency-Key`.
"""

from collections.abc import Coroutine
from itertools import count
from typing import Any, Final

from msgspec import UNSET

from bridge.adapters._common import websocket
from bridge.adapters._common.http.client import HttpClient
from bridge.adapters._common.http.connection import HttpConnection
from bridge.adapters._common.http.errors import translate
from bridge.adapters._common.http.message import Response
from bridge.adapters._common.http.status import check_credentials
from bridge.adapters._common.http.target import SCHEMES
from bridge.adapters.jsonrpc.batch import Batcher
from bridge.adapters.jsonrpc.config import PROTOCOL, JsonRpcConfig
from bridge.adapters.jsonrpc.wire import CallId, check_accepted, encode_call, read_response
from bridge.core.errors import BridgeError
from bridge.core.model import Command, Request
from bridge.core.ports import AdapterBase, AdapterSetup, AdapterSpec, Context, Promise, ProtocolAdapter, refuse_group


class JsonRpcAdapter(AdapterBase):
    """Make the calls of one integration; see `ports.ProtocolAdapter`. Concurrent calls use several connections."""

    protocol = PROTOCOL

    def __init__(self, setup: AdapterSetup) -> None:
        """Take the settings; nothing is opened yet. Raises ValueError where they contradict each other."""
        config = setup.config if isinstance(setup.config, JsonRpcConfig) else JsonRpcConfig()
        config.refuse("ping", transport="HTTP")
        self._config = config
        self._client = HttpClient(setup, max_response=config.max_response, allow_headers=config.allow_headers)
        self._batcher = Batcher(self._client) if config.batch else None
        self._idempotent = frozenset(config.idempotent)
        self._ids = count(1)
        self._keys_in_use: set[str] = set()  # idempotency keys that are the id of a running call

    async def connect(self) -> None:
        """Open one connection and keep it in the pool; with a `health_method` also call that.

        Raises:
            NotConnectedError: The server cannot be reached.
            BridgeError: The call fails.
        """
        await self._client.open()
        if self._config.health_method is not None:
            await self.check()

    async def disconnect(self) -> None:
        """Close all connections; calls in flight fail with ConnectionLostError."""
        await self._client.close()

    async def check(self) -> None:
        """Make one whole HTTP exchange: a frozen server still accepts connections, but does not answer.

        Raises:
            AuthError: The server answers 401.
            BridgeError: There is no answer; or the call of the `health_method` fails.
        """
        if self._config.health_method is not None:
            call_id = next(self._ids)
            call = encode_call(self._config.health_method, UNSET, call_id)
            read_response(await self._client.post(call, b""), call_id)
            return
        check_credentials(await self._client.get())

    def is_idempotent(self, command: Command) -> bool:
        """Return whether the configuration's `idempotent` names the method."""
        return isinstance(command, Request) and command.method in self._idempotent

    def begin(self, command: Command, context: Context, promise: Promise) -> Coroutine[Any, Any, Any] | None:
        """Call a method without a task where a connection is idle; the coroutine of every other operation."""
        if type(command) is not Request or self._batcher is not None or context.idempotency_key:
            return super().begin(command, context, promise)
        call_id = None if command.notify else next(self._ids)
        headers = self._client.header_lines(context)
        text = encode_call(command.method, command.params, call_id)
        answer = _Answer(promise, call_id)
        answer.connection = self._client.begin_post(text, headers, answer)
        if answer.connection is None:
            return self._post(text, call_id, headers)
        promise.add_done_callback(answer.give_up)
        return None

    async def request(self, command: Request, context: Context) -> Any:
        """Call a method; its `params` are by name (dict), by position (list), or UNSET for none.

        Returns:
            The result; None for a notification, when the server has accepted it.

        Raises:
            InvalidError: `params` cannot be sent as JSON, or a header not by HTTP.
            RejectedError: The server answers with an error object.
            BridgeError: There is no answer, or it is not one of JSON-RPC.
        """
        method, params = command.method, command.params
        headers = self._client.header_lines(context)
        key = context.idempotency_key
        if command.notify:
            return await self._call(method, params, None, headers)
        if not key or key in self._keys_in_use:
            return await self._call(method, params, next(self._ids), headers)
        self._keys_in_use.add(key)
        try:
            return await self._call(method, params, key, headers)
        finally:
            self._keys_in_use.discard(key)

    async def _call(self, method: str, params: Any, call_id: CallId | None, headers: bytes) -> Any:
        text = encode_call(method, params, call_id)
        if self._batcher is not None:
            return await self._batcher.call(text, call_id, headers)
        return await self._post(text, call_id, headers)

    async def _post(self, text: bytes, call_id: CallId | None, headers: bytes) -> Any:
        return _result(await self._client.post(text, headers), call_id)


class _Answer:
    """Settles the promise of one call with the HTTP response to it; `call_id` None: a notification.

    Attributes:
        connection: Where the response will come; None once it has come, or cannot come any more.
        done: Returns whether nobody waits any more.
    """

    __slots__ = ("_call_id", "_promise", "connection", "done")

    def __init__(self, promise: Promise, call_id: CallId | None) -> None:
        self._promise = promise
        self._call_id = call_id
        self.connection: HttpConnection | None = None
        self.done = promise.done

    def set_result(self, response: Response) -> None:
        """Take the response."""
        self.connection = None
        try:
            result = _result(response, self._call_id)
        except BridgeError as error:
            self._promise.set_exception(error)
        else:
            self._promise.set_result(result)

    def set_exception(self, error: Exception) -> None:
        """Take what went wrong with the exchange."""
        self.connection = None
        self._promise.set_exception(translate(error))

    def give_up(self, _: object) -> None:
        """Close the connection if the response is still to come: nobody waits for it any more."""
        if self.connection is not None:
            self.connection.give_up(self)


def _result(response: Response, call_id: CallId | None) -> Any:
    if call_id is not None:
        return read_response(response, call_id)
    check_accepted(response)
    return None


def _over_websocket(setup: AdapterSetup) -> ProtocolAdapter:
    from bridge.adapters.jsonrpc.websocket_adapter import JsonRpcWebSocketAdapter  # noqa: PLC0415 - needs its library

    return JsonRpcWebSocketAdapter(setup)


_AUTH: Final = frozenset({"none", "basic", "bearer", "certificate"})

OVER_WEBSOCKET: Final = AdapterSpec(
    protocol=PROTOCOL,
    summary="JSON-RPC 2.0 over WebSocket: requests and notifications both ways, batches",
    operations=frozenset({"request", "subscribe", "unsubscribe"}),
    auth=_AUTH,
    config=JsonRpcConfig,
    schemes=websocket.SCHEMES,
    create=_over_websocket,
    side_by_side=True,
    check_names=lambda _operation, _name, group, _config: refuse_group(PROTOCOL, group),
)

SPEC: Final = AdapterSpec(
    protocol=PROTOCOL,
    summary="JSON-RPC 2.0 over HTTP or WebSocket: requests, notifications, batches",
    operations=frozenset({"request"}),
    auth=_AUTH,
    config=JsonRpcConfig,
    schemes=SCHEMES,
    create=JsonRpcAdapter,
    side_by_side=True,
    has_session=False,
    transports=(OVER_WEBSOCKET,),
)
