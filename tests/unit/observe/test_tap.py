"""Show what the console's tap takes of the bus, how it is bounded, and that no secret is in it."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from bridge.bus.codec import Codec
from bridge.bus.rejection import Rejected
from bridge.core.errors import InvalidError
from bridge.core.model import Event
from bridge.core.redaction import Redactor
from bridge.observe.tap import MOST_PAYLOAD, RATE, Tap, TapHub
from tests.support.clock import FakeClock

SECRET = "correct-horse-battery"


class Bus:
    """The bus as far as a tap sees it; `emit` is an event that comes."""

    def __init__(self) -> None:
        self.codec = Codec()
        self.watcher: Callable[[bytes, bytes], None] | None = None
        self.reads = 0
        self.ids = 0

    def watch(self, watcher: Callable[[bytes, bytes], None] | None) -> None:
        self.watcher = watcher

    def read(self, frame: bytes, body: bytes) -> Event | None:
        self.reads += 1
        try:
            return self.codec.decode(frame, body)
        except Rejected:
            return None

    def emit(self, event_type: str, payload: Any = None, **more: Any) -> None:
        self.ids += 1
        given = {"event_id": self.ids, "timestamp": 1000 + self.ids, "source": "shop"} | more
        assert self.watcher is not None
        self.watcher(*self.codec.encode(event_type, payload, **given))


class Tapping:
    """A hub with its bus."""

    def __init__(self, *secrets: str) -> None:
        self.bus = Bus()
        self.clock = FakeClock()
        self.hub = TapHub(self.bus, Redactor(secrets), self.clock)

    def take(self, tap: Tap) -> dict[str, Any]:
        """The next frame; an empty one where there is none."""
        frame = self.hub.take(tap)
        return {"events": [], "skipped": 0} if frame is None else json.loads(frame)


@pytest.fixture
def tapping() -> Tapping:
    """A hub without taps."""
    return Tapping(SECRET)


def types(frame: dict[str, Any]) -> list[str]:
    """The types of a frame's events."""
    return [event["event_type"] for event in frame["events"]]


def test_nothing_is_watched_while_nobody_taps(tapping):
    """The bus is watched from the first tap to the end of the last one."""
    assert tapping.bus.watcher is None
    one, other = tapping.hub.open([], None), tapping.hub.open([], None)
    tapping.hub.close(one)
    assert tapping.bus.watcher is not None
    tapping.hub.close(other)
    assert tapping.bus.watcher is None


def test_an_event_as_it_is_shown(tapping):
    """All of it is there; bytes and integers that JavaScript cannot hold are marked or text."""
    tap = tapping.hub.open(["order.*"], None)
    payload = {"n": 2**60, "f": 1.5, "b": b"\x00\xff", "l": [True, None, "ä\n"], "e": {}}
    tapping.bus.emit("order.new", payload, correlation_id="c", headers={"seq": "1"}, event_id=2**63)
    tapping.bus.emit("other")
    frame = tapping.take(tap)
    assert frame == {
        "type": "tap",
        "skipped": 0,
        "events": [
            {
                "at": 1001,
                "event_type": "order.new",
                "source": "shop",
                "id": str(2**63),
                "correlation_id": "c",
                "headers": {"seq": "1"},
                "payload": {"n": str(2**60), "f": 1.5, "b": {"$bytes": "AP8="}, "l": [True, None, "ä\n"], "e": {}},
                "cut": False,
                "bytes": len(msgspec.msgpack.encode(payload)),
            }
        ],
    }
    assert tapping.hub.take(tap) is None


def test_the_first_frame_tells_that_it_has_begun(tapping):
    """There is one also where no event has come."""
    tap = tapping.hub.open([], None)
    assert tapping.hub.take(tap) == b'{"type":"tap","events":[],"skipped":0}'
    assert tapping.hub.take(tap) is None


def test_patterns_are_those_of_nemo(tapping):
    """Several patterns are alternatives; only what is chosen is decoded."""
    tap = tapping.hub.open(["order.*", "resilience.**", "ping", "health."], None)
    for event_type in ("order.new", "order.new.eu", "resilience.shop.failed", "ping", "pong", "health.shop", "healthy"):
        tapping.bus.emit(event_type)
    assert types(tapping.take(tap)) == ["order.new", "resilience.shop.failed", "ping", "health.shop"]
    assert tapping.bus.reads == 4


def test_following_one_correlation_id(tapping):
    """Only events with this id are shown, not those that merely mention it."""
    tap = tapping.hub.open([], "c-17")
    tapping.bus.emit("integration.shop.request", correlation_id="c-17")
    tapping.bus.emit("log", {"about": "c-17"})
    tapping.bus.emit("other", correlation_id="c-18")
    tapping.bus.emit("response.integration.shop.request", correlation_id="c-17")
    assert types(tapping.take(tap)) == ["integration.shop.request", "response.integration.shop.request"]


@pytest.mark.parametrize(
    ("patterns", "correlation_id", "why"),
    [
        (["order.#"], None, "'order.#' has wildcards of another language; did you mean 'order.**'?"),
        (["orders/+"], None, "did you mean 'orders.*'"),
        (["ord*"], None, "`*` and `**` stand for whole segments"),
        (["a b"], None, "holds a space"),
        (["x"] * 33, None, "33 patterns; there may be 32 at most"),
        ([], "", "1 to 1000 characters"),
        ([], "x" * 1001, "1 to 1000 characters"),
        ([], "\ud800", "valid Unicode"),
    ],
)
def test_what_cannot_be_tapped(tapping, patterns, correlation_id, why):
    """The reason is told, and nothing is watched."""
    with pytest.raises(InvalidError) as caught:
        tapping.hub.open(patterns, correlation_id)
    assert why in caught.value.message
    assert tapping.bus.watcher is None


