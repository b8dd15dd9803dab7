"""A timer of one second that runs on one node of the fabric, while the node with the lease is killed or suspended."""

import asyncio
import random
import time
from dataclasses import dataclass
from typing import Any, Final

from tests.load.fabric.ear import Event
from tests.load.fabric.report import Report
from tests.load.fabric.stand import CARRIER, FABRIC, Node, Stand, stand

TICK: Final = "chaos.tick"
SUBSCRIPTION: Final = "tick"
NAMES: Final = ("n1", "n2", "n3")
#: Milliseconds between two ticks, and the longest time without one that is allowed.
EVERY: Final = 1000
LONGEST: Final = 15_000
#: Milliseconds without a tick from which on a bus must be told why.
_TOLD: Final = 3000
#: Milliseconds after a gap within which it is told.
_LATE: Final = 3000
#: Seconds that a killed node stays away, and that a suspended one stands still.
_AWAY: Final = (0.5, 5.0)
_FROZEN: Final = (2.0, 20.0)
#: Seconds without a tick after which the fabric has no leader, for whoever waits for one.
_NONE: Final = 40.0


def timer() -> str:
    """Return the configuration of the timer and its subscription, the same for each node."""
    return f"""
integration "clock" {{
  type = "timer"
  config {{
    schedule "{SUBSCRIPTION}" {{
      every = "1s"
    }}
  }}
}}

subscription "{SUBSCRIPTION}" {{
  integration = "clock"
  topic       = "{SUBSCRIPTION}"
  emit        = "{TICK}"
  singleton   = "{FABRIC}"
}}
"""


def _text(name: str, _: int) -> str:
    return f"""
fabric "{FABRIC}" {{
  integration = "{CARRIER}"
  node        = "{name}"
  replicas    = 3
}}
{timer()}
"""


@dataclass(frozen=True)
class Tick:
    """A tick as a bus had it.

    Attributes:
        at: The moment that it stands for, in Unix milliseconds.
        node: The node on whose bus it was.
        heard: When it was heard, in Unix milliseconds.
        missed: How many ticks before it the timer of that node has missed, as the tick itself says.
    """

    at: int
    node: str
    heard: int
    missed: int


class Ticks:
    """All ticks of all nodes, and what the buses were told of leaders.

    Attributes:
        ticks: The ticks, in the order in which they were heard.
        told: When a bus was told of another leader (Unix milliseconds), on which node, and the payload.
    """

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self._nodes = nodes
        self.ticks: list[Tick] = []
        self.told: list[tuple[int, str, Any]] = []

    def take(self) -> None:
        """Read what has come on all buses."""
        for node in self._nodes:
            self.take_from(node)

    def take_from(self, node: Node) -> None:
        """Read what has come on the bus of one node."""
        for event in node.take():
            self.note(node, event)

    def note(self, node: Node, event: Event) -> None:
        """Note an event of the bus of one node."""
        now = time.time_ns() // 1_000_000
        if event["event_type"] == TICK:
            message = event["payload"]["message"]
            self.ticks.append(Tick(message["scheduled_at"], node.name, now, message["missed"]))
        elif event["event_type"] == f"resilience.fabric.{FABRIC}.lease":
            self.told.append((now, node.name, event["payload"]))

    async def next(self, *, other_than: str | None = None, seconds: float = _NONE) -> Tick:
        """Wait for the next tick, of another node where one is named; return it. Raises AssertionError after a time."""
        position, end = len(self.ticks), time.monotonic() + seconds
        while True:
            self.take()
            for tick in self.ticks[position:]:
                if tick.node != other_than:
                    return tick
            assert time.monotonic() < end, f"no tick within {seconds:g} s"
            await asyncio.sleep(0.01)

    def twice(self) -> list[object]:
        """Return the ticks that were said more than once, with the nodes that said them."""
        seen: dict[int, list[str]] = {}
        for tick in self.ticks:
            seen.setdefault(tick.at, []).append(tick.node)
        return [(at, nodes) for at, nodes in seen.items() if len(nodes) > 1]

    def gaps(self) -> list[tuple[Tick, Tick]]:
        """Return each two ticks that follow one another and are more than one interval apart."""
        return [(one, two) for one, two in zip(self.ticks, self.ticks[1:], strict=False) if two.at - one.at > EVERY]

    def untold(self) -> list[object]:
        """Return the longer gaps after which no bus was told of a new leader, and for how long there was none.

        A leader that stood still for less than the six seconds of its term keeps it. Its next tick tells the gap.
        """
        return [
            (two.at - one.at, one.node, two.node)
            for one, two in self.gaps()
            if two.at - one.at > _TOLD
            and (two.missed + 1) * EVERY < two.at - one.at
            and not any(
                one.at < at < two.heard + _LATE
                and payload["subscription"] == SUBSCRIPTION
                and payload["node"] == two.node
                and (payload["gap_ms"] or 0) > 0
                for at, _, payload in self.told
            )
        ]

    def judge(self, report: Report, *, longest: int = LONGEST) -> None:
        """Note what must never be."""
        report.note("ticks were said twice", self.twice())
        back = [(one, two) for one, two in zip(self.ticks, self.ticks[1:], strict=False) if two.at < one.at]
        report.note("ticks came after a later one", list(back))
        off = [tick for tick in self.ticks if tick.at % EVERY]
        report.note("ticks are at no whole second", list(off))
        long = [(two.at - one.at, one.node, two.node) for one, two in self.gaps() if two.at - one.at > longest]
        report.note(f"times there was no tick for more than {longest / 1000:g} s", list(long))
        report.note(f"gaps of more than {_TOLD / 1000:g} s were not told", self.untold())

    def figures(self) -> dict[str, str]:
        """Return what a person wants to know."""
        gaps = [two.at - one.at for one, two in self.gaps()]
        whole = (self.ticks[-1].at - self.ticks[0].at) // EVERY + 1 if self.ticks else 0
        return {
            "ticks": f"{len(self.ticks)} of {whole}",
            "twice": str(len(self.twice())),
            "gaps": f"{len(gaps)}, the longest {max(gaps, default=0) / 1000:.0f} s",
            "leaders": str(sum(one.node != two.node for one, two in zip(self.ticks, self.ticks[1:], strict=False)) + 1),
            "changes told": str(len(self.told)),
        }


