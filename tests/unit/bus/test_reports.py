"""What the bus reports of others, at a limited rate."""

from functools import partial
from typing import Any

import msgspec
import pytest

from bridge.bus import Bus, Reason
from bridge.bus.gaps import MAX_SOURCES
from bridge.core.errors import InvalidError
from bridge.core.model import Event
from bridge.core.payloads import BusGap, BusRejected
from tests.support.clock import FakeClock

Reports = list[tuple[str, Any]]


def publish(reports: Reports, event_type: str, payload: Any, **_: Any) -> None:
    """Publish as the bus does, but for the limit of 100 bytes."""
    if len(msgspec.msgpack.encode(payload)) > 100:
        raise InvalidError("too large")
    reports.append((event_type, payload))


def make(reports: Reports, monkeypatch: pytest.MonkeyPatch) -> Bus:
    """A bus that was not started, and what it publishes."""
    received: list[Event] = []
    bus = Bus(
        mode="connect",
        publish="ipc:///nowhere/pub",
        subscribe="ipc:///nowhere/sub",
        max_message=4096,
        source="bridge",
        clock=FakeClock(),
        on_event=received.append,
    )
    monkeypatch.setattr(bus, "publish", partial(publish, reports))
    return bus


def numbered(source: str, number: int) -> bytes:
    """An event with a number."""
    event = {"id": 1, "event_type": "a", "payload": None, "timestamp": 1, "source": source, "correlation_id": None}
    return msgspec.msgpack.encode({**event, "headers": {"seq": str(number)}})


async def test_gaps_of_invented_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gaps of so many sources a second are reported; those that are reported already go on; all are counted."""
    reports: Reports = []
    bus = make(reports, monkeypatch)
    for source in range(MAX_SOURCES + 5):
        for number in (1, 3):
            bus._on_message(b"a", numbered(str(source), number))
    assert len(reports) == MAX_SOURCES
    assert reports[0] == ("resilience.bus.gap", BusGap(source="0", missing=1))
    assert (bus.stats.gaps, bus.stats.missing) == (MAX_SOURCES + 5, MAX_SOURCES + 5)
    last = str(MAX_SOURCES - 1)
    for number in (1, 4):
        bus._on_message(b"a", numbered(last, number))
    bus._lost.flush()
    assert reports[MAX_SOURCES:] == [("resilience.bus.gap", BusGap(source=last, missing=2))]


async def test_strangers_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key's refusals are reported for themselves, but not for more keys than a person can read in a second."""
    reports: Reports = []
    bus = make(reports, monkeypatch)
    for number in range(100):
        bus.reject(Reason.REFUSED, "its key is not listed", key=f"{number:016x}")
    bus._rejections.flush()
    named = [payload for _, payload in reports if payload.key is not msgspec.UNSET]
    others = [payload.count for _, payload in reports if payload.key is msgspec.UNSET]
    assert named[0] == BusRejected(reason=Reason.REFUSED, count=1, detail="its key is not listed", key="0" * 16)
    assert (len(named) + sum(others), len(others)) == (100, 2)


async def test_echoes_are_reported_by_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """One event a second for each type, with the type and how many; beyond a number of types they share one."""
    reports: Reports = []
    bus = make(reports, monkeypatch)
    monkeypatch.setattr(bus, "publish", lambda event_type, payload: reports.append((event_type, payload)))
    for number in range(100):
        for _ in range(3):
            bus.reject_echo(f"a.{number}")
    bus._rejections.flush()
    told = [payload for _, payload in reports]
    assert {payload.reason for payload in told} == {Reason.ECHO}
    first = [payload.count for payload in told if payload.event_type == "a.0"]
    others = [payload.count for payload in told if payload.event_type is msgspec.UNSET]
    assert (first, sum(payload.count for payload in told), len(others)) == ([1, 2], 300, 2)
    assert bus.stats.rejected == 300


async def test_what_cannot_be_published_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that the bus cannot carry raises nothing; a report names its type and the reason."""
    reports: Reports = []
    bus = make(reports, monkeypatch)
    bus.publish_or_report("data.small", 1)
    bus.publish_or_report("data.large", "x" * 200)
    detail = "data.large could not be published: too large"
    assert reports == [
        ("data.small", 1),
        ("resilience.bus.rejected", BusRejected(reason=Reason.SIZE, count=1, detail=detail)),
    ]
    assert bus.stats.rejected == 1
