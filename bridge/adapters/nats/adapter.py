"""NATS, core and JetStream (docs.nats.io): `type = "nats"`.

* `request`: the method is a subject. An error comes as the headers `Nats-Service-Error` and `Nats-Service-Error-Code`,
  as NATS services send it (ADR-32); the body is its data. Nobody there is `unavailable`, and surely nothing was done.
* `publish`, `subscribe`: core NATS, at most once. `publish` returns when the server has confirmed that it has it.
* `enqueue`: the queue is a subject that a stream stores. `dequeue` and a subscription's `queue` name `stream/consumer`,
  or a stream (or its only subject) that `durable` reads. JetStream has one `ack_wait` for a whole consumer; for another
  `visibility_ms` the adapter tells the server that the message is in progress, and gives it back in the end.

Event headers travel as headers of the same name, an idempotency key as `Nats-Msg-Id`, by which JetStream drops what
it has already, the content's type as `Content-Type`.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Mapping
from functools import partial
from typing import Any, Final

from msgspec import UNSET

from bridge.adapters._common.content import Codec
from bridge.adapters.nats.cluster import NatsCluster
from bridge.adapters.nats.config import SCHEMES, NatsConfig, addressing, resolve
from bridge.adapters.nats.connection import NatsConnection
from bridge.adapters.nats.delivery import NatsSubscription
from bridge.adapters.nats.jetstream import Consumption, Queues
from bridge.adapters.nats.protocol import Info, NatsMessage
from bridge.adapters.nats.servers import Servers
from bridge.adapters.nats.subjects import (
    CONTENT_TYPE,
    MESSAGE_ID,
    Outgoing,
    check_names,
    check_subject,
    header_block,
    outgoing_headers,
    shown_headers,
)
from bridge.core.cluster import subject_matches
from bridge.core.endpoint import ResolvedEndpoint
from bridge.core.errors import BridgeError, InvalidError, NotConnectedError, RejectedError, UnavailableError
from bridge.core.model import Ack, Command, Enqueue, Export, Inbound, Publish, QueueMessage, Request
from bridge.core.ports import (
    NO_OPTIONS,
    AckDecision,
    AdapterBase,
    AdapterSetup,
    AdapterSpec,
    Context,
    Deliver,
    Promise,
    Subscription,
    SubscriptionOptions,
)
from bridge.core.wildcards import Wildcards

PROTOCOL: Final = "nats"
_ERROR: Final = "Nats-Service-Error"
_ERROR_CODE: Final = "Nats-Service-Error-Code"


class NatsAdapter(AdapterBase):
    """One session; see `ports.ProtocolAdapter`."""

    protocol = PROTOCOL

    def __init__(self, setup: AdapterSetup) -> None:
        """Raises ValueError where endpoint, auth, TLS and configuration do not fit together."""
        self._setup = setup
        self._config = setup.config if isinstance(setup.config, NatsConfig) else NatsConfig()
        self._target = resolve(setup, self._config)
        self._servers = Servers(self._target.servers, self._target.server_name, setup.session_state)
        self._codec = Codec(self._config.codec)
        self._idempotent = frozenset(self._config.idempotent)
        self._outgoing = Outgoing()
        self._connection: NatsConnection | None = None
        self._queues: Queues | None = None
        self._cluster: NatsCluster | None = None

    # --- life

    async def connect(self) -> None:
        """Connect to the first server that takes us, and make or check the stream of the configuration."""
        connection = await self._open()
        try:
            queues = Queues(connection, self._config, self._codec, self._setup)
            try:
                await queues.prepare()
            except BridgeError as error:
                raise NotConnectedError(error.message, permanent=error.permanent) from None
            connection.arm()
        except BaseException:
            await connection.close()
            raise
        self._connection, self._queues = connection, queues
        self._cluster = NatsCluster(connection, self._setup)

    async def _open(self) -> NatsConnection:
        failure: BridgeError = NotConnectedError("there is no server to go to")
        for server, server_name in self._servers.in_order():
            connection = NatsConnection(
                self._target,
                self._setup,
                inbox_prefix=self._config.inbox_prefix,
                on_info=partial(self._learn, server),
            )
            self._servers.trying(server)
            try:
                await connection.open(server, server_name)
            except BridgeError as error:
                failure = failure if failure.permanent else error
            else:
                if not connection.is_lame_duck:
                    self._servers.works(server)
                return connection
        raise failure

    def _learn(self, server: ResolvedEndpoint, info: Info) -> None:
        """Remember what a server says about its cluster; leave it where it is about to end."""
        self._servers.learn(info.connect_urls or ())
        if info.lame_duck:
            self._servers.avoid(server)
            words = f"{server.name} is about to end and closes its connections (lame duck mode)"
            self._setup.on_outdated(NotConnectedError(words))

    async def disconnect(self) -> None:
        """Acknowledge what is on the bus, and close; what is in flight fails with ConnectionLostError."""
        connection, queues = self._connection, self._queues
        self._connection, self._queues, self._cluster = None, None, None
        if connection is not None:
            try:
                if queues is not None:
                    await queues.close()
            finally:
                await connection.close()

    async def check(self) -> None:
        """PING, which only a server that is not frozen answers."""
        await self._live.flushed()

    @property
    def last_heard(self) -> float | None:
        """When bytes last came from the server; see `ProtocolAdapter.last_heard`."""
        return None if self._connection is None else self._connection.last_heard

    @property
    def _live(self) -> NatsConnection:
        if self._connection is None:
            raise _no_session()
        return self._connection

    @property
    def _jetstream(self) -> Queues:
        if self._queues is None:
            raise _no_session()
        return self._queues

    @property
    def cluster(self) -> NatsCluster:
        """What a fabric does on this session. Raises NotConnectedError where there is none."""
        if self._cluster is None:
            raise _no_session()
        return self._cluster

    def is_idempotent(self, command: Command) -> bool:
        """Return True for methods that `idempotent` names, for `ack`, and for events that a stream stores.

        A stream knows those again by their ids.
        """
        if isinstance(command, Request):
            return command.method in self._idempotent
        if isinstance(command, Export):
            return command.stored
        return isinstance(command, Ack)

    # --- RPC

    async def request(self, command: Request, context: Context) -> Any:
        """Ask on a subject; `params` is the message, empty where it is UNSET."""
        subject = check_subject(command.method, "method")
        if command.params is UNSET:
            headers = outgoing_headers(None, context, "")
            del headers[CONTENT_TYPE]
            payload = b""
        else:
            payload, content_type = self._codec.encode(command.params, "params")
            headers = outgoing_headers(None, context, content_type)
        block = header_block(headers) if headers else b""
        if command.notify:
            sent: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self._live.send(subject, payload, block, sent)
            await sent
            return None
        answer = await self._live.ask(subject, payload, block)
        return self._result(answer, subject)

    def _result(self, answer: NatsMessage, subject: str) -> Any:
        headers = answer.headers or {}
        if answer.says_no_responders:
            raise UnavailableError(f'nobody answers on "{subject}"', maybe_sent=False)
        content = None
        if answer.data:
            content = self._codec.decode(answer.data, headers.get(CONTENT_TYPE), "the answer")
        if _ERROR in headers or _ERROR_CODE in headers:
            code = headers.get(_ERROR_CODE, "")
            number = int(code) if code.isascii() and code.isdigit() and len(code) < 10 else None
            raise RejectedError(
                headers.get(_ERROR) or "refused", code=(code or None) if number is None else number, data=content
            )
        return content

    # --- Pub/Sub

    def begin(self, command: Command, context: Context, promise: Promise) -> Coroutine[Any, Any, Any] | None:
        """Publish without a task; the promise hears when the server has confirmed that it has the message."""
        if type(command) is Export:
            key = context.idempotency_key
            if command.stored:
                return self.cluster.store(command, key)
            self.cluster.live(command, key, promise)
            return None
        if type(command) is not Publish:
            return super().begin(command, context, promise)
        if command.qos or command.retain:
            raise InvalidError("core NATS has neither `qos` above 0 nor `retain`; `enqueue` stores")
        payload, content_type = self._codec.encode(command.message)
        subject, live = command.topic, self._connection
        if subject not in self._outgoing.checked:
            self._outgoing.check(subject, "topic")
        if live is None:
            raise _no_session()
        if command.headers:
            _check_headers(live, command.headers, context)
        live.send(subject, payload, self._outgoing.headers(command.headers, context, content_type), promise)
        return None

    async def subscribe(self, topic: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """Subscribe to a subject, wildcards `*` and `>` allowed; `group` is a queue group."""
        check_subject(topic, "topic", wildcards=True)
        if options.group is not None:
            check_subject(options.group, "group")
        decode = self._codec.decode_or_keep

        def arrived(message: NatsMessage) -> Awaitable[AckDecision | None] | None:
            headers = shown_headers(message) if message.status else message.headers or {}
            content, more = decode(message.data, headers.get(CONTENT_TYPE))
            if more:
                headers = {**headers, **more}
            unique = headers.get(MESSAGE_ID)
            decision = deliver(Inbound(topic=message.subject, message=content, headers=headers, unique=unique))
            return None if decision.__class__ is AckDecision else decision

        def ended(error: BridgeError) -> None:
            self._setup.on_subscription_ended(subscription, error)

        handle = await self._live.subscribe(topic, arrived, options.group or "", ended, can_wait=True)
        subscription = Subscription(topic, handle)
        return subscription

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription or a `consume`."""
        handle = subscription.handle
        if isinstance(handle, Consumption):
            await self._jetstream.stop(handle)
        elif isinstance(handle, NatsSubscription):
            self._live.unsubscribe(handle)
            await self._live.flushed()

    # --- Queue

    async def enqueue(self, command: Enqueue, context: Context) -> str:
        """Store a message under a subject; return `stream/sequence`, when it is stored."""
        payload, content_type = self._codec.encode(command.message)
        if command.headers:
            _check_headers(self._live, command.headers, context)
        block = header_block(outgoing_headers(command.headers, context, content_type))
        return await self._jetstream.enqueue(check_subject(command.queue, "queue"), payload, block)

    async def dequeue(self, queue: str, wait: float, visibility: float | None) -> QueueMessage | None:
        """Take one message, or None after `wait` seconds.

        It comes again after `visibility` seconds, or where that is None after the consumer's `ack_wait`.
        """
        return await self._jetstream.dequeue(queue, wait, visibility)

    async def consume(self, queue: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """Read a queue continuously; `group` is the durable consumer's name where the queue names none."""

        def ended(error: BridgeError) -> None:
            self._setup.on_subscription_ended(subscription, error)

        handle = await self._jetstream.consume(queue, deliver, options, ended)
        subscription = Subscription(queue, handle)
        return subscription

    async def ack(self, message_id: str) -> None:
        """Done with it; returns when the server has confirmed."""
        await self._jetstream.ack(message_id)

    async def nack(self, message_id: str, delay: float | None) -> None:
        """Give it back, to come again after `delay` seconds; returns when the server has confirmed."""
        await self._jetstream.nack(message_id, delay)


def _no_session() -> NotConnectedError:
    return NotConnectedError("there is no session")


def _check_headers(connection: NatsConnection, headers: Mapping[str, str], context: Context) -> None:
    """Raise InvalidError for headers that the application asks for and a server without headers would not get."""
    if connection.lacks_headers and not headers.keys() <= context.headers.keys():
        raise InvalidError("headers: the server takes none (its `no_header_support`); leave them out")


SPEC: Final = AdapterSpec(
    protocol=PROTOCOL,
    summary="NATS: request/reply, Pub/Sub with queue groups, JetStream queues",
    operations=frozenset({"request", "publish", "subscribe", "unsubscribe", "enqueue", "dequeue", "ack", "nack"}),
    auth=frozenset({"none", "basic", "bearer", "certificate", "nkey", "credentials"}),
    config=NatsConfig,
    schemes=SCHEMES,
    create=NatsAdapter,
    side_by_side=True,
    acknowledges=frozenset({"consume"}),
    addressing=addressing,
    check_names=check_names,
    comes_back=subject_matches,
    wildcards=Wildcards(".", "*", ">"),
    carries_fabrics=True,
)
