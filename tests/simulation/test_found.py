"""What random scenarios have found, each as the smallest one that showed it."""

from functools import partial
from pathlib import Path

from bridge.simulation import Answer, Simulation
from bridge.simulation.faults import Fault, plan
from bridge.simulation.invariants import finish, violations
from tests.support.simulation.configured import BROKER, configured

_ROUTE = """
bridge {
  outbox {
    max_age = "60s"
  }
}
route "out" {
  on          = ["order.created"]
  integration = "events"
  operation   = "publish"
  topic       = "out"
  message     = event.payload
  delivery    = "at_least_once"
  receipts    = true
  key         = "one"
}
"""


def test_drain_and_resume_right_behind_each_other(tmp_path: Path) -> None:
    """Who resumes an integration before its drain is over has it running, and not stopped without an end."""
    configuration = configured(tmp_path, BROKER + _ROUTE)
    with Simulation(configuration) as world:
        for command in ("drain", "resume"):
            world.at(1, partial(world.emit, f"integration.events.{command}", {}, correlation_id=command))
        world.at(2, partial(world.emit, "order.created", {"n": 1}, correlation_id="c"))
        world.start()
        record = world.run(600)
        assert [one.event.payload["ok"] for one in record.events("response.order.created")] == [True]
        assert record.events("health.events")[-1].event.payload["status"] == "connected"
        assert violations(finish(world, configuration)) == []


def test_an_event_that_is_too_old_at_a_start_while_the_disk_fails(tmp_path: Path) -> None:
    """It ends once, although it is read from the disk again before that takes its end."""
    configuration = configured(tmp_path, BROKER + _ROUTE)
    with Simulation(configuration) as world:
        world.at(2, partial(world.emit, "order.created", {"n": 1}, correlation_id="c"))
        killed = Fault(10, 70, "killed")
        plan(world, [Fault(1, 78, "down", "events"), Fault(79, 20, "disk_broken"), killed])
        world.start()
        record = world.run(600)
        assert len(record.events("receipt.events.dead_lettered")) == 1
        assert violations(finish(world, configuration)) == []


def test_events_of_a_key_that_grow_too_old_while_the_disk_fails(tmp_path: Path) -> None:
    """Each ends once, as a dead letter; none is begun again when the disk works."""
    configuration = configured(tmp_path, BROKER + _ROUTE)
    with Simulation(configuration) as world:
        for number, seconds in enumerate((2, 5, 5)):
            world.at(seconds, partial(world.emit, "order.created", {"n": number}, correlation_id=f"c{number}"))
        plan(world, [Fault(1, 100, "down", "events"), Fault(50, 20, "disk_broken")])
        world.start()
        record = world.run(600)
        assert len(record.events("receipt.events.dead_lettered")) == 3
        assert record.attempts() == []
        assert violations(finish(world, configuration)) == []


def test_a_process_that_is_about_to_start_is_not_restarted(tmp_path: Path) -> None:
    """A fault that comes in the moment of a start does not start one more process after the end of the run."""
    configuration = configured(tmp_path, BROKER + _ROUTE)
    with Simulation(configuration) as world:
        plan(world, [Fault(1, 1, "killed"), Fault(2, 0, "restarted")])
        world.start()
        world.run(60)
        assert violations(finish(world, configuration)) == []


def test_a_remote_that_was_slow_at_its_last_check(tmp_path: Path) -> None:
    """It counts as degraded until the next check is fast; a run that ends before that breaks no invariant."""
    configuration = configured(tmp_path, BROKER)
    with Simulation(configuration) as world:
        plan(world, [Fault(1, 40, "slow", "events", 3)])
        world.start()
        record = world.run(41.5)
        assert record.events("health.events")[-1].event.payload["status"] == "degraded"
        assert violations(finish(world, configuration)) == []


def test_a_key_that_comes_again_when_its_answer_was_forgotten(tmp_path: Path) -> None:
    """Answers that have no room are forgotten; the event is delivered twice then, which is no fault of the order."""
    configuration = configured(tmp_path, BROKER + _ROUTE.replace('"60s"', '"60s"\n    max_bytes = "64KiB"'))
    with Simulation(configuration, answers={"events": [Answer(result="x" * 20_000)]}) as world:
        for seconds in (1, 2):
            world.at(seconds, partial(world.emit, "order.created", {"n": 1}, headers={"idempotency_key": "k"}))
        world.start()
        record = world.run(60)
        assert len(record.attempts()) == 2
        assert violations(finish(world, configuration)) == []
