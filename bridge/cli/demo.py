"""`nemo-bridge demo`: the main job, end to end, with real processes, watched from the bus by an ordinary program.

It returns 0 only if everything that it tells has happened: each step is an event that must arrive in time.
"""

import asyncio
import contextlib
import signal
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from bridge.cli.demo_screen import Screen
from bridge.cli.demo_stage import ROUTE, Missed, Stage
from bridge.cli.demo_witness import Seen, Witness
from bridge.client import BusClient
from bridge.core.errors import BusError
from bridge.core.model import Event

#: Seconds between steps, so that eyes can follow; nothing waits for something to happen by sleeping.
_BREATH: Final = 0.9
_SOURCE: Final = "app"


def run(console: Console | None = None) -> int:
    """Show it; 0 if all of it happened, 1 if a step was missed. Whatever was started is stopped again."""
    code = 1
    try:
        code = asyncio.run(_main(Screen(console)))
    except* asyncio.CancelledError:
        code = 128 + signal.SIGTERM
    except* BrokenPipeError:  # as in `nemo-bridge demo | head`: nobody looks any more
        pass
    return code


async def _main(screen: Screen) -> int:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - asyncio.run made it
    with contextlib.suppress(NotImplementedError):  # Windows has no such handlers
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory(prefix="nemo-demo-") as directory:
        stage = Stage(Path(directory))
        try:
            await _play(screen, stage)
        except (Missed, BusError) as missed:
            screen.missed(str(missed), stage.log())
            return 1
        finally:
            await stage.close()
    return 0


async def _play(screen: Screen, stage: Stage) -> None:
    screen.opening()
    screen.title("A service, a sidecar, an application", "Three processes; the application speaks to the bus only.")
    pid = await stage.start_service()
    screen.act(f"JSON-RPC service at {stage.url}, process {pid}")
    pid = await stage.start_sidecar()
    screen.act(f"nemo-bridge run demo.hcl, process {pid}")
    bus = BusClient(stage.publish, stage.subscribe, source=_SOURCE, prefixes=("",), patience=15.0)
    with bus.listen() as events:
        witness = Witness(events, screen.event)
        async with bus:
            missed: Missed | None = None
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(witness.run())
                try:
                    await _Story(screen, stage, bus, witness).tell()
                except Missed as one:  # carried out of the group by hand, which would wrap it
                    missed = one
                watching.cancel()
            if missed is not None:
                raise missed