def test_more_than_a_person_can_read_is_counted(tapping):
    """Beyond the rate events are skipped and counted, and not decoded; later ones are shown again."""
    tap = tapping.hub.open([], None)
    for _ in range(10 * RATE):
        tapping.bus.emit("tick")
    frame = tapping.take(tap)
    assert (len(frame["events"]), frame["skipped"], tapping.bus.reads) == (RATE, 9 * RATE, RATE)
    for _ in range(RATE):
        tapping.bus.emit("tock")
    frame = tapping.take(tap)
    assert (len(frame["events"]), frame["skipped"]) == (RATE // 5, RATE - RATE // 5)


def test_what_takes_long_waits_for_the_next_frame():
    """Where preparing one event takes all the time of a frame, one is shown in each, in order, and none is lost."""
    tapping = Tapping()
    tap = tapping.hub.open([], None)
    for number in range(3):
        tapping.bus.emit("tick", number)
    read = tapping.bus.read

    def slow(frame: bytes, body: bytes) -> Event | None:
        tapping.clock.fire(0.02)
        return read(frame, body)

    tapping.bus.read = slow  # type: ignore[method-assign]
    assert [[one["payload"] for one in tapping.take(tap)["events"]] for _ in range(4)] == [[0], [1], [2], []]


def test_two_taps_share_the_work(tapping):
    """An event that two taps show is decoded once."""
    taps = [tapping.hub.open(["a"], None), tapping.hub.open(["*"], None)]
    tapping.bus.emit("a")
    assert [types(tapping.take(tap)) for tap in taps] == [["a"], ["a"]]
    assert tapping.bus.reads == 1


@pytest.mark.parametrize(
    "payload",
    ["x" * 5000, {"x" * 5000: 1}, list(range(5000)), [[["deep" * 99] * 9] * 9] * 3, b"\x00" * 5000],
)
def test_of_a_long_payload_the_beginning_is_shown(tapping, payload):
    """It is the beginning of its JSON as text, marked as cut, with the size of the whole."""
    tap = tapping.hub.open([], None)
    tapping.bus.emit("large", payload)
    (event,) = tapping.take(tap)["events"]
    assert (event["cut"], len(event["payload"])) == (True, MOST_PAYLOAD)
    assert event["bytes"] > MOST_PAYLOAD


def test_a_very_large_event_costs_nothing(tapping):
    """Of an event of almost a megabyte only the envelope is looked at, and nothing of it is kept."""
    tap = tapping.hub.open([], None)
    tapping.bus.emit("large", "x" * 900_000)
    (event,) = tapping.take(tap)["events"]
    assert (event["payload"], event["cut"], event["bytes"]) == (None, True, 900_005)
    assert tapping.bus.reads == 0


def test_large_events_wait_within_a_bound(tapping):
    """A megabyte of events waits at most; the others are counted."""
    tap = tapping.hub.open([], None)
    for _ in range(10):
        tapping.bus.emit("large", "x" * 200_000)
    frame = tapping.take(tap)
    assert (len(frame["events"]), frame["skipped"]) == (5, 5)


def test_names_without_an_end(tapping):
    """Headers and ids of any length do not make a frame long."""
    tap = tapping.hub.open([], None)
    tapping.bus.emit("long", 1, correlation_id="c" * 50_000, headers={"h": "x" * 50_000})
    frame = tapping.hub.take(tap)
    assert frame is not None
    assert len(frame) < 2000
    assert json.loads(frame)["events"][0]["headers"] == {"…": "the headers are too long to be shown"}


@pytest.mark.parametrize("shape", [b"\xc1", b"", b"\x87", b"\x96\x01\xa1b\x02\x03\xc0\xc0", b"\xa1" * 300_000])
def test_what_is_no_event_is_left_out(tapping, shape):
    """Messages that cannot be read are not shown, and break nothing."""
    tap = tapping.hub.open([], None)
    tapping.bus.watcher(b"a", shape)
    tapping.bus.watcher(b"\xff" * 70_000, shape)
    tapping.bus.emit("b")
    assert types(tapping.take(tap)) == ["b"]


@pytest.mark.parametrize(
    ("payload", "more"),
    [
        ({"key": f"Bearer {SECRET}"}, {}),
        ({SECRET: 1}, {}),
        (["x" * (MOST_PAYLOAD - 20), SECRET], {}),
        (1, {"headers": {"authorization": SECRET}}),
        (1, {"correlation_id": SECRET}),
        (1, {"source": SECRET}),
    ],
)
def test_secrets_are_masked(tapping, payload, more):
    """No secret, and no beginning of one, is shown, wherever it stands."""
    tap = tapping.hub.open([], None)
    tapping.bus.emit("a", payload, **more)
    frame = tapping.hub.take(tap)
    assert frame is not None
    assert SECRET[:8] not in frame.decode()
    assert "***" in frame.decode()


def test_a_number_that_is_a_secret():
    """It cannot be masked within the payload, so nothing of that is shown."""
    tapping = Tapping("48151623")
    tap = tapping.hub.open([], None)
    tapping.bus.emit("a", {"pin": 48151623})
    assert tapping.take(tap)["events"][0]["payload"] == "***"
