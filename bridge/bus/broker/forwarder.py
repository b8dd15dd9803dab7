"""Forwards messages on a closed bus, in place of libzmq's proxy, and checks the rights of each key.

One thread does all of it: it answers ZAP, accepts the subscriptions that a key has the right to, and forwards the
messages that a key has the right to publish. It checks the first frame, the key that libzmq has attached to the
message, and the event's envelope: its type, which must be that of the first frame, and its source.
"""

import contextlib
import os
import socket as sockets
import threading
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

import zmq

from bridge.bus.broker.curve import ZAP_ENDPOINT, Refusal, answer_zap, refuse_zap
from bridge.bus.broker.envelope import Envelope, EnvelopeReader, is_bridge
from bridge.bus.rejection import Reason
from bridge.core.curve_keys import AccessList, Grant, fingerprint

# Messages that are read from one socket before the others have their turn.
_BATCH: Final = 512
# Event types that are remembered for each key. A sender that invents more types only slows itself down.
_KNOWN_TYPES: Final = 4096
# Refused subscriptions that are remembered, so that their end does not end another client's subscription.
_MAX_REFUSED: Final = 10_000
_NOBLOCK: Final = int(zmq.NOBLOCK)
_FIRST: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
_USER: Final = "User-Id"
_SUBSCRIBE: Final = 1
_SHOWN: Final = 100

Refusals = dict[tuple[Reason, str | None, str], int]
"""How many refusals there were, by reason, fingerprint of the key (None without one) and detail."""


