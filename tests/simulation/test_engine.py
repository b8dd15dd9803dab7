"""The simulation itself: virtual time, the bus in memory, stand-ins for remotes, processes that are killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.config import Configuration
from bridge.core.errors import NotConnectedError
from bridge.simulation import Answer, Delivered, EndlessLoopError, LogLine, SessionChange, Simulation
from bridge.simulation.loop import START, VirtualLoop
from tests.support.simulation.configured import BROKER, SHOP, configured
from tests.support.simulation.story import story


@pytest.fixture
def shop(tmp_path: Path) -> Configuration:
    """A JSON-RPC integration with a durable route."""
    return configured(tmp_path, SHOP)


@pytest.fixture
def broker(tmp_path: Path) -> Configuration:
    """An MQTT integration with a subscription."""
    return configured(tmp_path, BROKER)


def test_an_order_survives_two_failures(shop: Configuration) -> None:
    """A call that surely was not sent is tried again by the real guard; the answer comes after its virtual time."""
    failed, good = Answer(error="not_connected"), Answer(result={"number": 7}, after=0.3)
    with Simulation(shop, answers={"shop": [failed, failed, good]}) as world:
        world.at(0, lambda: world.emit("order.created", {"id": 1}, correlation_id="c1"))
        world.start()
        record = world.run(3600)
        assert [one.outcome for one in record.attempts("shop")] == ["not_connected", "not_connected", "ok"]
        (confirmed,) = record.events("order.confirmed")
        assert confirmed.event.payload == {"number": 7}
        assert 300 <= confirmed.at_ms < 2000
        assert world.now_ms < 10_000, "it ends as soon as nothing is left to do"
        assert world.finish() == []


def test_an_accepted_event_survives_a_killed_process(shop: Configuration) -> None:
    """What was committed is delivered by the next process on the same disk; the remote sees the same key."""
    with Simulation(shop, answers={"shop": [Answer(error="timeout")]}) as world:
        world.at(0, lambda: world.emit("order.created", {"id": 1}, headers={"idempotency_key": "k"}))
        world.at(1, world.kill)
        world.at(2, lambda: setattr(world.remotes["shop"], "answers", ()))
        world.at(2, world.start_soon)
        world.start()
        record = world.run(60)
        assert [one.idempotency_key for one in record.attempts("shop")] == ["k", "k"]
        assert len(record.events("receipt.shop.delivered")) == 1


def test_a_killed_process_says_nothing_more(shop: Configuration) -> None:
    """After `kill` nothing comes from that process: no event, no attempt, no goodbye."""
    with Simulation(shop) as world:
        world.start()
        world.at(1, world.kill)
        before = world.run(2)
        said = len(before.events())
        world.emit("order.created", {"id": 1})
        after = world.run(20, settle=False)
        assert [one.event.event_type for one in after.events()[said:]] == ["order.created"]
        assert after.attempts() == []


def test_messages_from_outside_wait_while_nobody_listens(broker: Configuration) -> None:
    """Without a listener a message is neither put on the bus nor acknowledged."""
    with Simulation(broker, listens=False) as world:
        world.at(0, lambda: world.deliver("metrics", "metrics/cpu", 1))
        world.start()
        record = world.run(30)
        (delivered,) = record.deliveries()
        assert delivered.outcome is None
        assert record.events("data.metrics") == []
        assert world.remotes["events"].unacknowledged() == [1]


def test_what_was_not_acknowledged_comes_again(broker: Configuration) -> None:
    """A message that waits when the session ends is delivered again in the next one."""
    with Simulation(broker, listens=False) as world:
        world.at(0, lambda: world.deliver("metrics", "metrics/cpu", 1))
        world.at(1, lambda: world.remotes["events"].end_sessions("cut"))
        world.start()
        record = world.run(30)
        assert [(one.attempts, one.outcome) for one in record.deliveries()] == [(1, "not acknowledged"), (2, None)]


@pytest.mark.parametrize("fault", ["down", "half_open", "frozen", "dies_opening"])
def test_a_session_comes_back(broker: Configuration, fault: str) -> None:
    """Whatever ends a session, the real keeper opens another one, and a message that came meanwhile arrives."""
    with Simulation(broker) as world:
        remote = world.remotes["events"]

        def break_it() -> None:
            if fault == "down":
                remote.down(True)
            elif fault == "half_open":
                remote.half_open()
            elif fault == "frozen":
                remote.frozen = True
            else:
                remote.dies_opening = 3
                remote.end_sessions("cut")

        def mend_it() -> None:
            remote.down(False)
            remote.thaw()

        world.at(1, break_it)
        world.at(2, lambda: world.deliver("metrics", "metrics/cpu", 1))
        world.at(60, mend_it)
        world.start()
        record = world.run(600)
        assert [one.outcome for one in record.deliveries()][-1] == "acknowledged"
        assert len(record.events("data.metrics")) == 1
        assert len([one for one in record if isinstance(one, SessionChange) and one.what == "opened"]) > 1
        assert world.finish() == []


def test_credentials_that_are_refused(broker: Configuration) -> None:
    """A remote that refuses credentials makes the integration `failed`."""
    with Simulation(broker) as world:
        world.remotes["events"].refuses = NotConnectedError("no", permanent=True)
        world.start()
        last = world.run(5).events("health.events")[-1]
        assert last.event.payload["status"] == "failed"


def test_hours_pass_in_no_time(broker: Configuration) -> None:
    """An hour of heartbeats and checks is simulated, to the millisecond, without waiting."""
    with Simulation(broker) as world:
        world.start()
        record = world.run(3600, settle=False)
        assert world.now_ms == 3_600_000
        assert len(record.events("health.bridge")) >= 720


def test_a_standstill_is_left_out(shop: Configuration) -> None:
    """A process that stood still for a minute takes no call for lost whose answer waits for it."""
    with Simulation(shop, answers={"shop": [Answer(result=1, after=5)]}, steady=True) as world:
        world.at(0, lambda: world.emit("order.created", {"id": 1}))
        world.at(1, lambda: world.stand_still(60))
        world.start()
        record = world.run(120)
        assert [one.outcome for one in record.attempts()] == ["ok"]
        assert len(record.events("order.confirmed")) == 1


def test_a_disk_that_refuses(shop: Configuration) -> None:
    """While nothing can be written events are refused; what was accepted before is delivered, and told once it can."""
    with Simulation(shop, answers={"shop": [Answer(result=1, after=2)]}) as world:
        for seconds, state in ((1, "broken"), (20, "good")):
            world.at(seconds, lambda state=state: setattr(world.disk, "state", state))  # type: ignore[misc]
        for number, seconds in enumerate((0, 5, 30)):
            world.at(seconds, lambda number=number: world.emit("order.created", {"id": number}, correlation_id="c"))  # type: ignore[misc]
        world.start()
        record = world.run(600)
        said = [one.event.payload["ok"] for one in record.events("response.order.created")]
        assert said == [False, True, True]
        assert len(record.attempts()) == 2


def test_what_goes_round_for_ever_is_an_error() -> None:
    """A callback that always schedules itself is found, in place of a test that never ends."""
    loop = VirtualLoop()

    def again() -> None:
        loop.call_soon(again)

    again()
    with pytest.raises(EndlessLoopError):
        loop.run_until(START + 1)
    loop.close()


def test_a_bug_ends_the_run(shop: Configuration, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that no part expects ends the process, and the simulation raises it."""
    with Simulation(shop) as world:
        world.start()
        assert world.gateway is not None
        monkeypatch.setattr(world.gateway._outbox, "accept", lambda *_, **__: 1 / 0)
        world.emit("order.created", {"id": 1})
        with pytest.raises(BaseExceptionGroup) as bug:
            world.run(5)
        assert bug.group_contains(ZeroDivisionError) if hasattr(bug, "group_contains") else bug.value.exceptions


