"""The command line of `scripts/stack`."""

import argparse
import asyncio
import json
import os
import re
import signal
import sys
import tempfile
from pathlib import Path

from bridge.bus import default_publish, default_subscribe, parse_endpoint
from bridge.core.errors import BusError
from stack_lib.check import check, journeys
from stack_lib.plan import COMPOSE, PORTS, Plan, StackError, check_installed, make_plan
from stack_lib.processes import running


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


async def _checked(plan: Plan, folder: Path) -> int:
    # A bus of its own, so that a sidecar that already runs here is left alone. BusClient reads it from the environment.
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    _check_sockets("TMPDIR")
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    async with running(plan, folder) as processes:
        try:
            good = await check(_integrations(), _say)
        except StackError as error:
            raise StackError(f"{error}; the sidecar's last words: {processes.last_words('sidecar')}") from None
    _say("all came back" if good else "not all came back")
    return 0 if good else 1


async def _until_stopped(plan: Plan, folder: Path) -> int:
    _check_sockets("XDG_RUNTIME_DIR")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(plan, folder) as processes:
        _announce(plan, folder)
        why = await processes.until(stop)
        if why is not None:
            raise StackError(why)
        _say("\nstopping")
    return 0


def _announce(plan: Plan, folder: Path) -> None:
    _say(f"configuration    {COMPOSE / 'bridge.hcl'}")
    for name, value in plan.environment.items():
        _say(f"{name.lower().replace('_', ' '):<16} {value}")
    _say(f"logs             {folder}/*.log")
    _say("bus              the default one; in another terminal:")
    _say("  nemo-bridge tap")
    _say("""  nemo-bridge emit job.wanted '{"id": 7}'""")
    _say("Ctrl-C ends it.")


def _print_plan(folder: Path) -> None:
    """Print as JSON what would be started, and what `--check` would send and wait for."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = make_plan(folder, own_ports=True)
    services = {
        service.name: {"command": service.command, "ports": service.ports} for service in (*plan.servers, plan.sidecar)
    }
    check = [{"emit": one.emit, "back": one.back} for one in journeys()]
    ports = {name: {"service": service, "port": port} for name, (service, port) in PORTS.items()}
    whole = {"services": services, "environment": plan.environment, "container_ports": ports, "check": check}
    print(json.dumps(whole, indent=2))


def main() -> int:
    """Run the stack; returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/stack", description="What compose/ starts, without containers.")
    parser.add_argument(
        "--check", action="store_true", help="send one event through each route, see each message come back, and end"
    )
    parser.add_argument(
        "--plan", type=Path, metavar="FOLDER", help="print as JSON what would be started, with its files in FOLDER"
    )
    arguments = parser.parse_args()
    if arguments.plan is not None:
        _print_plan(arguments.plan)
        return 0
    with tempfile.TemporaryDirectory(prefix="nemo-stack-") as name:
        folder = Path(name)
        try:
            check_installed()
            plan = make_plan(folder, own_ports=arguments.check)
            return asyncio.run((_checked if arguments.check else _until_stopped)(plan, folder))
        except StackError as error:
            print(f"stack: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        except asyncio.CancelledError:
            return 128 + signal.SIGTERM


if __name__ == "__main__":
    sys.exit(main())
