"""Show which frames an open console gets and when, and what a console that misbehaves costs."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from bridge.contract import examples
from bridge.core.errors import UnknownIntegrationError
from bridge.core.model import Outcome
from bridge.core.payloads import Fleet, Inspection, IntegrationRow, Letter, Nothing, Overview
from bridge.core.redaction import Redactor
from bridge.observe.actions import Actions
from bridge.observe.live import Live
from bridge.observe.tap import TapHub
from bridge.observe.viewer import GoneError
from tests.support.clock import FakeClock
from tests.unit.observe.test_tap import Bus

TOKEN = "correct-horse-battery"
OVERVIEW: Overview = msgspec.convert(examples.RESULTS["bridge.overview"], Overview)
ROW: IntegrationRow = OVERVIEW.integrations[0]
FLEET: Fleet = msgspec.convert(examples.RESULTS["bridge.fleet"], Fleet)
INSPECTION: Inspection = msgspec.convert(examples.RESULTS["bridge.inspect"], Inspection)


class Console:
    """An open console: `frames` are those that it got."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.incoming: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self.dropped = False
        self.reads = True

    async def send(self, frame: bytes) -> None:
        if not self.reads:
            await asyncio.get_running_loop().create_future()
        self.frames.append(json.loads(frame))

    async def receive(self) -> str | bytes:
        frame = await self.incoming.get()
        if frame is None:
            raise GoneError
        return frame

    def drop(self) -> None:
        self.dropped = True

    def say(self, frame: Any) -> None:
        self.incoming.put_nowait(frame if isinstance(frame, str | bytes) else json.dumps(frame))

    def taken(self) -> list[dict[str, Any]]:
        """The frames since the last call."""
        frames, self.frames = self.frames, []
        return frames


class World:
    """What serves consoles, with a bridge of one's own."""

    def __init__(self, clock: Any = None, *, shows_events: bool = True) -> None:
        self.clock = clock or FakeClock()
        self.bus = Bus()
        self.overview = OVERVIEW
        self.made = 0
        self.fleet = Fleet(fabrics={})
        self.looked = 0
        self.copies = True
        self.inspection = INSPECTION
        self.reports: list[Any] = []
        self.waiting: list[Callable[[Outcome], None]] = []
        self.taps = TapHub(self.bus, Redactor(), self.clock)
        actions = Actions(TOKEN, self.execute, self, self.clock)  # type: ignore[arg-type]
        self.live = Live(
            self.look,
            self.inspect,
            self.look_at_fleet,
            self.taps,
            actions,
            shows_events=shows_events,
            name="left",
            version="1.2",
            clock=self.clock,
        )

    def look(self) -> Overview:
        self.made += 1
        return msgspec.structs.replace(self.overview) if self.copies else self.overview

    def look_at_fleet(self) -> Fleet:
        self.looked += 1
        return self.fleet

    async def inspect(self, integration: str) -> Inspection:
        if integration != "backend_api":
            raise UnknownIntegrationError(f"there is no integration {integration!r}")
        self.made += 1
        return self.inspection

    def execute(self, event_type: str, payload: Any, done: Callable[[Outcome], None]) -> None:
        if event_type.endswith("drain"):
            self.waiting.append(done)
        else:
            done(Outcome(result=Nothing()))

    def publish_or_report(self, event_type: str, payload: Any) -> None:
        self.reports.append((event_type, payload))

    @asynccontextmanager
    async def console(self) -> AsyncIterator[Console]:
        """Open a console; close it at the end, if it is still open, and let it end."""
        console = Console()
        task = asyncio.ensure_future(self.live.serve(console, "127.0.0.1:5000"))
        await self.clock.settle()
        try:
            yield console
        finally:
            console.incoming.put_nowait(None)
            await self.clock.advance(20)
            await task


@pytest.fixture
def world() -> World:
    """A bridge with one integration."""
    return World()


def changed(row: IntegrationRow, **more: Any) -> IntegrationRow:
    """A row with other values."""
    return msgspec.structs.replace(row, **more)


def with_rows(*rows: IntegrationRow) -> Overview:
    """The overview with these integrations."""
    return msgspec.structs.replace(OVERVIEW, integrations=list(rows))