async def run(seed: int, *, minutes: float, every: float) -> Report:
    """Let the timer run while its leader is killed or suspended again and again.

    Args:
        seed: Decides when, and which of the two.
        minutes: For how long.
        every: Mean seconds from the first tick of a new leader to its death or suspension.
    """
    report = Report(f"leaders, seed {seed}")
    with stand(_text, (TICK,), names=NAMES) as running:
        await running.joined()
        ticks = Ticks(running.nodes)
        await ticks.next()
        faults = _Faults(running, ticks, random.Random(seed), every)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(faults.run())
            end = time.monotonic() + minutes * 60
            while time.monotonic() < end:
                ticks.take()
                await asyncio.sleep(0.02)
            task.cancel()
        await faults.end()
        await ticks.next()
        ticks.judge(report)
        running.check()
        if faults.kills + faults.freezes == 0:
            report.violations.append("no leader was killed or suspended: give it more time")
    report.figures |= {
        **ticks.figures(),
        "killed": str(faults.kills),
        "suspended": str(faults.freezes),
        "time": f"{minutes:g} min",
    }
    return report


class _Faults:
    """Kills and suspends whoever emits the ticks.

    Attributes:
        kills: How many were killed.
        freezes: How many were suspended.
    """

    def __init__(self, running: Stand, ticks: Ticks, dice: random.Random, every: float) -> None:
        self._nodes = {node.name: node for node in running.nodes}
        self._ticks = ticks
        self._dice = dice
        self._every = every
        self._busy = asyncio.Lock()
        self.kills = 0
        self.freezes = 0

    async def run(self) -> None:
        freeze = bool(self._dice.getrandbits(1))
        while True:
            await asyncio.sleep(self._dice.uniform(0.3, 1.7) * self._every)
            leader = self._nodes[(await self._ticks.next()).node]
            # Somewhere within a second: before, in, and after what is done for a tick.
            await asyncio.sleep(self._dice.uniform(0, EVERY / 1000))
            # Never cancelled while a node is dead or stands still.
            await asyncio.shield(self._freeze(leader) if freeze else self._kill(leader))
            freeze = not freeze
            await self._ticks.next()

    async def _kill(self, leader: Node) -> None:
        async with self._busy:
            await leader.kill(lambda: self._ticks.take_from(leader))
            self.kills += 1
            await asyncio.sleep(self._dice.uniform(*_AWAY))
            leader.start()

    async def _freeze(self, leader: Node) -> None:
        async with self._busy:
            leader.freeze()
            self.freezes += 1
            try:
                await asyncio.sleep(self._dice.uniform(*_FROZEN))
            finally:
                leader.thaw()

    async def end(self) -> None:
        """Wait until all nodes run again."""
        async with self._busy:
            pass
