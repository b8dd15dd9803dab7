"""`bridge.overview` and `bridge.inspect`: what they show of a whole gateway on virtual time."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge.config import Configuration
from bridge.core.errors import NotConnectedError
from bridge.core.payloads import Overview
from bridge.observe.shared import Shared
from bridge.observe.views import Views, inspection_that_fits, overview_that_fits
from bridge.simulation import START_MS, Answer, Simulation
from tests.support.clock import FakeClock
from tests.support.simulation.configured import BROKER, SHOP, configured

#: A second JSON-RPC integration, with a route that is not durable and a short way to an open circuit.
DEPOT = """
integration "depot" {
  type = "json-rpc"
  endpoint {
    url = "http://127.0.0.1:1/rpc"
  }
  auth {
    type  = "bearer"
    token = "a-secret-token"
  }
  resilience {
    retry {
      max_attempts = 1
    }
    circuit_breaker {
      failure_threshold = 3
    }
  }
}
route "stock" {
  on          = "stock.*"
  integration = "depot"
  operation   = "request"
  method      = "stock.set"
}
"""


@pytest.fixture
def house(tmp_path: Path) -> Configuration:
    """Two JSON-RPC integrations with a route each, and an MQTT integration with a subscription."""
    return configured(tmp_path, SHOP + DEPOT + BROKER)


def _ask(world: Simulation, event_type: str, payload: Any = None) -> Any:
    """Ask the bridge now, and return the response's payload."""
    before = len(world.record.events(f"response.{event_type}"))
    world.emit(event_type, payload, correlation_id="seen")
    world.run(world.now_ms / 1000 + 0.5, settle=False)
    answers = world.record.events(f"response.{event_type}")[before:]
    assert len(answers) == 1
    return answers[0].event.payload


def _overview(world: Simulation) -> Any:
    """Return the overview as it is now; the sums in it are those of health."""
    result = _ask(world, "bridge.overview")["result"]
    assert result["bridge"]["integrations"] == {row["integration"]: row["status"] for row in result["integrations"]}
    return result


def _row(overview: Any, name: str) -> Any:
    return next(row for row in overview["integrations"] if row["integration"] == name)


def _problems(overview: Any) -> list[tuple[str, str, list[str]]]:
    return [(one["kind"], one["text"], one["integrations"]) for one in overview["problems"]]


def _emit_each_second(world: Simulation, event_type: str, seconds: Iterable[int]) -> None:
    for second in seconds:
        world.at(second, lambda: world.emit(event_type, {}))


def test_rates_and_series_follow_what_happens(house: Configuration) -> None:
    """Two events a second for a minute show as two operations a second, in the row, for all, and for the route."""
    with Simulation(house, answers={"depot": [Answer(result=1, after=0.003)]}) as world:
        _emit_each_second(world, "stock.up", range(60))
        _emit_each_second(world, "stock.down", range(60))
        world.start()
        world.run(60.1, settle=False)
        seen = _overview(world)
        row = _row(seen, "depot")
        assert row["rates"] | {"messages": 0.0} == seen["rates"]
        assert row["rates"]["succeeded"] == pytest.approx(2, rel=0.1)
        assert row["rates"]["failed"] == 0
        assert 2.5 <= row["rates"]["p50_ms"] <= row["rates"]["p95_ms"] <= 5
        assert sum(row["series"]["succeeded"]) == 120 == sum(seen["series"]["succeeded"])
        assert row["series"]["succeeded"][-5:] == [0, 30, 30, 30, 30]
        assert "series" not in _row(seen, "shop")
        route = next(one for one in seen["routes"] if one["route"] == "stock")
        assert (route["succeeded"], route["failed"], route["on"]) == (120, 0, ["stock.*"])
        assert route["rate"] == pytest.approx(2, rel=0.1)
        assert seen["problems"] == []


def _broken(world: Simulation, name: str, message: str, *, permanent: bool = False) -> None:
    """Let a remote refuse connections from now on, and end its sessions."""
    remote = world.remotes[name]
    remote.refuses = NotConnectedError(message, permanent=permanent)
    remote.end_sessions("cut")