class Forwarder:
    """Forwards from `start` until its context is terminated.

    Attributes:
        access_list: The keys that may connect, with their rights. `renew` replaces it.
        suspects: Descriptors of senders that may never finish a message; removed here when a message is complete.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        *,
        own: zmq.Socket[bytes],
        senders: zmq.Socket[bytes],
        subscribers: zmq.Socket[bytes],
        access_list: AccessList,
        on_refused: Callable[[Refusals], None],
        on_crash: Callable[[BaseException], None],
    ) -> None:
        """Take the sockets over and bind ZAP; call it before the other sockets are bound.

        Args:
            context: The context of all the sockets.
            own: An XSUB for the process itself, whose messages are forwarded without a check.
            senders: An XSUB with CURVE.
            subscribers: An XPUB with CURVE and `XPUB_MANUAL`; the process' own subscriber is connected to it, too.
            access_list: The keys that may connect, with their rights.
            on_refused: Called in the forwarder's thread with refusals, in a dict that then belongs to the callee.
            on_crash: Called in that thread with the exception that ended it, which is a bug.
        """
        self._context = context
        self._own, self._senders, self._subscribers = own, senders, subscribers
        self.access_list = access_list
        self._removed: AbstractSet[str] = frozenset()
        self._tries: dict[str, int] = {}
        self._on_refused = on_refused
        self._on_crash = on_crash
        self.suspects: set[int] = set()
        self._refused: Refusals = {}
        self._envelopes = EnvelopeReader()
        self._known: dict[str, dict[bytes, _Right]] = {}
        self._known_access_list: AccessList = access_list
        self._refused_subscriptions: dict[bytes, int] = {}
        self._connections: dict[int, tuple[int, str]] = {}
        self._zap = context.socket(zmq.REP)
        self._wake_receiver = context.socket(zmq.PULL)
        self._wake_sender = context.socket(zmq.PUSH)
        for socket in (self._zap, self._wake_receiver, self._wake_sender):
            socket.set(zmq.LINGER, 0)
        self._zap.bind(ZAP_ENDPOINT)
        wake = f"inproc://access-list-{id(self)}"
        self._wake_receiver.bind(wake)
        self._wake_sender.connect(wake)
        self._thread = threading.Thread(target=self._run, name="bus-forwarder", daemon=True)

    def start(self) -> None:
        """Begin to forward, in a thread."""
        self._thread.start()

    def renew(self, access_list: AccessList) -> None:
        """Replace the list of keys from the next message on, and close connections of keys that are not in it.

        May be called from any thread.
        """
        self._removed = (self._removed | self.access_list.keys()) - access_list.keys()
        self.access_list = access_list
        self._wake_sender.send(b"", _NOBLOCK)

    def close(self) -> None:
        """Close what `renew` needs; call it before the context is terminated."""
        self._wake_sender.close(0)

    def abandon(self) -> None:
        """Close all that the constructor opened, where the thread was never started."""
        for socket in (self._zap, self._wake_receiver, self._wake_sender):
            socket.close(0)

    def join(self) -> None:
        """Wait for the end of the thread, after the context was terminated."""
        self._thread.join()

    # --- in the thread

    def _run(self) -> None:
        try:
            self._forward()
        except zmq.ContextTerminated:
            pass
        except BaseException as error:  # noqa: BLE001 - the end of the thread; passed on, and raised on the loop
            self._on_crash(error)
        finally:
            for socket in (self._zap, self._wake_receiver, self._own, self._senders, self._subscribers):
                socket.close()

    def _forward(self) -> None:
        handlers: dict[zmq.Socket[bytes], Callable[[], None]] = {
            self._wake_receiver: self._on_renewed,
            self._zap: self._answer_zap,
            self._subscribers: self._take_subscriptions,
            self._own: self._forward_own,
            self._senders: self._forward_messages,
        }
        poller = zmq.Poller()
        for socket in handlers:
            poller.register(socket, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            for socket, handle in handlers.items():
                if socket in ready:
                    with contextlib.suppress(zmq.Again):  # all messages were read
                        handle()
            if self._refused:
                refused, self._refused = self._refused, {}
                self._on_refused(refused)

    def _refuse(self, reason: Reason, key: str | None, about: str) -> None:
        at = (reason, key, about)
        if at not in self._refused and len(self._refused) >= _BATCH:
            at = (reason, key, "much at once")
        self._refused[at] = self._refused.get(at, 0) + 1

    # --- connections

    def _answer_zap(self) -> None:
        while True:
            request = self._zap.recv_multipart(_NOBLOCK)
            try:
                reply, refusal = answer_zap(request, self.access_list, self._removed)
            except Exception:  # noqa: BLE001 - whatever is wrong with one request, the next is answered
                reply, refusal = refuse_zap(request), Refusal(None, "whether it may come in could not be found out")
            if refusal is not None and self._is_told(refusal.key):
                self._refuse(Reason.REFUSED, refusal.key, refusal.why)
            self._zap.send_multipart(reply)

    def _is_told(self, key: str | None) -> bool:
        """Return whether to report that a key was refused: at the 1st, 2nd, 4th, 8th, … time.

        A client whose key was removed tries again and again, for ever.
        """
        if key is None:
            return True
        if len(self._tries) >= _MAX_REFUSED:
            self._tries.clear()
        tries = self._tries[key] = self._tries.get(key, 0) + 1
        return tries & (tries - 1) == 0

    def _on_renewed(self) -> None:
        self._wake_receiver.recv(_NOBLOCK)
        self._tries.clear()
        access_list = self.access_list
        for descriptor, (inode, key) in list(self._connections.items()):
            if key not in access_list:
                del self._connections[descriptor]
                _disconnect(descriptor, inode)

    # --- subscriptions

    def _take_subscriptions(self) -> None:
        for _ in range(_BATCH):
            frame = self._subscribers.recv(_NOBLOCK, copy=False)
            self._subscription(frame)

    def _subscription(self, frame: "zmq.Frame") -> None:
        content = frame.bytes
        if not content or content[0] > _SUBSCRIBE:
            return  # a subscriber may send anything, and XPUB passes it on
        prefix = content[1:]
        key = _user(frame)
        grant = self.access_list.get(key) if key is not None else None
        own = key is None and _descriptor(frame) < 0
        granted = (prefix,) if own else _granted(grant, prefix)
        if content[0] != _SUBSCRIBE:
            self._unsubscription(content, granted, key is None)
            return
        if granted is not None:
            if key is not None:
                self._remember(frame, key)
            for one in granted:
                self._subscribers.set(zmq.SUBSCRIBE, one)
            self._own.send(content, _NOBLOCK)
            self._senders.send(content, _NOBLOCK)
            return
        self._refused_subscriptions[prefix] = self._refused_subscriptions.get(prefix, 0) + 1
        if len(self._refused_subscriptions) > _MAX_REFUSED:
            del self._refused_subscriptions[next(iter(self._refused_subscriptions))]
        self._refuse(Reason.REFUSED, key and fingerprint(key), f"{_name(grant)} may not subscribe to {_shown(prefix)}")

    def _unsubscription(self, content: bytes, granted: tuple[bytes, ...] | None, nameless: bool) -> None:
        """End one subscription, here and at the senders.

        Args:
            content: The frame that ends it.
            granted: What the key gets for this subscription; None where it has no right to it.
            nameless: Whether there is no key: so where a connection ended. Then the end of a subscription that was
                refused must not end another client's.
        """
        prefix = content[1:]
        refused = self._refused_subscriptions.get(prefix, 0)
        if refused and (nameless or granted is None):
            if refused == 1:
                del self._refused_subscriptions[prefix]
            else:
                self._refused_subscriptions[prefix] = refused - 1
            return
        for one in (prefix,) if granted is None else granted:
            self._subscribers.set(zmq.UNSUBSCRIBE, one)
        self._own.send(content, _NOBLOCK)
        self._senders.send(content, _NOBLOCK)

    def _remember(self, frame: "zmq.Frame", key: str) -> None:
        """Remember the connection of a subscriber, so that it can be closed when its key is removed from the list."""
        descriptor = int(frame.get(zmq.SRCFD))
        try:
            self._connections[descriptor] = (os.fstat(descriptor).st_ino, key)
        except OSError:
            self._connections.pop(descriptor, None)

    # --- messages

    def _forward_own(self) -> None:
        recv, send = self._own.recv, self._subscribers.send
        for _ in range(_BATCH):
            frame = recv(_NOBLOCK, False)
            while frame.more:
                send(frame, _FIRST, False)
                frame = recv(_NOBLOCK, False)
            send(frame, _NOBLOCK, False)

    def _forward_messages(self) -> None:
        recv, send = self._senders.recv, self._subscribers.send
        read, suspects = self._envelopes.read, self.suspects
        for _ in range(_BATCH):
            first = recv(_NOBLOCK, False)
            if suspects:
                suspects.discard(_descriptor(first))  # libzmq passes a message on when it is complete
            if not first.more:
                self._refuse_frames(first)
                continue
            second = recv(_NOBLOCK, False)
            if second.more:
                self._refuse_frames(second)
                continue
            # Compared for each message: the list may have been replaced since this batch began.
            if self._known_access_list is not self.access_list:
                self._known_access_list, self._known = self.access_list, {}
            user, topic = str(first.get(_USER)), first.bytes
            right = self._known.get(user, _NOTHING).get(topic)
            if right is None:
                right = self._look_up(user, topic)
            if right.name is None:
                self._refuse_type(user, topic)
                continue
            envelope = read(second.bytes)
            if (
                envelope is None
                or envelope.event_type != right.name
                or (is_bridge(envelope.source) and not right.bridge)
            ):
                self._refuse_envelope(user, topic, envelope)
            else:
                send(first, _FIRST, False)
                send(second, _NOBLOCK, False)

    def _refuse_frames(self, frame: "zmq.Frame") -> None:
        """Drop the rest of a message that does not have two frames, and report it."""
        key = _user(frame)
        while frame.more:
            frame = self._senders.recv(_NOBLOCK, copy=False)
        self._refuse(Reason.FRAMES, key and fingerprint(key), "a message that has not two frames")

    def _look_up(self, user: str, topic: bytes) -> "_Right":
        grant = self._known_access_list.get(user)
        right = _NONE
        with contextlib.suppress(UnicodeDecodeError):
            name = topic.decode()
            if grant is not None and grant.may_publish(name):
                right = _Right(name, grant.bridge)
        types = self._known.setdefault(user, {})
        if len(types) >= _KNOWN_TYPES:
            types.clear()
        types[topic] = right
        return right

    def _refuse_envelope(self, user: str, topic: bytes, envelope: Envelope | None) -> None:
        key = fingerprint(user)
        if envelope is None:
            self._refuse(Reason.NOT_AN_EVENT, key, f"the body of {_shown(topic)} is no event in MessagePack")
        elif is_bridge(envelope.source):
            self._refuse(Reason.REFUSED, key, f"{_name(self._known_access_list.get(user))} may not speak as a bridge")
        else:
            self._refuse(Reason.TYPE_MISMATCH, key, "`event_type` differs from the first frame")

    def _refuse_type(self, user: str, topic: bytes) -> None:
        grant = self._known_access_list.get(user)
        if grant is None:
            self._refuse(Reason.REFUSED, fingerprint(user), "its key is not listed any more")
        else:
            self._refuse(Reason.REFUSED, fingerprint(user), f"{_name(grant)} may not publish {_shown(topic)}")


class _Right(NamedTuple):
    """A key's right to publish one event type.

    Attributes:
        name: The event type; None where the key may not publish it.
        bridge: Whether it is a bridge's key.
    """

    name: str | None
    bridge: bool


_NONE: Final = _Right(None, False)
_NOTHING: Final[dict[bytes, _Right]] = {}


def _user(frame: "zmq.Frame") -> str | None:
    """Return the key that libzmq attached; None on what comes from this process, and at the end of a connection."""
    try:
        return str(frame.get(_USER))
    except zmq.ZMQError:
        return None


def _descriptor(frame: "zmq.Frame") -> int:
    """Return the descriptor of the connection by which a frame came; -1 for one of this process."""
    try:
        return int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:
        return -1


def _granted(grant: Grant | None, prefix: bytes) -> tuple[bytes, ...] | None:
    """Return the prefixes that a key gets for one that it subscribes to; None where it has no right to it.

    Who observes the bus subscribes to each single byte (`bus/listeners.py`), and gets what it may read of that.
    """
    if grant is None:
        return None
    if grant.may_subscribe(prefix.decode("utf-8", "surrogateescape")):  # a prefix may end within a character
        return (prefix,)
    return grant.readable(prefix) if len(prefix) == 1 and grant.subscribe else None


def _name(grant: Grant | None) -> str:
    return "a key that is not listed any more" if grant is None else grant.name


def _shown(topic: bytes) -> str:
    return repr(topic.decode("utf-8", "replace")[:_SHOWN])


def _disconnect(descriptor: int, inode: int) -> None:
    """End a connection, if the descriptor still is the one that it was."""
    try:
        duplicate = os.dup(descriptor)
        if os.fstat(duplicate).st_ino != inode:
            os.close(duplicate)
            return
        with sockets.socket(fileno=duplicate) as connection:
            connection.shutdown(sockets.SHUT_RDWR)
    except OSError:
        return
