"""Which entry of a key is tried next."""

from bridge.outbox.order import OrderingKeys


def _tried(keys: OrderingKeys, now: float) -> list[int]:
    return keys.take_due(now, 10)


def test_one_on_its_way_is_not_tried_a_second_time():
    """While the first entry is being tried, the failure of another of its key starts none."""
    keys = OrderingKeys()
    keys.block("k", 5, due=1.0, started=8)
    assert _tried(keys, 1.0) == [5]
    keys.block("k", 8, due=2.0, started=8)
    assert _tried(keys, 10.0) == []
    assert keys.next_due() is None
    keys.ended("k", 5, 10.0)
    assert _tried(keys, 10.0) == [8]


def test_the_end_of_another_leaves_it_on_its_way():
    """The end of a later entry of the key does not start the first one a second time."""
    keys = OrderingKeys()
    keys.block("k", 5, due=1.0, started=8)
    keys.block("k", 8, due=1.0, started=8)
    assert _tried(keys, 1.0) == [5]
    keys.ended("k", 8, 1.0)
    assert _tried(keys, 10.0) == []
    keys.block("k", 5, due=11.0, started=8)
    assert _tried(keys, 11.0) == [5]


def test_one_that_was_put_back_is_tried_again():
    """An entry that was read again, but not started when another of its key failed, is tried again."""
    keys = OrderingKeys()
    keys.block("k", 5, due=1.0, started=8)
    assert _tried(keys, 1.0) == [5]
    keys.block("k", 8, due=2.0, started=8, put_back=[5])
    assert _tried(keys, 2.0) == [5]
