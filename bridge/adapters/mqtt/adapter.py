"""MQTT 5 and 3.1.1: `type = "mqtt"`.

Pub/Sub with QoS 0, 1 and 2, retained messages, wildcards and shared groups; RPC by MQTT 5 request/response
(`rpc`). Event headers and the idempotency key travel as user properties. Messages of QoS 1 and 2 are
acknowledged when their events are on the bus; with `clean_start = false` messages that were published meanwhile come
after a reconnection. A bearer token is sent as the password, with the user name `bearer_username`.
"""

import asyncio
import uuid
from collections.abc import Coroutine, Sequence
from typing import Any, Final
from urllib.parse import quote

import aiomqtt
import msgspec
from msgspec import UNSET
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge.adapters._common.background import Background
from bridge.adapters._common.content import Codec
from bridge.adapters._common.errors import opening_error
from bridge.adapters.mqtt.acks import Acks
from bridge.adapters.mqtt.config import SCHEMES, MqttConfig, resolve
from bridge.adapters.mqtt.connection import MqttConnection
from bridge.adapters.mqtt.errors import refused
from bridge.adapters.mqtt.inbox import Inbox, TopicSubscription
from bridge.adapters.mqtt.packets.headers import (
    CORRELATION_DATA,
    RESPONSE_TOPIC,
    Outgoing,
    PropertyWriter,
    message_properties,
)
from bridge.adapters.mqtt.packets.message import IncomingMessage
from bridge.adapters.mqtt.packets.outgoing import UnfinishedMessages
from bridge.adapters.mqtt.packets.wire_format import FAILURE
from bridge.adapters.mqtt.rpc import PendingRequests
from bridge.adapters.mqtt.session_file import SessionFile
from bridge.adapters.mqtt.stale import KnownFilters, StaleMessages
from bridge.adapters.mqtt.topics import check_names, check_text, check_topic, comes_back, no_requests, shared_filter
from bridge.adapters.mqtt.transport import open_transport
from bridge.adapters.mqtt.unacknowledged import UnacknowledgedMessages
from bridge.core.errors import (
    BridgeError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    NotSupportedError,
    RejectedError,
)
from bridge.core.model import DEFAULT_QOS, Command, Publish, Request
from bridge.core.ports import (
    NO_OPTIONS,
    AdapterBase,
    AdapterSetup,
    AdapterSpec,
    Clock,
    Context,
    Deliver,
    Promise,
    Subscription,
    SubscriptionOptions,
)
from bridge.core.wildcards import Wildcards

PROTOCOL: Final = "mqtt"
#: A topic that nobody subscribes to; `check` ends a subscription to it.
_CHECK: Final = "nemo-bridge/check"
_REPLIES: Final = "nemo-bridge/replies/"
#: Seconds within which two connections that end without a word may have the same reason.
_SOON: Final = 60.0
#: Bytes of a will's message (MQTT 5, 3.1.3.4; 3.1.1, 3.1.3.3).
_MOST_WILL: Final = 65_535


