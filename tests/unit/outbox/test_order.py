"""Which entries are tried next, and which keys are to be read from disk."""

from bridge.outbox.order import OrderingKeys, on_disk


def test_one_on_its_way_is_not_tried_a_second_time() -> None:
    """While an entry is being tried, nothing starts it again; when it fails again, it is tried again."""
    keys = OrderingKeys()
    keys.block("k", 5, due=1.0)
    assert keys.take_due(1.0, 10) == [5]
    keys.all_due(2.0)
    assert keys.take_due(10.0, 10) == []
    assert keys.next_due() is None
    keys.block("k", 5, due=11.0)
    assert keys.take_due(10.0, 10) == []
    assert keys.take_due(11.0, 10) == [5]


def test_those_due_at_the_same_time_are_tried_in_the_order_in_which_they_failed() -> None:
    """The one that failed last is tried last, whatever its key is: the others go first."""
    keys = OrderingKeys()
    for key, seq in (("a", 1), (2, 2), ("c", 3)):
        keys.block(key, seq, due=5.0)
    keys.all_due(1.0)
    assert keys.take_due(1.0, 1) == [1]
    keys.block("a", 1, due=5.0)
    keys.all_due(2.0)
    assert keys.take_due(2.0, 10) == [2, 3, 1]


def test_what_was_passed_over_is_read_when_the_key_is_free() -> None:
    """Entries that came while the key was blocked are behind it, from the one that ended on."""
    keys = OrderingKeys()
    keys.block("k", 5, due=1.0, last=7)
    keys.passed_over("k", 9)
    assert keys.behind() is None
    keys.ended("k", 4)
    assert "k" in keys
    keys.ended("k", 5)
    assert keys.behind() == ("k", 5, 9)
    keys.passed_over("k", 11)
    keys.were_read("k", 9)
    assert keys.behind() is None, "these are in memory now"
    keys.nothing_held("k")
    assert keys.behind() == ("k", 9, 11)
    keys.were_read("k", 11)
    assert "k" not in keys


def test_a_key_with_many_entries_falls_behind() -> None:
    """No more than enough are held; when nothing of the key is held any more, the next ones are read."""
    keys = OrderingKeys()
    keys.fall_behind("k", 64)
    keys.nothing_held("k")
    assert "k" not in keys, "there are no more"
    keys.fall_behind("k", 64)
    keys.passed_over("k", 70)
    assert keys.behind() is None
    keys.nothing_held("k")
    assert keys.behind() == ("k", 64, 70)


def test_a_key_that_was_freed_while_a_scan_left_it_out() -> None:
    """What the scan did not read of it is read afterwards."""
    keys = OrderingKeys()
    keys.block("k", 5, due=1.0)
    left_out = keys.all
    keys.ended("k", 5)
    assert "k" not in keys
    keys.all_passed_over(left_out, 10, 20)
    assert keys.behind() == ("k", 10, 20)


def test_keys_on_disk_are_told_apart() -> None:
    """No key of a route stands for an entry without one."""
    shown = [on_disk(key) for key in (None, "", "\x01", "\x01\x01", "k")]
    assert len(set(shown)) == len(shown)
