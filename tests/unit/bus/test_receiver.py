"""Messages are read from the pipe and through the backlog, in one order."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Self

import pytest
import zmq

from bridge.bus import receiver as module
from bridge.bus.receiver import LIGHT, Receiver
from bridge.bus.rejection import Reason
from tests.support.clock import FakeClock
from tests.support.wait import until

_LIMIT = 100_000


class Reading:
    """A receiver, and a socket that sends to it."""

    def __init__(self, handle: Callable[[], bool] = lambda: True) -> None:
        self._handle = handle
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.pub = self.context.socket(zmq.PUB)
        self.pub.sndhwm = 0
        self.pub.bind("inproc://bus")
        self.got: list[bytes] = []
        self.bad: list[Reason] = []
        self.large: list[int] = []
        self.close_at = b""
        self.receiver = Receiver(
            self.context,
            FakeClock(),
            "inproc://bus",
            subscriptions=[""],
            max_message=_LIMIT,
            on_message=self._on_message,
            on_bad=lambda reason, _: self.bad.append(reason),
            on_large=self.large.append,
        )
        self.receiver.open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.receiver.close()
        self.context.destroy(0)

    def _on_message(self, frame: bytes, body: bytes) -> bool:
        assert frame == b"x"
        self.got.append(body)
        if body == self.close_at:
            self.receiver.close()
        return self._handle()

    def send(self, *bodies: bytes) -> None:
        """Valid messages."""
        for body in bodies:
            self.pub.send_multipart([b"x", body])


def _bodies(count: int) -> list[bytes]:
    """Light messages, and every seventh a heavy one, each of which begins with its number."""
    return [b"%06d" % number + bytes(0 if number % 7 else 3 * LIGHT) for number in range(count)]


async def test_light_and_heavy_ones_in_order() -> None:
    """Thousands of both arrive in order; what is no valid message between them is reported."""
    with Reading() as reading:
        bodies = _bodies(5000)
        reading.send(*bodies[:3000])
        reading.pub.send(b"x")
        reading.pub.send_multipart([b"x", bytes(2 * LIGHT), b"", b"y"])
        reading.send(bytes(_LIMIT + 1))
        reading.send(*bodies[3000:])
        await until(lambda: len(reading.got) == len(bodies))
        assert reading.got == bodies
        assert reading.bad == [Reason.FRAMES, Reason.FRAMES, Reason.SIZE]
        assert reading.large == [_LIMIT + 1]


async def test_nothing_is_handled_after_the_end() -> None:
    """A receiver that is closed while it handles a message, light or heavy, passes on nothing more."""
    with Reading() as reading:
        bodies = _bodies(100)
        reading.close_at = bodies[50]
        reading.send(*bodies)
        await until(lambda: len(reading.got) == 51)
        reading.receiver.open()
        reading.send(b"new")
        await until(lambda: reading.got[-1] == b"new")
        assert reading.got == [*bodies[:51], b"new"]


async def test_what_comes_on_top_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large messages beyond the bound are dropped one by one; those in the backlog are handled."""
    with Reading() as reading:
        monkeypatch.setattr("bridge.bus.backlog.BOUND", 500_000)
        bodies = [b"%06d" % number + bytes(90_000) for number in range(20)]
        reading.send(*bodies)
        await until(lambda: len(reading.got) + len(reading.bad) == len(bodies))
        assert set(reading.bad) == {Reason.OVERFLOW}
        assert reading.got[:5] == bodies[:5]
        assert reading.got == sorted(reading.got)
        assert len(reading.large) == len(bodies)


async def test_none_is_lost_where_they_are_read_in_intervals() -> None:
    """Messages that come often, each by itself, are read together, in order; what follows a pause is read, too."""
    with Reading() as reading:
        bodies = [b"%06d" % number for number in range(300)]
        for body in bodies:
            reading.send(body)
            await asyncio.sleep(0.0005)
        await until(lambda: len(reading.got) == 300)
        await asyncio.sleep(0.05)
        reading.send(b"last")
        await until(lambda: len(reading.got) == 301)
        assert reading.got == [*bodies, b"last"]


async def test_closed_and_opened_again_between_two_intervals() -> None:
    """A receiver that was reading in intervals reads nothing after its end, and reads on once it is open again."""
    with Reading() as reading:
        for number in range(100):
            reading.send(b"%06d" % number)
            await asyncio.sleep(0.0005)
        reading.receiver.close()
        count = len(reading.got)
        reading.send(b"lost")
        await asyncio.sleep(0.02)
        assert len(reading.got) == count
        reading.receiver.open()
        reading.send(b"new")
        await until(lambda: reading.got[-1] == b"new")


@pytest.mark.parametrize(("handles", "others", "turns"), [(True, 0.02, 20), (False, 0.0, 25), (False, 0.02, 6)])
async def test_how_much_is_read_in_a_turn(
    monkeypatch: pytest.MonkeyPatch, handles: bool, others: float, turns: int
) -> None:
    """Of 256 messages something comes in each turn of the loop. Those of which nothing comes are read for 2 ms.

    They are read for longer where others have long turns, as in a flood from a remote: what that puts on the bus comes
    back to us, and would wait in this process without a bound.
    """
    now = 0.0

    def on_message() -> bool:
        nonlocal now
        now += 0.00001 if not handles else 0.0
        return handles

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    with Reading(on_message) as reading:
        reading.send(*(b"%06d" % number for number in range(5000)))
        used = 0
        while len(reading.got) < 5000:
            await asyncio.sleep(0)
            now += others
            used += 1
            assert used <= turns
        assert used == turns
