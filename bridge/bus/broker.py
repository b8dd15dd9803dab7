"""The XSUB/XPUB broker: forwards in C, in a thread of its own.

A busy sidecar never delays the application's own traffic, because no Python runs on the way of a message.
"""

import asyncio
import contextlib
import threading
from typing import Final

import zmq

from bridge.bus.address import Address, parse_pair
from bridge.bus.cuts import CutWatch, OnCut
from bridge.bus.lock import SocketLock
from bridge.errors import BusError

#: The hard limit of a frame, in multiples of `max_message`; beyond, the sender is cut (bus contract, "Transport").
HARD_LIMIT: Final = 16
#: Messages that wait at most for the sidecar itself, which attaches by `inproc`.
OWN_HWM: Final = 200_000
#: Messages that wait at most for one slow subscriber. With 1,000 a live one lost up to a fifth of a burst of 50,000;
#: with 4,000 nothing. It bounds memory, too: times `max_message`, for each stuck subscriber.
SUBSCRIBER_HWM: Final = 4000
_INPROC_PUBLISH: Final = "inproc://bus-publish"
_INPROC_SUBSCRIBE: Final = "inproc://bus-subscribe"
# A subscription is one byte and a prefix; no event type is longer than 255 bytes.
_MAX_SUBSCRIPTION: Final = 1024
# Long enough for a last event to leave, short enough not to hang on a stuck subscriber (ms).
_LINGER: Final = 250


class Broker:
    """Binds both endpoints and forwards between them, from `start` until `stop`.

    Attributes:
        context: What a socket must come from to attach by `inproc`.
        inproc_publish: Where the process' own publisher connects.
        inproc_subscribe: Where the process' own subscriber connects.
    """

    inproc_publish: Final = _INPROC_PUBLISH
    inproc_subscribe: Final = _INPROC_SUBSCRIBE

    def __init__(
        self,
        publish: str,
        subscribe: str,
        max_message: int,
        *,
        on_cut: OnCut | None = None,
        subscriber_hwm: int = SUBSCRIBER_HWM,
    ) -> None:
        """Nothing is opened yet.

        Args:
            publish: Endpoint for publishers; `tcp://127.0.0.1:*` takes any free port.
            subscribe: Endpoint for subscribers.
            max_message: Bytes; frames beyond 16 times that cut their sender.
            on_cut: Told, on the event loop, of each sender that was cut or turned away.
            subscriber_hwm: Messages that wait at most for one slow subscriber; what is beyond is dropped for it. It
                bounds memory: times `max_message`, for each stuck subscriber.

        Raises:
            BusError: An endpoint cannot work.
        """
        self._publish, self._subscribe = parse_pair(publish, subscribe)
        self._max_message = max_message
        self._on_cut = on_cut
        self._subscriber_hwm = subscriber_hwm
        self._locks: list[SocketLock] = []
        self._thread: threading.Thread | None = None
        self._cuts: CutWatch | None = None
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.publish_endpoint = self._publish.endpoint
        self.subscribe_endpoint = self._subscribe.endpoint

    async def start(self) -> None:
        """Bind and forward. After it, the two endpoint attributes hold the real ones.

        Raises:
            BusError: Somebody else hosts a bus there, or the endpoints cannot be bound. Nothing is left open.
        """
        xsub = self.context.socket(zmq.XSUB)
        xpub = self.context.socket(zmq.XPUB)
        try:
            for address in (self._publish, self._subscribe):
                if address.path is not None:
                    lock = SocketLock(address.path)
                    lock.acquire()
                    self._locks.append(lock)
            self._set_up(xsub, xpub)
        except BaseException:
            self._unwatch()
            xsub.close(0)
            xpub.close(0)
            self._release()
            self.context.term()
            raise
        # A daemon, so that a crash of the main thread ends the process; `stop` joins it.
        self._thread = threading.Thread(target=_forward, args=(xsub, xpub), name="bus-broker", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it forwards."""
        return self._thread is not None and self._thread.is_alive()

    async def stop(self) -> None:
        """End forwarding and free the endpoints; idempotent. Sockets made from `context` must be closed before."""
        self._unwatch()
        # Ends the proxy with ETERM, then waits until its sockets are closed.
        await asyncio.to_thread(self.context.term)
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._release()

    def _set_up(self, xsub: zmq.Socket[bytes], xpub: zmq.Socket[bytes]) -> None:
        for socket in (xsub, xpub):
            socket.set(zmq.LINGER, _LINGER)
            socket.set(zmq.IPV6, int(":" in self._publish.host + self._subscribe.host))
        # Each subscription is passed on, not only the first of its prefix: a last value can then be said again.
        xpub.set(zmq.XPUB_VERBOSE, 1)
        # High-water marks and sizes hold for what is bound after they are set.
        xsub.set(zmq.RCVHWM, OWN_HWM)
        xpub.set(zmq.SNDHWM, OWN_HWM)
        xsub.bind(_INPROC_PUBLISH)
        xpub.bind(_INPROC_SUBSCRIBE)
        xsub.set(zmq.RCVHWM, 1000)
        xpub.set(zmq.SNDHWM, self._subscriber_hwm)
        xsub.set(zmq.MAXMSGSIZE, HARD_LIMIT * self._max_message)
        xpub.set(zmq.MAXMSGSIZE, _MAX_SUBSCRIPTION)
        if self._on_cut is not None:
            self._cuts = CutWatch(self.context, self._on_cut)
            self._cuts.start(xsub)
        self.publish_endpoint = _bind(xsub, self._publish)
        self.subscribe_endpoint = _bind(xpub, self._subscribe)

    def _unwatch(self) -> None:
        if self._cuts is not None:
            self._cuts.stop()
            self._cuts = None

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
