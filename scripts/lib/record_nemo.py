"""Write a recorded run of the plugin for Nemo as SVG to the file that is named.

The plugin is loaded by the host of rust/host, as a Nemo application does. The sidecar's configuration is
examples/nemo/bridge.hcl.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from recording import recording_console, write_svg
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from bridge.cli.demo_processes import DemoProcesses, StepFailedError

_ROOT: Final = Path(__file__).parents[2]
_BUILT: Final = _ROOT / "rust" / "target" / "debug"
#: Seconds that a step may take.
_PATIENCE: Final = 20.0

_BRIDGE: Final = "data.bridge.health.bridge.status"
_SHOP: Final = "data.bridge.health.shop.status"
_PENDING: Final = "data.orders.placed.pending"
_NUMBER: Final = "data.orders.placed.result.number"
_ERROR: Final = "data.orders.placed.error.kind"
_CONFIRMED: Final = "data.bridge.order.confirmed.id"
_PATHS: Final = (_BRIDGE, _SHOP, _PENDING, _NUMBER, _ERROR, _CONFIRMED)


class _Application:
    """The application that the plugin is loaded into, as a process, and what its user interface shows."""

    def __init__(self, process: asyncio.subprocess.Process, console: Console) -> None:
        self._process = process
        self._console = console
        self._shown: dict[str, Any] = {}

    def line(self, sign: str, colour: str, text: Text) -> None:
        now = time.time()
        clock = f"{time.strftime('%H:%M:%S', time.localtime(now))}.{int(now % 1 * 1000):03}"
        self._console.print(Text.assemble((f" {clock}  ", "dim"), (f"{sign} ", colour), text))

    def act(self, what: str) -> None:
        self.line("●", "magenta", Text(what, style="magenta"))

    def title(self, text: str) -> None:
        self._console.print()
        self._console.print(Rule(Text(text, style="bold"), align="left", style="dim"))

    async def put(self, path: str, value: Any) -> None:
        text = json.dumps(value)
        self.line("→", "cyan", Text.assemble(("set_data ", "cyan"), f'"{path}"'))
        self._console.print(Padding(Text(text, style="dim"), (0, 0, 0, 17)))
        assert self._process.stdin is not None
        self._process.stdin.write(f"set {path} {text}\n".encode())
        await self._process.stdin.drain()

    async def shows(self, path: str, *values: Any) -> None:
        """Wait until a path shows one of the values, or any but null; print everything that changes until then.

        Raises:
            StepFailedError: It does not show it in time.
        """
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(_PATIENCE):
                while self._shown.get(path) not in values if values else self._shown.get(path) is None:
                    change = json.loads(await self._process.stdout.readline())
                    if "path" in change:
                        self._shown[change["path"]] = change["value"]
                        value = Text(json.dumps(change["value"]), style=_colour(change["value"]))
                        self.line("←", "green", Text.assemble(f"{change['path']} = ", value))
        except (TimeoutError, json.JSONDecodeError):
            raise StepFailedError(f"{path} shows {values or 'a value'}; it shows {self._shown.get(path)}") from None


def _colour(value: Any) -> str:
    match value:
        case "connected" | "ready":
            return "green"
        case "disconnected" | "lost":
            return "red"
        case None:
            return "dim"
    return "bold"


async def _play(application: _Application, processes: DemoProcesses) -> None:
    order = {
        "integration": "shop",
        "method": "orders.create",
        "params": {"id": "A-7", "total": 12.5},
        "into": "orders.placed",
    }
    application.title("The plugin is loaded, and the bridge is there")
    await application.shows(_BRIDGE, "ready")
    await application.shows(_SHOP, "connected")
    application.title("A value that is set becomes a call, and its answer comes where it was asked for")
    await application.put("bridge.call", order)
    await application.shows(_NUMBER, 0)
    application.title("An event that the application emits; a route of the bridge takes it to the shop")
    await application.put("bridge.emit", {"type": "order.wished", "payload": {"id": "B-8", "total": 20}})
    await application.shows(_CONFIRMED, "B-8")
    application.title("The service dies, and the health light turns red; a call fails")
    application.act("kill -9 the JSON-RPC service")
    await processes.kill_service()
    await application.shows(_SHOP, "disconnected", "degraded")
    await application.put("bridge.call", order)
    await application.shows(_ERROR)
    application.title("It comes back, and so does everything else")
    application.act("start the service again; it has forgotten its orders")
    await processes.start_service()
    await application.shows(_SHOP, "connected")
    await application.put("bridge.call", order)
    await application.shows(_NUMBER, 0)
    await application.shows(_ERROR, None)


async def _record(console: Console) -> None:
    with tempfile.TemporaryDirectory() as folder:
        processes = DemoProcesses(Path(folder))
        sidecar = host = None
        try:
            await processes.start_service()
            bus = Path(folder) / "bus.hcl"
            bus.write_text(f'bus {{\n  publish   = "{processes.publish}"\n  subscribe = "{processes.subscribe}"\n}}\n')
            configuration = _ROOT / "examples" / "nemo" / "bridge.hcl"
            sidecar = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "bridge", "run", str(bus), str(configuration), "--var", f"shop={processes.url}"),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            suffix = ".dylib" if sys.platform == "darwin" else ".so"
            host = await asyncio.create_subprocess_exec(
                _BUILT / "nemo-bridge-host",
                *(str(_BUILT / f"libnemo_bridge_plugin{suffix}"), *_PATHS),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=os.environ | {"NEMO_BUS_PUBLISH": processes.publish, "NEMO_BUS_SUBSCRIBE": processes.subscribe},
            )
            await _play(_Application(host, console), processes)
        finally:
            for process in (host, sidecar):
                if process is not None and process.returncode is None:
                    process.terminate()
                    await process.wait()
            await processes.close()


console = recording_console()
try:
    asyncio.run(_record(console))
except StepFailedError as failed:
    print(console.export_text())
    sys.exit(f"failed: {failed}")
write_svg(console, "scripts/record-nemo", Path(sys.argv[1]))