def test_the_same_trouble_of_several_integrations_is_one_problem(tmp_path: Path) -> None:
    """Two brokers that refuse connections are one problem with both names; addresses that differ are left out."""
    more = BROKER.replace('"events"', '"alarms"').replace('"metrics"', '"bells"')
    with Simulation(configured(tmp_path, BROKER + more)) as world:
        for number, name in enumerate(("events", "alarms")):
            words = f"no connection to 10.0.0.{number}:188{number}: connection refused"
            world.at(10, lambda name=name, words=words: _broken(world, name, words))  # type: ignore[misc]
        world.start()
        world.run(30, settle=False)
        seen = _overview(world)
        (problem,) = seen["problems"]
        assert problem["text"] == "disconnected: not_connected: no connection to …: connection refused"
        assert (problem["kind"], problem["severity"]) == ("disconnected", "error")
        assert problem["integrations"] == ["alarms", "events"]
        assert problem["since"] == _row(seen, "events")["since"] == START_MS + 10_000
        assert _row(seen, "events")["error"]["message"] == "no connection to 10.0.0.0:1880: connection refused"
        for remote in world.remotes.values():
            remote.down(False)
        world.run(120, settle=False)
        assert _overview(world)["problems"] == []


def test_equal_texts_are_shown_as_they_are(tmp_path: Path) -> None:
    """Two integrations of the same dead host have its address in their problem; another trouble is another one."""
    more = BROKER.replace('"events"', '"alarms"').replace('"metrics"', '"bells"')
    with Simulation(
        configured(tmp_path, BROKER + more + BROKER.replace('"events"', '"third"').replace('"metrics"', '"x"'))
    ) as world:
        for name in ("events", "alarms"):
            world.at(10, lambda name=name: _broken(world, name, "no connection to 10.0.0.1:1883: refused"))  # type: ignore[misc]
        world.at(20, lambda: _broken(world, "third", "bad password", permanent=True))
        world.start()
        world.run(30, settle=False)
        assert _problems(_overview(world)) == [
            ("failed", "failed: not_connected: bad password", ["third"]),
            (
                "disconnected",
                "disconnected: not_connected: no connection to 10.0.0.1:1883: refused",
                ["alarms", "events"],
            ),
        ]


def test_an_open_circuit_is_told_with_the_failure_that_opened_it(house: Configuration) -> None:
    """Its beginning is the opening, also while it is probed; when it is closed, the failures are told for a minute."""
    with Simulation(house, answers={"depot": [Answer(error="unavailable", message="out of order")]}) as world:
        _emit_each_second(world, "stock.up", range(5, 120))
        world.at(60, lambda: setattr(world.remotes["depot"], "instead", Answer(result=1)))
        world.start()
        world.run(58, settle=False)
        seen = _overview(world)
        problem = ("circuit", "circuit open: unavailable: out of order", ["depot"])
        assert _problems(seen) == [problem]
        assert seen["problems"][0]["since"] == START_MS + 7_000
        row = _row(seen, "depot")
        assert (row["status"], row["error"]["message"], row["circuit"]) == ("degraded", "out of order", "open")
        assert seen["integrations"][0] == row, "what is not well comes first"
        world.run(110, settle=False)
        (problem,) = _problems(_overview(world))
        assert problem == (
            "operations",
            "44 of 50 operations failed in the last minute, the last one with unavailable: out of order",
            ["depot"],
        )
        world.run(250, settle=False)
        assert _problems(_overview(world)) == []


def test_a_circuit_that_was_opened_by_hand(house: Configuration) -> None:
    """It says so, and so do commands that pause or drain."""
    with Simulation(house) as world:
        world.at(1, lambda: world.emit("integration.depot.circuit.force_open", {}))
        world.at(1, lambda: world.emit("integration.shop.pause", {}))
        world.at(1, lambda: world.emit("integration.events.drain", {}))
        world.start()
        world.run(3, settle=False)
        assert _problems(_overview(world)) == [
            ("circuit", "circuit open: opened by hand", ["depot"]),
            ("paused", "paused", ["shop"]),
            ("stopped", "stopped", ["events"]),
        ]


