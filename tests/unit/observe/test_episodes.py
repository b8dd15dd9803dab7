"""Since when something is wrong, and when it is over."""

import pytest

from bridge.observe.episodes import Episodes
from tests.support.clock import FakeClock

KEY = ("dropped", "shop")


@pytest.fixture
def clock() -> FakeClock:
    """A fake clock."""
    return FakeClock()


async def test_what_is_counted_is_over_when_it_has_not_happened_for_fifteen_minutes(clock: FakeClock) -> None:
    """An episode has its own beginning and count; the next one begins with nothing."""
    episodes = Episodes(clock)
    began = clock.wall_ms()
    for total in (3, 3, 5):
        episodes.note_sum(KEY, total)
        await clock.advance(600)
    episodes.end({"shop"})
    found = episodes.get(KEY)
    assert found is not None
    assert (found.since, found.count) == (began, 5)
    await clock.advance(300)
    episodes.end({"shop"})
    assert episodes.get(KEY) is None
    episodes.note_sum(KEY, 6)
    found = episodes.get(KEY)
    assert found is not None
    assert (found.since, found.count) == (clock.wall_ms(), 1)


def test_a_sum_that_begins_anew(clock: FakeClock) -> None:
    """A sum that is lower than before counts from zero: the connection was replaced."""
    episodes = Episodes(clock)
    episodes.note_sum(KEY, 10)
    episodes.note_sum(KEY, 2)
    found = episodes.get(KEY)
    assert found is not None
    assert found.count == 12


def test_an_integration_that_is_gone(clock: FakeClock) -> None:
    """Nothing is remembered of it; the bridge's own troubles stay."""
    episodes = Episodes(clock)
    episodes.note_sum(KEY, 10)
    episodes.note_sum(("lost", None), 1)
    episodes.end({"depot"})
    assert episodes.get(KEY) is None
    assert episodes.get(("lost", None)) is not None


async def test_what_is_so_or_not(clock: FakeClock) -> None:
    """It has the time at which it was noted first, and begins again after it was not so."""
    episodes = Episodes(clock)
    began = clock.wall_ms()
    episodes.note_states("unheard", {"shop"})
    await clock.advance(60)
    episodes.note_states("unheard", {"shop", "depot"})
    episodes.note_states("outbox", (None,))
    assert episodes.since(("unheard", "shop")) == began
    assert episodes.since(("unheard", "depot")) == episodes.since(("outbox", None)) == began + 60_000
    await clock.advance(60)
    episodes.note_states("unheard", {"depot"})
    assert episodes.since(("unheard", "shop")) == clock.wall_ms(), "not noted: now"
    assert episodes.since(("outbox", None)) == began + 60_000
