"""One live connection to a NATS server: requests, confirmed publishing, subscriptions, and the end of all of them.

* What is in flight fails at once when the connection is lost, for whatever reason. Reconnecting is the bridge's.
* A publish succeeds when the server has answered a PING that was written behind it; see `Confirmed`. A PING is never
  taken back: who has given up waiting is passed over when its PONG comes.
* Messages do not wait in a queue for a task: each `NatsSubscription` delivers its messages while they are read.
* A bug in what handles a message ends the session, and `close` raises it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from itertools import count
from typing import Any, Final

import structlog
from nats.nuid import NUID

from bridge import __version__
from bridge.adapters._common.background import Background
from bridge.adapters.nats.auth import connect_fields
from bridge.adapters.nats.config import Target
from bridge.adapters.nats.confirmed import Confirmed
from bridge.adapters.nats.delivery import NatsSubscription, OnMessage
from bridge.adapters.nats.errors import refused, translate, translate_connect, violates_permissions
from bridge.adapters.nats.protocol import (
    PONG,
    Info,
    NatsMessage,
    Operation,
    ServerError,
    Signal,
    connect_line,
    publish_line,
    subscribe_line,
    unsubscribe_line,
)
from bridge.adapters.nats.transport import STEP, Transport
from bridge.core.endpoint import ResolvedEndpoint
from bridge.core.errors import BridgeError, ConnectionLostError, InvalidError, NotConnectedError
from bridge.core.ports import Clock, Promise

#: Status of the server's own answer to a request that nobody takes.
NO_RESPONDERS: Final = "503"

log = structlog.get_logger(__name__)


class NatsConnection:
    """One connection to one server; it lives once."""

    def __init__(
        self,
        target: Target,
        *,
        name: str,
        inbox_prefix: str,
        clock: Clock,
        on_lost: Callable[[BridgeError], None],
    ) -> None:
        """Nothing is opened yet.

        Args:
            target: TLS and credentials.
            name: What the server shows of us.
            inbox_prefix: What the subjects of answers begin with.
            clock: Limits the steps of opening.
            on_lost: Is told once when the connection is lost, and only after `arm`.
        """
        self._target = target
        self._name = name
        self._inbox_prefix = inbox_prefix
        self._clock = clock
        self._on_lost = on_lost
        self._transport = Transport(self._receive, self._end, clock)
        self._confirmed = Confirmed(self._transport)
        self._background = Background(self.lose)
        self._subscriptions: dict[int, NatsSubscription] = {}
        self._sids = count(1)
        self._nuid = NUID()
        self._inbox = ""
        self._tokens = count(1)
        self._replies: dict[str, asyncio.Future[NatsMessage]] = {}
        self._waiting: dict[asyncio.Future[Any], str] = {}
        self._info = Info()
        self._open = self._armed = self._closed = False
        self._error: BridgeError | None = None

    # --- life

    async def open(self, server: ResolvedEndpoint) -> None:
        """Connect.

        Raises:
            NotConnectedError: The server cannot be reached, or has no TLS where that was asked for.
            AuthError: It refused the credentials.
        """
        target = self._target
        try:
            self._info = await self._transport.open(server, target.context, target.server_name)
            fields = connect_fields(target.credentials, target.keys, self._info.nonce)
            self._transport.begin(connect_line(self._info, fields, self._name, __version__))
            self._open = True
            async with self._clock.timeout(STEP):
                await self.flushed()
            await self._background.open()
            self._inbox = self.new_inbox()
            await self.subscribe(f"{self._inbox}.*", self._on_reply)
        except (BridgeError, OSError) as error:
            await self.close()
            raise translate_connect(self._error, error, server) from None
        except BaseException:
            await self.close()
            raise

    def arm(self) -> None:
        """Tell `on_lost` of a loss from now on. Raises NotConnectedError where the connection is lost already."""
        if self._error is not None:
            raise NotConnectedError(self._error.message, permanent=self._error.permanent)
        self._armed = True

    async def close(self) -> None:
        """End the connection at once; what was not confirmed fails with ConnectionLostError. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._fail_all("the session was closed")
        self._subscriptions.clear()
        self._transport.abort()
        await self._background.close()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` for as long as the connection lives. Raises NotConnectedError where it does not."""
        return self._background.start(work)

    # --- what the server sends

    def _receive(self, operation: Operation) -> None:
        if type(operation) is NatsMessage:
            subscription = self._subscriptions.get(operation.sid)
            if subscription is not None:
                self._deliver(subscription, operation)
        elif operation is Signal.PONG:
            self._confirmed.pong()
        elif operation is Signal.PING:
            self._transport.write(PONG)
        elif isinstance(operation, Info):
            self._info = operation
        elif isinstance(operation, ServerError):
            self._refuse(operation.text)

    def _deliver(self, subscription: NatsSubscription, message: NatsMessage) -> None:
        try:
            subscription.put(message)
        except NotConnectedError:
            pass  # it ends just now, and with it what was to be done for the message
        except Exception as error:  # noqa: BLE001 - a bug of ours: it is raised in the task that somebody awaits
            with contextlib.suppress(NotConnectedError):
                self.start(_raise(error))

    def _refuse(self, text: str) -> None:
        """Handle `-ERR`. Where permissions are missing, only what needs them fails; anything else ends the session."""
        if not violates_permissions(text):
            self.lose(_loss(refused(text)))
            return
        complaint = text.lower()
        for future, use in self._waiting.items():
            if use and use in complaint and not future.done():
                future.set_exception(refused(text))
        self._confirmed.forbid(complaint, refused(text))

    # --- loss

    def _end(self, error: Exception | None) -> None:
        """End the session, whatever ended the connection: nobody else would notice."""
        if error is None:
            self.lose(ConnectionLostError("the connection ended"))
            return
        try:
            loss = _loss(translate(error))
        except LookupError:
            loss = ConnectionLostError(f"the connection ended: {error!r}")
        self.lose(loss)

    def lose(self, error: BridgeError) -> None:
        """End the session: what is in flight fails at once, and `on_lost` is told."""
        if self._error is not None or self._closed:
            return
        self._error = error
        self._fail_all(error.message)
        self._transport.abort()
        if self._armed:
            self._on_lost(error)

    def _fail_all(self, message: str) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_exception(ConnectionLostError(message))
        self._confirmed.fail(lambda: ConnectionLostError(message))

    def _check_live(self) -> None:
        if self._error is not None or self._closed or not self._open:
            raise NotConnectedError("there is no session" if self._error is None else self._error.message)

    # --- operations

    @contextlib.contextmanager
    def expected(self, use: str) -> Iterator[asyncio.Future[Any]]:
        """Give a future that fails when the connection is lost, or when the server forbids what it is for.

        Args:
            use: What the server would name in a permissions violation, in small letters.

        Raises:
            NotConnectedError: There is no connection (any more).
        """
        self._check_live()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[future] = use
        try:
            yield future
        finally:
            del self._waiting[future]
            if not future.cancel() and not future.cancelled():
                future.exception()  # it may have failed in the same moment as its caller; that is one error, not two

    async def flushed(self, use: str = "") -> None:
        """Return when the server has taken all that was written before; calls at the same moment share one PING.

        Raises:
            NotConnectedError: There is no connection (any more).
            ConnectionLostError: It was lost meanwhile.
            RejectedError: The server forbids `use`; see `expected`.
        """
        with self.expected(use) as future:
            self._confirmed.publish(b"", future, "")
            await future

    def send(self, subject: str, payload: bytes, headers: bytes, promise: Promise) -> None:
        """Write one message; the promise has `{}` when the server has taken it.

        Args:
            subject: It has been checked.
            payload: The content.
            headers: As `header_block` makes them.
            promise: Fails when the connection is lost or the server forbids the subject.

        Raises:
            NotConnectedError: There is no connection (any more).
            InvalidError: The server takes no message so large.
        """
        self._check_live()
        self._check_size(len(payload) + len(headers))
        self._confirmed.publish(publish_line(subject, payload, headers), promise, subject)

    def post(self, subject: str, payload: bytes, headers: bytes = b"", reply: str = "") -> None:
        """Write one message, and wait for nothing; arguments and errors as for `send`."""
        self._check_live()
        self._check_size(len(payload) + len(headers))
        self._transport.write(publish_line(subject, payload, headers, reply))

    def _check_size(self, size: int) -> None:
        """Raise InvalidError for a message over the limit, for which the server would end the connection."""
        if size > self._info.max_payload:
            raise InvalidError(f"message: {size} bytes with headers; the server takes {self._info.max_payload}")

    async def ask(self, subject: str, payload: bytes = b"", headers: bytes = b"") -> NatsMessage:
        """Write one message and wait for the answer to it, which may be a bare status.

        Raises:
            NotConnectedError: There is no connection (any more).
            ConnectionLostError: It was lost meanwhile.
            RejectedError: The server forbids the subject.
            InvalidError: The server takes no message so large.
        """
        token = str(next(self._tokens))
        with self.expected(f'publish to "{subject.lower()}"') as future:
            self._replies[token] = future
            try:
                self.post(subject, payload, headers, f"{self._inbox}.{token}")
                answer: NatsMessage = await future
            finally:
                del self._replies[token]
        return answer

    def _on_reply(self, message: NatsMessage) -> None:
        future = self._replies.get(message.subject.rpartition(".")[2])
        if future is not None and not future.done():
            future.set_result(message)

    async def subscribe(self, subject: str, on_message: OnMessage, group: str = "") -> NatsSubscription:
        """Subscribe; returns when the server has confirmed.

        Args:
            subject: It has been checked; wildcards are allowed.
            on_message: Gets each message; see `OnMessage`.
            group: The queue group, if any.

        Raises:
            NotConnectedError: There is no connection (any more).
            ConnectionLostError: It was lost meanwhile.
            RejectedError: The server forbids it.
        """
        self._check_live()
        subscription = NatsSubscription(next(self._sids), on_message, self.start)
        self._subscriptions[subscription.sid] = subscription
        self._transport.write(subscribe_line(subscription.sid, subject, group))
        try:
            await self.flushed(f'subscription to "{subject.lower()}"')
        except BaseException:
            self.unsubscribe(subscription)
            raise
        return subscription

    def unsubscribe(self, subscription: NatsSubscription) -> None:
        """End a subscription and do not wait for the server; no more of its messages are delivered."""
        self._subscriptions.pop(subscription.sid, None)
        if self._error is None and not self._closed:
            self._transport.write(unsubscribe_line(subscription.sid))

    def new_inbox(self) -> str:
        """Make a subject that nobody else subscribes to."""
        return f"{self._inbox_prefix}.{self._nuid.next().decode()}"

    @property
    def server_version(self) -> str:
        """The version that the server names; empty where it names none."""
        return self._info.version


def _loss(error: BridgeError) -> BridgeError:
    """The error as the end of a session: try again, unless a person is needed."""
    return error if error.permanent else ConnectionLostError(error.message)


async def _raise(error: Exception) -> None:
    raise error