def test_operations_that_fail_at_a_remote_that_works(house: Configuration) -> None:
    """Where one in ten fails, it is told with the last error; where it is one in a hundred, it is not."""
    rejected = Answer(error="rejected", message="no such product 17", code=404)
    with Simulation(house, answers={"depot": [rejected, *[Answer(result=1)] * 3] * 20}) as world:
        _emit_each_second(world, "stock.up", range(80))
        world.start()
        world.run(80, settle=False)
        seen = _overview(world)
        (problem,) = seen["problems"]
        words = "12 of 50 operations failed in the last minute, the last one with rejected: no such product 17"
        assert problem["text"] == words
        assert (problem["kind"], problem["since"]) == ("operations", START_MS)
    with Simulation(house, answers={"depot": [rejected, *[Answer(result=1)] * 99]}) as world:
        _emit_each_second(world, "stock.up", range(80))
        world.start()
        world.run(80, settle=False)
        assert _overview(world)["problems"] == []


def test_dead_letters_are_told_until_they_are_dealt_with(house: Configuration) -> None:
    """They are counted by integration, over a restart, a replay and a discard; the inspection lists them."""
    with Simulation(house, answers={"shop": [Answer(error="rejected", message="no")]}) as world:
        for number in range(3):
            world.at(number, lambda: world.emit("order.created", {}))
        world.start()
        world.run(10, settle=False)
        seen = _overview(world)
        assert _problems(seen)[-1] == ("dead_letters", "3 dead letters to be replayed or discarded", ["shop"])
        assert START_MS <= seen["problems"][-1]["since"] < START_MS + 1000
        assert (_row(seen, "shop")["dead_letters"], seen["bridge"]["outbox"]["dead_letters"]) == (3, 3)
        world.restart()
        world.run(20, settle=False)
        seen = _overview(world)
        assert _row(seen, "shop")["dead_letters"] == 3
        assert START_MS <= seen["problems"][-1]["since"] < START_MS + 1000
        letters = _ask(world, "bridge.inspect", {"integration": "shop"})["result"]["dead_letters"]
        assert [letter["error"]["message"] for letter in letters] == ["no"] * 3
        world.remotes["shop"].instead = Answer(result=1)
        assert _ask(world, "bridge.replay", {"ids": [letters[0]["letter_id"]]})["result"] == {"moved": 1}
        assert _row(_overview(world), "shop")["dead_letters"] == 2
        assert _ask(world, "bridge.discard", {"limit": 1})["result"] == {"moved": 1}
        assert _row(_overview(world), "shop")["dead_letters"] == 1
        assert _ask(world, "bridge.discard")["result"] == {"moved": 1}
        seen = _overview(world)
        assert _row(seen, "shop")["dead_letters"] == 0
        assert "dead_letters" not in {one["kind"] for one in seen["problems"]}


def test_events_that_wait_for_long(house: Configuration) -> None:
    """Events in the outbox for an integration that is away are told after a minute, with how long the oldest waits."""
    with Simulation(house) as world:
        world.at(0, lambda: world.emit("integration.shop.pause", {}))
        world.at(1, lambda: world.emit("order.created", {}))
        world.at(2, lambda: world.emit("order.created", {}))
        world.start()
        world.run(30, settle=False)
        seen = _overview(world)
        assert (_row(seen, "shop")["pending"], _row(seen, "shop")["queued"]) == (2, 0)
        assert [one["kind"] for one in seen["problems"]] == ["paused"]
        world.run(70, settle=False)
        waiting, paused = _overview(world)["problems"]
        assert waiting["text"] == "2 events in the outbox, the oldest for more than a minute"
        assert (waiting["integrations"], waiting["since"]) == (["shop"], START_MS + 1000)
        assert paused["kind"] == "paused"


def test_an_outbox_that_accepts_nothing(house: Configuration) -> None:
    """A disk that is full is the first problem, and is over when it has room."""
    with Simulation(house) as world:
        world.start()
        world.at(3, lambda: setattr(world.disk, "state", "broken"))
        world.at(4, lambda: world.emit("order.created", {}))
        world.run(20, settle=False)
        problem = _overview(world)["problems"][0]
        assert (problem["kind"], problem["integrations"]) == ("outbox", [])
        assert problem["text"].startswith("the outbox accepts nothing: the disk does not take it")
        assert problem["since"] == START_MS + 5_000, "as the next sample has found it"
        world.disk.state = "good"
        world.run(60, settle=False)
        assert "outbox" not in {one["kind"] for one in _overview(world)["problems"]}


