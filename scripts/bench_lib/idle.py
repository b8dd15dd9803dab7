"""What a sidecar costs that does nothing."""

import contextlib
import time
from typing import Final

from bench_lib import processes, servers
from bench_lib.rows import Figure, Plan, Row

#: Seconds until what is left of the start is done.
SETTLE: Final = 0.5
_REMOTE: Final = """
integration "{protocol}" {{
  type = "{protocol}"

  endpoint {{
    url = "{protocol}://127.0.0.1:{port}"
  }}
}}
"""


def measure(plan: Plan) -> list[Row]:
    """The one row."""
    row = Row("idle", "sidecar with idle integrations")
    row.skipped = processes.without_proc()
    if row.skipped is not None:
        return [row]
    with contextlib.ExitStack() as stack:
        ports = remotes(stack)
        row.title = f"sidecar with {1 + len(ports)} idle integrations"
        pid = stack.enter_context(
            processes.sidecar_with(stack.enter_context(processes.folder()), integrations(stack, ports))
        ).pid
        time.sleep(SETTLE)
        plan.say(f"{row.title}, {plan.idle_seconds:g} s")
        before, since = processes.cpu_seconds(pid), time.monotonic()
        time.sleep(plan.idle_seconds)
        cpu = 100 * (processes.cpu_seconds(pid) - before) / (time.monotonic() - since)
    row.figures = {"cpu_percent": round(cpu, 2)}
    row.ask("CPU, % of a core", Figure.of([cpu]), "≤", 1.0)
    return [row]


def remotes(stack: contextlib.ExitStack) -> dict[str, int]:
    """Start the servers that are installed; their ports by their protocols."""
    found = [protocol for protocol in servers.PROGRAMS if servers.program(protocol) is not None]
    return {
        protocol: stack.enter_context(servers.server(protocol, stack.enter_context(processes.folder())))
        for protocol in found
    }


def integrations(stack: contextlib.ExitStack, ports: dict[str, int]) -> str:
    """The sidecar's integrations with these servers and, as one more, with a JSON-RPC service, which is started."""
    blocks = processes.SERVICE.format(url=stack.enter_context(processes.service()))
    return blocks + "".join(_REMOTE.format(protocol=protocol, port=port) for protocol, port in ports.items())
