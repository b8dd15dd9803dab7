"""One live connection on nats-py, with the library's own reconnection off and its traps closed.

What is different from the plain client (all read in nats-py 2.16, and proved by tests):

* CONNECT, which carries the credentials, goes out only if TLS is on or was not asked for. nats-py goes on in plaintext
  when a server does not offer TLS.
* PING follows what was published before it (`confirmed`); nats-py writes it ahead of its buffer, so that PONG
  would prove nothing. Nor is it ever cancelled: nats-py's reader dies of the PONG to a cancelled one while it calls
  itself connected.
* The end of the reader or writer, for whatever reason, is the loss of the session; what is in flight fails at once.
* Messages do not wait in a queue for a task: each subscription's lane takes them in the reader's turn.
* No callback raises once the connection is open.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from itertools import count
from typing import Any, Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error, NoRespondersError, SecureConnWantedError, StaleConnectionError
from nats.js import JetStreamContext

from bridge.adapters._common.background import Background
from bridge.adapters.nats.auth import Keys
from bridge.adapters.nats.config import Address, Target
from bridge.adapters.nats.confirmed import Confirmed
from bridge.adapters.nats.delivery import Lane, Take
from bridge.adapters.nats.errors import translate, translate_connect
from bridge.adapters.nats.subjects import STATUS, size_of
from bridge.core.errors import BridgeError, ConnectionLostError, InvalidError, NotConnectedError, RejectedError
from bridge.core.ports import Promise

#: Status of the server's own answer to a request that nobody takes.
NO_RESPONDERS: Final = "503"
#: Seconds for one step of opening (TCP, TLS, greeting), so that a dead server leaves time for the next address.
_STEP: Final = 5
#: Seconds; the connection's checks are the bridge's, not nats-py's.
_NEVER: Final = 10**9
_PING: Final = b"PING\r\n"

log = structlog.get_logger(__name__)


class _Client(Client):
    """nats-py's client where its order of steps has to be another."""

    def __init__(
        self,
        *,
        tls: bool,
        keys: Keys | None,
        ask: Callable[..., Awaitable[Msg]],
        on_bug: Callable[[Exception], object],
    ) -> None:
        super().__init__()
        self._keys = keys
        self._on_bug = on_bug
        self._tls_asked = tls
        self._ask = ask
        self.lanes: dict[int, Lane] = {}

    @property
    def writer(self) -> asyncio.StreamWriter | None:
        """What the socket is written through."""
        return getattr(self._transport, "_io_writer", None)

    @property
    def own_tasks(self) -> list[asyncio.Task[Any]]:
        """What nats-py has started for itself: reader, writer, pings."""
        tasks = [self._reading_task, self._flusher_task, self._ping_interval_task]
        return [task for task in tasks if task is not None]

    def vital_tasks(self) -> tuple[asyncio.Task[Any], asyncio.Task[Any]]:
        """Reader and writer; there are none where the server hung up in the greeting, which nats-py does not say."""
        reader, writer = self._reading_task, self._flusher_task
        if not self.is_connected or reader is None or writer is None:
            raise NotConnectedError("the server ended the connection while it was being opened")
        return reader, writer

    def _connect_command(self) -> bytes:
        writer = self.writer
        if self._tls_asked and (writer is None or writer.get_extra_info("ssl_object") is None):
            raise SecureConnWantedError
        if self._keys is not None:
            # nats-py's own way keeps the seed in an attribute, and reads a file without a JWT for ever.
            self._auth_configured = True
            self._signature_cb = self._keys.sign
            if self._keys.jwt is None:
                self._public_nkey = self._keys.public
            else:
                self._user_jwt_cb = self._keys.token
        return super()._connect_command()

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        """What the parser calls; subscriptions without a lane have ended."""
        lane = self.lanes.get(sid)
        if lane is not None:
            parsed = await self._process_headers(headers) if headers else None
            try:
                lane.put(Msg(self, subject.decode(), reply.decode(), data, parsed))
            except Exception as error:  # noqa: BLE001 - nats-py would take a bug of ours for the connection's end
                self._on_bug(error)

    def write(self, data: bytes) -> None:
        """See `Writer.write`."""
        self._pending.append(data)
        self._pending_data_size += len(data)

    def ping(self, pong: asyncio.Future[Any]) -> None:
        """See `Writer.ping`."""
        if self._transport is None:
            raise ConnectionResetError
        self._pongs.append(pong)
        data, self._pending, self._pending_data_size = self._pending, [], 0
        self._transport.write(b"".join((*data, _PING)))

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,  # noqa: ARG002  # time limits are the guard's
        old_style: bool = False,  # noqa: ARG002, FBT001, FBT002, RUF100  # nats-py's signature
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """What JetStream's management calls use; it fails at once when the connection is lost."""
        answer = await self._ask(subject, payload, headers)
        if answer.headers and answer.headers.get(STATUS) == NO_RESPONDERS:
            raise NoRespondersError
        return answer


