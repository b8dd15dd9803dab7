"""The forwarder of a closed bus: in place of the C proxy, it knows each sender's key and what that may do.

One thread of its own does all: it answers ZAP, takes subscriptions from those who may have them, and passes on what may
be said. It looks at the first frame, at the key that libzmq has put on the message, and at what the event says of
itself: its type, which must be the first frame's, and its source.
"""

import contextlib
import os
import socket as sockets
import threading
from collections.abc import Callable
from typing import Final, NamedTuple

import zmq

from bridge.bus.broker.curve import ZAP_ENDPOINT, Turned, answer_zap, refuse_zap
from bridge.bus.broker.envelope import Claim, Claims, of_bridge
from bridge.bus.rejection import Reason
from bridge.core.curve_keys import Grant, Roster, fingerprint

# Messages taken from one socket before the others have their turn.
_BATCH: Final = 512
# How many event types are remembered for each key; a sender that invents names only costs itself the check.
_KNOWN_TYPES: Final = 4096
# Refused subscriptions that are remembered, so that their end is not taken for that of somebody else's.
_MOST_REFUSED: Final = 10_000
_NOBLOCK: Final = int(zmq.NOBLOCK)
_FIRST: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
_USER: Final = "User-Id"
_SUBSCRIBE: Final = 1
_SHOWN: Final = 100

Refused = dict[tuple[Reason, str | None, str], int]
"""How often somebody was refused, by reason, fingerprint of the key (None without one) and what it was about."""