def test_two_runs_are_equal_to_the_byte(tmp_path: Path) -> None:
    """The same seed gives the same record in another process, whatever the order of sets and the place of objects."""
    told = story(tmp_path)
    environ = {**os.environ, "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-m", "tests.support.simulation.story", str(tmp_path)]
    root = Path(__file__).parents[2]
    other = subprocess.run(command, cwd=root, env=environ, check=True, capture_output=True, text=True).stdout
    assert told == other
    assert "resilience.shop.retry" in told
    assert "the bridge starts again" in told


def test_the_log_is_part_of_the_record(broker: Configuration) -> None:
    """What the bridge logs is in the record and nowhere else, with the fields of the line."""
    with Simulation(broker) as world:
        world.at(1, lambda: world.remotes["events"].down(True))
        world.start()
        lines = [one for one in world.run(3) if isinstance(one, LogLine) and one.level == "warning"]
        assert lines[0].fields["integration"] == "events"
        assert not [one for one in world.record if isinstance(one, Delivered)]


@pytest.mark.parametrize(("end", "times"), [("kill", 2), ("stop", 1)])
def test_a_message_is_acknowledged_when_it_is_on_the_bus(broker: Configuration, end: str, times: int) -> None:
    """It comes again where the process is killed in the moment before, and not where it is stopped in order."""
    with Simulation(broker) as world:
        world.at(1, lambda: world.deliver("metrics", "metrics/cpu", 1))
        world.at(1.001, getattr(world, end))
        world.at(2, world.start_soon)
        world.start()
        record = world.run(60)
        outcomes = [one.outcome for one in record.deliveries("events")]
        assert outcomes == ["not acknowledged", "acknowledged"][-times:]
        assert len(record.events("data.metrics")) == times
