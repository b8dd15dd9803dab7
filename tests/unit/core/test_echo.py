"""Which repetitions of an event are echoes."""

from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.echo import _MOST, EchoFilter
from bridge.core.model import Event
from tests.support.clock import FakeClock

LIMIT = 17


def event(**changes: Any) -> Event:
    """An event with some fields changed."""
    payload = msgspec.msgpack.encode(changes.pop("payload", {"n": 1}))
    whole: dict[str, Any] = {"id": 7, "event_type": "a.b", "timestamp": 99, "source": None, "correlation_id": None}
    return Event(raw=msgspec.Raw(payload), **(whole | changes))


async def test_seventeen_in_a_second() -> None:
    """An event that is equal to 16 others counts, one that is equal to more does not, until they have stopped."""
    clock = FakeClock()
    echoes = EchoFilter(clock)
    for _ in range(3):
        assert [echoes.is_echo(event()) for _ in range(30)] == [False] * LIMIT + [True] * 13
        for _ in range(50):
            await clock.advance(0.05)
            assert echoes.is_echo(event()), "20 in a second"
        await clock.advance(2)


async def test_an_echo_that_slows_down() -> None:
    """Where at most 17 have come in a second, the next second's count again."""
    clock = FakeClock()
    echoes = EchoFilter(clock)
    for _ in range(30):
        echoes.is_echo(event())
    slower = []
    for _ in range(30):
        await clock.advance(0.125)
        slower.append(echoes.is_echo(event()))
    assert slower == [True] * 15 + [False] * 15


async def test_often_but_not_in_a_second() -> None:
    """A program that sends the same event 16 times a second, for ever, is heard each time."""
    clock = FakeClock()
    echoes = EchoFilter(clock)
    for _ in range(100):
        assert not echoes.is_echo(event())
        await clock.advance(1 / 16)


@pytest.mark.parametrize(
    "other",
    [{"source": "app"}, {"event_type": "a.c"}, {"payload": {"n": 2}}, {"payload": {"n": 1, "m": 1}}],
    ids=["source", "type", "payload", "more"],
)
def test_another_event_is_no_echo(other: dict[str, Any]) -> None:
    """Where source, type or payload differs, also with the same id and time stamp, events count for themselves."""
    echoes = EchoFilter(FakeClock())
    for _ in range(40):
        echoes.is_echo(event())
    assert [echoes.is_echo(event(**other)) for _ in range(LIMIT - 1)] == [False] * (LIMIT - 1)


def test_headers_and_correlation_do_not_count() -> None:
    """Nemo's record of an event has no headers, so an echo lacks those of the first one."""
    echoes = EchoFilter(FakeClock())
    assert not echoes.is_echo(event(headers={"hop": "1"}, correlation_id="c"))
    assert [echoes.is_echo(event()) for _ in range(LIMIT)] == [False] * (LIMIT - 1) + [True]


def test_a_program_that_does_not_number_its_events() -> None:
    """Events with different payloads count, whatever their ids and time stamps."""
    echoes = EchoFilter(FakeClock())
    assert not any(echoes.is_echo(event(id=0, timestamp=0, payload=number)) for number in range(10_000))


def test_memory_is_bounded_whatever_comes() -> None:
    """In a flood of different events, and of events that come twice, an echo is found and little is remembered."""
    echoes, ids = EchoFilter(FakeClock()), count(1000)
    found = 0
    for _ in range(100):
        found += echoes.is_echo(event())
        for _ in range(300):
            number = next(ids)
            assert not echoes.is_echo(event(id=number, timestamp=0))
            assert not echoes.is_echo(event(id=number, timestamp=0))
    assert found >= 100 - LIMIT - 4
    assert (len(echoes._counts), len(echoes._earlier)) == (_MOST, _MOST)
    assert len(echoes._numbers) <= _MOST


def test_a_storm_of_many_events() -> None:
    """Where a program repeats hundreds of events in turn, from each the first 17 count, and no other."""
    echoes = EchoFilter(FakeClock())
    storm = [
        event(id=number, timestamp=1_700_000_000_000 + 3 * number, source=source)
        for number in range(0, 7000, 14)
        for source in ("a", "b")
    ]
    passed = [sum(not echoes.is_echo(one) for one in storm) for _ in range(40)]
    assert sum(passed[:LIMIT]) <= LIMIT * len(storm)
    assert passed[LIMIT:] == [0] * (40 - LIMIT)


@given(st.lists(st.integers(0, 2), max_size=120))
def test_each_event_counts_for_itself(order: list[int]) -> None:
    """However a few events come mixed, of each the first 17 in a second count, and no other."""
    echoes, seen = EchoFilter(FakeClock()), [0, 0, 0]
    for number in order:
        seen[number] += 1
        assert echoes.is_echo(event(id=number)) is (seen[number] > LIMIT)
