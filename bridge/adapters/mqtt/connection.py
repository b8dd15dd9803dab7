"""One MQTT connection.

Two parties share the socket. aiomqtt's client and paho under it open the session, keep it alive and close it: CONNECT,
CONNACK, PINGREQ, PINGRESP and DISCONNECT are theirs. The packets that carry a packet identifier are written and read by
`packets`, because aiomqtt acknowledges a message that it has only received, drops messages where its queue is full,
gives each call a time limit in place of noticing that the broker is gone, and runs a task for each message.
"""
# ruff: noqa: ARG002  # the signatures of callbacks are paho's

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.client import ConnectFlags, DisconnectFlags
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from bridge.adapters.mqtt.errors import lost, refused
from bridge.adapters.mqtt.packets.headers import PropertyWriter
from bridge.adapters.mqtt.packets.identifiers import Identifiers
from bridge.adapters.mqtt.packets.message import IncomingMessage, decode
from bridge.adapters.mqtt.packets.outgoing import OutgoingMessages
from bridge.adapters.mqtt.packets.reader import PacketReader, join
from bridge.adapters.mqtt.packets.subscriptions import decode_answer, subscribe, unsubscribe
from bridge.adapters.mqtt.packets.wire_format import (
    FAILURE,
    KIND,
    LARGEST,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBACK,
    UNSUBACK,
    MalformedPacketError,
    acknowledgement,
)
from bridge.adapters.mqtt.transport import ControlSocket, SocketTransport
from bridge.core.errors import BridgeError, ConnectionLostError, NotConnectedError
from bridge.core.ports import Clock, Promise
from bridge.core.timer import Timer

#: Names of the libraries that are not public, and why there is no other way.
PRIVATE_NAMES: Final = {
    "aiomqtt.Client._client": "aiomqtt has no other way to paho's client, whose callbacks tell what the broker allows",
    "paho.mqtt.client.Client._create_socket": "paho cannot be given a socket; its own blocks, and needs a thread",
}

#: Seconds between two looks of paho's at its keep-alive.
_KEEP_ALIVE_INTERVAL: Final = 1.0
#: A reason code (MQTT 5, 2.4).
_KEEP_ALIVE_TIMEOUT: Final = 0x8D
#: Packets that `packets` reads, by the upper four bits of their first byte.
_ANSWERS_TO_PUBLISH: Final = frozenset({PUBACK, PUBREC, PUBCOMP})
_ANSWERS_TO_CALLS: Final = {SUBACK: PacketTypes.SUBACK, UNSUBACK: PacketTypes.UNSUBACK}
_OURS: Final = frozenset({PUBLISH, PUBREL & KIND, *_ANSWERS_TO_PUBLISH, *_ANSWERS_TO_CALLS})


@dataclass(frozen=True)
class Limits:
    """What the broker allows, by its CONNACK (MQTT 5, 3.2.2.3).

    Attributes:
        receive_maximum: Messages with QoS 1 and 2 that it takes at a time.
        packet_size: Bytes of the largest packet that it takes.
        qos: The highest quality of service of a message.
        retain: It keeps retained messages.
        subscription_identifiers: It sends subscription identifiers along with messages.
    """

    receive_maximum: int = 65_535
    packet_size: int = LARGEST
    qos: int = 2
    retain: bool = True
    subscription_identifiers: bool = True

    @classmethod
    def of(cls, properties: Properties) -> "Limits":
        """Read the properties of CONNACK; what it does not name is not limited."""
        return cls(
            receive_maximum=getattr(properties, "ReceiveMaximum", cls.receive_maximum),
            packet_size=getattr(properties, "MaximumPacketSize", cls.packet_size),
            qos=getattr(properties, "MaximumQoS", cls.qos),
            retain=bool(getattr(properties, "RetainAvailable", cls.retain)),
            subscription_identifiers=bool(
                getattr(properties, "SubscriptionIdentifierAvailable", cls.subscription_identifiers)
            ),
        )


