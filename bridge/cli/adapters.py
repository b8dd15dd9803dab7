"""The command `nemo-bridge adapters`: list what each installed adapter can do, from its own models."""

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from bridge.cli.terminal import console
from bridge.config.options import options
from bridge.core.ports import AdapterSpec
from bridge.registry import AdapterRegistry


def show() -> None:
    """Print every adapter, with its operations, kinds of auth, default ports and configuration keys."""
    output = console()
    registry = AdapterRegistry()
    for name in registry:
        try:
            _show(output, registry[name])
        except ImportError as error:
            output.print(f"[bold]{name}[/]  [red]cannot be loaded: {escape(str(error))}[/]\n")


def _show(output: Console, spec: AdapterSpec) -> None:
    output.print(f"[bold]{spec.protocol}[/]  {escape(spec.summary)}")
    output.print(f"  operations  {', '.join(sorted(spec.operations)) or '-'}")
    for other in spec.transports:
        more = ", ".join(sorted(other.operations - spec.operations))
        output.print(f"              over {' and '.join(other.schemes)} also {more}")
    output.print(f"  auth        {', '.join(sorted(spec.auth | {'none'}))}")
    if spec.needs_endpoint:
        output.print(f"  endpoint    {', '.join(_schemes(spec))}")
    if spec.config.model_fields:
        table = Table("key", "default", "meaning", box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for key in options(spec.config):
            table.add_row(
                key.name, "required" if key.required else escape(key.default or "none"), escape(key.description)
            )
        output.print("  config:")
        output.print(Padding(table, (0, 0, 0, 4)))
    output.print()


def _schemes(spec: AdapterSpec) -> list[str]:
    """Return each URL scheme with its default port."""
    ports = {scheme: transport.schemes[scheme] for scheme, transport in spec.by_scheme().items()}
    return [f"{scheme} ({port}{', TLS' if tls else ''})" for scheme, (port, tls) in ports.items()]
