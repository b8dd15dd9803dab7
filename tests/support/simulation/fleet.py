"""Several bridges of one fabric in one simulated world, each on a bus of its own."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from bridge.core.fabric import USED
from bridge.core.model import Event
from bridge.simulation import Simulation
from bridge.simulation.cluster import MemoryCluster
from bridge.simulation.loop import START, VirtualClock, VirtualLoop
from bridge.simulation.simulation import LOCAL
from tests.support.simulation.configured import configured

CARRIER = """
integration "cluster" {
  type = "nats"
  endpoint {
    url = "nats://127.0.0.1:4222"
  }
}
"""
#: A tick a second, as the event `job.due` of one node.
TICK = """
integration "clock" {
  type = "timer"
  config {
    every = "1s"
  }
}
subscription "job" {
  integration = "clock"
  topic       = "default"
  emit        = "job.due"
  singleton   = "plant"
}
"""


class Fleet:
    """The bridges by node, and the broker that they share.

    Attributes:
        broker: What carries the fabric.
        nodes: The bridges.
    """

    def __init__(self, nodes: dict[str, Simulation], broker: MemoryCluster, loop: VirtualLoop) -> None:
        self.broker = broker
        self.nodes = nodes
        self._loop = loop

    def __getitem__(self, node: str) -> Simulation:
        return self.nodes[node]

    @property
    def now(self) -> float:
        """The seconds since the beginning."""
        return self._loop.time() - START

    def start(self) -> None:
        """Start all of them."""
        for one in self.nodes.values():
            one.start()

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Do something later, in seconds since the beginning."""
        next(iter(self.nodes.values())).at(seconds, action)

    def run(self, until: float) -> None:
        """Let time pass until so many seconds since the beginning. Raises what has ended a process."""
        for one in self.nodes.values():
            one.run(until, settle=False)

    def events(self, node: str, event_type: str) -> list[Event]:
        """Return the events of a type that were said on a node's bus."""
        return [said.event for said in self.nodes[node].record.events(event_type)]


@contextlib.contextmanager
def fleet(folder: Path, texts: dict[str, str], *, seed: int = 0, steady: bool = False) -> Iterator[Fleet]:
    """Make bridges, each from its node's configuration; `node` in a `fabric` block must be the key."""
    loop = VirtualLoop()
    broker = MemoryCluster(VirtualClock(loop), servers=3)
    with contextlib.ExitStack() as stack:
        nodes = {}
        for number, (node, text) in enumerate(texts.items()):
            place = folder / node
            place.mkdir()
            world = Simulation(
                configured(place, CARRIER + text),
                seed=seed * 100 + number,
                loop=loop,
                broker=broker,
                node=node,
                local={*LOCAL, USED},
                steady=steady,
            )
            nodes[node] = stack.enter_context(world)
        yield Fleet(nodes, broker, loop)
