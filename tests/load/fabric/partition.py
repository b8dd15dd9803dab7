"""One node is cut off from two of the three servers, then from all; then two servers stand still, so that none decides.

Each step has two lists: what must go on, and what must be refused or wait. In the end all that waited has arrived.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from tests.load.fabric.leaders import TICK, Ticks, timer
from tests.load.fabric.report import Report
from tests.load.fabric.stand import CARRIER, FABRIC, Stand, carrier, nodes
from tests.support.servers.ledger_service import LedgerService, ledger_service
from tests.support.servers.nats_cluster import NatsCluster, nats_cluster
from tests.support.servers.proxy import FaultProxy, fault_proxy

EVENT: Final = "chaos.event"
USED: Final = "erp"
NAMES: Final = ("n1", "n2", "n3")
_COMMAND: Final = f"integration.{USED}.request"
#: Events of each batch.
_BATCH: Final = 50
#: Seconds in which what must go on has gone on, and in which what must wait has not arrived.
_SOON: Final = 25.0
_WAITS: Final = 5.0
#: Milliseconds without a tick at most, where two servers decide nothing for a while: that time, and a lease's.
_WITHOUT_SERVERS: Final = 60_000


def _text(name: str, index: int, port: int) -> str:
    offers = f"""
integration "{USED}" {{
  type = "json-rpc"
  endpoint {{
    url = "http://127.0.0.1:{port}/"
  }}
}}
"""
    return f"""
fabric "{FABRIC}" {{
  integration = "{CARRIER}"
  node        = "{name}"
  export      = ["{EVENT}"]
  import      = ["{EVENT}"]
  {"offer" if index else "use"} = ["{USED}"]
  delivery    = "at_least_once"
  replicas    = 3
  receipts    = true
}}
{offers if index else ""}
{timer()}
"""


class _Buses:
    """What all three programs do and hear.

    Attributes:
        arrivals: (Hearing node, exporting node, number) → how often.
        receipts: (Node, number) of the events that the stream has.
        answers: Number of a command → its answers.
        ticks: The timer's ticks.
    """

    def __init__(self, running: Stand) -> None:
        self._stand = running
        self._next = 0
        self.arrivals: Counter[tuple[str, str, int]] = Counter()
        self.receipts: set[tuple[str, int]] = set()
        self.answers: dict[int, list[dict[str, Any]]] = {}
        self.ticks = Ticks(running.nodes)

    def emit(self, index: int) -> list[int]:
        """Emit a batch of events on one node's bus; return their numbers."""
        node = self._stand.nodes[index]
        numbers = list(range(self._next, self._next + _BATCH))
        self._next += _BATCH
        for number in numbers:
            node.ear.emit(EVENT, {"node": node.name, "number": number}, f"event/{number}")
        return numbers

    def command(self) -> int:
        """Send a command on the first node's bus; return its number."""
        number = len(self.answers)
        self.answers[number] = []
        payload = {"method": "note", "params": {"number": number}, "timeout_ms": 4000}
        self._stand.nodes[0].ear.emit(_COMMAND, payload, f"command/{number}")
        return number

    def take(self) -> None:
        """Read all buses."""
        for node in self._stand.nodes:
            for event in node.take():
                self.ticks.note(node, event)
                self._take(node.name, event)

    def _take(self, name: str, event: dict[str, Any]) -> None:
        kind, mark = event["event_type"], event["correlation_id"] or ""
        if kind == EVENT and "origin" in event["headers"]:
            self.arrivals[name, event["headers"]["origin"], event["payload"]["number"]] += 1
        elif kind.startswith("receipt.") and kind.endswith(".delivered"):
            self.receipts.add((name, int(mark.partition("/")[2])))
        elif kind == f"response.{_COMMAND}" and mark.startswith("command/"):
            self.answers[int(mark.partition("/")[2])].append(event["payload"])

    def missing(self, exporter: str, numbers: Iterable[int], importers: Iterable[str]) -> int:
        """Return how many events of a node have not arrived at the others yet."""
        return sum(not self.arrivals[name, exporter, number] for number in numbers for name in importers)

    def status(self, index: int, health: str) -> Any:
        """Return the status in the last health of this name on a node's bus."""
        return (self._stand.nodes[index].health.get(f"health.{health}") or {}).get("status")

    async def until(self, report: Report, what: str, condition: Any, seconds: float = _SOON) -> float:
        """Read the buses until a condition is true, else note a violation; return the seconds that it took."""
        began = time.monotonic()
        while not condition():
            self.take()
            if time.monotonic() - began > seconds:
                report.violations.append(f"not within {seconds:g} s: {what}")
                break
            await asyncio.sleep(0.01)
        return time.monotonic() - began

    async def wait(self, seconds: float) -> None:
        """Read the buses for a time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.take()
            await asyncio.sleep(0.01)


@asynccontextmanager
async def _proxies(cluster: NatsCluster) -> AsyncIterator[list[FaultProxy]]:
    """One proxy before each server."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(fault_proxy("127.0.0.1", port)) for port in cluster.ports]