class MqttAdapter(AdapterBase):
    """One MQTT session; see `ports.ProtocolAdapter`."""

    protocol = PROTOCOL

    def __init__(self, setup: AdapterSetup) -> None:
        """Raises ValueError where endpoint, auth, TLS and config do not fit together."""
        self._config = setup.config if isinstance(setup.config, MqttConfig) else MqttConfig()
        self._target = resolve(setup, self._config)
        self._setup = setup
        self._version5 = self._config.version == "5"
        self._client_id = self._config.client_id or f"nemo-bridge-{uuid.uuid4().hex[:12]}"
        self._codec = Codec(self._config.codec)
        self._outgoing = Outgoing()
        self._will = self._make_will()
        self._connection: MqttConnection | None = None
        # What one connection leaves unacknowledged is known to the next connection of the same session.
        self._state = state = self._session_state()
        self._acks, self._unacknowledged = state.acks, state.unacknowledged
        self._background = Background(self._on_bug)
        self._stale = StaleMessages(
            state.filters,
            live=self._live_filters,
            unsubscribe=self._unsubscribe,
            settle=self._acks.settle,
            set_aside=self._acks.set_aside,
            start=self._background.start,
            on_dropped=setup.on_dropped,
            on_warning=setup.on_warning,
        )
        self._inbox = Inbox(
            self._codec,
            acks=self._acks,
            unacknowledged=self._unacknowledged,
            stale=self._stale,
            clock=setup.clock,
            when_on_bus=setup.when_on_bus,
            start=self._background.start,
            is_kept=not self._config.clean_start,
            on_dropped=setup.on_dropped,
            on_outdated=setup.on_outdated,
            on_warning=setup.on_warning,
        )
        self._requests = PendingRequests(self._codec)
        self._reply_topic = _REPLIES + quote(self._client_id, safe="")
        self._reply_lock = asyncio.Lock()
        self._reply_topic_is_open = False
        # When the check began that has no answer yet; None where there is none.
        self._unanswered_check: float | None = None
        self._has_bug = False

    def _session_state(self) -> "_SessionState":
        """Return what earlier connections of this client at this broker have left."""
        key = f"{PROTOCOL} {self._target.server.name} {self._config.client_id}"
        state: _SessionState = self._setup.session_state.setdefault(key, _SessionState.new(self._setup.clock))
        return state

    def _make_will(self) -> aiomqtt.Will | None:
        will = self._config.will
        if will is None:
            return None
        try:
            payload, _ = self._codec.encode(will.message, "will.message")
        except InvalidError as error:
            raise ValueError(error.message) from None
        if len(payload) > _MOST_WILL:
            raise ValueError(f"will.message: {len(payload)} bytes, MQTT has room for {_MOST_WILL}")
        return aiomqtt.Will(will.topic, payload, will.qos, will.retain)

    # --- life

    async def connect(self) -> None:
        """Open the connection and the session; the broker has then accepted the credentials.

        Raises:
            NotConnectedError, AuthError: There is no connection, or the broker refuses; with `permanent` where
                trying again cannot help.
        """
        target, config = self._target, self._config
        try:
            transport = await open_transport(target.server, target.context, target.server_name, self._setup.clock)
        except OSError as error:
            raise opening_error(error, target.server) from None
        connection = MqttConnection(
            transport=transport,
            clock=self._setup.clock,
            version5=self._version5,
            clean=config.clean_start,
            unfinished=self._state.unfinished,
            on_accepted=self._on_accepted,
            on_message=self._on_message,
            on_released=self._acks.released,
            on_lost=self._on_lost,
            guess=self._guess_why,
            identifier=self._client_id,
            username=target.username,
            password=target.password,
            keep_alive=-int(-config.keep_alive // 1),
            will=self._will,
            properties=self._connect_properties(),
        )
        self._connection = connection
        try:
            await self._background.open()
            await connection.open()
        except BaseException as error:
            self._connection = None
            connection.close(orderly=False)
            await self._background.close()
            if isinstance(error, ConnectionLostError):
                raise NotConnectedError(error.message, code=error.code, permanent=error.permanent) from None
            raise

    def _connect_properties(self) -> Properties | None:
        if not self._version5:
            return None
        properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = self._config.receive_maximum
        if self._config.expiry_seconds:
            properties.SessionExpiryInterval = self._config.expiry_seconds
        return properties  # type: ignore[no-any-return]

    async def disconnect(self) -> None:
        """End the session. After a failed check without DISCONNECT, so that the broker publishes the will."""
        connection, self._connection = self._connection, None
        try:
            await self._background.close()
        finally:
            self._inbox.end()
            if connection is not None:
                self._requests.fail(ConnectionLostError("the session was closed"))
                is_orderly = connection.error is None and not self._is_doubtful(connection)
                try:
                    if is_orderly:  # the broker reads it all; whoever closes the session limits the time
                        await self._setup.acknowledge_last(
                            unconfirmed=lambda: self._inbox.is_unconfirmed, taken=connection.acknowledged
                        )
                        await connection.drain()
                finally:
                    connection.close(orderly=is_orderly and connection.error is None)

    def _is_doubtful(self, connection: MqttConnection) -> bool:
        """Whether the session may be dead: nothing has come since a check began that has no answer."""
        since = self._unanswered_check
        return self._has_bug or (since is not None and (connection.last_heard or 0.0) <= since)

    async def check(self) -> None:
        """Ask the broker for an answer, by ending a subscription that never was, which needs no rights."""
        connection = self._open_connection()
        self._unanswered_check = self._setup.clock.monotonic()
        await connection.unsubscribe(_CHECK)
        self._unanswered_check = None

    def subscriptions_restored(self) -> None:
        """Give up what the broker sends for subscriptions that an earlier session had, after a moment."""
        self._inbox.restored()

    @property
    def last_heard(self) -> float | None:
        """When bytes last came from the broker; see `ProtocolAdapter.last_heard`."""
        return None if self._connection is None else self._connection.last_heard

    # --- RPC

    async def request(self, command: Request, context: Context) -> Any:
        """Publish to the topic `method`, and wait for the answer unless it is a notification."""
        connection, method, params = self._open_connection(), command.method, command.params
        if not self._version5:
            raise no_requests()
        check_topic(method, "method")
        payload, content_type = (b"", "") if params is UNSET else self._codec.encode(params, "params")
        properties = message_properties(
            context.headers, key=context.idempotency_key, content_type=content_type, payload=payload
        )
        if command.notify:
            await self._sent(connection, method, payload, properties)
            return None
        await self._open_reply_topic(connection)
        correlation, answer = self._requests.add()
        properties.text(RESPONSE_TOPIC, self._reply_topic)
        properties.binary(CORRELATION_DATA, correlation)
        try:
            await self._sent(connection, method, payload, properties)
            return await answer
        finally:
            self._requests.forget(correlation)

    @staticmethod
    async def _sent(connection: MqttConnection, topic: str, payload: bytes, properties: PropertyWriter) -> None:
        sent: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        connection.send(topic, payload, 1, retain=False, properties=properties.encode(), promise=sent)
        await sent

    async def _open_reply_topic(self, connection: MqttConnection) -> None:
        if self._reply_topic_is_open:
            return
        async with self._reply_lock:
            if not self._reply_topic_is_open:
                check_text(self._reply_topic, "client_id: the topic for answers")
                await connection.subscribe(self._reply_topic, 1, None)
                self._reply_topic_is_open = True

    # --- Pub/Sub

    def begin(self, command: Command, context: Context, promise: Promise) -> Coroutine[Any, Any, Any] | None:
        """Publish without a task, with QoS 1 by default; the coroutine of every other operation.

        The result is `{"receivers": 0}` where the broker found no subscriber, else `{}`.
        """
        if type(command) is not Publish:
            return super().begin(command, context, promise)
        connection = self._connection
        if connection is None or connection.error is not None:
            connection = self._open_connection()
        topic, quality = command.topic, DEFAULT_QOS if command.qos is None else command.qos
        if topic not in self._outgoing.checked:
            self._outgoing.check(topic)
        payload, content_type = self._codec.encode(command.message)
        properties = None
        if self._version5:
            properties = self._outgoing.properties(command.headers, context, content_type, payload)
        elif command.headers and command.headers.keys() - context.headers.keys():
            raise NotSupportedError('MQTT 3.1.1 has no headers; version = "5" has')
        if quality > connection.limits.qos:
            raise NotSupportedError(f"the broker has no QoS {quality}")
        if command.retain and not connection.limits.retain:
            raise NotSupportedError("the broker retains no messages")
        connection.send(topic, payload, quality, retain=command.retain, properties=properties, promise=promise)
        return None

    async def subscribe(self, topic: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """Subscribe, with QoS 1 by default; members of a `group` share the messages (MQTT 5).

        With `hold`, a message that was published with QoS 0 is only delivered: nobody can acknowledge it. Where the
        broker grants a lower quality than `qos`, that is a warning; QoS 0 with a `hold` fails, since nothing is left to
        acknowledge.
        """
        connection = self._open_connection()
        topic_filter = shared_filter(topic, options.group, version5=self._version5)
        handle = self._inbox.open(topic_filter, deliver, options.hold)
        has_identifiers = self._version5 and connection.limits.subscription_identifiers
        qos = DEFAULT_QOS if options.qos is None else options.qos
        try:
            granted = await connection.subscribe(handle.topic, qos, handle.identifier if has_identifiers else None)
            if held_without_ack := granted == 0 < qos and options.hold is not None:
                await connection.unsubscribe(handle.topic)
        except BaseException:
            self._inbox.withdraw(handle)
            raise
        if held_without_ack:
            self._inbox.withdraw(handle)
            raise RejectedError(f"the broker grants {topic!r} only QoS 0: there is nothing left to acknowledge")
        lower = f"the broker grants {topic!r} only QoS {granted} in place of {qos}" if granted < qos else None
        self._setup.on_warning(f"qos of {topic}", lower)
        return Subscription(topic, handle)

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription; UNSUBSCRIBE is sent with the last one for a filter."""
        connection, handle = self._open_connection(), subscription.handle
        if not isinstance(handle, TopicSubscription):
            raise InvalidError("unsubscribe: not a subscription of this session")
        if not self._inbox.has_others(handle):
            for code in await connection.unsubscribe(handle.topic):
                if code >= FAILURE:
                    raise refused(PacketTypes.UNSUBACK, code)
        self._inbox.close(handle)
        self._setup.on_warning(f"qos of {subscription.topic}", None)

    async def ack(self, message_id: str) -> None:
        """Acknowledge a message; the broker gets its acknowledgement after those of all earlier messages."""
        self._open_connection()
        self._unacknowledged.answer(message_id)

    async def nack(self, message_id: str, delay: float | None) -> None:
        """Deliver a message again, after `delay` seconds."""
        self._open_connection()
        self._unacknowledged.answer(message_id, again_in=delay or 0.0)

    # --- inside

    def _open_connection(self) -> MqttConnection:
        connection = self._connection
        if connection is None:
            raise NotConnectedError("there is no session")
        if connection.error is not None:
            raise NotConnectedError(connection.error.message, permanent=connection.error.permanent)
        return connection

    def _live_filters(self) -> set[str]:
        return self._inbox.topics() | {self._reply_topic}

    async def _unsubscribe(self, *topics: str) -> Sequence[int]:
        return await self._open_connection().unsubscribe(*topics)

    def _on_message(self, message: IncomingMessage) -> None:
        if self._connection is None or self._has_bug:
            return  # the session ends: the broker keeps what is not acknowledged
        if message.topic == self._reply_topic:
            self._connection.hurry()
            self._acks.came(message)
            self._requests.on_answer(message)
            self._acks.settle(message)
        else:
            self._inbox.put(message)

    def _on_accepted(self, present: bool) -> None:
        connection = self._connection
        if connection is not None:
            self._state.filters.begin(
                self._session_file(),
                self._setup.on_warning,
                present=present,
                expected=not self._config.clean_start,
            )
            self._inbox.begin(connection.acknowledge, present=present, pause=connection.pause, resume=connection.resume)

    def _on_lost(self, error: BridgeError) -> None:
        self._requests.fail(error)
        self._setup.on_lost(error)

    def _session_file(self) -> SessionFile | None:
        """Return the file of a session that the broker keeps; None where it keeps none, or there is no folder."""
        if self._setup.state_dir is None or self._config.clean_start:
            return None
        path = self._setup.state_dir / f"mqtt-{self._setup.integration}.json"
        return SessionFile(path, server=self._target.server.name, client_id=self._client_id)

    def _guess_why(self) -> str:
        """Return what may be the reason of an end without a word: many brokers do not say that a session was taken."""
        if self._config.client_id is None or self._connection is None or self._connection.error is not None:
            return ""
        now, before = self._setup.clock.monotonic(), self._state.silent_end
        self._state.silent_end = now
        if before is None or now - before > _SOON:
            return ""
        return " again; perhaps another client connects with this `client_id` (session taken over)"

    def _on_bug(self, error: BridgeError) -> None:
        """A bug ended the deliveries: end the session, too; `disconnect` then raises it."""
        if self._connection is not None and self._connection.error is None:
            self._has_bug = True
            self._on_lost(error)


class _SessionState(msgspec.Struct):
    """What the connections of one session have in common.

    Attributes:
        acks: What the broker has no acknowledgement of.
        unacknowledged: What the application has not acknowledged.
        unfinished: The messages of QoS 2 that the broker may still know.
        filters: The filters that were subscribed to.
        silent_end: When a connection last ended without a word of the broker's, on the clock's `monotonic`.
    """

    acks: Acks
    unacknowledged: UnacknowledgedMessages
    unfinished: UnfinishedMessages = msgspec.field(default_factory=UnfinishedMessages)
    filters: KnownFilters = msgspec.field(default_factory=KnownFilters)
    silent_end: float | None = None

    @classmethod
    def new(cls, clock: Clock) -> "_SessionState":
        acks = Acks()
        return cls(acks, UnacknowledgedMessages(acks, clock))


def _unfit_to_hold(config: MqttConfig) -> str | None:
    if config.clean_start:
        return (
            "with `clean_start = true` the broker forgets at a reconnection what is unacknowledged; "
            "write `clean_start = false` and a `client_id` in `config`"
        )
    return None


SPEC: Final = AdapterSpec(
    protocol=PROTOCOL,
    summary="MQTT 5 and 3.1.1: publish, subscribe, and request/response of MQTT 5",
    operations=frozenset({"request", "publish", "subscribe", "unsubscribe", "ack", "nack"}),
    auth=frozenset({"none", "basic", "bearer", "certificate"}),
    config=MqttConfig,
    schemes=SCHEMES,
    create=MqttAdapter,
    acknowledges=frozenset({"subscribe"}),
    common_window="receive_maximum",
    unfit_to_hold=_unfit_to_hold,
    has_qos=True,
    check_names=check_names,
    comes_back=comes_back,
    wildcards=Wildcards("/", "+", "#"),
)
