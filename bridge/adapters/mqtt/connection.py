"""One MQTT connection.

aiomqtt's client, and paho under it, write CONNECT. All else is written and read by `packets`. aiomqtt acknowledges a
message that it has only received, drops messages where its queue is full, gives each call a time limit in place of
noticing that the broker is gone, and runs a task for each message. paho raises what it likes on bytes that are no MQTT,
connects again by itself with an older version, and takes nothing for a sign of life but its own packets.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge.adapters.mqtt.errors import lost, refused, refused_connection
from bridge.adapters.mqtt.packets import properties as names
from bridge.adapters.mqtt.packets.identifiers import Identifiers
from bridge.adapters.mqtt.packets.message import IncomingMessage, decode
from bridge.adapters.mqtt.packets.outgoing import OutgoingMessages, UnfinishedMessages
from bridge.adapters.mqtt.packets.reader import MOST_BYTES, PacketReader
from bridge.adapters.mqtt.packets.session import Verdict, decode_connack, decode_disconnect
from bridge.adapters.mqtt.packets.subscriptions import decode_answer, subscribe, unsubscribe
from bridge.adapters.mqtt.packets.wire_format import (
    CONNACK,
    DISCONNECT,
    FAILURE,
    KIND,
    LARGEST,
    PINGREQ,
    PINGRESP,
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
from bridge.core.errors import (
    BridgeError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    NotSupportedError,
    ProtocolError,
)
from bridge.core.ports import Clock, Promise
from bridge.core.timer import Timer
from bridge.core.wakeups import Wakeups

#: Names of the libraries that are not public, and why there is no other way.
PRIVATE_NAMES: Final = {
    "aiomqtt.Client._client": "aiomqtt has no other way to paho's client, which writes CONNECT",
    "paho.mqtt.client.Client._create_socket": "paho cannot be given a socket; its own blocks, and needs a thread",
}

_ANSWERS_TO_PUBLISH: Final = frozenset({PUBACK, PUBREC, PUBCOMP})
_ANSWERS_TO_CALLS: Final = frozenset({SUBACK, UNSUBACK})
#: Neither a granted quality of service nor a refusal.
_NO_CODE: Final = 3
#: After a reading of more messages the next ones are read at once: many a broker has no more than twenty on the way.
_MANY: Final = 15
#: DISCONNECT with the reason code of a protocol error (MQTT 5, 4.13.2); the broker publishes the will.
_PROTOCOL_ERROR: Final = b"%c\x01\x82" % DISCONNECT


@dataclass(frozen=True)
class Limits:
    """What the broker allows, by its CONNACK (MQTT 5, 3.2.2.3).

    Attributes:
        receive_maximum: Messages with QoS 1 and 2 that it takes at a time.
        packet_size: Bytes of the largest packet that it takes.
        qos: The highest quality of service of a message.
        retain: It keeps retained messages.
        wildcards: It takes topic filters with wildcards.
        shared: It takes shared subscriptions.
        subscription_identifiers: It sends subscription identifiers along with messages.
        keep_alive: Seconds that it wants for the keep-alive; None: those of CONNECT.
    """

    receive_maximum: int = 65_535
    packet_size: int = LARGEST
    qos: int = 2
    retain: bool = True
    wildcards: bool = True
    shared: bool = True
    subscription_identifiers: bool = True
    keep_alive: int | None = None

    @classmethod
    def of(cls, verdict: Verdict) -> "Limits":
        """Read the properties of CONNACK; what it does not name, and a limit of nothing at all, is not limited."""
        found = verdict.properties
        return cls(
            receive_maximum=found.get(names.RECEIVE_MAXIMUM) or cls.receive_maximum,
            packet_size=found.get(names.MAXIMUM_PACKET_SIZE) or cls.packet_size,
            qos=found.get(names.MAXIMUM_QOS, cls.qos),
            retain=bool(found.get(names.RETAIN_AVAILABLE, cls.retain)),
            wildcards=bool(found.get(names.WILDCARDS_AVAILABLE, cls.wildcards)),
            shared=bool(found.get(names.SHARED_AVAILABLE, cls.shared)),
            subscription_identifiers=bool(found.get(names.IDENTIFIERS_AVAILABLE, cls.subscription_identifiers)),
            keep_alive=found.get(names.SERVER_KEEP_ALIVE),
        )


class MqttConnection:
    """A connection with its MQTT session. Call `open` once, then the others, also at the same time, then `close`.

    Attributes:
        limits: What the broker allows.
        error: Why there is no connection (any more); None while there is one.
        last_heard: When bytes last came, on the clock's `monotonic`; None: never.
    """

    def __init__(
        self,
        *,
        transport: SocketTransport,
        clock: Clock,
        version5: bool,
        clean: bool,
        unfinished: UnfinishedMessages,
        on_accepted: Callable[[bool], None],
        on_message: Callable[[IncomingMessage], None],
        on_released: Callable[[int], None],
        on_lost: Callable[[BridgeError], None],
        guess: Callable[[], str],
        keep_alive: int,
        properties: Properties | None,
        **settings: Any,
    ) -> None:
        """Nothing is sent yet.

        Args:
            transport: The open socket.
            clock: Measures the keep-alive.
            version5: MQTT 5; else 3.1.1.
            clean: Let the broker forget what it kept of an earlier session.
            unfinished: What earlier connections of this session have left at the broker.
            on_accepted: Called once, before any message comes, with whether the broker had kept this client's session.
            on_message: Takes each message, in order; it is to be acknowledged by `acknowledge`.
            on_released: Called with each packet identifier that PUBREL frees.
            on_lost: Called once if the connection breaks after it was accepted.
            guess: Returns what may be the reason where the broker ends the connection without a word; or an empty text.
            keep_alive: Seconds after which PINGREQ is sent. If nothing at all comes for as long again, the connection
                is lost.
            properties: Of CONNECT, with MQTT 5.
            settings: Those of `aiomqtt.Client` that go into CONNECT.
        """
        self._transport = transport
        self._clock = clock
        self._version5 = version5
        self._clean = clean
        self._on_accepted = on_accepted
        self._on_message = on_message
        self._on_released = on_released
        self._on_lost = on_lost
        self._guess = guess
        self._keep_alive = keep_alive
        self._properties = properties
        self.limits = Limits()
        self.error: BridgeError | None = NotConnectedError("there is no session")
        self.last_heard: float | None = None
        self._loop = asyncio.get_running_loop()
        self._reader = PacketReader(self._on_too_large)
        self._identifiers = Identifiers()
        self._outgoing = OutgoingMessages(
            self._write,
            self._identifiers,
            version5=version5,
            unfinished=unfinished,
            has_room=transport.has_room,
            on_written=lambda promise: self._unanswered.append((transport.written, promise)),
        )
        # Messages of QoS 0, which nobody answers: how much must be sent until they are, and their promises.
        self._unanswered: deque[tuple[int, Promise]] = deque()
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        self._accepted: asyncio.Future[None] = self._loop.create_future()
        self._flush_is_due = False
        self._waits_to_write = False
        self._paused = False
        self._wakeups = Wakeups(ignore=self._ignore, read=self._on_readable, watch=self._watch, many=_MANY)
        self._messages = 0  # of the reading that goes on, or was the last one
        self._closing = False
        self._drained: asyncio.Future[None] | None = None
        self._timer = Timer(clock)
        self._last_ping: float | None = None
        # Those that were sent and have no PINGRESP yet, in order, each with who waits for it.
        self._pings: deque[asyncio.Future[None]] = deque()
        self._has_acknowledged = False
        protocol = aiomqtt.ProtocolVersion.V5 if version5 else aiomqtt.ProtocolVersion.V311
        session: dict[str, Any] = {} if version5 else {"clean_session": clean}
        self._client = aiomqtt.Client("broker", protocol=protocol, **session, **settings)

    # --- life

    async def open(self) -> None:
        """Send CONNECT and wait until the broker accepts.

        Raises:
            BridgeError: The broker refuses, or the connection ends before.
        """
        more: dict[str, Any] = {"clean_start": self._clean, "properties": self._properties} if self._version5 else {}
        paho = self._client._client  # noqa: SLF001
        paho._create_socket = lambda: ControlSocket(self._transport.fileno(), self._write)  # type: ignore[method-assign]  # noqa: SLF001
        # aiomqtt would register the socket with the loop; without these paho writes at once.
        paho.on_socket_open = paho.on_socket_close = paho.on_disconnect = None
        paho.on_socket_register_write = paho.on_socket_unregister_write = None
        paho.disable_logger()
        paho.connect("broker", keepalive=self._keep_alive, **more)
        self._watch()
        await self._accepted

    async def drain(self) -> None:
        """Wait until everything that was sent is in the operating system's hands, or the connection has ended."""
        if self._transport.is_open and not self._transport.is_empty:
            self._drained = self._drained or self._loop.create_future()
            await self._drained

    async def acknowledged(self) -> None:
        """Wait until the broker has read all acknowledgements, or the connection has ended.

        It answers PINGREQ after that. Some brokers read no further where they cannot write any more, because the
        connection was closed.
        """
        if self._has_acknowledged and self._transport.is_open:
            self.resume()
            await self._send_ping()

    def _send_ping(self) -> "asyncio.Future[None]":
        answer: asyncio.Future[None] = self._loop.create_future()
        self._pings.append(answer)
        self._write(b"%c\x00" % PINGREQ)
        return answer

    def _set_drained(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def close(self, *, orderly: bool) -> None:
        """End the connection. Only an orderly end sends DISCONNECT, by which the broker forgets the will."""
        self._closing = True
        if orderly and self._transport.is_open:
            self._transport.write(b"%c\x00" % DISCONNECT)
        self._end(ConnectionLostError("the session was closed"))
        self.error = NotConnectedError("the session is closed")

    def _end(self, error: BridgeError) -> None:
        """Close the socket, fail everything that waits, and report the loss; nothing happens a second time."""
        self._timer.cancel()
        self._set_drained()
        pings, self._pings = self._pings, deque()
        for ping in pings:
            _set(ping)
        descriptor = self._transport.fileno()
        if descriptor >= 0:
            self._wakeups.close()
            self._ignore()
            self._loop.remove_writer(descriptor)
            self._transport.close()
        if not self._accepted.done():
            self._accepted.set_exception(error)
            self._accepted.exception()  # whoever waited may have been cancelled
        is_loss = self.error is None and not self._closing
        if self.error is None:
            self.error = NotConnectedError(error.message, code=error.code, permanent=error.permanent)
        calls, self._calls = self._calls, {}
        for call in calls.values():
            if not call.done():
                call.set_exception(ConnectionLostError(error.message, code=error.code))
        unanswered, self._unanswered = self._unanswered, deque()
        for _, promise in unanswered:
            if not promise.done():
                promise.set_exception(ConnectionLostError(error.message, code=error.code))
        self._outgoing.fail(lambda: ConnectionLostError(error.message, code=error.code))
        if is_loss:
            self._on_lost(error)

    # --- calls

    def send(
        self, topic: str, payload: bytes, qos: int, *, retain: bool, properties: bytes | None, promise: Promise
    ) -> None:
        """Publish a message; `properties` as for `OutgoingMessages.publish`.

        The promise gets `{}` when the broker has taken the message over, `{"receivers": 0}` where the broker found no
        subscriber; with QoS 0, when the message is in the operating system's hands. It fails with the error by which
        the broker refuses, or with ConnectionLostError where the connection breaks before.

        Raises:
            NotConnectedError: There is no connection.
            InvalidError: The broker does not take so large a packet.
        """
        if self.error is not None:  # each message comes here, and a call that checks costs
            self._check_open()
        self._outgoing.publish(topic, payload, qos, retain=retain, properties=properties, promise=promise)

    async def subscribe(self, topic: str, qos: int, subscription: int | None) -> int:
        """Subscribe to a topic filter; with MQTT 5 messages come with the identifier `subscription`.

        Returns:
            The quality of service that the broker grants, which may be lower than `qos`.

        Raises:
            NotConnectedError: There is no connection.
            ConnectionLostError: It breaks before the broker answers.
            NotSupportedError: The broker takes no such filter, by its CONNACK; nothing was sent.
            InvalidError: The packet is larger than the broker takes; nothing was sent.
            BridgeError: The broker refuses.
        """
        self._check_open()
        if not self.limits.shared and topic.startswith("$share/"):
            raise NotSupportedError("the broker has no shared subscriptions")
        if not self.limits.wildcards and not {"+", "#"}.isdisjoint(topic):
            raise NotSupportedError("the broker takes no wildcards in topics")
        identifier = self._identifiers.take()
        packet = subscribe(identifier, topic, qos, version5=self._version5, subscription=subscription)
        codes = await self._call(identifier, packet)
        granted = codes[0] if len(codes) == 1 else _NO_CODE
        if granted >= FAILURE:
            raise refused(PacketTypes.SUBACK, granted)
        if granted > 2:
            raise ProtocolError("the broker's answer to SUBSCRIBE makes no sense", maybe_sent=False)
        return granted

    async def unsubscribe(self, *topics: str) -> Sequence[int]:
        """End subscriptions to topic filters; any broker answers, whether there were any or not.

        Returns:
            A reason code for each filter; none with MQTT 3.1.1.

        Raises:
            NotConnectedError: There is no connection.
            ConnectionLostError: It breaks before the broker answers.
        """
        self._check_open()
        identifier = self._identifiers.take()
        return await self._call(identifier, unsubscribe(identifier, topics, version5=self._version5))

    async def _call(self, identifier: int, packet: bytes) -> bytes:
        """Send SUBSCRIBE or UNSUBSCRIBE; return the reason codes of the answer."""
        if len(packet) > self.limits.packet_size:
            self._identifiers.release(identifier)
            raise InvalidError(f"topic: a packet of {len(packet)} bytes; the broker takes {self.limits.packet_size}")
        call: asyncio.Future[bytes] = self._loop.create_future()
        self._calls[identifier] = call
        self._write(packet)
        return await call

    def _check_open(self) -> None:
        if self.error is not None:
            error = self.error
            raise NotConnectedError(error.message, code=error.code, permanent=error.permanent)

    def acknowledge(self, messages: Sequence[IncomingMessage]) -> bool:
        """Send PUBACK or PUBREC for messages of QoS 1 and 2, in order; return False where the connection is gone."""
        if not self._transport.is_open:
            return False
        packets = [acknowledgement(PUBACK if one.qos == 1 else PUBREC, one.identifier) for one in messages]
        self._write(b"".join(packets))
        self._has_acknowledged = True
        return True

    def pause(self) -> None:
        """Read nothing until `resume`, answers of the broker included: only for a moment, so that a flood waits."""
        if not self._paused and self._transport.is_open:
            self._paused = True
            self._wakeups.close()
            self._ignore()

    def resume(self) -> None:
        """Read again after `pause`."""
        if self._paused and self._transport.is_open:
            self._paused = False
            self._watch()
            self._loop.call_soon(self._go_on)

    def hurry(self) -> None:
        """Read at once from now on: somebody waits for what has come."""
        self._wakeups.hurry()

    # --- the socket

    def _watch(self) -> None:
        self._loop.add_reader(self._transport.fileno(), self._on_readable)

    def _ignore(self) -> None:
        self._loop.remove_reader(self._transport.fileno())

    def _write(self, data: bytes) -> None:
        """Write at the end of this turn of the loop, together with all else that is written in it."""
        self._transport.write(data)
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        if not self._transport.is_open:
            return
        try:
            is_empty = self._transport.flush()
        except OSError:
            self._end(lost(self._transport.failure, None, self._guess()))
            return
        sent, unanswered = self._transport.sent, self._unanswered
        while unanswered and unanswered[0][0] <= sent:
            promise = unanswered.popleft()[1]
            if not promise.done():
                promise.set_result({})
        self._outgoing.send_waiting()
        if self._waits_to_write is is_empty:
            self._waits_to_write = not is_empty
            if is_empty:
                self._loop.remove_writer(self._transport.fileno())
            else:
                self._loop.add_writer(self._transport.fileno(), self._flush)
        if self._drained is not None and self._transport.is_empty:
            self._set_drained()

    def _on_readable(self) -> None:
        if self._paused or not self._transport.is_open:
            return
        try:
            data = self._transport.receive()
        except OSError:
            data = b""
        if data is None:
            self._wakeups.has_read(0)
        elif data:
            self.last_heard = self._clock.monotonic()
            self._reader.feed(data)
            self._messages = 0
            self._go_on()
            self._wakeups.has_read(self._messages)
        else:
            self._end(lost(self._transport.failure, None, self._guess()))

    def _go_on(self) -> None:
        """Handle the packets that are here, until there is no room for messages or the connection ends."""
        if not self._transport.is_open:
            return
        transport = self._transport
        try:
            for first, body in self._reader.packets():
                self._take(first, body)
                if self._paused or not transport.is_open:
                    return
        except MalformedPacketError as error:
            if self._version5 and transport.is_open:
                transport.write(_PROTOCOL_ERROR)
            self._end(ConnectionLostError(f"the broker sent what is no MQTT: {error}"))
        if transport.is_open and transport.has_more():
            self._loop.call_soon(self._on_readable)

    def _take(self, first: int, body: bytes) -> None:
        kind = first & KIND
        if self.error is not None:
            self._begin(kind, body)
            return
        if kind == PUBLISH:
            self._messages += 1
            self._on_message(decode(first, body, version5=self._version5))
            return
        self._wakeups.hurry()  # somebody waits for an answer
        if kind == PINGRESP:
            if self._pings:
                _set(self._pings.popleft())
        elif kind == DISCONNECT and self._version5:
            self._end(lost(None, decode_disconnect(body)))
        elif len(body) < 2:
            raise MalformedPacketError("a packet without its identifier")
        elif kind in _ANSWERS_TO_PUBLISH:
            self._outgoing.on_answer(kind, body[0] << 8 | body[1], body[2] if len(body) > 2 else 0)
        elif kind in _ANSWERS_TO_CALLS:
            self._on_answer(*decode_answer(body, version5=self._version5))
        elif kind == PUBREL & KIND:  # also for what an earlier connection of this session had confirmed
            identifier = body[0] << 8 | body[1]
            self._on_released(identifier)
            self._write(acknowledgement(PUBCOMP, identifier))
        else:
            raise MalformedPacketError("a packet that only a client sends, or a second CONNACK")

    def _on_too_large(self, first: int, head: bytes, size: int) -> None:
        """Take a message that is too large for the memory with a fault in place of its content."""
        if first & KIND != PUBLISH or self.error is not None:
            raise MalformedPacketError(f"a packet of {size} bytes")
        message = decode(first, head, version5=self._version5)
        message.payload = b""
        message.fault = f"a message of {size} bytes with its headers; at most {MOST_BYTES} are taken"
        self._on_message(message)

    def _begin(self, kind: int, body: bytes) -> None:
        """Take the first packet, which is CONNACK ([MQTT-3.2.0-1]), or with MQTT 5 perhaps DISCONNECT."""
        if kind == DISCONNECT and self._version5:
            self._end(lost(None, decode_disconnect(body)))
            return
        if kind != CONNACK:
            raise MalformedPacketError("a packet before CONNACK")
        verdict = decode_connack(body, version5=self._version5)
        if verdict.code:
            self._end(refused_connection(verdict))
            return
        limits = self.limits = Limits.of(verdict)
        self._keep_alive = self._keep_alive if limits.keep_alive is None else limits.keep_alive
        self._outgoing.limit(window=limits.receive_maximum, packet_size=limits.packet_size)
        self._outgoing.begin(present=verdict.present)
        if not self._accepted.done():
            self._accepted.set_result(None)
        self._on_accepted(verdict.present)
        # Not later: messages that the broker had kept, or its DISCONNECT, may be in the same read.
        self.error = None
        if self._keep_alive:
            self._timer.set(self._keep_alive, self._ping)

    def _on_answer(self, identifier: int, codes: bytes) -> None:
        call = self._calls.pop(identifier, None)
        if call is not None:
            self._identifiers.release(identifier)
            if not call.done():
                call.set_result(codes)

    def _ping(self) -> None:
        """Send PINGREQ; where nothing at all has come since the last one, the broker is gone."""
        if self._last_ping is not None and (self.last_heard or 0.0) < self._last_ping:
            self._end(ConnectionLostError(f"the broker has sent nothing for {self._keep_alive} s (keep-alive)"))
            return
        self._last_ping = self._clock.monotonic()
        self._send_ping()
        self._timer.set(self._keep_alive, self._ping)


def _set(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
