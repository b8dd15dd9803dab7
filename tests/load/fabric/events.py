"""Events at least once: every node exports and imports the same types, while sidecars and servers are killed.

An event counts when its exporter's receipt says that the stream has it. A program sends it again, with the same key,
until then: what a dying sidecar's own bus had not brought to it is nobody's yet. On each other node a program hears
what arrives. A second arrival is in order only in another life of the importing node, and with the same key.
"""

import asyncio
import random
import time
from collections import Counter, defaultdict
from typing import Any, Final

from tests.load.fabric.ear import Event
from tests.load.fabric.report import Report
from tests.load.fabric.stand import CARRIER, FABRIC, Node, Stand, stand

EVENT: Final = "chaos.event"
NAMES: Final = ("n1", "n2", "n3")
#: Seconds without a receipt after which an event is sent again.
_AGAIN: Final = 3.0
#: Events of a node without a receipt, at most, before the next one is sent.
_WINDOW: Final = 1000
#: Seconds that a killed sidecar and a killed server stay away, at most.
_AWAY: Final = 1.5


def _text(name: str, _: int) -> str:
    return f"""
fabric "{FABRIC}" {{
  integration = "{CARRIER}"
  node        = "{name}"
  export      = ["chaos.*"]
  import      = ["chaos.*"]
  delivery    = "at_least_once"
  replicas    = 3
  receipts    = true
}}
"""


class Traffic:
    """What one node's program sends, and what it hears of the others.

    Attributes:
        receipts: Number of an own event → the outcomes of its receipts.
        arrivals: (Exporting node, number) → the lives of this node in which it arrived.
        wrong: Events that arrived otherwise than they were sent, or came back to their exporter.
        sent: How often something was sent.
        last: When something arrived last, on the monotonic clock.
        silence: The longest time between two arrivals, in seconds.
        missed: What this bus was told of events that it missed.
    """

    def __init__(self, node: Node, seed: int) -> None:
        """Nothing is sent before `send_due`."""
        self.node = node
        self._seed = seed
        self._open: dict[int, float] = {}
        self._next = 0
        self.receipts: defaultdict[int, list[str]] = defaultdict(list)
        self.arrivals: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        self.wrong: list[str] = []
        self.refused: Counter[str] = Counter()
        self.missed: list[Any] = []
        self.sent = 0
        self.last = time.monotonic()
        self.silence = 0.0

    def send_due(self, most: int, allowed: float) -> None:
        """Send what is due: new events up to a number, and again those without a receipt."""
        now = time.monotonic()
        while self._next < min(most, allowed) and len(self._open) < _WINDOW:
            self._send(self._next)
            self._next += 1
        for number, at in tuple(self._open.items()):
            if now - at < _AGAIN:
                break  # the dictionary is in the order of sending
            self._send(number)

    def _send(self, number: int) -> None:
        self._open.pop(number, None)
        self._open[number] = time.monotonic()
        self.sent += 1
        payload = {"node": self.node.name, "number": number}
        key = _key(self._seed, self.node.name, number)
        self.node.ear.emit(EVENT, payload, f"{self.node.name}/{number}", {"idempotency_key": key})

    def take(self) -> None:
        """Read what has come."""
        for event in self.node.take():
            kind = event["event_type"]
            if kind == EVENT:
                self._arrived(event)
            elif kind.startswith("receipt."):
                node, _, number = (event["correlation_id"] or "").partition("/")
                if node == self.node.name:
                    self.receipts[int(number)].append(kind.rpartition(".")[2])
                    self._open.pop(int(number), None)
            elif kind.startswith(f"response.{EVENT}") and not event["payload"]["ok"]:
                self.refused[event["payload"]["error"]["kind"]] += 1
            elif kind == f"resilience.fabric.{FABRIC}.missed":
                self.missed.append(event["payload"])

    def _arrived(self, event: Event) -> None:
        headers, payload = event.get("headers") or {}, event["payload"]
        if event["source"] == "chaos" and "origin" not in headers:
            return  # the own one, as the bus shows it to all
        node, number = payload["node"], payload["number"]
        told = (event["source"], headers.get("origin"), event["correlation_id"], headers.get("idempotency_key"))
        right = (f"{node}/chaos", node, f"{node}/{number}", _key(self._seed, node, number))
        if told != right or node == self.node.name:
            self.wrong.append(f"{told} where {right} was sent")
        now = time.monotonic()
        self.silence = max(self.silence, now - self.last)
        self.last = now
        self.arrivals[node, number].append(self.node.life)

    def complete(self, events: int, nodes: int) -> bool:
        """Return whether all has a receipt, and all of the others has arrived."""
        return len(self.receipts) == events and len(self.arrivals) == events * (nodes - 1)


def _key(seed: int, node: str, number: int) -> str:
    return f"{seed}-{node}-{number}"


