"""Write a recorded run of `nemo-bridge top` as animated SVG to the file that is named.

A real bridge works with four services, two of which are killed. Each picture is what `top` draws for the bridge's
answer at that moment and the keys that are pressed here.
"""

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from recording import frame_svg, recording_console, write_animation
from rich.console import Group

from bridge.cli.top_pages import Signs
from bridge.cli.top_view import TopView
from bridge.client import BusClient
from bridge.core.payloads import Inspection, Overview

_WIDTH, _HEIGHT = 110, 28
#: Seconds until services are killed, and from then until the outage is shown.
_WELL: Final = 75.0
_DOWN: Final = 30.0
#: Name, the event that sets off its route, milliseconds between two of these, its delivery.
_SERVICES: Final = (
    ("shop", "order.created", 30, "at_most_once"),
    ("stock", "stock.wanted", 55, "at_most_once"),
    ("ledger", "order.paid", 160, "at_least_once"),
    ("payments", "payment.wanted", 240, "at_most_once"),
)
_KILLED: Final = ("ledger", "payments")
_CALM: Final = """
integration "limits" {
  type = "static"
  config { values = { most = 100 } }
}
integration "clock" {
  type = "timer"
  config {
    schedule "pulse" { every = "500ms" }
  }
}
subscription "ticks" {
  integration = "clock"
  topic       = "pulse"
  emit        = "clock.ticked"
}
"""


def _blocks(name: str, url: str, on: str, *, delivery: str) -> str:
    return f"""
integration "{name}" {{
  type = "json-rpc"
  endpoint {{ url = "{url}" }}
  config {{ idempotent = ["orders.create"] }}
  resilience {{
    timeout = "1s"
    retry {{
      max_attempts  = 4
      backoff       = "exponential"
      initial_delay = "250ms"
    }}
    circuit_breaker {{ timeout = "8s" }}
  }}
}}
route "to_{name}" {{
  on          = ["{on}"]
  integration = "{name}"
  operation   = "request"
  method      = "orders.create"
  params      = {{ id = event.payload.id }}
  delivery    = "{delivery}"
}}
"""


@contextlib.contextmanager
def _running() -> Iterator[tuple[dict[str, subprocess.Popen[str]], str, str]]:
    """Run services and bridge; yield the services by name, and the addresses of the bus."""
    with tempfile.TemporaryDirectory(prefix="nb") as directory, contextlib.ExitStack() as stack:

        def start(*words: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=directory,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        publish, subscribe = (f"ipc://{directory}/{name}" for name in ("p", "s"))
        bus = f'bus {{\n  publish = "{publish}"\n  subscribe = "{subscribe}"\n}}\n'
        text = f'bridge {{\n  name     = "plant-7"\n  data_dir = "{directory}/data"\n}}\n{bus}{_CALM}'
        services = {}
        for name, on, _, delivery in _SERVICES:
            services[name] = service = start("bridge.cli.demo_service", "--port", "0")
            assert service.stdout is not None
            text += _blocks(name, service.stdout.readline().strip(), on, delivery=delivery)
        (Path(directory) / "plant.hcl").write_text(text)
        start("bridge", "run", "plant.hcl")
        yield services, publish, subscribe


async def _emit(bus: BusClient, event_type: str, every: float) -> None:
    number = 0
    while True:
        number += 1
        bus.emit(event_type, {"id": number})
        await asyncio.sleep(every)


class _Recording:
    def __init__(self, bus: BusClient) -> None:
        self.frames: list[tuple[str, float]] = []
        self._bus = bus
        self._view = TopView(Signs())
        self._console = recording_console(_WIDTH)

    async def show(self, seconds: float, *keys: str) -> None:
        """Press keys, and add the picture, which is shown for so many seconds."""
        for key in keys:
            self._view.press(key)
            await self._refresh()
        lines = self._view.lines(_WIDTH, _HEIGHT, int(time.time() * 1000))
        self._console.print(Group(*lines))
        self.frames.append((frame_svg(self._console, "nemo-bridge top", len(self.frames)), seconds))

    async def look(self, seconds: float) -> None:
        """Add the picture of a new answer."""
        await self._refresh()
        await self.show(seconds)

    async def _refresh(self) -> None:
        name = self._view.opened
        if name is None:
            answer = await self._bus.ask("bridge.overview", {})
            self._view.take_overview(msgspec.convert(answer.payload["result"], Overview))
        else:
            answer = await self._bus.ask("bridge.inspect", {"integration": name})
            self._view.take_inspection(msgspec.convert(answer.payload["result"], Inspection))


async def _record(services: dict[str, subprocess.Popen[str]], publish: str, subscribe: str) -> list[tuple[str, float]]:
    async with BusClient(publish, subscribe, patience=30.0) as bus, asyncio.TaskGroup() as group:
        emitting = [group.create_task(_emit(bus, on, each / 1000)) for _, on, each, _ in _SERVICES]
        recording = _Recording(bus)
        await asyncio.sleep(_WELL)
        await recording.look(2.5)
        for name in _KILLED:
            services[name].kill()
        await asyncio.sleep(4)
        await recording.look(2.0)
        await asyncio.sleep(_DOWN)
        await recording.look(3.5)
        await recording.show(1.0, "down")
        await recording.show(4.0, "enter")
        await recording.show(3.0, "2")
        await recording.show(3.0, "3")
        await recording.show(2.0, "escape")
        await recording.show(3.0, "s", "s", "s", "s", "s", "s")
        for task in emitting:
            task.cancel()
    return recording.frames


def main() -> None:
    """Run everything and write the file."""
    with _running() as (services, publish, subscribe):
        frames = asyncio.run(_record(services, publish, subscribe))
    write_animation(frames, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
