"""One live connection to a NATS server: requests, confirmed publishing, subscriptions, and the end of all of them.

* What is in flight fails at once when the connection is lost, for whatever reason. Reconnecting is the bridge's.
* A publish succeeds when the server has answered a PING that was written behind it; see `Confirmed`. A PING is never
  taken back: who has given up waiting is passed over when its PONG comes.
* Messages do not wait in a queue for a task: each `NatsSubscription` delivers its messages while they are read.
* What a server forbids belongs to whom it concerns: a publish, a request, one subscription. It may come at any time, as
  permissions may be revoked while connected. What belongs to nobody is a warning.
* A bug in what handles a message ends the session, and `close` raises it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from itertools import count
from typing import Any, Final

from nats.nuid import NUID

from bridge import __version__
from bridge.adapters._common.background import Background
from bridge.adapters.nats.auth import connect_fields
from bridge.adapters.nats.config import Target
from bridge.adapters.nats.confirmed import Confirmed
from bridge.adapters.nats.delivery import NatsSubscription, OnMessage
from bridge.adapters.nats.errors import (
    Permission,
    Violation,
    read_violation,
    refused,
    refuses_a_subscription,
    translate,
    translate_connect,
    violates_permissions,
)
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
from bridge.core.errors import (
    BridgeError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    ProtocolError,
    RejectedError,
)
from bridge.core.ports import AdapterSetup, Promise

#: Names of our warnings.
_NO_ANSWERS: Final = "answers"
_NO_HEADERS: Final = "headers"
_FORBIDDEN: Final = "permissions"
_NO_HEADERS_TEXT: Final = (
    "the server takes no headers: hops, trace context, content types and idempotency keys are not sent to it"
)
#: Refusals of a session that are remembered, so that each is told once.
_MOST_REPORTED: Final = 1024


class NatsConnection:
    """One connection to one server; it lives once."""

    def __init__(
        self,
        target: Target,
        setup: AdapterSetup,
        *,
        inbox_prefix: str,
        on_info: Callable[[Info], None],
    ) -> None:
        """Nothing is opened yet.

        Args:
            target: TLS and credentials.
            setup: Of the adapter. `on_lost` is told once when the connection is lost, and only after `arm`.
            inbox_prefix: What the subjects of answers begin with.
            on_info: Told what the server says about itself, each time.
        """
        self._target = target
        self._setup = setup
        self._inbox_prefix = inbox_prefix
        self._on_info = on_info
        self._clock = setup.clock
        self._transport = Transport(self._receive, self._end, setup.clock)
        self._confirmed = Confirmed(self._transport)
        self._background = Background(self.lose)
        self._subscriptions: dict[int, NatsSubscription] = {}
        self._last_sid = 0
        self._nuid = NUID()
        self._inbox = ""
        self._answers: NatsSubscription | None = None
        self._subscribing_to_answers = asyncio.Lock()
        self._tokens = count(1)
        self._replies: dict[str, asyncio.Future[NatsMessage]] = {}
        self._waiting: dict[asyncio.Future[Any], Permission | None] = {}
        self._reported: set[str] = set()
        self._info = Info()
        self._armed = self._closed = False
        self._lacks_headers = self._warned_of_headers = False
        self._error: BridgeError | None = None
        self.is_live = False
        """Whether it is open, and neither lost nor closed."""
        self._forbidden_posts: list[Callable[[str, BridgeError], bool]] = []

    # --- life

    async def open(self, server: ResolvedEndpoint, server_name: str | None) -> None:
        """Connect.

        Args:
            server: Where to.
            server_name: The name that its certificate must carry; None for its host.

        Raises:
            NotConnectedError: The server cannot be reached, or has no TLS where that was asked for.
            AuthError: It refused the credentials.
        """
        target = self._target
        try:
            info = self._info = await self._transport.open(server, target.context, server_name)
            fields = connect_fields(target.credentials, target.keys, info.nonce)
            name = f"nemo-bridge/{self._setup.integration}"
            self._transport.begin(connect_line(info, fields, name, __version__))
            self.is_live = not self._closed and self._error is None
            async with self._clock.timeout(STEP):
                await self.flushed()
            await self._background.open()
            self._inbox = self.new_inbox()
            self._learn(self._info)  # not before TLS is on and the credentials are accepted; it may have come again
            # Who may only publish has no use for answers.
            with contextlib.suppress(RejectedError):
                await self._subscribe_to_answers()
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
        self._closed, self.is_live = True, False
        self._fail_all("the session was closed")
        self._transport.abort()
        try:
            await self._background.close()
        finally:
            for subscription in self._subscriptions.values():
                subscription.discard()
            self._subscriptions.clear()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` for as long as the connection lives. Raises NotConnectedError where it does not."""
        return self._background.start(work)

    def on_forbidden_post(self, told: Callable[[str, BridgeError], bool]) -> None:
        """Call `told` with the subject of what `post` has written and the server forbids; it returns if it knew it."""
        self._forbidden_posts.append(told)

    # --- what the server sends

    def _receive(self, operation: Operation) -> None:
        if type(operation) is NatsMessage:
            subscription = self._subscriptions.get(operation.sid)
            if subscription is None:
                self._receive_for_nobody(operation)
                return
            if not subscription.can_wait:
                self._transport.hurry()
            try:
                subscription.put(operation)
            except NotConnectedError:
                pass  # it ends just now, and with it what was to be done for the message
            except Exception as error:  # noqa: BLE001 - a bug of ours: it is raised in the task that somebody awaits
                with contextlib.suppress(NotConnectedError):
                    self.start(_raise(error))
            return
        self._transport.hurry()
        if operation is Signal.PONG:
            self._confirmed.pong()
        elif operation is Signal.PING:
            self._transport.write(PONG)
        elif isinstance(operation, Info):
            self._learn(operation)
        elif isinstance(operation, ServerError):
            self._refuse(operation.text)

    def _receive_for_nobody(self, message: NatsMessage) -> None:
        if not 0 < message.sid <= self._last_sid:  # else it was given up a moment ago
            words = "the server has sent a message for a subscription that there never was"
            self._setup.on_dropped(ProtocolError(words), message.subject)

    def _learn(self, info: Info) -> None:
        self._info = info
        self._lacks_headers = not info.headers
        self._on_info(info)

    def _refuse(self, text: str) -> None:
        """Handle `-ERR`: fail what the server refuses. What is not about one thing ends the session."""
        if refuses_a_subscription(text):
            # The server does not say which. Answers come in order, so it is one that waits for its confirmation.
            self._settle_refusal(text, self._fail_waiting(text, lambda use: use.action == "subscription"))
        elif violates_permissions(text):
            violation = read_violation(text)
            self._settle_refusal(text, violation is not None and self._forbid(violation, text))
        else:
            error = _loss(refused(text))
            # Credentials that were good may have been renewed, as a JWT that expires: a new connection will tell.
            self.lose(ConnectionLostError(error.message) if self._armed else error)

    def _forbid(self, violation: Violation, text: str) -> bool:
        """Fail what lacks a permission; return whether there was anything."""
        permission, sid = violation
        if sid is not None:
            subscription = self._subscriptions.get(sid)
            if subscription is not None:
                subscription.end(refused(text))
            return True  # otherwise it was given up a moment ago
        found = self._fail_waiting(text, lambda use: use == permission)
        if permission.action == "publish":
            found = self._confirmed.forbid(permission.subject, lambda: refused(text)) or found
            for told in self._forbidden_posts:
                found = told(permission.subject, refused(text)) or found
        return found

    def _fail_waiting(self, text: str, concerns: Callable[[Permission], bool]) -> bool:
        """Fail all that waits for what a refusal concerns; return whether there was anything."""
        found = False
        for future, use in self._waiting.items():
            if use is not None and concerns(use):
                found = True
                if not future.done():
                    future.set_exception(refused(text))
        return found

    def _settle_refusal(self, text: str, found: bool) -> None:
        """Warn of a refusal that belongs to nobody who waits, unless the same one was somebody's before."""
        if text not in self._reported and len(self._reported) < _MOST_REPORTED:
            self._reported.add(text)
            if not found:
                self._setup.on_warning(_FORBIDDEN, f"the server refuses: {text}")

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
        self._error, self.is_live = error, False
        self._fail_all(error.message)
        self._transport.abort()
        if self._armed:
            self._setup.on_lost(error)

    def _fail_all(self, message: str) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_exception(ConnectionLostError(message))
        self._confirmed.fail(lambda: ConnectionLostError(message))

    @property
    def last_heard(self) -> float | None:
        """When bytes last came from the server, on the clock."""
        return self._transport.last_heard

    @property
    def is_lame_duck(self) -> bool:
        """Whether the server has said that it is about to end."""
        return self._info.lame_duck

    @property
    def lacks_headers(self) -> bool:
        """Whether the server takes no messages with headers (`no_header_support`)."""
        return self._lacks_headers

    def _check_live(self) -> None:
        if not self.is_live:
            raise NotConnectedError("there is no session" if self._error is None else self._error.message)

    # --- operations

    @contextlib.contextmanager
    def expected(self, use: Permission | None) -> Iterator[asyncio.Future[Any]]:
        """Give a future that fails when the connection is lost, or when the server forbids what it is for.

        Args:
            use: The permission that is needed; None for none.

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

    async def flushed(self, use: Permission | None = None) -> None:
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
            headers: As `header_block` makes them. A server that takes none gets none; a warning says so.
            promise: Fails when the connection is lost or the server forbids the subject.

        Raises:
            NotConnectedError: There is no connection (any more).
            InvalidError: The server takes no message so large.
        """
        if not self.is_live:  # each publish comes here, and a call that checks again costs
            self._check_live()
        if self._lacks_headers and headers:
            headers = self._leave_out_headers()
        if len(payload) + len(headers) > self._info.max_payload:
            self._check_size(len(payload) + len(headers))
        self._confirmed.publish(publish_line(subject, payload, headers), promise, subject)

    def post(self, subject: str, payload: bytes, headers: bytes = b"", reply: str = "") -> None:
        """Write one message, and wait for nothing; arguments and errors as for `send`."""
        self._check_live()
        if self._lacks_headers and headers:
            headers = self._leave_out_headers()
        self._check_size(len(payload) + len(headers))
        self._transport.write(publish_line(subject, payload, headers, reply))

    def check_takes_headers(self) -> None:
        """Raise RejectedError where the server takes no headers: what is sent without them would mean something else.

        Without the revision that it expects a write to a bucket would be one without a condition.
        """
        if self._lacks_headers:
            words = "the server takes no headers (its `no_header_support`), which streams and buckets need"
            raise RejectedError(words, maybe_sent=False)

    def _leave_out_headers(self) -> bytes:
        """Return no headers, for a server that would end the connection over them, and warn of that."""
        if not self._warned_of_headers:
            self._warned_of_headers = True
            self._setup.on_warning(_NO_HEADERS, _NO_HEADERS_TEXT)
        return b""

    def _check_size(self, size: int) -> None:
        """Raise InvalidError for a message over the limit, for which the server would end the connection."""
        if size > self._info.max_payload:
            raise InvalidError(f"message: {size} bytes with headers; the server takes {self._info.max_payload}")

    async def ask(self, subject: str, payload: bytes = b"", headers: bytes = b"") -> NatsMessage:
        """Write one message and wait for the answer to it, which may be a bare status.

        Raises:
            NotConnectedError: There is no connection (any more).
            ConnectionLostError: It was lost meanwhile.
            RejectedError: The server forbids the subject, or to receive answers.
            InvalidError: The server takes no message so large.
        """
        if self._answers is None:
            await self._subscribe_to_answers()
        token = str(next(self._tokens))
        with self.expected(Permission("publish", subject)) as future:
            self._replies[token] = future
            try:
                self.post(subject, payload, headers, f"{self._inbox}.{token}")
                self._transport.expect()
                answer: NatsMessage = await future
            finally:
                del self._replies[token]
        return answer

    def _on_reply(self, message: NatsMessage) -> None:
        future = self._replies.get(message.subject.rpartition(".")[2])
        if future is not None and not future.done():
            future.set_result(message)

    async def _subscribe_to_answers(self) -> None:
        """Subscribe to the subject of answers, unless that is done.

        Raises:
            RejectedError: The server forbids it; a warning says so until it permits it.
            BridgeError: See `subscribe`.
        """
        async with self._subscribing_to_answers:
            if self._answers is not None:
                return
            try:
                self._answers = await self.subscribe(f"{self._inbox}.*", self._on_reply, on_ended=self._lose_answers)
            except RejectedError as error:
                self._warn_of_no_answers(error)
                raise
            self._setup.on_warning(_NO_ANSWERS, None)

    def _lose_answers(self, error: BridgeError) -> None:
        """Fail what waits for an answer: the server forbids to receive any, from now on."""
        self._answers = None
        self._warn_of_no_answers(error)
        for future in self._replies.values():
            if not future.done():
                future.set_exception(RejectedError(error.message, code=error.code, maybe_sent=True))

    def _warn_of_no_answers(self, error: BridgeError) -> None:
        words = f"requests and queues cannot work, as the server lets no answer through: {error.message}"
        self._setup.on_warning(_NO_ANSWERS, words)

    async def subscribe(
        self,
        subject: str,
        on_message: OnMessage,
        group: str = "",
        on_ended: Callable[[BridgeError], None] = lambda _: None,
        *,
        can_wait: bool = False,
    ) -> NatsSubscription:
        """Subscribe; returns when the server has confirmed.

        Args:
            subject: It has been checked; wildcards are allowed.
            on_message: Gets each message; see `OnMessage`.
            group: The queue group, if any.
            on_ended: Called if the server ends it after this has returned, while the connection goes on.
            can_wait: Whether its messages may be read together, some milliseconds later, where they come often.

        Raises:
            NotConnectedError: There is no connection (any more).
            ConnectionLostError: It was lost meanwhile.
            RejectedError: The server forbids it.
        """
        self._check_live()
        self._last_sid += 1
        subscription = NatsSubscription(
            self._last_sid,
            subject,
            group,
            on_message,
            start=self.start,
            on_ended=on_ended,
            on_dropped=self._setup.on_dropped,
            can_wait=can_wait,
        )
        self._subscriptions[subscription.sid] = subscription
        self._transport.write(subscribe_line(subscription.sid, subject, group))
        try:
            await self.flushed(Permission("subscription", subject, group))
            subscription.check()
        except BaseException:
            self.unsubscribe(subscription)
            raise
        subscription.is_confirmed = True
        return subscription

    def unsubscribe(self, subscription: NatsSubscription) -> None:
        """End a subscription and do not wait for the server; no more of its messages are delivered."""
        self._subscriptions.pop(subscription.sid, None)
        subscription.discard()
        if self.is_live and subscription.error is None:
            self._transport.write(unsubscribe_line(subscription.sid))

    async def end(self, subscription: NatsSubscription) -> None:
        """End a subscription; return when the server sends no more of its messages, and those before are delivered.

        Raises:
            NotConnectedError: There is no connection (any more).
            ConnectionLostError: It was lost meanwhile.
        """
        try:
            if self.is_live and subscription.error is None:
                self._transport.write(unsubscribe_line(subscription.sid))
                subscription.error = RejectedError("it was given up")  # nothing more is to be told, or written
            await self.flushed()
        finally:
            self.unsubscribe(subscription)

    def new_inbox(self) -> str:
        """Make a subject that nobody else subscribes to."""
        return f"{self._inbox_prefix}.{self._nuid.next().decode()}"

    @property
    def max_payload(self) -> int:
        """Bytes of a message at most, headers included."""
        return self._info.max_payload

    @property
    def server_version(self) -> str:
        """The version that the server names; empty where it names none."""
        return self._info.version


def _loss(error: BridgeError) -> BridgeError:
    """The error as the end of a session: try again, unless a person is needed."""
    return error if error.permanent else ConnectionLostError(error.message)


async def _raise(error: Exception) -> None:
    raise error
