"""When what was sent has left for those who listen."""

from collections.abc import Callable

import pytest

from bridge.bus import confirmations as module
from bridge.bus.confirmations import Confirmations
from tests.support.clock import FakeClock

#: Seconds that confirm what has come back.
_MOMENT = 0.011


class Following:
    """Confirmations, a connection that is there or not, and what was confirmed."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.connected = True
        self.confirmed: list[str] = []
        # Whether ZeroMQ's thread has its turn at once; what it is asked while it has not.
        self.writes = True
        self.to_write: list[Callable[[], None]] = []
        self.confirmations = Confirmations(
            self.clock, can_return=lambda: self.connected, when_written=self._when_written
        )

    def _when_written(self, then: Callable[[], None]) -> None:
        if self.writes:
            then()
        else:
            self.to_write.append(then)

    def sent(self, *bodies: bytes, frame: bytes = b"a") -> None:
        for body in bodies:
            self.confirmations.sent(frame, body)

    def came(self, *bodies: bytes, frame: bytes = b"a") -> None:
        for body in bodies:
            self.confirmations.came(frame, body)

    def ask(self, name: str) -> None:
        self.confirmations.when_confirmed(lambda: self.confirmed.append(name))


@pytest.fixture
def it() -> Following:
    """Nothing was sent yet."""
    return Following()


async def test_after_it_has_come_back_and_a_moment(it: Following) -> None:
    """It is not confirmed by the time alone, nor at once when it comes back."""
    it.sent(b"1")
    it.ask("1")
    await it.clock.advance(1)
    assert it.confirmed == []
    it.came(b"1")
    await it.clock.advance(0.001)
    assert it.confirmed == []
    await it.clock.advance(_MOMENT)
    assert it.confirmed == ["1"]


async def test_in_order_and_each_for_what_was_sent_before(it: Following) -> None:
    """Who asked after the first message needs not wait for the second; the second has not come back."""
    it.sent(b"1")
    it.ask("1")
    it.sent(b"2")
    it.ask("2")
    it.came(b"other", b"1")
    await it.clock.advance(_MOMENT)
    assert it.confirmed == ["1"]
    it.came(b"2")
    await it.clock.advance(_MOMENT)
    assert it.confirmed == ["1", "2"]


async def test_nothing_was_sent(it: Following) -> None:
    """Then there is only the moment: what was sent last may have come back just now."""
    it.ask("none")
    assert it.confirmed == []
    await it.clock.advance(_MOMENT)
    assert it.confirmed == ["none"]


async def test_many_are_confirmed_together(it: Following) -> None:
    """A thousand in a tenth of a second need few timers, and none waits for more than two moments."""
    fired, set_ = [], it.clock.call_later

    def call_later(seconds, callback):
        return set_(seconds, lambda: (fired.append(it.clock.monotonic()), callback()))

    it.clock.call_later = call_later
    for number in range(100):
        for part in range(10):
            body = b"%d.%d" % (number, part)
            it.sent(body)
            it.ask("x")
            it.came(body)
        await it.clock.advance(0.001)
        assert len(it.confirmed) >= 10 * (number - 10), "one waits too long"
    await it.clock.advance(_MOMENT)
    assert len(it.confirmed) == 1000
    assert len(fired) <= 60


async def test_a_small_window_does_not_wait_long(it: Following) -> None:
    """A remote that sends twenty unacknowledged messages waits some five milliseconds for their acknowledgements."""
    for number in range(20):
        it.sent(b"%d" % number)
        it.ask("x")
        it.came(b"%d" % number)
    await it.clock.advance(0.0021)
    assert len(it.confirmed) == 20


async def test_a_busy_machine_gets_more_time(it: Following) -> None:
    """Where a message took eight milliseconds to come back, ZeroMQ's other thread may be as late."""
    for number in range(20):
        it.sent(b"%d" % number)
        it.ask("x")
    await it.clock.advance(0.008)
    it.came(*(b"%d" % number for number in range(20)))
    await it.clock.advance(0.006)
    assert it.confirmed == []
    await it.clock.advance(0.005)
    assert len(it.confirmed) == 20


async def test_after_it_was_written(it: Following) -> None:
    """However long ZeroMQ's thread has not had its turn, nothing is confirmed; then all that it was asked for is."""
    it.writes = False
    it.sent(b"1")
    it.ask("1")
    it.came(b"1")
    await it.clock.advance(1)
    it.sent(b"2")
    it.ask("2")
    it.came(b"2")
    assert it.confirmed == []
    assert len(it.to_write) == 1
    await it.clock.advance(1)
    for then in it.to_write:
        then()
    assert it.confirmed == ["1", "2"]


async def test_one_that_never_comes_back(it: Following) -> None:
    """It is confirmed after two seconds, and its type is waited for no more until one of them comes."""
    it.sent(b"1", frame=b"quiet")
    it.ask("1")
    await it.clock.advance(1.9)
    assert it.confirmed == []
    await it.clock.advance(0.2)
    assert it.confirmed == ["1"]
    it.sent(b"2", frame=b"quiet")
    it.ask("2")
    await it.clock.advance(_MOMENT)
    assert it.confirmed == ["1", "2"]
    it.came(b"3", frame=b"quiet")
    it.sent(b"4", frame=b"quiet")
    it.ask("4")
    await it.clock.advance(1)
    assert it.confirmed == ["1", "2"]


async def test_a_later_one_has_come_back(it: Following) -> None:
    """A broker keeps the order: what was sent before comes no more."""
    it.sent(b"1", frame=b"quiet")
    it.sent(b"2")
    it.ask("both")
    it.came(b"2")
    await it.clock.advance(_MOMENT)
    assert it.confirmed == ["both"]


async def test_a_broker_that_is_gone(it: Following) -> None:
    """Nothing is confirmed meanwhile, however long; what has not come back is told, to be sent again."""
    it.sent(b"1", b"2")
    it.ask("2")
    it.came(b"1")
    it.connected = False
    await it.clock.advance(100)
    assert it.confirmed == []
    assert it.confirmations.lost() == [(b"a", b"2")]
    it.connected = True
    await it.clock.advance(1)
    assert it.confirmed == []
    it.came(b"2")
    await it.clock.advance(_MOMENT)
    assert it.confirmed == ["2"]


async def test_silent_types_are_bounded(it: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    """When too many types have never come back, the memory of them starts anew: the first are waited for again."""
    monkeypatch.setattr(module, "_MOST_SILENT", 10)
    for number in range(11):
        it.sent(b"%d" % number, frame=b"t%d" % number)
    await it.clock.advance(5)
    it.sent(b"again", frame=b"t0")
    it.ask("t0")
    it.sent(b"again", frame=b"t10")
    await it.clock.advance(1)
    assert it.confirmed == []


async def test_closed(it: Following) -> None:
    """Nothing is confirmed any more, and no timer is left."""
    it.sent(b"1")
    it.ask("1")
    it.came(b"1")
    it.ask("2")
    it.confirmations.close()
    assert it.clock.timers == 0
    await it.clock.advance(5)
    assert it.confirmed == []
