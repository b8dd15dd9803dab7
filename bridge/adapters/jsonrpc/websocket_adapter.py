"""Call methods and receive notifications over one WebSocket connection (JSON-RPC 2.0).

A topic is the name of a method, or `*` for all: each notification of the server with that method is a message, its
`params` the content. WebSocket messages have no headers, so `traceparent` and `hop` are not sent; an idempotency key is
sent as the request's id. A request of the server is answered with *method not found*.
"""

from typing import Any, Final

from msgspec import UNSET

from bridge.adapters._common.background import Background
from bridge.adapters._common.deliveries import Deliveries
from bridge.adapters._common.websocket.connection import WebSocketConnection
from bridge.adapters._common.websocket.connector import WebSocketConnector
from bridge.adapters.jsonrpc.config import PROTOCOL, JsonRpcConfig
from bridge.adapters.jsonrpc.pending_calls import PendingCalls
from bridge.adapters.jsonrpc.wire import ServerObject, method_not_found, read_server_objects
from bridge.core.errors import BridgeError, ConnectionLostError, NotConnectedError, ProtocolError
from bridge.core.model import Command, Inbound, Request
from bridge.core.ports import NO_OPTIONS, AdapterBase, AdapterSetup, Context, Deliver, Subscription, SubscriptionOptions

#: The topic that means all notifications.
ALL: Final = "*"
#: The number of notifications that are kept for subscriptions right after the opening, and for how many seconds.
_EARLY: Final = 100
_EARLY_FOR: Final = 5.0
#: Bytes of notifications that may wait to be delivered while the bus has no room; then the server has to wait.
_MOST_WAITING: Final = 4 * 1024 * 1024