async def test_the_first_frame(world):
    """It says who speaks, whether actions are possible, and what time it is."""
    async with world.console() as console:
        (hello,) = console.taken()
        now = world.clock.wall_ms()
        assert (hello.pop("actions"), hello.pop("tap"), hello.pop("fabrics")) == (True, True, False)
        assert hello == {"type": "hello", "name": "left", "version": "1.2", "now": now}
        await world.clock.advance(60)
        assert (console.taken(), world.made) == ([], 0)


async def test_an_overview_is_whole_and_then_what_has_changed(world):
    """Each two seconds there are only the rows that have changed, and the order where it is another one."""
    quiet, busy = changed(ROW, integration="quiet"), changed(ROW, integration="busy")
    world.overview = with_rows(quiet, busy)
    async with world.console() as console:
        console.say({"view": "overview"})
        await world.clock.settle()
        hello, first = console.taken()
        assert (hello["type"], first["type"], first["full"]) == ("hello", "overview", True)
        assert first["data"] == json.loads(msgspec.json.encode(world.overview))
        world.overview = with_rows(quiet, changed(busy, pending=7))
        await world.clock.advance(1.9)
        assert console.taken() == []
        await world.clock.advance(0.2)
        (second,) = console.taken()
        assert second["full"] is False
        assert [row["integration"] for row in second["data"]["integrations"]] == ["busy"]
        assert (second["data"]["routes"], second["data"]["subscriptions"]) == ([], [])
        assert "order" not in second["data"]
        world.overview = with_rows(changed(busy, pending=7), quiet)
        await world.clock.advance(2)
        (third,) = console.taken()
        assert (third["data"]["integrations"], third["data"]["order"]) == ([], ["busy", "quiet"])


async def test_routes_that_come_make_it_whole_again(world):
    """Where routes or subscriptions have come or gone, there is all of it."""
    async with world.console() as console:
        console.say({"view": "overview"})
        await world.clock.settle()
        world.overview = msgspec.structs.replace(OVERVIEW, routes=[], subscriptions=[])
        await world.clock.advance(2)
        assert [frame.get("full") for frame in console.taken()] == [None, True, True]
        route = OVERVIEW.routes[0]
        world.overview = msgspec.structs.replace(world.overview, routes=[route])
        await world.clock.advance(2)
        world.overview = msgspec.structs.replace(world.overview, routes=[msgspec.structs.replace(route, rate=9.5)])
        await world.clock.advance(2)
        whole, part = console.taken()
        assert (whole["full"], part["full"], part["data"]["routes"][0]["rate"]) == (True, False, 9.5)


async def test_it_is_made_once_for_all(world):
    """Sixteen consoles that look at the overview cost as much as one; each gets every change."""
    async with world.console() as one, world.console() as other:
        one.say({"view": "overview"})
        await world.clock.advance(0.7)
        other.say({"view": "overview"})
        await world.clock.advance(10)
        assert world.made == 6
        assert [frame.get("full") for frame in other.taken()] == [None, True, False, False, False, False, False]
        assert [frame.get("full") for frame in one.taken()] == [None, True, False, False, False, False, False]


async def test_the_fleet_is_made_once_for_all(world):
    """Every two seconds each console that looks at it gets the same frame, which says when it was made."""
    world.fleet = FLEET
    async with world.console() as one, world.console() as other:
        assert [frame["fabrics"] for frame in one.taken() + other.taken()] == [True, True]
        world.looked = 0
        for console in (one, other):
            console.say({"view": "fleet"})
        await world.clock.advance(0.5)
        before = world.clock.wall_ms()
        world.fleet = Fleet(fabrics={})
        await world.clock.advance(2)
        first, second = one.taken()
        assert (first["type"], first["data"]) == ("fleet", json.loads(msgspec.json.encode(FLEET)))
        assert second["data"] == {"fabrics": {}}
        assert first["at"] < before <= second["at"]
        assert other.taken() == [first, second]
        assert world.looked == 2
        one.say({"view": "overview"})
        await world.clock.settle()
        assert [frame["type"] for frame in one.taken()] == ["overview"]


