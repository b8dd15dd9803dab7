"""How long, and how many, messages from outside are remembered."""

import time
import tracemalloc

from bridge.connection.duplicates import MOST, WINDOW, Duplicates
from bridge.core.model import Inbound
from tests.support.clock import FakeClock


def _message(number: int) -> Inbound:
    key = {"idempotency_key": f"k{number}"}
    return Inbound(topic="t", message=None, message_id=f"m{number}", attempts=2, headers=key)


async def test_what_is_too_old_takes_no_memory():
    """With steady traffic, only the messages within the time window are remembered."""
    clock = FakeClock()
    seen = Duplicates(clock)
    for number in range(1000):
        seen.note(1, _message(number))
        await clock.advance(WINDOW / 100)
    assert len(seen) <= 2 * 101
    assert seen.has(1, _message(999), held=False)
    assert not seen.has(1, _message(0), held=False)


async def test_what_comes_again_is_as_good_as_new():
    """A message that comes again is remembered from then on; older messages are still forgotten."""
    clock = FakeClock()
    seen = Duplicates(clock)
    seen.note(1, _message(1))
    seen.note(1, _message(2))
    await clock.advance(WINDOW - 1)
    seen.note(1, _message(1))
    await clock.advance(2)
    seen.note(1, _message(3))
    assert seen.has(1, _message(1), held=False)
    assert len(seen) == 4  # the second one, with both its names, is gone


def test_a_flood_has_its_bound():
    """Beyond the limit the oldest messages are forgotten."""
    seen = Duplicates(FakeClock())
    for number in range(MOST):
        seen.note(1, _message(number))
    assert len(seen) == MOST
    assert seen.has(1, _message(MOST - 1), held=False)


def test_a_message_costs_the_same_when_the_memory_is_full():
    """Forgetting the oldest message needs no search: beyond the limit, a message takes no longer than before."""
    seen = Duplicates(FakeClock())
    messages = [Inbound(topic="t", message=None, message_id=str(number)) for number in range(2 * MOST)]

    def cost(some: list[Inbound]) -> float:
        begun = time.process_time()
        for message in some:
            seen.note(1, message)
        return time.process_time() - begun

    filling, full = cost(messages[:MOST]), cost(messages[MOST:])
    assert full < 5 * filling, "a plain dict made it forty times"


def test_long_keys_take_little_memory():
    """A remote cannot fill the memory with long keys and topics; they are still told apart."""
    seen = Duplicates(FakeClock())
    messages = [
        Inbound(topic=topic, message=1, headers={"idempotency_key": key})
        for topic, key in [("t", "k" * 60_000), ("t" * 60_000, "k"), ("t" * 60_001, "k"), ("t" * 60_000, "tk")]
    ]
    for message in messages:
        assert not seen.has(1, message, held=False)
        seen.note(1, message)
        assert seen.has(1, message, held=False)
    seen.forget(1, messages[0])
    assert [seen.has(1, message, held=False) for message in messages] == [False, True, True, True]
    tracemalloc.start()
    try:
        for number in range(200):
            seen.note(1, Inbound(topic="t", message=1, headers={"idempotency_key": f"{number}" + "k" * 60_000}))
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()
