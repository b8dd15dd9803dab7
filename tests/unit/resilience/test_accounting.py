"""The sums of an integration, whose only ways to change keep them balanced."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.resilience import Accounting, Stage

ENDS = [stage for stage in Stage if stage >= Stage.SUCCEEDED]


@given(st.lists(st.tuples(st.sampled_from(Stage), st.sampled_from(Stage))))
def test_the_sums_balance_whatever_happens(steps: list[tuple[Stage, Stage]]) -> None:
    """After any moves the stages add up to `accepted`, and a move that cannot be is refused."""
    accounting = Accounting()
    for before, after in steps:
        if before in ENDS:
            with pytest.raises(AssertionError):
                accounting.accept(before)
            with pytest.raises(AssertionError):
                accounting.move(before, after)
        else:
            accounting.accept(before)
            accounting.move(before, after)
        told = msgspec.structs.asdict(accounting.sums())
        assert told.pop("accepted") == accounting.accepted == sum(told.values())


def test_nothing_moves_that_is_not_there() -> None:
    """An operation that is at no stage cannot be moved from it."""
    with pytest.raises(AssertionError):
        Accounting().move(Stage.QUEUED, Stage.IN_FLIGHT)


def test_an_event_of_the_outbox_counts_once() -> None:
    """An event of the outbox is accepted once, however often the guard takes it; in health it is queued."""
    accounting = Accounting()
    accounting.accept(Stage.PENDING, 2)
    for _ in range(3):
        accounting.move(Stage.PENDING, Stage.QUEUED)
        accounting.move(Stage.QUEUED, Stage.IN_FLIGHT)
        assert (accounting.sums().in_flight, accounting.sums().queued, accounting.open) == (1, 1, 1)
        accounting.move(Stage.IN_FLIGHT, Stage.QUEUED)
        accounting.move(Stage.QUEUED, Stage.PENDING)
    accounting.move(Stage.PENDING, Stage.DEAD_LETTERED)
    sums = accounting.sums()
    assert (sums.accepted, sums.dead_lettered, sums.queued, sums.failed, sums.shed) == (2, 1, 1, 0, 0)