class Link:
    """One connection to one server; it lives once."""

    def __init__(self, target: Target, *, name: str, inbox_prefix: str, on_lost: Callable[[BridgeError], None]) -> None:
        """Nothing is opened yet; `on_lost` is told once, and only after `arm`."""
        self._target = target
        self._name = name
        self._inbox_prefix = inbox_prefix
        self._on_lost = on_lost
        self._client = _Client(
            tls=target.context is not None,
            keys=target.keys,
            ask=self.ask,
            on_bug=lambda error: self.start(_raise(error)),
        )
        self._inbox = ""
        self._tokens = count(1)
        self._replies: dict[str, asyncio.Future[Any]] = {}
        self._waiting: dict[asyncio.Future[Any], str] = {}
        self._confirmed = Confirmed(self._client, lambda: self.lose(ConnectionLostError("the connection ended")))
        self._background = Background(self.lose)
        self._open = self._armed = self._closed = False
        self._error: BridgeError | None = None

    # --- life

    async def open(self, address: Address) -> None:
        """Connect.

        Raises:
            NotConnectedError: The server cannot be reached, or has no TLS where that was asked for.
            AuthError: It refused the credentials.
        """
        options: dict[str, Any] = dict(self._target.credentials)
        if self._target.context is not None:
            options |= {"tls": self._target.context, "tls_hostname": self._target.server_name or address.host}
        try:
            await self._client.connect(
                servers=[address.url],
                name=self._name,
                error_cb=self._on_error,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=_STEP,
                ping_interval=_NEVER,
                inbox_prefix=self._inbox_prefix,
                # No limit on what waits to be written: at it nats-py waits, and swallows its own cancellation.
                pending_size=0,
                **options,
            )
            for task in self._client.vital_tasks():
                task.add_done_callback(self._ended)
            self._open = True
            await self._background.open()
            self._inbox = self._client.new_inbox()
            await self.listen(f"{self._inbox}.*", self._on_reply)
        except (Error, OSError, UnicodeError) as error:
            await self.close()
            raise translate_connect(error if not isinstance(error, UnicodeError) else OSError(str(error))) from None
        except BaseException:
            await self.close()
            raise

    def arm(self) -> None:
        """From now on a loss is told. Raises NotConnectedError where the connection is lost already."""
        if self._error is not None:
            raise NotConnectedError(self._error.message, needs_person=self._error.needs_person)
        self._armed = True

    async def close(self) -> None:
        """End everything; idempotent."""
        if self._closed:
            return
        self._closed = True
        self._fail_all("the session was closed")
        tasks = self._client.own_tasks
        for task in tasks:
            task.cancel()
        if self._client.writer is not None:
            # Nothing is worth waiting for: whatever was not confirmed has failed. A frozen peer would hold a close up.
            self._client.writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._background.close()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something for as long as the connection lives."""
        return self._background.start(work)

    # --- loss

    def _ended(self, _: asyncio.Task[Any]) -> None:
        cause = self._client.last_error
        error = ConnectionLostError("the connection ended") if cause is None else translate(cause)
        self.lose(error if error.needs_person else ConnectionLostError(error.message))

    def lose(self, error: BridgeError) -> None:
        """The session is over; what is in flight fails at once."""
        if self._error is not None or self._closed:
            return
        self._error = error
        self._fail_all(error.message)
        if self._armed:
            self._on_lost(error)

    def _fail_all(self, message: str) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_exception(ConnectionLostError(message))
        self._confirmed.fail(lambda: ConnectionLostError(message))

    async def _on_error(self, error: Exception) -> None:
        """nats-py's `error_cb`. While opening it raises, which ends nats-py's own tries."""
        if not self._open:
            raise error
        text = str(error).lower()
        if "permissions violation" in text:
            for future, use in self._waiting.items():
                if use and use in text and not future.done():
                    future.set_exception(RejectedError(str(translate(error)), code="permissions violation"))
            self._confirmed.forbid(text, RejectedError(str(translate(error)), code="permissions violation"))
        elif isinstance(error, StaleConnectionError | OSError):
            self.lose(ConnectionLostError(translate(error).message))
        elif not isinstance(error, Error):
            # A bug in a callback of ours: let it be heard in the task that somebody awaits.
            self.start(_raise(error))

    # --- operations

    def _check_live(self) -> None:
        if self._error is not None or self._closed or not self._open:
            raise NotConnectedError("there is no session" if self._error is None else self._error.message)

    @contextlib.contextmanager
    def expected(self, use: str) -> Iterator[asyncio.Future[Any]]:
        """A future that fails when the connection is lost, or when the server forbids what it is for.

        Args:
            use: What the server would name in a permissions violation, in small letters.
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
        """Return when the server has taken all that was written before; calls at the same moment share one PING."""
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
        size = len(payload) + len(headers)
        if size > self._client.max_payload:
            raise _too_large(size, self._client.max_payload)
        line = b"HPUB %b %d %d\r\n%b%b\r\n" % (subject.encode(), len(headers), size, headers, payload)
        self._confirmed.publish(line, promise, subject)

    async def post(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None, reply: str = ""
    ) -> None:
        """Write one message, and wait for nothing."""
        self._check_live()
        size = len(payload) + (size_of(headers) if headers else 0)
        if size > self._client.max_payload:
            raise _too_large(size, self._client.max_payload)
        try:
            await self._client.publish(subject, payload, reply=reply, headers=None if not headers else dict(headers))
        except Error as error:
            raise translate(error) from None

    async def ask(self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None) -> Msg:
        """Write one message and wait for the answer to it, which may be a bare status."""
        token = str(next(self._tokens))
        with self.expected(f'publish to "{subject.lower()}"') as future:
            self._replies[token] = future
            try:
                await self.post(subject, payload, headers, f"{self._inbox}.{token}")
                answer: Msg = await future
            finally:
                del self._replies[token]
        return answer

    def _on_reply(self, message: Msg) -> None:
        future = self._replies.get(message.subject.rpartition(".")[2])
        if future is not None and not future.done():
            future.set_result(message)

    async def listen(self, subject: str, take: Take, group: str = "") -> Subscription:
        """Subscribe; returns when the server has confirmed."""
        self._check_live()
        try:
            subscription = await self._client.subscribe(subject, queue=group)
        except Error as error:
            raise translate(error) from None
        # Nothing was awaited for real yet, so no message has come before its lane.
        self._client.lanes[subscription._id] = Lane(take, self.start)  # noqa: SLF001
        try:
            await self.flushed(f'subscription to "{subject.lower()}"')
        except BaseException:
            await self.hush(subscription)
            raise
        return subscription

    async def hush(self, subscription: Subscription) -> None:
        """Unsubscribe, without waiting; nothing more is delivered."""
        self._client.lanes.pop(subscription._id, None)  # noqa: SLF001
        if self._error is None and not self._closed:
            with contextlib.suppress(Error):
                await subscription.unsubscribe()

    def new_inbox(self) -> str:
        """A subject that nobody else listens to."""
        return self._client.new_inbox()

    @property
    def jetstream(self) -> JetStreamContext:
        """The library's management calls, over this connection."""
        return self._client.jetstream()


def _too_large(size: int, limit: int) -> InvalidError:
    """The server would end the connection, and with it everybody's calls."""
    return InvalidError(f"message: {size} bytes with headers; the server takes {limit}")


async def _raise(error: Exception) -> None:
    raise error
