"""Send and receive messages over one WebSocket connection (RFC 6455): `type = "websocket"`.

The only topic is `*`. Each `publish` sends one message, and each message of the server is delivered. Text and JSON are
sent in text frames, bytes and MessagePack in binary ones. Messages have no headers, so event headers are not sent; and
there is no acknowledgement: `publish` succeeds when the operating system has taken the message.
"""

from collections import deque
from typing import Any, Final

from bridge.adapters._common.background import Background
from bridge.adapters._common.content import Codec
from bridge.adapters._common.deliveries import Deliveries
from bridge.adapters._common.websocket import SCHEMES
from bridge.adapters._common.websocket.connection import WebSocketConnection
from bridge.adapters._common.websocket.connector import WebSocketConnector
from bridge.adapters.websocket.config import WebSocketConfig
from bridge.core.errors import BridgeError, ConnectionLostError, InvalidError, NotConnectedError, ProtocolError
from bridge.core.model import Inbound, Publish
from bridge.core.ports import (
    NO_OPTIONS,
    AdapterBase,
    AdapterSetup,
    AdapterSpec,
    Context,
    Deliver,
    Subscription,
    SubscriptionOptions,
    refuse_group,
)

PROTOCOL: Final = "websocket"
#: The only topic.
ALL: Final = "*"
#: The number of messages that are kept until the first subscription; of more, the oldest are dropped.
_EARLY: Final = 100
#: Bytes of messages that may wait to be delivered while the bus has no room; then the server has to wait.
_MOST_WAITING: Final = 1024 * 1024


class WebSocketAdapter(AdapterBase):
    """Send and receive over one connection; see `ports.ProtocolAdapter`."""

    protocol = PROTOCOL

    def __init__(self, setup: AdapterSetup) -> None:
        """Take the settings; nothing is opened yet. Raises ValueError where they contradict each other."""
        self._config = setup.config if isinstance(setup.config, WebSocketConfig) else WebSocketConfig()
        self._setup = setup
        self._connector = WebSocketConnector(setup)
        self._codec = Codec(self._config.codec)
        self._background = Background(self._lose)
        self._connection: WebSocketConnection | None = None
        self._deliver: Deliver | None = None
        self._deliveries = Deliveries(_MOST_WAITING)
        self._early: deque[tuple[Inbound, int]] | None = deque()
        self._missed = 0
        self._over = False

    async def connect(self) -> None:
        """Open the connection; the server checks the credentials in the opening handshake.

        Raises the errors of `WebSocketConnector.connect`.
        """
        config = self._config
        self._connection = await self._connector.connect(max_message=config.max_message, subprotocol=config.subprotocol)
        await self._background.open()
        self._background.start(self._read(self._connection))
        self._background.start(self._deliveries.run())
        self._background.start(self._connection.keep_alive(config.ping, self._deliveries))

    async def disconnect(self) -> None:
        """Close the connection, with the closing handshake where the server takes part in it."""
        self._over = True
        connection, self._connection = self._connection, None
        await self._background.close()
        lost = self._deliveries.close()
        if lost:
            self._setup.on_dropped(ConnectionLostError(f"{lost} messages waited when the session ended"), ALL)
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

    async def check(self) -> None:
        """Send a ping and wait for its pong (RFC 6455, 5.5.2). Raises ConnectionLostError, NotConnectedError.

        While the bus takes no messages, no pong could be read. Then only the connection is known.
        """
        connection = self._live()
        if self._deliveries.full:
            connection.check_open()
        else:
            await connection.ping()

    async def publish(self, command: Publish, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Send one message. Its headers are not sent, because WebSocket messages have none.

        Raises:
            InvalidError: The topic is not `*`, the codec cannot carry the message, or it has `qos` above 0 or `retain`.
            NotConnectedError: There is no connection.
            ConnectionLostError: The connection ended while the message was sent.
        """
        _check_topic(command.topic)
        if command.qos or command.retain:
            raise InvalidError("a WebSocket has neither `qos` above 0 nor `retain`")
        data, is_text = self._frame(command.message)
        await self._live().send(data, text=is_text)
        return {}

    def _frame(self, message: Any) -> tuple[bytes, bool]:
        """Return the message's bytes, and whether they are sent in a text frame."""
        if self._codec.name == "auto" and isinstance(message, bytes):
            return message, False
        data, _ = self._codec.encode(message)
        return data, self._codec.name not in {"bytes", "msgpack"}

    async def subscribe(
        self,
        topic: str,
        deliver: Deliver,
        options: SubscriptionOptions = NO_OPTIONS,  # noqa: ARG002
    ) -> Subscription:
        """Deliver the server's messages: all since the connection was opened, or from now on after an `unsubscribe`.

        Raises:
            InvalidError: The topic is not `*`.
            NotConnectedError: There is no connection.
        """
        _check_topic(topic)
        self._live()
        while self._early:  # more may come meanwhile
            await self._deliveries.put(deliver, *self._early.popleft())
        self._early, self._deliver = None, deliver
        if self._missed:
            early = f"{self._missed} messages came before there was a subscription; the last {_EARLY} are kept"
            self._setup.on_dropped(ProtocolError(early), ALL)
        return Subscription(topic)

    async def unsubscribe(self, subscription: Subscription) -> None:  # noqa: ARG002
        """Drop what comes from now on."""
        if self._deliver is not None:
            self._deliveries.drop(self._deliver)
        self._deliver = None

    async def _read(self, connection: WebSocketConnection) -> None:
        deliveries = self._deliveries
        try:
            while True:
                frame = await connection.receive()
                if self._deliver is not None:
                    message = self._inbound(frame)
                    if not deliveries.offer(self._deliver, message, len(frame)):
                        await deliveries.put(self._deliver, message, len(frame))
                elif self._early is not None:
                    self._early.append((self._inbound(frame), len(frame)))
                    if len(self._early) > _EARLY:
                        self._early.popleft()
                        self._missed += 1
        except ConnectionLostError as error:
            self._lose(error)

    def _inbound(self, frame: str | bytes) -> Inbound:
        if self._codec.name == "auto" and isinstance(frame, bytes):
            return Inbound(topic=ALL, message=frame)
        try:
            return Inbound(topic=ALL, message=self._codec.decode(frame.encode() if isinstance(frame, str) else frame))
        except ProtocolError as error:
            # It must neither get lost nor be taken for a decoded value.
            return Inbound(topic=ALL, message=frame, headers={"codec_error": error.message})

    def _lose(self, error: BridgeError) -> None:
        if not self._over:
            self._over = True
            self._setup.on_lost(error)


def check_names(operation: str, name: str, group: str | None, config: Any) -> None:  # noqa: ARG001
    """Check the topic of a publish or a subscription; see `ports.NameCheck`."""
    refuse_group(PROTOCOL, group)
    _check_topic(name)


def _check_topic(topic: str) -> None:
    if topic != ALL:
        raise InvalidError(f'topic: there is no {topic!r}; the only one is "{ALL}"')


SPEC: Final = AdapterSpec(
    protocol=PROTOCOL,
    summary="WebSocket: text and binary messages both ways over one connection",
    operations=frozenset({"publish", "subscribe", "unsubscribe"}),
    auth=frozenset({"none", "basic", "bearer", "certificate"}),
    config=WebSocketConfig,
    schemes=SCHEMES,
    create=WebSocketAdapter,
    side_by_side=True,
    check_names=check_names,
)