class _Story:
    """The acts, in order."""

    def __init__(self, screen: Screen, stage: Stage, bus: BusClient, witness: Witness) -> None:
        self._screen = screen
        self._stage = stage
        self._bus = bus
        self._witness = witness
        self._orders = count(1)

    async def tell(self) -> None:
        """All of it.

        Raises:
            Missed: A step did not happen.
        """
        await self._ready()
        calls = await self._calls()
        opened_after = await self._dies()
        rejections = await self._rejects()
        recovered_after = await self._returns()
        await self._ends()
        self._screen.summary(
            [
                (f"{statistics.median(calls):.1f} ms", "from an event to the answer of an RPC, over bus and bridge"),
                (f"{opened_after:.1f} s", "from the service's death to the open circuit, retries and all"),
                (f"{statistics.median(rejections):.1f} ms", "for a rejection while the circuit is open"),
                (f"{recovered_after:.1f} s", "from the service's return to the closed circuit"),
            ]
        )

    # --- acts

    async def _ready(self) -> None:
        await self._expect("health.bridge says `ready`", _health("bridge", "ready"), seconds=10.0)
        await self._expect("health.shop says `connected`", _health("shop", "connected"))
        await self._breathe()

    async def _calls(self) -> list[float]:
        self._title(
            "An event goes in, an RPC goes out, the answer comes back",
            "The configuration has a route; the application only emits order.created:",
        )
        self._screen.code(ROUTE)
        await self._breathe()
        times = []
        for total in (12.5, 99.0, 3.75):
            answer, took = await self._order(total)
            _check("the RPC is answered", answer.event, ok=True)
            cents = answer.event.payload["result"]["cents"]
            if cents != total * 100:
                raise Missed(f"the route's expression makes {total * 100:g} cents of {total}, not {cents}")
            id_ = answer.event.correlation_id
            await self._expect(
                "the answer comes as order.confirmed as well",
                _is("order.confirmed", id_),
            )
            times.append(took)
            await self._breathe()
        return times

    async def _dies(self) -> float:
        self._title(
            "The service dies",
            "Three tries an order, with random pauses: up to 400 ms, then up to 800 ms.",
            "Five failures in a row open the circuit.",
        )
        mark = self._mark()
        killed = time.time()
        await self._stage.kill_service()
        self._screen.act("kill -9 to the JSON-RPC service")
        await self._expect("health.shop says `disconnected`", _health("shop", "disconnected"), after=mark)
        answer, _ = await self._order(20.0)
        _check("the first order without a service fails", answer.event, ok=False, kind="not_connected")
        if answer.event.payload["attempts"] != 3:
            raise Missed(f"three attempts for the first order, not {answer.event.payload['attempts']}")
        retries = [one for one in self._since(mark) if one.event_type == "resilience.shop.retry"]
        if len(retries) != 2:
            raise Missed(f"two resilience.shop.retry events between three attempts, not {len(retries)}")
        await self._breathe()
        answer, _ = await self._order(21.0)
        _check("the second order without a service fails", answer.event, ok=False, kind="not_connected")
        opened = await self._expect("the circuit opens", _is("resilience.shop.circuit.opened"), after=mark)
        await self._expect("health.shop says that the circuit is open", _circuit("open"), after=mark)
        await self._breathe()
        return opened.event.timestamp / 1000 - killed

    async def _rejects(self) -> list[float]:
        self._title(
            "While the circuit is open, nobody waits",
            "Orders are rejected at once; nothing is sent to a service that cannot answer.",
        )
        times = []
        for total in (30.0, 31.0, 32.0):
            answer, took = await self._order(total)
            _check("an order is rejected while the circuit is open", answer.event, ok=False, kind="circuit_open")
            times.append(took)
            await asyncio.sleep(_BREATH / 2)
        return times

    async def _returns(self) -> float:
        self._title(
            "The service is back",
            "After its time the circuit half-opens: one order at a time may probe.",
            "Two good answers close it.",
        )
        mark = self._mark()
        pid = await self._stage.start_service()
        back = time.time()
        self._screen.act(f"JSON-RPC service started again, process {pid}")
        await self._expect(
            "the circuit half-opens", _is("resilience.shop.circuit.half_opened"), seconds=8.0, after=mark
        )
        for total in (40.0, 41.0):
            await self._breathe()
            answer, _ = await self._order(total)
            _check("a probe is answered", answer.event, ok=True)
        closed = await self._expect("the circuit closes", _is("resilience.shop.circuit.closed"), after=mark)
        await self._expect(
            "health.shop says `connected` with a closed circuit",
            lambda event: _health("shop", "connected")(event) and _circuit("closed")(event),
            after=mark,
        )
        await self._breathe()
        answer, _ = await self._order(50.0)
        _check("orders are answered again", answer.event, ok=True)
        kinds = [one.event_type.removeprefix("resilience.shop.circuit.") for one in self._since(0) if _transition(one)]
        if kinds != ["opened", "half_opened", "closed"]:
            raise Missed(f"the circuit opens, half-opens and closes, once each; it did {', '.join(kinds)}")
        await self._breathe()
        return closed.event.timestamp / 1000 - back

    async def _ends(self) -> None:
        self._title("The application says goodbye", "The sidecar answers what is in flight, says so, and ends.")
        mark = self._mark()
        self._bus.emit("system.shutdown")
        await self._expect("health.bridge says `stopped`", _health("bridge", "stopped"), after=mark)
        code = await self._stage.sidecar_ended()
        self._witness.flush()
        self._screen.act(f"sidecar ended with exit code {code}")
        if code != 0:
            raise Missed(f"the sidecar ends with exit code 0, not {code}")

    # --- tools

    async def _order(self, total: float) -> tuple[Seen, float]:
        """Emit one order; its response, and the milliseconds until it was here."""
        id_, mark = str(uuid.uuid4()), self._mark()
        began = time.perf_counter()
        self._bus.emit("order.created", {"id": next(self._orders), "total": total}, correlation_id=id_)
        answer = await self._expect(
            "a response to order.created",
            _is("response.order.created", id_),
            after=mark,
        )
        return answer, (answer.at - began) * 1000

    async def _expect(
        self, what: str, matches: Callable[[Event], bool], *, seconds: float = 5.0, after: int = 0
    ) -> Seen:
        return await self._witness.expect(what, matches, seconds=seconds, after=after)

    def _title(self, headline: str, *explanation: str) -> None:
        self._witness.flush()
        self._screen.title(headline, *explanation)

    async def _breathe(self) -> None:
        await asyncio.sleep(_BREATH)

    def _mark(self) -> int:
        return len(self._witness.seen)

    def _since(self, mark: int) -> list[Event]:
        return [one.event for one in self._witness.seen[mark:]]


def _is(event_type: str, correlation_id: str | None = None) -> Callable[[Event], bool]:
    return lambda event: event.event_type == event_type and correlation_id in {None, event.correlation_id}


def _health(who: str, status: str) -> Callable[[Event], bool]:
    return lambda event: event.event_type == f"health.{who}" and event.payload["status"] == status


def _circuit(state: str) -> Callable[[Event], bool]:
    return lambda event: event.event_type == "health.shop" and event.payload["circuit"] == state


def _transition(event: Event) -> bool:
    return event.event_type.startswith("resilience.shop.circuit.")


def _check(what: str, event: Event, *, ok: bool, kind: str | None = None) -> None:
    payload: dict[str, Any] = event.payload
    found = "ok" if payload["ok"] else payload["error"]["kind"]
    if payload["ok"] is not ok or (kind is not None and found != kind):
        raise Missed(f"{what} ({kind or 'ok'}); the response said {found}")
