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
