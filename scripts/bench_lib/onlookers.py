"""What it costs a sidecar that somebody looks: 1,000 integrations, a stream of events, and a console that is open.

Each round watches the sidecar with nobody looking, then with each onlooker, so that a slow minute hits all of them. The
onlooker does what `bridge/observe/console/live.js` does, without a browser: only the sidecar's own time is counted.
"""

import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import zmq
from websockets.asyncio.client import connect

from bench_lib import processes
from bench_lib.processes import BenchError, Place
from bench_lib.rows import Figure, Plan, Row
from bench_lib.stream import event, with_id, without_id
from bridge.client import BusClient

INTEGRATIONS: Final = 1_000
RATE: Final = 10_000
#: One of so many events has a route; the others are read and not taken.
TAKEN: Final = 5
#: With more percent of a core than this, a sidecar is saturated, and the measurement says nothing.
_SATURATED: Final = 85.0
#: Somebody who looks may cost so much more, in percent of a core.
MOST: Final = 2.0
#: A window has so many times the plan's seconds: an overview comes each two seconds, and each window needs several.
_WINDOW: Final = 4
#: Seconds between two sendings of events, between two questions of `nemo-bridge top`, and until an onlooker is served.
_TICK: Final = 0.01
_EVERY: Final = 2.0
_SETTLE: Final = 0.5
#: Seconds until a sidecar with so many integrations has started and rests.
_STARTED: Final = 60.0
#: The sender may fall behind by so much.
_BEHIND: Final = 0.95

_BLOCKS: Final = """
integration "i{number}" {{
  type = "static"

  config {{
    values = {{ one = 1 }}
  }}
}}

route "r{number}" {{
  on          = "sensor.{number}"
  integration = "i{number}"
  operation   = "request"
  method      = "get"
  params      = {{ key = "one" }}
}}
"""
_STATUS: Final = """
bridge {{
  status = "127.0.0.1:{port}"
}}
"""


class _Sender:
    """A program that emits events at a steady rate, some of them to each route in turn; what is late is sent at once.

    Attributes:
        sent: How many it has sent.
    """

    def __init__(self, context: zmq.Context[Any], place: Place) -> None:
        self._pub = context.socket(zmq.PUB)
        self._pub.set(zmq.LINGER, 0)
        self._pub.set(zmq.SNDHWM, 0)
        self._pub.connect(place.publish)
        types = [
            f"sensor.{number // TAKEN}" if number % TAKEN == 0 else "other" for number in range(TAKEN * INTEGRATIONS)
        ]
        self._messages = [(name.encode(), without_id({**event(1), "event_type": name})) for name in types]
        self.sent = 0

    async def run(self) -> None:
        """Send until cancelled."""
        started = time.monotonic()
        try:
            while True:
                due = int((time.monotonic() - started) * RATE)
                for number in range(self.sent, due):
                    frame, end = self._messages[number % len(self._messages)]
                    self._pub.send(frame, zmq.SNDMORE)
                    self._pub.send(with_id(number + 1, end))
                self.sent = max(self.sent, due)
                await asyncio.sleep(_TICK)
        finally:
            self._pub.close()


class _Look:
    """Somebody who looks: nobody, the console with a view, or a program that asks for the overview.

    Attributes:
        got: Frames, or answers, so far.
    """

    def __init__(self, name: str, view: dict[str, Any] | None = None, *, asks: bool = False) -> None:
        self.name = name
        self._view = view
        self._asks = asks
        self.got = 0

    @contextlib.asynccontextmanager
    async def at(self, place: Place, port: int) -> AsyncIterator[None]:
        """Look while the block runs."""
        self.got = 0
        host = f"127.0.0.1:{port}"
        async with contextlib.AsyncExitStack() as stack:
            work: Callable[[], Any]
            if self._view is not None:
                # As browsers do, it offers compression.
                live = connect(f"ws://{host}/live", origin=f"http://{host}", max_size=None, proxy=None)  # type: ignore[arg-type]
                page = await stack.enter_async_context(live)
                await page.send(json.dumps(self._view))

                async def read() -> None:
                    async for _ in page:
                        self.got += 1

                work = read
            elif self._asks:
                bus = await stack.enter_async_context(BusClient(place.publish, place.subscribe))

                async def ask() -> None:
                    while True:
                        await bus.ask("bridge.overview", {}, timeout=10)
                        self.got += 1
                        await asyncio.sleep(_EVERY)

                work = ask
            else:
                yield
                return
            working = asyncio.ensure_future(work())
            try:
                yield
            finally:
                working.cancel()
                await asyncio.wait([working])
                if not working.cancelled() and (error := working.exception()) is not None:
                    raise BenchError(f"{self.name}: {error}")


