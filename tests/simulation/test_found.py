"""What random scenarios have found, each as the smallest one that showed it."""

from functools import partial
from pathlib import Path

from bridge.simulation import Simulation
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
