"""The command `nemo-bridge demo`: show calls, a failure and recovery with real processes, as seen on the bus.

Each step is an event that must arrive in time. The exit code is 0 only if all of them did.
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

from bridge.cli.demo_processes import ROUTE, DemoProcesses, StepFailedError
from bridge.cli.demo_recorder import EventRecorder, ReceivedEvent
from bridge.cli.demo_screen import Screen
from bridge.cli.exit_codes import ExitCode
from bridge.client import BusClient
from bridge.core.errors import BusError
from bridge.core.model import Event

#: Seconds between steps, so that a person can follow. It is never used to wait for an event.
_PAUSE: Final = 0.9
_SOURCE: Final = "app"


def run(console: Console | None = None) -> ExitCode:
    """Run the demo, stop all its processes, and return whether every step happened."""
    code = ExitCode.FAILED
    try:
        code = asyncio.run(_main(Screen(console)))
    except* asyncio.CancelledError:
        code = ExitCode.TERMINATED
    except* BrokenPipeError:  # as in `nemo-bridge demo | head`: nobody reads the output any more
        pass
    return code


async def _main(screen: Screen) -> ExitCode:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - asyncio.run made it
    with contextlib.suppress(NotImplementedError):  # Windows has no such handlers
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory(prefix="nemo-demo-") as directory:
        processes = DemoProcesses(Path(directory))
        try:
            await _play(screen, processes)
        except (StepFailedError, BusError) as failed:
            screen.failed(str(failed), processes.log())
            return ExitCode.FAILED
        finally:
            await processes.close()
    return ExitCode.OK


async def _play(screen: Screen, processes: DemoProcesses) -> None:
    screen.opening()
    screen.title("A service, a sidecar, an application", "Three processes. The application uses only the bus.")
    pid = await processes.start_service()
    screen.act(f"JSON-RPC service at {processes.url}, process {pid}")
    pid = await processes.start_sidecar()
    screen.act(f"nemo-bridge run demo.hcl, process {pid}")
    bus = BusClient(processes.publish, processes.subscribe, source=_SOURCE, prefixes=("",), patience=15.0)
    with bus.listen() as events:
        recorder = EventRecorder(events, screen.event)
        async with bus:
            failed: StepFailedError | None = None
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(recorder.run())
                try:
                    await _Steps(screen, processes, bus, recorder).run()
                except StepFailedError as one:  # the task group would wrap it
                    failed = one
                watching.cancel()
            if failed is not None:
                raise failed


class _Steps:
    """The steps of the demo, in order."""

    def __init__(self, screen: Screen, processes: DemoProcesses, bus: BusClient, recorder: EventRecorder) -> None:
        self._screen = screen
        self._processes = processes
        self._bus = bus
        self._recorder = recorder
        self._orders = count(1)

    async def run(self) -> None:
        """Run all steps and show the summary.

        Raises:
            StepFailedError: A step did not happen in time.
        """
        await self._ready()
        calls = await self._calls()
        opened_after = await self._is_killed()
        rejections = await self._rejects()
        recovered_after = await self._recovers()
        await self._stops()
        self._screen.summary(
            [
                (f"{statistics.median(calls):.1f} ms", "from an event to the answer of an RPC, over bus and bridge"),
                (f"{opened_after:.1f} s", "from the end of the service to the open circuit, with all retries"),
                (f"{statistics.median(rejections):.1f} ms", "for a rejection while the circuit is open"),
                (f"{recovered_after:.1f} s", "from the restart of the service to the closed circuit"),
            ]
        )

    # --- steps

    async def _ready(self) -> None:
        await self._expect("health.bridge reports `ready`", _health("bridge", "ready"), seconds=10.0)
        await self._expect("health.shop reports `connected`", _health("shop", "connected"))
        await self._pause()

    async def _calls(self) -> list[float]:
        self._title(
            "An event becomes a remote call, and the answer becomes an event",
            "The configuration has a route. The application only emits order.created:",
        )
        self._screen.code(ROUTE)
        await self._pause()
        times = []
        for total in (12.5, 99.0, 3.75):
            answer, took = await self._order(total)
            _check("the RPC is answered", answer.event, ok=True)
            cents = answer.event.payload["result"]["cents"]
            if cents != total * 100:
                raise StepFailedError(f"the route's expression makes {total * 100:g} cents of {total}, not {cents}")
            id_ = answer.event.correlation_id
            await self._expect(
                "the answer also comes as order.confirmed",
                _is("order.confirmed", id_),
            )
            times.append(took)
            await self._pause()
        return times

    async def _is_killed(self) -> float:
        self._title(
            "The service is killed",
            "Three tries for each order, with random pauses: up to 400 ms, then up to 800 ms.",
            "Five failures in a row open the circuit.",
        )
        mark = self._mark()
        killed = time.time()
        await self._processes.kill_service()
        self._screen.act("kill -9 to the JSON-RPC service")
        await self._expect("health.shop reports `disconnected`", _health("shop", "disconnected"), after=mark)
        answer, _ = await self._order(20.0)
        _check("the first order without a service fails", answer.event, ok=False, kind="not_connected")
        if answer.event.payload["attempts"] != 3:
            raise StepFailedError(f"three attempts for the first order, not {answer.event.payload['attempts']}")
        retries = [one for one in self._since(mark) if one.event_type == "resilience.shop.retry"]
        if len(retries) != 2:
            raise StepFailedError(f"two resilience.shop.retry events between three attempts, not {len(retries)}")
        await self._pause()
        answer, _ = await self._order(21.0)
        _check("the second order without a service fails", answer.event, ok=False, kind="not_connected")
        opened = await self._expect("the circuit opens", _is("resilience.shop.circuit.opened"), after=mark)
        await self._expect("health.shop reports that the circuit is open", _circuit("open"), after=mark)
        await self._pause()
        return opened.event.timestamp / 1000 - killed

    async def _rejects(self) -> list[float]:
        self._title(
            "While the circuit is open, orders are rejected at once",
            "Nothing is sent to a service that cannot answer.",
        )
        times = []
        for total in (30.0, 31.0, 32.0):
            answer, took = await self._order(total)
            _check("an order is rejected while the circuit is open", answer.event, ok=False, kind="circuit_open")
            times.append(took)
            await asyncio.sleep(_PAUSE / 2)
        return times

    async def _recovers(self) -> float:
        self._title(
            "The service is back",
            "After 4 seconds the circuit half-opens: one order at a time may test the service.",
            "Two successful answers close it.",
        )
        mark = self._mark()
        pid = await self._processes.start_service()
        back = time.time()
        self._screen.act(f"JSON-RPC service started again, process {pid}")
        await self._expect(
            "the circuit half-opens", _is("resilience.shop.circuit.half_opened"), seconds=8.0, after=mark
        )
        for total in (40.0, 41.0):
            await self._pause()
            answer, _ = await self._order(total)
            _check("an order that tests the service is answered", answer.event, ok=True)
        closed = await self._expect("the circuit closes", _is("resilience.shop.circuit.closed"), after=mark)
        await self._expect(
            "health.shop reports `connected` with a closed circuit",
            lambda event: _health("shop", "connected")(event) and _circuit("closed")(event),
            after=mark,
        )
        await self._pause()
        answer, _ = await self._order(50.0)
        _check("orders are answered again", answer.event, ok=True)
        kinds = [one.event_type.removeprefix("resilience.shop.circuit.") for one in self._since(0) if _transition(one)]
        if kinds != ["opened", "half_opened", "closed"]:
            raise StepFailedError(f"the circuit opens, half-opens and closes, once each; it did {', '.join(kinds)}")
        await self._pause()
        return closed.event.timestamp / 1000 - back

    async def _stops(self) -> None:
        self._title(
            "The application stops the sidecar", "The sidecar answers what is in flight, reports `stopped`, and ends."
        )
        mark = self._mark()
        self._bus.emit("system.shutdown")
        await self._expect("health.bridge reports `stopped`", _health("bridge", "stopped"), after=mark)
        code = await self._processes.sidecar_ended()
        self._recorder.flush()
        self._screen.act(f"sidecar ended with exit code {code}")
        if code != 0:
            raise StepFailedError(f"the sidecar ends with exit code 0, not {code}")

    # --- tools

    async def _order(self, total: float) -> tuple[ReceivedEvent, float]:
        """Emit one order; return its response, and the milliseconds until it was received."""
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
    ) -> ReceivedEvent:
        return await self._recorder.expect(what, matches, seconds=seconds, after=after)

    def _title(self, headline: str, *explanation: str) -> None:
        self._recorder.flush()
        self._screen.title(headline, *explanation)

    async def _pause(self) -> None:
        await asyncio.sleep(_PAUSE)

    def _mark(self) -> int:
        return len(self._recorder.seen)

    def _since(self, mark: int) -> list[Event]:
        return [one.event for one in self._recorder.seen[mark:]]


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
        raise StepFailedError(f"{what} ({kind or 'ok'}); the response has {found}")