class JsonRpcWebSocketAdapter(AdapterBase):
    """Make calls over one connection; see `ports.ProtocolAdapter`. Calls run concurrently; ids tell them apart."""

    protocol = PROTOCOL

    def __init__(self, setup: AdapterSetup) -> None:
        """Take the settings; nothing is opened yet. Raises ValueError where they contradict each other."""
        self._config = setup.config if isinstance(setup.config, JsonRpcConfig) else JsonRpcConfig()
        self._config.refuse("allow_headers", transport="WebSocket, whose messages have no headers")
        self._on_lost = setup.on_lost
        self._connector = WebSocketConnector(setup)
        self._idempotent = frozenset(self._config.idempotent)
        self._on_dropped = setup.on_dropped
        self._calls = PendingCalls(lambda error: setup.on_dropped(error, ALL), batch=self._config.batch)
        self._deliveries = Deliveries(_MOST_WAITING)
        self._background = Background(self._lose)
        self._connection: WebSocketConnection | None = None
        self._subscribers: dict[Subscription, Deliver] = {}
        self._early: list[Inbound] = []
        self._missed = 0
        self._early_until = 0.0
        self._clock = setup.clock
        self._over = False

    # --- the session

    async def connect(self) -> None:
        """Open the connection; with a `health_method` also call that.

        Raises the errors of `WebSocketConnector.connect`, and those of the call.
        """
        config = self._config
        self._connection = await self._connector.connect(max_message=config.max_response)
        self._early_until = self._clock.monotonic() + _EARLY_FOR
        await self._background.open()
        self._background.start(self._read(self._connection))
        self._background.start(self._write(self._connection))
        self._background.start(self._deliveries.run())
        self._background.start(self._connection.keep_alive(config.ping, self._deliveries))
        if config.health_method is not None:
            await self.check()

    async def disconnect(self) -> None:
        """Close the connection; calls in flight fail with ConnectionLostError."""
        self._over = True
        connection, self._connection = self._connection, None
        self._calls.fail_all("the session was closed")
        await self._background.close()
        lost = self._deliveries.close()
        if lost:
            self._on_dropped(ConnectionLostError(f"{lost} notifications waited when the session ended"), ALL)
        if connection is not None:
            await connection.close()

    @property
    def last_heard(self) -> float | None:
        """When bytes last came from the server; see `ProtocolAdapter.last_heard`."""
        return None if self._connection is None else self._connection.last_heard

    def _live(self) -> WebSocketConnection:
        if self._connection is None or self._over:
            raise NotConnectedError("there is no connection")
        return self._connection

    def _lose(self, error: BridgeError) -> None:
        if not self._over:
            self._over = True
            self._calls.fail_all(error.message)
            self._on_lost(error)

    async def check(self) -> None:
        """Call the `health_method`; without one, send a ping and wait for its pong.

        While the bus takes no notifications, no answer could be read. Then only the connection is known.

        Raises:
            BridgeError: The call fails, or the connection has ended.
        """
        connection = self._live()
        if self._deliveries.full:
            connection.check_open()
        elif self._config.health_method is not None:
            await self._calls.call(self._config.health_method, UNSET)
        else:
            await connection.ping()

    # --- calls

    def is_idempotent(self, command: Command) -> bool:
        """Return whether the configuration's `idempotent` names the method."""
        return isinstance(command, Request) and command.method in self._idempotent

    async def request(self, command: Request, context: Context) -> Any:
        """Call a method; its `params` are by name (dict), by position (list), or UNSET for none.

        Returns:
            The result; None for a notification, when it was sent.

        Raises:
            InvalidError: `params` cannot be sent as JSON.
            RejectedError: The server answers with an error object.
            NotConnectedError: There is no connection.
            ConnectionLostError: The connection ended before the response came.
        """
        self._live()
        key = context.idempotency_key
        return await self._calls.call(command.method, command.params, notify=command.notify, key=key)

    # --- the server's notifications

    async def subscribe(
        self,
        topic: str,
        deliver: Deliver,
        options: SubscriptionOptions = NO_OPTIONS,  # noqa: ARG002
    ) -> Subscription:
        """Deliver the server's notifications of this method, or of all (`*`). Raises NotConnectedError."""
        self._live()
        subscription = Subscription(topic, object())
        delivered = 0
        while self._is_early() and delivered < len(self._early):  # it may grow meanwhile
            message = self._early[delivered]
            delivered += 1
            if topic in {ALL, message.topic}:
                await self._deliveries.put(deliver, message, 0)
        self._subscribers[subscription] = deliver
        if self._missed and self._is_early():
            early = f"{self._missed} notifications came before there was a subscription; the first {_EARLY} are kept"
            self._on_dropped(ProtocolError(early), topic)
        return subscription

    def _is_early(self) -> bool:
        if self._clock.monotonic() < self._early_until:
            return True
        self._early.clear()
        return False

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Deliver nothing more to this subscription."""
        deliver = self._subscribers.pop(subscription, None)
        if deliver is not None:
            self._deliveries.drop(deliver)

    async def _notified(self, message: Inbound, size: int) -> None:
        if self._is_early():
            if len(self._early) < _EARLY:
                self._early.append(message)
            else:
                self._missed += 1
        for subscription, deliver in tuple(self._subscribers.items()):
            if subscription.topic in {ALL, message.topic}:
                await self._deliveries.put(deliver, message, size)

    # --- the connection

    async def _write(self, connection: WebSocketConnection) -> None:
        try:
            while True:
                frame, calls = await self._calls.next_frame()
                await connection.send(frame, text=True)
                for call in calls:
                    if call.id is None:
                        call.set_outcome(None)
        except ConnectionLostError as error:
            self._lose(error)

    async def _read(self, connection: WebSocketConnection) -> None:
        try:
            while True:
                frame = await connection.receive_bytes()
                try:
                    messages = read_server_objects(frame)
                except ProtocolError as error:
                    self._calls.handle_unreadable(error)
                    continue
                for message in messages:
                    await self._receive(connection, message, len(frame))
        except ConnectionLostError as error:
            self._lose(error)

    async def _receive(self, connection: WebSocketConnection, message: ServerObject, size: int) -> None:
        if message.method is UNSET:
            self._calls.handle_response(message)
        elif message.id is not UNSET:
            await connection.send(method_not_found(message.id), text=True)
        elif type(message.method) is str and message.method:
            params = None if message.params is UNSET else message.params
            await self._notified(Inbound(topic=message.method, message=params), size)
        else:
            self._calls.handle_unreadable(ProtocolError("the method of a notification is not a name"))
