"""The command `nemo-bridge status`: ask a bridge over the bus for its state and show it."""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bridge.cli.talk import BusOptions, harmless
from bridge.client import BusClient
from bridge.core.errors import BusError, InvalidError
from bridge.core.units import parse_duration
from bridge.observe.summary import PARTS, Status, balanced, integrations, is_well, span

Subscriptions = Mapping[str, list[dict[str, Any]]]
"""What `bridge.subscriptions` answers."""

WELL: Final = 0
NOT_WELL: Final = 1
NO_ANSWER: Final = 2

#: Seconds between two updates with `--watch`.
_EVERY: Final = 1.0
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


def status(options: BusOptions, *, as_json: bool, watch: bool, timeout: str) -> int:
    """Ask the bridge, show its answer, and return the exit code."""
    try:
        seconds = float(parse_duration(timeout))
    except ValueError as error:
        raise InvalidError(f"--timeout: {error}") from None
    try:
        return asyncio.run(
            _watch(options, seconds, as_json=as_json) if watch else _once(options, seconds, as_json=as_json)
        )
    except (BusError, TimeoutError) as error:
        typer.echo(f"nemo-bridge: {str(error) or f'no bridge answered within {timeout}'}", err=True)
        return NO_ANSWER


async def _once(options: BusOptions, seconds: float, *, as_json: bool) -> int:
    async with options.client(("response.bridge.",)) as bus:
        found = await _ask(bus, seconds)
        if as_json:
            typer.echo(_as_json(found))
        else:
            Console(highlight=False).print(_page(found, await _subscriptions(bus, seconds)))
    return WELL if is_well(found) else NOT_WELL


async def _watch(options: BusOptions, seconds: float, *, as_json: bool) -> int:
    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, screen=console.is_terminal and not as_json) as live:
        async with options.client(("response.bridge.",)) as bus:
            while True:
                try:
                    found = await _ask(bus, seconds)
                    made = {} if as_json else await _subscriptions(bus, seconds)
                except TimeoutError:
                    typer.echo("no bridge answers", err=True)
                    continue
                if as_json:
                    print(_as_json(found), flush=True)
                else:
                    live.update(_page(found, made), refresh=True)
                await asyncio.sleep(_EVERY)


async def _ask(bus: BusClient, seconds: float) -> Status:
    answer = await bus.ask("bridge.status", {}, timeout=seconds)
    result: Status = answer.payload["result"]
    return result


async def _subscriptions(bus: BusClient, seconds: float) -> Subscriptions:
    """Return the subscriptions; none where an older bridge does not know the command or our key may not give it."""
    try:
        answer = await bus.ask("bridge.subscriptions", {}, timeout=seconds)
    except TimeoutError:
        return {}
    found: Subscriptions = answer.payload.get("result") or {}
    return found


def _as_json(found: Status) -> str:
    return json.dumps(found, ensure_ascii=False)


# --- output


def _page(found: Status, made: Subscriptions) -> RenderableType:
    one = found["bridge"]
    head = Text("bridge ")
    head.append(harmless(one["name"]), style="bold").append("  ")
    head.append(one["status"], style=_colour(one["status"]))
    head.append(f"  {one['version']}, up {span(one['uptime_ms'])}, process {one['pid']}", style="dim")
    counts = (_line(name, one[name]) for name in ("bus", "outbox"))
    return Group(head, *counts, Text(), _states(found), Text(), _sums(found), *_asked(made), *_notes(found))


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
            Text(harmless(one["integration"])),
            Text(harmless(one["type"])),
            Text(one["status"], style=_colour(one["status"])),
            span(time.time() * 1000 - one["since"]),
            Text(one["circuit"].replace("_", "-"), style=_colour(one["circuit"])),
            "-" if one["latency_ms"] is None else f"{one['latency_ms']:.1f} ms",
        )
    return table


def _sums(found: Status) -> Table:
    names = ("accepted", *PARTS)
    table = _table("", *(name.replace("_", " ").replace("dead lettered", "dead") for name in names))
    for column in table.columns[1:]:
        column.justify = "right"
    for one in integrations(found):
        table.add_row(Text(harmless(one["integration"])), *(str(one["accounting"][name]) for name in names))
    return table


def _asked(made: Subscriptions) -> Iterator[RenderableType]:
    """Subscriptions by command, which stay when the program that asked for them is gone."""
    table = _table("by command", "integration", "topic", "messages", "age", "asked for by")
    for integration, subscriptions in made.items():
        for subscription in subscriptions:
            if subscription["asked"] is not None:
                table.add_row(
                    Text(subscription["subscription"]),
                    Text(harmless(integration)),
                    Text(harmless(subscription["topic"])),
                    str(subscription["messages"]),
                    span(time.time() * 1000 - subscription["asked"]["timestamp"]),
                    Text(harmless(subscription["asked"]["source"] or "-")),
                )
    if table.row_count:
        yield Text()
        yield table


def _table(*columns: str) -> Table:
    table = Table(*columns, box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.columns[0].overflow = "fold"
    return table


def _notes(found: Status) -> Iterator[Text]:
    problem = found["bridge"]["outbox"]["problem"]
    if problem is not None:
        yield Text(f"outbox: {harmless(problem)}", style="red")
    for one in integrations(found):
        name = harmless(one["integration"])
        if one["error"] is not None:
            yield Text(f"{name}: {one['error']['kind']}: {harmless(one['error']['message'])}", style="red")
        for warning in one["warnings"]:
            yield Text(f"{name}: {harmless(warning)}", style="yellow")
        if not balanced(one["accounting"]):
            yield Text(f"{name}: the sums do not balance", style="red")


def _colour(state: str) -> str:
    return _COLOURS.get(state, "red")