def test_events_of_an_integration_that_is_gone(tmp_path: Path) -> None:
    """Events that wait for an integration which a reload has removed are told, with its name."""
    both = configured(tmp_path, SHOP + BROKER)
    with Simulation(both) as world:
        world.at(0, lambda: world.emit("integration.shop.pause", {}))
        world.at(1, lambda: world.emit("order.created", {}))
        world.at(2, lambda: world.reload(configured(tmp_path, BROKER)))
        world.start()
        world.run(20, settle=False)
        seen = _overview(world)
        assert _problems(seen) == [("orphans", "1 event in the outbox for integrations that do not exist", ["shop"])]
        assert [row["integration"] for row in seen["integrations"]] == ["events"]
        assert seen["routes"] == []


def test_messages_that_become_no_events(tmp_path: Path) -> None:
    """They are counted for 15 minutes after the last one, and are then only a number in the row."""
    with Simulation(configured(tmp_path, BROKER.replace('"data.metrics"', '"data.${message.payload.name}"'))) as world:
        for second in (1, 2, 8):
            world.at(second, lambda: world.deliver("metrics", "metrics/cpu", {}))
        world.at(3, lambda: world.deliver("metrics", "metrics/cpu", {"name": "load"}))
        world.start()
        world.run(20, settle=False)
        seen = _overview(world)
        assert _problems(seen) == [("dropped", "3 messages from outside could not become an event", ["events"])]
        assert seen["problems"][0]["since"] == START_MS + 5_000
        row = _row(seen, "events")
        assert (row["dropped"], sum(row["series"]["messages"])) == (3, 4)
        (subscription,) = seen["subscriptions"]
        assert (subscription["subscription"], subscription["messages"]) == ("metrics", 4)
        world.run(920, settle=False)
        seen = _overview(world)
        assert (seen["problems"], _row(seen, "events")["dropped"]) == ([], 3)


def test_subscriptions_that_are_not_live(tmp_path: Path) -> None:
    """All that the remote refuses for the same reason are one problem with their number, beyond the 20 of health."""
    more = "".join(f'subscription "s{n}" {{\n  integration = "events"\n  topic = "t{n}"\n}}\n' for n in range(30))
    with Simulation(configured(tmp_path, BROKER + more)) as world:
        world.remotes["events"].refuses_topics = True
        world.start()
        world.run(20, settle=False)
        seen = _overview(world)
        assert _problems(seen) == [
            ("subscriptions", "31 subscriptions not live: failed: rejected: … is refused", ["events"])
        ]
        assert _row(seen, "events")["unwell"] == 31


def test_messages_that_wait_for_a_listener(tmp_path: Path) -> None:
    """While nobody on the bus listens, the topic and the event type are told."""
    with Simulation(configured(tmp_path, BROKER), listens=False) as world:
        world.at(2, lambda: world.deliver("metrics", "metrics/cpu", 1))
        world.start()
        world.run(20, settle=False)
        (problem,) = _views(world).overview().problems
        assert problem.text == "messages of 'metrics/#' wait, because nobody on the bus listens to 'data.metrics'"
        assert (problem.kind, problem.since, problem.integrations) == ("unheard", START_MS + 5_000, ["events"])
        world.at(21, lambda: world.listen(True))
        world.run(22, settle=False)
        assert _views(world).overview().problems == []


def _views(world: Simulation) -> Views:
    assert world.gateway is not None
    return world.gateway.views


