"""The command `nemo-bridge status`: ask a bridge over the bus for its state and show it."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import UNSET
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bridge.cli.exit_codes import ExitCode
from bridge.cli.figures import counted
from bridge.cli.options import seconds
from bridge.cli.talk import BusOptions, RefusedError, ask, ask_in_full, understood
from bridge.cli.terminal import console, json_text, say
from bridge.cli.watching import watch as watch_bridge
from bridge.client import BusClient
from bridge.core import payloads
from bridge.core.errors import NoBusError
from bridge.core.printable import printable, printable_values
from bridge.observe.summary import PARTS, Status, balanced, integrations, is_well, span, unwell

Subscriptions = Mapping[str, list[dict[str, Any]]]
"""What `bridge.subscriptions` answers."""

#: The problems of which `bridge.status` says nothing.
_OF_FABRICS: Final = ("fabric", "nodes", "fabric_warnings")
_COLOURS: Final = {
    "connected": "green",
    "ready": "green",
    "closed": "green",
    "connecting": "yellow",
    "starting": "yellow",
    "degraded": "yellow",
    "half_open": "yellow",
    "paused": "yellow",
    "draining": "yellow",
}


def status(options: BusOptions, *, as_json: bool, watch: bool, timeout: str) -> ExitCode:
    """Ask the bridge, show its answer, and return the exit code."""
    limit = seconds("--timeout", timeout)
    return asyncio.run(_watch(options, limit, as_json=as_json) if watch else _once(options, limit, as_json=as_json))


async def _once(options: BusOptions, limit: float, *, as_json: bool) -> ExitCode:
    async with options.client(("response.bridge.",)) as bus:
        found, overview = await _ask(bus, limit), await _overview(bus, limit)
        if as_json:
            say(json_text(found))
        else:
            console().print(_page(found, await _subscriptions(bus, limit), overview))
    # A node that is lost is another bridge's matter; `nemo-bridge fleet` counts it.
    are_connected = all(one.status == "connected" for one in _fabrics(overview))
    return ExitCode.OK if is_well(found) and are_connected else ExitCode.FAILED


async def _watch(options: BusOptions, limit: float, *, as_json: bool) -> ExitCode:
    async def look(bus: BusClient) -> RenderableType:
        found = await _ask(bus, limit)
        if as_json:
            return json_text(found)
        made, overview = await _subscriptions(bus, limit), await _overview(bus, limit)
        return _page(found, made, overview, wrong_first=True)

    await watch_bridge(options, look, as_json=as_json)


async def _ask(bus: BusClient, limit: float) -> Status:
    """Return the answer of `bridge.status`, with all keys that it has.

    Raises:
        BusError: See `talk.ask`.
    """
    whole = await ask(bus, "bridge.status", {}, dict[str, dict[str, Any]], limit)
    outbox = whole.get("bridge", {}).get("outbox")
    if isinstance(outbox, dict):
        outbox.setdefault("missing", None)  # a bridge of an earlier version does not say it
    understood("bridge.status", whole, payloads.Status)
    others = {name: one for name, one in whole.items() if name != "bridge"}
    understood("bridge.status", others, dict[str, payloads.IntegrationHealth])
    return whole


async def _subscriptions(bus: BusClient, limit: float) -> Subscriptions:
    """Return the subscriptions; none where an older bridge does not know the command or our key may not give it."""
    try:
        kind = dict[str, list[payloads.LiveSubscription]]
        _, whole = await ask_in_full(bus, "bridge.subscriptions", {}, kind, limit)
    except (NoBusError, RefusedError):
        return {}
    found: Subscriptions = whole
    return found


async def _overview(bus: BusClient, limit: float) -> payloads.Overview | None:
    """Return what knows the bridge's fabrics; None where a key or an older bridge does not let us ask."""
    try:
        return await ask(bus, "bridge.overview", {}, payloads.Overview, limit)
    except (NoBusError, RefusedError):
        return None


def _fabrics(overview: payloads.Overview | None) -> list[payloads.FabricRow]:
    return [] if overview is None or overview.fabrics is UNSET else overview.fabrics


# --- output