async def run(
    seed: int, *, events: int, rate: float, every: float, server_every: float, kills: int, limit: float
) -> Report:
    """Send so many events from each node while sidecars and servers are killed.

    Args:
        seed: Decides when what is killed.
        events: How many events each node sends.
        rate: New events a second and node.
        every: Mean seconds between two kills of a sidecar.
        server_every: Mean seconds from the return of a server to the death of one. A cluster needs up to ten seconds
            for new leaders.
        kills: How many sidecars, and how many servers, are killed at most.
        limit: Seconds after which what has not arrived counts as lost.
    """
    report = Report(f"events, seed {seed}")
    with stand(_text, (EVENT,), names=NAMES) as running:
        await running.joined()
        traffic = [Traffic(node, seed) for node in running.nodes]
        killers = _Killers(running, traffic, seed=seed, every=every, server_every=server_every, most=kills)
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            killing = group.create_task(killers.run())
            try:
                async with asyncio.timeout(limit):
                    await _pass(traffic, events, rate)
            except TimeoutError:
                report.violations.append(f"not all had arrived within {limit:g} s")
            killing.cancel()
        await killers.end()
        for one in traffic:
            one.take()
        seconds = time.monotonic() - began
        _judge(report, traffic, events)
        running.check()
    arrived = sum(len(one.arrivals) for one in traffic)
    again = sum(one.sent for one in traffic) - events * len(traffic)
    report.figures |= {
        "sent": f"{events} by each of {len(traffic)} ({again} again)",
        "arrived": str(arrived),
        "twice after a kill of the importer": str(sum(map(_extra, traffic))),
        "kills": f"{sum(node.kills for node in running.nodes)} of sidecars, {killers.server_kills} of servers",
        "longest silence on a bus": f"{max(one.silence for one in traffic):.1f} s",
        "time": f"{seconds:.0f} s ({arrived / seconds:.0f} arrivals a second)",
    }
    if refused := sum((one.refused for one in traffic), Counter[str]()):
        report.figures["not accepted at first, and sent again"] = str(dict(refused))
    return report


async def _pass(traffic: list[Traffic], events: int, rate: float) -> None:
    began = time.monotonic()
    while not all(one.complete(events, len(traffic)) for one in traffic):
        for one in traffic:
            one.take()
            one.send_due(events, (time.monotonic() - began) * rate)
        await asyncio.sleep(0.01)


def _extra(traffic: Traffic) -> int:
    return sum(len(lives) - 1 for lives in traffic.arrivals.values())


def _judge(report: Report, traffic: list[Traffic], events: int) -> None:
    for one in traffic:
        name = one.node.name
        unsaid = [number for number in range(events) if number not in one.receipts]
        report.note(f"events of {name} have no receipt", unsaid)
        other = [(number, outcomes) for number, outcomes in one.receipts.items() if set(outcomes) != {"delivered"}]
        report.note(f"events of {name} have another receipt than delivered", other)
        lost = [
            (node.node.name, number)
            for node in traffic
            if node is not one
            for number in range(events)
            if (node.node.name, number) not in one.arrivals
        ]
        report.note(f"events never arrived at {name}", lost)
        twice = [what for what, lives in one.arrivals.items() if len(lives) > len(set(lives))]
        report.note(f"events arrived twice in one life of {name}", twice)
        report.note(f"events arrived changed at {name}", one.wrong)
        report.note(f"times {name} was told that it missed something", one.missed)


class _Killers:
    """Kills sidecars, and one server at a time, until it is cancelled.

    Attributes:
        server_kills: How many servers were killed.
    """

    def __init__(
        self, running: Stand, traffic: list[Traffic], *, seed: int, every: float, server_every: float, most: int
    ) -> None:
        self._stand = running
        self._traffic = traffic
        self._every = every
        self._server_every = server_every
        self._most = most
        self._dice = [random.Random(f"{seed}-sidecars"), random.Random(f"{seed}-servers")]
        self._sidecars, self._servers = asyncio.Lock(), asyncio.Lock()
        self.server_kills = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kill_sidecars(self._dice[0]))
            group.create_task(self._kill_servers(self._dice[1]))

    async def _kill_sidecars(self, dice: random.Random) -> None:
        for _ in range(self._most):
            await asyncio.sleep(dice.uniform(0.3, 1.7) * self._every)
            # Never cancelled between death and return.
            await asyncio.shield(self._kill_sidecar(dice.choice(self._traffic), dice.uniform(0, _AWAY)))

    async def _kill_sidecar(self, traffic: Traffic, away: float) -> None:
        async with self._sidecars:
            await traffic.node.kill(traffic.take)
            await asyncio.sleep(away)
            traffic.node.start()

    async def _kill_servers(self, dice: random.Random) -> None:
        servers = range(len(self._stand.cluster.servers))
        for _ in range(self._most):
            await asyncio.sleep(dice.uniform(0.3, 1.7) * self._server_every)
            await asyncio.shield(self._kill_server(dice.choice(servers), dice.uniform(0, _AWAY)))

    async def _kill_server(self, index: int, away: float) -> None:
        cluster = self._stand.cluster
        async with self._servers:
            # A server that was dead must have all again before the next one dies: of three copies two are always there.
            await asyncio.to_thread(cluster.wait_for_replicas, consumers=False)
            cluster.kill(index)
            self.server_kills += 1
            await asyncio.sleep(away)
            await asyncio.to_thread(cluster.start_again, index)

    async def end(self) -> None:
        """Wait until nothing is dead any more."""
        async with self._sidecars, self._servers:
            pass
