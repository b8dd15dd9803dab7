"""WebSocket (RFC 6455): `type = "websocket"`.

One connection; its one topic is `*`: what is published goes out as one message, each message of the server comes in as
one. Text, and JSON, are text frames; bytes and MessagePack are binary frames. Frames have no headers, so event headers
cannot travel with them, and there is no acknowledgement: published means handed to the operating system.
"""

from collections import deque
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from bridge.adapters._common.background import Background
from bridge.adapters._common.content import Codec, CodecName
from bridge.adapters._common.websocket import opening
from bridge.core.endpoint import Strict
from bridge.core.errors import BridgeError, InvalidError, NotConnectedError, ProtocolError
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
)
from bridge.core.units import PositiveDuration, Size

PROTOCOL: Final = "websocket"
#: The only topic.
ALL: Final = "*"
#: Messages kept until somebody subscribes, as a server's greeting; older ones give way.
_EARLY: Final = 100
_SIGNS: Final = "!#$%&'*+-.^_`|~"


def _subprotocol(name: str) -> str:
    if not name or not all(sign.isascii() and (sign.isalnum() or sign in _SIGNS) for sign in name):
        raise ValueError(f"{name!r} is no subprotocol: letters, digits and {_SIGNS} only (RFC 6455, 4.1)")
    return name


class WebSocketConfig(Strict):
    """`config { … }` of a WebSocket integration."""

    subprotocol: Annotated[
        Annotated[str, AfterValidator(_subprotocol)] | None,
        Field(description="the subprotocol to ask for; a server that does not take it is an error"),
    ] = None
    ping: Annotated[
        PositiveDuration,
        Field(description="the interval of pings; without an answer until the next the session is over"),
    ] = 20.0
    max_message: Annotated[
        Size, Field(description="the largest message that is read, decompressed; a larger one ends the session")
    ] = 1024 * 1024
    codec: Annotated[
        CodecName,
        Field(
            description="how messages are written and read; auto sends text as text, bytes as a binary frame and all "
            "else as JSON, and reads text frames as JSON where they parse and binary ones as bytes"
        ),
    ] = "auto"


class WebSocketAdapter(AdapterBase):
    """One connection; see `ports.ProtocolAdapter`."""

    protocol = PROTOCOL

    def __init__(self, setup: AdapterSetup) -> None:
        """Raises ValueError where endpoint, auth and TLS do not fit together."""
        self._config = setup.config if isinstance(setup.config, WebSocketConfig) else WebSocketConfig()
        self._setup = setup
        self._opening = opening.Opening(setup)
        self._codec = Codec(self._config.codec)
        self._background = Background(self._lose)
        self._socket: ClientConnection | None = None
        self._deliver: Deliver | None = None
        self._early: deque[Inbound] | None = deque(maxlen=_EARLY)
        self._over = False

    async def connect(self) -> None:
        """Open the connection; the server checks the credentials in the opening handshake."""
        config = self._config
        self._socket = await self._opening.open(
            ping=config.ping, max_message=config.max_message, subprotocol=config.subprotocol
        )
        await self._background.open()
        self._background.start(self._read(self._socket))

    async def disconnect(self) -> None:
        """Say goodbye and close."""
        self._over = True
        socket, self._socket = self._socket, None
        await self._background.close()
        if socket is not None:
            await opening.close(socket, self._setup.clock)

    def _live(self) -> ClientConnection:
        if self._socket is None or self._over:
            raise NotConnectedError("there is no connection")
        return self._socket

    async def check(self) -> None:
        """A ping and its pong (RFC 6455, 5.5.2)."""
        await opening.ping(self._live())

    async def publish(self, command: Publish, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Send one message; `topic` is `*`. Headers stay behind, since messages have none.

        Raises:
            InvalidError: The topic is another, or the codec cannot carry the message; or `qos` or `retain` ask for
                what a WebSocket does not promise.
            ConnectionLostError: The connection ended while it was sent.
        """
        _check_topic(command.topic)
        if command.qos or command.retain:
            raise InvalidError("a WebSocket has neither `qos` above 0 nor `retain`")
        data, is_text = self._frame(command.message)
        socket = self._live()
        try:
            await socket.send(data, text=is_text)
        except (ConnectionClosed, OSError) as error:
            raise opening.lost_by(error) from None
        return {}

    def _frame(self, message: Any) -> tuple[bytes, bool]:
        """The message's bytes, and whether they go into a text frame."""
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
        """`topic` is `*`; the server's messages from the opening on, or from here where there was one before."""
        _check_topic(topic)
        self._live()
        early, self._early = self._early, None
        while early:
            await deliver(early.popleft())
        self._deliver = deliver
        return Subscription(topic)

    async def unsubscribe(self, subscription: Subscription) -> None:  # noqa: ARG002
        """What comes from here on is dropped."""
        self._deliver = None

    async def _read(self, socket: ClientConnection) -> None:
        try:
            while True:
                frame = await socket.recv()
                message = self._inbound(frame)
                if self._deliver is not None:
                    await self._deliver(message)
                elif self._early is not None:
                    self._early.append(message)
        except ConnectionClosed as error:
            self._lose(opening.lost_by(error))

    def _inbound(self, frame: str | bytes) -> Inbound:
        if self._codec.name == "auto" and isinstance(frame, bytes):
            return Inbound(topic=ALL, message=frame)
        try:
            return Inbound(topic=ALL, message=self._codec.decode(frame.encode() if isinstance(frame, str) else frame))
        except ProtocolError as error:
            # It must not get lost, and must not pass for what it is not.
            return Inbound(topic=ALL, message=frame, headers={"codec_error": error.message})

    def _lose(self, error: BridgeError) -> None:
        if not self._over:
            self._over = True
            self._setup.on_lost(error)


def _check_topic(topic: str) -> None:
    if topic != ALL:
        raise InvalidError(f'there is no topic {topic!r}; the only one is "{ALL}"')


SPEC: Final = AdapterSpec(
    protocol=PROTOCOL,
    summary="WebSocket: text and binary messages both ways over one connection",
    operations=frozenset({"publish", "subscribe", "unsubscribe"}),
    auth=frozenset({"none", "basic", "bearer", "certificate"}),
    config=WebSocketConfig,
    schemes=opening.SCHEMES,
    create=WebSocketAdapter,
)