def _page(
    answer: Status,
    subscriptions: Subscriptions,
    overview: payloads.Overview | None = None,
    *,
    wrong_first: bool = False,
) -> RenderableType:
    """Return all that is shown, printable: any program on the bus may have written it.

    Args:
        answer: The answer of `bridge.status`.
        subscriptions: The subscriptions.
        overview: What knows the fabrics.
        wrong_first: Say what is wrong at the top, since a screen shows the beginning. What is printed once ends with
            it, since that stays in sight.
    """
    found, made = printable_values(answer), printable_values(subscriptions)
    one = found["bridge"]
    head = Text("bridge ")
    head.append(one["name"], style="bold").append("  ")
    head.append(one["status"], style=colour(one["status"]))
    head.append(f"  {one['version']}, up {span(one['uptime_ms'])}, process {one['pid']}", style="dim")
    counts = [_line(name, one[name]) for name in ("bus", "outbox")]
    tables = [_states(found), Text(), _sums(found), *_joined(_fabrics(overview)), *_asked(made)]
    problems = () if overview is None else overview.problems
    notes = [*(_problem(one) for one in problems if one.kind in _OF_FABRICS), *_notes(found)]
    if not wrong_first:
        return Group(head, *counts, Text(), *tables, *notes)
    all_of = integrations(found)
    wrong = sum(one["status"] != "connected" or one["circuit"] != "closed" for one in all_of)
    told = f"{wrong} of {counted(len(all_of), 'integration')} {'is' if wrong == 1 else 'are'} not well"
    return Group(head, *([Text(told, style="bold red")] if wrong else ()), *notes, Text(), *counts, Text(), *tables)


def _problem(problem: payloads.Problem) -> Text:
    return Text(printable(problem.text), style="red" if problem.severity == "error" else "yellow")


def _line(name: str, counts: Mapping[str, object]) -> Text:
    shown = []
    for key, value in counts.items():
        if isinstance(value, int):
            told = span(value) if key.endswith("_ms") else str(value)
            shown.append(f"{key.removesuffix('_ms').replace('_', ' ')} {told}")
    return Text(f"{name}: {'  '.join(shown)}", style="dim")


def _states(found: Status) -> Table:
    table = _table("integration", "type", "status", "since", "circuit", "latency")
    for one in integrations(found):
        table.add_row(
            Text(one["integration"]),
            Text(one["type"]),
            Text(one["status"], style=colour(one["status"])),
            span(time.time() * 1000 - one["since"]),
            Text(one["circuit"].replace("_", "-"), style=colour(one["circuit"])),
            "-" if one["latency_ms"] is None else f"{one['latency_ms']:.1f} ms",
        )
    return table


def _sums(found: Status) -> Table:
    names = ("accepted", *PARTS)
    table = _table("", *(name.replace("_", " ").replace("dead lettered", "dead") for name in names))
    for column in table.columns[1:]:
        column.justify = "right"
    for one in integrations(found):
        table.add_row(Text(one["integration"]), *(Text(str(one["accounting"][name])) for name in names))
    return table


def _joined(fabrics: Sequence[payloads.FabricRow]) -> Iterator[RenderableType]:
    """The fabrics of which this bridge is a node."""
    table = _table("fabric", "node", "status", "since", "nodes")
    for one in fabrics:
        table.add_row(
            Text(printable(one.fabric)),
            Text(printable(one.node)),
            Text(one.status, style=colour(one.status)),
            span(time.time() * 1000 - one.since),
            f"{one.connected} of {one.nodes} connected",
        )
    if table.row_count:
        yield Text()
        yield table


def _asked(made: Subscriptions) -> Iterator[RenderableType]:
    """Subscriptions by command, which stay when the program that asked for them is gone."""
    table = _table("by command", "integration", "topic", "messages", "age", "asked for by")
    for integration, subscriptions in made.items():
        for subscription in subscriptions:
            if subscription["asked"] is not None:
                table.add_row(
                    Text(subscription["subscription"]),
                    Text(integration),
                    Text(subscription["topic"]),
                    Text(str(subscription["messages"])),
                    span(time.time() * 1000 - subscription["asked"]["timestamp"]),
                    Text(subscription["asked"]["source"] or "-"),
                )
    if table.row_count:
        yield Text()
        yield table


def _table(*columns: str) -> Table:
    table = Table(*columns, box=None, padding=(0, 1, 0, 0), header_style="bold")
    for column in table.columns:
        column.overflow = "fold"  # a narrow terminal cuts nothing off
    return table


def _notes(found: Status) -> Iterator[Text]:
    """Return one line for each thing that is wrong, errors first; what several integrations have is said once."""
    outbox = found["bridge"]["outbox"]
    for told in (outbox["problem"], outbox["missing"]):
        if told is not None:
            yield Text(f"outbox: {told}", style="red")
    errors: dict[str, list[str]] = {}
    warnings: dict[str, list[str]] = {}
    for one in integrations(found):
        name = one["integration"]
        if one["error"] is not None:
            errors.setdefault(f"{one['error']['kind']}: {one['error']['message']}", []).append(name)
        for line in unwell(one):
            errors.setdefault(line, []).append(name)
        if not balanced(one["accounting"]):
            errors.setdefault("the sums do not balance", []).append(name)
        for warning in one["warnings"]:
            warnings.setdefault(warning, []).append(name)
    for lines, style in ((errors, "red"), (warnings, "yellow")):
        for line, names in lines.items():
            yield Text(f"{', '.join(names)}: {line}", style=style)


def colour(state: str) -> str:
    """Return the colour of a status or of a circuit's state; red for all that is not well."""
    return _COLOURS.get(state, "red")
