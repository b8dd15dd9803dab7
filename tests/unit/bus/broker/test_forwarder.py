"""Which messages the forwarder of a closed bus forwards."""

import contextlib
from collections import deque
from typing import Any, cast

import msgpack
import zmq

from bridge.bus.broker.forwarder import Forwarder, Refusals
from bridge.bus.rejection import Reason
from bridge.core.curve_keys import Grant

_KEY = "k" * 40
_EVENT = {"id": 1, "event_type": "order.made", "payload": 1, "timestamp": 1, "source": "till", "correlation_id": None}


class Frame:
    """One frame of a sender, as libzmq gives it."""

    def __init__(self, content: bytes, *, more: bool) -> None:
        self.bytes = content
        self.more = more

    def get(self, _: object) -> str:
        """The key that it came with."""
        return _KEY


class Senders:
    """The socket of the senders; before each message something may happen elsewhere."""

    def __init__(self) -> None:
        self.waiting: deque[Any] = deque()

    def message(self, topic: bytes = b"order.made") -> None:
        """Let one more message wait."""
        self.waiting += Frame(topic, more=True), Frame(cast("bytes", msgpack.packb(_EVENT)), more=False)

    def recv(self, _flags: int, _copy: bool) -> Frame:
        """The next frame."""
        while self.waiting and callable(self.waiting[0]):
            self.waiting.popleft()()
        if not self.waiting:
            raise zmq.Again
        frame: Frame = self.waiting.popleft()
        return frame


class Subscribers:
    """The socket of the subscribers."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, frame: Frame, _flags: int, _copy: bool) -> None:
        """Note it."""
        self.sent.append(frame.bytes)


def test_a_key_that_is_taken_away_is_silent_from_the_next_message_on():
    """A key that is taken off the list publishes nothing from then on, also in the middle of a batch."""
    senders, subscribers, refused = Senders(), Subscribers(), cast("list[Refusals]", [])
    context: zmq.Context[Any] = zmq.Context()
    forwarder = Forwarder(
        context,
        own=cast("Any", None),
        senders=cast("Any", senders),
        subscribers=cast("Any", subscribers),
        access_list={_KEY: Grant("till", _KEY, publish=("**",))},
        on_refused=refused.append,
        on_crash=lambda _: None,
    )
    try:
        senders.message()
        senders.waiting.append(lambda: setattr(forwarder, "access_list", {}))
        senders.message()
        with contextlib.suppress(zmq.Again):
            forwarder._forward_messages()
        assert subscribers.sent[::2] == [b"order.made"]
        [(reason, _, about)] = forwarder._refused
        assert (reason, about) == (Reason.REFUSED, "its key is not listed any more")
    finally:
        forwarder.abandon()
        context.term()


def test_few_tries_of_a_refused_key_are_told():
    """Of a thousand tries of one key ten are reported, each key for itself, and all anew after a change of the list."""
    context: zmq.Context[Any] = zmq.Context()
    forwarder = Forwarder(
        context,
        own=cast("Any", None),
        senders=cast("Any", None),
        subscribers=cast("Any", None),
        access_list={_KEY: Grant("till", _KEY)},
        on_refused=lambda _: None,
        on_crash=lambda _: None,
    )
    try:
        assert sum(forwarder._is_told("former") for _ in range(1000)) == 10
        assert [forwarder._is_told(key) for key in ("other", None, None)] == [True, True, True]
        forwarder.renew({})
        forwarder._on_renewed()
        assert forwarder._is_told("former")
        assert forwarder._removed == {_KEY}
        forwarder.renew({_KEY: Grant("till", _KEY)})
        assert forwarder._removed == set()
    finally:
        forwarder.close()
        forwarder.abandon()
        context.term()