_NOBODY: Final = "nobody looks"


def _looks() -> tuple[_Look, ...]:
    return (
        _Look(_NOBODY),
        _Look("console: overview", {"view": "overview"}),
        _Look("console: an integration", {"view": "integration", "integration": "i7"}),
        _Look("console: tap of **", {"view": "tap", "patterns": ["**"]}),
        _Look("bridge.overview each 2 s", asks=True),
    )


def measure(plan: Plan) -> list[Row]:
    """One row for nobody, and one for each way to look."""
    rows = {look.name: Row(_row_name(look.name), look.name) for look in _looks()}
    if (skipped := processes.without_proc()) is not None:
        for row in rows.values():
            row.skipped = skipped
        return list(rows.values())
    port = processes.free_port()
    blocks = _STATUS.format(port=port) + "".join(_BLOCKS.format(number=number) for number in range(INTEGRATIONS))
    with processes.folder() as directory, processes.sidecar_with(directory, blocks) as sidecar:
        costs = asyncio.run(_rounds(plan, sidecar, port, rows))
    alone = costs[_NOBODY]
    if max(map(max, costs.values())) > _SATURATED:
        raise BenchError(f"the sidecar is saturated ({max(alone):.0f} % of a core with nobody looking)")
    for name, row in rows.items():
        own = Figure.of(costs[name])
        row.figures |= {"cpu_percent": round(own.median, 2)}
        if name == _NOBODY:
            continue
        more = Figure.of([with_one - without for with_one, without in zip(costs[name], alone, strict=True)])
        share = 100 * more.median / statistics.median(alone)
        row.figures |= {
            "more_percent": round(more.median, 2),
            "more_percent_low": round(more.low, 2),
            "more_percent_high": round(more.high, 2),
            "more_of_sidecar_percent": round(share, 2),
        }
        row.ask("more CPU, % of a core", more, "≤", MOST)
    return list(rows.values())


def _row_name(name: str) -> str:
    return "console " + name.removeprefix("console: ")


async def _rounds(plan: Plan, sidecar: processes.Bridge, port: int, rows: dict[str, Row]) -> dict[str, list[float]]:
    """Percent of a core, by the name of who looks, one for each round."""
    costs: dict[str, list[float]] = {name: [] for name in rows}
    with zmq.Context() as context:
        await _started(sidecar)
        sender = _Sender(context, sidecar.place)
        sending = asyncio.ensure_future(sender.run())
        await asyncio.sleep(2 * _SETTLE)
        try:
            for number in range(plan.rounds):
                for look in _looks():
                    plan.say(f"round {number + 1} of {plan.rounds}: {look.name}")
                    costs[look.name].append(await _window(plan, sidecar, port, sender, look))
        finally:
            sending.cancel()
            await asyncio.wait([sending])
    return costs


async def _started(sidecar: processes.Bridge) -> None:
    """Wait until the sidecar has told the state of all integrations and rests."""
    until = time.monotonic() + _STARTED
    while time.monotonic() < until:
        before = processes.cpu_seconds(sidecar.pid)
        await asyncio.sleep(_SETTLE)
        if processes.cpu_seconds(sidecar.pid) - before < _SETTLE / 20:
            return
    raise BenchError(f"the sidecar does not rest within {_STARTED:g} s after its start")


async def _window(plan: Plan, sidecar: processes.Bridge, port: int, sender: _Sender, look: _Look) -> float:
    async with look.at(sidecar.place, port):
        await asyncio.sleep(_SETTLE)
        before, since, sent, got = processes.cpu_seconds(sidecar.pid), time.monotonic(), sender.sent, look.got
        await asyncio.sleep(_WINDOW * plan.seconds)
        seconds = time.monotonic() - since
        cost = 100 * (processes.cpu_seconds(sidecar.pid) - before) / seconds
        if sender.sent - sent < _BEHIND * RATE * seconds:
            raise BenchError(f"only {(sender.sent - sent) / seconds:,.0f} events a second could be sent")
        if look.name != _NOBODY and look.got == got:
            raise BenchError(f"{look.name}: nothing was shown")
    return cost