async def test_an_overview_that_lasts_longer_is_sent_once(world):
    """With many integrations one is shared for longer: a console gets it once, and then the next one."""
    world.copies = False
    async with world.console() as console:
        console.say({"view": "overview"})
        await world.clock.advance(10)
        assert [frame.get("full") for frame in console.taken()] == [None, True]
        world.overview = msgspec.structs.replace(world.overview)
        await world.clock.advance(2.5)
        assert [frame.get("full") for frame in console.taken()] == [False]


async def test_one_who_missed_a_change_gets_all(world):
    """A console that is shown something else for a while begins anew."""
    async with world.console() as console:
        console.say({"view": "overview"})
        await world.clock.advance(2.5)
        console.say({"view": "integration", "integration": "backend_api"})
        await world.clock.advance(10)
        console.taken()
        console.say({"view": "overview"})
        await world.clock.advance(0.1)
        assert [frame["full"] for frame in console.taken()] == [True]


async def test_an_integration(world):
    """It comes at once, and again only where something else than the time has changed."""
    async with world.console() as console:
        console.say({"view": "integration", "integration": "backend_api"})
        await world.clock.settle()
        _, frame = console.taken()
        wanted = msgspec.structs.replace(INSPECTION, at=world.clock.wall_ms())
        assert frame == {"type": "integration", "data": json.loads(msgspec.json.encode(wanted))}
        world.inspection = msgspec.structs.replace(INSPECTION, at=5)
        await world.clock.advance(10)
        assert console.taken() == []
        world.inspection = msgspec.structs.replace(INSPECTION, retries=99)
        await world.clock.advance(2)
        (frame,) = console.taken()
        assert frame["data"]["retries"] == 99


async def test_an_integration_that_does_not_exist(world):
    """The reason is told once, and no view comes; another view is still possible."""
    async with world.console() as console:
        console.say({"view": "integration", "integration": "backend"})
        await world.clock.advance(10)
        assert console.taken()[1:] == [{"type": "error", "message": "there is no integration 'backend'"}]
        console.say({"view": "overview"})
        await world.clock.advance(0.1)
        assert console.taken()[0]["full"] is True


async def test_a_tap(world):
    """Events come five times a second at most; the bus is watched only as long as the tap is shown."""
    async with world.console() as console:
        console.say({"view": "tap", "patterns": ["order.*"], "correlation_id": None})
        await world.clock.advance(1)
        console.taken()
        for _ in range(10):
            world.bus.emit("order.new")
            await world.clock.advance(0.1)
        frames = console.taken()
        assert 4 <= len(frames) <= 6
        assert sum(len(frame["events"]) for frame in frames) + 1 >= 10
        console.say({"view": "overview"})
        await world.clock.advance(0.1)
        assert world.bus.watcher is None


async def test_a_console_that_goes_ends_its_tap(world):
    """The bus is not watched any more."""
    async with world.console() as console:
        console.say({"view": "tap", "patterns": []})
        await world.clock.advance(0.1)
        assert world.bus.watcher is not None
    assert world.bus.watcher is None


async def test_an_action(world):
    """It is done and answered with its id; the view goes on."""
    async with world.console() as console:
        console.say({"action": {"id": 7, "do": "pause", "integration": "shop"}, "token": TOKEN})
        await world.clock.settle()
        assert console.taken()[1:] == [{"type": "action", "id": 7, "ok": True, "result": {}}]
        console.say({"action": {"id": 8, "do": "pause", "integration": "shop"}, "token": "wrong"})
        await world.clock.advance(0.1)
        error = {"kind": "auth", "message": "the token is wrong", "retryable": False}
        assert console.taken() == [{"type": "action", "id": 8, "ok": False, "error": error}]
        assert [report.ok for _, report in world.reports] == [True, False]


async def test_a_refused_action_costs_a_second(world):
    """Who guesses tokens, or floods the log with refusals, does so once a second."""
    async with world.console() as console:
        for number in range(20):
            console.say({"action": {"id": number, "do": "pause"}, "token": "wrong"})
        await world.clock.advance(3.5)
        assert len(console.taken()) == 1 + 4


