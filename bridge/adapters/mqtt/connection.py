"""One MQTT connection: aiomqtt's client, with what has to be different for a session that must not lose anything.

aiomqtt gives each call a time limit of its own in place of noticing that the broker is gone, connects in a thread,
acknowledges what it has only received, and wakes a task for each message. So calls wait for futures that fail together
at once, the socket is our own (`transport`), and messages are handed over in the callback and acknowledged later.
`tests/unit/adapters/mqtt/test_libraries.py` holds what is used of both libraries beyond their public interface.
"""
# ruff: noqa: SLF001  # paho's client is private in aiomqtt; manual acknowledgement is not to be had without it
# ruff: noqa: ARG002  # the callbacks' signatures are paho's

import asyncio
import struct
from collections.abc import Callable
from typing import Any, Final

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.client import ConnectFlags, DisconnectFlags
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from bridge.adapters.mqtt.errors import lost
from bridge.adapters.mqtt.packets.headers import Packed
from bridge.adapters.mqtt.packets.message import Message, decode
from bridge.adapters.mqtt.packets.outgoing import Outgoing
from bridge.adapters.mqtt.transport import Wire
from bridge.core.errors import BridgeError, ConnectionLostError, NotConnectedError
from bridge.core.ports import Promise

_HOUSEKEEPING: Final = 1.0
#: Packets are read in rounds, so that a flood leaves time for others.
_ROUNDS: Final = 64
#: A reason code (MQTT 5, 2.4).
_KEEP_ALIVE: Final = 0x8D
#: What paho raises where the broker sends nonsense.
_MALFORMED: Final = (ValueError, IndexError, KeyError, TypeError, struct.error, MQTTException)

Answer = tuple[list[ReasonCode], Properties | None]


