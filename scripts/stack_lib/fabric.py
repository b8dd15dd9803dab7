"""The fabric of compose/fabric.yaml: what goes from one bus to another, and what runs on one node only."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from bridge.client import BusClient, Listener
from stack_lib.plan import Plan, StackError

#: The fabric in compose/fabric/*.hcl.
FABRIC: Final = "plant"
#: Seconds for all nodes to see each other, and for one message to arrive.
_JOINED: Final = 45.0
_ARRIVES: Final = 15.0
#: Ticks of the timer, which all nodes have, that are waited for, and the seconds in which they must have come.
_TICKS: Final = 4
_STRUCK: Final = 30.0
_TICK: Final = "clock.struck"


@dataclass(frozen=True, slots=True)
class Passage:
    """An event that is emitted on one node's bus, and the one that comes on the buses of some nodes.

    `matches` sees the payload that came.
    """

    emit: str
    payload: Any
    at: str
    back: str
    on: tuple[str, ...]
    matches: Callable[[Any], bool]

    def __str__(self) -> str:
        return f"{self.emit} on {self.at} → {self.back} on {' and '.join(self.on)}"


def passages() -> list[Passage]:
    """What to send and to see, with marks that are new each time."""
    mark = uuid.uuid4().hex[:8]
    text, document = {"text": mark}, {"name": mark, "pages": 2}
    return [
        Passage(
            "clipboard.copied", text, "desk-1", "clipboard.copied", ("desk-2", "office"), lambda came: came == text
        ),
        Passage(
            "clipboard.copied", text, "office", "clipboard.copied", ("desk-1", "desk-2"), lambda came: came == text
        ),
        Passage(
            "document.finished", document, "desk-1", "document.printed", ("desk-1",), lambda came: came["size"] > 0
        ),
        Passage("price.asked", {"product": "paper"}, "desk-2", "price.answered", ("desk-2",), lambda came: came == 450),
    ]


@asynccontextmanager
async def _programs(plan: Plan) -> AsyncIterator[dict[str, tuple[BusClient, Listener]]]:
    """A program on each sidecar's bus, which hears everything."""
    async with AsyncExitStack() as stack:
        found = {}
        for sidecar in plan.sidecars:
            place = f"ipc://{sidecar.environment['XDG_RUNTIME_DIR']}/nemo/bus-"
            bus = BusClient(f"{place}publish.sock", f"{place}subscribe.sock", prefixes=("",), patience=_JOINED)
            events = stack.enter_context(bus.listen())
            found[sidecar.name] = (await stack.enter_async_context(bus), events)
        yield found


async def check(plan: Plan, say: Callable[[str], None]) -> bool:
    """Wait until all have joined, send one event on each way, hear the timer; returns whether all was as it should be.

    Raises:
        StackError: The nodes do not see each other in time.
    """
    async with _programs(plan) as programs:
        await _joined(programs)
        say(f"joined: {', '.join(sorted(programs))}")
        good = True
        for passage in passages():
            good &= await _pass(programs, passage, say)
        return await _struck_once(programs, say) and good


async def _joined(programs: Mapping[str, tuple[BusClient, Listener]]) -> None:
    """Wait until each node sees the others, and what it uses is offered."""
    missing = dict.fromkeys(programs, "no word")

    async def wait(name: str, events: Listener) -> None:
        health: dict[str, Any] = {}
        while True:
            event = await events.get()
            if event.event_type.startswith("health."):
                health[event.event_type.removeprefix("health.")] = event.payload
            fabric = health.get(f"fabric.{FABRIC}")
            if fabric is None:
                continue
            nodes = {one for one, status in fabric["nodes"].items() if status == "connected"}
            waiting = [one for one, payload in health.items() if payload["status"] not in {"connected", "ready"}]
            missing[name] = f"{fabric['status']}, sees {sorted(nodes)}, not connected: {waiting}"
            if fabric["status"] == "connected" and {*programs} - {name} <= nodes and not waiting:
                del missing[name]
                return

    try:
        async with asyncio.timeout(_JOINED), asyncio.TaskGroup() as tasks:
            for name, (_, events) in programs.items():
                tasks.create_task(wait(name, events))
    except TimeoutError:
        states = "; ".join(f"{name}: {state}" for name, state in missing.items())
        raise StackError(f"not joined within {_JOINED:g} s: {states}") from None


async def _pass(
    programs: Mapping[str, tuple[BusClient, Listener]], passage: Passage, say: Callable[[str], None]
) -> bool:
    began = time.monotonic()
    bus, _ = programs[passage.at]
    correlation_id = str(uuid.uuid4())
    bus.emit(passage.emit, passage.payload, correlation_id=correlation_id)

    async def arrived(name: str) -> str | None:
        """Return what went wrong."""
        while True:
            event = await programs[name][1].get()
            if event.event_type == passage.back and passage.matches(event.payload):
                return None
            failed = event.event_type.startswith("response.") and event.correlation_id == correlation_id
            if failed and not event.payload["ok"]:
                return str(event.payload["error"]["message"])

    try:
        async with asyncio.timeout(_ARRIVES), asyncio.TaskGroup() as tasks:
            waits = [tasks.create_task(arrived(name)) for name in passage.on]
    except TimeoutError:
        say(f"  FAILED  {passage}: not within {_ARRIVES:g} s")
        return False
    if wrong := [error for wait in waits if (error := wait.result()) is not None]:
        say(f"  FAILED  {passage}: {wrong[0]}")
        return False
    say(f"  ok      {passage}  ({(time.monotonic() - began) * 1000:.0f} ms)")
    return True


async def _struck_once(programs: Mapping[str, tuple[BusClient, Listener]], say: Callable[[str], None]) -> bool:
    """Hear the timer that all nodes have: one of them says each tick."""
    ticks: list[tuple[int, str]] = []
    enough = asyncio.Event()

    async def hear(name: str, events: Listener) -> None:
        while True:
            event = await events.get()
            if event.event_type == _TICK:
                ticks.append((event.payload["message"]["scheduled_at"], name))
                if len(ticks) == _TICKS:
                    enough.set()

    try:
        async with asyncio.timeout(_STRUCK), asyncio.TaskGroup() as tasks:
            hearing = [tasks.create_task(hear(name, events)) for name, (_, events) in programs.items()]
            await enough.wait()
            for task in hearing:
                task.cancel()
    except TimeoutError:
        say(f"  FAILED  {_TICK}: {len(ticks)} ticks within {_STRUCK:g} s")
        return False
    nodes = " and ".join(sorted({name for _, name in ticks}))
    once = len({at for at, _ in ticks}) == len(ticks)
    say(
        f"  {'ok    ' if once else 'FAILED'}  {_TICK}: {len(ticks)} ticks, {'each once' if once else 'twice'} ({nodes})"
    )
    return once
