"""The XSUB/XPUB broker, in a thread of its own.

An open bus is forwarded in C: a busy sidecar never delays the application's own traffic, because no Python runs on the
way of a message. A closed one is forwarded by `Forwarder`, which knows the senders' keys.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import zmq

from bridge.bus.address import Address, parse_pair
from bridge.bus.broker.curve import CurveServer, secure_server
from bridge.bus.broker.disconnects import CutWatch, OnCut
from bridge.bus.broker.forwarder import Forwarder, Refused
from bridge.bus.broker.lock import SocketLock
from bridge.bus.broker.slow_subscribers import StuckWatch
from bridge.bus.broker.unfinished_messages import BOUND, EndlessWatch
from bridge.core.curve_keys import Roster
from bridge.core.errors import BusError

#: The hard limit of a frame, in multiples of `max_message`; beyond, the sender is cut (bus contract, "Transport").
HARD_LIMIT: Final = 16
#: Messages that wait at most for the sidecar itself, which attaches by `inproc`.
OWN_HWM: Final = 200_000
#: Messages that wait at most for one slow subscriber. With 1,000 a live one lost up to a fifth of a burst of 50,000;
#: with 4,000 nothing. What bounds large ones is `StuckWatch`.
SUBSCRIBER_HWM: Final = 4000
_INPROC_PUBLISH: Final = "inproc://bus-publish"
_INPROC_SUBSCRIBE: Final = "inproc://bus-subscribe"
# A subscription is one byte and a prefix; no event type is longer than 255 bytes.
_MAX_SUBSCRIPTION: Final = 1024
# Long enough for a last event to leave, short enough not to hang on a stuck subscriber (ms).
_LINGER: Final = 250


@dataclass(frozen=True, slots=True)
class Door:
    """How a closed bus is closed.

    Attributes:
        curve: The bus' own key.
        roster: Who may come in.
        on_refused: Told, on the event loop, of refusals.
        on_crash: Told, on the event loop, of a bug that ended the forwarder.
    """

    curve: CurveServer
    roster: Roster
    on_refused: Callable[[Refused], None]
    on_crash: Callable[[BaseException], None]


class Broker:
    """Binds both endpoints and forwards between them, from `start` until `stop`.

    Attributes:
        context: What a socket must come from to attach by `inproc`.
        inproc_publish: Where the process' own publisher connects.
        inproc_subscribe: Where the process' own subscriber connects.
        stuck: To be told of each large message that has passed; None where nobody is told of cuts.
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
        door: Door | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            publish: Endpoint for publishers; `tcp://127.0.0.1:*` takes any free port.
            subscribe: Endpoint for subscribers.
            max_message: Bytes; frames beyond 16 times that cut their sender.
            on_cut: Told, on the event loop, of each connection that was cut or turned away.
            door: Closes the bus: only listed keys come in, and say and hear what they may. Without, it is open.

        Raises:
            BusError: An endpoint cannot work.
        """
        self._publish, self._subscribe = parse_pair(publish, subscribe, closed=door is not None)
        self._max_message = max_message
        self._on_cut = on_cut
        self._door = door
        self._locks: list[SocketLock] = []
        self._thread: threading.Thread | None = None
        self._forwarder: Forwarder | None = None
        self._cuts: list[CutWatch] = []
        self._endless: EndlessWatch | None = None
        self.stuck: StuckWatch | None = None
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.publish_endpoint = self._publish.endpoint
        self.subscribe_endpoint = self._subscribe.endpoint

    async def start(self) -> None:
        """Bind and forward. After it, the two endpoint attributes hold the real ones.

        Raises:
            BusError: Somebody else hosts a bus there, or the endpoints cannot be bound. Nothing is left open.
        """
        senders = self.context.socket(zmq.XSUB)
        subscribers = self.context.socket(zmq.XPUB)
        # On a closed bus the process' own events come by a socket of their own: no key stands for them.
        own = senders if self._door is None else self.context.socket(zmq.XSUB)
        try:
            for address in (self._publish, self._subscribe):
                if address.path is not None:
                    lock = SocketLock(address.path)
                    lock.acquire()
                    self._locks.append(lock)
            self._set_up(own, senders, subscribers)
        except BaseException:
            self._unwatch()
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
            # A daemon, so that a crash of the main thread ends the process; `stop` joins it.
            self._thread = threading.Thread(
                target=_forward, args=(senders, subscribers), name="bus-broker", daemon=True
            )
            self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it forwards."""
        return self._thread is not None and self._thread.is_alive()

    async def stop(self) -> None:
        """End forwarding and free the endpoints; idempotent. Sockets made from `context` must be closed before."""
        self._unwatch()
        if self._forwarder is not None:
            self._forwarder.close()
        # Ends the proxy with ETERM, then waits until its sockets are closed.
        await asyncio.to_thread(self.context.term)
        for thread in (self._thread, self._forwarder):
            if thread is not None:
                thread.join()
        self._thread = self._forwarder = None
        self._release()

    def renew(self, roster: Roster) -> None:
        """Let in, and let speak, whom this list names, and nobody else, from now on; an open bus has no list."""
        if self._forwarder is not None:
            self._forwarder.renew(roster)

    def _set_up(self, own: zmq.Socket[bytes], senders: zmq.Socket[bytes], subscribers: zmq.Socket[bytes]) -> None:
        for socket in {own, senders, subscribers}:
            socket.set(zmq.LINGER, _LINGER)
            socket.set(zmq.IPV6, int(":" in self._publish.host + self._subscribe.host))
        # Each subscription is passed on, not only the first of its prefix: a last value can then be said again.
        subscribers.set(zmq.XPUB_VERBOSE, 1)
        # High-water marks and sizes hold for what is bound after they are set.
        own.set(zmq.RCVHWM, OWN_HWM)
        subscribers.set(zmq.SNDHWM, OWN_HWM)
        own.bind(_INPROC_PUBLISH)
        subscribers.bind(_INPROC_SUBSCRIBE)
        senders.set(zmq.RCVHWM, 1000)
        subscribers.set(zmq.SNDHWM, SUBSCRIBER_HWM)
        senders.set(zmq.MAXMSGSIZE, HARD_LIMIT * self._max_message)
        subscribers.set(zmq.MAXMSGSIZE, _MAX_SUBSCRIPTION)
        if self._door is not None:
            self._shut(self._door, own, senders, subscribers)
        if self._on_cut is not None:
            for socket in (senders, subscribers):
                self._cuts.append(CutWatch(self.context, self._on_cut, closed=self._door is not None))
                self._cuts[-1].start(socket)
            self.stuck = StuckWatch(self._cuts[-1].connections, self._on_cut)
            if self._forwarder is not None:
                largest = max(BOUND, 2 * HARD_LIMIT * self._max_message)
                self._endless = EndlessWatch(
                    self._cuts[0].accepted, self._forwarder.suspects, self._on_cut, bound=largest
                )
                self._endless.start()
        self.publish_endpoint = _bind(senders, self._publish)
        self.subscribe_endpoint = _bind(subscribers, self._subscribe)

    def _shut(
        self, door: Door, own: zmq.Socket[bytes], senders: zmq.Socket[bytes], subscribers: zmq.Socket[bytes]
    ) -> None:
        """Close both sockets to strangers, and put the forwarder between them."""
        loop = asyncio.get_running_loop()

        def tell(callback: Callable[[Any], None]) -> Callable[[Any], None]:
            def from_thread(news: object) -> None:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                    loop.call_soon_threadsafe(callback, news)

            return from_thread

        for socket in (senders, subscribers):
            secure_server(socket, door.curve)
        subscribers.set(zmq.XPUB_MANUAL, 1)
        self._forwarder = Forwarder(
            self.context,
            own=own,
            senders=senders,
            subscribers=subscribers,
            roster=door.roster,
            on_refused=tell(door.on_refused),
            on_crash=tell(door.on_crash),
        )

    def _unwatch(self) -> None:
        self.stuck = None
        if self._endless is not None:
            self._endless.stop()
        while self._cuts:
            self._cuts.pop().stop()

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