def _cut(proxies: Iterable[FaultProxy]) -> None:
    for proxy in proxies:
        proxy.mode = "vanish"


def _heal(proxies: Iterable[FaultProxy]) -> None:
    for proxy in proxies:
        proxy.mode = "pass"
        proxy.end_all()  # what was lost on them meanwhile does not come back


async def run() -> Report:
    """Run all steps once."""
    report = Report("partition")
    # The servers tell nobody where the others are: the first node has no way but its proxies.
    with ledger_service() as service, nats_cluster(advertise=False) as cluster:
        async with _proxies(cluster) as proxies:
            ways = [[proxy.port for proxy in proxies], cluster.ports[1:] + cluster.ports[:1], cluster.ports[::-1]]
            texts = [
                carrier(ports) + _text(name, index, service.port)
                for index, (name, ports) in enumerate(zip(NAMES, ways, strict=True))
            ]
            with nodes(cluster, texts, (EVENT, TICK), names=NAMES) as running:
                await running.joined()
                buses = _Buses(running)
                await buses.until(report, "a first tick", lambda: buses.ticks.ticks)
                await buses.until(report, "somebody offers", lambda: buses.status(0, USED) == "connected")
                sent = [await _two_of_three(report, buses, proxies)]
                sent += await _all(report, buses, proxies, service)
                sent += [await _no_majority(report, buses, cluster)]
                _judge(report, buses, sent)
                running.check()
    report.figures |= buses.ticks.figures()
    return report


async def _two_of_three(report: Report, buses: _Buses, proxies: list[FaultProxy]) -> tuple[int, list[int]]:
    """Cut the first node off from two servers: it goes on by the third."""
    _cut(proxies[:2])
    began = time.monotonic()
    numbers = buses.emit(0)
    await buses.until(report, "events pass by the third server", lambda: not buses.missing("n1", numbers, NAMES[1:]))
    report.figures["two servers cut off: events pass after"] = f"{time.monotonic() - began:.1f} s"
    number = buses.command()
    await buses.until(report, "a command passes by the third server", lambda: buses.answers[number])
    if not all(answer["ok"] for answer in buses.answers[number]):
        report.violations.append(f"two servers cut off: a command got {buses.answers[number]}")
    _heal(proxies[:2])
    return 0, numbers


