"""The order and the bounds of the backlog."""

import zmq

from bridge.bus.backlog import MOST, OVERHEAD, Backlog
from bridge.bus.broker.slow_subscribers import BOUND, LARGE


def put(backlog: Backlog, body: bytes, name: bytes = b"a") -> bool:
    """Put a message in as it comes from a socket."""
    return backlog.put(zmq.Frame(name), zmq.Frame(body))


def test_in_order() -> None:
    """Large and small messages come out in the order in which they went in; then the size is zero."""
    backlog = Backlog()
    bodies = [b"1", b"2" * (LARGE + 1), b"3", b"4" * (2 * LARGE)]
    assert all(put(backlog, body, b"t" + body[:1]) for body in bodies)
    assert len(backlog) == 4
    assert backlog.size == sum(map(len, bodies)) + 4 * OVERHEAD
    assert [backlog.take() for _ in bodies] == [(b"t" + body[:1], body) for body in bodies]
    assert (len(backlog), backlog.size) == (0, 0)


def test_large_ones_leave_room_for_small_ones() -> None:
    """At the bound of large messages there is room for small ones; when one is taken out, there is room for one."""
    backlog, large, small = Backlog(), bytes(BOUND // 8), bytes(LARGE)
    assert sum(put(backlog, large) for _ in range(10)) == 7
    assert sum(put(backlog, small) for _ in range(MOST // LARGE)) > 4000
    assert MOST - LARGE - OVERHEAD < backlog.size <= MOST
    assert not put(backlog, small)
    assert not put(backlog, large)
    backlog.take()
    assert put(backlog, small)
    backlog.clear()
    assert put(backlog, large)
    assert backlog.size == len(large) + OVERHEAD
