"""The command line of `scripts/stack`."""

import argparse
import asyncio
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bridge.bus import default_publish, default_subscribe, parse_endpoint
from bridge.core.errors import BusError
from stack_lib import fabric
from stack_lib.check import check, journeys
from stack_lib.plan import COMPOSE, PORTS, Plan, StackError, check_installed, make_fabric_plan, make_plan
from stack_lib.processes import Processes, running


def _say(text: str) -> None:
    print(text, flush=True)


def _integrations() -> set[str]:
    """Labels of compose/bridge.hcl's integrations."""
    return set(re.findall(r'^integration "([\w-]+)"', (COMPOSE / "bridge.hcl").read_text("utf-8"), re.MULTILINE))


def _check_sockets(variable: str) -> None:
    """See that the bus' sockets can be where the environment puts them; `variable` says where that comes from."""
    try:
        for endpoint in (default_publish(), default_subscribe()):
            parse_endpoint(endpoint)
    except BusError as error:
        raise StackError(f"{error}; choose a shorter {variable}") from None


async def _check(_: Plan) -> bool:
    return await check(_integrations(), _say)


async def _check_fabric(plan: Plan) -> bool:
    return await fabric.check(plan, _say)


async def _checked(plan: Plan, folder: Path, check: Callable[[Plan], Awaitable[bool]]) -> int:
    # A bus of its own, so that a sidecar that already runs here is left alone. BusClient reads it from the environment.
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    _check_sockets("TMPDIR")
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    async with running(plan, folder) as processes:
        try:
            good = await check(plan)
        except StackError as error:
            words = "; ".join(f"{one.name}: {processes.last_words(one.name)}" for one in plan.sidecars)
            raise StackError(f"{error}; the last words: {words}") from None
    _say("all came back" if good else "not all came back")
    return 0 if good else 1


async def _until_stopped(plan: Plan, folder: Path, *, a_fabric: bool) -> int:
    _check_sockets("XDG_RUNTIME_DIR")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(plan, folder) as processes:
        if a_fabric:
            _announce_fabric(plan, folder, processes)
            why = await processes.until_with_restarts(stop, plan, _say)
        else:
            _announce(plan, folder)
            why = await processes.until(stop)
        if why is not None:
            raise StackError(why)
        _say("\nstopping")
    return 0


def _announce(plan: Plan, folder: Path) -> None:
    _say(f"configuration    {COMPOSE / 'bridge.hcl'}")
    for name, value in plan.sidecars[0].environment.items():
        _say(f"{name.lower().replace('_', ' '):<16} {value}")
    _say(f"logs             {folder}/*.log")
    _say("bus              the default one; in another terminal:")
    _say("  nemo-bridge tap")
    _say("""  nemo-bridge emit job.wanted '{"id": 7}'""")
    _say("Ctrl-C ends it.")


def _announce_fabric(plan: Plan, folder: Path, processes: Processes) -> None:
    _say(f"configurations   {COMPOSE / 'fabric'}")
    for server in plan.servers:
        _say(f"{server.name:<16} nats://127.0.0.1:{server.ports[0]}, process {processes.number(server.name)}")
    for sidecar in plan.sidecars:
        number, console = processes.number(sidecar.name), sidecar.environment["STATUS"]
        _say(f"{sidecar.name:<16} console http://{console}, process {number}, the rest in {folder / sidecar.name}")
    _say(f"logs             {folder}/*.log")
    _say("Each has a bus of its own; in other terminals:")
    _say(f"  XDG_RUNTIME_DIR={folder / 'desk-1'} nemo-bridge fleet --watch")
    _say(f"  XDG_RUNTIME_DIR={folder / 'desk-2'} nemo-bridge tap")
    _say(f"""  XDG_RUNTIME_DIR={folder / "desk-1"} nemo-bridge emit clipboard.copied '{{"text": "hello"}}'""")
    _say(
        "Kill a server or a bridge, or stop one, and look what the others say. It is started again half a minute later:"
    )
    _say(f"  kill -9 {processes.number(plan.sidecars[-1].name)}")
    _say("Ctrl-C ends it.")


def _print_plan(folder: Path) -> None:
    """Print as JSON what would be started, and what `--check` would send and wait for."""
    plan = make_plan(folder, own_ports=True)
    ports = {name: {"service": service, "port": port} for name, (service, port) in PORTS.items()}
    check = [{"emit": one.emit, "back": one.back} for one in journeys()]
    more = {"environment": plan.sidecars[0].environment, "container_ports": ports, "check": check}
    print(json.dumps({"services": _services(plan), **more}, indent=2))


def _print_fabric_plan(folder: Path) -> None:
    """Print as JSON what would be started, and what `--check` would send and wait for."""
    plan = make_fabric_plan(folder, own_ports=True)
    check = [{"emit": one.emit, "at": one.at, "back": one.back, "on": one.on} for one in fabric.passages()]
    print(json.dumps({"services": _services(plan), "check": check}, indent=2))


def _services(plan: Plan) -> dict[str, Any]:
    return {
        one.name: {"command": one.command, "ports": one.ports, "environment": one.environment} for one in plan.services
    }


def main() -> int:
    """Run the stack; returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/stack", description="What compose/ starts, without containers.")
    parser.add_argument(
        "what", nargs="?", choices=["fabric"], help="the fabric of fabric.yaml in place of compose.yaml's one sidecar"
    )
    parser.add_argument(
        "--check", action="store_true", help="send one event through each route, see each message come back, and end"
    )
    parser.add_argument(
        "--plan", type=Path, metavar="FOLDER", help="print as JSON what would be started, with its files in FOLDER"
    )
    arguments = parser.parse_args()
    a_fabric = arguments.what == "fabric"
    if arguments.plan is not None:
        arguments.plan.mkdir(parents=True, exist_ok=True)
        (_print_fabric_plan if a_fabric else _print_plan)(arguments.plan)
        return 0
    with tempfile.TemporaryDirectory(prefix="nemo-stack-") as name:
        folder = Path(name)
        try:
            check_installed("fabric.yaml" if a_fabric else "compose.yaml")
            plan = (make_fabric_plan if a_fabric else make_plan)(folder, own_ports=arguments.check)
            if arguments.check:
                return asyncio.run(_checked(plan, folder, _check_fabric if a_fabric else _check))
            return asyncio.run(_until_stopped(plan, folder, a_fabric=a_fabric))
        except StackError as error:
            print(f"stack: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        except asyncio.CancelledError:
            return 128 + signal.SIGTERM


if __name__ == "__main__":
    sys.exit(main())