def test_the_numbers_are_those_of_health(house: Configuration) -> None:
    """After a mixed run, status, overview and inspection say the same of each integration."""
    answers = {
        "depot": [Answer(error="unavailable"), Answer(result=1), Answer(error="rejected"), Answer(result=2)] * 5,
        "shop": [Answer(result=1), Answer(error="rejected"), Answer(error="not_connected")] * 5,
    }
    with Simulation(house, answers=answers) as world:
        _emit_each_second(world, "stock.up", range(25))
        _emit_each_second(world, "order.created", range(12))
        for second in range(10):
            world.at(second, lambda: world.deliver("metrics", "metrics/cpu", 1))
        world.start()
        world.run(60, settle=False)
        status, seen = _ask(world, "bridge.status")["result"], _overview(world)
        assert seen["bridge"].keys() == status["bridge"].keys()
        assert seen["bridge"]["outbox"] | {"oldest_ms": 0} == status["bridge"]["outbox"] | {"oldest_ms": 0}
        assert seen["bridge"]["integrations"] == status["bridge"]["integrations"]
        ended = {"succeeded": 0, "failed": 0, "messages": 0}
        for row in seen["integrations"]:
            health = status[row["integration"]]
            assert {key: row[key] for key in row.keys() & health.keys() - {"error", "warnings"}} == {
                key: health[key] for key in row.keys() & health.keys() - {"error", "warnings"}
            } | {"queued": row["queued"]}
            assert row["queued"] + row["pending"] == health["queued"]
            sums = health["accounting"]
            series = row.get("series", {"succeeded": [], "failed": [], "messages": []})
            assert sum(series["succeeded"]) == sums["succeeded"]
            assert sum(series["failed"]) == sum(sums[k] for k in ("failed", "dead_lettered", "expired", "shed"))
            assert sum(series["messages"]) == health["messages"]
            for key in ended:
                ended[key] += sum(series[key])
            found = _ask(world, "bridge.inspect", {"integration": row["integration"]})["result"]
            assert found["health"] == health
            assert found["row"] == row
            took = sum(bucket["count"] for buckets in found["durations"].values() for bucket in buckets)
            assert took <= found["attempts"]
            assert sum(found["failures"].values()) >= len(found["failed"])
        assert {key: sum(seen["series"][key]) for key in ended} == ended
        assert ended["messages"] == 10


def test_an_inspection_has_attempts_circuit_and_settings_without_secrets(house: Configuration) -> None:
    """The newest failure comes first, with its attempts; secrets are masked."""
    with Simulation(house, answers={"shop": [Answer(error="not_connected", message="away")]}) as world:
        world.at(
            1,
            lambda: world.emit(
                "integration.shop.request", {"method": "m", "params": {"pin": "1234-secret"}}, correlation_id="c7"
            ),
        )
        world.at(1, lambda: world.emit("integration.depot.circuit.force_open", {}))
        world.start()
        world.run(30, settle=False)
        answer = _ask(world, "bridge.inspect", {"integration": "shop"})
        found = answer["result"]
        failed = found["failed"][0]
        assert (failed["correlation_id"], failed["attempts"], len(failed["history"])) == ("c7", 3, 3)
        assert (found["attempts"], found["retries"], found["failures"]) == (3, 2, {"not_connected": 1})
        assert [one["topic"] for one in found["subscriptions"]] == []
        assert [one["route"] for one in found["routes"]] == ["orders"]
        assert sum(bucket["count"] for bucket in found["durations"]["request"]) == 1
        assert found["durations"]["request"][-1]["up_to_ms"] is None
        assert found["configuration"]["endpoint.url"] == "http://127.0.0.1:1/rpc"
        depot = _ask(world, "bridge.inspect", {"integration": "depot"})["result"]
        assert [one["state"] for one in depot["circuit"]] == ["open"]
        assert depot["configuration"]["auth.token"] == "***"
        assert "secret" not in json.dumps([found, depot])


def test_a_name_that_does_not_exist(house: Configuration) -> None:
    """The answer has the name that was probably meant; what is no name is refused with the place."""
    with Simulation(house) as world:
        world.start()
        error = _ask(world, "bridge.inspect", {"integration": "depott"})["error"]
        assert (error["kind"], error["message"]) == (
            "unknown_integration",
            "there is no integration 'depott'; did you mean 'depot'?",
        )
        for payload, words in (
            (None, "inspect: Expected `object`, got `None`"),
            ({}, "inspect: Object missing required field `integration`"),
            ({"integration": ""}, "inspect: Expected `str` of length >= 1 - at `$.integration`"),
            ({"integration": "shop", "more": 1}, "inspect: Object contains unknown field `more`"),
        ):
            error = _ask(world, "bridge.inspect", payload)["error"]
            assert (error["kind"], error["message"]) == ("invalid", words)
        assert _ask(world, "bridge.overview", {"what": 1})["error"]["kind"] == "invalid"