class MqttConnection:
    """A connection with its MQTT session. Call `open` once, then the others, also at the same time, then `close`.

    Attributes:
        limits: What the broker allows.
        error: Why there is no connection (any more); None while there is one.
    """

    def __init__(
        self,
        *,
        transport: SocketTransport,
        clock: Clock,
        version5: bool,
        clean: bool,
        on_accepted: Callable[[bool], None],
        on_message: Callable[[IncomingMessage], None],
        on_released: Callable[[int], None],
        on_lost: Callable[[BridgeError], None],
        keep_alive: int,
        properties: Properties | None,
        **settings: Any,
    ) -> None:
        """Nothing is sent yet.

        Args:
            transport: The open socket.
            clock: For looking after the keep-alive; paho measures its interval by itself.
            version5: MQTT 5; else 3.1.1.
            clean: Let the broker forget what it kept of an earlier session.
            on_accepted: Called once, before any message comes, with whether the broker had kept this client's session.
            on_message: Takes each message, in order; it is to be acknowledged by `acknowledge`.
            on_released: Called with each packet identifier that PUBREL frees.
            on_lost: Called once if the connection breaks after it was accepted.
            keep_alive: Seconds of silence after which paho sends PINGREQ; without an answer for as long again the
                connection is lost.
            properties: Of CONNECT, with MQTT 5.
            settings: Those of `aiomqtt.Client` that go into CONNECT.
        """
        self._transport = transport
        self._version5 = version5
        self._clean = clean
        self._on_accepted = on_accepted
        self._on_message = on_message
        self._on_released = on_released
        self._on_lost = on_lost
        self._keep_alive = keep_alive
        self._properties = properties
        self.limits = Limits()
        self.error: BridgeError | None = NotConnectedError("there is no session")
        self._loop = asyncio.get_running_loop()
        self._reader = PacketReader()
        self._identifiers = Identifiers()
        self._outgoing = OutgoingMessages(self._write, self._identifiers, version5=version5)
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        self._accepted: asyncio.Future[None] = self._loop.create_future()
        self._flush_is_due = False
        self._paused = False
        self._closing = False
        self._drained: asyncio.Future[None] | None = None
        self._timer = Timer(clock)
        self._paho_socket = ControlSocket(transport.fileno(), self._write)
        protocol = aiomqtt.ProtocolVersion.V5 if version5 else aiomqtt.ProtocolVersion.V311
        session: dict[str, Any] = {} if version5 else {"clean_session": clean}
        self._client = aiomqtt.Client("broker", protocol=protocol, **session, **settings)
        self._paho = paho = self._client._client  # noqa: SLF001
        paho._create_socket = lambda: self._paho_socket  # type: ignore[method-assign]  # noqa: SLF001
        paho.disable_logger()  # what it would log is raised or told
        paho.on_connect = self._on_connect
        paho.on_disconnect = self._on_disconnect
        # aiomqtt would register the socket with the loop; without these paho writes at once.
        paho.on_socket_open = paho.on_socket_close = None
        paho.on_socket_register_write = paho.on_socket_unregister_write = None

    # --- life

    async def open(self) -> None:
        """Send CONNECT and wait until the broker accepts.

        Raises:
            MqttConnectError: The broker refuses.
            BridgeError: The connection ends before.
        """
        more: dict[str, Any] = {"clean_start": self._clean, "properties": self._properties} if self._version5 else {}
        self._paho.connect("broker", keepalive=self._keep_alive, **more)
        self._loop.add_reader(self._transport.fileno(), self._on_readable)
        self._check_keep_alive()
        await self._accepted

    async def drain(self) -> None:
        """Wait until everything that was sent is in the operating system's hands, or the connection has ended."""
        if self._is_open() and not self._transport.is_empty:
            self._drained = self._drained or self._loop.create_future()
            await self._drained

    def _set_drained(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def close(self, *, orderly: bool) -> None:
        """End the connection. Only an orderly end sends DISCONNECT, by which the broker forgets the will."""
        self._closing = True
        if orderly:
            self._paho.disconnect()
        self._end(ConnectionLostError("the session was closed"))
        self.error = NotConnectedError("the session is closed")

    def _end(self, error: BridgeError) -> None:
        """Close the socket, and let paho find it closed."""
        self._ended(error)
        self._paho_socket.end()
        self._paho.loop_read()

    def _ended(self, error: BridgeError) -> None:
        """Close the socket, fail everything that waits, and report the loss; nothing happens a second time."""
        self._timer.cancel()
        self._set_drained()
        descriptor = self._transport.fileno()
        if descriptor >= 0:
            self._loop.remove_reader(descriptor)
            self._loop.remove_writer(descriptor)
            self._transport.close()
        if not self._accepted.done():
            self._accepted.set_exception(error)
            self._accepted.exception()  # whoever waited may have been cancelled
        is_loss = self.error is None and not self._closing
        if self.error is None:
            self.error = NotConnectedError(error.message, permanent=error.permanent)
        calls, self._calls = self._calls, {}
        for call in calls.values():
            if not call.done():
                call.set_exception(ConnectionLostError(error.message, code=error.code))
        self._outgoing.fail(lambda: ConnectionLostError(error.message, code=error.code))
        if is_loss:
            self._on_lost(error)

    # --- calls

    def send(
        self, topic: str, payload: bytes, qos: int, *, retain: bool, properties: PropertyWriter | None, promise: Promise
    ) -> None:
        """Publish a message.

        The promise gets `{}` when the broker has taken the message over, `{"receivers": 0}` where the broker found no
        subscriber. It fails with the error by which the broker refuses, or with ConnectionLostError where the
        connection breaks before.

        Raises:
            NotConnectedError: There is no connection.
            InvalidError: The broker does not take so large a packet.
        """
        self._check_open()
        self._outgoing.publish(topic, payload, qos, retain=retain, properties=properties, promise=promise)
        if qos == 0:
            self._loop.call_soon(_settle, promise)

    async def subscribe(self, topic: str, qos: int, subscription: int | None) -> None:
        """Subscribe to a topic filter; with MQTT 5 messages come with the identifier `subscription`.

        Raises:
            NotConnectedError: There is no connection.
            ConnectionLostError: It breaks before the broker answers.
            BridgeError: The broker refuses.
        """
        self._check_open()
        identifier = self._identifiers.take()
        await self._call(
            identifier, subscribe(identifier, topic, qos, version5=self._version5, subscription=subscription), SUBACK
        )

    async def unsubscribe(self, topic: str) -> None:
        """End a subscription; any broker answers, whether there was one or not. Raises like `subscribe`."""
        self._check_open()
        identifier = self._identifiers.take()
        await self._call(identifier, unsubscribe(identifier, topic, version5=self._version5), UNSUBACK)

    async def _call(self, identifier: int, packet: bytes, answer: int) -> None:
        call: asyncio.Future[bytes] = self._loop.create_future()
        self._calls[identifier] = call
        self._write(packet)
        for code in await call:
            if code >= FAILURE:
                raise refused(_ANSWERS_TO_CALLS[answer], code)

    def _check_open(self) -> None:
        if self.error is not None:
            error = self.error
            raise NotConnectedError(error.message, permanent=error.permanent)

    def acknowledge(self, message: IncomingMessage) -> bool:
        """Send PUBACK or PUBREC for a message of QoS 1 or 2; return False where the connection is gone."""
        if not self._is_open():
            return False
        self._write(acknowledgement(PUBACK if message.qos == 1 else PUBREC, message.identifier))
        return True

    def pause(self) -> None:
        """Read no more until `resume`: the broker keeps, by its own rules, what it cannot send."""
        if not self._paused and self._is_open():
            self._paused = True
            self._loop.remove_reader(self._transport.fileno())

    def resume(self) -> None:
        """Read again after `pause`."""
        if self._paused and self._is_open():
            self._paused = False
            self._loop.add_reader(self._transport.fileno(), self._on_readable)
            self._loop.call_soon(self._go_on)

    # --- the socket

    def _write(self, data: bytes) -> None:
        """Write at the end of this turn of the loop, together with all else that is written in it."""
        self._transport.write(data)
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        descriptor = self._transport.fileno()
        if descriptor < 0:
            return
        try:
            if self._transport.flush():
                self._loop.remove_writer(descriptor)
                self._set_drained()
            else:
                self._loop.add_writer(descriptor, self._flush)
        except OSError:
            self._end(lost(self._transport.failure, None))

    def _on_readable(self) -> None:
        if self._paused or not self._is_open():
            return
        try:
            data = self._transport.receive()
        except OSError:
            data = b""
        if data is None:
            return
        if data:
            self._reader.feed(data)
            self._go_on()
        else:
            self._end(lost(self._transport.failure, None))

    def _go_on(self) -> None:
        """Handle the packets that are here, until there is no room for messages or the connection ends."""
        try:
            for first, body in self._reader.packets():
                if not self._is_open():
                    return
                self._take(first, body)
                if self._paused:
                    return
        except MalformedPacketError as error:
            self._end(ConnectionLostError(f"the broker sent what is no MQTT: {error}"))
        if self._is_open() and self._transport.has_more():
            self._loop.call_soon(self._on_readable)

    def _is_open(self) -> bool:
        return self._transport.fileno() >= 0

    def _take(self, first: int, body: bytes) -> None:
        kind = first & KIND
        if kind not in _OURS:
            self._paho_socket.offer(join(first, body))
            self._paho.loop_read()
        elif self.error is not None:
            raise MalformedPacketError("a packet before CONNACK")
        elif kind == PUBLISH:
            self._on_message(decode(first, body, version5=self._version5))
        elif len(body) < 2:
            raise MalformedPacketError("a packet without its identifier")
        elif kind in _ANSWERS_TO_PUBLISH:
            self._outgoing.on_answer(kind, body[0] << 8 | body[1], body[2] if len(body) > 2 else 0)
        elif kind in _ANSWERS_TO_CALLS:
            self._on_answer(*decode_answer(body, version5=self._version5))
        else:  # PUBREL, also for what an earlier connection of this session had confirmed
            identifier = body[0] << 8 | body[1]
            self._on_released(identifier)
            self._write(acknowledgement(PUBCOMP, identifier))

    def _on_answer(self, identifier: int, codes: bytes) -> None:
        call = self._calls.pop(identifier, None)
        if call is not None:
            self._identifiers.release(identifier)
            if not call.done():
                call.set_result(codes)

    # --- paho

    def _check_keep_alive(self) -> None:
        """Let paho send PINGREQ, or find that its answer does not come."""
        if self._paho.loop_misc() == MQTTErrorCode.MQTT_ERR_SUCCESS and self._is_open():
            self._timer.set(_KEEP_ALIVE_INTERVAL, self._check_keep_alive)

    def _on_connect(
        self, client: Any, userdata: Any, flags: ConnectFlags, reason_code: ReasonCode, properties: Any = None
    ) -> None:
        if self._accepted.done():
            return
        if reason_code.is_failure:
            self._accepted.set_exception(MqttConnectError(reason_code))
            self._accepted.exception()  # whoever waited may have been cancelled
            return
        self.limits = Limits.of(properties)
        self._outgoing.limit(window=self.limits.receive_maximum, packet_size=self.limits.packet_size)
        self._accepted.set_result(None)
        self._on_accepted(flags.session_present)
        # Not later: messages that the broker had kept, or its DISCONNECT, may be in the same read.
        self.error = None

    def _on_disconnect(
        self, client: Any, userdata: Any, flags: DisconnectFlags, reason_code: ReasonCode, properties: Any = None
    ) -> None:
        has_reason = flags.is_disconnect_packet_from_server or reason_code.value == _KEEP_ALIVE_TIMEOUT
        self._ended(lost(self._transport.failure, reason_code if has_reason else None))


def _settle(promise: Promise) -> None:
    if not promise.done():
        promise.set_result({})