async def test_actions_that_take_long(world):
    """Others are possible meanwhile, up to a bound; the end of each is told."""
    async with world.console() as console:
        for number in range(10):
            console.say({"action": {"id": number, "do": "drain", "integration": "shop"}, "token": TOKEN})
        await world.clock.advance(2)
        refused = console.taken()[1:]
        assert [(frame["id"], frame["error"]["kind"]) for frame in refused] == [(8, "overloaded"), (9, "overloaded")]
        for done in world.waiting:
            done(Outcome(result=Nothing()))
        await world.clock.settle()
        assert [frame["id"] for frame in console.taken()] == list(range(8))


async def test_an_action_goes_on_without_its_console(world):
    """Its end is reported although nobody can be answered."""
    async with world.console() as console:
        console.say({"action": {"id": 1, "do": "drain", "integration": "shop"}, "token": TOKEN})
        await world.clock.settle()
    world.waiting[0](Outcome(result=Nothing()))
    assert [report.ok for _, report in world.reports] == [True]


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (b"\x00", "a frame is a JSON object as text"),
        ("", "not a frame of the console: Input data was truncated"),
        ("[]", "not a frame of the console: Expected `object`, got `array`"),
        ("[" * 10_000, "not a frame of the console: "),
        ("{}", "a frame has `view` or `action`"),
        ('{"view": "secrets"}', "not a frame of the console: Invalid enum value 'secrets' - at `$.view`"),
        ('{"view": 5}', "not a frame of the console: Expected `str | null`, got `int` - at `$.view`"),
        ('{"view": "overview", "more": 1}', "not a frame of the console: Object contains unknown field `more`"),
        ('{"view": "integration"}', "the view `integration` has the label of one in `integration`"),
        ('{"view": "tap", "patterns": ["a b"]}', "'a b' holds a space or control character"),
        ('{"action": {"id": 1, "do": "stop"}}', "not a frame of the console: Invalid enum value 'stop'"),
        ('{"action": {"id": 1e400, "do": "pause"}}', "not a frame of the console: "),
    ],
)
async def test_frames_that_are_none(world, frame, why):
    """The reason is told, the place with it, and the next frame is taken."""
    async with world.console() as console:
        console.say(frame)
        console.say({"view": "overview"})
        await world.clock.advance(1.5)
        _, error, overview = console.taken()
        assert error["type"] == "error"
        assert why in error["message"]
        assert overview["type"] == "overview"


async def test_a_console_that_does_not_read_is_dropped(world):
    """After ten seconds its connection is cut; others are served meanwhile."""
    async with world.console() as stuck, world.console() as other:
        stuck.reads = False
        for console in (stuck, other):
            console.say({"view": "overview"})
        await world.clock.advance(9.9)
        assert not stuck.dropped
        await world.clock.advance(0.2)
        assert stuck.dropped
        assert len(other.taken()) == 1 + 6


async def test_a_flood_of_frames_waits(world):
    """Frames are taken at twenty a second; while nobody reads the answers, none is."""
    async with world.console() as console:
        for _ in range(200):
            console.say("{}")
        await world.clock.advance(2)
        assert 40 <= len(console.taken()) <= 42
        console.reads = False
        await world.clock.advance(5)
        assert console.incoming.qsize() > 100
        assert not console.dropped


async def test_without_events():
    """Where events are not shown there is no tap, and dead letters have no payload; all else is there."""
    world = World(shows_events=False)
    letter = msgspec.convert(examples.RESULTS["bridge.dead_letters"]["letters"][0], Letter)
    world.inspection = msgspec.structs.replace(INSPECTION, dead_letters=[letter])
    async with world.console() as console:
        console.say({"view": "tap", "patterns": []})
        await world.clock.advance(0.1)
        hello, error = console.taken()
        assert hello["tap"] is False
        assert "console { tap = true }" in error["message"]
        assert world.bus.watcher is None
        console.say({"view": "integration", "integration": "backend_api"})
        await world.clock.advance(0.1)
        (event,) = (one["event"] for one in console.taken()[0]["data"]["dead_letters"])
        assert (event["payload"], event["headers"], event["event_type"]) == ("***", None, letter.event.event_type)
