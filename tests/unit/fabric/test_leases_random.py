"""Three nodes with random faults: no tick twice, no terms that overlap, and no gap of 15 s while a node is well."""

import random
from typing import Final

import pytest

from bridge.simulation.cluster import MemoryCluster
from tests.support.clock import FakeClock
from tests.support.fabric.lease_nodes import LeaseNode, Said, nodes_that_freeze

SEEDS: Final = 200
#: Seconds of one run, and seconds without a fault at its end.
LONG: Final = 240
QUIET: Final = 16
#: Seconds that a gap may have while a node is well, the difference of the clocks apart.
MOST: Final = 15.0
#: Seconds that a wall clock is ahead or behind, at most.
AHEAD: Final = 0.5


class Run:
    """One run from a seed.

    Attributes:
        well: Since when each node is well: it runs, and nothing was wrong with its connection.
        processes: All processes, also those that were killed.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.seed = seed
        self.clock = FakeClock()
        self.cluster = MemoryCluster(self.clock)
        self.cluster.latency = self.rng.choice([0.0, 0.002, 0.02, 0.2])
        self.said: list[Said] = []
        self.processes: list[LeaseNode] = []
        self.nodes: dict[str, LeaseNode] = {}
        self.well: dict[str, float] = {}
        self.sick: dict[str, float] = {}
        for name in "abc":
            self.start(name)

    def start(self, name: str) -> None:
        """Start a process of a node."""
        node = LeaseNode(
            name,
            self.cluster,
            self.clock,
            self.said,
            run=str(len(self.processes)),
            seed=self.seed,
            ahead=self.rng.uniform(-AHEAD, AHEAD),
        )
        self.nodes[name] = node
        self.processes.append(node)

    async def go(self) -> None:
        """Let the nodes run, with faults until shortly before the end."""
        until = self.clock.monotonic() + LONG
        while self.clock.monotonic() < until:
            await self.clock.advance(self.rng.choice([0.001, 0.01, 0.3, 1.0]))
            self.watch()
            if self.clock.monotonic() < until - QUIET and self.rng.random() < 0.05:
                self.fault()

    def fault(self) -> None:
        """Let something happen to one node, more often than not the one that leads."""
        leaders = [name for name, node in self.nodes.items() if node.leases.held()]
        name = self.rng.choice(leaders * 3 + [*self.nodes])
        if self.sick.get(name, 0.0) > self.clock.monotonic():
            return
        node, seconds = self.nodes[name], self.rng.choice([0.01, 0.5, 3, 5.9, 6.1, 8.9, 9.1, 10, 12, 25, 60])
        match self.rng.choice(["freeze", "freeze", "freeze", "kill", "silence", "to", "from", "lose", "resign"]):
            case "freeze":
                self._freeze_in_some_round(node, seconds)
            case "kill":
                node.kill()
                self.clock.call_later(seconds, lambda: self.start(name))
            case "silence" | "to" | "from" as way:
                self.cluster.silence(name, direction="both" if way == "silence" else way)  # type: ignore[arg-type]
                self.clock.call_later(seconds, lambda: self._heal(name))
            case "lose":
                if node.session is not None:
                    node.session.lose()
            case "resign":
                node.lease.resign()
                self.clock.call_later(seconds, node.lease.campaign)
        self.sick[name] = self.clock.monotonic() + seconds

    def _heal(self, name: str) -> None:
        """Let a link pass again, in half of the cases as another connection."""
        session = self.nodes[name].session
        if session is not None and self.rng.random() < 0.5:
            session.lose()
        self.cluster.heal(name)

    def _freeze_in_some_round(self, node: LeaseNode, seconds: float) -> None:
        """Freeze a node at some await of the tasks that run next."""
        left = self.rng.randrange(0, 30)

        def look() -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                self.clock.each_round = lambda: None
                if not node.is_dead:
                    node.freeze(seconds)
                    self.sick[node.name] = self.clock.monotonic() + seconds

        self.clock.each_round = look

    def watch(self) -> None:
        """Check that something was said within the last seconds, while a node was well all that time."""
        now = self.clock.monotonic()
        for name, node in self.nodes.items():
            is_well = self.sick.get(name, 0.0) <= now and not node.is_dead and not node.is_frozen
            if not is_well or node.session is None:
                self.well.pop(name, None)
            else:
                self.well.setdefault(name, now)
        since = min(self.well.values(), default=now)
        last = self.said[-1].at if self.said else 0.0
        # Where a node takes the lease and fails at once, the time begins anew: that is another failure.
        last = max([last, *(at for node in self.processes for at, change in node.told[-1:] if change.node)])
        assert now - max(since, last) < MOST + 2 * AHEAD, f"seed {self.seed}: nothing was said since {last}"

    def check(self) -> None:
        """Check what was said and told."""
        where = f"seed {self.seed}"
        ticks = [one.tick for one in self.said]
        assert ticks == sorted(set(ticks)), where
        terms = [one.term or 0 for one in self.said]
        assert terms == sorted(terms), where
        assert 0 not in terms, where
        assert len({(one.term, one.run) for one in self.said}) == len(set(terms)), where
        for one in {one.term: one for one in reversed(self.said)}.values():
            [node] = [node for node in self.processes if node.run == one.run]
            told = [change for at, change in node.told if change.term == one.term and at <= one.at]
            assert told, f"{where}: term {one.term} was not told on the bus of {one.node}"
            assert told[0].node == one.node, where
            assert one.term == min(terms) or any(change.gap_ms is not None for change in told), where


@pytest.mark.parametrize("part", range(8))
async def test_random_faults(part: int) -> None:
    """Suspensions at any await, kills, partitions of each direction, lost answers and reloads: see the module."""
    leaders: list[int] = []
    with nodes_that_freeze():
        for seed in range(part, SEEDS, 8):
            run = Run(seed)
            try:
                await run.go()
            finally:
                run.clock.each_round = lambda: None
                for node in run.processes:
                    await node.close()
            run.check()
            leaders.append(len({one.run for one in run.said}))
        assert sum(leaders) / len(leaders) > 2.5, "too little happened"