class Forwarder:
    """Forwards from `start` until its context is terminated.

    Attributes:
        roster: Who may come in. May be replaced from any thread; `renew` makes it felt at once.
        suspects: Descriptors of senders that may never finish a message; one that does is taken out.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        *,
        own: zmq.Socket[bytes],
        senders: zmq.Socket[bytes],
        subscribers: zmq.Socket[bytes],
        roster: Roster,
        on_refused: Callable[[Refused], None],
        on_crash: Callable[[BaseException], None],
    ) -> None:
        """Takes the sockets over; binds ZAP, so before the others are bound.

        Args:
            context: Of all the sockets.
            own: XSUB of the process itself: what comes from there is passed on unseen.
            senders: XSUB with CURVE.
            subscribers: XPUB with CURVE and `XPUB_MANUAL`; the process' own subscriber is at it, too.
            roster: Who may come in.
            on_refused: Told of refusals, from the forwarder's thread, in a dict that is then the callee's.
            on_crash: Told, from that thread, of what ended it; that is a bug.
        """
        self._context = context
        self._own, self._senders, self._subscribers = own, senders, subscribers
        self.roster = roster
        self._on_refused = on_refused
        self._on_crash = on_crash
        self.suspects: set[int] = set()
        self._refused: Refused = {}
        self._claims = Claims()
        self._known: dict[str, dict[bytes, _Right]] = {}
        self._known_roster: Roster = roster
        self._unheard: dict[bytes, int] = {}
        self._connections: dict[int, tuple[int, str]] = {}
        self._zap = context.socket(zmq.REP)
        self._bell = context.socket(zmq.PULL)
        self._ring = context.socket(zmq.PUSH)
        for socket in (self._zap, self._bell, self._ring):
            socket.set(zmq.LINGER, 0)
        self._zap.bind(ZAP_ENDPOINT)
        bell = f"inproc://roster-{id(self)}"
        self._bell.bind(bell)
        self._ring.connect(bell)
        self._thread = threading.Thread(target=self._run, name="bus-forwarder", daemon=True)

    def start(self) -> None:
        """Begin to forward."""
        self._thread.start()

    def renew(self, roster: Roster) -> None:
        """Let in, and let speak, whom this list names, from the next message on; connections of others are cut."""
        self.roster = roster
        self._ring.send(b"", _NOBLOCK)

    def close(self) -> None:
        """Let go of what `renew` needs; before the context is terminated."""
        self._ring.close(0)

    def abandon(self) -> None:
        """Close everything that it opened, where it was never started."""
        for socket in (self._zap, self._bell, self._ring):
            socket.close(0)

    def join(self) -> None:
        """Wait for the end, after the context was terminated."""
        self._thread.join()

    # --- in the thread

    def _run(self) -> None:
        try:
            self._forward()
        except zmq.ContextTerminated:
            pass
        except BaseException as error:  # noqa: BLE001 - the edge of a thread; handed over, and raised on the loop
            self._on_crash(error)
        finally:
            for socket in (self._zap, self._bell, self._own, self._senders, self._subscribers):
                socket.close()

    def _forward(self) -> None:
        handlers: dict[zmq.Socket[bytes], Callable[[], None]] = {
            self._bell: self._renewed,
            self._zap: self._let_in,
            self._subscribers: self._take_subscriptions,
            self._own: self._pass_own,
            self._senders: self._pass_on,
        }
        poller = zmq.Poller()
        for socket in handlers:
            poller.register(socket, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            for socket, handle in handlers.items():
                if socket in ready:
                    with contextlib.suppress(zmq.Again):  # it has read all that there was
                        handle()
            if self._refused:
                refused, self._refused = self._refused, {}
                self._on_refused(refused)

    def _refuse(self, reason: Reason, key: str | None, about: str) -> None:
        at = (reason, key, about)
        if at not in self._refused and len(self._refused) >= _BATCH:
            at = (reason, key, "much at once")
        self._refused[at] = self._refused.get(at, 0) + 1

    # --- who comes in

    def _let_in(self) -> None:
        while True:
            request = self._zap.recv_multipart(_NOBLOCK)
            try:
                reply, turned = answer_zap(request, self.roster)
            except Exception:  # noqa: BLE001 - whatever is wrong with one question, the next is answered
                reply, turned = refuse_zap(request), Turned(None, "whether it may come in could not be found out")
            if turned is not None:
                self._refuse(Reason.REFUSED, turned.key, turned.why)
            self._zap.send_multipart(reply)

    def _renewed(self) -> None:
        self._bell.recv(_NOBLOCK)
        roster = self.roster
        for descriptor, (inode, key) in list(self._connections.items()):
            if key not in roster:
                del self._connections[descriptor]
                _cut(descriptor, inode)

    # --- who hears what

    def _take_subscriptions(self) -> None:
        for _ in range(_BATCH):
            frame = self._subscribers.recv(_NOBLOCK, copy=False)
            self._subscription(frame)

    def _subscription(self, frame: "zmq.Frame") -> None:
        content = frame.bytes
        if not content or content[0] > _SUBSCRIBE:
            return  # XPUB passes on whatever a subscriber sends
        prefix = content[1:]
        key = _user(frame)
        grant = self.roster.get(key) if key is not None else None
        mine = key is None and _descriptor(frame) < 0
        if content[0] != _SUBSCRIBE:
            self._unsubscription(content, mine or (grant is not None and _may_hear(grant, prefix)), key is None)
            return
        if mine or (grant is not None and _may_hear(grant, prefix)):
            if key is not None:
                self._remember(frame, key)
            self._subscribers.set(zmq.SUBSCRIBE, prefix)
            self._own.send(content, _NOBLOCK)
            self._senders.send(content, _NOBLOCK)
            return
        self._unheard[prefix] = self._unheard.get(prefix, 0) + 1
        if len(self._unheard) > _MOST_REFUSED:
            del self._unheard[next(iter(self._unheard))]
        self._refuse(Reason.REFUSED, key and fingerprint(key), f"{_name(grant)} may not subscribe to {_shown(prefix)}")

    def _unsubscription(self, content: bytes, may: bool, nameless: bool) -> None:
        """The end of one subscription, and so of one upstream.

        Where a connection ended, libzmq names nobody; the end of what was refused must not end what another has.
        """
        prefix = content[1:]
        refused = self._unheard.get(prefix, 0)
        if refused and (nameless or not may):
            if refused == 1:
                del self._unheard[prefix]
            else:
                self._unheard[prefix] = refused - 1
            return
        self._subscribers.set(zmq.UNSUBSCRIBE, prefix)
        self._own.send(content, _NOBLOCK)
        self._senders.send(content, _NOBLOCK)

    def _remember(self, frame: "zmq.Frame", key: str) -> None:
        """Note which connection a key's holder hears by, so that it can be cut when the key is taken away."""
        descriptor = int(frame.get(zmq.SRCFD))
        try:
            self._connections[descriptor] = (os.fstat(descriptor).st_ino, key)
        except OSError:
            self._connections.pop(descriptor, None)

    # --- who says what

    def _pass_own(self) -> None:
        recv, send = self._own.recv, self._subscribers.send
        for _ in range(_BATCH):
            frame = recv(_NOBLOCK, False)
            while frame.more:
                send(frame, _FIRST, False)
                frame = recv(_NOBLOCK, False)
            send(frame, _NOBLOCK, False)

    def _pass_on(self) -> None:
        recv, send = self._senders.recv, self._subscribers.send
        read, suspects = self._claims.read, self.suspects
        for _ in range(_BATCH):
            first = recv(_NOBLOCK, False)
            if suspects:
                suspects.discard(_descriptor(first))  # libzmq shows a message when all of it is there
            if not first.more:
                self._misshapen(first)
                continue
            second = recv(_NOBLOCK, False)
            if second.more:
                self._misshapen(second)
                continue
            if self._known_roster is not self.roster:  # asked once it is here: the list may be newer than this batch
                self._known_roster, self._known = self.roster, {}
            user, topic = str(first.get(_USER)), first.bytes
            right = self._known.get(user, _NOTHING).get(topic)
            if right is None:
                right = self._learn(user, topic)
            if right.name is None:
                self._forbidden(user, topic)
                continue
            claim = read(second.bytes)
            if claim is None or claim.event_type != right.name or (of_bridge(claim.source) and not right.bridge):
                self._unbelieved(user, topic, claim)
            else:
                send(first, _FIRST, False)
                send(second, _NOBLOCK, False)

    def _misshapen(self, frame: "zmq.Frame") -> None:
        """Drop the rest of a message that has another number of frames than two."""
        key = _user(frame)
        while frame.more:
            frame = self._senders.recv(_NOBLOCK, copy=False)
        self._refuse(Reason.FRAMES, key and fingerprint(key), "a message that has not two frames")

    def _learn(self, user: str, topic: bytes) -> "_Right":
        grant = self._known_roster.get(user)
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

    def _unbelieved(self, user: str, topic: bytes, claim: Claim | None) -> None:
        key = fingerprint(user)
        if claim is None:
            self._refuse(Reason.NOT_AN_EVENT, key, f"the body of {_shown(topic)} is no event in MessagePack")
        elif of_bridge(claim.source):
            self._refuse(Reason.REFUSED, key, f"{_name(self._known_roster.get(user))} may not speak as a bridge")
        else:
            self._refuse(Reason.TYPE_MISMATCH, key, "`event_type` differs from the first frame")

    def _forbidden(self, user: str, topic: bytes) -> None:
        grant = self._known_roster.get(user)
        if grant is None:
            self._refuse(Reason.REFUSED, fingerprint(user), "its key is not listed any more")
        else:
            self._refuse(Reason.REFUSED, fingerprint(user), f"{_name(grant)} may not publish {_shown(topic)}")


class _Right(NamedTuple):
    """What a key may do with one event type: the type where it may say it, and whether it speaks as a bridge."""

    name: str | None
    bridge: bool


_NONE: Final = _Right(None, False)
_NOTHING: Final[dict[bytes, _Right]] = {}


def _user(frame: "zmq.Frame") -> str | None:
    """The key that libzmq put on it; None on what comes from this process, and on the end of a connection."""
    try:
        return str(frame.get(_USER))
    except zmq.ZMQError:
        return None


def _descriptor(frame: "zmq.Frame") -> int:
    """That of the connection by which it came; -1 for what is of this process."""
    try:
        return int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:
        return -1


def _may_hear(grant: Grant, prefix: bytes) -> bool:
    try:
        return grant.may_subscribe(prefix.decode())
    except UnicodeDecodeError:
        return False


def _name(grant: Grant | None) -> str:
    return "a key that is not listed any more" if grant is None else grant.name


def _shown(topic: bytes) -> str:
    return repr(topic.decode("utf-8", "replace")[:_SHOWN])


def _cut(descriptor: int, inode: int) -> None:
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