async def _all(
    report: Report, buses: _Buses, proxies: list[FaultProxy], service: LedgerService
) -> list[tuple[int, list[int]]]:
    """Cut the first node off from all servers: it keeps its events, refuses commands and emits no tick."""
    _cut(proxies)
    began = time.monotonic()
    await buses.until(report, "the node cut off says so", lambda: buses.status(0, f"fabric.{FABRIC}") == "disconnected")
    report.figures["all servers cut off: told after"] = f"{time.monotonic() - began:.1f} s"
    kept, others = buses.emit(0), buses.emit(1)
    await buses.until(report, "the others go on", lambda: not buses.missing("n2", others, ("n3",)))
    await buses.until(report, "its integration is unavailable", lambda: buses.status(0, USED) == "disconnected")
    before = len(service.entries())
    number = buses.command()
    await buses.until(report, "a command is refused", lambda: buses.answers[number], 10.0)
    if buses.answers[number]:
        answer = buses.answers[number][0]
        if answer["ok"] or answer["error"]["kind"] not in {"unavailable", "not_connected"}:
            report.violations.append(f"all servers cut off: a command got {answer}")
        report.figures["a command is refused with"] = "ok" if answer["ok"] else answer["error"]["kind"]
    await buses.until(report, "the others call it lost", lambda: buses.status(1, "node.n1") == "lost")
    begin = len(buses.ticks.ticks)
    await buses.until(report, "another node emits ticks", lambda: len(buses.ticks.ticks) > begin)
    await buses.wait(_WAITS)
    if any(tick.node == "n1" for tick in buses.ticks.ticks[begin:]):
        report.violations.append("all servers cut off: it still emits ticks")
    if buses.missing("n1", kept, ("n2",)) != len(kept) or any(("n1", one) in buses.receipts for one in kept):
        report.violations.append("all servers cut off: its events have passed all the same")
    if len(service.entries()) != before:
        report.violations.append("all servers cut off: a command was executed")
    _heal(proxies)
    began = time.monotonic()
    await buses.until(report, "what it kept arrives", lambda: not buses.missing("n1", kept, NAMES[1:]))
    await buses.until(report, "what it missed arrives", lambda: not buses.missing("n2", others, ("n1",)))
    await buses.until(report, "it has joined again", lambda: buses.status(0, f"fabric.{FABRIC}") == "connected")
    report.figures["healed: all arrived after"] = f"{time.monotonic() - began:.1f} s"
    return [(0, kept), (1, others)]


async def _no_majority(report: Report, buses: _Buses, cluster: NatsCluster) -> tuple[int, list[int]]:
    """Let two servers stand still: nothing is stored and nobody leads, and nothing is lost."""
    for index in (1, 2):
        cluster.freeze(index)
    try:
        await buses.wait(10.0)  # a lease ends 6 s after its last renewal
        begin = len(buses.ticks.ticks)
        kept = buses.emit(0)
        await buses.wait(_WAITS)
        if buses.ticks.ticks[begin:]:
            report.violations.append("two servers stand still: ticks are emitted though nobody can decide who may")
        if buses.missing("n1", kept, ("n2",)) != len(kept) or any(("n1", one) in buses.receipts for one in kept):
            report.violations.append("two servers stand still: events are stored though there is no majority")
    finally:
        for index in (1, 2):
            cluster.thaw(index)
    began = time.monotonic()
    await buses.until(report, "what was kept arrives", lambda: not buses.missing("n1", kept, NAMES[1:]), 60.0)
    report.figures["majority back: all arrived after"] = f"{time.monotonic() - began:.1f} s"
    begin = len(buses.ticks.ticks)
    await buses.until(report, "ticks go on", lambda: len(buses.ticks.ticks) > begin, 30.0)
    return 0, kept


def _judge(report: Report, buses: _Buses, sent: list[tuple[int, list[int]]]) -> None:
    for index, numbers in sent:
        exporter = NAMES[index]
        others = [name for name in NAMES if name != exporter]
        again = [(name, number) for number in numbers for name in others if buses.arrivals[name, exporter, number] != 1]
        report.note(f"events of {exporter} did not arrive exactly once", again)
        report.note(
            f"events of {exporter} have no receipt", [n for n in numbers if (exporter, n) not in buses.receipts]
        )
    report.note("commands were not answered once", [n for n, given in buses.answers.items() if len(given) != 1])
    buses.ticks.judge(report, longest=_WITHOUT_SERVERS)