class Link(aiomqtt.Client):
    """See the module. `open` once, then calls at the same time, then `close`.

    Attributes:
        session_present: The broker had kept this client's session.
        limits: The properties of CONNACK; None before, and with MQTT 3.1.1.
        error: Why there is no connection (any more); None while there is one.
    """

    def __init__(
        self,
        *,
        wire: Wire,
        version5: bool,
        clean: bool,
        on_accepted: Callable[[bool], None],
        on_inbound: Callable[[Message], None],
        on_released: Callable[[int], None],
        on_lost: Callable[[BridgeError], None],
        **settings: Any,
    ) -> None:
        """Nothing is sent yet.

        Args:
            wire: The open socket.
            version5: MQTT 5; else 3.1.1.
            clean: Forget what the broker kept of an earlier session.
            on_accepted: Told once, before any message comes, whether the broker had kept this client's session.
            on_inbound: Takes each message, in order; it is to be acknowledged by `ack`.
            on_released: Told of the packet identifiers that PUBREL frees.
            on_lost: Told once if the connection breaks after it was accepted.
            settings: The rest of `aiomqtt.Client`'s.
        """
        protocol = aiomqtt.ProtocolVersion.V5 if version5 else aiomqtt.ProtocolVersion.V311
        once: dict[str, Any] = {"clean_start": clean} if version5 else {"clean_session": clean}
        super().__init__(protocol=protocol, **once, **settings)
        self._wire: Wire | None = wire
        self._on_accepted = on_accepted
        self._on_inbound = on_inbound
        self._on_released = on_released
        self._version5 = version5
        self._on_lost = on_lost
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._writing = False
        self._accepted: asyncio.Future[None] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._closing = False
        self._paused = False
        self._failure: OSError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.session_present = False
        self.limits: Properties | None = None
        self.error: BridgeError | None = NotConnectedError("there is no session")
        paho = self._client
        self._outgoing = Outgoing(self._put, paho._mid_generate, version5=version5)
        paho.disable_logger()  # what it would log is raised or told
        paho._create_socket = lambda: wire  # type: ignore[method-assign]
        paho._handle_publish = self._receive  # type: ignore[method-assign]
        paho._handle_pubackcomp = self._confirmed  # type: ignore[method-assign]
        paho._handle_pubrec = self._answered  # type: ignore[method-assign]
        paho._handle_pubrel = self._release  # type: ignore[method-assign]

    # --- life

    async def open(self) -> None:
        """Send CONNECT and wait until the broker accepts.

        Raises:
            MqttConnectError: It refuses.
            BridgeError: It hangs up.
        """
        self._client_connect()
        await self._accepted

    async def close(self, *, orderly: bool) -> None:
        """End the connection; only an orderly end says DISCONNECT, by which the broker forgets the will."""
        self._closing = True
        try:
            if orderly and self._client.disconnect() == MQTTErrorCode.MQTT_ERR_SUCCESS:
                await self._closed
        finally:
            self._client._sock_close()
            if self._wire is not None:  # paho never had it
                self._wire.close()
            self._end(ConnectionLostError("the session was closed"))
            self.error = NotConnectedError("the session is closed")

    def _end(self, error: BridgeError) -> None:
        """Everything that waits fails now; whoever is to know is told once."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._closed.done():
            self._closed.set_result(None)
        if not self._accepted.done():
            self._accepted.set_exception(error)
            self._accepted.exception()
        tell = self.error is None and not self._closing
        if self.error is None:
            self.error = NotConnectedError(error.message, needs_person=error.needs_person)
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(ConnectionLostError(error.message, code=error.code))
        self._outgoing.fail(lambda: ConnectionLostError(error.message, code=error.code))
        if tell:
            self._on_lost(error)

    # --- calls

    def send(
        self, topic: str, payload: bytes, qos: int, *, retain: bool, properties: Packed | None, promise: Promise
    ) -> None:
        """Publish. The promise gets `{}` when the broker has taken it over, `{"receivers": 0}` where it says so.

        It fails with what the broker refuses by, or with ConnectionLostError where the connection broke before.

        Raises:
            NotConnectedError: There is no connection.
        """
        self._check_open()
        self._outgoing.publish(topic, payload, qos, retain=retain, properties=properties, promise=promise)
        if qos == 0:
            self._loop.call_soon(_sent, promise)

    def _put(self, data: bytes) -> None:
        """Write with the rest of this turn of the loop."""
        if self._wire is not None:
            self._wire.put(data)
            if not self._writing:
                self._writing = True
                self._loop.call_soon(self._writable)

    async def add(self, topic: str, qos: int, identifier: int | None) -> None:
        """Subscribe; with MQTT 5 messages come with the identifier. Raises like `send`."""
        self._check_open()
        if identifier is None:
            result, mid = self._client.subscribe(topic, qos)
        else:
            properties = Properties(PacketTypes.SUBSCRIBE)  # type: ignore[no-untyped-call]
            properties.SubscriptionIdentifier = identifier
            result, mid = self._client.subscribe(topic, options=SubscribeOptions(qos=qos), properties=properties)
        await self._result(result, mid)

    async def drop(self, topic: str) -> None:
        """Unsubscribe, which any broker answers, whether there was a subscription or not. Raises like `send`."""
        self._check_open()
        await self._result(*self._client.unsubscribe(topic))

    async def _result(self, result: MQTTErrorCode, mid: int | None) -> None:
        if result != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            raise aiomqtt.MqttCodeError(result)
        await self._answer(mid)

    async def _answer(self, mid: int) -> Answer:
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting[mid] = future
        try:
            answer = await future
        finally:
            self._waiting.pop(mid, None)
        for reason in answer[0]:
            if reason.is_failure:
                raise aiomqtt.MqttCodeError(reason)
        return answer

    def _check_open(self) -> None:
        if self.error is not None:
            error = self.error
            raise NotConnectedError(error.message, needs_person=error.needs_person)

    def ack(self, message: Message) -> bool:
        """Confirm a message of QoS 1 or 2 that `on_inbound` took; False where the connection is gone."""
        if self._wire is None:
            return False
        if message.qos == 1:
            self._client._send_puback(message.mid)
        else:
            self._client._send_pubrec(message.mid)
        return True

    def pause(self) -> None:
        """Read no more until `resume`: the broker keeps, by its own rules, what it cannot send."""
        if not self._paused and self._wire is not None:
            self._paused = True
            self._loop.remove_reader(self._wire.fileno())

    def resume(self) -> None:
        """Read on."""
        if self._paused and self._wire is not None:
            self._paused = False
            self._loop.add_reader(self._wire.fileno(), self._readable)
            self._loop.call_soon(self._readable)

    # --- paho's callbacks

    def _settle(self, mid: int, reasons: list[ReasonCode], properties: Properties | None) -> None:
        future = self._waiting.get(mid)
        if future is not None and not future.done():
            future.set_result((reasons, properties))

    def _on_connect(
        self, client: Any, userdata: Any, flags: ConnectFlags, reason_code: ReasonCode, properties: Any = None
    ) -> None:
        if self._accepted.done():
            return
        if reason_code.is_failure:
            self._accepted.set_exception(MqttConnectError(reason_code))
            self._accepted.exception()  # whoever waited may have been cancelled
            return
        self.session_present = flags.session_present
        self.limits = properties
        self._outgoing.window = getattr(properties, "ReceiveMaximum", self._outgoing.window)
        self._accepted.set_result(None)
        self._on_accepted(flags.session_present)
        # Not later: messages that the broker had kept, or its DISCONNECT, may be in the same read.
        self.error = None

    def _on_disconnect(
        self, client: Any, userdata: Any, flags: DisconnectFlags, reason_code: ReasonCode, properties: Any = None
    ) -> None:
        said = flags.is_disconnect_packet_from_server or reason_code.value == _KEEP_ALIVE
        self._end(lost(self._failure, reason_code if said else None))

    def _on_subscribe(
        self, client: Any, userdata: Any, mid: int, reason_codes: list[ReasonCode], properties: Any = None
    ) -> None:
        self._settle(mid, reason_codes, properties)

    def _on_unsubscribe(
        self, client: Any, userdata: Any, mid: int, reason_codes: list[ReasonCode], properties: Any = None
    ) -> None:
        self._settle(mid, reason_codes, properties)

    def _receive(self) -> MQTTErrorCode:
        """Hand a PUBLISH over. It is confirmed by `ack`, also with QoS 2, which paho would confirm at once."""
        packet = self._client._in_packet
        self._on_inbound(decode(packet["command"], bytes(packet["packet"]), version5=self._version5))
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _confirmed(self, cmd: str) -> MQTTErrorCode:
        return self._answered()

    def _answered(self) -> MQTTErrorCode:
        """Take PUBACK, PUBREC or PUBCOMP, where it came through paho."""
        packet = self._client._in_packet
        self._answer_of(packet["command"], bytes(packet["packet"]))
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _answer_of(self, kind: int, body: bytes) -> None:
        self._outgoing.take(kind & 0xF0, body[0] << 8 | body[1], body[2] if len(body) > 2 else 0)

    def _release(self) -> MQTTErrorCode:
        """Answer PUBREL, also for what an earlier connection of this session had confirmed."""
        mid = int.from_bytes(self._client._in_packet["packet"][:2], "big")
        self._on_released(mid)
        return self._client._send_pubcomp(mid)

    # --- the socket

    def _on_socket_open(self, client: Any, userdata: Any, sock: Any) -> None:
        self._loop.add_reader(sock.fileno(), self._readable)
        self._timer = self._loop.call_later(_HOUSEKEEPING, self._keep_house)

    def _on_socket_close(self, client: Any, userdata: Any, sock: Any) -> None:
        self._failure = sock.failure
        self._wire = None
        if sock.fileno() >= 0:
            self._loop.remove_reader(sock.fileno())
            self._loop.remove_writer(sock.fileno())

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:
        # After this turn of the loop, so that what is sent in one turn goes out together.
        self._loop.call_soon(self._writable)

    def _on_socket_unregister_write(self, client: Any, userdata: Any, sock: Any) -> None:
        pass

    def _readable(self) -> None:
        for _ in range(_ROUNDS):
            if self._wire is None or self._paused:
                return
            self._read_some()
            wire: Wire | None = self._wire
            if wire is None or not wire.pending():
                return
        self._loop.call_soon(self._readable)

    def _read_some(self) -> None:
        try:
            self._client.loop_read()
            if self._wire is not None and not self._client._in_packet["command"]:
                for kind, body in self._wire.answers():
                    self._answer_of(kind, body)
        except _MALFORMED as error:
            # paho lets a malformed packet's exception through and would go on in the middle of it.
            self._end(ConnectionLostError(f"the broker sent what is no MQTT ({type(error).__name__})"))
            self._client._sock_close()

    def _writable(self) -> None:
        self._writing = False
        wire = self._wire
        if wire is None:
            return
        self._client.loop_write()
        if wire.fileno() < 0:  # that was DISCONNECT
            return
        try:
            if wire.flush() and not self._client.want_write():
                self._loop.remove_writer(wire.fileno())
            else:
                self._loop.add_writer(wire.fileno(), self._writable)
        except OSError:
            self._client._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)

    def _keep_house(self) -> None:
        """Keep-alive: paho wants to be asked now and then."""
        if self._client.loop_misc() == MQTTErrorCode.MQTT_ERR_SUCCESS and self._wire is not None:
            self._timer = self._loop.call_later(_HOUSEKEEPING, self._keep_house)


def _sent(promise: Promise) -> None:
    if not promise.done():
        promise.set_result({})
