"""When a source of messages is read at once, and when in intervals."""

from bridge.core.wakeups import INTERVAL, Wakeups


class Source:
    """Readings of a source, one after the other."""

    def __init__(self) -> None:
        self.wakeups = Wakeups()
        self.now = 100.0

    def read(self, *counts: int, every: float) -> bool:
        """Read so many messages each time, so many seconds apart; return whether to go on in intervals."""
        in_intervals = False
        for count in counts:
            self.now += every
            in_intervals = self.wakeups.read(count, self.now)
        return in_intervals


def test_messages_that_come_often_are_read_together() -> None:
    """A thousand messages a second, one by one, are read in intervals; as long as an interval has some."""
    source = Source()
    assert not source.read(*[1] * 10, every=0.001)
    assert source.read(*[1] * 10, every=0.001)
    assert source.read(*[4] * 100, every=INTERVAL)
    assert not source.read(*[1] * 10, every=INTERVAL)


def test_messages_that_come_seldom_are_read_at_once() -> None:
    """A hundred a second are read one by one, also where two of them come together now and then."""
    source = Source()
    assert not source.read(*[1, 2, 1] * 100, every=0.01)
    for _ in range(100):
        source.read(1, every=0.01)
        assert not source.read(1, 1, every=0.001)


def test_a_flood_is_read_at_once() -> None:
    """Where each reading has many messages, there is nothing to save."""
    assert not Source().read(*[200] * 100, every=0.001)


def test_who_waits_for_an_answer_does_not_wait_for_an_interval() -> None:
    """One message that somebody waits for ends the intervals, and they begin only when none has come for a while."""
    source = Source()
    assert source.read(*[1] * 18, every=0.001)
    source.wakeups.awaited()
    assert not source.read(4, every=INTERVAL)
    assert not source.read(*[1] * 10, every=0.001)
    for _ in range(100):
        source.wakeups.awaited()
        assert not source.read(1, every=0.0004)
