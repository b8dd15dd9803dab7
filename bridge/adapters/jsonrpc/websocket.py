"""JSON-RPC 2.0 over WebSocket: calls and notifications both ways over one connection.

A topic is the name of a method: the server's notifications of that name are its messages, their `params` the content;
`*` means all of them. A message has no headers, so `traceparent` and `hop` stay behind; an idempotency key is the
request's id. A server's own requests are answered with *method not found*.
"""

from typing import Any, Final

from msgspec import UNSET
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from bridge.adapters._common.background import Background
from bridge.adapters._common.websocket import opening
from bridge.adapters.jsonrpc.calls import Calls
from bridge.adapters.jsonrpc.config import PROTOCOL, JsonRpcConfig
from bridge.adapters.jsonrpc.wire import Message, read_messages, refusal
from bridge.core.errors import BridgeError, NotConnectedError, ProtocolError
from bridge.core.model import Command, Inbound, Request
from bridge.core.ports import NO_OPTIONS, AdapterBase, AdapterSetup, Context, Deliver, Subscription, SubscriptionOptions

#: The topic of all notifications.
ALL: Final = "*"
#: Notifications kept for subscriptions that are made right after the opening, and for how many seconds.
_EARLY: Final = 100
_EARLY_FOR: Final = 5.0


class JsonRpcWebSocketAdapter(AdapterBase):
    """One connection; see `ports.ProtocolAdapter`. Calls run at the same time and are told apart by their ids."""

    protocol = PROTOCOL

    def __init__(self, setup: AdapterSetup) -> None:
        """Raises ValueError where endpoint, auth, TLS and configuration do not fit together."""
        self._config = setup.config if isinstance(setup.config, JsonRpcConfig) else JsonRpcConfig()
        self._config.refuse("allow_headers", transport="WebSocket, whose messages have no headers")
        self._on_lost = setup.on_lost
        self._opening = opening.Opening(setup)
        self._idempotent = frozenset(self._config.idempotent)
        self._calls = Calls(batch=self._config.batch)
        self._background = Background(self._lose)
        self._socket: ClientConnection | None = None
        self._takers: dict[Subscription, Deliver] = {}
        self._early: list[Inbound] = []
        self._early_until = 0.0
        self._clock = setup.clock
        self._over = False

    # --- life

    async def connect(self) -> None:
        """Open the connection; with a `health_method` also call that."""
        config = self._config
        self._socket = await self._opening.open(ping=config.ping, max_message=config.max_response)
        self._early_until = self._clock.monotonic() + _EARLY_FOR
        await self._background.open()
        self._background.start(self._read(self._socket))
        self._background.start(self._write(self._socket))
        if config.health_method is not None:
            await self.check()

    async def disconnect(self) -> None:
        """Say goodbye and close; what is in flight fails with ConnectionLostError."""
        self._over = True
        socket, self._socket = self._socket, None
        self._calls.lose("the session was closed")
        await self._background.close()
        if socket is not None:
            await opening.close(socket, self._clock)

    def _live(self) -> ClientConnection:
        if self._socket is None or self._over:
            raise NotConnectedError("there is no connection")
        return self._socket

    def _lose(self, error: BridgeError) -> None:
        if not self._over:
            self._over = True
            self._calls.lose(error.message)
            self._on_lost(error)

    async def check(self) -> None:
        """The `health_method`, or a ping and its pong."""
        socket = self._live()
        if self._config.health_method is not None:
            await self._calls.call(self._config.health_method, UNSET)
        else:
            await opening.ping(socket)

    # --- calls

    def is_idempotent(self, command: Command) -> bool:
        """Return whether the configuration's `idempotent` names the method."""
        return isinstance(command, Request) and command.method in self._idempotent

    async def request(self, command: Request, context: Context) -> Any:
        """Call a method; `params` by name (dict) or by position (list), or UNSET for none."""
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
        """The server's notifications of this method, or of all (`*`)."""
        self._live()
        subscription = Subscription(topic, object())
        told = 0
        while self._is_early() and told < len(self._early):  # it may grow meanwhile
            if topic in {ALL, self._early[told].topic}:
                await deliver(self._early[told])
            told += 1
        self._takers[subscription] = deliver
        return subscription

    def _is_early(self) -> bool:
        if self._clock.monotonic() < self._early_until:
            return True
        self._early.clear()
        return False

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Nothing more is delivered to it."""
        self._takers.pop(subscription, None)

    async def _notified(self, message: Inbound) -> None:
        if self._is_early() and len(self._early) < _EARLY:
            self._early.append(message)
        for subscription, deliver in tuple(self._takers.items()):
            if subscription.topic in {ALL, message.topic}:
                await deliver(message)

    # --- the connection

    async def _write(self, socket: ClientConnection) -> None:
        try:
            while True:
                frame, calls = await self._calls.next_frame()
                await socket.send(frame, text=True)
                for call in calls:
                    if call.id is None:
                        call.settle(None)
        except (ConnectionClosed, OSError) as error:
            self._lose(opening.lost_by(error))

    async def _read(self, socket: ClientConnection) -> None:
        try:
            while True:
                frame = await socket.recv(decode=False)
                try:
                    messages = read_messages(frame)
                except ProtocolError as error:
                    self._calls.unreadable(error)
                    continue
                for message in messages:
                    await self._take(socket, message)
        except (ConnectionClosed, OSError) as error:
            self._lose(opening.lost_by(error))

    async def _take(self, socket: ClientConnection, message: Message) -> None:
        if message.method is UNSET:
            self._calls.answered(message)
        elif message.id is not UNSET:
            await socket.send(refusal(message.id), text=True)
        elif type(message.method) is str and message.method:
            await self._notified(
                Inbound(topic=message.method, message=None if message.params is UNSET else message.params)
            )
        else:
            self._calls.unreadable(ProtocolError("a notification's method is no name"))
