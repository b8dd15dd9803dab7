"""The XSUB/XPUB broker, in a thread of its own.

On an open bus, libzmq's own proxy forwards in C: a busy bridge never delays the application's events, because no Python
code runs on the way of a message. On a closed bus, `Forwarder` forwards, which knows the key of each sender.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, Final

import msgspec
import zmq

from bridge.bus.address import Address, parse_pair
from bridge.bus.broker.curve import CurveServer, secure_server
from bridge.bus.broker.disconnects import Disconnects, OnDisconnect
from bridge.bus.broker.forwarder import Forwarder, Refusals
from bridge.bus.broker.lock import SocketLock
from bridge.bus.broker.slow_subscribers import SlowSubscribers
from bridge.bus.broker.unfinished_messages import BOUND, UnfinishedMessages
from bridge.core.curve_keys import AccessList
from bridge.core.errors import BusError
from bridge.core.ports import Clock

#: The hard limit of a frame, in multiples of `max_message`. A sender of a larger frame is disconnected (bus contract,
#: "Transport").
HARD_LIMIT: Final = 16
#: The high-water mark of the bridge itself, which is connected by `inproc`: messages that may wait for it.
OWN_HWM: Final = 200_000
#: Subscriptions that may wait on their way to a publisher, or from the bridge to the broker. Beyond, libzmq drops them
#: without a word (`xsub_t::send_subscription`), and that publisher's events never reach the subscriber. Its default is
#: 1,000, but a bridge has 256 subscriptions and one for each pattern of its routes.
SUBSCRIPTIONS_HWM: Final = 100_000
#: The high-water mark of each other subscriber. With 1,000 messages, one that read all the time lost up to a fifth of a
#: burst of 50,000; with 4,000 it lost nothing. `SlowSubscribers` bounds the bytes of large messages.
SUBSCRIBER_HWM: Final = 4000
_INPROC_PUBLISH: Final = "inproc://bus-publish"
_INPROC_SUBSCRIBE: Final = "inproc://bus-subscribe"
# Bytes. A subscription is one byte and a prefix; no event type is longer than 255 bytes.
_MAX_SUBSCRIPTION: Final = 1024
# Milliseconds: enough for a last event to leave, and little enough not to wait for a subscriber that reads nothing.
_LINGER: Final = 250


class AccessControl(msgspec.Struct, frozen=True):
    """Who may use a closed bus, and who is told of refusals.

    Attributes:
        curve: The bus' own keys.
        access_list: The keys that may connect, with their rights.
        on_refused: Called on the event loop with refusals.
        on_crash: Called on the event loop with the exception of a bug that ended the forwarder.
    """

    curve: CurveServer
    access_list: AccessList
    on_refused: Callable[[Refusals], None]
    on_crash: Callable[[BaseException], None]


class Broker:
    """Binds both endpoints and forwards between them, from `start` until `stop`.

    Attributes:
        context: The context that a socket must belong to in order to connect by `inproc`.
        inproc_publish: The endpoint for this process' own publisher.
        inproc_subscribe: The endpoint for this process' own subscriber.
        slow_subscribers: To be told of each large message that was forwarded; None where there is no `on_disconnect`.
    """

    inproc_publish: Final = _INPROC_PUBLISH
    inproc_subscribe: Final = _INPROC_SUBSCRIBE

    def __init__(
        self,
        publish: str,
        subscribe: str,
        max_message: int,
        clock: Clock,
        *,
        on_disconnect: OnDisconnect | None = None,
        access: AccessControl | None = None,
    ) -> None:
        """Create it; nothing is opened before `start`.

        Args:
            publish: The endpoint for publishers; `tcp://127.0.0.1:*` takes any free port.
            subscribe: The endpoint for subscribers.
            max_message: Bytes. The sender of a frame 16 times as large is disconnected.
            clock: For the checks of connections.
            on_disconnect: Called on the event loop for each connection that was closed or refused.
            access: Makes the bus a closed one: only listed keys may connect, and each may publish and subscribe to what
                its rights name. None makes an open one.

        Raises:
            BusError: An endpoint is not valid.
        """
        self._publish, self._subscribe = parse_pair(publish, subscribe, closed=access is not None)
        self._max_message = max_message
        self._clock = clock
        self._on_disconnect = on_disconnect
        self._access = access
        self._locks: list[SocketLock] = []
        self._thread: threading.Thread | None = None
        self._forwarder: Forwarder | None = None
        self._disconnects: list[Disconnects] = []
        self._unfinished: UnfinishedMessages | None = None
        self.slow_subscribers: SlowSubscribers | None = None
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.publish_endpoint = self._publish.endpoint
        self.subscribe_endpoint = self._subscribe.endpoint

    async def start(self) -> None:
        """Bind both endpoints and begin to forward; then the two endpoint attributes have the real endpoints.

        Raises:
            BusError: Another process hosts a bus there, or an endpoint cannot be bound. Nothing is left open.
        """
        senders = self.context.socket(zmq.XSUB)
        subscribers = self.context.socket(zmq.XPUB)
        # On a closed bus the process' own events have a socket of their own, because they come without a key.
        own = senders if self._access is None else self.context.socket(zmq.XSUB)
        try:
            for address in (self._publish, self._subscribe):
                if address.path is not None:
                    lock = SocketLock(address.path)
                    lock.acquire()
                    self._locks.append(lock)
            self._set_up(own, senders, subscribers)
        except BaseException:
            self._stop_monitors()
            if self._forwarder is not None:
                self._forwarder.abandon()
            for socket in (own, senders, subscribers):
                socket.close(0)
            self._release()
            self.context.term()
            raise
        if self._forwarder is not None:
            self._forwarder.start()
        else:
            # A daemon thread, so that a crash of the main thread ends the process; `stop` joins it.
            self._thread = threading.Thread(
                target=_forward, args=(senders, subscribers), name="bus-broker", daemon=True
            )
            self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it is forwarding."""
        return self._thread is not None and self._thread.is_alive()

    async def stop(self) -> None:
        """Stop forwarding and free the endpoints; idempotent. Close all sockets made from `context` before."""
        self._stop_monitors()
        if self._forwarder is not None:
            self._forwarder.close()
        # This ends the proxy with ETERM, then waits until its sockets are closed.
        await asyncio.to_thread(self.context.term)
        for thread in (self._thread, self._forwarder):
            if thread is not None:
                thread.join()
        self._thread = self._forwarder = None
        self._release()

    def renew(self, access_list: AccessList) -> None:
        """Replace the list of keys that may use a closed bus, from now on; does nothing on an open bus."""
        if self._forwarder is not None:
            self._forwarder.renew(access_list)

    def _set_up(self, own: zmq.Socket[bytes], senders: zmq.Socket[bytes], subscribers: zmq.Socket[bytes]) -> None:
        for socket in {own, senders, subscribers}:
            socket.set(zmq.LINGER, _LINGER)
            socket.set(zmq.IPV6, int(":" in self._publish.host + self._subscribe.host))
        # Each subscription is passed on, not only the first one of a prefix, so that last values can be published
        # again; and each end of one, so that publishers are told when the last subscriber is gone. Without the ends,
        # the XSUB would count more beginnings than ends, and tell nothing.
        subscribers.set(zmq.XPUB_VERBOSER, 1)
        # High-water marks and size limits apply to endpoints that are bound after they are set.
        for socket in {own, senders}:
            socket.set(zmq.SNDHWM, SUBSCRIPTIONS_HWM)
        own.set(zmq.RCVHWM, OWN_HWM)
        subscribers.set(zmq.SNDHWM, OWN_HWM)
        own.bind(_INPROC_PUBLISH)
        subscribers.bind(_INPROC_SUBSCRIBE)
        senders.set(zmq.RCVHWM, 1000)
        subscribers.set(zmq.SNDHWM, SUBSCRIBER_HWM)
        senders.set(zmq.MAXMSGSIZE, HARD_LIMIT * self._max_message)
        subscribers.set(zmq.MAXMSGSIZE, _MAX_SUBSCRIPTION)
        if self._access is not None:
            self._require_keys(self._access, own, senders, subscribers)
        if self._on_disconnect is not None:
            for socket in (senders, subscribers):
                self._disconnects.append(
                    Disconnects(self.context, self._on_disconnect, self._clock, closed=self._access is not None)
                )
                self._disconnects[-1].start(socket)
            self.slow_subscribers = SlowSubscribers(self._disconnects[-1].connections, self._on_disconnect, self._clock)
            if self._forwarder is not None:
                largest = max(BOUND, 2 * HARD_LIMIT * self._max_message)
                self._unfinished = UnfinishedMessages(
                    self._disconnects[0].accepted,
                    self._forwarder.suspects,
                    self._on_disconnect,
                    self._clock,
                    bound=largest,
                )
                self._unfinished.start()
        self.publish_endpoint = _bind(senders, self._publish)
        self.subscribe_endpoint = _bind(subscribers, self._subscribe)

    def _require_keys(
        self, access: AccessControl, own: zmq.Socket[bytes], senders: zmq.Socket[bytes], subscribers: zmq.Socket[bytes]
    ) -> None:
        """Require listed keys on both sockets, and put the forwarder between them."""
        loop = asyncio.get_running_loop()

        def on_loop(callback: Callable[[Any], None]) -> Callable[[Any], None]:
            def from_thread(argument: object) -> None:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be called
                    loop.call_soon_threadsafe(callback, argument)

            return from_thread

        for socket in (senders, subscribers):
            secure_server(socket, access.curve)
        subscribers.set(zmq.XPUB_MANUAL, 1)
        self._forwarder = Forwarder(
            self.context,
            own=own,
            senders=senders,
            subscribers=subscribers,
            access_list=access.access_list,
            on_refused=on_loop(access.on_refused),
            on_crash=on_loop(access.on_crash),
        )

    def _stop_monitors(self) -> None:
        self.slow_subscribers = None
        if self._unfinished is not None:
            self._unfinished.stop()
        while self._disconnects:
            self._disconnects.pop().stop()

    def _release(self) -> None:
        while self._locks:
            self._locks.pop().release()


def _bind(socket: zmq.Socket[bytes], address: Address) -> str:
    try:
        socket.bind(address.endpoint)
    except zmq.ZMQError as error:
        reason = "something else listens there" if error.errno == zmq.EADDRINUSE else error.strerror
        raise BusError(f"bus endpoint {address.endpoint}: {reason}") from None
    if address.path is not None:
        return address.endpoint
    return socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")


def _forward(xsub: zmq.Socket[bytes], xpub: zmq.Socket[bytes]) -> None:
    with contextlib.closing(xsub), contextlib.closing(xpub), contextlib.suppress(zmq.ContextTerminated):
        zmq.proxy(xsub, xpub)