def test_an_integration_of_another_bridge(house: Configuration) -> None:
    """The bridge that has it answers, and this one is silent; what nobody has is answered by each."""
    with Simulation(house) as world:
        world.start()
        world.emit("health.garden", {"status": "connected"}, source="bridge/other")
        world.run(1, settle=False)
        world.emit("bridge.inspect", {"integration": "garden"}, correlation_id="c")
        world.run(2, settle=False)
        assert world.record.events("response.bridge.inspect") == []


def test_a_removed_integration_and_one_that_is_replaced(tmp_path: Path) -> None:
    """After a reload the overview has the integrations that there are, and their sums are those of health."""
    with Simulation(configured(tmp_path, SHOP + DEPOT)) as world:
        _emit_each_second(world, "stock.up", range(10))
        world.at(12, lambda: world.reload(configured(tmp_path, SHOP + DEPOT.replace('"3"', '"4"'))))
        _emit_each_second(world, "stock.up", range(20, 25))
        world.at(40, lambda: world.reload(configured(tmp_path, SHOP)))
        world.start()
        world.run(39, settle=False)
        assert sum(_row(_overview(world), "depot")["series"]["succeeded"]) == 15
        world.run(50, settle=False)
        seen = _overview(world)
        assert [row["integration"] for row in seen["integrations"]] == ["shop"]
        assert sum(seen["series"]["succeeded"]) == 15
        assert [one["route"] for one in seen["routes"]] == ["orders"]
        error = _ask(world, "bridge.inspect", {"integration": "depot"})["error"]
        assert error["kind"] == "unknown_integration"


def test_programs_that_ask_again_and_again(house: Configuration, monkeypatch: pytest.MonkeyPatch) -> None:
    """They share an overview for a hundred times as long as it took to make; one who asks later gets a new one."""
    clock = FakeClock()
    with Simulation(house) as world:
        world.start()
        world.run(1, settle=False)
        views = _views(world)
        made = views.overview()

        def overview() -> Overview:
            clock.fire(0.03)
            return msgspec.structs.replace(made, at=clock.wall_ms())

        monkeypatch.setattr(views, "_shared_overview", Shared(overview, clock))
        first = views.overview_for_bus(1 << 20)
        assert views.shared_overview() is first
        clock.fire(2.9)
        assert views.overview_for_bus(1 << 20) is first
        clock.fire(0.1)
        second = views.overview_for_bus(1 << 20)
        assert second.at > first.at
        assert views.shared_overview() is second


def test_views_that_are_too_large_for_the_bus(house: Configuration) -> None:
    """First the series go, then routes and subscriptions; of an inspection the ends of the lists."""
    with Simulation(house, answers={"depot": [Answer(error="rejected", message="x" * 400)]}) as world:
        _emit_each_second(world, "stock.up", range(60))
        world.start()
        world.run(60, settle=False)
        overview = _views(world).overview()
        overview = msgspec.structs.replace(overview, routes=overview.routes * 250)
        size = len(msgspec.msgpack.encode(overview))
        assert overview_that_fits(overview, size) is overview
        shorter = overview_that_fits(overview, size - 1)
        assert [row.series for row in shorter.integrations] == [msgspec.UNSET] * 3
        assert len(shorter.routes) == 500
        small = overview_that_fits(overview, 20_000)
        assert len(msgspec.msgpack.encode(small)) <= 20_000
        assert 0 < len(small.routes) < 500
        assert small.problems == overview.problems
        inspection = world.loop.run_until_complete(_views(world).inspect("depot"))
        assert len(inspection.failed) == 50
        assert inspection_that_fits(inspection, 1 << 20) is inspection
        small_one = inspection_that_fits(inspection, 20_000)
        assert len(msgspec.msgpack.encode(small_one)) <= 20_000
        assert small_one.failed == inspection.failed[: len(small_one.failed)] != []
