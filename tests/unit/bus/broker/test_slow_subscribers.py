"""Which connections are taken for stuck."""

import socket
import sys
from collections.abc import Iterator

import pytest

from bridge.bus import Reason
from bridge.bus.broker import slow_subscribers
from bridge.bus.broker.slow_subscribers import BOUND, SlowSubscribers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel does not tell what is unsent")

MIB = 1 << 20


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection with something unsent, and its other side."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.send(b"x" * 4096)
        yield ours, theirs


def watch(connection: socket.socket, told: list[Reason]) -> SlowSubscribers:
    """A watch over one connection."""
    return SlowSubscribers(lambda: [connection], lambda reason, _: told.append(reason))


def pass_by(watching: SlowSubscribers, size: int) -> None:
    """Large messages of so many bytes in all."""
    for _ in range(size // MIB):
        watching.passed(MIB)


async def test_one_that_takes_nothing(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cut off once as much has passed as may wait for it, and told of once."""
    monkeypatch.setattr(slow_subscribers, "PATIENCE", 0.0)
    told: list[Reason] = []
    watching = watch(pair[0], told)
    pass_by(watching, BOUND)
    assert told == []
    pass_by(watching, BOUND // 8)
    assert told == [Reason.STUCK]
    assert pair[1].recv(8192) == b"x" * 4096
    assert pair[1].recv(1) == b""


async def test_one_that_takes_something(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Now and then is enough, however much passes."""
    monkeypatch.setattr(slow_subscribers, "PATIENCE", 0.0)
    told: list[Reason] = []
    watching = watch(pair[0], told)
    for number in range(1, 9):
        pass_by(watching, BOUND // 2)
        pair[1].recv(65_536)
        pair[0].send(b"x" * (10_000 * number))
    assert told == []


async def test_one_that_has_everything(pair: tuple[socket.socket, socket.socket]) -> None:
    """Where nothing is unsent nobody is stuck."""
    told: list[Reason] = []
    pair[1].recv(8192)
    pass_by(watch(pair[0], told), 3 * BOUND)
    assert told == []


async def test_a_moment_is_no_time(pair: tuple[socket.socket, socket.socket]) -> None:
    """However much passes in it, a busy machine gets time to take something."""
    told: list[Reason] = []
    watching = watch(pair[0], told)
    watching.passed(3 * BOUND)
    watching.passed(3 * BOUND)
    assert told == []
