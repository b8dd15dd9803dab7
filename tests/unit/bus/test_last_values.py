"""Last values: what is kept, for whom it is published again, and what falls out."""

import asyncio
from typing import Any

import msgspec
import pytest

from bridge.bus import Bus
from bridge.bus.last_values import LastValues
from bridge.core.errors import InvalidError
from tests.support.clock import FakeClock


class _Bus:
    def __init__(self) -> None:
        self.said: list[tuple[str, Any, Any]] = []

    def publish(self, *_: Any, **__: Any) -> None:
        raise AssertionError("a value that was carried once is carried again")

    def publish_or_report(self, event_type: str, payload: Any, *, correlation_id: Any, headers: Any) -> None:
        self.said.append((event_type, msgspec.msgpack.decode(payload), headers))


async def _again(values: LastValues, bus: _Bus, *prefixes: bytes) -> list[tuple[str, Any]]:
    bus.said.clear()
    for prefix in prefixes:
        values.publish_again(prefix)
    for _ in range(200):
        await asyncio.sleep(0)
    return [(event_type, payload) for event_type, payload, _ in bus.said]


async def test_the_last_of_each_type_and_topic():
    """One value for each type and topic, in the order of their last change, with a header that says it is a repeat."""
    bus = _Bus()
    values = LastValues(bus)
    value = {"n": 1}
    values.keep("a.x", value, topic="t", owner=1, headers={"hop": "1"})
    value["n"] = 5
    values.keep("a.x", 2, topic="u", owner=1)
    values.keep("b", 3, owner=2)
    values.keep("a.x", 4, topic="u", owner=1)
    assert await _again(values, bus, b"") == [("a.x", {"n": 1}), ("b", 3), ("a.x", 4)]
    assert bus.said[0][2] == {"hop": "1", "repeated": "true"}
    assert await _again(values, bus, b"a.", b"a", b"a.x.more") == [("a.x", {"n": 1}), ("a.x", 4)]
    assert await _again(values, bus, b"a", b"z") == [("a.x", {"n": 1}), ("a.x", 4)], "also by single bytes"
    values.forget(1)
    assert (await _again(values, bus, b""), len(values)) == ([("b", 3)], 1)


async def test_the_bounds():
    """Beyond a bound the oldest value falls out, and is told; an update makes a value young again."""
    told: list[str] = []
    values = LastValues(_Bus(), most=2, on_dropped=told.append)
    for name in ("a", "b", "a", "c"):
        values.keep(name, None, owner=0)
    assert (told, len(values)) == (["b"], 2)
    heavy = LastValues(_Bus(), most_bytes=3500, on_dropped=told.append)
    heavy.keep("d", "x" * 1000, owner=0)
    heavy.keep("e", "x" * 1000, owner=0)
    heavy.keep("d", "y" * 900, owner=0)
    assert told == ["b"]
    heavy.keep("f", "x" * 2000, owner=0)
    assert (told, len(heavy)) == (["b", "e", "d"], 1)
    heavy.keep("g", "x" * 4000, owner=0)
    assert (told[3:], len(heavy)) == (["g"], 1), "what is too large alone drops no other"
    heavy.forget(0)
    assert heavy._bytes == 0


async def test_no_copy_for_who_was_there_before():
    """A subscriber gets a copy of what was published before it came, and none of what came after it."""
    bus = _Bus()
    values = LastValues(bus)
    values.keep("a", 1, topic="old", owner=0)
    values.keep("a", 2, topic="new", owner=0)
    values.publish_again(b"a")
    values.keep("a", 3, topic="new", owner=0)
    values.keep("b", 4, owner=0)
    assert await _again(values, bus) == [("a", 1)]
    values.publish_again(b"a")
    values.keep("b", 5, owner=0)
    values.publish_again(b"b")
    values.publish_again(b"c")
    assert await _again(values, bus) == [("a", 1), ("a", 3), ("b", 5)]


async def test_what_was_not_published_yet():
    """The first subscriber gets the event itself, later ones a copy."""
    bus = _Bus()
    values = LastValues(bus)
    for name in ("a", "b", "c"):
        values.keep(name, name, owner=0, headers={"hop": "1"}, published=False)
    values.keep("c", "C", owner=0, headers={"hop": "1"})
    assert await _again(values, bus, b"a") == [("a", "a")]
    assert bus.said[0][2] == {"hop": "1"}
    assert await _again(values, bus, b"a") == [("a", "a")]
    assert bus.said[0][2] == {"hop": "1", "repeated": "true"}
    assert await _again(values, bus, b"") == [("a", "a"), ("b", "b"), ("c", "C")]
    assert ["repeated" in headers for *_, headers in bus.said] == [True, False, True]


async def test_many_values_do_not_hold_up_the_loop():
    """10,000 values are published in parts, each once, however often somebody subscribes meanwhile."""
    bus = _Bus()
    values = LastValues(bus)
    for number in range(10_000):
        values.keep("a", number, topic=str(number), owner=0)
    values.publish_again(b"")
    await asyncio.sleep(0)
    values.publish_again(b"")
    assert 0 < len(bus.said) < 1000
    await _again(values, bus, b"")
    assert 9_000 < len(bus.said) <= 10_000


async def test_a_value_that_is_too_large_alone_drops_no_other() -> None:
    """What does not fit at all is told; the value before it is no longer the last one, and the others stay."""
    told: list[str] = []
    bus = _Bus()
    values = LastValues(bus, most_bytes=3500, on_dropped=told.append)
    values.keep("a", 1, owner=0)
    values.keep("b", 2, owner=0)
    values.keep("b", "x" * 4000, owner=0)
    assert (told, await _again(values, bus, b"")) == (["b"], [("a", 1)])


@pytest.mark.parametrize(
    ("event_type", "payload", "headers"),
    [("a", "x" * 500, {}), ("a b", 1, {}), ("", 1, {}), ("a", float("nan"), {}), ("a", 1, {"trace": "x" * 500})],
    ids=["large", "space", "empty", "nan", "headers"],
)
def test_what_cannot_be_published_is_told_before_somebody_reads_it(event_type, payload, headers):
    """A value that the bus cannot carry is refused and not kept, also where it would wait for its first subscriber."""
    bus = Bus(
        mode="host",
        publish="ipc:///nowhere/pub",
        subscribe="ipc:///nowhere/sub",
        max_message=400,
        source="bridge",
        clock=FakeClock(),
        on_event=lambda _: None,
    )
    with pytest.raises(InvalidError):
        bus.keep_last(event_type, payload, owner=0, headers=headers)
    assert not bus.keeps_last(event_type, "")
    bus.keep_last("a", 1, owner=0)
    assert (bus.keeps_last("a", ""), bus.stats.dropped) == (True, 0), "it waits"
