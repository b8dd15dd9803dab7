"""The command `nemo-bridge adapters`: show what the installed adapters can do, from their own models."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from bridge.cli.exit_codes import ExitCode
from bridge.cli.terminal import complain, console, json_text, say
from bridge.config.options import Option, options
from bridge.core.near import did_you_mean
from bridge.core.ports import AdapterSpec
from bridge.core.printable import printable
from bridge.registry import AdapterRegistry

#: Columns of a terminal below which a table of four columns is hard to read.
_NARROW: Final = 72


def show(name: str | None, *, as_json: bool) -> ExitCode:
    """Print adapters, with their operations, kinds of auth, default ports and configuration keys.

    Args:
        name: The `type` of one adapter; None for all.
        as_json: Print an array of objects, see `description`.

    Returns:
        `ExitCode.INVALID` where there is no adapter by that name, `FAILED` where this one cannot be loaded.
    """
    registry: Mapping[str, AdapterSpec] = AdapterRegistry()
    if name is not None and name not in registry:
        complain(f"there is no adapter {name!r}{did_you_mean(name, registry) or '; there are: ' + ', '.join(registry)}")
        return ExitCode.INVALID
    wanted = list(registry) if name is None else [name]
    found: dict[str, AdapterSpec | ImportError] = {}
    for one in wanted:
        try:
            found[one] = registry[one]
        except ImportError as error:
            found[one] = error
    if as_json:
        say(json_text([description(one, spec) for one, spec in found.items()], indent=2))
    else:
        output = console()
        for one, spec in found.items():
            _show(output, one, spec)
    return ExitCode.FAILED if name is not None and isinstance(found[name], ImportError) else ExitCode.OK


def description(name: str, spec: AdapterSpec | ImportError) -> dict[str, Any]:
    """Return an adapter as data; `docs/commands.md` states the keys.

    Args:
        name: The `type` in the configuration.
        spec: The adapter, or why it cannot be loaded.
    """
    if isinstance(spec, ImportError):
        return {"type": name, "error": str(spec)}
    return {
        "type": name,
        "summary": spec.summary,
        "operations": sorted(spec.operations),
        "auth": sorted(spec.auth | {"none"}),
        "endpoint": {
            scheme: {
                "port": transport.schemes[scheme][0],
                "tls": transport.schemes[scheme][1],
                "operations": sorted(transport.operations),
            }
            for scheme, transport in spec.by_scheme().items()
        }
        if spec.needs_endpoint
        else None,
        "config": [
            {
                "key": key.name,
                "type": key.kind,
                "required": key.required,
                "default": None if key.default is None else json.loads(key.default),
                "description": key.description,
            }
            for key in config_keys(spec.config)
        ],
    }


def _escaped(text: str) -> str:
    """Return what an adapter's author wrote, so that neither the terminal nor `rich` obeys it."""
    return escape(printable(text))


def _show(output: Console, name: str, spec: AdapterSpec | ImportError) -> None:
    if isinstance(spec, ImportError):
        output.print(f"[bold]{_escaped(name)}[/]  [red]cannot be loaded: {_escaped(str(spec))}[/]\n")
        return
    output.print(f"[bold]{_escaped(name)}[/]  {_escaped(spec.summary)}")
    output.print(f"  operations  {_escaped(', '.join(sorted(spec.operations))) or '-'}")
    for other in spec.transports:
        more = ", ".join(sorted(other.operations - spec.operations))
        output.print(_escaped(f"              over {' and '.join(other.schemes)} also {more}"))
    output.print(f"  auth        {_escaped(', '.join(sorted(spec.auth | {'none'})))}")
    if spec.needs_endpoint:
        output.print(f"  endpoint    {_escaped(', '.join(_schemes(spec)))}")
    keys = list(config_keys(spec.config))
    if keys:
        output.print("  config:")
        for part in _listed(keys) if output.width < _NARROW else [_table(keys)]:
            output.print(Padding(part, (0, 0, 0, 4)))
    output.print()


def _table(keys: Iterable[Option]) -> Table:
    columns = ("key", "type", "default", "meaning")
    table = Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for key in keys:
        default = "required" if key.required else key.default or "none"
        table.add_row(_escaped(key.name), _escaped(key.kind), _escaped(default), _escaped(key.description))
    return table


def _listed(keys: Iterable[Option]) -> Iterator[RenderableType]:
    """Yield what a table has as lines, for a terminal that is too narrow for one."""
    for key in keys:
        default = "required" if key.required else f"default: {key.default or 'none'}"
        yield f"[bold]{_escaped(key.name)}[/]  {_escaped(key.kind)}; {_escaped(default)}"
        if key.description:
            yield Padding(_escaped(key.description), (0, 0, 0, 2))


def _schemes(spec: AdapterSpec) -> list[str]:
    """Return each URL scheme with its default port."""
    ports = {scheme: transport.schemes[scheme] for scheme, transport in spec.by_scheme().items()}
    return [f"{scheme} ({port}{', TLS' if tls else ''})" for scheme, (port, tls) in ports.items()]


def config_keys(model: type[BaseModel], prefix: str = "") -> Iterator[Option]:
    """Return each key of a `config { … }` block; the keys of a block inside it follow, as `will.topic`.

    Args:
        model: The model of the block.
        prefix: What stands before each key.
    """
    for option in options(model):
        yield msgspec.structs.replace(option, name=prefix + option.name)
        if option.block is not None:
            yield from config_keys(option.block, f"{prefix}{option.name}.")
