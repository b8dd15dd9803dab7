"""What `nemo-bridge fleet` shows: the fabrics of a bridge, their nodes, and what is wrong."""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bridge.cli.exit_codes import ExitCode
from bridge.cli.options import seconds
from bridge.cli.status import colour
from bridge.cli.talk import BusOptions, ask_in_full
from bridge.cli.terminal import console, json_text, say
from bridge.cli.watching import watch as watch_bridge
from bridge.client import BusClient
from bridge.core.payloads import FabricView, Fleet, FleetNode
from bridge.core.printable import printable_values
from bridge.observe.summary import NODE_URGENCY, URGENCY, is_fabric_well, span

#: Names of connected integrations of a node that are shown; of more only the number is.
_MOST_NAMES: Final = 8
_NONE: Final = "-"
_CONNECTED: Final = "connected"


def fleet(options: BusOptions, *, as_json: bool, watch: bool, timeout: str) -> ExitCode:
    """Ask the bridge, show its answer, and return the exit code.

    Raises:
        BusError: No bridge answers, or its answer cannot be read.
        InvalidError: An option is not valid.
    """
    limit = seconds("--timeout", timeout)
    return asyncio.run(_watch(options, limit, as_json=as_json) if watch else _once(options, limit, as_json=as_json))


async def _once(options: BusOptions, limit: float, *, as_json: bool) -> ExitCode:
    async with options.client(("response.bridge.",)) as bus:
        found, whole = await _ask(bus, limit)
    if as_json:
        say(json_text(whole))
    else:
        console().print(page(found))
    return ExitCode.OK if all(map(is_fabric_well, found.fabrics.values())) else ExitCode.FAILED


async def _watch(options: BusOptions, limit: float, *, as_json: bool) -> ExitCode:
    async def look(bus: BusClient) -> RenderableType:
        found, whole = await _ask(bus, limit)
        return json_text(whole) if as_json else page(found)

    await watch_bridge(options, look, as_json=as_json)


async def _ask(bus: BusClient, limit: float) -> tuple[Fleet, Any]:
    return await ask_in_full(bus, "bridge.fleet", {}, Fleet, limit)


# --- output


def page(answer: Fleet) -> RenderableType:
    """Return all that is shown, printable: any program on the bus may have written it."""
    found = msgspec.convert(printable_values(msgspec.to_builtins(answer)), Fleet)
    if not found.fabrics:
        return Text("this bridge is in no fabric")
    parts: list[RenderableType] = []
    for view in sorted(found.fabrics.values(), key=lambda one: (is_fabric_well(one), one.health.fabric)):
        parts += [*([Text()] if parts else ()), *_fabric(view)]
    return Group(*parts)


def _fabric(view: FabricView) -> Iterator[RenderableType]:
    health = view.health
    head = Text("fabric ")
    head.append(health.fabric, style="bold").append("  ")
    head.append(health.status, style=colour(health.status))
    head.append(f"  node {health.node}, {health.delivery}, over {health.integration}", style="dim")
    yield head
    counts = msgspec.structs.asdict(health.counts)
    yield Text("  ".join(f"{name} {count}" for name, count in counts.items()), style="dim")
    if health.error is not None:
        yield Text(f"{health.error.kind}: {health.error.message}", style="red")
    yield from (Text(warning, style="yellow") for warning in health.warnings)
    for name, nodes in sorted(view.uses.items(), key=lambda one: (bool(one[1]), one[0])):
        if nodes:
            yield Text(f"{name}: offered by {', '.join(nodes)}")
        else:
            yield Text(f"{name}: no node that is connected offers it", style="red")
    yield Text()
    yield _nodes(view)
    if view.left_out:
        told = "1 more node" if view.left_out == 1 else f"{view.left_out} more nodes"
        yield Text(f"and {told}: all of them do not fit into one answer", style="dim")


def _nodes(view: FabricView) -> Table:
    table = Table("node", "status", "heard", "bridge", "integrations", "offers", "leases")
    table.box, table.padding, table.header_style = None, (0, 1, 0, 0), "bold"
    for column in table.columns:
        column.overflow = "fold"  # a narrow terminal cuts nothing off
    for name, node in sorted(view.nodes.items(), key=lambda one: (NODE_URGENCY.index(one[1].status), one[0])):
        table.add_row(
            Text(name),
            Text(node.status, style="dim" if node.status == "stopped" else colour(node.status)),
            "this bridge" if node.heard_ms is None else f"{span(node.heard_ms)} ago",
            Text(f"{node.bridge} {node.version}"),
            _integrations(node),
            Text(", ".join(node.offers) or _NONE),
            Text(", ".join(node.leases) or _NONE),
        )
    return table


def _integrations(node: FleetNode) -> Text:
    """Return a node's integrations, those that are not connected first and with their status."""
    well = sorted(name for name, status in node.integrations.items() if status == _CONNECTED)
    others = [(URGENCY.index(status), name, status) for name, status in node.integrations.items() if name not in well]
    parts = [Text.assemble(f"{name}: ", (status, colour(status))) for _, name, status in sorted(others)]
    if well:
        parts.append(Text(", ".join(well) if len(well) <= _MOST_NAMES else f"{len(well)} connected"))
    if node.left_out:
        parts.append(Text(f"{node.left_out} more"))
    return Text(", ").join(parts) if parts else Text(_NONE)
